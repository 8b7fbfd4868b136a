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
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn naming(format: &str, location: &str) -> SnapshotNaming {
        SnapshotNaming::new("zrepl_", format, location)
            .unwrap_or_else(|error| panic!("{format:?} {location:?}: {error}"))
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn names_are_prefix_and_timestamp() {
        const AT: &str = "2023-10-11T09:08:07.123Z";
        for (format, location, timestamp) in [
            ("dense", "UTC", "20231011_090807_000"),
            ("DENSE", "", "20231011_090807_000"),
            ("human", "UTC", "2023-10-11_09:08:07"),
            ("Human", "UTC", "2023-10-11_09:08:07"),
            ("iso-8601", "UTC", "2023-10-11T09:08:07.123Z"),
            ("ISO-8601", "Europe/Berlin", "2023-10-11T11:08:07.123_0200"),
            (
                "iso-8601",
                "America/New_York",
                "2023-10-11T05:08:07.123-0400",
            ),
            ("iso-8601", "Europe/Lisbon", "2023-10-11T10:08:07.123_0100"),
            ("unix-seconds", "UTC", "1697015287"),
            ("Unix-Seconds", "UTC", "1697015287"),
            (
                "2006-01-02_15:04:05-07:00:00",
                "Europe/Berlin",
                "2023-10-11_11:08:07_02:00:00",
            ),
            ("06-Jan-02", "Asia/Tokyo", "23-Oct-11"),
            ("2006-01-02T15MST", "Europe/Berlin", "2023-10-11T11CEST"),
            ("2006-01-02T15-0700", "UTC", "2023-10-11T09_0000"),
            ("2006-01-02T15MST-07", "Asia/Dubai", "2023-10-11T13_04_04"),
            ("unix", "UTC", "unix"),
            ("", "UTC", ""),
        ] {
            let name = naming(format, location).name_at(at(AT));
            assert_eq!(name, format!("zrepl_{timestamp}"), "{format} {location}");
        }
    }

    #[test]
    fn the_sign_of_an_offset_is_that_of_the_time_named() {
        let lisbon = naming("iso-8601", "Europe/Lisbon");
        for (time, name) in [
            ("2024-01-01T00:00:00Z", "zrepl_2024-01-01T00:00:00.000Z"),
            ("2024-07-01T00:00:00Z", "zrepl_2024-07-01T01:00:00.000_0100"),
        ] {
            assert_eq!(lisbon.name_at(at(time)), name);
        }
        // UTC in winter, although the layout never says Z.
        let layout = naming("2006-01-02T15-0700", "Europe/Lisbon");
        assert_eq!(
            layout.name_at(at("2024-01-01T00:00:00Z")),
            "zrepl_2024-01-01T00_0000"
        );
        // On either side of UTC.
        let azores = naming("2006-01-02T15-0700", "Atlantic/Azores");
        assert_eq!(
            azores.name_at(at("2024-01-01T02:00:00Z")),
            "zrepl_2024-01-01T01-0100"
        );
        assert_eq!(
            azores.name_at(at("2024-07-01T02:00:00Z")),
            "zrepl_2024-07-01T02_0000"
        );
    }

    #[test]
    fn the_local_zone_is_no_utc_even_if_it_shows_the_same() {
        assert!(SnapshotNaming::new("p", "iso-8601", "Local").is_ok());
        for location in ["Local", "Etc/UTC", "Europe/Berlin"] {
            for format in ["dense", "human", "unix-seconds", "HUMAN"] {
                let error = SnapshotNaming::new("p", format, location).unwrap_err();
                assert_eq!(error.key(), NamingKey::TimestampLocation);
                let expected = format!(
                    "build timestamp formatter: invalid format string {format:?} or location {location:?}: format string \
                     requires UTC location"
                );
                assert!(error.to_string().starts_with(&expected), "{error}");
            }
        }
    }

    #[test]
    fn errors_blame_one_key() {
        let long = "x".repeat(240);
        let longer = "x".repeat(300);
        for (prefix, format, location, key, message) in [
            (
                "",
                "dense",
                "UTC",
                NamingKey::Prefix,
                "prefix must not be empty",
            ),
            (
                "zrepl@",
                "dense",
                "UTC",
                NamingKey::Prefix,
                "invalid snapshot name would result from `prefix+$timestamp`: must only contain alphanumeric chars and any in \
                 \"-_.: \", found '@': \"zrepl@20200601_000000_000\"",
            ),
            ("a/b", "dense", "UTC", NamingKey::Prefix, "found '/'"),
            ("zrepl+", "dense", "UTC", NamingKey::Prefix, "found '+'"),
            (
                "zrépl_",
                "dense",
                "UTC",
                NamingKey::Prefix,
                "must be ASCII, found 'é'",
            ),
            (
                &long,
                "dense",
                "UTC",
                NamingKey::Prefix,
                "must not be longer than 255 chars, found 259",
            ),
            (&longer, "dense", "UTC", NamingKey::Prefix, "found 319"),
            (
                "p",
                &longer,
                "UTC",
                NamingKey::TimestampFormat,
                "must not be longer than 255 chars, found 301",
            ),
            (".", "", "UTC", NamingKey::Prefix, "must not be '.'"),
            (".", ".", "UTC", NamingKey::Prefix, "must not be '..'"),
            (
                "p",
                "2006/01/02",
                "UTC",
                NamingKey::TimestampFormat,
                "found '/': \"p2020/06/01\"",
            ),
            (
                "p",
                "2006年",
                "UTC",
                NamingKey::TimestampFormat,
                "must be ASCII, found '年'",
            ),
            (
                "p",
                "15:04+07",
                "UTC",
                NamingKey::TimestampFormat,
                "build timestamp formatter: invalid format string \"15:04+07\" or location \"UTC\": character '+' is not \
                 allowed in ZFS snapshot names and has special handling",
            ),
            (
                "p",
                "dense",
                "Europe/Atlantis",
                NamingKey::TimestampLocation,
                "build timestamp formatter: load location from string \"Europe/Atlantis\": ",
            ),
            (
                "p",
                "dense",
                "utc+1",
                NamingKey::TimestampLocation,
                "load location from string",
            ),
        ] {
            let error = SnapshotNaming::new(prefix, format, location).unwrap_err();
            assert_eq!(error.key(), key, "{error}");
            assert!(error.to_string().contains(message), "{error}");
        }
        let most = "x".repeat(236);
        assert!(SnapshotNaming::new(&most, "dense", "UTC").is_ok());
    }

    #[test]
    fn resolution_needs_all_coarser_units() {
        let fraction = |digits| Some(Resolution::Fraction { digits });
        for (format, location, resolution) in [
            ("dense", "UTC", Some(Resolution::Second)),
            ("human", "UTC", Some(Resolution::Second)),
            ("iso-8601", "UTC", fraction(3)),
            ("unix-seconds", "UTC", Some(Resolution::Second)),
            ("2006-01-02_15:04:05.000000", "UTC", fraction(6)),
            ("2006-01-02_15:04:05.99999999999", "UTC", fraction(9)),
            ("2006-01-02_15:04.000", "UTC", Some(Resolution::Minute)),
            ("2006-01-02_15:04", "UTC", Some(Resolution::Minute)),
            ("2006-01-02_15", "UTC", Some(Resolution::Hour)),
            ("2006-01-02_03PM", "UTC", Some(Resolution::Hour)),
            ("2006-01-02_03", "UTC", Some(Resolution::Day)),
            ("2006-01-02_04", "UTC", Some(Resolution::Day)),
            ("2006-01-02", "UTC", Some(Resolution::Day)),
            ("06.002", "UTC", Some(Resolution::Day)),
            ("Jan 2006", "UTC", Some(Resolution::Month)),
            ("2006-02_15", "UTC", Some(Resolution::Year)),
            ("2006", "UTC", Some(Resolution::Year)),
            ("01-02_15:04:05", "UTC", None),
            ("15:04", "Europe/Berlin", None),
            ("Mon", "UTC", None),
            ("daily", "UTC", None),
        ] {
            assert_eq!(
                naming(format, location).resolution(),
                resolution,
                "{format}"
            );
        }
    }

    #[test]
    fn snapshots_one_unit_apart_are_distinguished() {
        for (format, shortest) in [
            ("iso-8601", Duration::from_millis(1)),
            ("dense", Duration::from_secs(1)),
            ("200601021504", Duration::from_secs(60)),
            ("20060102", Duration::from_secs(86_400)),
            ("200601", Duration::from_secs(31 * 86_400)),
        ] {
            let naming = naming(format, "UTC");
            assert!(naming.distinguishes(shortest), "{format}");
            let shorter = shortest.checked_sub(Duration::from_nanos(1)).unwrap();
            assert!(!naming.distinguishes(shorter), "{format}");
        }
        assert!(!naming("15:04", "UTC").distinguishes(Duration::MAX));
    }

    #[test]
    fn keeps_what_was_written() {
        let naming = SnapshotNaming::new("zrepl_", "ISO-8601", "").unwrap();
        assert_eq!(naming.prefix(), "zrepl_");
        assert_eq!(naming.timestamp_format(), "ISO-8601");
        assert_eq!(naming.timestamp_location(), "");
    }

    proptest! {
        #[test]
        fn names_differ_at_the_resolution(
            format in prop::sample::select(vec![
                "dense", "human", "iso-8601", "unix-seconds", "2006-01-02_15:04", "06__2 3pm", "Jan 2, 2006", "1/06",
            ].into_iter().map(|f| f.replace('/', ".").replace(',', "")).collect::<Vec<_>>()),
            start in 0..4_000_000_000_i64,
            more in 0..10_000_000_u64,
        ) {
            let naming = naming(&format, "UTC");
            let start = Timestamp::from_second(start).unwrap();
            let apart = naming.resolution().unwrap().duration() + Duration::from_secs(more);
            prop_assert_ne!(naming.name_at(start), naming.name_at(start + apart));
        }

        #[test]
        fn names_are_legal_at_any_time(
            format in "[-_.: 0-9a-zA-Z]{0,30}",
            location in prop::sample::select(vec!["UTC", "Europe/Berlin", "America/New_York", "Atlantic/Azores"]),
            seconds in 0..4_000_000_000_i64,
        ) {
            let naming = naming(&format, location);
            let name = naming.name_at(Timestamp::from_second(seconds).unwrap());
            prop_assert_eq!(check_component(&name), Ok(()), "{}", name);
        }
    }
}
