//! Cron specifications, as robfig/cron v3 reads them with the options zrepl gives it. Text flows in, a specification that
//! matches some day of the calendar flows out; it answers when the next match is, from a given time on. A specification
//! names times of the clock on the wall: one that the clock skips in spring has no match on that day, and one that it
//! shows twice in autumn matches twice.

mod field;

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use thiserror::Error;

pub use field::{Field, FieldProblem};

use super::location::Location;
use field::Values;

/// When something happens: seconds (optional), minutes, hours, days of the month, months and days of the week.
///
/// Two specifications are equal when their texts are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CronSpec {
    text: String,
    location: Location,
    second: Values,
    minute: Values,
    hour: Values,
    day_of_month: Values,
    month: Values,
    day_of_week: Values,
}

impl CronSpec {
    /// The first time after `after` (never `after` itself) that matches, with whole seconds.
    ///
    /// Clocks are read in the zone that the specification begins with (`TZ=`, `CRON_TZ=`), or else in `local`. Nothing is
    /// returned if there is no match in this year and the five after it, as with 29 February around the year 2100.
    pub fn next(&self, after: Timestamp, local: &TimeZone) -> Option<Timestamp> {
        let zone = self.location.zone(|| local.clone());
        let mut start = next_whole_second(after)?;
        let last_year = zone.to_datetime(start).year() + YEARS;
        // Between two transitions of the zone, the clock on the wall runs steadily: search there, one after the other.
        let mut transitions = zone.following(after);
        loop {
            let end = transitions.next().map(|transition| transition.timestamp());
            let offset = zone.to_offset(start);
            let clock = offset.to_datetime(start);
            if clock.year() > last_year {
                return None;
            }
            let limit = end.map_or(DateTime::MAX, |end| offset.to_datetime(end));
            if let Some(found) = self.next_on_clock(clock, limit, last_year) {
                return offset.to_timestamp(found).ok();
            }
            start = end?;
        }
    }

    /// The first match from `start` on and before `limit`, on a clock that never jumps.
    fn next_on_clock(&self, start: DateTime, limit: DateTime, last_year: i16) -> Option<DateTime> {
        let mut date = start.date();
        let mut earliest = start.time();
        while date <= limit.date() && date.year() <= last_year {
            if self.matches_day(date)
                && let Some(time) = self.first_time(earliest)
            {
                return Some(date.to_datetime(time)).filter(|found| *found < limit);
            }
            date = date.tomorrow().ok()?;
            earliest = Time::midnight();
        }
        None
    }

    /// Days of the month and of the week widen each other when both are restricted, and narrow each other otherwise.
    fn matches_day(&self, date: Date) -> bool {
        let weekday = date.weekday().to_sunday_zero_offset();
        let day_of_month = self.day_of_month.contains(date.day());
        let day_of_week = self.day_of_week.contains(weekday);
        let day = if self.days_widen_each_other() {
            day_of_month || day_of_week
        } else {
            day_of_month && day_of_week
        };
        day && self.month.contains(date.month())
    }

    fn days_widen_each_other(&self) -> bool {
        !self.day_of_month.star && !self.day_of_week.star
    }

    /// The first matching time of a day that is not before `earliest`.
    fn first_time(&self, earliest: Time) -> Option<Time> {
        let at = |hour, minute, second| Time::new(hour, minute, second, 0).ok();
        let (first_minute, first_second) = (self.minute.from(0)?, self.second.from(0)?);
        let hour = self.hour.from(earliest.hour())?;
        if hour > earliest.hour() {
            return at(hour, first_minute, first_second);
        }
        if let Some(minute) = self.minute.from(earliest.minute()) {
            if minute > earliest.minute() {
                return at(hour, minute, first_second);
            }
            if let Some(second) = self.second.from(earliest.second()) {
                return at(hour, minute, second);
            }
            if let Some(minute) = self.minute.from(minute + 1) {
                return at(hour, minute, first_second);
            }
        }
        at(self.hour.from(hour + 1)?, first_minute, first_second)
    }

    /// Whether the calendar has a day that matches. Only a day of the month can be missing, and only when the day of
    /// the week does not help out.
    fn is_satisfiable(&self) -> bool {
        let longest = |month| match month {
            2 => 29,
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        };
        let first_day = self.day_of_month.from(1);
        let exists = |month| first_day.is_some_and(|day| day <= longest(month));
        self.days_widen_each_other()
            || (1..=12).any(|month| self.month.contains(month) && exists(month))
    }
}

/// How many years after the current one are searched.
const YEARS: i16 = 5;

fn next_whole_second(after: Timestamp) -> Option<Timestamp> {
    let second = after.as_nanosecond().div_euclid(1_000_000_000) + 1;
    Timestamp::from_second(i64::try_from(second).ok()?).ok()
}

impl FromStr for CronSpec {
    type Err = CronSpecError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() {
            return Err(CronSpecError::Empty);
        }
        let (location, fields) = split_location(text)?;
        if fields.starts_with('@') {
            return Err(CronSpecError::Descriptor(fields.to_owned()));
        }
        let mut fields: Vec<&str> = fields.split_whitespace().collect();
        match fields.len() {
            5 => fields.insert(0, "0"),
            6 => (),
            found => {
                let fields = fields.join(" ");
                return Err(CronSpecError::FieldCount { found, fields });
            }
        }
        let spec = Self {
            text: text.to_owned(),
            location,
            second: Field::SECOND.values(fields[0])?,
            minute: Field::MINUTE.values(fields[1])?,
            hour: Field::HOUR.values(fields[2])?,
            day_of_month: Field::DAY_OF_MONTH.values(fields[3])?,
            month: Field::MONTH.values(fields[4])?,
            day_of_week: Field::DAY_OF_WEEK.values(fields[5])?,
        };
        if !spec.is_satisfiable() {
            return Err(CronSpecError::Unsatisfiable {
                day_of_month: fields[3].to_owned(),
                month: fields[4].to_owned(),
            });
        }
        Ok(spec)
    }
}

/// Takes the zone off the beginning, if there is one.
fn split_location(text: &str) -> Result<(Location, &str), CronSpecError> {
    let prefixed = text
        .strip_prefix("TZ=")
        .or_else(|| text.strip_prefix("CRON_TZ="));
    let Some(rest) = prefixed else {
        return Ok((Location::Local, text));
    };
    let (name, fields) = rest
        .split_once(char::is_whitespace)
        .ok_or_else(|| CronSpecError::OnlyLocation(rest.to_owned()))?;
    let location = Location::load(name).map_err(|error| CronSpecError::Location {
        name: name.to_owned(),
        reason: error.to_string(),
    })?;
    Ok((location, fields.trim()))
}

impl fmt::Display for CronSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Why a text is no cron specification.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CronSpecError {
    /// A word such as `@daily`.
    #[error(
        "cron syntax invalid: parser does not accept descriptors: {0} (write the fields, such as 0 0 * * * for every day)"
    )]
    Descriptor(String),
    /// No text.
    #[error("cron syntax invalid: empty spec string, {FIELDS} are expected")]
    Empty,
    /// Something is wrong in one field.
    #[error("cron syntax invalid: {field} {text:?}: {problem} (allowed: {})", field.allowed())]
    Field {
        /// The field.
        field: Field,
        /// The item of the field's list.
        text: String,
        /// What is wrong with it.
        problem: FieldProblem,
    },
    /// Too few or too many fields.
    #[error("cron syntax invalid: expected 5 to 6 fields, found {found}: [{fields}] ({FIELDS})")]
    FieldCount {
        /// How many there are.
        found: usize,
        /// The text of the fields.
        fields: String,
    },
    /// A time zone that the system does not know.
    #[error("cron syntax invalid: provided bad location {name}: {reason}")]
    Location {
        /// The name of the zone as written.
        name: String,
        /// Why it was not found.
        reason: String,
    },
    /// A time zone and nothing else.
    #[error(
        "cron syntax invalid: {FIELDS} are expected after the time zone {0:?}, and a blank between"
    )]
    OnlyLocation(String),
    /// No day of any year matches.
    #[error(
        "cron syntax invalid: no month in {month:?} has a day in {day_of_month:?}, so this time never comes (zrepl 0.7.0 \
         took snapshots without pause)"
    )]
    Unsatisfiable {
        /// The field of the days of the month as written.
        day_of_month: String,
        /// The field of the months as written.
        month: String,
    },
}

const FIELDS: &str =
    "minute, hour, day of month, month, day of week, with or without second before them";

#[cfg(test)]
mod tests;
