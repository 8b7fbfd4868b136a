//! Whole daemons in this process, over ZFS in memory, asked through their control sockets.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use rustls::NoKeyLog;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::task::JoinHandle;
use tokio_util::sync::DropGuard;

use super::*;
use crate::config;
use crate::endpoint::fake_zfs::FakeZfs;
use crate::endpoint::local_zfs::LocalZfs;
use crate::hook::DuePostEdges;
use crate::rpc::metrics::Metrics;
use crate::transport::Shared;
use crate::transport::local::LocalListeners;

/// A push job and its sink, a pull job and its source.
const JOBS: &str = "
- {type: sink, name: sink, root_fs: tank/backup, serve: {type: local, listener_name: l},
   recv: {placeholder: {encryption: 'off'}}}
- type: push
  name: push
  connect: {type: local, listener_name: l, client_identity: me}
  filesystems: {tank/src: true}
  snapshotting: {type: manual}
  pruning: &pruning {keep_sender: [{type: regex, regex: '.*'}], keep_receiver: [{type: regex, regex: '.*'}]}
- {type: source, name: src, filesystems: {tank/src: true}, snapshotting: {type: manual},
   serve: {type: local, listener_name: s}}
- type: pull
  name: pull
  connect: {type: local, listener_name: s, client_identity: puller}
  root_fs: tank/pulled
  recv: {placeholder: {encryption: 'off'}}
  interval: manual
  pruning: *pruning
- type: pull
  name: another
  connect: {type: local, listener_name: s, client_identity: another}
  root_fs: tank/another
  recv: {placeholder: {encryption: 'off'}}
  interval: manual
  pruning: *pruning
";

/// A daemon that runs.
struct Running {
    fake: Arc<FakeZfs>,
    socket: PathBuf,
    stop: CancellationToken,
    task: JoinHandle<Result<(), ServiceError>>,
    /// A test that fails must not wait for its daemon.
    _guard: DropGuard,
}

fn directory() -> TempDir {
    let directory = tempfile::tempdir().expect("temporary directory");
    let closed = Permissions::from_mode(0o700);
    std::fs::set_permissions(directory.path(), closed).expect("ours");
    directory
}

fn start(directory: &Path, jobs: &str) -> Running {
    let socket = directory.join("control");
    let yaml = format!(
        "global: {{control: {{sockpath: {}}}}}\njobs:{jobs}",
        socket.display()
    );
    let config = config::parse("test.yml", &yaml).expect("good").config;
    let fake = Arc::new(FakeZfs::with(&[
        "tank/backup",
        "tank/pulled",
        "tank/another",
        "tank/src@1",
        "tank/src@2",
    ]));
    let zfs = LocalZfs::new(Arc::clone(&fake) as _).expect("has a version");
    let stop = CancellationToken::new();
    let runtime = tokio::runtime::Handle::current();
    // As in the program, the daemon itself is no task.
    let task = tokio::task::spawn_blocking({
        let stop = stop.clone();
        let directory = directory.to_owned();
        move || {
            let transports = Shared {
                local: LocalListeners::default(),
                key_log: Arc::new(NoKeyLog {}),
                stdinserver_sockets: directory,
            };
            let environment = Environment {
                zfs,
                transports,
                metrics: Metrics::new(),
                due: DuePostEdges::default(),
                variables: &|_| None,
            };
            runtime.block_on(run(&config, &environment, stop))
        }
    });
    Running {
        fake,
        socket,
        _guard: stop.clone().drop_guard(),
        stop,
        task,
    }
}

impl Running {
    /// Status line and body of the answer.
    async fn ask(&self, path: &str, body: &str) -> (String, String) {
        let mut stream = loop {
            if let Ok(stream) = UnixStream::connect(&self.socket).await {
                break stream;
            }
            tokio::task::yield_now().await;
        };
        let length = body.len();
        let question = format!(
            "POST {path} HTTP/1.1\r\nHost: unix\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        stream.write_all(question.as_bytes()).await.expect("read");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("text");
        let (head, body) = answer.split_once("\r\n\r\n").expect("an answer");
        let status = head.lines().next().expect("a status");
        (status.to_owned(), body.to_owned())
    }

    async fn wake_up(&self, job: &str) {
        let body = format!("{{\"Name\":\"{job}\",\"Op\":\"wakeup\"}}\n");
        loop {
            let (status, answer) = self.ask("/signal", &body).await;
            if status == "HTTP/1.1 200 OK" {
                assert_eq!(answer, "{}\n");
                return;
            }
            // It has been started and does not wait yet.
            assert_eq!(answer, "already woken up");
        }
    }

    /// The last attempt of a job's replication, once it is over.
    async fn attempt(&self, job: &str, kind: &str) -> Value {
        loop {
            let (_, status) = self.ask("/status", "{}").await;
            let status: Value = serde_json::from_str(&status).expect("JSON");
            let attempts = &status["Jobs"][job][kind]["Replication"]["Attempts"];
            if let Some(attempt) = attempts.as_array().and_then(|attempts| attempts.last())
                && ["done", "filesystem-error", "planning-error"]
                    .contains(&attempt["State"].as_str().expect("a state"))
            {
                return attempt.clone();
            }
        }
    }

    async fn end(self) {
        self.stop.cancel();
        self.task
            .await
            .expect("did not panic")
            .expect("ended in time");
        assert!(!self.socket.exists());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_replicate_when_they_are_woken_up() {
    let directory = directory();
    let daemon = start(directory.path(), JOBS);
    for (job, kind, owner) in [
        ("push", "push", "push"),
        ("pull", "pull", "src_C_puller"),
        ("another", "pull", "src_C_another"),
    ] {
        daemon.wake_up(job).await;
        let attempt = daemon.attempt(job, kind).await;
        assert_came_to_the_receiver(&attempt);
        // Marks of a source with several clients have the client's name in theirs.
        let marked = daemon.fake.contents("tank/src").join(" ");
        assert!(marked.contains(&format!("_J_{owner}")), "{marked}");
    }
    daemon.end().await;
}

/// How far ZFS in memory goes: it sends, but makes no placeholders.
fn assert_came_to_the_receiver(attempt: &Value) {
    let error = &attempt["Filesystems"][0]["StepError"]["Err"];
    let error = error.as_str().expect("an error");
    assert!(error.contains("the fake cannot do it"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_daemon_does_not_start_and_the_first_goes_on() {
    let directory = directory();
    let first = start(directory.path(), JOBS);
    first.ask("/version", "").await;
    let second = start(directory.path(), JOBS);
    let refused = second.task.await.expect("did not panic");
    assert!(
        matches!(refused, Err(ServiceError::AnotherDaemon(_))),
        "{refused:?}"
    );
    first.wake_up("push").await;
    first.attempt("push", "push").await;
    first.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_cannot_listen_ends_alone() {
    let directory = directory();
    let name_taken = "
- {type: sink, name: other, root_fs: tank/pulled, serve: {type: local, listener_name: l}}
- {type: source, name: deaf, filesystems: {tank/src: true}, serve: {type: local, listener_name: l},
   snapshotting: {type: periodic, interval: 1h, prefix: deaf_}}
- {type: source, name: quiet, filesystems: {tank/src: true}, serve: {type: local, listener_name: l},
   snapshotting: {type: manual}}
";
    let daemon = start(
        directory.path(),
        &format!("{JOBS}{}", name_taken.trim_start()),
    );
    daemon.wake_up("push").await;
    assert_came_to_the_receiver(&daemon.attempt("push", "push").await);
    let (_, status) = daemon.ask("/status", "").await;
    assert!(status.contains("\"other\":{\"sink\":{\"Snapper\":null},\"type\":\"sink\"}"));
    // Nobody is left who would take the snapshots.
    let status: Value = serde_json::from_str(&status).expect("JSON");
    let snapper = &status["Jobs"]["deaf"]["source"]["Snapper"]["Periodic"];
    // The number of Stopped.
    assert_eq!(snapper["State"], 64, "{status}");
    for job in ["deaf", "quiet"] {
        let signal = format!("{{\"Name\":\"{job}\",\"Op\":\"snapshot\"}}\n");
        let (_, answer) = daemon.ask("/signal", &signal).await;
        assert_eq!(answer, "this job takes no snapshots");
    }
    daemon.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_control_socket_the_daemon_goes_on() {
    let directory = directory();
    let open = Permissions::from_mode(0o755);
    std::fs::set_permissions(directory.path(), open).expect("ours");
    let daemon = start(directory.path(), JOBS);
    daemon.stop.cancel();
    daemon
        .task
        .await
        .expect("did not panic")
        .expect("ended in time");
    assert!(!daemon.socket.exists());
}
