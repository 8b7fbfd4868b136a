//! A log entry: what an event and the spans around it say, in the order in which it is shown.

use std::fmt;

use jiff::Timestamp;
use serde::Serialize;
use tracing::field::{Field, Visit};

use crate::config::global::Level;

/// One entry.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) time: Timestamp,
    pub(super) level: Level,
    pub(super) message: String,
    /// `job` and `subsystem`, in this order, as far as they are known. zrepl 0.7.0 has `span` as a third.
    pub(super) prefix: Vec<(&'static str, Value)>,
    pub(super) fields: Vec<(&'static str, Value)>,
}

/// What a field holds.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub(super) enum Value {
    Bool(bool),
    Signed(i64),
    Unsigned(u64),
    Float(f64),
    Text(String),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(value) => value.fmt(f),
            Self::Signed(value) => value.fmt(f),
            Self::Unsigned(value) => value.fmt(f),
            Self::Float(value) => value.fmt(f),
            Self::Text(value) => f.write_str(value),
        }
    }
}

/// Fields in the order in which they were recorded; of several of one name the first.
#[derive(Clone, Debug, Default)]
pub(super) struct Fields {
    pub(super) message: String,
    pub(super) fields: Vec<(&'static str, Value)>,
}

impl Fields {
    /// Adds what is not there yet.
    pub(super) fn add(&mut self, name: &'static str, value: Value) {
        if self.fields.iter().all(|(known, _)| *known != name) {
            self.fields.push((name, value));
        }
    }

    /// Takes out a field.
    pub(super) fn take(&mut self, name: &str) -> Option<Value> {
        let at = self.fields.iter().position(|(known, _)| *known == name)?;
        Some(self.fields.remove(at).1)
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Also what is recorded with `%`.
        self.record_str(field, &format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            value.clone_into(&mut self.message);
        } else {
            self.add(field.name(), Value::Text(value.to_owned()));
        }
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field.name(), Value::Bool(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field.name(), Value::Signed(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field.name(), Value::Unsigned(value));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field.name(), Value::Float(value));
    }
}
