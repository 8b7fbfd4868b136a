//! Files that are as bad as can be: whatever is in it, a file is read or refused within bounded time and memory, and what is
//! said about it is short.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use zrepl_daemon::config;

/// Far above what any of them takes, even in a debug build on a busy machine.
const LONGEST: Duration = Duration::from_secs(30);

/// The peak of a process that reads one of them, in bytes; a few times what the largest takes.
const LARGEST: u64 = 512 << 20;

/// Most bytes that are said about one.
const MOST_SAID: usize = 1 << 20;

/// The largest file that is read at all.
const FULL: usize = 4 << 20;

struct Hostile {
    name: &'static str,
    text: String,
    outcome: Outcome,
}

#[derive(Clone, Copy)]
enum Outcome {
    Accepted,
    /// With this among the messages.
    Refused(&'static str),
}

use Outcome::{Accepted, Refused};

const TOO_MANY: Outcome = Refused("more than 500000 values");
const TOO_LONG: Outcome = Refused("is longer than 64 KiB");
const DEEP: Outcome = Refused("nested more than 64 levels deep");
const EXPANDED: Outcome = Refused("with its aliases written out");
const NO_YAML: Outcome = Refused("this is not YAML");
const NO_SECTION: Outcome = Refused("must be a section");

fn hostile(name: &'static str, text: String, outcome: Outcome) -> Hostile {
    Hostile {
        name,
        text,
        outcome,
    }
}

/// `unit` as often as it fits into a file.
fn full_of(unit: &str) -> String {
    unit.repeat(FULL / unit.len())
}

/// `start`, and then what `unit` makes of 0, 1, 2, … to `count`.
fn numbered(start: &str, count: usize, unit: impl Fn(usize) -> String) -> String {
    (0..count).fold(start.to_owned(), |text, index| text + &unit(index))
}

fn nested() -> Vec<Hostile> {
    vec![
        hostile("brackets", "[".repeat(490_000), DEEP),
        hostile("braces", "{a: ".repeat(240_000), DEEP),
        hostile("lists in one line", "- ".repeat(1_000_000), DEEP),
        hostile(
            "lists in lines",
            numbered("", 2_000, |i| " ".repeat(i) + "-\n"),
            DEEP,
        ),
        hostile("question marks", "? ".repeat(490_000), DEEP),
        hostile("closing brackets", "]".repeat(490_000), NO_YAML),
        hostile("a million brackets", "[".repeat(1_000_000), DEEP),
    ]
}

fn repeated() -> Vec<Hostile> {
    let flow = |unit: &str, count| "[".to_owned() + &unit.repeat(count);
    vec![
        hostile("nothing but line ends", full_of("\n"), Accepted),
        hostile("nothing but blanks", full_of(" "), Accepted),
        hostile("nothing but tabs", full_of("\t"), NO_YAML),
        hostile("nothing but hashes", full_of("#"), Accepted),
        hostile("nothing but comments", full_of("#\n"), Accepted),
        hostile("nothing but documents", full_of("---\n"), Accepted),
        hostile("nothing but directives", full_of("%a b\n"), NO_YAML),
        hostile("nothing but hyphens", full_of("-"), NO_SECTION),
        hostile("nothing but colons", full_of(":"), NO_SECTION),
        hostile("nothing but quotes", full_of("'"), NO_SECTION),
        hostile("nothing but NUL", full_of("\0"), Refused("error: ")),
        hostile("empty items", full_of("- \n"), TOO_MANY),
        hostile("items", full_of("- a\n"), TOO_MANY),
        hostile("commas", full_of("a,"), NO_SECTION),
        hostile("fewer commas", flow("a,", 490_000), NO_YAML),
        hostile("commas and line ends", flow("a,\n", 490_000), NO_YAML),
        hostile("lists without commas", flow("[]", 240_000), NO_YAML),
        hostile("texts without commas", flow("''", 240_000), NO_YAML),
        hostile(
            "question marks in a list",
            flow("? ", 490_000),
            Refused("error: "),
        ),
    ]
}

fn long() -> Vec<Hostile> {
    let word = "x".repeat(FULL - 2_000);
    let lines = "  x\n".repeat(FULL / 4 - 2);
    let rule = |rule: &str| format!("{RULES}    - {rule}\n");
    vec![
        hostile("a word", word.clone(), NO_SECTION),
        hostile("a text in quotes", format!("\"{word}\""), NO_SECTION),
        hostile("a text that never ends", format!("\"{word}"), NO_YAML),
        hostile(
            "a text over lines",
            format!("jobs: |\n{lines}"),
            Refused("must be a list"),
        ),
        hostile(
            "a word over lines",
            format!("jobs:\n{lines}"),
            Refused("must be a list"),
        ),
        hostile(
            "a key",
            format!("? {word}\n: 1"),
            Refused("there is no such key"),
        ),
        hostile(
            "a name",
            format!("jobs: [{{type: snap, name: {word}}}]"),
            TOO_LONG,
        ),
        hostile(
            "an interval",
            format!("jobs: [{{type: pull, interval: {word}}}]"),
            TOO_LONG,
        ),
        hostile(
            "a pattern",
            format!("jobs: [{{type: snap, filesystems: {{? \"{word}<<\" : 1}}}}]"),
            Refused("only one '<'"),
        ),
        hostile(
            "a grid",
            rule(&format!(
                "{{type: grid, regex: a, grid: {}1}}",
                "1x1h|".repeat(400_000)
            )),
            TOO_LONG,
        ),
        hostile(
            "a regex",
            rule(&format!(
                "{{type: regex, regex: \"{}\"}}",
                "(a|b)*".repeat(160_000)
            )),
            TOO_LONG,
        ),
        hostile(
            "the longest regex",
            rule(&format!(
                "{{type: regex, regex: \"{}\"}}",
                "(a|b)*".repeat(2_700)
            )),
            Accepted,
        ),
        hostile(
            "a greedy regex",
            rule("{type: regex, regex: \"((a{100}){10}){1000}\"}"),
            Refused("invalid regex"),
        ),
    ]
}

fn numerous() -> Vec<Hostile> {
    let job = |i| {
        format!(
            "- {{name: job{i}, type: snap, filesystems: {{\"job{i}<\": true}}, snapshotting: {{type: manual}}, pruning: {{keep: [{{type: last_n, count: 1}}]}}}}\n"
        )
    };
    vec![
        hostile(
            "unknown keys",
            numbered("", 100_000, |i| format!("key_{i}: 1\n")),
            Refused("and 99000 more"),
        ),
        hostile(
            "keys that are nearly right",
            numbered("", 100_000, |i| format!("globa{i}: 1\n")),
            Refused("and 99000 more"),
        ),
        hostile(
            "one key over and over",
            "jobs: []\n".repeat(100_000),
            Refused("already set in line 1"),
        ),
        hostile(
            "patterns",
            numbered(FILTER, 100_000, |i| format!("    tank/{i}<: true\n")),
            Accepted,
        ),
        hostile(
            "nested patterns",
            FILTER.to_owned()
                + &numbered("    ? a", 1_500, |_| "/a".to_owned())
                + "
    : true
",
            Accepted,
        ),
        hostile(
            "wrong patterns",
            numbered(FILTER, 100_000, |i| format!("    tank/{i}<<: true\n")),
            Refused("and 99000 more"),
        ),
        hostile(
            "one pattern over and over",
            FILTER.to_owned() + &"    tank: true\n".repeat(100_000),
            Refused("already set in line 7"),
        ),
        hostile(
            "rules",
            numbered(RULES, 50_000, |i| {
                format!("    - {{type: last_n, count: {}}}\n", i + 1)
            }),
            Accepted,
        ),
        hostile(
            "regular expressions",
            numbered(RULES, 2_000, |i| {
                format!("    - {{type: regex, regex: \"a{i}.*b|c\"}}\n")
            }),
            Accepted,
        ),
        hostile("jobs", numbered("jobs:\n", 10_000, job), Accepted),
        hostile(
            "jobs of one name",
            "jobs:\n".to_owned() + &job(0).repeat(10_000),
            Refused("duplicate job name"),
        ),
        hostile(
            "jobs without keys",
            "jobs:\n".to_owned() + &"- {type: push}\n".repeat(100_000),
            Refused("and 499000 more"),
        ),
    ]
}

fn aliased() -> Vec<Hostile> {
    let mut laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    let mut merges = "a0: &a0 {a: 1, b: 2, c: 3, d: 4, e: 5, f: 6}\n".to_owned();
    for level in 1..=20 {
        let below = format!("*a{}, ", level - 1).repeat(100);
        let merged = format!("<<: *a{}, ", level - 1).repeat(100);
        let _ = writeln!(laughs, "a{level}: &a{level} [{below}]");
        let _ = writeln!(merges, "a{level}: &a{level} {{{merged}}}");
    }
    let job = "jobs:\n- &job\n  type: snap\n  nmae: a\n  filesystems: {\"a<<\": maybe}\n  pruning: {keep: [{type: gird}]}\n";
    let hook = "jobs:\n- name: a\n  type: snap\n  filesystems: {a: true}\n  pruning: {keep: [{type: last_n, count: 1}]}\n  snapshotting:\n    type: periodic\n    prefix: a_\n    interval: 1m\n    hooks:\n    - &hook {type: command, path: x}\n";
    let word = "x".repeat(100_000);
    let rule = format!("{RULES}    - &rule {{type: last_n, count: {word}}}\n");
    let name = format!("jobs:\n- type: snap\n  name: &name {word}\n");
    vec![
        hostile("a million laughs", laughs, EXPANDED),
        hostile("a million merges", merges, TOO_MANY),
        hostile(
            "an anchor within itself",
            "a: &a [*a]\n".to_owned(),
            Refused("there is no anchor"),
        ),
        hostile(
            "anchors",
            numbered("", 200_000, |i| format!("- &a{i} x\n")),
            NO_SECTION,
        ),
        hostile(
            "aliases",
            "- &a x\n".to_owned() + &"- *a\n".repeat(490_000),
            NO_SECTION,
        ),
        hostile(
            "merge keys",
            "a: &a {a: 1}\nb:\n".to_owned() + &"  <<: *a\n".repeat(150_000),
            Refused("there is no such key"),
        ),
        hostile(
            "a wrong job",
            job.to_owned() + &"- *job\n".repeat(40_000),
            Refused("nmae: there is no such key"),
        ),
        hostile(
            "a hook",
            hook.to_owned() + &"    - *hook\n".repeat(150_000),
            Accepted,
        ),
        hostile(
            "a long number",
            rule + &"    - *rule\n".repeat(600),
            EXPANDED,
        ),
        hostile(
            "a long name",
            name + &"- {type: snap, name: *name}\n".repeat(10_000),
            EXPANDED,
        ),
    ]
}

/// A job up to the items of its rules.
const RULES: &str = "jobs:
- name: a
  type: snap
  snapshotting: {type: manual}
  filesystems: {a: true}
  pruning:
    keep:
";

/// A job up to the entries of its filter.
const FILTER: &str = "jobs:
- name: a
  type: snap
  snapshotting: {type: manual}
  pruning: {keep: [{type: last_n, count: 1}]}
  filesystems:
";

#[test]
fn what_is_nested_is_bounded() {
    check(nested());
}

#[test]
fn what_is_repeated_is_bounded() {
    check(repeated());
}

#[test]
fn what_is_long_is_bounded() {
    check(long());
}

#[test]
fn what_is_numerous_is_bounded() {
    check(numerous());
}

#[test]
fn what_is_aliased_is_bounded() {
    check(aliased());
}

fn check(files: Vec<Hostile>) {
    let mut failures = String::new();
    for file in files {
        let (line, good) = measured(&file);
        println!("{line}");
        if !good {
            let _ = writeln!(failures, "{line}");
        }
    }
    assert!(failures.is_empty(), "{failures}");
}

/// A line about what became of a file, and whether it is as it should be.
fn measured(file: &Hostile) -> (String, bool) {
    let Hostile {
        name,
        text,
        outcome,
    } = file;
    assert!(text.len() <= FULL, "{name}: {}", text.len());
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("zrepl.yml");
    fs::write(&path, text).expect("a file");
    // In a process of its own: the peak of memory is that of this file.
    let output = Command::new(std::env::current_exe().expect("a path"))
        .args([
            "loads_the_file_that_another_test_names",
            "--exact",
            "--nocapture",
        ])
        .env(FILE, &path)
        .output()
        .expect("this program runs");
    let output = String::from_utf8_lossy(&output.stdout).into_owned();
    let field = |key: &str| output.lines().find_map(|line| line.strip_prefix(key));
    let number = |key: &str| field(key).and_then(|text| text.parse::<u64>().ok());
    let said = field("SAID=");
    let right = match (said, outcome) {
        (Some(said), Accepted) => said.is_empty(),
        (Some(said), Refused(part)) => said.contains(part) && said.len() < MOST_SAID,
        (None, _) => false,
    };
    let millis = number("MILLIS=");
    let peak = number("PEAK=");
    let good = right
        && millis.is_some_and(|millis| Duration::from_millis(millis) < LONGEST)
        && peak.is_none_or(|peak| peak < LARGEST);
    let line = format!(
        "{name}: {} KiB, {} ms, peak {} MiB: {:.200}",
        text.len() >> 10,
        millis.unwrap_or(u64::MAX),
        peak.unwrap_or(0) >> 20,
        said.unwrap_or("it did not come back"),
    );
    (line, good)
}

/// Where another test says which file.
const FILE: &str = "ZREPL_TEST_LOADS";

#[test]
fn loads_the_file_that_another_test_names() {
    let Some(file) = std::env::var_os(FILE) else {
        return;
    };
    let start = Instant::now();
    let loaded = config::load(Some(Path::new(&file)));
    let millis = start.elapsed().as_millis();
    let said = match &loaded {
        Ok(_) => String::new(),
        Err(error) => error.to_string().replace('\n', " / "),
    };
    println!("\nMILLIS={millis}\nSAID={said}");
    // Only Linux has it.
    if let Ok(status) = fs::read_to_string("/proc/self/status") {
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = peak.and_then(|text| text.trim().trim_end_matches(" kB").parse::<u64>().ok());
        println!("PEAK={}", kib.expect("a number of kB") << 10);
    }
}
