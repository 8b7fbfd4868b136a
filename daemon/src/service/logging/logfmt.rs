//! The format `logfmt`: `time=… level=info job=… subsystem=… msg="…" key=value`.

use std::fmt::Write as _;

use jiff::tz::TimeZone;

use super::entry::Entry;
use super::format::Look;
use crate::service::go_text::rfc3339_nanoseconds;

pub(super) fn line(entry: &Entry, look: Look, zone: &TimeZone) -> String {
    let mut line = String::new();
    if look.time {
        add(&mut line, "time", &rfc3339_nanoseconds(entry.time, zone));
    }
    if look.level {
        add(&mut line, "level", super::json::name(entry.level));
    }
    // zrepl 0.7.0 stops at the first of these that is missing, and shows the others after the message.
    let has_job = entry.prefix.iter().any(|(name, _)| *name == "job");
    let (before, after) = if has_job {
        (&entry.prefix[..], &[][..])
    } else {
        (&[][..], &entry.prefix[..])
    };
    for (name, value) in before {
        add(&mut line, name, &value.to_string());
    }
    add(&mut line, "msg", &entry.message);
    for (name, value) in after.iter().chain(&entry.fields) {
        add(&mut line, name, &value.to_string());
    }
    line
}

fn add(line: &mut String, name: &str, value: &str) {
    if !line.is_empty() {
        line.push(' ');
    }
    line.push_str(name);
    line.push('=');
    let is_special = |c: char| c <= ' ' || matches!(c, '=' | '"' | char::REPLACEMENT_CHARACTER);
    if value == "null" || value.contains(is_special) {
        add_quoted(line, value);
    } else {
        line.push_str(value);
    }
}

/// The escapes of go-logfmt, which are those of JSON.
fn add_quoted(line: &mut String, value: &str) {
    line.push('"');
    for c in value.chars() {
        match c {
            '"' | '\\' => line.extend(['\\', c]),
            '\n' => line.push_str("\\n"),
            '\r' => line.push_str("\\r"),
            '\t' => line.push_str("\\t"),
            c if c < ' ' || c == char::REPLACEMENT_CHARACTER => {
                // Writing to a string cannot fail.
                write!(line, "\\u{:04x}", u32::from(c)).ok();
            }
            c => line.push(c),
        }
    }
    line.push('"');
}
