//! What stands under a key: words, texts, numbers with a notation, lists, maps.

use std::collections::HashMap;
use std::str::FromStr;

use super::node::{Entry, Kind, Node, shortened};
use super::schema::{self, Definitions, Json};
use super::{Reading, TYPE, Value};
use crate::causes::chain;
use crate::config::problem::closest;
use crate::go_regex::GoRegex;

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
            cx.error(node.at, chain(&error));
            None
        }
    }
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
        schema::boolean()
    }
}

impl Value for String {
    fn read(node: &Node, cx: &mut Reading<'_>) -> Option<Self> {
        text(node, cx)
    }

    fn schema(_: &mut Definitions) -> Json {
        schema::any_text()
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
        schema::list(&T::schema(definitions))
    }
}

impl Value for GoRegex {
    fn read(node: &Node, cx: &mut Reading<'_>) -> Option<Self> {
        let written = text(node, cx)?;
        match cx.compile(&written) {
            Ok(regex) => Some(regex),
            Err(error) => {
                cx.error(node.at, chain(&error));
                None
            }
        }
    }

    fn null() -> Option<Self> {
        "".parse().ok()
    }

    fn schema(_: &mut Definitions) -> Json {
        schema::name_or_empty(
            "A regular expression (RE2, as in Go), found anywhere in the snapshot's name without `dataset@`.",
            &["^zrepl_", ".*"],
        )
    }
}

pub(super) fn did_you_mean(word: &str) -> String {
    format!("did you mean `{word}`?")
}

/// The entries of a mapping; null is an empty one.
pub(super) fn mapping<'n>(node: &'n Node, cx: &mut Reading<'_>) -> Option<&'n [Entry]> {
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
