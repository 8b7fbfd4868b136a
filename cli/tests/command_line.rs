//! The program as users and scripts meet it: words in; standard output, standard error and exit status out.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};

const PROGRAM: &str = env!("CARGO_BIN_EXE_zrepl");

/// How a run ended.
#[derive(Debug)]
struct Ran {
    status: Option<i32>,
    out: String,
    err: String,
}

fn zrepl(words: &[&str]) -> Ran {
    let Output {
        status,
        stdout,
        stderr,
    } = Command::new(PROGRAM)
        .args(words)
        .env_remove("ZREPL_ZFS_BACKEND")
        .output()
        .expect("built by cargo");
    Ran {
        status: status.code(),
        out: String::from_utf8(stdout).expect("text"),
        err: String::from_utf8(stderr).expect("text"),
    }
}

#[test]
fn help_goes_to_standard_output_with_status_0() {
    for words in [
        &[][..],
        &["--help"],
        &["-h"],
        &["help"],
        &["--config", "/nonexistent"],
        &["test"],
        &["test", "--help"],
        &["help", "test"],
        &["help", "test", "placeholder"],
        &["gencompletion"],
        &["completion"],
        &["version", "-h"],
    ] {
        let ran = zrepl(words);
        assert_eq!(ran.status, Some(0), "{words:?}: {ran:?}");
        assert!(ran.out.contains("\nUsage: zrepl"), "{words:?}: {ran:?}");
        assert_eq!(ran.err, "", "{words:?}");
    }
}

#[test]
fn an_unknown_word_after_a_group_shows_the_groups_help() {
    for group in ["test", "gencompletion"] {
        let ran = zrepl(&[group, "nosuch", "--option", "x"]);
        assert_eq!(ran.status, Some(0), "{ran:?}");
        assert!(
            ran.out.contains(&format!("Usage: zrepl {group} ")),
            "{ran:?}"
        );
        assert_eq!(ran.err, "ignored: nosuch --option x\n");
    }
}

#[test]
fn what_is_not_understood_is_refused_with_status_1_and_a_hint() {
    for (words, expected) in [
        (&["nosuch"][..], "unrecognized subcommand 'nosuch'"),
        (&["versoin"], "a similar subcommand exists: 'version'"),
        (&["--nosuch"], "unexpected argument '--nosuch'"),
        (&["version", "--nosuch"], "unexpected argument '--nosuch'"),
        (&["test", "--nosuch"], "unexpected argument '--nosuch'"),
        (
            &["version", "--show", "x"],
            "error: show flag must be 'client' or 'server' or be left empty\n",
        ),
        (
            &["configcheck", "--format", "xml"],
            "error: unsupported --format \"xml\": ",
        ),
        (
            &["configcheck", "--what=x"],
            "error: unsupported --what \"x\": ",
        ),
        (&["completion", "tcsh"], "possible values: bash"),
        (&["gencompletion", "bash"], "<PATH>"),
        (
            &["gencompletion", "bash", "/nonexistent/a", "b"],
            "unexpected argument 'b'",
        ),
    ] {
        let ran = zrepl(words);
        assert_eq!(ran.status, Some(1), "{words:?}: {ran:?}");
        assert_eq!(ran.out, "", "{words:?}");
        assert!(ran.err.contains(expected), "{words:?}: {ran:?}");
        assert!(
            ran.err.contains("--help") && ran.err.ends_with('\n'),
            "{words:?}: {ran:?}"
        );
    }
}

#[test]
fn surplus_words_are_ignored_aloud() {
    let plain = zrepl(&["version", "--show", "client"]);
    assert_eq!((plain.status, plain.err.as_str()), (Some(0), ""));
    let surplus = zrepl(&["version", "now", "--show", "client", "please"]);
    assert_eq!(surplus.status, Some(0));
    assert_eq!(surplus.out, plain.out);
    assert_eq!(surplus.err, "ignored: now please\n");
}

#[test]
fn an_option_given_twice_counts_as_given_last() {
    let ran = zrepl(&["version", "--show", "daemon", "--show", "client"]);
    assert_eq!((ran.status, ran.err.as_str()), (Some(0), ""));
}

#[test]
fn the_configuration_file_may_be_named_before_and_after_the_command() {
    for words in [
        &["--config", "/nonexistent/x.yml", "version"][..],
        &["--config=/nonexistent/x.yml", "version"],
        &["version", "--config", "/nonexistent/x.yml"],
        &["version", "--config=/nonexistent/x.yml", "--show="],
        &[
            "--config",
            "/nonexistent/y.yml",
            "version",
            "--config",
            "/nonexistent/x.yml",
        ],
    ] {
        let ran = zrepl(words);
        assert_eq!(ran.status, Some(1), "{words:?}: {ran:?}");
        assert!(ran.out.starts_with("client: zrepl version=v"), "{ran:?}");
        assert!(ran.err.starts_with("config parsing error: "), "{ran:?}");
        assert!(ran.err.contains("/nonexistent/x.yml"), "{words:?}: {ran:?}");
    }
}

#[test]
fn the_daemon_prints_mistakes_as_configcheck_does() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("zrepl.yml");
    std::fs::write(&path, "jobs:\n- type: push\n  name: p\n- 1\n").expect("writable");
    let config = path.to_str().expect("text");
    let daemon = zrepl(&["--config", config, "daemon"]);
    let configcheck = zrepl(&["--config", config, "configcheck"]);
    assert_eq!(daemon.status, Some(1), "{daemon:?}");
    assert_eq!(daemon.out, "");
    assert!(daemon.err.lines().count() > 3, "{daemon:?}");
    assert_eq!(daemon.err, configcheck.err);
}

#[test]
fn without_a_daemon_signal_and_status_say_where_they_looked() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("zrepl.yml");
    let socket = directory.path().join("control");
    let text = format!(
        "global: {{control: {{sockpath: {}}}}}\njobs: []\n",
        socket.display()
    );
    std::fs::write(&path, text).expect("writable");
    let config = path.to_str().expect("text");
    for words in [
        &["signal", "wakeup", "j"][..],
        &["status", "--mode", "raw"],
        &["status", "--mode=raw", "--job", "j", "-d", "2s"],
    ] {
        let ran = zrepl(&[words, &["--config", config]].concat());
        assert_eq!((ran.status, ran.out.as_str()), (Some(1), ""), "{ran:?}");
        let expected = format!(
            "cannot connect to the zrepl daemon at {}: ",
            socket.display()
        );
        assert!(ran.err.contains(&expected), "{ran:?}");
    }
    let ran = zrepl(&["status", "--mode", "pretty", "--config", config]);
    assert_eq!(ran.status, Some(1));
    assert!(
        ran.err
            .starts_with("error: invalid value \"pretty\": must be one of one of "),
        "{ran:?}"
    );
    for words in [&["signal"][..], &["signal", "wakeup"]] {
        let ran = zrepl(&[words, &["--config", config]].concat());
        assert_eq!(ran.status, Some(1));
        assert_eq!(ran.err, "Expected 2 arguments: [wakeup|reset] JOB\n");
    }
}

#[test]
fn commands_that_need_a_configuration_say_so() {
    for words in [
        &["configcheck"][..],
        &["daemon"],
        &["signal", "wakeup", "j"],
        &["status", "--mode", "raw"],
        &["test", "filesystems", "--job", "j", "--input", "tank"],
    ] {
        let ran = zrepl(&[words, &["--config", "/nonexistent/x.yml"]].concat());
        assert_eq!((ran.status, ran.out.as_str()), (Some(1), ""), "{ran:?}");
        // `configcheck` and `daemon` have a line for each mistake before it.
        let says = |line: &str| line.starts_with("could not parse config: ");
        assert!(ran.err.lines().any(says), "{ran:?}");
        assert!(ran.err.contains("/nonexistent/x.yml"), "{ran:?}");
    }
}

#[test]
fn a_reader_that_leaves_ends_a_command_quietly() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let output = Command::new(PROGRAM)
        .args(["completion", "bash"])
        .stdout(writer)
        .output()
        .expect("built by cargo");
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), &*err), (Some(0), ""));
}

#[test]
fn a_full_disk_is_an_error() {
    let full = std::fs::File::create("/dev/full").expect("a device of Linux");
    let output = Command::new(PROGRAM)
        .args(["completion", "bash"])
        .stdout(full)
        .output()
        .expect("built by cargo");
    assert_eq!(output.status.code(), Some(1));
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(
        err.starts_with("cannot write to standard output: "),
        "{err}"
    );
}

/// Every command that users are told of, as `zrepl help` shows them.
fn commands(path: &[&str]) -> Vec<String> {
    let ran = zrepl(&[&["help"], path].concat());
    let rows = ran.out.lines().skip_while(|line| *line != "Commands:");
    rows.skip(1)
        .take_while(|line| line.starts_with("  "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .map(str::to_owned)
        .collect()
}

/// Every option of a command, as its help shows them.
fn options(path: &[&str]) -> Vec<String> {
    let ran = zrepl(&[path, &["-h"]].concat());
    let words = ran.out.split_whitespace();
    let options = words.filter(|word| word.starts_with("--"));
    options
        .map(|word| word.trim_end_matches(',').to_owned())
        .collect()
}

#[test]
fn completions_know_every_command_and_option() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let ran = zrepl(&["completion", shell]);
        assert_eq!((ran.status, ran.err.as_str()), (Some(0), ""), "{shell}");
        assert!(!ran.out.contains("genman"), "{shell} offers what is hidden");
        let top = commands(&[]);
        assert!(top.len() >= 5, "{top:?}");
        for command in top.iter().chain(&commands(&["test"])) {
            assert!(ran.out.contains(command), "{shell} lacks {command}");
        }
        for path in [&["configcheck"][..], &["test", "filesystems"], &["version"]] {
            for option in options(path) {
                let bare = option.trim_start_matches('-');
                assert!(ran.out.contains(bare), "{shell} lacks {option} of {path:?}");
            }
        }
        // The scripts for the others never complete what follows an option.
        if ["bash", "zsh", "fish"].contains(&shell) {
            for word in ["pretty", "logging", "client", "daemon"] {
                assert!(ran.out.contains(word), "{shell} lacks the word {word}");
            }
        }
    }
}

#[test]
fn shells_accept_their_completions() {
    let directory = tempfile::tempdir().expect("temporary directory");
    for shell in ["bash", "zsh", "fish"] {
        let path = directory.path().join(shell);
        let written = zrepl(&["gencompletion", shell, path.to_str().expect("text")]);
        assert_eq!((written.status, written.err.as_str()), (Some(0), ""));
        assert_eq!(written.out, "");
        let script = std::fs::read_to_string(&path).expect("written");
        assert_eq!(script, zrepl(&["completion", shell]).out);
        match Command::new(shell).arg("-n").arg(&path).output() {
            Ok(checked) => assert!(
                checked.status.success() && checked.stderr.is_empty(),
                "{shell}: {checked:?}"
            ),
            Err(_) => assert_ne!(shell, "bash", "every host has it"),
        }
    }
}

/// Asks the script, loaded in a real bash, what may follow these words.
fn completed_by_bash(words: &str) -> Vec<String> {
    let script = format!(
        "source <({PROGRAM} completion bash) || exit 1
         COMP_WORDS=({words} \"\"); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
         _zrepl zrepl \"\" \"${{COMP_WORDS[COMP_CWORD - 1]}}\" 2>/dev/null
         printf '%s\\n' \"${{COMPREPLY[@]}}\""
    );
    let output = Command::new("bash").args(["-c", &script]).output();
    let output = output.expect("every host has it");
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).expect("text");
    text.lines().map(str::to_owned).collect()
}

#[test]
fn bash_completes_commands_options_and_their_words() {
    for (words, expected) in [
        ("zrepl", "configcheck"),
        ("zrepl test", "placeholder"),
        ("zrepl test filesystems", "--job"),
        ("zrepl configcheck --format", "yaml"),
        ("zrepl version --show", "daemon"),
    ] {
        let offered = completed_by_bash(words);
        assert!(
            offered.iter().any(|word| word == expected),
            "{words}: {offered:?}"
        );
    }
}

#[test]
fn completions_that_cannot_be_written_are_an_error_that_names_the_file() {
    let ran = zrepl(&["gencompletion", "zsh", "/nonexistent/_zrepl"]);
    assert_eq!((ran.status, ran.out.as_str()), (Some(1), ""));
    assert_eq!(
        ran.err,
        "cannot write completions for zsh: /nonexistent/_zrepl: No such file or directory (os error 2)\n"
    );
}

#[test]
fn every_command_has_a_man_page_with_its_options() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let ran = zrepl(&["genman", directory.path().to_str().expect("text")]);
    assert_eq!((ran.status, ran.err.as_str()), (Some(0), ""));

    let mut expected = vec![vec![]];
    for command in commands(&[]) {
        for below in commands(&[&command]) {
            expected.push(vec![command.clone(), below]);
        }
        expected.push(vec![command]);
    }
    for path in &expected {
        let name = ["zrepl"].into_iter().chain(path.iter().map(String::as_str));
        let file = format!("{}.8", name.collect::<Vec<_>>().join("-"));
        let page = std::fs::read_to_string(directory.path().join(&file));
        let page = page.unwrap_or_else(|error| panic!("{file}: {error}"));
        assert!(page.contains(".SH SYNOPSIS") && page.contains(".SH DESCRIPTION"));
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        for option in options(&path) {
            let escaped = option.replace('-', "\\-");
            assert!(page.contains(&escaped), "{file} lacks {option}:\n{page}");
        }
    }
    let written = std::fs::read_dir(directory.path()).expect("written");
    assert_eq!(written.count(), expected.len(), "{expected:?}");
    let hidden: &Path = "zrepl-genman.8".as_ref();
    assert!(!directory.path().join(hidden).exists());
}

#[test]
fn version_asks_the_daemon_of_the_configuration_and_shows_the_client_first() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let sockpath = directory.path().join("control");
    let config = directory.path().join("zrepl.yml");
    let text = format!(
        "global: {{control: {{sockpath: {}}}}}\njobs:\n- {{name: s, type: snap, filesystems: {{tank: true}}, \
         snapshotting: {{type: manual}}, pruning: {{keep: [{{type: last_n, count: 1}}]}}}}\n",
        sockpath.display()
    );
    std::fs::write(&config, text).expect("written");
    let listener = UnixListener::bind(&sockpath).expect("free name");
    let mut child = Command::new(PROGRAM)
        .arg("version")
        .arg("--config")
        .arg(&config)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("built by cargo");
    let mut out = BufReader::new(child.stdout.take().expect("piped")).lines();
    let mut line = || out.next().map(|line| line.expect("text"));
    // Nobody has answered yet.
    let client = line().expect("a line");
    assert!(client.starts_with("client: zrepl version=v"), "{client}");

    let (mut stream, _) = listener.accept().expect("a client");
    let mut request = [0; 4];
    stream.read_exact(&mut request).expect("a request");
    stream
        .write_all(include_bytes!("data/control-version.http"))
        .expect("read by the client");
    assert_eq!(
        line().as_deref(),
        Some("server: zrepl version=v0.7.0 go=go1.25.12 GOOS=linux GOARCH=amd64 Compiler=gc")
    );
    assert_eq!(line(), None);
    let mut err = String::new();
    let mut stderr = child.stderr.take().expect("piped");
    stderr.read_to_string(&mut err).expect("text");
    assert_eq!(
        err,
        "WARNING: client version != daemon version, restart zrepl daemon\n"
    );
    assert_eq!(child.wait().expect("ends").code(), Some(0));
}
