//! Intervals: how often something happens and how long a retention grid's slot is. Text flows in, a positive number of
//! whole seconds flows out; an interval that can be constructed fits zrepl's 64-bit nanoseconds.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use thiserror::Error;

/// A positive time span, written as one whole number and one unit: `10m`, `1h`, `14d`, `2w`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Interval(Duration);

impl Interval {
    /// This many seconds, if that is an interval: at least one, and no more than zrepl can represent.
    pub fn from_secs(seconds: u64) -> Option<Self> {
        (1..=Unit::SECOND.most())
            .contains(&seconds)
            .then_some(Self(Duration::from_secs(seconds)))
    }

    /// The time span: whole seconds, at least one.
    pub fn duration(self) -> Duration {
        self.0
    }
}

impl FromStr for Interval {
    type Err = IntervalError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let malformed = |problem| IntervalError::Malformed {
            text: text.to_owned(),
            problem,
        };
        let parts = Parts::of(text).map_err(malformed)?;
        let zero = parts.digits.bytes().all(|digit| digit == b'0');
        let unit = match parts.unit {
            "" if zero => Unit::SECOND,
            "" => return Err(malformed(IntervalProblem::MissingUnit)),
            name => Unit::named(name).ok_or_else(|| malformed(unknown_unit(name)))?,
        };
        if zero || parts.negative {
            return Err(IntervalError::NotPositive {
                text: text.trim().to_owned(),
            });
        }
        let number = parts.digits.parse::<u64>().ok();
        let number = number.filter(|number| *number <= unit.most());
        let number = number.ok_or_else(|| malformed(IntervalProblem::TooLong(unit)))?;
        Ok(Self(Duration::from_secs(number * unit.seconds)))
    }
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        // Weeks are read, but days say the same and need no arithmetic from the reader.
        let unit = [Unit::DAY, Unit::HOUR, Unit::MINUTE]
            .into_iter()
            .find(|unit| seconds.is_multiple_of(unit.seconds))
            .unwrap_or(Unit::SECOND);
        write!(f, "{}{}", seconds / unit.seconds, unit.name)
    }
}

/// Why a text is no interval.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum IntervalError {
    /// The text does not follow the grammar, or its value is out of range.
    #[error("cannot parse value {text:?}: {problem}")]
    Malformed {
        /// The text as written.
        text: String,
        /// What is wrong with it.
        problem: IntervalProblem,
    },
    /// Zero or less.
    #[error("duration must be positive, got {text}")]
    NotPositive {
        /// The text as written, without surrounding blanks.
        text: String,
    },
}

/// What is wrong with the text of an interval.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum IntervalProblem {
    /// Several numbers with units, as in `1h30m`.
    #[error("must match one number and one unit, such as 90m instead of 1h30m ({UNITS})")]
    Compound,
    /// A decimal number.
    #[error("must match a whole number and one unit, such as 90m instead of 1.5h ({UNITS})")]
    Decimal,
    /// A number without a unit.
    #[error("missing time unit ({UNITS})")]
    MissingUnit,
    /// No number at the beginning.
    #[error(
        "must match a whole number and one unit, such as 10m, but does not begin with a number ({UNITS})"
    )]
    NoNumber,
    /// Longer than zrepl can represent.
    #[error("too long, at most {}{} (292 years) are allowed", .0.most(), .0.name)]
    TooLong(Unit),
    /// A unit that does not exist.
    #[error("contains unknown time unit '{0}' ({UNITS})")]
    UnknownUnit(String),
}

const UNITS: &str = "allowed units: s, m, h, d, w";

/// A unit of intervals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unit {
    name: &'static str,
    seconds: u64,
}

impl Unit {
    const SECOND: Self = Self::new("s", 1);
    const MINUTE: Self = Self::new("m", 60);
    const HOUR: Self = Self::new("h", 60 * 60);
    const DAY: Self = Self::new("d", 24 * 60 * 60);
    const WEEK: Self = Self::new("w", 7 * 24 * 60 * 60);

    const fn new(name: &'static str, seconds: u64) -> Self {
        Self { name, seconds }
    }

    fn named(name: &str) -> Option<Self> {
        [
            Self::SECOND,
            Self::MINUTE,
            Self::HOUR,
            Self::DAY,
            Self::WEEK,
        ]
        .into_iter()
        .find(|unit| unit.name == name)
    }

    /// The largest number of this unit within zrepl's range, a signed 64-bit number of nanoseconds.
    fn most(self) -> u64 {
        i64::MAX.unsigned_abs() / 1_000_000_000 / self.seconds
    }
}

struct Parts<'a> {
    negative: bool,
    digits: &'a str,
    /// Whatever follows the number and blanks.
    unit: &'a str,
}

impl<'a> Parts<'a> {
    fn of(text: &'a str) -> Result<Self, IntervalProblem> {
        let text = text.trim_matches(is_blank);
        let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
        let end = unsigned
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(unsigned.len());
        let (digits, rest) = unsigned.split_at(end);
        if rest.starts_with(['.', ',']) {
            return Err(IntervalProblem::Decimal);
        }
        if digits.is_empty() {
            return Err(IntervalProblem::NoNumber);
        }
        Ok(Self {
            negative: text.starts_with('-'),
            digits,
            unit: rest.trim_start_matches(is_blank),
        })
    }
}

/// The blanks of Go's regular expressions, which know no others.
fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r' | '\x0c')
}

fn unknown_unit(name: &str) -> IntervalProblem {
    if name.contains(|c: char| c.is_ascii_digit()) {
        IntervalProblem::Compound
    } else {
        IntervalProblem::UnknownUnit(name.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_number_and_one_unit_make_an_interval() {
        for (text, seconds) in [
            ("1s", 1),
            ("10m", 600),
            ("1h", 3_600),
            ("1d", 86_400),
            ("1w", 604_800),
            ("+5m", 300),
            ("007s", 7),
            ("  10 \t m\n", 600),
            ("9223372036s", 9_223_372_036),
            ("15250w", 15_250 * 604_800),
        ] {
            let interval: Interval = text.parse().unwrap();
            assert_eq!(interval.duration(), Duration::from_secs(seconds), "{text}");
        }
    }

    #[test]
    fn errors_say_what_was_found_and_what_is_allowed() {
        for (text, message) in [
            ("0", "duration must be positive, got 0"),
            ("0h", "duration must be positive, got 0h"),
            (" -0 ", "duration must be positive, got -0"),
            ("-5m", "duration must be positive, got -5m"),
            (
                "-99999999999999999999s",
                "duration must be positive, got -99999999999999999999s",
            ),
            (
                "10",
                r#"cannot parse value "10": missing time unit (allowed units: s, m, h, d, w)"#,
            ),
            ("-3", r#"cannot parse value "-3": missing time unit"#),
            (
                "1h30m",
                r#"cannot parse value "1h30m": must match one number and one unit, such as 90m"#,
            ),
            ("1h 30m", "must match one number and one unit"),
            ("1 2m", "must match one number and one unit"),
            (
                "1.5h",
                r#"cannot parse value "1.5h": must match a whole number"#,
            ),
            ("1,5h", "a whole number"),
            (".5h", "a whole number"),
            (
                "1y",
                "contains unknown time unit 'y' (allowed units: s, m, h, d, w)",
            ),
            ("1M", "contains unknown time unit 'M'"),
            ("5ms", "contains unknown time unit 'ms'"),
            ("10 min", "contains unknown time unit 'min'"),
            ("5\u{a0}m", "contains unknown time unit '\u{a0}m'"),
            (
                "",
                r#"cannot parse value "": must match a whole number and one unit, such as 10m, but does not begin"#,
            ),
            ("h", "does not begin with a number"),
            ("manual", "does not begin with a number"),
            ("- 5m", "does not begin with a number"),
            ("--5m", "does not begin with a number"),
            (
                "15251w",
                r#"cannot parse value "15251w": too long, at most 15250w (292 years) are allowed"#,
            ),
            ("9223372037s", "at most 9223372036s"),
            ("18446744073709551617d", "at most 106751d"),
        ] {
            let error = text.parse::<Interval>().unwrap_err().to_string();
            assert!(error.contains(message), "{text:?}: {error}");
        }
    }

    #[test]
    fn prints_the_largest_unit_that_divides() {
        for (text, printed) in [
            ("1w", "7d"),
            ("24h", "1d"),
            ("25h", "25h"),
            ("60m", "1h"),
            ("90 m", "90m"),
            ("61s", "61s"),
        ] {
            assert_eq!(text.parse::<Interval>().unwrap().to_string(), printed);
        }
    }

    proptest! {
        #[test]
        fn printed_text_parses_to_the_same_interval(number in 1u64..=15_250, unit in "[smhdw]") {
            let interval: Interval = format!("{number}{unit}").parse().unwrap();
            prop_assert_eq!(interval.to_string().parse(), Ok(interval));
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in "[-+0-9smhdw. ]{0,24}") {
            let _ = text.parse::<Interval>();
        }
    }
}
