//! The three formats, and what of an entry is shown besides its own words.

use jiff::tz::TimeZone;

use super::entry::Entry;
use super::{human, json, logfmt};
use crate::config::global::Format;

/// What is shown in the formats `human` and `logfmt`; `json` always has everything and never colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Look {
    pub(super) time: bool,
    pub(super) level: bool,
    pub(super) color: bool,
}

/// Writes entries as lines.
#[derive(Clone, Debug)]
pub(super) struct Writer {
    pub(super) format: Format,
    pub(super) look: Look,
    /// The zone of times.
    pub(super) zone: TimeZone,
}

impl Writer {
    /// The entry as a line, with its line feed. Whatever the entry says, it is one line.
    pub(super) fn line(&self, entry: &Entry) -> String {
        let mut line = match self.format {
            Format::Human => human::line(entry, self.look, &self.zone),
            Format::Logfmt => logfmt::line(entry, self.look, &self.zone),
            Format::Json => json::line(entry, &self.zone),
        };
        line.push('\n');
        line
    }
}
