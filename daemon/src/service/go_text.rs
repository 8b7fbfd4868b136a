//! Texts as programs in Go write them, where users or scripts know them from zrepl 0.7.0: JSON, times, quoted strings.

use std::fmt::Write as _;
use std::io;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};

/// JSON with what could be HTML escaped, as `encoding/json` does.
///
/// # Panics
///
/// If the value is no plain data, or has keys that are no text.
pub fn json(value: &impl Serialize) -> String {
    let mut bytes = Vec::new();
    let mut serializer = Serializer::with_formatter(&mut bytes, Escaping);
    value
        .serialize(&mut serializer)
        .expect("plain data can be written");
    String::from_utf8(bytes).expect("JSON is text")
}

struct Escaping;

impl Formatter for Escaping {
    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        mut fragment: &str,
    ) -> io::Result<()> {
        const ESCAPED: [char; 5] = ['<', '>', '&', '\u{2028}', '\u{2029}'];
        while let Some((at, found)) = fragment
            .char_indices()
            .find(|(_, character)| ESCAPED.contains(character))
        {
            writer.write_all(&fragment.as_bytes()[..at])?;
            write!(writer, "\\u{:04x}", u32::from(found))?;
            fragment = &fragment[at + found.len_utf8()..];
        }
        writer.write_all(fragment.as_bytes())
    }
}

/// A time in seconds, as `time.RFC3339` prints it.
pub fn rfc3339(time: Timestamp, zone: &TimeZone) -> String {
    let local = time.to_zoned(zone.clone());
    let mut text = local.strftime("%Y-%m-%dT%H:%M:%S").to_string();
    add_offset(&mut text, local.offset().seconds());
    text
}

/// A time with as many digits as it needs, as `time.RFC3339Nano` prints it.
pub fn rfc3339_nanoseconds(time: Timestamp, zone: &TimeZone) -> String {
    let local = time.to_zoned(zone.clone());
    let mut text = local.strftime("%Y-%m-%dT%H:%M:%S").to_string();
    let nanoseconds = local.subsec_nanosecond();
    if nanoseconds != 0 {
        let digits = format!("{nanoseconds:09}");
        text.push('.');
        text.push_str(digits.trim_end_matches('0'));
    }
    add_offset(&mut text, local.offset().seconds());
    text
}

fn add_offset(text: &mut String, seconds: i32) {
    if seconds == 0 {
        text.push('Z');
        return;
    }
    let sign = if seconds < 0 { '-' } else { '+' };
    let minutes = seconds.abs() / 60;
    // Writing to a string cannot fail.
    write!(text, "{sign}{:02}:{:02}", minutes / 60, minutes % 60).ok();
}

/// A string in quotes on one line, as the verb `%q` prints it.
pub fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\u{7}' => quoted.push_str("\\a"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{b}' => quoted.push_str("\\v"),
            '\u{c}' => quoted.push_str("\\f"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            ' '..='~' => quoted.push(c),
            c => add_beyond_ascii(&mut quoted, c),
        }
    }
    quoted.push('"');
    quoted
}

/// What Go calls printable is printed.
fn add_beyond_ascii(quoted: &mut String, c: char) {
    let code = u32::from(c);
    let is_printable = !c.is_control() && !c.is_whitespace() && c.escape_debug().count() == 1;
    let written = match code {
        _ if is_printable => {
            quoted.push(c);
            return;
        }
        0..=0x7f => write!(quoted, "\\x{code:02x}"),
        0x80..=0xffff => write!(quoted, "\\u{code:04x}"),
        _ => write!(quoted, "\\U{code:08x}"),
    };
    // Writing to a string cannot fail.
    written.ok();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_safe_inside_html() {
        assert_eq!(
            json(&["a<b>&c\u{2028}\"\\\n\u{1}ü"]),
            r#"["a\u003cb\u003e\u0026c\u2028\"\\\n\u0001ü"]"#
        );
    }

    #[test]
    fn times_have_the_offset_of_their_zone() {
        let time: Timestamp = "2026-11-21T03:26:12.125Z".parse().expect("a time");
        let berlin = TimeZone::fixed(jiff::tz::offset(1));
        let newfoundland = TimeZone::fixed(-jiff::tz::Offset::from_seconds(12_600).expect("valid"));
        assert_eq!(rfc3339(time, &TimeZone::UTC), "2026-11-21T03:26:12Z");
        assert_eq!(rfc3339(time, &berlin), "2026-11-21T04:26:12+01:00");
        assert_eq!(
            rfc3339_nanoseconds(time, &newfoundland),
            "2026-11-20T23:56:12.125-03:30"
        );
        let whole: Timestamp = "2026-11-21T03:26:12Z".parse().expect("a time");
        assert_eq!(
            rfc3339_nanoseconds(whole, &TimeZone::UTC),
            "2026-11-21T03:26:12Z"
        );
    }

    #[test]
    fn quotes_are_those_of_go() {
        assert_eq!(quoted("a \"b\" \\ é"), r#""a \"b\" \\ é""#);
        assert_eq!(
            quoted("\u{1b}[0m\n\t\u{7}\u{7f}\u{85}\u{a0}\u{feff}"),
            r#""\x1b[0m\n\t\a\x7f\u0085\u00a0\ufeff""#
        );
    }
}
