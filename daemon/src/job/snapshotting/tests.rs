//! Rounds over ZFS in memory.

use std::fs;
use std::sync::Arc;

use super::*;
use crate::config;
use crate::endpoint::fake_zfs::FakeZfs;
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
    Taking {
        zfs: LocalZfs::new(Arc::clone(fake) as _).expect("has a version"),
        filesystems: FilesystemFilter::everything(),
        naming: SnapshotNaming::new("zrepl_", "dense", "UTC").expect("good"),
        hooks: Hooks::new(config, &|_| None).expect("good"),
    }
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
    let progress = Progress::default();
    let error = taking.take(&progress, &stop).await.expect_err("not well");
    assert!(matches!(error, RoundError::Incomplete), "{error}");
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
    let hook = directory.path().join("hook");
    fs::write(&hook, "#!/bin/sh\n").expect("writes");
    fs::set_permissions(&hook, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("sets");
    let fake = Arc::new(FakeZfs::with(&["p/a", "p/b", "p/c"]));
    let hooks = format!(
        "[{{type: command, path: {}, filesystems: {{'p/a': true, 'p/b': true}}}}]",
        hook.display()
    );
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
