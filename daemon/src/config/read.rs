//! From the YAML tree to typed values, by the rules of zrepl 0.7.0: keys that are unknown, written twice or missing are
//! errors, and so is a required key without a value. A failure is noted and reading goes on, so that one run finds them all;
//! only the value that contains it does not come into being.

use std::collections::HashMap;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use serde::Serialize;

use super::node::{Entry, Kind, Node, Position, shortened};
use super::problem::{Problem, Problems, Severity, closest};
use super::schema::{Definitions, Json};
use crate::go_regex::{GoRegex, Patterns};

/// A type that the configuration can hold.
pub(crate) trait Value: Sized {
    /// Reads it, or notes why not.
    fn read(node: &Node, cx: &mut Reading<'_>) -> Option<Self>;

    /// What zrepl 0.7.0 takes an optional key for that is there without a value: its zero value, which is not the default.
    /// `None` if that would be no valid value.
    fn null() -> Option<Self> {
        None
    }

    /// Its JSON Schema.
    fn schema(definitions: &mut Definitions) -> Json;
}

/// A part of the configuration with keys of its own. The macro `section!` writes the implementations.
pub(crate) trait Section: Sized {
    /// Name among the schema's definitions.
    const NAME: &'static str;
    /// What it is for.
    const DOC: &'static str;
    /// Its keys in the order in which the documentation lists them.
    const KEYS: &'static [&'static str];

    /// Reads each key.
    fn decode(fields: &Fields<'_>, cx: &mut Reading<'_>) -> Option<Self>;

    /// Each key with its schema.
    fn keys(definitions: &mut Definitions) -> Vec<super::schema::Key>;
}

/// The state of reading one file: where we are, and what was wrong so far.
pub(crate) struct Reading<'p> {
    file: Arc<Path>,
    problems: &'p mut Problems,
    path: Vec<Step>,
    marks: Marks,
    /// A thousand jobs use the same few.
    patterns: &'p mut Patterns,
}

/// Where values stand, by their paths of keys.
#[derive(Clone, Debug, Default)]
pub(crate) struct Marks(HashMap<String, Position>);

impl Marks {
    /// Where the value at `path` stands, or the closest thing around it that was marked.
    pub(crate) fn find(&self, path: &str) -> Option<Position> {
        let mut path = path;
        loop {
            if let Some(at) = self.0.get(path) {
                return Some(*at);
            }
            path = &path[..path.rfind(['.', '['])?];
        }
    }
}

enum Step {
    Key(Box<str>),
    Index(usize),
}

impl<'p> Reading<'p> {
    pub(crate) fn new(
        file: Arc<Path>,
        problems: &'p mut Problems,
        patterns: &'p mut Patterns,
    ) -> Self {
        Self {
            file,
            problems,
            path: Vec::new(),
            marks: Marks::default(),
            patterns,
        }
    }

    /// Notes an error at the present path.
    pub(crate) fn error(&mut self, at: Position, message: impl Into<String>) {
        self.report(Severity::Error, at, message.into(), None);
    }

    /// Notes an error with advice.
    pub(crate) fn error_with_hint(
        &mut self,
        at: Position,
        message: impl Into<String>,
        hint: Option<String>,
    ) {
        self.report(Severity::Error, at, message.into(), hint);
    }

    /// Notes something that is kept as it was but may surprise.
    pub(crate) fn warn(&mut self, at: Position, message: impl Into<String>) {
        self.report(Severity::Warning, at, message.into(), None);
    }

    /// Remembers where the value at the present path stands, for checks that come after reading.
    pub(crate) fn mark(&mut self, at: Position) {
        self.marks.0.insert(self.rendered_path(), at);
    }

    /// Remembers a key that a later check may find fault with. Those that stand deeper are looked at only while reading.
    fn mark_key(&mut self, at: Position) {
        // As in `jobs[0].replication.protection.initial`.
        const DEEPEST: usize = 5;
        if self.path.len() <= DEEPEST {
            self.mark(at);
        }
    }

    /// What was marked.
    pub(crate) fn into_marks(self) -> Marks {
        self.marks
    }

    fn report(&mut self, severity: Severity, at: Position, message: String, hint: Option<String>) {
        if self.problems.is_full(severity) {
            self.problems.leave_out();
            return;
        }
        let path = self.rendered_path();
        self.problems.push(Problem {
            severity,
            file: Arc::clone(&self.file),
            at: Some(at),
            path,
            message: cut(message),
            hint,
        });
    }

    /// Reads something that stands under `key`.
    pub(crate) fn under<T>(&mut self, key: &str, read: impl FnOnce(&mut Self) -> T) -> T {
        self.step(Step::Key(shortened(key).into()), read)
    }

    /// Reads the item `index` of a list.
    pub(crate) fn item<T>(&mut self, index: usize, read: impl FnOnce(&mut Self) -> T) -> T {
        self.step(Step::Index(index), read)
    }

    fn step<T>(&mut self, step: Step, read: impl FnOnce(&mut Self) -> T) -> T {
        self.path.push(step);
        let value = read(self);
        self.path.pop();
        value
    }

    fn rendered_path(&self) -> String {
        let mut path = String::new();
        for step in &self.path {
            match step {
                Step::Index(index) => {
                    path.push('[');
                    path.push_str(&index.to_string());
                    path.push(']');
                }
                Step::Key(key) if path.is_empty() => path.push_str(key),
                Step::Key(key) => {
                    path.push('.');
                    path.push_str(key);
                }
            }
        }
        path
    }
}

/// Some messages repeat what is written, which may be megabytes: the middle of those is left out.
fn cut(message: String) -> String {
    const LONGEST: usize = 1000;
    if message.len() <= LONGEST {
        return message;
    }
    let from_start = message.char_indices().nth(LONGEST / 2);
    let from_end = message.char_indices().nth_back(LONGEST / 2);
    match (from_start, from_end) {
        (Some((start, _)), Some((end, _))) if start < end => {
            format!("{} … {}", &message[..start], &message[end..])
        }
        _ => message,
    }
}

/// The keys of one section, checked for strangers and doubles.
pub(crate) struct Fields<'n> {
    at: Position,
    entries: Vec<&'n Entry>,
    /// Keys that were probably meant by unknown ones: not to be missed as well.
    misspelt: Vec<&'static str>,
}

/// The key that chooses between kinds of section.
const TYPE: &str = "type";

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
    if cx.problems.is_full(Severity::Error) {
        cx.problems.leave_out();
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

fn did_you_mean(word: &str) -> String {
    format!("did you mean `{word}`?")
}

/// The entries of a mapping; null is an empty one.
fn mapping<'n>(node: &'n Node, cx: &mut Reading<'_>) -> Option<&'n [Entry]> {
    match &node.kind {
        Kind::Mapping(entries) => Some(entries),
        _ if node.is_null() => Some(&[]),
        _ => {
            let found = node.described();
            cx.error(
                node.at,
                format!("must be a section (`key: value` lines), not {found}"),
            );
            None
        }
    }
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

/// Which kind of section this is, by its key `type`: the place in `kinds`.
pub(crate) fn read_type(
    node: &Node,
    kinds: &[&'static str],
    cx: &mut Reading<'_>,
) -> Option<usize> {
    let entries = mapping(node, cx)?;
    let Some(entry) = entries.iter().find(|e| e.key.text() == Some(TYPE)) else {
        let kinds = kinds.join(", ");
        let mut keys = entries.iter().filter_map(|e| e.key.text());
        let hint = keys
            .find(|key| closest(key, [TYPE]).is_some())
            .map(|key| format!("did you mean `{TYPE}`, not `{}`?", shortened(key)));
        cx.error_with_hint(node.at, format!("must specify type, one of: {kinds}"), hint);
        return None;
    };
    cx.under(TYPE, |cx| read_word(&entry.value, kinds, "type name", cx))
}

/// The word in the key `type` of a section, whatever else is wrong with it.
pub(crate) fn type_text(node: &Node) -> Option<&str> {
    let Kind::Mapping(entries) = &node.kind else {
        return None;
    };
    let entry = entries.iter().find(|e| e.key.text() == Some(TYPE))?;
    entry.value.text()
}

/// One of several words: its place in `words`.
pub(crate) fn read_word(
    node: &Node,
    words: &[&'static str],
    what: &str,
    cx: &mut Reading<'_>,
) -> Option<usize> {
    let written = text(node, cx)?;
    let place = words.iter().position(|word| *word == written);
    if place.is_none() {
        let written = shortened(&written);
        let message = format!("invalid {what} {written:?}; allowed: {}", words.join(", "));
        let hint = closest(&written, words.iter().copied()).map(did_you_mean);
        cx.error_with_hint(node.at, message, hint);
    }
    place
}

/// Longest text in bytes. Whatever is longer is no name, pattern, grid or address that anybody wrote.
const MAX_TEXT: usize = 64 << 10;

/// Any scalar as text, as it is written.
pub(crate) fn text(node: &Node, cx: &mut Reading<'_>) -> Option<String> {
    match node.text() {
        _ if node.is_null() => Some(String::new()),
        Some(text) if text.len() > MAX_TEXT => {
            let found = node.described();
            let message = format!("is longer than {} KiB: {found}", MAX_TEXT >> 10);
            cx.error(node.at, message);
            None
        }
        Some(text) => Some(text.to_owned()),
        None => {
            let found = node.described();
            cx.error(node.at, format!("must be a text, not {found}"));
            None
        }
    }
}

/// A value with a notation of its own.
pub(crate) fn parsed<T>(node: &Node, cx: &mut Reading<'_>) -> Option<T>
where
    T: FromStr,
    T::Err: std::error::Error,
{
    match text(node, cx)?.parse() {
        Ok(value) => Some(value),
        Err(error) => {
            cx.error(node.at, with_causes(&error));
            None
        }
    }
}

/// An error with all its causes on one line.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// The items of a list; null is an empty one.
pub(crate) fn items<T>(
    node: &Node,
    cx: &mut Reading<'_>,
    mut read: impl FnMut(&Node, &mut Reading<'_>) -> Option<T>,
) -> Option<Vec<T>> {
    let nodes = match &node.kind {
        Kind::Sequence(nodes) => nodes.as_slice(),
        _ if node.is_null() => &[],
        _ => {
            let found = node.described();
            let hint = node
                .plain()
                .filter(|text| text.len() <= 80)
                .map(|text| format!("write `[{text}]` or a line `- {text}`"));
            cx.error_with_hint(node.at, format!("must be a list, not {found}"), hint);
            return None;
        }
    };
    // Each item is read, even after one that is wrong.
    let values: Vec<Option<T>> = nodes
        .iter()
        .enumerate()
        .map(|(index, node)| cx.item(index, |cx| read(node, cx)))
        .collect();
    values.into_iter().collect()
}

/// The entries of a map whose keys the user chooses.
pub(crate) fn map_entries<T>(
    node: &Node,
    cx: &mut Reading<'_>,
    mut read: impl FnMut(&str, &Entry, &mut Reading<'_>) -> Option<T>,
) -> Option<Vec<T>> {
    let mut values = Vec::new();
    let mut first: HashMap<&str, u32> = HashMap::new();
    for entry in mapping(node, cx)? {
        let Some(key) = entry.key.text() else {
            cx.error(entry.key.at, "a key must be a text");
            values.push(None);
            continue;
        };
        if let Some(line) = first.get(key) {
            if !entry.merged {
                let message = format!("key {:?} already set in line {line}", shortened(key));
                cx.error(entry.key.at, message);
                values.push(None);
            }
            continue;
        }
        first.insert(key, entry.key.at.line);
        values.push(read(key, entry, cx));
    }
    values.into_iter().collect()
}

/// A boolean of YAML 1.1, as go-yaml reads it.
fn boolean(text: &str) -> Option<bool> {
    match text {
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            Some(true)
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            Some(false)
        }
        _ => None,
    }
}

/// What to do about a text in quotes that would be right without them.
pub(crate) fn unquoted(node: &Node, is_right: impl FnOnce(&str) -> bool) -> Option<String> {
    (node.plain().is_none() && node.text().is_some_and(is_right))
        .then(|| "remove the quotes: what is in quotes is a text".to_owned())
}

impl Value for bool {
    fn read(node: &Node, cx: &mut Reading<'_>) -> Option<Self> {
        let value = node.plain().and_then(boolean);
        if value.is_none() {
            let found = node.described();
            let hint = unquoted(node, |text| boolean(text).is_some());
            cx.error_with_hint(node.at, format!("must be true or false, not {found}"), hint);
        }
        value
    }

    fn null() -> Option<Self> {
        Some(false)
    }

    fn schema(_: &mut Definitions) -> Json {
        super::schema::boolean()
    }
}

impl Value for String {
    fn read(node: &Node, cx: &mut Reading<'_>) -> Option<Self> {
        text(node, cx)
    }

    fn schema(_: &mut Definitions) -> Json {
        super::schema::any_text()
    }
}

impl<T: Value> Value for Option<T> {
    fn read(node: &Node, cx: &mut Reading<'_>) -> Option<Self> {
        T::read(node, cx).map(Some)
    }

    fn null() -> Option<Self> {
        Some(None)
    }

    fn schema(definitions: &mut Definitions) -> Json {
        T::schema(definitions)
    }
}

impl<T: Value> Value for Vec<T> {
    fn read(node: &Node, cx: &mut Reading<'_>) -> Option<Self> {
        items(node, cx, T::read)
    }

    fn null() -> Option<Self> {
        Some(Self::new())
    }

    fn schema(definitions: &mut Definitions) -> Json {
        super::schema::list(&T::schema(definitions))
    }
}

impl Value for GoRegex {
    fn read(node: &Node, cx: &mut Reading<'_>) -> Option<Self> {
        let written = text(node, cx)?;
        match cx.patterns.compile(&written) {
            Ok(regex) => Some(regex),
            Err(error) => {
                cx.error(node.at, with_causes(&error));
                None
            }
        }
    }

    fn null() -> Option<Self> {
        "".parse().ok()
    }

    fn schema(_: &mut Definitions) -> Json {
        super::schema::name_or_empty(
            "A regular expression (RE2, as in Go), found anywhere in the snapshot's name without `dataset@`.",
            &["^zrepl_", ".*"],
        )
    }
}

#[cfg(test)]
mod tests {
    use crate::config;

    #[test]
    fn endless_texts_are_refused_and_not_repeated() {
        let long = "x".repeat(100_000);
        let yaml = format!("include: ['{long}']\njobs:\n- {{type: sink, ? '{long}' : 1}}\n");
        let error = config::parse("f", &yaml).expect_err("not accepted");
        let text = error.to_string();
        assert!(
            text.contains("include[0]: is longer than 64 KiB: \"xxx"),
            "{text}"
        );
        assert!(text.len() < 2000, "{} bytes", text.len());
    }
}
