//! The format `json`: one object, its keys in alphabetical order.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;

use super::entry::{Entry, Value};
use crate::config::global::Level;
use crate::service::go_text::{json, rfc3339};

pub(super) fn line(entry: &Entry, zone: &TimeZone) -> String {
    let own = entry.prefix.iter().chain(&entry.fields).cloned();
    let mut object: BTreeMap<&str, Value> = own.collect();
    let mut set = |name, text: &str| object.insert(name, Value::Text(text.to_owned()));
    set("msg", &entry.message);
    set("time", &rfc3339(entry.time, zone));
    set("level", name(entry.level));
    json(&object)
}

pub(super) fn name(level: Level) -> &'static str {
    match level {
        Level::Debug => "debug",
        Level::Info => "info",
        Level::Warn => "warn",
        Level::Error => "error",
    }
}
