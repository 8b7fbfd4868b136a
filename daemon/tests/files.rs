//! A configuration as files: which ones are read, in which order, and what is said about those that cannot be.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;
use zrepl_daemon::config::{self, Loaded};

/// A directory of files.
struct Files(TempDir);

impl Files {
    fn new(files: &[(&str, &str)]) -> Self {
        let this = Self(TempDir::with_prefix("zrepl-config-").expect("a directory"));
        for (name, text) in files {
            this.write(name, text.as_bytes());
        }
        this
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &[u8]) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("below the directory")).expect("a directory");
        fs::write(path, text).expect("a file");
    }

    fn jobs(&self) -> Vec<String> {
        names(&self.load().unwrap_or_else(|problems| panic!("{problems}")))
    }

    /// What is wrong, with the directory left out.
    fn load(&self) -> Result<Loaded, String> {
        config::load(Some(&self.path("zrepl.yml"))).map_err(|error| self.short(&error.to_string()))
    }

    fn refused(&self) -> String {
        match self.load() {
            Err(problems) => problems,
            Ok(loaded) => panic!("accepted: {:?}", loaded.config),
        }
    }

    fn short(&self, text: &str) -> String {
        text.replace(&format!("{}/", self.0.path().display()), "")
    }
}

fn names(loaded: &Loaded) -> Vec<String> {
    let jobs = loaded.config.jobs.iter();
    jobs.map(|job| job.name().as_str().to_owned()).collect()
}

/// A file with one job.
fn job(name: &str) -> String {
    format!(
        "jobs:
- name: {name}
  type: snap
  filesystems: {{\"{name}<\": true}}
  snapshotting: {{type: manual}}
  pruning: {{keep: [{{type: last_n, count: 10}}]}}
"
    )
}

fn including(entries: &[&str]) -> String {
    let mut text = job("main") + "include:\n";
    for entry in entries {
        let _ = writeln!(text, "- {entry:?}");
    }
    text
}

/// The same path, from the working directory.
fn relative(path: &Path) -> PathBuf {
    let here = std::env::current_dir().expect("a working directory");
    let up: PathBuf = here.components().skip(1).map(|_| "..").collect();
    up.join(path.strip_prefix("/").expect("absolute"))
}

#[test]
fn jobs_of_included_files_follow_those_of_the_main_file_in_order_of_inclusion() {
    let files = Files::new(&[
        ("zrepl.yml", &including(&["z.yml", "a.yml"])),
        ("a.yml", &job("a")),
        ("z.yml", &job("z")),
    ]);
    assert_eq!(files.jobs(), ["main", "z", "a"]);
}

#[test]
fn of_a_directory_the_yml_files_are_read_in_order_of_their_names_and_no_others() {
    let files = Files::new(&[
        ("zrepl.yml", &including(&["conf.d"])),
        ("conf.d/b.yml", &job("b")),
        ("conf.d/10-x.yml", &job("ten")),
        ("conf.d/9-x.yml", &job("nine")),
        ("conf.d/A.yml", &job("capital")),
        ("conf.d/.hidden.yml", &job("hidden")),
        ("conf.d/.yml", &job("only-a-suffix")),
        ("conf.d/c.yaml", "not read"),
        ("conf.d/c.yml.bak", "not read"),
        ("conf.d/c.yml~", "not read"),
        ("conf.d/README", "not read"),
        ("conf.d/deeper/d.yml", "not read"),
    ]);
    assert_eq!(
        files.jobs(),
        [
            "main",
            "hidden",
            "only-a-suffix",
            "ten",
            "nine",
            "capital",
            "b"
        ]
    );
}

#[test]
fn an_empty_directory_includes_nothing() {
    let files = Files::new(&[("zrepl.yml", &including(&["conf.d"]))]);
    fs::create_dir(files.path("conf.d")).expect("a directory");
    assert_eq!(files.jobs(), ["main"]);
}

#[test]
fn entries_are_relative_to_the_main_file_however_that_is_named() {
    let files = Files::new(&[
        ("etc/zrepl.yml", &including(&["jobs/a.yml", "../b.yml"])),
        ("etc/jobs/a.yml", &job("a")),
        ("b.yml", &job("b")),
    ]);
    let main = files.path("etc/zrepl.yml");
    let paths = [
        main.clone(),
        relative(&main),
        relative(&files.path("etc/jobs/../zrepl.yml")),
    ];
    for path in paths {
        let loaded = config::load(Some(&path)).expect("accepted");
        assert_eq!(names(&loaded), ["main", "a", "b"], "{}", path.display());
    }
}

#[test]
fn absolute_entries_are_taken_as_they_are_however_the_main_file_is_named() {
    let files = Files::new(&[("elsewhere/a.yml", &job("a"))]);
    let entry = files.path("elsewhere/a.yml");
    let directory = files.path("elsewhere");
    for entry in [entry, directory] {
        let text = including(&[entry.to_str().expect("UTF-8")]);
        files.write("etc/zrepl.yml", text.as_bytes());
        let main = files.path("etc/zrepl.yml");
        for path in [main.clone(), relative(&main)] {
            let loaded = config::load(Some(&path)).expect("accepted");
            assert_eq!(names(&loaded), ["main", "a"], "{}", path.display());
        }
    }
}

#[test]
fn symbolic_links_are_followed() {
    let files = Files::new(&[
        ("zrepl.yml", &including(&["conf.d", "link.yml"])),
        ("real/a.yml", &job("a")),
        ("b", &job("b")),
    ]);
    symlink(files.path("real"), files.path("conf.d")).expect("a link");
    symlink(files.path("b"), files.path("link.yml")).expect("a link");
    assert_eq!(files.jobs(), ["main", "a", "b"]);
}

#[test]
fn an_included_file_may_be_empty() {
    let files = Files::new(&[("zrepl.yml", &including(&["a.yml"])), ("a.yml", "# none\n")]);
    assert_eq!(files.jobs(), ["main"]);
}

#[test]
fn entries_that_cannot_be_included_are_all_named_at_their_lines() {
    let files = Files::new(&[
        (
            "zrepl.yml",
            &including(&[
                "missing.yml",
                "a.yaml",
                "a.yaml/below.yml",
                "socket.yml",
                "loop.yml",
                "",
                "ok.yml",
            ]),
        ),
        ("a.yaml", &job("a")),
        ("ok.yml", "jobs: 1\n"),
    ]);
    let _listener = UnixListener::bind(files.path("socket.yml")).expect("a socket");
    symlink("loop.yml", files.path("loop.yml")).expect("a link");
    assert_eq!(
        files.refused(),
        "zrepl.yml:8:3: error: include[0]: stat path \"missing.yml\": No such file or directory (os error 2)
zrepl.yml:9:3: error: include[1]: include config files must end with `.yml`: a.yaml
zrepl.yml:10:3: error: include[2]: stat path \"a.yaml/below.yml\": Not a directory (os error 20)
zrepl.yml:11:3: error: include[3]: not a file or directory: socket.yml
zrepl.yml:12:3: error: include[4]: stat path \"loop.yml\": Too many levels of symbolic links (os error 40)
zrepl.yml:13:3: error: include[5]: the name of a file or directory is missing
ok.yml:1:7: error: jobs: must be a list, not \"1\"
    write `[1]` or a line `- 1`"
    );
}

#[test]
fn what_is_no_file_in_a_directory_is_named() {
    let files = Files::new(&[
        ("zrepl.yml", &including(&["conf.d"])),
        ("conf.d/a.yml", &job("a")),
        ("conf.d/d.yml/x", ""),
    ]);
    let _listener = UnixListener::bind(files.path("conf.d/s.yml")).expect("a socket");
    symlink("nowhere", files.path("conf.d/broken.yml")).expect("a link");
    assert_eq!(
        files.refused(),
        "zrepl.yml:8:3: error: include[0]: read file: \"conf.d/broken.yml\": No such file or directory (os error 2)
zrepl.yml:8:3: error: include[0]: read file: \"conf.d/d.yml\": it is a directory
zrepl.yml:8:3: error: include[0]: not a file or directory: conf.d/s.yml"
    );
}

#[test]
fn included_files_must_not_include() {
    let files = Files::new(&[
        ("zrepl.yml", &including(&["a.yml"])),
        ("a.yml", &(job("a") + "include:\n- b.yml\n- missing.yml\n")),
        ("b.yml", &job("b")),
    ]);
    assert_eq!(
        files.refused(),
        "a.yml:8:3: error: include: included configuration files must not include other files"
    );
    for empty in ["include:\n", "include: []\n"] {
        files.write("a.yml", (job("a") + empty).as_bytes());
        assert_eq!(files.jobs(), ["main", "a"], "{empty}");
    }
}

#[test]
fn a_file_that_includes_itself_ends() {
    let files = Files::new(&[("zrepl.yml", &including(&["zrepl.yml"]))]);
    assert_eq!(
        files.refused(),
        "zrepl.yml:2:9: error: jobs[0].name: duplicate job name \"main\": the first is in zrepl.yml, line 2
zrepl.yml:8:3: error: include: included configuration files must not include other files"
    );
}

#[test]
fn a_directory_that_holds_the_main_file_includes_it_once_more() {
    let files = Files::new(&[("zrepl.yml", &including(&["."]))]);
    assert!(files.refused().contains("must not include other files"));
}

#[test]
fn global_of_an_included_file_is_read_and_ignored_with_a_warning() {
    let files = Files::new(&[
        (
            "zrepl.yml",
            &(including(&["a.yml", "b.yml"]) + "global: {control: {sockpath: /run/main}}\n"),
        ),
        (
            "a.yml",
            &(job("a") + "global:\n  control: {sockpath: /run/a}\n  monitoring: []\n"),
        ),
        ("b.yml", &(job("b") + "global: {}\n")),
    ]);
    let loaded = files.load().expect("accepted");
    assert_eq!(
        loaded.config.global.control.sockpath.as_path(),
        Path::new("/run/main")
    );
    assert_eq!(
        files.short(&loaded.problems.to_string()),
        "a.yml:8:3: warning: global: has no effect in an included file: control, monitoring ignored
    move it to the main file"
    );
    files.write("b.yml", b"global: {control: {sockpth: /run/b}}\n");
    let problems = files.refused();
    let error = "b.yml:1:20: error: global.control.sockpth: there is no such key";
    assert!(problems.contains(error), "{problems}");
}

#[test]
fn names_are_unique_over_all_files_and_both_places_are_named() {
    let files = Files::new(&[
        ("zrepl.yml", &including(&["a.yml", "b.yml"])),
        ("a.yml", &("\n\n".to_owned() + &job("same"))),
        ("b.yml", &job("same")),
    ]);
    assert_eq!(
        files.refused(),
        "b.yml:2:9: error: jobs[0].name: duplicate job name \"same\": the first is in a.yml, line 4"
    );
}

#[test]
fn a_file_that_is_included_twice_has_its_jobs_twice() {
    let files = Files::new(&[
        ("zrepl.yml", &including(&["a.yml", "./a.yml"])),
        ("a.yml", &job("a")),
    ]);
    assert!(files.refused().contains("duplicate job name \"a\""));
}

#[test]
fn the_same_mistake_at_the_same_place_of_two_files_is_two_mistakes() {
    let wrong = |name| job(name).replace("count: 10", "count: 0");
    let files = Files::new(&[
        ("zrepl.yml", &including(&["a.yml", "b.yml"])),
        ("a.yml", &wrong("a")),
        ("b.yml", &wrong("b")),
    ]);
    let problems = files.refused();
    let places: Vec<&str> = problems
        .lines()
        .filter_map(|line| line.split(' ').next())
        .collect();
    assert_eq!(places, ["a.yml:6:42:", "b.yml:6:42:"], "{problems}");
}

#[test]
fn mistakes_of_all_files_are_named_in_the_order_of_files_and_lines() {
    let files = Files::new(&[
        (
            "zrepl.yml",
            &(including(&["z.yml", "no.yml", "a.yml"]) + "globl: {}\n"),
        ),
        ("a.yml", "jobs: [\n"),
        ("z.yml", "- a\n- b\n"),
    ]);
    let problems = files.refused();
    let places: Vec<&str> = problems
        .lines()
        .filter(|line| !line.starts_with(' '))
        .filter_map(|line| line.split(' ').next())
        .collect();
    assert_eq!(
        places,
        [
            "zrepl.yml:9:3:",
            "zrepl.yml:11:1:",
            "z.yml:1:1:",
            "a.yml:2:1:"
        ],
        "{problems}"
    );
}

#[test]
fn a_main_file_that_cannot_be_read_is_named() {
    let files = Files::new(&[("file", "")]);
    fs::create_dir(files.path("directory")).expect("a directory");
    let cases = [
        ("missing.yml", "No such file or directory"),
        ("file/below.yml", "Not a directory"),
        ("directory", "it is a directory"),
    ];
    for (name, reason) in cases {
        let error = config::load(Some(&files.path(name))).expect_err("refused");
        let text = files.short(&error.to_string());
        assert!(
            text.starts_with(&format!("{name}: error: read file: {reason}")),
            "{text}"
        );
    }
}

#[test]
fn the_main_file_may_have_any_name_and_may_be_a_pipe() {
    let files = Files::new(&[("main.conf", &job("a"))]);
    let loaded = config::load(Some(&files.path("main.conf"))).expect("accepted");
    assert_eq!(names(&loaded), ["a"]);

    // As with `zrepl --config <(generate)`.
    let pipe = files.path("pipe");
    let made = Command::new("mkfifo").arg(&pipe).status();
    assert!(made.expect("mkfifo runs").success());
    let writer = std::thread::spawn({
        let pipe = pipe.clone();
        move || fs::write(pipe, job("piped"))
    });
    let loaded = config::load(Some(&pipe)).expect("accepted");
    assert_eq!(names(&loaded), ["piped"]);
    writer.join().expect("no panic").expect("written");
}

#[test]
fn what_is_no_text_is_refused() {
    let files = Files::new(&[]);
    let mut garbage = Vec::new();
    let mut seed = 1_u32;
    for _ in 0..100_000 {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        garbage.push((seed >> 24) as u8);
    }
    let cases: [(&[u8], &str); 5] = [
        (&garbage, "is not UTF-8"),
        (
            b"jobs: []\n# caf\xe9\n",
            "is not a text: line 2 is not UTF-8",
        ),
        (
            b"\xff\xfej\0o\0b\0s\0",
            "is not a text: line 1 is not UTF-8",
        ),
        (b"jobs\0: []\n", "error: "),
        (b"\0\0\0\0", "error: "),
    ];
    for (text, message) in cases {
        files.write("zrepl.yml", text);
        let problems = files.refused();
        assert!(problems.contains(message), "{problems}");
        assert!(
            problems.lines().count() < 5 && problems.len() < 1000,
            "{problems}"
        );
        assert!(!problems.contains('\0'), "{problems:?}");
    }
}

#[test]
fn a_file_has_at_most_4_mib_and_all_together_16() {
    let comment = |size: usize| {
        let mut text = "# nothing to see here\n".repeat(size / 22 + 1);
        text.truncate(size);
        text
    };
    let files = Files::new(&[("zrepl.yml", &comment(4 << 20))]);
    assert_eq!(files.jobs(), [""; 0]);
    files.write("zrepl.yml", comment((4 << 20) + 1).as_bytes());
    assert_eq!(
        files.refused(),
        "zrepl.yml: error: read file: it is larger than 4 MiB: this cannot be a configuration"
    );
    files.write("zrepl.yml", comment(10 << 20).as_bytes());
    assert!(files.refused().contains("it is larger than 4 MiB"));

    files.write("zrepl.yml", including(&["conf.d"]).as_bytes());
    for index in 0..4 {
        files.write(&format!("conf.d/{index}.yml"), comment(4 << 20).as_bytes());
    }
    assert_eq!(
        files.refused(),
        "zrepl.yml:8:3: error: include[0]: read file: \"conf.d/3.yml\": with it, the configuration is larger than 16 MiB"
    );
    fs::remove_file(files.path("conf.d/3.yml")).expect("removed");
    assert_eq!(files.jobs(), ["main"]);
}

#[test]
fn decorations_of_yaml_are_allowed() {
    let plain = job("a");
    let texts = [
        format!("\u{feff}{plain}"),
        format!("%YAML 1.1\n---\n{plain}"),
        format!("%YAML 1.2\n---\n{plain}..."),
        format!("---\n{plain}...\n"),
        format!("--- # mine\n{plain}"),
        format!("{plain}---\nsecond: document\n"),
        format!("{plain}---\n]: [ broken\n"),
        format!("{plain}...\n%YAML 9.9\n---\n"),
        plain.replace('\n', "\r\n"),
        plain.replace("type: snap", "type:\tsnap\t"),
        plain.trim_end().to_owned(),
        format!("{plain}\n\n   \n# the end"),
        format!(
            "\u{feff}%YAML 1.1\r\n---\r\n{}",
            plain.replace('\n', "\r\n")
        ),
    ];
    let files = Files::new(&[]);
    for text in texts {
        files.write("zrepl.yml", text.as_bytes());
        match files.load() {
            Ok(loaded) => assert_eq!(names(&loaded), ["a"], "{text:?}"),
            Err(problems) => panic!("{text:?}\n{problems}"),
        }
    }
}

#[test]
fn errors_behind_thousands_of_warnings_still_count() {
    let warned = (0..3_000).fold(String::new(), |text, index| {
        text + &format!("    tank/{index}:\n")
    });
    let text = format!(
        "jobs:
- name: warned
  type: snap
  snapshotting: {{type: manual}}
  pruning: {{keep: [{{type: last_n, count: 1}}]}}
  filesystems:
{warned}- name: wrong
  type: snip
"
    );
    let files = Files::new(&[("zrepl.yml", &text)]);
    let problems = files.refused();
    let error = "zrepl.yml:3008:9: error: jobs[1].type: invalid type name \"snip\"";
    assert!(problems.contains(error), "{problems}");
    assert!(problems.ends_with("… and 2000 more"), "{problems}");
}
