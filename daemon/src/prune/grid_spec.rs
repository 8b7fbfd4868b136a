//! The text form of a retention grid, `1x1h(keep=all) | 24x1h | 14x1d`: intervals from the youngest to the oldest.

use std::fmt;
use std::str::FromStr;

use super::grid::{Interval, Keep, RetentionGrid};
use crate::interval::{Interval as Length, IntervalError};

/// What Go trims and skips as `\s`.
const BLANKS: [char; 5] = [' ', '\t', '\n', '\x0C', '\r'];

/// Why a text is not a grid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GridError {
    /// One of the intervals is none.
    #[error("cannot parse interval {number} of {count}: {problem}: {text}")]
    Interval {
        /// Which one, from 1.
        number: usize,
        /// How many there are.
        count: usize,
        /// What is wrong with it.
        problem: IntervalProblem,
        /// The interval as written.
        text: String,
    },
    /// Intervals that get shorter into the past.
    #[error(
        "retention grid interval length must be monotonically increasing, but interval {number} of {count} is shorter \
         than the one before"
    )]
    Order {
        /// The shorter one, from 1.
        number: usize,
        /// How many there are.
        count: usize,
    },
    /// More seconds than fit in 64 bits.
    #[error(
        "the retention grid is too long: up to interval {number} of {count} it spans more than 2^64 seconds"
    )]
    Span {
        /// Which one is too much, from 1.
        number: usize,
        /// How many there are.
        count: usize,
    },
}

/// What is wrong with one interval.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IntervalProblem {
    /// Repeated zero times.
    #[error("contains factor <= 0")]
    Factor,
    /// Not `REPEAT x LENGTH (PARAMETER)`.
    #[error("retention string does not match expected format REPEAT x LENGTH [ (keep=N|all) ]")]
    Format,
    /// Not a number, nor `all`.
    #[error(
        "cannot parse keep_count value {0:?}: must be `all` or a number, without blanks around it"
    )]
    Keep(String),
    /// A number that makes no sense.
    #[error("keep count {0} is not allowed: must be at least 1, or `all`")]
    KeepRange(i64),
    /// Not a length.
    #[error(transparent)]
    Length(#[from] IntervalError),
    /// Something else than `keep=` in parentheses.
    #[error("interval parameter contains unknown parameters: {0:?} is not `keep=N` or `keep=all`")]
    Parameter(String),
    /// Too many.
    #[error("factor {0} is too large: at most {max} is allowed", max = u32::MAX)]
    Repeat(String),
}

impl FromStr for RetentionGrid {
    type Err = GridError;

    fn from_str(text: &str) -> Result<Self, GridError> {
        let count = text.split('|').count();
        let intervals = text
            .split('|')
            .zip(1..)
            .map(|(text, number)| {
                interval(text).map_err(|problem| GridError::Interval {
                    number,
                    count,
                    problem,
                    text: text.trim_matches(BLANKS).to_owned(),
                })
            })
            .collect::<Result<Vec<_>, _>>()?;
        Self::new(intervals)
    }
}

impl fmt::Display for RetentionGrid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, interval) in self.intervals().iter().enumerate() {
            f.write_str(if index > 0 { " | " } else { "" })?;
            interval.fmt(f)?;
        }
        Ok(())
    }
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.repeat(), self.length())?;
        match self.keep() {
            Keep::All => f.write_str("(keep=all)"),
            Keep::Oldest(1) => Ok(()),
            Keep::Oldest(count) => write!(f, "(keep={count})"),
        }
    }
}

fn interval(text: &str) -> Result<Interval, IntervalProblem> {
    let text = text.trim_matches(BLANKS);
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (repeat, rest) = text.split_at(digits);
    let rest = rest
        .trim_start_matches(BLANKS)
        .strip_prefix('x')
        .filter(|_| digits > 0)
        .ok_or(IntervalProblem::Format)?;
    let (length, parameter) = match rest.split_once('(') {
        None => (rest, None),
        Some((length, parameter)) => {
            let parameter = parameter.strip_suffix(')').ok_or(IntervalProblem::Format)?;
            (length, Some(parameter))
        }
    };
    if length.is_empty() {
        return Err(IntervalProblem::Format);
    }
    let repeat = match repeat.trim_start_matches('0') {
        "" => return Err(IntervalProblem::Factor),
        digits => digits
            .parse()
            .map_err(|_| IntervalProblem::Repeat(digits.to_owned()))?,
    };
    let length = length.parse::<Length>()?;
    let keep = parameter.map_or(Ok(Keep::Oldest(1)), parse_keep)?;
    Ok(Interval::new(repeat, length, keep))
}

fn parse_keep(parameter: &str) -> Result<Keep, IntervalProblem> {
    let value = parameter
        .trim_start_matches(BLANKS)
        .strip_prefix("keep=")
        .filter(|value| !value.is_empty())
        .ok_or_else(|| IntervalProblem::Parameter(parameter.to_owned()))?;
    if value == "all" {
        return Ok(Keep::All);
    }
    let count: i64 = value
        .parse()
        .map_err(|_| IntervalProblem::Keep(value.to_owned()))?;
    match count {
        -1 => Ok(Keep::All),
        1.. => usize::try_from(count)
            .map(Keep::Oldest)
            .map_err(|_| IntervalProblem::KeepRange(count)),
        _ => Err(IntervalProblem::KeepRange(count)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn grids_are_read_and_written() {
        let cases = [
            ("1x1h", "1x1h"),
            (
                "1x1h(keep=all) | 24x1h | 14x1d",
                "1x1h(keep=all) | 24x1h | 14x1d",
            ),
            (" 01 x 60m ( keep=3)|2x\t7d", "1x1h(keep=3) | 2x7d"),
            ("1x1h(keep=-1)", "1x1h(keep=all)"),
            ("1x1h(keep=+2)", "1x1h(keep=2)"),
            ("1x1h(keep=1)", "1x1h"),
            ("10x +90 s", "10x90s"),
            (
                "1x2d(keep=all)|1x1d(keep=all)|1x1h",
                "1x2d(keep=all) | 1x1d(keep=all) | 1x1h",
            ),
            ("4294967295x1w", "4294967295x7d"),
        ];
        for (text, canonical) in cases {
            let grid: RetentionGrid = text.parse().unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!(grid.to_string(), canonical);
            assert_eq!(canonical.parse(), Ok(grid));
        }
    }

    #[test]
    fn bad_grids_say_which_interval_is_bad_and_why() {
        let cases = [
            (
                "1x1h|0x1h|1x1h",
                "cannot parse interval 2 of 3: contains factor <= 0: 0x1h",
            ),
            (
                "",
                "cannot parse interval 1 of 1: retention string does not match expected format",
            ),
            (
                "1x1h|",
                "interval 2 of 2: retention string does not match expected format",
            ),
            ("1h", "retention string does not match expected format"),
            ("-1x1h", "retention string does not match expected format"),
            ("x1h", "retention string does not match expected format"),
            ("1x", "retention string does not match expected format"),
            (
                "1x(keep=1)",
                "retention string does not match expected format",
            ),
            (
                "1x1h(keep=1",
                "retention string does not match expected format",
            ),
            (
                "1x1h(keep=1) y",
                "retention string does not match expected format",
            ),
            ("1x1", "missing time unit"),
            ("1x1y", "cannot parse value \"1y\": contains unknown"),
            ("1x1.5h", "cannot parse value \"1.5h\": must match"),
            ("1x1h30m", "cannot parse value \"1h30m\": must match"),
            ("1x ", "retention string does not match expected format"),
            ("1xh", "cannot parse value \"h\": must match"),
            ("1x0h", "duration must be positive, got 0h"),
            ("1x0", "duration must be positive, got 0"),
            ("1x-1h", "duration must be positive, got -1h"),
            ("1x15251w", "too long, at most 15250w (292 years)"),
            ("1x99999999999999999999s", "too long, at most"),
            (
                "1x1h()",
                "interval parameter contains unknown parameters: \"\"",
            ),
            (
                "1x1h(keep=)",
                "interval parameter contains unknown parameters",
            ),
            (
                "1x1h(keep =1)",
                "interval parameter contains unknown parameters",
            ),
            (
                "1x1h(count=1)",
                "interval parameter contains unknown parameters",
            ),
            ("1x1h(keep= 1)", "cannot parse keep_count value \" 1\""),
            ("1x1h(keep=1 )", "cannot parse keep_count value \"1 \""),
            ("1x1h(keep=ALL)", "cannot parse keep_count value \"ALL\""),
            ("1x1h(keep=1.5)", "cannot parse keep_count value"),
            (
                "1x1h(keep=99999999999999999999)",
                "cannot parse keep_count value",
            ),
            (
                "1x1h(keep=0)",
                "keep count 0 is not allowed: must be at least 1, or `all`: 1x1h(keep=0)",
            ),
            ("1x1h(keep=-2)", "keep count -2 is not allowed"),
            ("4294967296x1s", "factor 4294967296 is too large"),
            (
                "1x2h|1x1h",
                "retention grid interval length must be monotonically increasing, but interval 2 of 2 is",
            ),
            (
                "1x1h(keep=all)|1x2h|1x1h(keep=all)",
                "but interval 3 of 3 is shorter",
            ),
            ("1x1h(keep=2)|1x1m", "but interval 2 of 2 is shorter"),
            (
                "4294967295x15250w|4294967295x15250w",
                "the retention grid is too long: up to interval 1 of 2",
            ),
        ];
        for (text, expected) in cases {
            let error = text.parse::<RetentionGrid>().expect_err(text).to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(parts in proptest::collection::vec(
            (1_u32..99, 1_u64..1_000_000, proptest::option::of(1_usize..9)), 1..5)) {
            let intervals: Vec<_> = parts.into_iter().map(|(repeat, seconds, keep)| {
                Interval::new(repeat, Length::from_secs(seconds).expect("short"), keep.map_or(Keep::All, Keep::Oldest))
            }).collect();
            if let Ok(grid) = RetentionGrid::new(intervals) {
                prop_assert_eq!(grid.to_string().parse(), Ok(grid));
            }
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[0-9x|hd()kep=al \t+-]{0,20}") {
            let _ = text.parse::<RetentionGrid>();
        }
    }
}
