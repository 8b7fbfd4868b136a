//! What is wrong with a configuration, or surprising in it: where, what was found, what would be right.

use std::collections::{HashMap, HashSet};
use std::fmt::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::decode::node::Position;

/// Errors keep the configuration from being used; warnings do not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The configuration cannot be used.
    Error,
    /// It can, but does something that its author may not expect.
    Warning,
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// The file it is in.
    pub file: Arc<Path>,
    /// Where in the file, unless it concerns the file as a whole.
    pub at: Option<Position>,
    /// The path of keys, such as `jobs[2].pruning.keep_sender[0].grid`; empty for the file as a whole.
    pub path: String,
    /// What was found, and what is allowed.
    pub message: String,
    /// What to do about it, if that is clear.
    pub hint: Option<String>,
}

impl fmt::Display for Problem {
    /// One line in the form that editors and terminals make clickable, and the hint on a second one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file.display())?;
        if let Some(Position { line, column }) = self.at {
            write!(f, "{line}:{column}:")?;
        }
        f.write_str(match self.severity {
            Severity::Error => " error: ",
            Severity::Warning => " warning: ",
        })?;
        if !self.path.is_empty() {
            write!(f, "{}: ", Printable(&self.path))?;
        }
        write!(f, "{}", Printable(&self.message))?;
        if let Some(hint) = &self.hint {
            write!(f, "\n    {}", Printable(hint))?;
        }
        Ok(())
    }
}

/// A text on one line, without what a terminal would obey.
struct Printable<'a>(&'a str);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| {
            if c.is_control() {
                write!(f, "{}", c.escape_debug())
            } else {
                f.write_char(c)
            }
        })
    }
}

/// All findings of a run, errors and warnings, in the order of files and lines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems {
    found: Vec<Problem>,
    places: HashSet<Place>,
    errors: usize,
    warnings: usize,
    left_out: usize,
}

/// What is the same when an aliased section is read again. The beginning of the path is not.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Place {
    file: Arc<Path>,
    at: Option<Position>,
    key: String,
    message: String,
}

impl Place {
    fn of(problem: &Problem) -> Self {
        let key = problem.path.rsplit('.').next().unwrap_or_default();
        Self {
            file: Arc::clone(&problem.file),
            at: problem.at,
            key: key.to_owned(),
            message: problem.message.clone(),
        }
    }
}

impl Problems {
    /// Most errors kept, and most warnings: a file that is wrong in every line need not fill the memory.
    const KEPT: usize = 1000;

    /// Adds a finding. The same one at the same place is kept once: an aliased section is read wherever it is used.
    pub fn push(&mut self, problem: Problem) {
        if self.is_full(problem.severity) {
            self.left_out += 1;
        } else if problem.at.is_none() || self.places.insert(Place::of(&problem)) {
            match problem.severity {
                Severity::Error => self.errors += 1,
                Severity::Warning => self.warnings += 1,
            }
            self.found.push(problem);
        }
    }

    /// Whether further findings of this severity are only counted.
    pub(crate) fn is_full(&self, severity: Severity) -> bool {
        self.count(severity) >= Self::KEPT
    }

    /// Counts a finding without keeping it.
    pub(crate) fn leave_out(&mut self) {
        self.left_out += 1;
    }

    /// An error about a file as a whole.
    pub(crate) fn file_error(&mut self, file: &Arc<Path>, message: String) {
        self.push(Problem {
            severity: Severity::Error,
            file: Arc::clone(file),
            at: None,
            path: String::new(),
            message,
            hint: None,
        });
    }

    /// Whether anything in it is an error.
    pub fn has_errors(&self) -> bool {
        self.count(Severity::Error) > 0
    }

    /// How many findings of this severity there are, those left out aside.
    pub fn count(&self, severity: Severity) -> usize {
        match severity {
            Severity::Error => self.errors,
            Severity::Warning => self.warnings,
        }
    }

    /// The findings.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.found.iter()
    }

    /// Sorts by place: files in the order in which they were read, then lines.
    pub(crate) fn sort(&mut self, files: &[PathBuf]) {
        let ranks: HashMap<&Path, usize> = files.iter().map(PathBuf::as_path).zip(0..).collect();
        self.found
            .sort_by_key(|p| (ranks.get(&*p.file).copied(), p.at));
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.found.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        if self.left_out > 0 {
            write!(f, "\n… and {} more", self.left_out)?;
        }
        Ok(())
    }
}

/// The word that is close to what was written; or else the only one that contains it, or that it contains.
pub(crate) fn closest<'w>(
    written: &str,
    words: impl IntoIterator<Item = &'w str>,
) -> Option<&'w str> {
    /// No key and no word is nearly as long.
    const LONGEST: usize = 64;
    /// Fewer letters are part of too much.
    const SHORTEST: usize = 3;
    let length = written.chars().take(LONGEST + 1).count();
    if length > LONGEST {
        return None;
    }
    let written = written.to_lowercase();
    // More than a third of the letters changed is another word, not a slip.
    let most = (length / 3).max(1);
    let words: Vec<&str> = words.into_iter().collect();
    let near = words
        .iter()
        .filter(|word| word.len().abs_diff(length) <= most)
        .map(|word| (distance(&written, word), *word))
        .filter(|(distance, _)| *distance <= most)
        .min();
    if let Some((_, word)) = near {
        return Some(word);
    }
    let mut related = words.iter().filter(|word| {
        length.min(word.len()) >= SHORTEST && (word.contains(&written) || written.contains(**word))
    });
    match (related.next(), related.next()) {
        (Some(word), None) => Some(word),
        _ => None,
    }
}

/// Insertions, deletions, replacements and swaps of neighbours that turn `a` into `b`.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            rows[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
                let mut least = replaced.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
                if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                    least = least.min(rows[i - 2][j - 2] + 1);
                }
                least
            };
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggestions_are_near_misses_only() {
        let words = ["keep_sender", "keep_receiver", "filesystems"];
        let cases = [
            ("keep_sneder", Some("keep_sender")),
            ("Filesystems", Some("filesystems")),
            ("filesystem", Some("filesystems")),
            ("keepreceiver", Some("keep_receiver")),
            ("interval", None),
            ("keep", None),
            ("filesystems_of_mine", Some("filesystems")),
            ("keep_send", Some("keep_sender")),
            (
                "keep_receiver_and_all_that_comes_after_it_in_a_very_long_line_of_text",
                None,
            ),
            ("", None),
        ];
        for (written, expected) in cases {
            assert_eq!(closest(written, words), expected, "{written}");
        }
    }
}
