//! Rounds over ZFS in memory.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, mpsc};

use super::*;
use crate::config;
use crate::endpoint::fake_zfs::FakeZfs;
use crate::hook::DuePostEdges;
use crate::snapshot::report::FilesystemState;

/// Rounds of a job whose filesystems are everything, with hooks as they are written in its configuration.
fn taking(fake: &Arc<FakeZfs>, hooks: &str) -> Taking {
    let yaml = format!(
        "jobs:
- name: j
  type: snap
  filesystems: {{'<': true}}
  snapshotting: {{type: periodic, interval: 10m, prefix: zrepl_, hooks: {hooks}}}
  pruning: {{keep: [{{type: last_n, count: 1}}]}}
"
    );
    let loaded = config::parse("zrepl.yml", &yaml).unwrap_or_else(|e| panic!("{e}\n{yaml}"));
    let job = loaded.config.job("j").expect("it is there");
    let config = job.snapshotting().expect("it takes snapshots");
    let mut taking = Taking::new(
        LocalZfs::new(Arc::clone(fake) as _).expect("has a version"),
        FilesystemFilter::everything(),
        SnapshotNaming::new("zrepl_", "dense", "UTC").expect("good"),
        Hooks::new(config, &|_| None, DuePostEdges::default()).expect("good"),
    );
    taking.pools = Pools::with_patience(taking.zfs.clone(), Duration::from_millis(500));
    taking
}

/// A hook that writes down its edges in `edges`, for these filesystems.
fn hook(directory: &Path, filesystems: &str) -> String {
    let path = directory.join("hook");
    let script = format!(
        "#!/bin/sh\necho $ZREPL_HOOKTYPE >> {}/edges\n",
        directory.display()
    );
    fs::write(&path, script).expect("writes");
    fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).expect("sets");
    let path = path.display();
    format!("[{{type: command, path: {path}, filesystems: {filesystems}}}]")
}

/// Until somebody sends something, or there is nobody any more.
fn stall(fake: &FakeZfs, call: &str) -> mpsc::Sender<()> {
    let (go_on, going_on) = mpsc::channel();
    fake.before(call, move |_| {
        let _ = going_on.recv();
    });
    go_on
}

/// A round that fails for some and ends soon all the same.
async fn incomplete(taking: &mut Taking) -> Progress {
    let (progress, stop) = (Progress::default(), CancellationToken::new());
    let round = taking.take(&progress, &stop);
    let ended = tokio::time::timeout(Duration::from_secs(20), round).await;
    let result = ended.expect("it does not wait for ever");
    assert!(matches!(result, Err(RoundError::Incomplete)), "{result:?}");
    progress
}

/// Filesystems and whether they have a snapshot, as the status has it.
fn shown(progress: &Progress) -> Vec<(String, FilesystemState)> {
    let filesystems = progress.now().expect("planned").into_iter();
    filesystems.map(|it| (it.path, it.state)).collect()
}

fn snapshots(fake: &FakeZfs) -> Vec<String> {
    let calls = fake.calls().into_iter();
    calls.filter(|it| it.starts_with("snapshot ")).collect()
}

#[tokio::test]
async fn a_round_in_which_one_failed_is_incomplete() {
    use FilesystemState::{SnapDone, SnapError};

    let fake = Arc::new(FakeZfs::with(&["p/a", "q/b"]));
    let mut taking = taking(&fake, "[]");
    let stop = CancellationToken::new();
    let progress = Progress::default();
    taking.take(&progress, &stop).await.expect("all is well");
    let done: Vec<_> = shown(&progress).iter().map(|it| it.1).collect();
    assert_eq!(done, [SnapDone; 4]);

    let fake = Arc::new(FakeZfs::with(&["p/a", "q/b"]));
    let mut taking = self::taking(&fake, "[]");
    fake.fail(
        zfs_safe::error::Operation::Snapshot,
        "p/a",
        zfs_safe::error::Reason::Busy,
    );
    let progress = incomplete(&mut taking).await;
    let expected = [
        ("p", SnapDone),
        ("p/a", SnapError),
        ("q", SnapDone),
        ("q/b", SnapDone),
    ];
    assert_eq!(shown(&progress), expected.map(|it| (it.0.to_owned(), it.1)));
    // The others of its pool together, and those of the other pool.
    assert_eq!(snapshots(&fake).len(), 3);
}

#[tokio::test]
async fn a_job_that_stops_leaves_the_other_filesystems_with_hooks_alone() {
    use FilesystemState::{SnapDone, SnapPending};

    let directory = tempfile::tempdir().expect("temporary directory");
    let fake = Arc::new(FakeZfs::with(&["p/a", "p/b", "p/c"]));
    let hooks = hook(directory.path(), "{'p/a': true, 'p/b': true}");
    let mut taking = taking(&fake, &hooks);
    let stop = CancellationToken::new();
    let stopping = stop.clone();
    fake.before("snapshot p/a@", move |_| stopping.cancel());
    let progress = Progress::default();
    let error = taking.take(&progress, &stop).await.expect_err("not well");
    assert!(matches!(error, RoundError::Incomplete), "{error}");
    let expected = [
        ("p", SnapDone),
        ("p/a", SnapDone),
        ("p/b", SnapPending),
        ("p/c", SnapDone),
    ];
    assert_eq!(shown(&progress), expected.map(|it| (it.0.to_owned(), it.1)));
    assert_eq!(snapshots(&fake).len(), 2);
}

#[tokio::test]
async fn rounds_of_the_same_second_have_different_names() {
    let fake = Arc::new(FakeZfs::with(&["p/a"]));
    let mut taking = taking(&fake, "[]");
    let stop = CancellationToken::new();
    for _ in 0..2 {
        let taken = taking.take(&Progress::default(), &stop).await;
        taken.expect("all is well");
    }
    assert_eq!(fake.contents("p/a").len(), 2);

    // Nobody waits for a year.
    taking.naming = SnapshotNaming::new("zrepl_", "2006", "UTC").expect("good");
    taking.last_name = None;
    let begin = Instant::now();
    let progress = Progress::default();
    taking.take(&progress, &stop).await.expect("all is well");
    let again = taking.take(&progress, &stop).await;
    assert!(matches!(again, Err(RoundError::Incomplete)));
    assert!(begin.elapsed() < WAIT_FOR_NAME);
    assert_eq!(fake.contents("p/a").len(), 3);
}

#[tokio::test]
async fn a_pool_that_does_not_answer_is_left_out_until_it_does() {
    use FilesystemState::{SnapDone, SnapError};

    let fake = Arc::new(FakeZfs::with(&["p/a", "q/b", "r"]));
    let mut taking = taking(&fake, "[]");
    let stop = CancellationToken::new();
    let go_on = stall(&fake, "snapshot q");
    let expected = [
        ("p", SnapDone),
        ("p/a", SnapDone),
        ("q", SnapError),
        ("q/b", SnapError),
        ("r", SnapDone),
    ];
    for is_later in [false, true] {
        let progress = incomplete(&mut taking).await;
        assert_eq!(shown(&progress), expected.map(|it| (it.0.to_owned(), it.1)));
        // Nobody waits for another pool, and for this one only once.
        let ends = progress.now().expect("planned");
        let [.., q, r] = &ends[..] else {
            panic!("{ends:?}")
        };
        assert_eq!(q.done_at < r.done_at, is_later, "{ends:?}");
        let calls = snapshots(&fake);
        assert!(calls.iter().all(|call| !call.contains(" q")), "{calls:?}");
        assert_eq!(calls.len(), 2);
    }
    let pool = DatasetPath::new("q").expect("valid").pool();
    let error = taking.pools.check(&pool).expect_err("it does not answer");
    let text = error.to_string();
    assert!(text.starts_with("pool q has not answered for "), "{text}");
    assert!(text.ends_with("s; it is left out until it does"), "{text}");

    go_on.send(()).expect("somebody waits");
    while taking.pools.check(&pool).is_err() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let taken = taking.take(&Progress::default(), &stop).await;
    taken.expect("all is well");
    // The one that was given up, and the last.
    assert_eq!(fake.contents("q/b").len(), 2);
}

#[tokio::test]
async fn hooks_after_a_snapshot_run_though_the_pool_does_not_answer() {
    use FilesystemState::{SnapDone, SnapError};

    let directory = tempfile::tempdir().expect("temporary directory");
    let edges = directory.path().join("edges");
    let fake = Arc::new(FakeZfs::with(&["p/a", "q/db"]));
    let mut taking = taking(&fake, &hook(directory.path(), "{'q/db': true}"));
    let _go_on = stall(&fake, "snapshot q/db@");
    let expected = [
        ("p", SnapDone),
        ("p/a", SnapDone),
        ("q", SnapDone),
        ("q/db", SnapError),
    ];
    let progress = incomplete(&mut taking).await;
    assert_eq!(shown(&progress), expected.map(|it| (it.0.to_owned(), it.1)));
    let run = || fs::read_to_string(&edges).expect("they have run");
    assert_eq!(run(), "pre_snapshot\npost_snapshot\n");

    // And none runs while there is no hope for a snapshot.
    incomplete(&mut taking).await;
    assert_eq!(run(), "pre_snapshot\npost_snapshot\n");
}
