//! Snap jobs with hooks that are real programs, stopped in the middle of a round.

use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Instant;

use rustls::NoKeyLog;
use tempfile::TempDir;

use super::*;
use crate::config;
use crate::endpoint::fake_zfs::FakeZfs;
use crate::endpoint::local_zfs::LocalZfs;
use crate::rpc::metrics::Metrics;
use crate::transport::Shared;
use crate::transport::local::LocalListeners;

/// Far less than any hook here needs after its snapshot.
const LIMIT: Duration = Duration::from_millis(100);

/// Programs that write into this directory which edges they have begun and ended.
struct Bed(TempDir);

impl Bed {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }

    /// A hook whose post edge takes this many seconds.
    fn hook(&self, name: &str, seconds: &str, timeout: &str) -> String {
        let path = self.0.path().join(name);
        let script = format!(
            "#!/bin/sh\ncd {}\necho {name} $ZREPL_HOOKTYPE >>trace\n\
             [ $ZREPL_HOOKTYPE = pre_snapshot ] && exit\nsleep {seconds}\necho {name} ended >>trace\n",
            self.0.path().display()
        );
        write_program(&path, &script);
        format!(
            "{{type: command, path: {}, timeout: {timeout}}}",
            path.display()
        )
    }

    fn trace(&self) -> String {
        std::fs::read_to_string(self.0.path().join("trace")).unwrap_or_default()
    }

    /// Runs a job for each list of hooks, and tells them to stop when the trace has these lines.
    async fn stopped_at(
        &self,
        fake: FakeZfs,
        lists: &[String],
        lines: &[&str],
    ) -> (Result<(), ServiceError>, String) {
        let mut yaml = String::from("jobs:\n");
        for (number, hooks) in lists.iter().enumerate() {
            writeln!(
                yaml,
                "- {{type: snap, name: j{number}, filesystems: {{tank/src: true}}, pruning: {{keep: [{{type: last_n, count: 9}}]}},\n\
                 \x20  snapshotting: {{type: periodic, interval: 1h, prefix: j{number}_, hooks: [{hooks}]}}}}"
            )
            .expect("strings take all text");
        }
        let config = config::parse("test.yml", &yaml).expect("good").config;
        let environment = Environment {
            zfs: LocalZfs::new(Arc::new(fake) as _).expect("has a version"),
            transports: Shared {
                local: LocalListeners::default(),
                key_log: Arc::new(NoKeyLog {}),
                stdinserver_sockets: self.0.path().to_owned(),
            },
            metrics: Metrics::new(),
            due: DuePostEdges::default(),
            variables: &|_| None,
        };
        let jobs = job::build(&config, &environment).expect("builds");
        let stopping = Stopping {
            limit: LIMIT,
            due: environment.due.clone(),
        };
        let stop = CancellationToken::new();
        let running = tokio::spawn({
            let stop = stop.clone();
            async move { run_jobs(jobs, &stop, false, stopping).await }
        });
        let deadline = Instant::now() + 30 * SECOND;
        while !lines
            .iter()
            .all(|line| self.trace().lines().any(|it| it == *line))
        {
            assert!(Instant::now() < deadline, "{}", self.trace());
            sleep(Duration::from_millis(10)).await;
        }
        stop.cancel();
        let ended = running.await.expect("did not panic");
        (ended, self.trace())
    }
}

fn filesystem() -> FakeZfs {
    FakeZfs::with(&["tank/src"])
}

/// By another process: what this one has open for writing while another test forks cannot be executed.
fn write_program(path: &Path, text: &str) {
    let source = path.with_extension("source");
    std::fs::write(&source, text).expect("written");
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(&source, mode).expect("ours");
    let copied = std::process::Command::new("cp")
        .args([&source, path])
        .status();
    assert!(copied.expect("cp").success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopping_lets_hooks_undo_what_they_have_done() {
    let bed = Bed::new();
    let hooks = [bed.hook("a", "0.2", "1m"), bed.hook("b", "0.8", "1m")];
    let (ended, trace) = bed
        .stopped_at(filesystem(), &[hooks.join(", ")], &["b post_snapshot"])
        .await;
    ended.expect("ended in time");
    assert_eq!(
        trace,
        "a pre_snapshot\nb pre_snapshot\nb post_snapshot\nb ended\na post_snapshot\na ended\n"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hooks_of_all_jobs_are_waited_for_and_no_longer_than_their_timeouts() {
    let bed = Bed::new();
    let hangs = bed.hook("hangs", "1000", "1s");
    let slow = bed.hook("slow", "1.5", "1m");
    let begun = Instant::now();
    let (ended, trace) = bed
        .stopped_at(
            filesystem(),
            &[hangs, slow],
            &["hangs post_snapshot", "slow post_snapshot"],
        )
        .await;
    ended.expect("the one that hangs was ended by its own timeout");
    assert!(trace.contains("slow ended"), "{trace}");
    assert!(!trace.contains("hangs ended"), "{trace}");
    assert!(begun.elapsed() < 20 * SECOND, "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_that_takes_long_does_not_cost_the_hooks_after_it() {
    let bed = Bed::new();
    let trace = bed.0.path().join("trace");
    let fake = filesystem();
    fake.before("snapshot", move |_| {
        std::fs::write(trace, "snapshot\n").expect("written");
        std::thread::sleep(5 * LIMIT);
    });
    let (ended, trace) = bed
        .stopped_at(fake, &[bed.hook("a", "0.5", "1m")], &["snapshot"])
        .await;
    ended.expect("ended in time");
    assert_eq!(trace, "snapshot\na post_snapshot\na ended\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg(feature = "hook-mysql")]
async fn a_database_that_cannot_be_used_keeps_nothing_else_from_running() {
    let bed = Bed::new();
    let unusable = "{type: mysql-lock-tables, dsn: 'u@tcp(h)/?tls=true', filesystems: {'<': true}}";
    let hooks = format!("{unusable}, {}", bed.hook("a", "0", "1m"));
    let (ended, trace) = bed
        .stopped_at(filesystem(), &[hooks], &["a post_snapshot"])
        .await;
    ended.expect("ended in time");
    assert!(trace.contains("a pre_snapshot"), "{trace}");
}
