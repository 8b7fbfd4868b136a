//! Hooks that are programs: real ones, most of which misbehave.

mod hooks_bed;
mod log_lines;

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use hooks_bed::{Busy, Seen, around, configured, run, run_around_success};
use log_lines::Log;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use tracing::Level;
use zfs_safe::name::DatasetPath;
use zrepl_daemon::hook::FilesystemHooks;

struct Scripts(TempDir);

impl Scripts {
    fn new() -> Self {
        Self(TempDir::with_prefix("zrepl-hooks-").expect("a directory"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Written by another process: what this one has open for writing while another test forks cannot be executed.
    fn add_raw(&self, name: &str, text: &str, mode: &str) -> PathBuf {
        let path = self.path(name);
        let mut child = Command::new("/bin/sh")
            .args(["-c", "cat >\"$1\" && chmod \"$2\" \"$1\"", "sh"])
            .arg(&path)
            .arg(mode)
            .stdin(Stdio::piped())
            .spawn()
            .expect("sh");
        let mut stdin = child.stdin.take().expect("piped");
        stdin.write_all(text.as_bytes()).expect("written");
        drop(stdin);
        assert!(child.wait().expect("waited").success());
        path
    }

    /// A hook of one script, and how it is configured.
    fn add(&self, name: &str, script: &str, settings: &str) -> String {
        let text = format!("#!/bin/sh\ncd {}\n{script}\n", self.0.path().display());
        let path = self.add_raw(name, &text, "755");
        format!("{{type: command, path: {}, {settings}}}", path.display())
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// The number of a process that wrote it there.
    fn pid(&self, name: &str) -> i32 {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            if let Ok(pid) = self.read(name).trim().parse() {
                return pid;
            }
            assert!(Instant::now() < deadline, "{name} has no number");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn lives(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // A zombie has ended.
    stat.rsplit_once(") ")
        .is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

fn ends_soon(pid: i32) -> bool {
    let deadline = Instant::now() + Duration::from_secs(10);
    while lives(pid) && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10));
    }
    !lives(pid)
}

fn kill(pid: i32) {
    if let Some(pid) = rustix::process::Pid::from_raw(pid) {
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).ok();
    }
}

async fn run_one(hook: &str) -> Seen {
    run_around_success(&format!("[{hook}]")).await
}

#[tokio::test]
async fn a_program_gets_the_environment_of_zrepl_and_no_arguments() {
    let scripts = Scripts::new();
    let script = "{ env | grep -E '^ZREPL_(DRYRUN|FS|HOOKTYPE|SNAPNAME|TIMEOUT)=' | LC_ALL=C sort; echo \"args=$# stdin=$(cat) ${PATH:+path}\"; } >>seen";
    let hook = scripts.add("hook.sh", script, "timeout: 90500ms");
    let seen = run_one(&hook).await;
    let expected = |edge| {
        format!(
            "ZREPL_DRYRUN=\nZREPL_FS=tank/db\nZREPL_HOOKTYPE={edge}_snapshot\nZREPL_SNAPNAME=now\nZREPL_TIMEOUT=90\n\
             args=0 stdin= path\n"
        )
    };
    assert_eq!(scripts.read("seen"), expected("pre") + &expected("post"));
    assert_eq!(seen.statuses(), "Ok Ok Ok");
    assert!(!seen.outcome.had_error);
    let path = scripts.path("hook.sh");
    assert_eq!(
        seen.report(0),
        format!(
            "command hook: \"ZREPL_DRYRUN='' ZREPL_FS='tank/db' ZREPL_HOOKTYPE='pre_snapshot' ZREPL_SNAPNAME='now' \
             ZREPL_TIMEOUT='90' {}\"",
            path.display()
        )
    );
}

#[tokio::test]
async fn lines_go_to_the_log() {
    let scripts = Scripts::new();
    let script = "[ $ZREPL_HOOKTYPE = pre_snapshot ] || exit 0; printf 'one\\ntwo\\n'; sleep 0.2; printf three >&2";
    let hook = scripts.add("hook.sh", script, "");
    let (log, _guard) = Log::start();
    run_one(&hook).await;
    let lines = log.take();
    let command = scripts.path("hook.sh").display().to_string();
    let output: Vec<_> = lines
        .into_iter()
        .filter(|(_, line)| line.contains("hook output"))
        .collect();
    let expected = [
        (Level::INFO, "stdout=one"),
        (Level::INFO, "stdout=two"),
        (Level::WARN, "stderr=three"),
    ];
    assert_eq!(output.len(), expected.len(), "{output:?}");
    for ((level, line), (expected_level, part)) in output.iter().zip(expected) {
        assert_eq!(*level, expected_level);
        assert!(line.contains(part) && line.contains(&command), "{line}");
    }
}

#[tokio::test]
async fn failures_say_what_happened_and_what_to_do() {
    let scripts = Scripts::new();
    let path = |name: &str| scripts.path(name).display().to_string();
    scripts.add("e255", "exit 255", "");
    scripts.add("e127", "no-such-command", "");
    scripts.add("signal", "kill -TERM $$", "");
    scripts.add_raw("not-executable", "#!/bin/sh\n", "644");
    scripts.add_raw("no-script", "echo x\n", "755");
    scripts.add_raw("no-interpreter", "#!/nonexistent/sh\n", "755");
    fs::create_dir(scripts.path("directory")).expect("made");
    for (name, expected) in [
        ("e255", "exit status 255".to_owned()),
        (
            "e127",
            "exit status 127 (a command in it was not found; PATH is that of the daemon)"
                .to_owned(),
        ),
        ("signal", "signal: terminated".to_owned()),
        (
            "missing",
            format!(
                "cannot start {}: correct the `path` of the hook, or install the program: No such file",
                path("missing")
            ),
        ),
        (
            "not-executable",
            format!(
                "cannot start {}: make it executable for the user that zrepl runs as (chmod +x)",
                path("not-executable")
            ),
        ),
        (
            "no-script",
            format!(
                "cannot start {}: it is no program for this system",
                path("no-script")
            ),
        ),
        (
            "no-interpreter",
            format!(
                "cannot start {}: the file is there, but not the interpreter",
                path("no-interpreter")
            ),
        ),
        (
            "directory",
            format!("cannot start {}: make it executable", path("directory")),
        ),
    ] {
        let (log, guard) = Log::start();
        let seen = run_one(&format!("{{type: command, path: {}}}", path(name))).await;
        drop(guard);
        assert_eq!(seen.statuses(), "Err Ok SkippedDueToPreErr", "{name}");
        assert!(seen.outcome.had_error && seen.snapshot());
        let report = seen.report(0);
        let start = format!(
            "command hook failed with \"{}",
            expected.replace('"', "\\\"")
        );
        assert!(report.starts_with(&start), "{name}: {report}\n{start}");
        // The line of the log names the hook, the filesystem and the edge, too.
        let lines = log.take();
        let line = lines.iter().find(|(level, _)| *level == Level::ERROR);
        let line = &line.expect("a line").1;
        for part in [
            "hook invocation failed for pre-edge",
            &format!("hook={}", path(name)),
            "ZREPL_FS='tank/db' ZREPL_HOOKTYPE='pre_snapshot'",
            "FAILED with error: ",
            &expected,
        ] {
            assert!(line.contains(part), "{name}: {part}: {line}");
        }
    }
}

#[tokio::test]
async fn a_program_that_hangs_is_killed_with_its_children() {
    let scripts = Scripts::new();
    let script = "sleep 1000 & echo $! >child; echo $$ >leader; trap '' TERM; wait; sleep 1000";
    let hook = scripts.add("hang", script, "timeout: 500ms");
    let seen = run_one(&hook).await;
    assert_eq!(seen.statuses(), "Err Ok SkippedDueToPreErr");
    assert!(seen.took < Duration::from_secs(10), "{:?}", seen.took);
    let report = seen.report(0);
    let expected = "command hook failed with \"timed out after 500ms: signal: killed, with its process group\"";
    assert!(report.starts_with(expected), "{report}");
    for file in ["child", "leader"] {
        assert!(ends_soon(scripts.pid(file)), "{file}");
    }
}

/// Nobody else can open this file until the process ends, or for 45 seconds. Without Perl or leases there is none.
#[cfg(target_os = "linux")]
fn lease(path: &std::path::Path) -> Option<std::process::Child> {
    use std::io::Read as _;

    // F_SETLEASE and F_WRLCK.
    let script = "$SIG{IO} = 'IGNORE'; open(F, '<', $ARGV[0]) or exit 1; fcntl(F, 1024, 1) or exit 1; \
                  $| = 1; print '+'; sleep 100";
    let mut child = Command::new("perl")
        .args(["-e", script])
        .arg(path)
        .stdout(Stdio::piped())
        .spawn()
        .ok()?;
    let mut answer = [0];
    let output = child.stdout.as_mut().expect("piped");
    let has_lease = output.read_exact(&mut answer).is_ok();
    if !has_lease {
        child.wait().ok()?;
        return None;
    }
    Some(child)
}

#[tokio::test]
#[cfg(target_os = "linux")]
async fn a_filesystem_that_does_not_answer_is_given_up_and_what_starts_late_is_killed() {
    let scripts = Scripts::new();
    let hook = scripts.add("hook", "sleep 0.5; echo late >trace", "timeout: 500ms");
    let Some(mut lease) = lease(&scripts.path("hook")) else {
        println!("skipped: files cannot be leased here, or there is no perl");
        return;
    };
    let seen = run_one(&hook).await;
    assert_eq!(seen.statuses(), "Err Ok SkippedDueToPreErr");
    let report = seen.report(0);
    let expected =
        "command hook failed with \"timed out after 500ms: the program has not started yet";
    assert!(report.starts_with(expected), "{report}");
    assert!(seen.took < Duration::from_secs(10), "{:?}", seen.took);
    lease.kill().expect("ours");
    lease.wait().expect("it ends");
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(scripts.read("trace"), "");
}

#[tokio::test]
async fn a_program_that_hangs_while_a_stranger_holds_its_output_does_not_hang_us() {
    let scripts = Scripts::new();
    let script = "setsid sh -c 'echo $$ >stranger; exec sleep 300' & sleep 1000";
    let hook = scripts.add("hang", script, "timeout: 1s");
    let (log, _guard) = Log::start();
    let seen = run_one(&hook).await;
    let stranger = scripts.pid("stranger");
    let lived = lives(stranger);
    kill(stranger);
    assert!(lived, "or the test proves nothing");
    assert_eq!(seen.statuses(), "Err Ok SkippedDueToPreErr");
    assert!(seen.took < Duration::from_secs(15), "{:?}", seen.took);
    let warned = |(_, line): &(Level, String)| line.contains("still holds its output");
    assert!(log.take().iter().any(warned));
}

#[tokio::test]
async fn what_a_program_leaves_running_is_left_alone_and_not_waited_for() {
    let scripts = Scripts::new();
    let script =
        "[ $ZREPL_HOOKTYPE = pre_snapshot ] || exit 0; sleep 300 & echo $! >child; echo last words";
    let hook = scripts.add("daemonize", script, "");
    let (log, _guard) = Log::start();
    let seen = run_one(&hook).await;
    let child = scripts.pid("child");
    let lived = lives(child);
    kill(child);
    assert!(lived);
    assert_eq!(seen.statuses(), "Ok Ok Ok");
    assert!(seen.took < Duration::from_secs(15), "{:?}", seen.took);
    let lines = log.take();
    assert!(
        lines
            .iter()
            .any(|(_, line)| line.contains("stdout=last words"))
    );
}

#[tokio::test]
async fn a_flood_is_counted_not_kept() {
    let scripts = Scripts::new();
    let script = "[ $ZREPL_HOOKTYPE = pre_snapshot ] || exit 0\n\
                  head -c 100000000 /dev/zero | tr '\\0' x; yes 0123456 | head -c 8000000 >&2; echo end >&2";
    let hook = scripts.add("flood", script, "timeout: 5m");
    let (log, _guard) = Log::start();
    let seen = run_one(&hook).await;
    assert_eq!(seen.statuses(), "Ok Ok Ok");
    let lines = log.take();
    let with = |part: &str| {
        let found = lines.iter().filter(|(_, line)| line.contains(part));
        found.map(|(_, line)| line.as_str()).collect::<Vec<_>>()
    };
    let out = with("stdout=");
    assert_eq!(out.len(), 1);
    assert!(
        out[0].ends_with("[99991808 bytes more]"),
        "{}",
        out[0].len()
    );
    let err = with("stderr=");
    assert_eq!(with("lines with").len(), 1);
    let logged: usize = err.iter().map(|line| line.len()).sum();
    assert!(logged < 40 << 20, "{logged}");
    assert!(err.len() < 150_000, "{}", err.len());
    assert!(err.last().expect("lines").contains("stderr=end"));
}

/// A hook that writes down its edges, and fails or not.
fn tracing_hook(scripts: &Scripts, name: &str, pre: i32, post: i32, settings: &str) -> String {
    let script = format!(
        "echo {name} $ZREPL_HOOKTYPE >>trace; [ $ZREPL_HOOKTYPE = pre_snapshot ] && exit {pre}; exit {post}"
    );
    scripts.add(name, &script, settings)
}

#[tokio::test]
async fn edges_run_in_order_around_the_snapshot() {
    let scripts = Scripts::new();
    let hooks = [
        tracing_hook(&scripts, "a", 0, 1, "err_is_fatal: true"),
        tracing_hook(&scripts, "b", 1, 0, ""),
        tracing_hook(&scripts, "c", 0, 0, "err_is_fatal: true"),
    ];
    let trace = scripts.path("trace");
    let take = || async {
        let mut file = fs::OpenOptions::new()
            .append(true)
            .open(&trace)
            .expect("there");
        file.write_all(b"snapshot\n").expect("written");
        Err(Busy)
    };
    let list = format!("[{}]", hooks.join(", "));
    let seen = run(&list, &CancellationToken::new(), take).await;
    assert_eq!(
        scripts.read("trace"),
        "a pre_snapshot\nb pre_snapshot\nc pre_snapshot\nsnapshot\nc post_snapshot\na post_snapshot\n"
    );
    assert_eq!(seen.statuses(), "Ok Err Ok Err Ok SkippedDueToPreErr Err");
    assert!(matches!(seen.outcome.snapshot, Some(Err(Busy))));
    assert_eq!(seen.report(3), "snapshot error: dataset is busy");
}

#[tokio::test]
async fn a_fatal_failure_prevents_the_snapshot_and_undoes_what_was_done() {
    let scripts = Scripts::new();
    let hooks = [
        tracing_hook(&scripts, "a", 0, 0, ""),
        tracing_hook(&scripts, "b", 1, 0, "err_is_fatal: true"),
        tracing_hook(&scripts, "c", 0, 0, ""),
    ];
    let seen = run_around_success(&format!("[{}]", hooks.join(", "))).await;
    assert_eq!(
        scripts.read("trace"),
        "a pre_snapshot\nb pre_snapshot\na post_snapshot\n"
    );
    assert!(seen.outcome.snapshot.is_none() && seen.outcome.had_error);
}

#[tokio::test]
async fn stopping_ends_a_pre_edge_and_runs_the_post_edges_that_are_due() {
    let scripts = Scripts::new();
    let hooks = [
        tracing_hook(&scripts, "a", 0, 0, ""),
        scripts.add("b", "echo $$ >pid; sleep 1000", "timeout: 10m"),
        tracing_hook(&scripts, "c", 0, 0, ""),
    ];
    let list = format!("[{}]", hooks.join(", "));
    let stop = CancellationToken::new();
    let running = run(&list, &stop, async || Ok(()));
    let stopper = async {
        while scripts.read("pid").is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        stop.cancel();
        Instant::now()
    };
    let (seen, stopped) = tokio::join!(running, stopper);
    assert!(stopped.elapsed() < Duration::from_secs(5));
    assert!(ends_soon(scripts.pid("pid")));
    assert_eq!(scripts.read("trace"), "a pre_snapshot\na post_snapshot\n");
    assert!(seen.outcome.snapshot.is_none() && seen.outcome.had_error);
    assert_eq!(
        seen.statuses(),
        "Ok Err SkippedDueToFatalErr SkippedDueToFatalErr SkippedDueToFatalErr SkippedDueToPreErr Ok"
    );
    let report = seen.report(1);
    assert!(
        report.contains("cut short because the job is being stopped"),
        "{report}"
    );
}

#[tokio::test]
async fn post_edges_run_within_their_timeouts_when_stopped_during_the_snapshot() {
    let scripts = Scripts::new();
    let hooks = [
        tracing_hook(&scripts, "a", 0, 0, ""),
        scripts.add(
            "b",
            "echo b $ZREPL_HOOKTYPE >>trace; [ $ZREPL_HOOKTYPE = pre_snapshot ] || sleep 1000",
            "timeout: 1s",
        ),
    ];
    let list = format!("[{}]", hooks.join(", "));
    let stop = CancellationToken::new();
    let seen = run(&list, &stop, async || {
        stop.cancel();
        Ok(())
    })
    .await;
    assert_eq!(
        scripts.read("trace"),
        "a pre_snapshot\nb pre_snapshot\nb post_snapshot\na post_snapshot\n"
    );
    assert_eq!(seen.statuses(), "Ok Ok Ok Err Ok");
    assert!(seen.snapshot());
    assert!(seen.took < Duration::from_secs(20), "{:?}", seen.took);
}

#[tokio::test]
async fn nothing_begins_once_it_is_stopped() {
    let scripts = Scripts::new();
    let stop = CancellationToken::new();
    stop.cancel();
    let hook = tracing_hook(&scripts, "a", 0, 0, "");
    let seen = run(&format!("[{hook}]"), &stop, async || Ok(())).await;
    assert_eq!(scripts.read("trace"), "");
    assert!(seen.outcome.snapshot.is_none() && seen.outcome.had_error);
}

#[tokio::test]
async fn a_run_that_is_dropped_leaves_no_process() {
    let scripts = Scripts::new();
    let script = "sleep 1000 & echo $! >child; echo $$ >leader; wait";
    let hook = scripts.add("hang", script, "timeout: 10m");
    let stop = CancellationToken::new();
    let running = around(&format!("[{hook}]")).run(&stop, async || Ok::<(), Busy>(()));
    tokio::select! {
        _ = running => panic!("it hangs"),
        () = async {
            while scripts.read("leader").is_empty() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        } => {}
    }
    for file in ["child", "leader"] {
        assert!(ends_soon(scripts.pid(file)), "{file}");
    }
}

#[tokio::test]
async fn a_run_can_be_watched() {
    let scripts = Scripts::new();
    let hook = tracing_hook(&scripts, "a", 0, 3, "");
    let around = around(&format!("[{hook}]"));
    let progress = around.progress();
    let first_columns = || {
        let table = progress.table();
        let words = table.lines().map(|line| {
            let mut words = line.split_whitespace();
            format!(
                "{} {}",
                words.next().unwrap_or("-"),
                words.next().unwrap_or("-")
            )
        });
        words.collect::<Vec<_>>().join(", ")
    };
    assert_eq!(first_columns(), "1 Pending, 2 Pending, 3 Pending");
    let stop = CancellationToken::new();
    around
        .run(&stop, async || {
            assert_eq!(first_columns(), "1 Ok, 2 Exec, 3 Pending");
            assert!(!progress.had_error());
            Ok::<(), Busy>(())
        })
        .await;
    assert_eq!(first_columns(), "1 Ok, 2 Ok, 3 Err");
    assert!(progress.had_error());
}

#[test]
fn filesystems_are_divided_by_whether_hooks_run() {
    let hooks = configured(
        "[{type: command, path: /a, filesystems: {\"tank/db<\": true, \"tank/db/tmp\": false}},\
          {type: command, path: /b, filesystems: {\"tank/x\": true, \"tank/db\": true}},\
          {type: command, path: /c, filesystems: {\"other<\": true}}]",
    )
    .expect("valid");
    let path = |text: &str| DatasetPath::new(text).expect("valid");
    let names = ["tank", "tank/db", "tank/db/sub", "tank/db/tmp", "tank/x"];
    let partition = hooks.partition(names.map(path));
    assert_eq!(partition.without, ["tank", "tank/db/tmp"].map(path));
    let with: Vec<_> = partition
        .with
        .iter()
        .map(FilesystemHooks::filesystem)
        .collect();
    assert_eq!(
        with,
        [&path("tank/db"), &path("tank/db/sub"), &path("tank/x")]
    );
    let parts = |name: &str| {
        let hooks = hooks.for_filesystem(&path(name)).expect("some");
        let around = hooks.around(path(name).snapshot("s").expect("valid"));
        around.progress().plan().steps().len()
    };
    assert_eq!([parts("tank/db"), parts("tank/db/sub")], [5, 3]);
    assert_eq!(partition.unused.len(), 1);
    assert_eq!(
        (
            partition.unused[0].number,
            partition.unused[0].name.as_str()
        ),
        (3, "/c")
    );
    assert!(hooks.for_filesystem(&path("tank")).is_none());
}

#[tokio::test]
#[cfg(all(feature = "hook-mysql", feature = "hook-postgres"))]
async fn a_database_that_cannot_be_used_fails_its_own_hook_only() {
    let databases = [
        (
            "type: mysql-lock-tables, dsn: \"u@tcp(h)/?tls=true\"",
            "FLUSH TABLES WITH READ LOCK: tls=true in the dsn is not supported",
        ),
        (
            "type: postgres-checkpoint, dsn: \"host=h sslrootcert=/nonexistent\"",
            "postgres CHECKPOINT failed: cannot parse ca file: /nonexistent: cannot read the file",
        ),
    ];
    for (database, expected) in databases {
        for (fatal, statuses) in [
            (false, "Ok Err Ok SkippedDueToPreErr Ok"),
            (true, "Ok Err SkippedDueToFatalErr SkippedDueToFatalErr Ok"),
        ] {
            let list = format!(
                "[{{type: command, path: /bin/true}}, {{{database}, filesystems: {{\"<\": true}}, err_is_fatal: {fatal}}}]"
            );
            let (log, guard) = Log::start();
            let seen = run_around_success(&list).await;
            drop(guard);
            assert_eq!(seen.statuses(), statuses);
            assert_eq!(seen.snapshot(), !fatal);
            assert!(seen.report(1).starts_with(expected), "{}", seen.report(1));
            let logged = |(level, line): &(Level, String)| {
                *level == Level::ERROR
                    && line.contains("hook invocation failed for pre-edge")
                    && line.contains(expected)
            };
            assert!(log.take().iter().any(logged));
        }
    }
}

#[test]
fn hooks_that_this_program_does_not_have_are_named() {
    if cfg!(not(feature = "hook-mysql")) {
        let list = "[{type: command, path: /a}, {type: mysql-lock-tables, dsn: \"u@tcp(h)/?tls=true\", filesystems: {\"<\": true}}]";
        let text = zrepl_daemon::causes::chain(&configured(list).expect_err("left out"));
        assert!(
            text.starts_with("create hook #2: this zrepl has no hooks of type mysql-lock-tables"),
            "{text}"
        );
    }
    if cfg!(not(feature = "hook-postgres")) {
        let list = "[{type: postgres-checkpoint, dsn: \"host=/x\", filesystems: {\"<\": true}}]";
        let text = zrepl_daemon::causes::chain(&configured(list).expect_err("left out"));
        assert!(text.contains("hook-postgres"), "{text}");
    }
}
