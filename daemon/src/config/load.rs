//! Finds, reads and combines the files of a configuration.

use std::collections::HashMap;
use std::fs::{self, File as OpenFile};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::decode::declare::section;
use super::decode::node::{self, Kind, Node, Position, shortened};
use super::decode::{Fields, Marks, Reading, Section, Value, items};
use super::global::Global;
use super::job::JobConfig;
use super::problem::{Problem, Problems, Severity};
use super::{Config, warnings};
use crate::go_regex::Patterns;

/// Where the configuration is if nobody says where.
const DEFAULT_LOCATIONS: [&str; 2] = ["/etc/zrepl/zrepl.yml", "/usr/local/etc/zrepl/zrepl.yml"];

/// Largest file in bytes. A thousand jobs take about one million.
const MAX_FILE: u64 = 4 << 20;

/// Largest size of all files together in bytes.
const MAX_TOTAL: u64 = 16 << 20;

/// Most included files.
const MAX_INCLUDED: usize = 10_000;

section! {
    /// Configuration of the zrepl daemon.
    pub(super) struct File {
        /// Settings of the daemon as a whole.
        global: Global = section,
        /// The jobs.
        jobs: Vec<JobConfig> = default(Vec::new()),
        /// Files, or directories of `*.yml` files, whose jobs are added. Relative to this file.
        include: Vec<String> = default(Vec::new()),
    }
}

/// A configuration that can be used, and what is surprising in it.
#[derive(Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// Warnings.
    pub problems: Problems,
    sources: Vec<Source>,
    origins: Vec<Origin>,
}

/// Why a configuration cannot be used.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{problems}")]
pub struct ConfigError {
    /// All errors, and the warnings among them.
    pub problems: Problems,
}

/// A file that was read.
#[derive(Debug)]
struct Source {
    file: Arc<Path>,
    marks: Marks,
}

/// Where a job was written.
#[derive(Clone, Copy, Debug)]
struct Origin {
    source: usize,
    index: usize,
    at: Position,
}

/// What came out of one file, as far as it was right.
struct ReadFile {
    global: Option<Global>,
    written_global: Option<(Position, Vec<String>)>,
    jobs: Vec<ReadJob>,
    include: Vec<(Position, String)>,
    marks: Marks,
}

struct ReadJob {
    name: Option<(Position, String)>,
    at: Position,
    config: Option<JobConfig>,
}

/// Reads the configuration at `path`, or at the first default location that exists, and the files that it includes.
pub fn load(path: Option<&Path>) -> Result<Loaded, ConfigError> {
    let mut problems = Problems::default();
    let main = match path {
        Some(path) => Some(path.to_owned()),
        None => default_location(&mut problems),
    };
    let Some(main) = main else {
        return Err(ConfigError { problems });
    };
    let directory = main.parent().unwrap_or(Path::new("")).to_owned();
    let mut budget = MAX_TOTAL;
    let file: Arc<Path> = main.as_path().into();
    let text = match read_text(&main, &mut budget) {
        Ok(text) => text,
        Err(message) => {
            problems.file_error(&file, format!("read file: {message}"));
            return Err(ConfigError { problems });
        }
    };
    combine(&file, &text, problems, |entry, refuse| {
        if entry.is_empty() {
            refuse("the name of a file or directory is missing".to_owned());
            return Vec::new();
        }
        included(&directory.join(entry), refuse, &mut budget)
    })
}

/// Reads a configuration from its text. `name` stands for the file in messages; `include` is refused.
pub fn parse(name: &str, text: &str) -> Result<Loaded, ConfigError> {
    let file: Arc<Path> = Path::new(name).into();
    combine(&file, text, Problems::default(), |_, refuse| {
        refuse("a text that is not in a file cannot include files".to_owned());
        Vec::new()
    })
}

fn default_location(problems: &mut Problems) -> Option<PathBuf> {
    for location in DEFAULT_LOCATIONS {
        match fs::metadata(location) {
            Ok(data) if data.is_file() => return Some(location.into()),
            Ok(_) => {
                problems.file_error(
                    &Path::new(location).into(),
                    format!("file at default location is not a regular file: {location}"),
                );
                return None;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                problems.file_error(&Path::new(location).into(), error.to_string());
                return None;
            }
        }
    }
    let [first, second] = DEFAULT_LOCATIONS;
    problems.file_error(
        &Path::new(first).into(),
        format!("no such file, nor {second}: write one, or say where it is with --config"),
    );
    None
}

/// An included file: its name and text.
type IncludedFile = (Arc<Path>, String);

fn combine(
    main: &Arc<Path>,
    text: &str,
    mut problems: Problems,
    mut include: impl FnMut(&str, &mut dyn FnMut(String)) -> Vec<IncludedFile>,
) -> Result<Loaded, ConfigError> {
    let mut patterns = Patterns::default();
    let read = read_file(main, text, &mut problems, &mut patterns);
    let mut files = vec![(Arc::clone(main), read)];
    let entries = match &files[0].1 {
        Some(file) => file.include.clone(),
        None => Vec::new(),
    };
    for (index, (at, entry)) in entries.into_iter().enumerate() {
        let mut refuse = |message| {
            problems.push(include_error(
                main,
                at,
                format!("include[{index}]"),
                message,
            ));
        };
        for (file, text) in include(&entry, &mut refuse) {
            let read = read_file(&file, &text, &mut problems, &mut patterns);
            if let Some(read) = &read {
                check_included(&file, read, &mut problems);
            }
            files.push((file, read));
        }
    }
    check_names(&files, &mut problems);

    let order: Vec<PathBuf> = files.iter().map(|(file, _)| file.to_path_buf()).collect();
    let mut global = None;
    let (mut jobs, mut origins, mut sources) = (Vec::new(), Vec::new(), Vec::new());
    for (source, (file, read)) in files.into_iter().enumerate() {
        let Some(read) = read else { continue };
        if source == 0 {
            global = read.global;
        }
        for (index, job) in read.jobs.into_iter().enumerate() {
            if let Some(config) = job.config {
                jobs.push(config);
                origins.push(Origin {
                    source,
                    index,
                    at: job.at,
                });
            }
        }
        sources.push(Source {
            file,
            marks: read.marks,
        });
    }
    let (Some(global), false) = (global, problems.has_errors()) else {
        problems.sort(&order);
        return Err(ConfigError { problems });
    };
    let mut loaded = Loaded {
        config: Config { global, jobs },
        problems,
        sources,
        origins,
    };
    warnings::check(&mut loaded);
    loaded.problems.sort(&order);
    Ok(loaded)
}

impl Loaded {
    /// Adds a finding about what stands at `path` below a job, such as `.connect.ca`.
    pub(super) fn report_job(
        &mut self,
        severity: Severity,
        job: usize,
        path: &str,
        message: String,
        hint: Option<String>,
    ) {
        let Some(Origin { source, index, at }) = self.origins.get(job).copied() else {
            return;
        };
        let path = format!("jobs[{index}]{path}");
        let at = self.sources[source].marks.find(&path).unwrap_or(at);
        self.problems.push(Problem {
            severity,
            file: Arc::clone(&self.sources[source].file),
            at: Some(at),
            path,
            message,
            hint,
        });
    }

    /// Adds a finding about what stands at `path` in the main file, such as `global.logging[0].tls.ca`.
    pub(super) fn report_global(&mut self, severity: Severity, path: &str, message: String) {
        let Some(main) = self.sources.first() else {
            return;
        };
        self.problems.push(Problem {
            severity,
            file: Arc::clone(&main.file),
            at: main.marks.find(path),
            path: path.to_owned(),
            message,
            hint: None,
        });
    }

    /// Puts the findings of later checks in their places.
    pub(super) fn sort(&mut self) {
        let order: Vec<PathBuf> = self
            .sources
            .iter()
            .map(|source| source.file.to_path_buf())
            .collect();
        self.problems.sort(&order);
    }

    /// Whether a later check found errors.
    pub fn into_result(self) -> Result<Self, ConfigError> {
        if self.problems.has_errors() {
            Err(ConfigError {
                problems: self.problems,
            })
        } else {
            Ok(self)
        }
    }
}

/// Reads a file whose size is bounded, or says why that cannot be done.
fn read_text(path: &Path, budget: &mut u64) -> Result<String, String> {
    let unreadable = |error: io::Error| error.to_string();
    let file = OpenFile::open(path).map_err(unreadable)?;
    if file.metadata().map_err(unreadable)?.is_dir() {
        return Err("it is a directory".to_owned());
    }
    let limit = MAX_FILE.min(*budget);
    let mut bytes = Vec::new();
    file.take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    if size > MAX_FILE {
        return Err(format!(
            "it is larger than {} MiB: this cannot be a configuration",
            MAX_FILE >> 20
        ));
    }
    if size > limit {
        return Err(format!(
            "with it, the configuration is larger than {} MiB",
            MAX_TOTAL >> 20
        ));
    }
    *budget -= size;
    String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = valid.split(|byte| *byte == b'\n').count();
        format!("it is not a text: line {line} is not UTF-8")
    })
}

fn read_file(
    file: &Arc<Path>,
    text: &str,
    problems: &mut Problems,
    patterns: &mut Patterns,
) -> Option<ReadFile> {
    let root = match node::parse(text) {
        Ok(root) => root,
        Err(error) => {
            problems.push(Problem {
                severity: Severity::Error,
                file: Arc::clone(file),
                at: Some(error.at),
                path: String::new(),
                message: error.message,
                hint: error.hint.map(str::to_owned),
            });
            return None;
        }
    };
    let mut cx = Reading::new(Arc::clone(file), problems, patterns);
    let fields = Fields::open(&root, File::KEYS, false, &mut cx)?;
    let global = fields.section("global", &mut cx);
    let jobs = list(&fields, "jobs", &mut cx, |node, cx| {
        Some(ReadJob {
            name: name_of(node),
            at: node.at,
            config: JobConfig::read(node, cx),
        })
    });
    let include = list(&fields, "include", &mut cx, |node, cx| {
        Some((node.at, String::read(node, cx)?))
    });
    Some(ReadFile {
        global,
        written_global: fields.find("global").and_then(written_keys),
        jobs,
        include,
        marks: cx.into_marks(),
    })
}

/// The items of an optional list that are right.
fn list<T>(
    fields: &Fields<'_>,
    key: &str,
    cx: &mut Reading<'_>,
    read: impl FnMut(&Node, &mut Reading<'_>) -> Option<T>,
) -> Vec<T> {
    let Some(node) = fields.find(key) else {
        return Vec::new();
    };
    cx.under(key, |cx| items(node, cx, read))
        .unwrap_or_default()
}

/// A job's name, whatever else is wrong with the job.
fn name_of(job: &Node) -> Option<(Position, String)> {
    let Kind::Mapping(entries) = &job.kind else {
        return None;
    };
    let entry = entries.iter().find(|e| e.key.text() == Some("name"))?;
    Some((entry.value.at, entry.value.text()?.to_owned()))
}

/// The keys in a section.
fn written_keys(section: &Node) -> Option<(Position, Vec<String>)> {
    let Kind::Mapping(entries) = &section.kind else {
        return None;
    };
    let keys = entries.iter().filter_map(|e| e.key.text());
    let keys = keys.map(|key| shortened(key).into_owned());
    Some((section.at, keys.collect()))
}

/// What an included file may not have, or has to no effect.
fn check_included(file: &Arc<Path>, read: &ReadFile, problems: &mut Problems) {
    if let Some((at, _)) = read.include.first() {
        let message = "included configuration files must not include other files".to_owned();
        problems.push(include_error(file, *at, "include".to_owned(), message));
    }
    if let Some((at, keys)) = &read.written_global
        && !keys.is_empty()
    {
        problems.push(Problem {
            severity: Severity::Warning,
            file: Arc::clone(file),
            at: Some(*at),
            path: "global".to_owned(),
            message: format!(
                "has no effect in an included file: {} ignored",
                keys.join(", ")
            ),
            hint: Some("move it to the main file".to_owned()),
        });
    }
}

/// Job names are unique over all files.
fn check_names(files: &[(Arc<Path>, Option<ReadFile>)], problems: &mut Problems) {
    let mut first: HashMap<&str, (&Arc<Path>, u32)> = HashMap::new();
    for (file, read) in files {
        let Some(read) = read else { continue };
        for (index, job) in read.jobs.iter().enumerate() {
            let Some((at, name)) = &job.name else {
                continue;
            };
            match first.get(name.as_str()) {
                None => {
                    first.insert(name, (file, at.line));
                }
                Some((first_file, line)) => problems.push(Problem {
                    severity: Severity::Error,
                    file: Arc::clone(file),
                    at: Some(*at),
                    path: format!("jobs[{index}].name"),
                    message: format!(
                        "duplicate job name {:?}: the first is in {}, line {line}",
                        shortened(name),
                        first_file.display()
                    ),
                    hint: None,
                }),
            }
        }
    }
}

fn include_error(file: &Arc<Path>, at: Position, path: String, message: String) -> Problem {
    Problem {
        severity: Severity::Error,
        file: Arc::clone(file),
        at: Some(at),
        path,
        message,
        hint: None,
    }
}

/// The files behind one entry of `include`: the file itself, or the `*.yml` files of a directory in order of their names.
fn included(path: &Path, refuse: &mut dyn FnMut(String), budget: &mut u64) -> Vec<IncludedFile> {
    let paths = match included_paths(path) {
        Ok(paths) => paths,
        Err(message) => {
            refuse(message);
            return Vec::new();
        }
    };
    let mut files = Vec::new();
    for path in paths {
        // A pipe among them would be waited for.
        if fs::metadata(&path).is_ok_and(|data| !data.is_file() && !data.is_dir()) {
            refuse(format!("not a file or directory: {}", path.display()));
            continue;
        }
        match read_text(&path, budget) {
            Ok(text) => files.push((Arc::from(path.as_path()), text)),
            Err(message) => refuse(format!("read file: \"{}\": {message}", path.display())),
        }
    }
    files
}

fn included_paths(path: &Path) -> Result<Vec<PathBuf>, String> {
    let shown = path.display();
    let data = fs::metadata(path).map_err(|error| format!("stat path \"{shown}\": {error}"))?;
    let is_yml = |path: &Path| path.as_os_str().as_encoded_bytes().ends_with(b".yml");
    if data.is_file() {
        if !is_yml(path) {
            return Err(format!(
                "include config files must end with `.yml`: {shown}"
            ));
        }
        return Ok(vec![path.to_owned()]);
    }
    if !data.is_dir() {
        return Err(format!("not a file or directory: {shown}"));
    }
    let unreadable = |error: io::Error| format!("read directory \"{shown}\": {error}");
    let mut paths = Vec::new();
    for entry in fs::read_dir(path).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if is_yml(&path) {
            paths.push(path);
        }
        if paths.len() > MAX_INCLUDED {
            return Err(format!("more than {MAX_INCLUDED} files in {shown}"));
        }
    }
    paths.sort();
    Ok(paths)
}
