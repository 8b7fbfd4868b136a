//! Times of creation: text flows in and stays text, in the form of RFC 3339 that Go's `time.Parse` accepts.
//!
//! The text is kept because the offset in it is the producer's, and messages that name a version repeat it as it came.
//! A Go daemon panics on a text that it cannot parse, so one never leaves without this check.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use super::excerpt;

/// A time such as `2024-01-02T03:04:05+01:00`, by RFC 3339. A fraction of seconds is allowed, a leap second is not, because
/// Go knows none.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Creation(String);

/// A text that is no time by RFC 3339.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("creation {0:?} is not an RFC 3339 time")]
pub struct CreationError(String);

impl Creation {
    /// The time as on the wire.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Creation {
    type Error = CreationError;

    fn try_from(text: String) -> Result<Self, CreationError> {
        if is_rfc3339(text.as_bytes()) {
            Ok(Self(text))
        } else {
            Err(CreationError(excerpt(&text)))
        }
    }
}

impl FromStr for Creation {
    type Err = CreationError;

    fn from_str(text: &str) -> Result<Self, CreationError> {
        Self::try_from(text.to_owned())
    }
}

impl From<Creation> for String {
    fn from(creation: Creation) -> Self {
        creation.0
    }
}

impl fmt::Display for Creation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

pub(super) fn is_rfc3339(text: &[u8]) -> bool {
    let mut rest = text;
    timestamp(&mut rest).is_some() && rest.is_empty()
}

fn timestamp(rest: &mut &[u8]) -> Option<()> {
    let year = number(rest, 4, 0..=9999)?;
    mark(rest, b'-')?;
    let month = number(rest, 2, 1..=12)?;
    mark(rest, b'-')?;
    number(rest, 2, 1..=days(year, month))?;
    mark(rest, b'T')?;
    clock(rest)?;
    mark(rest, b':')?;
    number(rest, 2, 0..=59)?;
    if mark(rest, b'.').is_some() {
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        *rest = rest.get(digits..).filter(|_| digits > 0)?;
    }
    if mark(rest, b'Z').is_some() {
        return Some(());
    }
    mark(rest, b'+').or_else(|| mark(rest, b'-'))?;
    clock(rest)
}

/// Hours and minutes, of a day or an offset.
fn clock(rest: &mut &[u8]) -> Option<()> {
    number(rest, 2, 0..=23)?;
    mark(rest, b':')?;
    number(rest, 2, 0..=59)?;
    Some(())
}

fn number(rest: &mut &[u8], digits: usize, range: RangeInclusive<u16>) -> Option<u16> {
    let (text, after) = rest.split_at_checked(digits)?;
    let mut value = 0;
    for byte in text {
        value = value * 10 + u16::from(byte.is_ascii_digit().then(|| byte - b'0')?);
    }
    *rest = after;
    range.contains(&value).then_some(value)
}

fn mark(rest: &mut &[u8], mark: u8) -> Option<()> {
    *rest = rest.strip_prefix(&[mark])?;
    Some(())
}

fn days(year: u16, month: u16) -> u16 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => {
            29
        }
        2 => 28,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn takes_what_go_writes_and_reads() {
        for text in [
            "2024-01-02T03:04:05+01:00",
            "2024-01-02T03:04:05Z",
            "2026-11-21T03:37:55-11:30",
            "2024-02-29T23:59:59Z",
            "2000-02-29T00:00:00Z",
            "2024-12-31T00:00:00.5Z",
            "2024-04-30T00:00:00.123456789123+23:59",
            "0000-01-01T00:00:00Z",
        ] {
            let creation = text.parse::<Creation>().expect(text);
            assert_eq!(creation.as_str(), text);
            assert_eq!(creation.to_string(), text);
        }
    }

    #[test]
    fn refuses_what_go_cannot_parse() {
        for text in [
            "",
            "yesterday",
            "1700000000",
            "2024-01-02",
            "2024-01-02T03:04:05",
            "2024-01-02 03:04:05Z",
            "2024-01-02t03:04:05Z",
            "2024-01-02T03:04:05z",
            "2024-01-02T03:04:05+0100",
            "2024-01-02T03:04:05+24:00",
            "2024-01-02T03:04:05+01:60",
            "2024-01-02T03:04:05.Z",
            "2024-01-02T03:04:05,5Z",
            "2024-01-02T3:04:05Z",
            "2024-01-02T24:00:00Z",
            "2024-01-02T03:60:00Z",
            "2016-12-31T23:59:60Z",
            "2024-13-02T03:04:05Z",
            "2024-00-02T03:04:05Z",
            "2024-01-00T03:04:05Z",
            "2024-01-32T03:04:05Z",
            "2024-04-31T03:04:05Z",
            "2023-02-29T03:04:05Z",
            "1900-02-29T03:04:05Z",
            "2024-02-30T03:04:05Z",
            "10000-01-02T03:04:05Z",
            "+024-01-02T03:04:05Z",
            "2024-01-02T03:04:05Z ",
            " 2024-01-02T03:04:05Z",
            "2024-01-02T03:04:05ZZ",
            "２024-01-02T03:04:05Z",
        ] {
            assert!(text.parse::<Creation>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn an_error_quotes_the_beginning_only() {
        let text = "ü".repeat(1 << 20);
        let error = text.parse::<Creation>().expect_err("not a time");
        assert_eq!(
            error.to_string(),
            format!("creation \"{}…\" is not an RFC 3339 time", "ü".repeat(64))
        );
    }

    proptest! {
        #[test]
        fn any_text_is_taken_as_it_is_or_refused(text in "[0-9TZ:.+-]{0,30}|\\PC*") {
            if let Ok(creation) = text.parse::<Creation>() {
                prop_assert_eq!(creation.as_str(), text);
            }
        }

        #[test]
        fn every_time_of_day_and_offset_is_taken(
            (year, month, day) in (0u16..=9999, 1u8..=12, 1u8..=28),
            (hour, minute, second) in (0u8..24, 0u8..60, 0u8..60),
            zone in "Z|[+-](0[0-9]|1[0-9]|2[0-3]):[0-5][0-9]",
            fraction in "(\\.[0-9]{1,9})?",
        ) {
            let text = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}{zone}");
            prop_assert!(is_rfc3339(text.as_bytes()), "{}", text);
        }
    }
}
