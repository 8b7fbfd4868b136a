//! Which filesystems a job or hook is about: patterns that include or exclude a dataset or everything below it. The most
//! specific pattern decides, wherever it stands.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

mod overlap;

pub use overlap::{Overlap, Witness, overlaps, sharing};

/// `path` for one dataset, `path<` for that and all below it, `<` for everything.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pattern {
    path: String,
    subtree: bool,
}

/// Why a text is not a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// A character that no dataset has in its name.
    #[error(
        "pattern is not a dataset path: contains forbidden characters (any of '@#|\\t<>*'): {found:?}"
    )]
    Character {
        /// The first one.
        found: char,
    },
    /// `<` elsewhere than at the end.
    #[error("pattern invalid: only one '<' at end of string allowed")]
    Subtree,
    /// A `/` at the end.
    #[error("pattern is not a dataset path: must not end with a '/'")]
    TrailingSlash,
}

/// An entry that cannot be part of a filter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid mapping entry ['{pattern}':'{}']: {problem}", shown(*.accept))]
pub struct FilterError {
    /// The entry's pattern.
    pub pattern: String,
    /// What it is mapped to.
    pub accept: bool,
    /// What is wrong.
    pub problem: EntryProblem,
}

/// What is wrong with an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntryProblem {
    /// The same pattern is there already.
    #[error("the pattern is there twice")]
    Duplicate,
    /// Not a pattern.
    #[error(transparent)]
    Pattern(#[from] PatternError),
}

/// Patterns and what they say. Equal if written equally and in the same order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FilesystemFilter {
    entries: Vec<(Pattern, bool)>,
    by_path: HashMap<Box<str>, Slots>,
}

/// Where in the entries the patterns of one path are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Slots {
    exact: Option<usize>,
    subtree: Option<usize>,
}

/// What a filter says about a dataset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict<'a> {
    /// Is the dataset included?
    pub accepted: bool,
    /// The pattern that decided; none if no pattern matches, which excludes.
    pub decided_by: Option<&'a Pattern>,
}

fn shown(accept: bool) -> &'static str {
    if accept { "ok" } else { "!" }
}

impl Pattern {
    /// The dataset's name, or that of the subtree's root: empty for `<`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Does the pattern match datasets below its path, too?
    pub fn is_subtree(&self) -> bool {
        self.subtree
    }
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let (path, subtree) = match text.strip_suffix('<') {
            Some(path) => (path, true),
            None => (text, false),
        };
        if path.contains('<') {
            return Err(PatternError::Subtree);
        }
        if let Some(found) = path.chars().find(|&c| "@#|\t>*".contains(c)) {
            return Err(PatternError::Character { found });
        }
        if path.ends_with('/') {
            return Err(PatternError::TrailingSlash);
        }
        Ok(Self {
            path: path.to_owned(),
            subtree,
        })
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path)?;
        f.write_str(if self.subtree { "<" } else { "" })
    }
}

impl FilesystemFilter {
    /// A filter that includes every dataset: `<`.
    pub fn everything() -> Self {
        let everything = Pattern {
            path: String::new(),
            subtree: true,
        };
        let slots = Slots {
            exact: None,
            subtree: Some(0),
        };
        Self {
            entries: vec![(everything, true)],
            by_path: HashMap::from([(Box::default(), slots)]),
        }
    }

    /// Builds a filter from texts; the first bad entry is the error.
    pub fn new<P: AsRef<str>>(
        entries: impl IntoIterator<Item = (P, bool)>,
    ) -> Result<Self, FilterError> {
        let mut filter = Self::default();
        for (text, accept) in entries {
            let text = text.as_ref();
            text.parse()
                .map_err(EntryProblem::Pattern)
                .and_then(|pattern| filter.add(pattern, accept))
                .map_err(|problem| FilterError {
                    pattern: text.to_owned(),
                    accept,
                    problem,
                })?;
        }
        Ok(filter)
    }

    /// Adds an entry, which must not repeat a pattern.
    pub fn add(&mut self, pattern: Pattern, accept: bool) -> Result<(), EntryProblem> {
        let slots = self
            .by_path
            .entry(pattern.path.as_str().into())
            .or_default();
        let slot = if pattern.subtree {
            &mut slots.subtree
        } else {
            &mut slots.exact
        };
        if slot.is_some() {
            return Err(EntryProblem::Duplicate);
        }
        *slot = Some(self.entries.len());
        self.entries.push((pattern, accept));
        Ok(())
    }

    /// The entries in the order of writing.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = (&Pattern, bool)> {
        self.entries
            .iter()
            .map(|(pattern, accept)| (pattern, *accept))
    }

    /// Is `dataset` included?
    pub fn accepts(&self, dataset: &str) -> bool {
        self.verdict(dataset).accepted
    }

    /// Is `dataset` included, and which pattern says so?
    pub fn verdict(&self, dataset: &str) -> Verdict<'_> {
        let decisive = self
            .by_path
            .get(dataset)
            .and_then(|slots| slots.exact)
            .or_else(|| {
                ancestors(dataset).find_map(|path| self.by_path.get(path).and_then(|s| s.subtree))
            });
        match decisive.map(|index| &self.entries[index]) {
            Some((pattern, accept)) => Verdict {
                accepted: *accept,
                decided_by: Some(pattern),
            },
            None => Verdict {
                accepted: false,
                decided_by: None,
            },
        }
    }
}

/// The dataset itself, its parents, and the empty path.
fn ancestors(dataset: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(dataset), |path| {
        (!path.is_empty()).then(|| path.rsplit_once('/').map_or("", |(parent, _)| parent))
    })
}

#[cfg(test)]
mod tests;
