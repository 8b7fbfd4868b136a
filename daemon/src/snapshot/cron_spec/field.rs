//! The fields of a cron specification: text flows in, the set of numbers it stands for flows out.

use std::fmt;

use thiserror::Error;

use super::CronSpecError;

/// A set of numbers from 0 to 63.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Values {
    bits: u64,
    /// Whether `*` or `?` was among them, and not thinned out by a step.
    pub(super) star: bool,
}

impl Values {
    const NONE: Self = Self {
        bits: 0,
        star: false,
    };

    pub(super) fn contains(self, value: i8) -> bool {
        self.from(value) == Some(value)
    }

    /// The smallest of these numbers that is not below `value`.
    pub(super) fn from(self, value: i8) -> Option<i8> {
        let below = u32::try_from(value)
            .ok()
            .and_then(|shift| 1_u64.checked_shl(shift))?
            - 1;
        let rest = self.bits & !below;
        (rest != 0).then(|| i8::try_from(rest.trailing_zeros()).ok())?
    }

    fn with(self, other: Self) -> Self {
        Self {
            bits: self.bits | other.bits,
            star: self.star || other.star,
        }
    }
}

/// A field of the specification: what it is called and which numbers it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    name: &'static str,
    min: u32,
    max: u32,
    /// Words for the numbers from `min` on.
    words: &'static [&'static str],
}

impl Field {
    pub(super) const SECOND: Self = Self::new("second", 0, 59, &[]);
    pub(super) const MINUTE: Self = Self::new("minute", 0, 59, &[]);
    pub(super) const HOUR: Self = Self::new("hour", 0, 23, &[]);
    pub(super) const DAY_OF_MONTH: Self = Self::new("day of month", 1, 31, &[]);
    pub(super) const MONTH: Self = Self::new("month", 1, 12, &MONTHS);
    pub(super) const DAY_OF_WEEK: Self = Self::new("day of week", 0, 6, &DAYS_OF_WEEK);

    const fn new(name: &'static str, min: u32, max: u32, words: &'static [&'static str]) -> Self {
        Self {
            name,
            min,
            max,
            words,
        }
    }

    /// The numbers of a list of ranges, which is what a field's text is.
    pub(super) fn values(self, text: &str) -> Result<Values, CronSpecError> {
        // Empty parts between commas are skipped by robfig/cron, and so here.
        let ranges = text.split(',').filter(|range| !range.is_empty());
        let mut values = None;
        for range in ranges {
            let more = self.range(range).map_err(|problem| CronSpecError::Field {
                field: self,
                text: range.to_owned(),
                problem,
            })?;
            values = Some(values.unwrap_or(Values::NONE).with(more));
        }
        values.ok_or_else(|| CronSpecError::Field {
            field: self,
            text: text.to_owned(),
            problem: FieldProblem::NoValue,
        })
    }

    /// `*`, `N` or `N-M`, each with a step if it likes: `*/2`, `N/2` (which is `N-max/2`), `N-M/2`.
    fn range(self, text: &str) -> Result<Values, FieldProblem> {
        let mut slashes = text.split('/');
        let (bounds, step) = (slashes.next().unwrap_or_default(), slashes.next());
        if slashes.next().is_some() {
            return Err(FieldProblem::TooManySlashes);
        }
        let mut hyphens = bounds.split('-');
        let (low, high) = (hyphens.next().unwrap_or_default(), hyphens.next());
        let mut star = matches!(low, "*" | "?");
        if !star && hyphens.next().is_some() {
            return Err(FieldProblem::TooManyHyphens);
        }
        // What follows a star and a hyphen has no meaning to robfig/cron, and does not disturb it.
        let (start, mut end) = match (star, high) {
            (true, _) => (self.min, self.max),
            (false, None) => (self.number(low)?, self.number(low)?),
            (false, Some(high)) => (self.number(low)?, self.number(high)?),
        };
        let mut every = 1;
        if let Some(step) = step {
            every = number(step)?;
            if high.is_none() {
                end = self.max;
            }
            star &= every <= 1;
        }
        let Self { min, max, .. } = self;
        if start < min {
            return Err(FieldProblem::BelowMinimum { start, min });
        }
        if end > max {
            return Err(FieldProblem::AboveMaximum { end, max });
        }
        if start > end {
            return Err(FieldProblem::Backwards { start, end });
        }
        if every == 0 {
            return Err(FieldProblem::ZeroStep);
        }
        let step = usize::try_from(every).unwrap_or(usize::MAX);
        let bits = (start..=end).step_by(step).fold(0, |bits, n| bits | 1 << n);
        Ok(Values { bits, star })
    }

    fn number(self, text: &str) -> Result<u32, FieldProblem> {
        let word = (self.min..)
            .zip(self.words)
            .find(|(_, word)| word.eq_ignore_ascii_case(text));
        word.map_or_else(|| number(text), |(number, _)| Ok(number))
    }

    /// The range allowed, for messages.
    pub(super) fn allowed(self) -> String {
        let Self {
            min, max, words, ..
        } = self;
        match (words.first(), words.last()) {
            (Some(first), Some(last)) => format!("{min}-{max} or {first}-{last}"),
            _ => format!("{min}-{max}"),
        }
    }
}

const MONTHS: [&str; 12] = [
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];

const DAYS_OF_WEEK: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// A number that is not negative; those too large for any field are as good as the largest.
fn number(text: &str) -> Result<u32, FieldProblem> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let all_digits = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    match all_digits {
        false => Err(FieldProblem::NoNumber(text.to_owned())),
        true if text.starts_with('-') => Err(FieldProblem::Negative(text.to_owned())),
        true => Ok(digits.parse().unwrap_or(u32::MAX)),
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// What is wrong with an item of a field.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FieldProblem {
    /// The end of the range is larger than the field has.
    #[error("end of range ({end}) above maximum ({max})")]
    AboveMaximum {
        /// The end of the range.
        end: u32,
        /// The largest number of the field.
        max: u32,
    },
    /// The range ends before it begins.
    #[error("beginning of range ({start}) beyond end of range ({end})")]
    Backwards {
        /// The beginning of the range.
        start: u32,
        /// The end of the range.
        end: u32,
    },
    /// The beginning of the range is smaller than the field has.
    #[error("beginning of range ({start}) below minimum ({min})")]
    BelowMinimum {
        /// The beginning of the range.
        start: u32,
        /// The smallest number of the field.
        min: u32,
    },
    /// A number below zero.
    #[error("negative number ({0}) not allowed")]
    Negative(String),
    /// Neither a number nor a word of the field.
    #[error("failed to parse int from {0:?}")]
    NoNumber(String),
    /// Only commas.
    #[error("there is no value")]
    NoValue,
    /// More than one `-`.
    #[error("too many hyphens")]
    TooManyHyphens,
    /// More than one `/`.
    #[error("too many slashes")]
    TooManySlashes,
    /// A step of nothing.
    #[error("step of range should be a positive number")]
    ZeroStep,
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIVE: Field = Field::new("five", 3, 5, &[]);
    const EIGHT: Field = Field::new("eight", 0, 7, &[]);

    /// The numbers of a field, and whether it has the star.
    fn parsed(field: Field, text: &str) -> Result<(Vec<i8>, bool), CronSpecError> {
        let values = field.values(text)?;
        let numbers = (0..63).filter(|n| values.contains(*n)).collect();
        Ok((numbers, values.star))
    }

    #[test]
    fn lists_of_ranges_with_steps_are_sets_of_numbers() {
        for (field, text, numbers, star) in [
            (EIGHT, "5", vec![5], false),
            (EIGHT, "0", vec![0], false),
            (EIGHT, "+7", vec![7], false),
            (EIGHT, "007", vec![7], false),
            (EIGHT, "5-5", vec![5], false),
            (EIGHT, "5-6", vec![5, 6], false),
            (EIGHT, "5-7", vec![5, 6, 7], false),
            (EIGHT, "5-6/2", vec![5], false),
            (EIGHT, "5-7/2", vec![5, 7], false),
            (EIGHT, "5-7/1", vec![5, 6, 7], false),
            (EIGHT, "2/3", vec![2, 5], false),
            (EIGHT, "6/1", vec![6, 7], false),
            (EIGHT, "3/99999999999", vec![3], false),
            (EIGHT, "5,6", vec![5, 6], false),
            (EIGHT, "1,,2", vec![1, 2], false),
            (EIGHT, ",1,", vec![1], false),
            (EIGHT, "1,5-7/2,3", vec![1, 3, 5, 7], false),
            (FIVE, "*", vec![3, 4, 5], true),
            (FIVE, "?", vec![3, 4, 5], true),
            (FIVE, "*/1", vec![3, 4, 5], true),
            (FIVE, "*/2", vec![3, 5], false),
            (FIVE, "?/2", vec![3, 5], false),
            (FIVE, "4,*", vec![3, 4, 5], true),
            (FIVE, "*/2,*", vec![3, 4, 5], true),
            (FIVE, "*-4", vec![3, 4, 5], true),
            (Field::MONTH, "jan", vec![1], false),
            (Field::MONTH, "Oct-DEC", vec![10, 11, 12], false),
            (Field::MONTH, "feb/4", vec![2, 6, 10], false),
            (Field::DAY_OF_WEEK, "sun", vec![0], false),
            (Field::DAY_OF_WEEK, "MON-fri", vec![1, 2, 3, 4, 5], false),
            (Field::DAY_OF_WEEK, "1-Sat/5", vec![1, 6], false),
        ] {
            assert_eq!(parsed(field, text), Ok((numbers, star)), "{text}");
        }
    }

    #[test]
    fn stars_are_all_numbers_of_the_field() {
        for (field, first, count) in [
            (Field::SECOND, 0, 60),
            (Field::MINUTE, 0, 60),
            (Field::HOUR, 0, 24),
            (Field::DAY_OF_MONTH, 1, 31),
            (Field::MONTH, 1, 12),
            (Field::DAY_OF_WEEK, 0, 7),
        ] {
            assert_eq!(
                parsed(field, "*"),
                Ok(((first..first + count).collect(), true)),
                "{field}"
            );
        }
    }

    #[test]
    fn errors_name_the_field_the_text_and_the_range() {
        for (field, text, message) in [
            (
                EIGHT,
                "5--5",
                r#"eight "5--5": too many hyphens (allowed: 0-7)"#,
            ),
            (EIGHT, "*//2", "too many slashes"),
            (EIGHT, "jan", r#"failed to parse int from "jan""#),
            (EIGHT, "2-x", r#"failed to parse int from "x""#),
            (EIGHT, "-5", r#"failed to parse int from """#),
            (EIGHT, "*/-12", "negative number (-12) not allowed"),
            (EIGHT, "*/", r#"failed to parse int from """#),
            (EIGHT, "*/0", "step of range should be a positive number"),
            (EIGHT, ",", r#"eight ",": there is no value (allowed: 0-7)"#),
            (FIVE, "1", "beginning of range (1) below minimum (3)"),
            (
                FIVE,
                "4,6",
                r#"five "6": end of range (6) above maximum (5) (allowed: 3-5)"#,
            ),
            (
                FIVE,
                "5-3",
                "beginning of range (5) beyond end of range (3)",
            ),
            (FIVE, "99999999999", "above maximum (5)"),
            (
                Field::MINUTE,
                "60",
                r#"minute "60": end of range (60) above maximum (59) (allowed: 0-59)"#,
            ),
            (
                Field::HOUR,
                "L",
                r#"hour "L": failed to parse int from "L" (allowed: 0-23)"#,
            ),
            (
                Field::MONTH,
                "0",
                r#"month "0": beginning of range (0) below minimum (1) (allowed: 1-12 or jan-dec)"#,
            ),
            (Field::MONTH, "january", "failed to parse int"),
            (
                Field::DAY_OF_WEEK,
                "7",
                "end of range (7) above maximum (6)",
            ),
            (Field::DAY_OF_WEEK, "jan", "(allowed: 0-6 or sun-sat)"),
            (Field::DAY_OF_MONTH, "L", "(allowed: 1-31)"),
        ] {
            let error = field.values(text).unwrap_err().to_string();
            let start = "cron syntax invalid: ";
            assert!(
                error.starts_with(start) && error.contains(message),
                "{text:?}: {error}"
            );
        }
    }
}
