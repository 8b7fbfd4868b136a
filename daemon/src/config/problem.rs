//! What is wrong with a configuration, or surprising in it: where, what was found, what would be right.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::node::Position;

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
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)?;
        if let Some(hint) = &self.hint {
            write!(f, "\n    {hint}")?;
        }
        Ok(())
    }
}

/// All findings of a run, errors and warnings, in the order of files and lines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems {
    found: Vec<Problem>,
    left_out: usize,
}

impl Problems {
    /// Most findings kept: a file that is wrong in every line need not fill the memory.
    const KEPT: usize = 1000;

    /// Adds a finding. The same one at the same place is kept once: an aliased section is read wherever it is used.
    pub fn push(&mut self, problem: Problem) {
        if self.found.len() >= Self::KEPT {
            self.left_out += 1;
        } else if !self
            .found
            .iter()
            .any(|p| p.at.is_some() && p.at == problem.at && p.message == problem.message)
        {
            self.found.push(problem);
        }
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

    /// How many findings of this severity there are.
    pub fn count(&self, severity: Severity) -> usize {
        self.iter().filter(|p| p.severity == severity).count()
    }

    /// The findings.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.found.iter()
    }

    /// Sorts by place: files in the order in which they were read, then lines.
    pub(crate) fn sort(&mut self, files: &[PathBuf]) {
        let rank = |file: &Path| files.iter().position(|f| f == file);
        self.found.sort_by_key(|p| (rank(&p.file), p.at));
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

/// The word that is close to what was written, if one is.
pub(crate) fn closest<'w>(
    written: &str,
    words: impl IntoIterator<Item = &'w str>,
) -> Option<&'w str> {
    let written = written.to_lowercase();
    // More than a third of the letters changed is another word, not a slip.
    let most = (written.chars().count() / 3).max(1);
    words
        .into_iter()
        .map(|word| (distance(&written, word), word))
        .filter(|(distance, _)| *distance <= most)
        .min()
        .map(|(_, word)| word)
}

/// Insertions, deletions, replacements and swaps of neighbours that turn `a` into `b`.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().take(64).collect(), b.chars().collect());
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
            ("", None),
        ];
        for (written, expected) in cases {
            assert_eq!(closest(written, words), expected, "{written}");
        }
    }
}
