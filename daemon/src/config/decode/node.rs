//! A YAML document as a tree that keeps, for each value, where it stands and how it was written: only the type that a
//! value is meant for decides how its text is read (`name: 12` is a name, `count: 12` a number).
//!
//! The parser is a port of libyaml, as is that of zrepl 0.7.0: others follow YAML 1.2 to the letter and refuse what people
//! write, such as tabs between braces or a comment right after a comma.
//!
//! Whatever the bytes, building a tree takes bounded time and memory: size, nesting, the number of values and what aliases
//! would expand to are limited far above what any configuration needs.

mod tags;

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::{Chain, Read};
use std::rc::Rc;

use libyaml_safer::{Error, EventData, Mark, Parser, ScalarStyle};

/// Deepest nesting. Configurations need about ten levels.
pub(crate) const MAX_DEPTH: usize = 64;

/// Most values in a file, those that `<<` copies included. A thousand jobs have about 60 000.
pub(crate) const MAX_NODES: usize = 500_000;

/// Most values in a file when every alias is written out, where long texts count more than once: without aliases, no file
/// has as many.
pub(crate) const MAX_EXPANDED: u64 = 1_000_000;

/// So many bytes of a text count as one more value.
const TEXT_UNIT: usize = 16;

/// Where something starts: both numbers from 1, columns in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Line, from 1.
    pub line: u32,
    /// Column, from 1.
    pub column: u32,
}

/// A value with its place.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) at: Position,
    pub(crate) kind: Kind,
    /// Values in this one with aliases written out, itself included, and [`TEXT_UNIT`]s of their texts.
    expanded: u64,
}

#[derive(Debug)]
pub(crate) enum Kind {
    Scalar { text: Box<str>, plain: bool },
    Sequence(Vec<Rc<Node>>),
    Mapping(Vec<Entry>),
}

/// One `key: value`.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) key: Rc<Node>,
    pub(crate) value: Rc<Node>,
    /// Whether it came through `<<`: then a key of the mapping itself wins over it.
    pub(crate) merged: bool,
}

/// Why there is no tree.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SyntaxError {
    pub(crate) at: Position,
    pub(crate) message: String,
    /// What to do about it, if that is clear.
    pub(crate) hint: Option<&'static str>,
}

/// Reads the first document of `text`; later ones are ignored, even if they are not YAML, as zrepl 0.7.0 does. An empty text
/// is an empty mapping.
pub(crate) fn parse(text: &str) -> Result<Rc<Node>, SyntaxError> {
    // Some editors leave a byte order mark, which is not part of the document.
    let text = text.trim_start_matches('\u{feff}');
    tags::refuse_before_comma(text)?;
    // The parser wants the last line to end like all others.
    let end: &[u8] = if text.ends_with('\n') { b"" } else { b"\n" };
    let mut builder = Builder {
        events: Parser::new(),
        anchors: HashMap::new(),
        nodes: 0,
        last: START,
    };
    builder.events.set_input(text.as_bytes().chain(end));
    loop {
        match builder.next()? {
            (EventData::StreamEnd, _) => {
                return Ok(Rc::new(Node::new(START, Kind::Mapping(Vec::new()))));
            }
            (EventData::DocumentStart { .. }, _) => {
                let first = builder.next()?;
                return builder.node(first, 0);
            }
            _ => {}
        }
    }
}

const START: Position = Position { line: 1, column: 1 };

struct Builder<'a> {
    events: Parser<Chain<&'a [u8], &'static [u8]>>,
    anchors: HashMap<String, Rc<Node>>,
    nodes: usize,
    last: Position,
}

impl Builder<'_> {
    fn next(&mut self) -> Result<(EventData, Position), SyntaxError> {
        match self.events.parse() {
            Ok(event) => {
                self.last = place(event.start_mark);
                Ok((event.data, self.last))
            }
            Err(error) => Err(SyntaxError {
                at: error.problem_mark().map_or(self.last, place),
                message: syntax_message(&error),
                hint: advice(&error),
            }),
        }
    }

    fn error(&self, message: String) -> SyntaxError {
        SyntaxError {
            at: self.last,
            message,
            hint: None,
        }
    }

    fn count(&mut self, values: usize) -> Result<(), SyntaxError> {
        self.nodes += values;
        if self.nodes > MAX_NODES {
            return Err(self.error(format!("more than {MAX_NODES} values in one file")));
        }
        Ok(())
    }

    fn node(
        &mut self,
        (event, at): (EventData, Position),
        depth: usize,
    ) -> Result<Rc<Node>, SyntaxError> {
        self.count(1)?;
        if depth > MAX_DEPTH {
            return Err(self.error(too_deep()));
        }
        let (anchor, kind) = match event {
            EventData::Alias { anchor } => {
                return self.anchors.get(&anchor).map(Rc::clone).ok_or_else(|| {
                    let anchor = shortened(&anchor);
                    self.error(format!("there is no anchor `&{anchor}` before this alias"))
                });
            }
            EventData::Scalar {
                anchor,
                tag,
                value,
                style,
                ..
            } => {
                let plain = style == ScalarStyle::Plain && tag.as_deref() != Some(STRING_TAG);
                let text = value.into_boxed_str();
                (anchor, Kind::Scalar { text, plain })
            }
            EventData::SequenceStart { anchor, .. } => (anchor, self.sequence(depth)?),
            EventData::MappingStart { anchor, .. } => (anchor, self.mapping(depth)?),
            _ => return Err(self.error("this is not YAML: a value is missing".to_owned())),
        };
        let node = Rc::new(Node::new(at, kind));
        if node.expanded > MAX_EXPANDED {
            return Err(SyntaxError {
                at,
                message: format!(
                    "with its aliases written out, this has more than {MAX_EXPANDED} values"
                ),
                hint: None,
            });
        }
        if let Some(anchor) = anchor {
            self.anchors.insert(anchor, Rc::clone(&node));
        }
        Ok(node)
    }

    fn sequence(&mut self, depth: usize) -> Result<Kind, SyntaxError> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (EventData::SequenceEnd, _) => return Ok(Kind::Sequence(items)),
                item => items.push(self.node(item, depth + 1)?),
            }
        }
    }

    fn mapping(&mut self, depth: usize) -> Result<Kind, SyntaxError> {
        let mut entries = Vec::new();
        let mut merges = Vec::new();
        loop {
            let key = match self.next()? {
                (EventData::MappingEnd, _) => break,
                key => self.node(key, depth + 1)?,
            };
            let value = self.next()?;
            let value = self.node(value, depth + 1)?;
            if key.is_merge() {
                merges.push(value);
            } else {
                entries.push(Entry {
                    key,
                    value,
                    merged: false,
                });
            }
        }
        for source in merges {
            self.merge(&source, &mut entries)?;
        }
        Ok(Kind::Mapping(entries))
    }

    /// Adds what `<<: source` brings: the entries of one mapping, or of a list of them, of which the first wins.
    fn merge(&mut self, source: &Node, entries: &mut Vec<Entry>) -> Result<(), SyntaxError> {
        match &source.kind {
            Kind::Mapping(merged) => {
                // Each copy takes memory, unlike what an alias stands for.
                self.count(merged.len())?;
                entries.extend(merged.iter().map(|entry| Entry {
                    merged: true,
                    ..entry.clone()
                }));
                Ok(())
            }
            Kind::Sequence(sources)
                if sources.iter().all(|s| matches!(s.kind, Kind::Mapping(_))) =>
            {
                sources
                    .iter()
                    .try_for_each(|source| self.merge(source, entries))
            }
            _ => Err(SyntaxError {
                at: source.at,
                message: "`<<` merges a mapping or a list of mappings".to_owned(),
                hint: None,
            }),
        }
    }
}

/// The tag of values that are texts, however they look.
const STRING_TAG: &str = "tag:yaml.org,2002:str";

/// The parser's words, with the line in which the trouble began.
fn syntax_message(error: &Error) -> String {
    let problem = error.problem();
    match (error.context(), error.context_mark()) {
        (Some(context), Some(mark)) if !context.ends_with("next token") => {
            let line = place(mark).line;
            format!("this is not YAML: {problem} ({context} that begins in line {line})")
        }
        _ => format!("this is not YAML: {problem}"),
    }
}

fn too_deep() -> String {
    format!("nested more than {MAX_DEPTH} levels deep")
}

/// What to do about the parser's commonest complaints.
fn advice(error: &Error) -> Option<&'static str> {
    let (problem, context) = (error.problem(), error.context().unwrap_or_default());
    if context.contains("anchor") || context.contains("alias") {
        Some("a text that begins with `*` or `&` needs quotes: `\"* * * * *\"`")
    } else if problem.contains("cannot start any token") {
        Some("indent with blanks, not with tabs; a text that begins with one of %@` needs quotes")
    } else if problem.contains("mapping values are not allowed") {
        Some("a text in which `: ` occurs needs quotes; otherwise, look at the indentation")
    } else {
        None
    }
}

/// Marks count from 0.
fn place(mark: Mark) -> Position {
    let from_1 = |number: u64| u32::try_from(number).map_or(u32::MAX, |n| n.saturating_add(1));
    Position {
        line: from_1(mark.line),
        column: from_1(mark.column),
    }
}

impl Node {
    fn new(at: Position, kind: Kind) -> Self {
        let inner = match &kind {
            Kind::Scalar { text, .. } => u64::try_from(text.len() / TEXT_UNIT).unwrap_or(u64::MAX),
            Kind::Sequence(items) => sum(items.iter().map(|item| item.expanded)),
            Kind::Mapping(entries) => sum(entries
                .iter()
                .map(|entry| entry.key.expanded.saturating_add(entry.value.expanded))),
        };
        Self {
            at,
            kind,
            expanded: inner.saturating_add(1),
        }
    }

    /// The text of a scalar.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }

    /// The text of a scalar written without quotes: only such a text can be a number or a boolean.
    pub(crate) fn plain(&self) -> Option<&str> {
        match &self.kind {
            Kind::Scalar { text, plain: true } => Some(text),
            _ => None,
        }
    }

    /// Whether the value is YAML's null: nothing, `~` or `null`.
    pub(crate) fn is_null(&self) -> bool {
        matches!(self.plain(), Some("" | "~" | "null" | "Null" | "NULL"))
    }

    /// Whether there is nothing in it: null, an empty text, list or mapping.
    pub(crate) fn is_empty(&self) -> bool {
        match &self.kind {
            Kind::Scalar { text, .. } => text.is_empty() || self.is_null(),
            Kind::Sequence(items) => items.is_empty(),
            Kind::Mapping(entries) => entries.is_empty(),
        }
    }

    /// What it is, for messages.
    pub(crate) fn described(&self) -> String {
        match &self.kind {
            _ if self.is_null() => "nothing".to_owned(),
            Kind::Scalar { text, .. } => format!("{:?}", shortened(text)),
            Kind::Sequence(_) => "a list".to_owned(),
            Kind::Mapping(_) => "a section (`key: value` lines)".to_owned(),
        }
    }

    fn is_merge(&self) -> bool {
        self.plain() == Some("<<")
    }
}

/// A message need not repeat a megabyte.
pub(crate) fn shortened(text: &str) -> Cow<'_, str> {
    const SHOWN: usize = 120;
    // Most texts have fewer bytes, and then also fewer characters.
    if text.len() <= SHOWN {
        return Cow::Borrowed(text);
    }
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => Cow::Owned(format!("{}…", &text[..end])),
        None => Cow::Borrowed(text),
    }
}

fn sum(sizes: impl Iterator<Item = u64>) -> u64 {
    sizes.fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests;
