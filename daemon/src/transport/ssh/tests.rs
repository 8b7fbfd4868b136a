//! Stand-ins for ssh: shell scripts that write down how they were called and then do one thing.

use std::io::Write;
use std::process::{Command, Stdio};

use rustix::process::Pid;
use tempfile::TempDir;

use super::*;
use crate::causes::chain;
use crate::config::connection::Connect as ConnectConfig;
use crate::config::job::JobConfig;

/// Prints a greeting; `begin` reads the answer into a file.
const WORDS: &str = "\
helo() { printf SSHCON_HELO; head -c 20 /dev/zero; }
begin() { dd bs=1 count=31 of=$here/begin 2>/dev/null; }
";

/// A program in the place of ssh, in a directory of its own.
struct StandIn {
    directory: TempDir,
}

impl StandIn {
    /// Runs this script after writing down its process number.
    fn new(script: &str) -> Self {
        let directory = tempfile::tempdir().expect("temporary directory");
        let here = directory.path().display();
        let text = format!(
            "#!/bin/sh\nhere={here}\necho $$ >$here/pid.new; mv $here/pid.new $here/pid\n{WORDS}{script}\n"
        );
        // Written by another process: a program that some thread's child still has open for writing cannot be started.
        let mut writer = Command::new("/bin/sh")
            .args(["-c", "cat >\"$0\" && chmod 755 \"$0\""])
            .arg(directory.path().join("fakessh"))
            .stdin(Stdio::piped())
            .spawn()
            .expect("a shell");
        let mut pipe = writer.stdin.take().expect("piped");
        pipe.write_all(text.as_bytes()).expect("read");
        drop(pipe);
        assert!(writer.wait().expect("ours").success());
        Self { directory }
    }

    fn connector(&self, dial_timeout: &str) -> SshConnector {
        let program = self.directory.path().join("fakessh");
        connector(program.to_str().expect("text"), dial_timeout)
    }

    async fn wire(&self) -> Wire {
        let wire = self.connector("1m").connect().await;
        wire.unwrap_or_else(|error| panic!("{}", chain(&error)))
    }

    async fn failure(&self, dial_timeout: &str) -> ConnectError {
        let wire = self.connector(dial_timeout).connect().await;
        wire.expect_err("no wire")
    }

    fn file(&self, name: &str) -> Vec<u8> {
        let path = self.directory.path().join(name);
        std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    fn text(&self, name: &str) -> String {
        String::from_utf8(self.file(name)).expect("text")
    }

    /// The process does not exist any more, not even as a zombie.
    async fn has_gone(&self) {
        tokio::task::spawn_blocking(wait_for_ended)
            .await
            .expect("waited");
        let pid = self.text("pid").trim().parse().expect("a number");
        let pid = Pid::from_raw(pid).expect("not 0");
        assert!(rustix::process::test_kill_process(pid).is_err());
    }
}

/// The configuration of vectors/11a-ssh-full.
fn connector(ssh_command: &str, dial_timeout: &str) -> SshConnector {
    let text = format!(
        "jobs: [{{type: push, name: p, filesystems: {{'a<': true}}, snapshotting: {{type: manual}}, \
         pruning: {{keep_sender: [{{type: last_n, count: 1}}], keep_receiver: [{{type: last_n, count: 1}}]}}, \
         connect: {{type: ssh+stdinserver, host: sink.example, user: backup, port: 2222, identity_file: /tmp/nokey, \
         options: [Compression=no], ssh_command: '{ssh_command}', dial_timeout: '{dial_timeout}'}}}}]"
    );
    let config = crate::config::parse("test", &text).expect("valid").config;
    match &config.jobs[0] {
        JobConfig::Push(job) => match &job.connect {
            ConnectConfig::Ssh(config) => SshConnector::new(config),
            _ => panic!("not ssh"),
        },
        _ => panic!("not push"),
    }
}

#[tokio::test]
async fn trap_11_16_ssh_is_called_as_by_zrepl_0_7_0() {
    let ssh = StandIn::new(
        "cat /proc/$$/environ >$here/env; printf '%s\\n' \"$@\" >$here/argv; helo; begin; echo done; cat >/dev/null",
    );
    let mut wire = ssh.wire().await;
    let mut done = [0; 5];
    wire.reader.read_exact(&mut done).await.expect("read");
    drop(wire);
    ssh.has_gone().await;
    // vectors/11a-ssh-full/argv.txt. What env.txt has is what a shell adds.
    let recorded =
        "-p 2222 -T -i /tmp/nokey -o BatchMode=yes -o Compression=no backup@sink.example";
    let words = ssh.text("argv");
    assert_eq!(
        words.lines().collect::<Vec<_>>(),
        recorded.split(' ').collect::<Vec<_>>()
    );
    assert_eq!(ssh.text("env"), "");
    assert_eq!(
        ssh.file("begin"),
        b"SSHCON_BEGIN\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
    );
}

#[tokio::test]
async fn the_target_names_user_host_and_port() {
    assert_eq!(
        connector("ssh", "10s").target(),
        "ssh://backup@sink.example:2222"
    );
}

#[tokio::test]
async fn bytes_pass_both_ways_and_half_close_leaves_the_way_back_open() {
    let ssh = StandIn::new("helo; begin; cat; echo the end");
    let Wire {
        mut reader,
        mut writer,
    } = ssh.wire().await;
    let sent: Vec<u8> = (0..1_000_000_u32)
        .map(|n| n.to_le_bytes()[0] ^ n.to_le_bytes()[1])
        .collect();
    let expected = [sent.as_slice(), b"the end\n"].concat();
    let sending = tokio::spawn(async move {
        writer.write_all(&sent).await.expect("taken");
        writer.shutdown().await.expect("closed");
        let error = writer.write_all(b"more").await.expect_err("closed");
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    });
    let mut received = Vec::new();
    reader.read_to_end(&mut received).await.expect("read");
    sending.await.expect("sent");
    assert!(received == expected, "{} bytes", received.len());
    drop(reader);
    ssh.has_gone().await;
}

#[tokio::test]
async fn no_dial_timeout_means_as_long_as_it_takes() {
    let ssh = StandIn::new("sleep 0.2; helo; begin; cat >/dev/null");
    let wire = ssh.connector("0").connect().await;
    assert!(wire.is_ok(), "{wire:?}");
}

#[tokio::test]
async fn what_was_written_before_closing_still_leaves() {
    let ssh = StandIn::new("helo; begin; sleep 0.05; cat >$here/received; echo $? >$here/status");
    let mut wire = ssh.wire().await;
    wire.writer.write_all(b"GOAWAY").await.expect("taken");
    drop(wire);
    ssh.has_gone().await;
    assert_eq!(ssh.text("received"), "GOAWAY");
    assert_eq!(ssh.text("status"), "0\n", "ended by itself");
}

#[tokio::test]
async fn a_process_that_does_not_end_is_asked_to() {
    let ssh = StandIn::new(
        "trap 'echo >$here/asked; exit' TERM; helo; begin; while :; do sleep 0.05; done",
    );
    drop(ssh.wire().await);
    ssh.has_gone().await;
    assert_eq!(ssh.text("asked"), "\n");
}

#[tokio::test]
async fn a_process_that_ignores_sigterm_is_killed() {
    let ssh = StandIn::new("trap '' TERM; helo; begin; while :; do sleep 0.05; done");
    drop(ssh.wire().await);
    ssh.has_gone().await;
}

#[test]
fn processes_end_also_after_the_runtime() {
    let ssh = StandIn::new("helo; begin; while :; do sleep 0.05; done");
    let runtime = tokio::runtime::Runtime::new().expect("runtime");
    let wire = runtime.block_on(ssh.wire());
    runtime.shutdown_background();
    drop(wire);
    wait_for_ended();
    let another = tokio::runtime::Runtime::new().expect("runtime");
    another.block_on(ssh.has_gone());
}

#[tokio::test]
async fn a_missing_daemon_on_the_other_side_is_explained() {
    let ssh = StandIn::new(
        "echo 'cannot reach it' >&2; printf SSHCON_PROXY_ERROR; head -c 13 /dev/zero; exit 1",
    );
    let error = ssh.failure("1m").await;
    assert!(
        matches!(error, ConnectError::Unreachable { .. }),
        "{error:?}"
    );
    assert_eq!(
        chain(&error),
        "cannot connect to ssh://backup@sink.example:2222: the greeting through ssh failed: `zrepl stdinserver` on the other \
         side found no daemon to hand the connection to: is the daemon running there, does one of its jobs serve this \
         client identity, and do both read the same configuration? ssh says: cannot reach it: proxy error, check remote \
         configuration"
    );
    ssh.has_gone().await;
}

#[tokio::test]
async fn output_of_a_login_shell_is_shown() {
    for script in [
        "echo 'Welcome to Debian'; echo 'Have a nice day'; cat",
        "printf 'Welcome to Debian\\nHave a nice day\\n'; exit 0",
        "printf 'SSHCON_HELO!'; echo Welcome to Debian; echo Have a nice day; sleep 1000",
    ] {
        let ssh = StandIn::new(script);
        let error = ssh.failure("1m").await;
        assert!(matches!(error, ConnectError::Refused { .. }), "{error:?}");
        let text = chain(&error);
        assert!(
            text.contains("Welcome to Debian\\nHave a nice day\\n\" instead of"),
            "{text}"
        );
        assert!(text.contains("a shell's start-up file"), "{text}");
        ssh.has_gone().await;
    }
}

#[tokio::test]
async fn what_ssh_complains_about_is_shown() {
    let ssh = StandIn::new(
        "exec >&-; sleep 0.05; echo 'backup@sink.example: Permission denied (publickey).' >&2; exit 255",
    );
    let error = ssh.failure("1m").await;
    assert!(
        matches!(error, ConnectError::Unreachable { .. }),
        "{error:?}"
    );
    assert_eq!(
        chain(&error),
        "cannot connect to ssh://backup@sink.example:2222: the greeting through ssh failed: ssh closed the connection \
         before zrepl's greeting; ssh says: backup@sink.example: Permission denied (publickey)."
    );
    ssh.has_gone().await;
}

#[tokio::test]
async fn an_ssh_that_never_answers_is_killed_after_the_dial_timeout() {
    // Its child, which has the pipes too, must end with it.
    let ssh = StandIn::new("trap '' TERM; sleep 1000; sleep 1000");
    let error = ssh.failure("2s").await;
    assert!(
        matches!(error, ConnectError::TimedOut { step: GREETING, limit, .. } if limit == Duration::from_secs(2)),
        "{error:?}"
    );
    ssh.has_gone().await;
}

#[tokio::test]
async fn an_ssh_that_only_complains_is_quoted_after_the_dial_timeout() {
    let ssh = StandIn::new("printf SSHCON_; echo 'still trying' >&2; sleep 1000");
    let error = ssh.failure("2s").await;
    assert!(
        matches!(error, ConnectError::Unreachable { .. }),
        "{error:?}"
    );
    let text = chain(&error);
    assert!(
        text.ends_with("there was no greeting within 2s; ssh says: still trying"),
        "{text}"
    );
    ssh.has_gone().await;
}

#[tokio::test]
async fn giving_up_a_connection_kills_its_process() {
    let ssh = StandIn::new("trap '' TERM; while :; do sleep 0.05; done");
    let connector = ssh.connector("0");
    let started = async {
        while !ssh.directory.path().join("pid").exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        wire = connector.connect() => panic!("{wire:?}"),
        () = started => {}
    }
    ssh.has_gone().await;
}

#[tokio::test]
async fn a_script_around_ssh_ends_together_with_it() {
    // The inner process holds the writing end of a FIFO: it has gone when the reader comes to its end.
    let ssh = StandIn::new("mkfifo $here/held; (helo; begin; exec sleep 1000) 3>$here/held; exit");
    let held = ssh.directory.path().join("held");
    let reading = async {
        while !held.exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        tokio::task::spawn_blocking(move || std::fs::read(held)).await
    };
    let (wire, read) = tokio::join!(async { drop(ssh.wire().await) }, reading);
    let () = wire;
    assert!(read.expect("no panic").expect("readable").is_empty());
}

#[tokio::test]
async fn a_program_that_is_not_there_is_named() {
    let error = connector("no-such-ssh", "10s")
        .connect()
        .await
        .expect_err("nothing there");
    assert!(matches!(error, ConnectError::Refused { .. }), "{error:?}");
    assert!(
        chain(&error)
            .contains("starting ssh failed: there is no program \"no-such-ssh\" in the PATH")
    );
    let error = connector("/nonexistent/ssh", "10s")
        .connect()
        .await
        .expect_err("nothing there");
    assert!(
        chain(&error).contains("cannot start /nonexistent/ssh: No such file"),
        "{}",
        chain(&error)
    );
}

#[test]
fn a_program_is_looked_for_in_the_daemons_path() {
    let ssh = StandIn::new("");
    let directory = ssh.directory.path();
    std::fs::create_dir_all(directory.join("first/fakessh")).expect("new");
    std::fs::create_dir(directory.join("second")).expect("new");
    std::fs::write(directory.join("second/fakessh"), "not executable").expect("new");
    let path = ["first", "second", ""].map(|name| directory.join(name));
    let path = std::env::join_paths([&[".".into()], &path[..]].concat()).expect("no colons");
    let found = process::find("fakessh", Some(&path)).expect("in the last one");
    assert_eq!(found, directory.join("fakessh"));
    assert_eq!(process::find("fakessh", None), None);
    assert_eq!(process::find("./fakessh", None), Some("./fakessh".into()));
}
