//! Whole numbers in Go's spellings, and what the configuration counts with them.

use std::num::{NonZeroU16, NonZeroU64, NonZeroUsize};

use serde::Serialize;

use crate::config::decode::node::Node;
use crate::config::decode::schema::{self, Definitions, Json};
use crate::config::decode::{Reading, Value, unquoted};

/// Reads a number as go-yaml does: decimal, `0x`, `0b`, octal with a leading zero, `_` between digits; of a number with a
/// fraction, the fraction is cut off.
fn integer(node: &Node, cx: &mut Reading<'_>) -> Option<i64> {
    let number = node.plain().and_then(parse);
    if number.is_none() {
        let found = node.described();
        let hint = unquoted(node, |text| parse(text).is_some());
        cx.error_with_hint(
            node.at,
            format!("must be a whole number, not {found}"),
            hint,
        );
    }
    number
}

fn parse(text: &str) -> Option<i64> {
    // 2^63: beyond it the conversion would saturate and mean another number.
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    let text = text.replace('_', "");
    let (negative, digits) = match text.strip_prefix(['-', '+']) {
        Some(digits) => (text.starts_with('-'), digits),
        None => (false, text.as_str()),
    };
    if !digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return None;
    }
    let (radix, digits) = match digits.split_at_checked(2) {
        Some(("0x" | "0X", rest)) => (16, rest),
        Some(("0b" | "0B", rest)) => (2, rest),
        Some(("0o" | "0O", rest)) => (8, rest),
        _ if digits.len() > 1 && digits.starts_with('0') => (8, &digits[1..]),
        _ => (10, digits),
    };
    if digits.starts_with(['-', '+']) {
        return None;
    }
    let sign = if negative { "-" } else { "" };
    if let Ok(number) = i64::from_str_radix(&format!("{sign}{digits}"), radix) {
        return Some(number);
    }
    let number: f64 = text.parse().ok()?;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "cutting off the fraction is meant, and the range is checked"
    )]
    (number.abs() < LIMIT).then_some(number as i64)
}

/// How many snapshots `last_n` keeps: at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Count(NonZeroU64);

impl Count {
    /// The number.
    pub fn number(self) -> NonZeroUsize {
        NonZeroUsize::try_from(self.0).unwrap_or(NonZeroUsize::MAX)
    }
}

impl Value for Count {
    fn read(node: &Node, cx: &mut Reading<'_>) -> Option<Self> {
        let number = integer(node, cx)?;
        let count = u64::try_from(number).ok().and_then(NonZeroU64::new);
        if count.is_none() {
            cx.error(
                node.at,
                format!("must specify positive number as 'keep last count', got {number}"),
            );
        }
        count.map(Self)
    }

    fn schema(_: &mut Definitions) -> Json {
        schema::integer("How many of the newest snapshots are kept.", 1)
    }
}

/// How many things are done at a time: at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Concurrency(NonZeroU64);

impl Concurrency {
    /// One at a time.
    pub const ONE: Self = Self(NonZeroU64::MIN);
    /// Four at a time.
    pub const FOUR: Self = Self(NonZeroU64::new(4).expect("not zero"));

    /// The number.
    pub fn number(self) -> usize {
        usize::try_from(self.0.get()).unwrap_or(usize::MAX)
    }
}

impl Value for Concurrency {
    fn read(node: &Node, cx: &mut Reading<'_>) -> Option<Self> {
        let number = integer(node, cx)?;
        let value = u64::try_from(number).ok().and_then(NonZeroU64::new);
        if value.is_none() {
            cx.error(node.at, format!("must be at least 1, got {number}"));
        }
        value.map(Self)
    }

    fn schema(_: &mut Definitions) -> Json {
        schema::integer("How many at a time.", 1)
    }
}

/// A TCP port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Port(NonZeroU16);

impl Port {
    /// The number.
    pub fn number(self) -> u16 {
        self.0.get()
    }
}

impl Value for Port {
    fn read(node: &Node, cx: &mut Reading<'_>) -> Option<Self> {
        let number = integer(node, cx)?;
        let port = u16::try_from(number).ok().and_then(NonZeroU16::new);
        if port.is_none() {
            cx.error(
                node.at,
                format!("a port is a number from 1 to 65535, not {number}"),
            );
        }
        port.map(Self)
    }

    fn schema(_: &mut Definitions) -> Json {
        serde_json::json!({ "type": "integer", "minimum": 1, "maximum": 65535 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_spellings_are_numbers() {
        let cases = [
            ("10", Some(10)),
            ("-3", Some(-3)),
            ("+3", Some(3)),
            ("0x1F", Some(31)),
            ("0b101", Some(5)),
            ("010", Some(8)),
            ("0o17", Some(15)),
            ("1_000", Some(1000)),
            ("3.9", Some(3)),
            ("-3.9", Some(-3)),
            ("1e3", Some(1000)),
            ("0", Some(0)),
            ("9223372036854775807", Some(i64::MAX)),
            ("9223372036854775808", None),
            ("", None),
            ("-", None),
            ("0x", None),
            ("--1", None),
            ("0x-1", None),
            ("1 0", None),
            ("nan", None),
            ("inf", None),
            ("ten", None),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text), expected, "{text:?}");
        }
    }
}
