//! The format `human`: `2026-11-21T04:26:12+01:00 [INFO][job][subsystem]: message key="value"`.

use std::fmt::Write as _;

use jiff::tz::TimeZone;

use super::entry::Entry;
use super::format::Look;
use crate::config::global::Level;
use crate::service::go_text::{quoted, rfc3339};

pub(super) fn line(entry: &Entry, look: Look, zone: &TimeZone) -> String {
    let color = look.color.then(|| color(entry.level));
    let mut line = String::new();
    if look.time {
        line.push_str(&rfc3339(entry.time, zone));
        line.push(' ');
    }
    if look.level {
        add_prefix(&mut line, short(entry.level), color);
    }
    for (_, value) in &entry.prefix {
        add_prefix(&mut line, &one_line(value), color);
    }
    if !line.is_empty() {
        line.push_str(": ");
    }
    line.push_str(&one_line(&entry.message));
    for (name, value) in &entry.fields {
        let name = colored(name, color);
        // Writing to a string cannot fail.
        write!(line, " {name}={}", quoted(&value.to_string())).ok();
    }
    line
}

fn add_prefix(line: &mut String, text: &str, color: Option<u8>) {
    line.push('[');
    line.push_str(&colored(text, color));
    line.push(']');
}

/// A message may have been written elsewhere: what would begin another entry, or talk to the terminal, is shown as what it is.
/// zrepl 0.7.0 prints it as it comes.
fn one_line(text: &(impl ToString + ?Sized)) -> String {
    let text = text.to_string();
    if !text.contains(char::is_control) {
        return text;
    }
    let escape = |c: char| {
        if c.is_control() {
            c.escape_default().to_string()
        } else {
            c.to_string()
        }
    };
    text.chars().map(escape).collect()
}

fn colored(text: &str, color: Option<u8>) -> String {
    match color {
        Some(color) => format!("\u{1b}[{color}m{text}\u{1b}[0m"),
        None => text.to_owned(),
    }
}

/// The bright colours of terminals.
fn color(level: Level) -> u8 {
    match level {
        Level::Debug => 94,
        Level::Info => 92,
        Level::Warn => 93,
        Level::Error => 91,
    }
}

fn short(level: Level) -> &'static str {
    match level {
        Level::Debug => "DEBG",
        Level::Info => "INFO",
        Level::Warn => "WARN",
        Level::Error => "ERRO",
    }
}
