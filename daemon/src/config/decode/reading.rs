//! What is known while a file is read: where we are, and what was wrong so far.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use super::node::{Position, shortened};
use crate::config::problem::{Problem, Problems, Severity};
use crate::go_regex::{GoRegex, GoRegexError, Patterns};

/// The state of reading one file: where we are, and what was wrong so far.
pub(crate) struct Reading<'p> {
    file: Arc<Path>,
    problems: &'p mut Problems,
    /// The path of keys, as it is shown.
    path: String,
    /// How many keys and indices it has.
    depth: usize,
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

impl<'p> Reading<'p> {
    pub(crate) fn new(
        file: Arc<Path>,
        problems: &'p mut Problems,
        patterns: &'p mut Patterns,
    ) -> Self {
        Self {
            file,
            problems,
            path: String::new(),
            depth: 0,
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
        self.marks.0.insert(self.path.clone(), at);
    }

    /// Remembers a key that a later check may find fault with. Those that stand deeper are looked at only while reading.
    pub(super) fn mark_key(&mut self, at: Position) {
        // As in `jobs[0].replication.protection.initial`.
        const DEEPEST: usize = 5;
        if self.depth <= DEEPEST {
            self.mark(at);
        }
    }

    /// What was marked.
    pub(crate) fn into_marks(self) -> Marks {
        self.marks
    }

    /// Whether there are so many errors already that another one is only counted, which it is.
    pub(super) fn has_enough(&mut self) -> bool {
        let enough = self.problems.is_full(Severity::Error);
        if enough {
            self.problems.leave_out();
        }
        enough
    }

    /// Compiles a regular expression, or returns what was compiled before.
    pub(super) fn compile(&mut self, text: &str) -> Result<GoRegex, GoRegexError> {
        self.patterns.compile(text)
    }

    fn report(&mut self, severity: Severity, at: Position, message: String, hint: Option<String>) {
        if self.problems.is_full(severity) {
            self.problems.leave_out();
            return;
        }
        self.problems.push(Problem {
            severity,
            file: Arc::clone(&self.file),
            at: Some(at),
            path: self.path.clone(),
            message: cut(message),
            hint,
        });
    }

    /// Reads something that stands under `key`.
    pub(crate) fn under<T>(&mut self, key: &str, read: impl FnOnce(&mut Self) -> T) -> T {
        let outside = self.path.len();
        if outside > 0 {
            self.path.push('.');
        }
        self.path.push_str(&shortened(key));
        self.inside(outside, read)
    }

    /// Reads the item `index` of a list.
    pub(crate) fn item<T>(&mut self, index: usize, read: impl FnOnce(&mut Self) -> T) -> T {
        let outside = self.path.len();
        self.path.push('[');
        self.path.push_str(&index.to_string());
        self.path.push(']');
        self.inside(outside, read)
    }

    /// Reads what the path was made longer for, and makes it as long as before.
    fn inside<T>(&mut self, outside: usize, read: impl FnOnce(&mut Self) -> T) -> T {
        self.depth += 1;
        let value = read(self);
        self.depth -= 1;
        self.path.truncate(outside);
        value
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
