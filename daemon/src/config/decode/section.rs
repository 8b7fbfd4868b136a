//! Sections: mappings whose keys are known.

use serde::Serialize;

use super::node::{Entry, Node, Position, shortened};
use super::schema::{Definitions, Json};
use super::value::{did_you_mean, mapping};
use super::{Reading, Section, TYPE, Value};
use crate::config::problem::closest;

/// The keys of one section, checked for strangers and doubles.
pub(crate) struct Fields<'n> {
    at: Position,
    entries: Vec<&'n Entry>,
    /// Keys that were probably meant by unknown ones: not to be missed as well.
    misspelt: Vec<&'static str>,
}

impl<'n> Fields<'n> {
    /// Opens a section that may have these keys, and `type` if it is one of several kinds.
    pub(crate) fn open(
        node: &'n Node,
        keys: &'static [&'static str],
        typed: bool,
        cx: &mut Reading<'_>,
    ) -> Option<Self> {
        let entries = mapping(node, cx)?;
        let mut kept: Vec<&Entry> = Vec::with_capacity(entries.len());
        let mut misspelt = Vec::new();
        for entry in entries {
            let Some(name) = entry.key.text() else {
                cx.error(entry.key.at, "a key must be a text");
                continue;
            };
            if let Some(first) = kept.iter().find(|other| other.key.text() == Some(name)) {
                if !entry.merged {
                    let line = first.key.at.line;
                    cx.under(name, |cx| {
                        cx.error(entry.key.at, format!("already set in line {line}"));
                    });
                }
                continue;
            }
            let known = keys.contains(&name) || (typed && name == TYPE);
            if !known {
                misspelt.extend(unknown_key(entry, name, keys, typed, cx));
                continue;
            }
            kept.push(entry);
        }
        Some(Self {
            at: node.at,
            entries: kept,
            misspelt,
        })
    }

    /// A section in which nothing is written.
    fn empty() -> Self {
        Self {
            at: Position { line: 1, column: 1 },
            entries: Vec::new(),
            misspelt: Vec::new(),
        }
    }

    /// The value of `key`, if it is written.
    pub(crate) fn find(&self, key: &str) -> Option<&'n Node> {
        let entry = self
            .entries
            .iter()
            .find(|entry| entry.key.text() == Some(key))?;
        Some(&*entry.value)
    }

    /// Where the value of `key` stands; the section's own place if it is not written.
    pub(crate) fn at(&self, key: &str) -> Position {
        self.find(key).map_or(self.at, |node| node.at)
    }

    /// A key that must be there and have a value.
    pub(crate) fn required<T: Value>(&self, key: &str, cx: &mut Reading<'_>) -> Option<T> {
        let Some(node) = self.find(key) else {
            if !self.misspelt.contains(&key) {
                cx.under(key, |cx| cx.error(self.at, "is required but not given"));
            }
            return None;
        };
        cx.under(key, |cx| {
            cx.mark_key(node.at);
            if node.is_empty() {
                cx.error(
                    node.at,
                    "is required but has zero value: nothing is written there",
                );
                return None;
            }
            T::read(node, cx)
        })
    }

    /// A key with a default.
    pub(crate) fn or<T: Value + PartialEq + Serialize>(
        &self,
        key: &str,
        default: T,
        cx: &mut Reading<'_>,
    ) -> Option<T> {
        let Some(node) = self.find(key) else {
            return Some(default);
        };
        cx.under(key, |cx| {
            cx.mark_key(node.at);
            if !node.is_null() {
                return T::read(node, cx);
            }
            let Some(zero) = T::null() else {
                let default = shown(&default);
                cx.error_with_hint(
                    node.at,
                    "has no value",
                    Some(format!("remove the key to get the default, {default}")),
                );
                return None;
            };
            if zero != default {
                let (zero, default) = (shown(&zero), shown(&default));
                cx.warn(
                    node.at,
                    format!("without a value this means {zero}, not the default, {default}"),
                );
            }
            Some(zero)
        })
    }

    /// A section in which every key has a default: absent or empty, it has them all.
    pub(crate) fn section<T: Section>(&self, key: &str, cx: &mut Reading<'_>) -> Option<T> {
        match self.find(key) {
            Some(node) if !node.is_null() => cx.under(key, |cx| {
                cx.mark_key(node.at);
                read_section(node, false, cx)
            }),
            _ => Some(all_defaults(cx)),
        }
    }
}

fn shown<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_else(|error| error.to_string())
}

/// Says that there is no such key, and returns the one that was probably meant.
fn unknown_key(
    entry: &Entry,
    name: &str,
    keys: &'static [&'static str],
    typed: bool,
    cx: &mut Reading<'_>,
) -> Option<&'static str> {
    if cx.has_enough() {
        return None;
    }
    let allowed: Vec<&'static str> = typed
        .then_some(TYPE)
        .into_iter()
        .chain(keys.iter().copied())
        .collect();
    let meant = closest(name, allowed.iter().copied());
    let hint = match meant {
        Some(meant) => did_you_mean(meant),
        None if allowed.is_empty() => "no keys are allowed here".to_owned(),
        None => format!("allowed here: {}", allowed.join(", ")),
    };
    cx.under(&shortened(name), |cx| {
        cx.error_with_hint(entry.key.at, "there is no such key", Some(hint));
    });
    // The compiler ties what is found to the list, whose words live for ever.
    meant.and_then(|meant| keys.iter().copied().find(|key| *key == meant))
}

/// Reads a section; `typed` if it is one of several kinds and therefore has the key `type`.
pub(crate) fn read_section<T: Section>(
    node: &Node,
    typed: bool,
    cx: &mut Reading<'_>,
) -> Option<T> {
    let fields = Fields::open(node, T::KEYS, typed, cx)?;
    T::decode(&fields, cx)
}

fn all_defaults<T: Section>(cx: &mut Reading<'_>) -> T {
    T::decode(&Fields::empty(), cx)
        .expect("a section that may be left out has a default for each key")
}

impl<T: Section> Value for T {
    fn read(node: &Node, cx: &mut Reading<'_>) -> Option<Self> {
        read_section(node, false, cx)
    }

    fn schema(definitions: &mut Definitions) -> Json {
        definitions.section::<Self>()
    }
}
