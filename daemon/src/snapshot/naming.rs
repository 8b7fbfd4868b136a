//! How snapshots are called: a prefix and the time at which they are taken. Three texts of the configuration flow in, a
//! name for each point in time flows out; every name has been tried out, so that what the configuration makes is legal in
//! ZFS.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use thiserror::Error;

use super::go_layout::{Element, Layout};
use super::location::Location;

/// Names for snapshots.
///
/// Two of them are equal when they were made of the same texts on the same machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotNaming {
    prefix: String,
    timestamp_format: String,
    timestamp_location: String,
    format: Format,
    zone: TimeZone,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Format {
    Layout(Layout),
    /// Seconds since 1970.
    UnixSeconds,
}

impl SnapshotNaming {
    /// Builds the names from the keys of the configuration with the same names as the arguments.
    ///
    /// `timestamp_format` is one of `dense`, `human`, `iso-8601`, `unix-seconds` in letters of any case, or a time layout
    /// of Go. `timestamp_location` is `UTC` (or nothing), `Local`, or a zone of the system's time zone database; only
    /// `iso-8601` and layouts accept another one than UTC. What `Local` is on this machine is looked up here, once.
    pub fn new(
        prefix: &str,
        timestamp_format: &str,
        timestamp_location: &str,
    ) -> Result<Self, NamingError> {
        if prefix.is_empty() {
            return Err(NamingError::EmptyPrefix);
        }
        let location =
            Location::load(timestamp_location).map_err(|error| NamingError::UnknownLocation {
                location: timestamp_location.to_owned(),
                reason: error.to_string(),
            })?;
        let format = Format::parse(timestamp_format, timestamp_location, &location)?;
        let naming = Self {
            prefix: prefix.to_owned(),
            timestamp_format: timestamp_format.to_owned(),
            timestamp_location: timestamp_location.to_owned(),
            format,
            zone: location.zone(TimeZone::system),
        };
        for sample in SAMPLES {
            naming.try_out(sample)?;
        }
        Ok(naming)
    }

    /// The name of a snapshot taken at this time.
    ///
    /// ZFS allows no `+` in names: that of an offset from UTC becomes `_`.
    pub fn name_at(&self, at: Timestamp) -> String {
        format!("{}{}", self.prefix, self.timestamp_at(at))
    }

    fn timestamp_at(&self, at: Timestamp) -> String {
        match &self.format {
            // Offsets are the only elements with a plus sign, and layouts have none of their own.
            Format::Layout(layout) => layout
                .format(&at.to_zoned(self.zone.clone()))
                .replace('+', "_"),
            Format::UnixSeconds => at.as_second().to_string(),
        }
    }

    fn try_out(&self, at: Timestamp) -> Result<(), NamingError> {
        let timestamp = self.timestamp_at(at);
        let name = format!("{}{timestamp}", self.prefix);
        let Err(problem) = check_component(&name) else {
            return Ok(());
        };
        // Whichever is worse on its own, the prefix or the longer of both.
        let prefix_alone = check_component(&self.prefix).is_err();
        let timestamp_alone = !timestamp.is_empty() && check_component(&timestamp).is_err();
        let prefix_is_longer = self.prefix.len() > timestamp.len();
        Err(NamingError::IllegalName {
            key: if prefix_alone || !timestamp_alone && prefix_is_longer {
                NamingKey::Prefix
            } else {
                NamingKey::TimestampFormat
            },
            problem,
            name,
        })
    }

    /// What all names begin with.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The format as written.
    pub fn timestamp_format(&self) -> &str {
        &self.timestamp_format
    }

    /// The location as written.
    pub fn timestamp_location(&self) -> &str {
        &self.timestamp_location
    }

    /// How finely the names tell points in time apart, or nothing if they repeat themselves however much time passes,
    /// because the format leaves out the year or a part of the date that it needs.
    ///
    /// Repetitions after a century (two digits of the year) and in the hour that clocks show twice in autumn do not
    /// count.
    pub fn resolution(&self) -> Option<Resolution> {
        match &self.format {
            Format::Layout(layout) => resolution_of(layout),
            Format::UnixSeconds => Some(Resolution::Second),
        }
    }

    /// Whether snapshots taken at least this far apart have different names.
    pub fn distinguishes(&self, apart: Duration) -> bool {
        self.resolution()
            .is_some_and(|resolution| apart >= resolution.duration())
    }
}

/// Two points in time that most zones see with different offsets.
const SAMPLES: [Timestamp; 2] = [
    Timestamp::constant(1_590_969_600, 0), // 2020-06-01T00:00:00Z
    Timestamp::constant(1_606_780_800, 0), // 2020-12-01T00:00:00Z
];

impl Format {
    fn parse(format: &str, location_text: &str, location: &Location) -> Result<Self, NamingError> {
        let in_utc = |parsed| match location {
            Location::Utc => Ok(parsed),
            Location::Local | Location::Named(_) => Err(NamingError::NotUtc {
                format: format.to_owned(),
                location: location_text.to_owned(),
            }),
        };
        match format.to_lowercase().as_str() {
            // The zeros at the end are no fraction of the second: only a dot or a comma begins one.
            "dense" => in_utc(Self::Layout(Layout::parse("20060102_150405_000"))),
            "human" => in_utc(Self::Layout(Layout::parse("2006-01-02_15:04:05"))),
            "iso-8601" => Ok(Self::Layout(Layout::parse("2006-01-02T15:04:05.000Z0700"))),
            "unix-seconds" => in_utc(Self::UnixSeconds),
            _ if format.contains('+') => Err(NamingError::PlusInFormat {
                format: format.to_owned(),
                location: location_text.to_owned(),
            }),
            _ => Ok(Self::Layout(Layout::parse(format))),
        }
    }
}

/// A step of time that names can tell, the coarsest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Resolution {
    /// A name for each year.
    Year,
    /// A name for each month.
    Month,
    /// A name for each day.
    Day,
    /// A name for each hour.
    Hour,
    /// A name for each minute.
    Minute,
    /// A name for each second.
    Second,
    /// A name for each part of a second.
    Fraction {
        /// Decimal digits, 1 to 9.
        digits: u8,
    },
}

impl Resolution {
    /// The longest time that can pass without a new name, leap seconds and changes of the clock aside.
    pub fn duration(self) -> Duration {
        const HOUR: u64 = 3600;
        match self {
            Self::Year => Duration::from_secs(366 * 24 * HOUR),
            Self::Month => Duration::from_secs(31 * 24 * HOUR),
            Self::Day => Duration::from_secs(24 * HOUR),
            Self::Hour => Duration::from_secs(HOUR),
            Self::Minute => Duration::from_secs(60),
            Self::Second => Duration::from_secs(1),
            Self::Fraction { digits } => {
                Duration::from_nanos(10_u64.pow(9_u32.saturating_sub(digits.into())))
            }
        }
    }
}

impl fmt::Display for Resolution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Year => "year",
            Self::Month => "month",
            Self::Day => "day",
            Self::Hour => "hour",
            Self::Minute => "minute",
            Self::Second => "second",
            Self::Fraction { .. } => "fraction of a second",
        })
    }
}

/// Each unit helps only as far as all coarser ones are there too.
fn resolution_of(layout: &Layout) -> Option<Resolution> {
    let has = |wanted: fn(&Element) -> bool| layout.elements().any(|element| wanted(&element));
    let digits = layout.elements().filter_map(|element| match element {
        Element::Fraction { digits, .. } => u8::try_from(digits.min(9)).ok(),
        _ => None,
    });
    let month = has(|e| {
        matches!(
            e,
            Element::Month(_) | Element::ShortMonthName | Element::LongMonthName
        )
    });
    let day_of_year = has(|e| matches!(e, Element::DayOfYear(_)));
    let half = has(|e| matches!(e, Element::HalfOfDay { .. }));
    let units = [
        (
            has(|e| matches!(e, Element::ShortYear | Element::LongYear)),
            Resolution::Year,
        ),
        (month || day_of_year, Resolution::Month),
        (
            day_of_year || has(|e| matches!(e, Element::Day(_))),
            Resolution::Day,
        ),
        (
            has(|e| matches!(e, Element::Hour)) || half && has(|e| matches!(e, Element::Hour12(_))),
            Resolution::Hour,
        ),
        (has(|e| matches!(e, Element::Minute(_))), Resolution::Minute),
        (has(|e| matches!(e, Element::Second(_))), Resolution::Second),
    ];
    let finest = units.into_iter().take_while(|(there, _)| *there).last()?.1;
    match (finest, digits.max()) {
        (Resolution::Second, Some(digits)) => Some(Resolution::Fraction { digits }),
        (finest, _) => Some(finest),
    }
}

/// Why the configuration makes no names.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NamingError {
    /// An empty prefix would claim every snapshot there is.
    #[error("prefix must not be empty")]
    EmptyPrefix,
    /// ZFS would refuse the name.
    #[error(
        "invalid snapshot name would result from `prefix+$timestamp`: {problem}: {name:?}{}",
        layout_hint(problem)
    )]
    IllegalName {
        /// The key that is to blame.
        key: NamingKey,
        /// What is wrong with the name.
        problem: ComponentProblem,
        /// A name that would result.
        name: String,
    },
    /// The format shows no offset, so it is for UTC only.
    #[error(
        "build timestamp formatter: invalid format string {format:?} or location {location:?}: format string requires UTC \
         location (for other locations, use iso-8601 or a layout of your own)"
    )]
    NotUtc {
        /// The format as written.
        format: String,
        /// The location as written.
        location: String,
    },
    /// The sign of an offset is written `-` in layouts, and ZFS allows no plus signs.
    #[error(
        "build timestamp formatter: invalid format string {format:?} or location {location:?}: character '+' is not allowed \
         in ZFS snapshot names and has special handling (offsets are written -0700 in layouts)"
    )]
    PlusInFormat {
        /// The format as written.
        format: String,
        /// The location as written.
        location: String,
    },
    /// The system's time zone database has no such zone.
    #[error(
        "build timestamp formatter: load location from string {location:?}: {reason} (allowed: UTC, Local, or a zone such \
         as Europe/Berlin)"
    )]
    UnknownLocation {
        /// The location as written.
        location: String,
        /// Why it was not found.
        reason: String,
    },
}

/// A way out, for layouts of `strftime`.
fn layout_hint(problem: &ComponentProblem) -> &'static str {
    match problem {
        ComponentProblem::IllegalCharacter('%') => {
            " (layouts show how 2 January 2006, 15:04:05 is written, such as 2006-01-02_15:04)"
        }
        _ => "",
    }
}

impl NamingError {
    /// The key of the configuration that is to blame.
    pub fn key(&self) -> NamingKey {
        match self {
            Self::EmptyPrefix => NamingKey::Prefix,
            Self::IllegalName { key, .. } => *key,
            Self::PlusInFormat { .. } => NamingKey::TimestampFormat,
            Self::NotUtc { .. } | Self::UnknownLocation { .. } => NamingKey::TimestampLocation,
        }
    }
}

/// The keys of the configuration that make a snapshot's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NamingKey {
    /// `prefix`
    Prefix,
    /// `timestamp_format`
    TimestampFormat,
    /// `timestamp_location`
    TimestampLocation,
}

impl fmt::Display for NamingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Prefix => "prefix",
            Self::TimestampFormat => "timestamp_format",
            Self::TimestampLocation => "timestamp_location",
        })
    }
}

/// Why ZFS would refuse a name.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ComponentProblem {
    /// `.` or `..`
    #[error("must not be '{0}'")]
    Dots(String),
    /// A character that is not allowed.
    #[error("must only contain alphanumeric chars and any in \"-_.: \", found {0:?}")]
    IllegalCharacter(char),
    /// Beyond ASCII.
    #[error("must be ASCII, found {0:?}")]
    NotAscii(char),
    /// Longer than a component can be.
    #[error("must not be longer than {LONGEST} chars, found {0}")]
    TooLong(usize),
}

const LONGEST: usize = 255;

/// zrepl's rules for one component of a name; the name is not empty.
fn check_component(name: &str) -> Result<(), ComponentProblem> {
    let legal = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':' | ' ');
    if name.len() > LONGEST {
        return Err(ComponentProblem::TooLong(name.len()));
    }
    if let Some(c) = name.chars().find(|c| !c.is_ascii()) {
        return Err(ComponentProblem::NotAscii(c));
    }
    if let Some(c) = name.chars().find(|c| !legal(c)) {
        return Err(ComponentProblem::IllegalCharacter(c));
    }
    match name {
        "." | ".." => Err(ComponentProblem::Dots(name.to_owned())),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
