//! The files that cases are written in.

use std::fs;
use std::path::{Path, PathBuf};

/// A configuration and its outcome.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) name: String,
    /// Whether editors that know the schema accept it, if it is accepted.
    pub(crate) in_schema: bool,
    pub(crate) shown: Vec<String>,
    pub(crate) yaml: String,
    pub(crate) outcome: String,
}

/// A file of cases.
#[derive(Debug)]
pub(crate) struct CaseFile {
    pub(crate) name: String,
    pub(crate) cases: Vec<Case>,
    path: PathBuf,
    /// What stands before the first case.
    preamble: String,
}

const HEAD: &str = "=== ";
const BEYOND_SCHEMA: &str = " | beyond the schema";
const OUTCOME: &str = "--- ";

impl CaseFile {
    /// All files `*.cases` in a directory.
    pub(crate) fn read_all(directory: &Path) -> Result<Vec<Self>, String> {
        let unreadable = |error| format!("{}: {error}", directory.display());
        let mut files = Vec::new();
        for entry in fs::read_dir(directory).map_err(unreadable)? {
            let path = entry.map_err(unreadable)?.path();
            if path
                .extension()
                .is_some_and(|extension| extension == "cases")
            {
                files.push(Self::read(path)?);
            }
        }
        files.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(files)
    }

    fn read(path: PathBuf) -> Result<Self, String> {
        let text =
            fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        let mut file = Self {
            name: name.into_owned(),
            cases: Vec::new(),
            preamble: String::new(),
            path,
        };
        let mut in_outcome = false;
        for line in text.split_inclusive('\n') {
            if let Some(head) = line.strip_prefix(HEAD) {
                let (name, shown) = head
                    .trim()
                    .split_once(" | show ")
                    .unwrap_or((head.trim(), ""));
                let (name, in_schema) = match name.strip_suffix(BEYOND_SCHEMA) {
                    Some(name) => (name, false),
                    None => (name, true),
                };
                if file.cases.iter().any(|case| case.name == name) {
                    return Err(format!("{}: two cases {name:?}", file.path.display()));
                }
                file.cases.push(Case {
                    name: name.to_owned(),
                    in_schema,
                    shown: shown.split_whitespace().map(str::to_owned).collect(),
                    yaml: String::new(),
                    outcome: String::new(),
                });
                in_outcome = false;
                continue;
            }
            let Some(case) = file.cases.last_mut() else {
                file.preamble.push_str(line);
                continue;
            };
            if let Some(first) = line.strip_prefix(OUTCOME).filter(|_| !in_outcome) {
                in_outcome = true;
                case.outcome.push_str(first);
            } else if in_outcome {
                case.outcome.push_str(line);
            } else {
                case.yaml.push_str(line);
            }
        }
        // The empty line between a case and the next belongs to neither.
        for case in &mut file.cases {
            case.outcome = format!("{}\n", case.outcome.trim_end());
        }
        Ok(file)
    }

    /// Writes the file with the outcomes as they are now.
    pub(crate) fn write(&self) -> Result<(), String> {
        let mut text = self.preamble.clone();
        for case in &self.cases {
            text.push_str(HEAD);
            text.push_str(&case.name);
            if !case.in_schema {
                text.push_str(BEYOND_SCHEMA);
            }
            if !case.shown.is_empty() {
                text.push_str(" | show ");
                text.push_str(&case.shown.join(" "));
            }
            text.push('\n');
            text.push_str(&case.yaml);
            text.push_str(OUTCOME);
            text.push_str(case.outcome.trim_end());
            text.push('\n');
            text.push('\n');
        }
        fs::write(&self.path, text).map_err(|error| format!("{}: {error}", self.path.display()))
    }
}
