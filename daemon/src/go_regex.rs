//! Regular expressions as zrepl's configuration has them: Go's syntax (RE2), unanchored, asked only whether a name
//! matches. The pattern is translated for the `regex` crate, and the simple ones that configurations are full of
//! (`^zrepl_.*`) are not compiled at all; others take 7 to 17 KiB, which clones share.
//!
//! The meaning is Go's for ASCII names, which is all that ZFS has.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use regex::bytes::{Regex, RegexBuilder};

mod class;
mod escape;
mod patterns;
mod shape;
mod translate;

pub(crate) use patterns::Patterns;
use shape::Shape;

/// Largest compiled form in bytes.
const SIZE_LIMIT: usize = 4 << 20;

/// Largest cache of one automaton in bytes: names are short.
const CACHE_LIMIT: usize = 64 << 10;

/// A regular expression in Go's syntax. Cheap to clone; equal if written equally.
#[derive(Clone)]
pub struct GoRegex(Arc<Compiled>);

struct Compiled {
    text: Box<str>,
    matcher: Matcher,
    everything: bool,
}

enum Matcher {
    Shape(Shape),
    Regex(Regex),
}

/// Why a text is not a regular expression that Go accepts.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid regex {text:?}: {problem}")]
pub struct GoRegexError {
    /// The whole text.
    pub text: String,
    /// What is wrong with it.
    pub problem: Problem,
}

/// The rule that a regular expression breaks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("error parsing regexp: {what}: `{snippet}`")]
pub struct Problem {
    /// In Go's words.
    pub what: String,
    /// The part that breaks it.
    pub snippet: String,
}

impl Problem {
    fn new(what: impl Into<String>, snippet: &str) -> Self {
        Self {
            what: what.into(),
            snippet: snippet.to_owned(),
        }
    }
}

impl GoRegex {
    /// Checks and compiles `text`.
    pub fn new(text: &str) -> Result<Self, GoRegexError> {
        Self::within(text, SIZE_LIMIT)
    }

    /// Checks and compiles `text` into at most so many bytes.
    fn within(text: &str, size_limit: usize) -> Result<Self, GoRegexError> {
        let failed = |problem| GoRegexError {
            text: text.to_owned(),
            problem,
        };
        let translation = translate::translate(text).map_err(failed)?;
        let sequence = translation.sequence.as_deref();
        let everything = sequence.is_some_and(shape::is_everything);
        let matcher = match sequence.and_then(Shape::of) {
            Some(shape) => Matcher::Shape(shape),
            None => Matcher::Regex(
                compile(&translation.pattern, translation.unicode, size_limit).map_err(
                    |error| {
                        let what = match error {
                            regex::Error::CompiledTooBig(_) => TOO_LARGE.to_owned(),
                            other => last_line(&other.to_string()).to_owned(),
                        };
                        failed(Problem::new(what, text))
                    },
                )?,
            ),
        };
        Ok(Self(Arc::new(Compiled {
            text: text.into(),
            matcher,
            everything,
        })))
    }

    /// The empty expression, which every name matches.
    #[expect(clippy::missing_panics_doc, reason = "a test shows that it does not")]
    pub fn everything() -> Self {
        Self::new("").expect("the empty expression is one")
    }

    /// The text as written.
    pub fn as_str(&self) -> &str {
        &self.0.text
    }

    /// Does some part of `name` match?
    pub fn is_match(&self, name: &str) -> bool {
        match &self.0.matcher {
            Matcher::Shape(shape) => shape.is_match(name),
            Matcher::Regex(regex) => regex.is_match(name.as_bytes()),
        }
    }

    /// Does this obviously match every name there can be (`.*`, `^`, the empty text, …)? For warnings: a more contrived
    /// pattern may match everything as well.
    pub fn matches_everything(&self) -> bool {
        self.0.everything
    }
}

/// Go's words.
const TOO_LARGE: &str = "expression too large";

fn compile(pattern: &str, unicode: bool, size_limit: usize) -> Result<Regex, regex::Error> {
    RegexBuilder::new(pattern)
        .unicode(unicode)
        .size_limit(size_limit)
        .dfa_size_limit(CACHE_LIMIT)
        .build()
}

/// The crate draws a picture over several lines before it says what is wrong.
fn last_line(message: &str) -> &str {
    let line = message.lines().next_back().unwrap_or_default();
    line.strip_prefix("error: ").unwrap_or(line)
}

impl fmt::Debug for GoRegex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("GoRegex").field(&self.as_str()).finish()
    }
}

impl fmt::Display for GoRegex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for GoRegex {
    type Err = GoRegexError;

    fn from_str(text: &str) -> Result<Self, GoRegexError> {
        Self::new(text)
    }
}

impl PartialEq for GoRegex {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for GoRegex {}

#[cfg(test)]
mod tests;
