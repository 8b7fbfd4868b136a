//! Pruners over endpoints that say what they are told to say, and remember what they were asked.

use std::num::NonZeroUsize;
use std::sync::Mutex;

use zfs_safe::guid::Guid;
use zrepl_proto::pdu::{
    Creation, DestroySnapshotRes, DestroySnapshotsRes, ListFilesystemReq, ListFilesystemRes,
    ListFilesystemVersionsReq, ListFilesystemVersionsRes, ReplicationCursorReq,
    ReplicationCursorRes,
};

use super::facts::Replicated;
use super::report::{Report, State};
use super::*;
use crate::endpoint::{EndpointError, Held};
use crate::replication::driver::Unchanged;

/// A side that has filesystems with numbered snapshots.
#[derive(Debug, Default)]
struct Told {
    filesystems: BTreeMap<&'static str, Vec<u64>>,
    placeholders: Vec<&'static str>,
    cursors: BTreeMap<&'static str, u64>,
    /// By number, and whether by the job itself.
    held: Vec<(u64, bool)>,
    /// Snapshots that cannot be destroyed.
    stuck: Vec<&'static str>,
    unreachable: bool,
    /// Whose versions and cursors cannot be told.
    unknown: Vec<&'static str>,
    /// No cursors can.
    has_no_cursors: bool,
    asked: Mutex<Vec<String>>,
}

fn version(number: u64) -> FilesystemVersion {
    let creation = format!("2026-01-01T00:00:{number:02}Z");
    let creation: Creation = creation.parse().expect("a time");
    FilesystemVersion::snapshot(format!("s{number}"), number, number, creation)
}

impl Told {
    fn new(filesystems: &[(&'static str, &[u64])]) -> Self {
        Self {
            filesystems: filesystems
                .iter()
                .map(|&(path, numbers)| (path, numbers.to_vec()))
                .collect(),
            ..Self::default()
        }
    }

    fn with_cursors(mut self, cursors: &[(&'static str, u64)]) -> Self {
        self.cursors = cursors.iter().copied().collect();
        self
    }

    fn check(&self, filesystem: &str) -> Result<(), EndpointError> {
        if self.unknown.contains(&filesystem) {
            Err(EndpointError::Failed("pool is suspended".to_owned()))
        } else {
            Ok(())
        }
    }

    fn note(&self, asked: String) {
        self.asked.lock().expect("whole").push(asked);
    }

    fn take(&self) -> Vec<String> {
        let mut asked = std::mem::take(&mut *self.asked.lock().expect("whole"));
        asked.sort();
        asked
    }
}

#[tonic::async_trait]
impl Endpoint for Told {
    async fn list_filesystems(
        &self,
        _: ListFilesystemReq,
    ) -> Result<ListFilesystemRes, EndpointError> {
        self.note("list".to_owned());
        if self.unreachable {
            return Err(EndpointError::Failed("gone".to_owned()));
        }
        let filesystem = |path: &&'static str| zrepl_proto::pdu::Filesystem {
            path: (*path).to_owned(),
            is_placeholder: self.placeholders.contains(path),
            resume_token: String::new(),
        };
        Ok(ListFilesystemRes {
            filesystems: self.filesystems.keys().map(filesystem).collect(),
        })
    }

    async fn list_filesystem_versions(
        &self,
        request: ListFilesystemVersionsReq,
    ) -> Result<ListFilesystemVersionsRes, EndpointError> {
        self.note(format!("versions of {}", request.filesystem));
        self.check(&request.filesystem)?;
        let numbers = &self.filesystems[&*request.filesystem];
        Ok(ListFilesystemVersionsRes {
            versions: numbers.iter().copied().map(version).collect(),
        })
    }

    async fn replication_cursor(
        &self,
        request: ReplicationCursorReq,
    ) -> Result<ReplicationCursorRes, EndpointError> {
        self.check(&request.filesystem)?;
        if self.has_no_cursors {
            return Err(EndpointError::Failed("no bookmarks".to_owned()));
        }
        let cursor = self.cursors.get(&*request.filesystem);
        Ok(ReplicationCursorRes::new(cursor.copied()))
    }

    async fn held(&self, _: &str) -> Vec<Held> {
        let held = |&(number, is_own): &(u64, bool)| Held {
            guid: Guid::new(number),
            is_own,
        };
        self.held.iter().map(held).collect()
    }

    async fn destroy_snapshots(
        &self,
        request: DestroySnapshotsReq,
    ) -> Result<DestroySnapshotsRes, EndpointError> {
        let names: Vec<_> = request.snapshots.iter().map(|it| it.name.clone()).collect();
        self.note(format!(
            "destroy {} {}",
            request.filesystem,
            names.join(",")
        ));
        let result = |snapshot: FilesystemVersion| match snapshot.name.as_str() {
            "s9" => None,
            name if self.stuck.contains(&name) => {
                Some(DestroySnapshotRes::failed(snapshot, "busy"))
            }
            _ => Some(DestroySnapshotRes::destroyed(snapshot)),
        };
        Ok(DestroySnapshotsRes {
            results: request.snapshots.into_iter().filter_map(result).collect(),
        })
    }
}

fn pruner(side: Side, last: usize) -> Pruner {
    Pruner {
        side,
        rules: vec![Rule::LastN {
            count: NonZeroUsize::new(last).expect("positive"),
            regex: None,
        }],
    }
}

async fn prune(side: Side, last: usize, sender: &Arc<Told>, receiver: &Arc<Told>) -> Report {
    let (on_sender, on_receiver): (Arc<dyn Endpoint>, Arc<dyn Endpoint>) =
        (Arc::clone(sender) as _, Arc::clone(receiver) as _);
    let replicated = Replicated::gather(&on_sender, &on_receiver, Unchanged::default()).await;
    let target = if side == Side::Receiver {
        &on_receiver
    } else {
        &on_sender
    };
    let report = LiveReport::default();
    let stop = CancellationToken::new();
    pruner(side, last)
        .run(replicated.of(side), target, &report, &stop)
        .await;
    report.now()
}

#[tokio::test]
async fn both_sides_are_pruned_and_what_costs_nothing_is_not_asked_for() {
    let sender = Arc::new(
        Told::new(&[("p/a", &[1, 2, 3]), ("p/b", &[5])]).with_cursors(&[("p/a", 3), ("p/b", 5)]),
    );
    let receiver = Arc::new(Told {
        placeholders: vec!["p"],
        ..Told::new(&[
            ("p", &[]),
            ("p/a", &[1, 2, 3]),
            ("p/b", &[5]),
            ("p/old", &[7]),
        ])
    });
    let report = prune(Side::Sender, 1, &sender, &receiver).await;
    assert_eq!(report.state, State::Done);
    let asked = [
        "destroy p/a s1,s2",
        "list",
        "versions of p/a",
        "versions of p/b",
    ];
    assert_eq!(sender.take(), asked);
    assert_eq!(
        receiver.take(),
        ["list", "versions of p/a", "versions of p/b"]
    );
    let report = prune(Side::Receiver, 1, &sender, &receiver).await;
    let completed = report.completed.expect("has run");
    let skipped = completed
        .iter()
        .map(|it| (&*it.filesystem, &*it.skip_reason));
    let mut skipped: Vec<_> = skipped.filter(|(_, reason)| !reason.is_empty()).collect();
    skipped.sort_unstable();
    let expected = [
        ("p", "filesystem is placeholder"),
        ("p/old", "filesystem has no correspondence on sender"),
    ];
    assert_eq!(skipped, expected);
    assert!(receiver.take().contains(&"destroy p/a s1,s2".to_owned()));
}

#[tokio::test]
async fn the_json_is_that_of_zrepl() {
    let sender = Arc::new(Told::new(&[("p/a", &[2, 3])]).with_cursors(&[("p/a", 3)]));
    let report = prune(
        Side::Sender,
        1,
        &sender,
        &Arc::new(Told::new(&[("p/a", &[2, 3])])),
    )
    .await;
    let json = serde_json::to_string(&report).expect("plain data");
    let snapshot = r#"{"Name":"s2","Replicated":true,"Date":"2026-01-01T00:00:02Z"}"#;
    let newest = r#"{"Name":"s3","Replicated":false,"Date":"2026-01-01T00:00:03Z","Kept":"last_n: the newest"}"#;
    let expected = format!(
        r#"{{"State":"Done","Error":"","Pending":[],"Completed":[{{"Filesystem":"p/a","SnapshotList":[{snapshot},{newest}],"DestroyList":[{snapshot}],"SkipReason":"","LastError":""}}]}}"#
    );
    assert_eq!(json, expected);
    let begun = serde_json::to_string(&Report::default()).expect("plain data");
    assert_eq!(
        begun,
        r#"{"State":"Plan","Error":"","Pending":null,"Completed":null}"#
    );
}

#[tokio::test]
async fn what_cannot_be_destroyed_is_named_and_all_else_goes() {
    let all: &[u64] = &[1, 2, 9, 10];
    let sender = Arc::new(Told {
        stuck: vec!["s1", "s2"],
        ..Told::new(&[("p/a", all), ("p/b", &[1, 2, 10]), ("p/c", &[3, 10])]).with_cursors(&[
            ("p/a", 10),
            ("p/b", 10),
            ("p/c", 10),
        ])
    });
    let report = prune(Side::Sender, 1, &sender, &Arc::default()).await;
    assert_eq!(report.state, State::ExecErr);
    let completed = report.completed.expect("has run");
    let mut errors: Vec<_> = completed
        .iter()
        .map(|it| (&*it.filesystem, &*it.last_error))
        .collect();
    errors.sort_unstable();
    let expected = [
        (
            "p/a",
            "destroys failed: (@s1: busy), (@s2: busy), (@s9: missing destroy-result for @s9)",
        ),
        ("p/b", "destroys failed @s1, @s2: busy"),
        ("p/c", ""),
    ];
    assert_eq!(errors, expected);
}

#[tokio::test]
async fn a_side_that_cannot_be_asked_keeps_what_it_may_need() {
    let sender =
        Arc::new(Told::new(&[("p/a", &[1, 2, 3]), ("p/new", &[4, 5])]).with_cursors(&[("p/a", 2)]));
    let gone = Arc::new(Told {
        unreachable: true,
        ..Told::default()
    });
    let report = prune(Side::Sender, 1, &sender, &gone).await;
    let asked = sender.take();
    let destroyed: Vec<_> = asked
        .iter()
        .filter(|it| it.starts_with("destroy"))
        .collect();
    assert_eq!(destroyed, ["destroy p/a s1,s2"]);
    let completed = report.completed.expect("has run");
    let new = completed
        .iter()
        .find(|it| it.filesystem == "p/new")
        .expect("listed");
    assert!(
        new.last_error
            .contains("replication cursor bookmark does not exist")
    );
    for (sender, receiver) in [(&gone, &sender), (&sender, &gone)] {
        let report = prune(Side::Receiver, 1, sender, receiver).await;
        assert_eq!((report.state, &*report.error), (State::PlanErr, "gone"));
    }
}

/// A list that cannot be had is not an empty one: what the other side needs would go.
#[tokio::test]
async fn a_filesystem_that_cannot_be_asked_about_keeps_everything() {
    let all: &[u64] = &[1, 2, 3];
    let both = || Told::new(&[("p/a", all), ("p/b", all)]).with_cursors(&[("p/a", 3), ("p/b", 3)]);
    let broken = || Told {
        unknown: vec!["p/a"],
        ..both()
    };
    for (sender, receiver) in [(both(), broken()), (broken(), both())] {
        let (sender, receiver) = (Arc::new(sender), Arc::new(receiver));
        for (side, target) in [(Side::Sender, &sender), (Side::Receiver, &receiver)] {
            let report = prune(side, 1, &sender, &receiver).await;
            assert_eq!(report.state, State::ExecErr);
            let completed = report.completed.expect("has run");
            let failed = completed.iter().filter(|it| !it.last_error.is_empty());
            let failed: Vec<_> = failed
                .map(|it| (&*it.filesystem, &*it.last_error))
                .collect();
            assert!(
                matches!(failed[..], [("p/a", error)] if error.contains("pool is suspended")),
                "{side}: {failed:?}"
            );
            let asked = target.take();
            let destroyed: Vec<_> = asked
                .iter()
                .filter(|it| it.starts_with("destroy"))
                .collect();
            assert_eq!(destroyed, ["destroy p/b s1,s2"], "{side}");
        }
    }
}

#[tokio::test]
async fn where_the_cursor_is_not_known_nothing_goes() {
    let sender = Arc::new(Told {
        has_no_cursors: true,
        ..Told::new(&[("p/a", &[1, 2, 3])])
    });
    let receiver = Arc::new(Told::new(&[("p/a", &[1, 2, 3])]));
    let report = prune(Side::Sender, 1, &sender, &receiver).await;
    let failed = &report.completed.expect("has run")[0].last_error;
    assert_eq!(
        failed,
        "cannot get replication cursor bookmark: no bookmarks"
    );
    assert!(!sender.take().iter().any(|it| it.starts_with("destroy")));
}

#[tokio::test]
async fn what_is_held_is_not_tried() {
    let sender = Arc::new(Told {
        held: vec![(1, false)],
        ..Told::new(&[("p/a", &[1, 2, 3])]).with_cursors(&[("p/a", 3)])
    });
    let report = prune(Side::Sender, 1, &sender, &Arc::default()).await;
    assert_eq!(report.state, State::Done);
    assert!(sender.take().contains(&"destroy p/a s2".to_owned()));
}

#[tokio::test]
async fn what_is_listed_already_is_not_asked_for() {
    let sender = Arc::new(Told::new(&[("p/a", &[1, 2])]).with_cursors(&[("p/a", 2)]));
    let receiver = Arc::new(Told::new(&[("p/a", &[1, 2])]));
    let (on_sender, on_receiver): (Arc<dyn Endpoint>, Arc<dyn Endpoint>) =
        (Arc::clone(&sender) as _, Arc::clone(&receiver) as _);
    let mut unchanged = Unchanged::default();
    let versions = vec![version(1), version(2)];
    let path = zfs_safe::name::DatasetPath::new("p/a").expect("valid");
    unchanged.keep(
        path,
        tokio::time::Instant::now(),
        (versions.clone(), versions),
    );
    let replicated = Replicated::gather(&on_sender, &on_receiver, unchanged).await;
    let found = replicated.of(Side::Sender).expect("listed");
    let pruner = pruner(Side::Sender, 1);
    let plan = pruner.plan(found);
    assert_eq!(plan.filesystems()["p/a"].destroyed(), 1);
    assert_eq!(
        (sender.take(), receiver.take()),
        (vec!["list".to_owned()], vec!["list".to_owned()])
    );
}

#[tokio::test(start_paused = true)]
async fn what_was_listed_long_ago_is_asked_for_again() {
    let sender = Arc::new(Told::new(&[("p/a", &[1, 2])]).with_cursors(&[("p/a", 2)]));
    let endpoint: Arc<dyn Endpoint> = Arc::clone(&sender) as _;
    let path = zfs_safe::name::DatasetPath::new("p/a").expect("valid");
    for (seconds, is_asked) in [(60, false), (61, true)] {
        let mut unchanged = Unchanged::default();
        let (at, versions) = (tokio::time::Instant::now(), vec![version(1), version(2)]);
        unchanged.keep(path.clone(), at, (versions.clone(), versions));
        tokio::time::advance(std::time::Duration::from_secs(seconds)).await;
        Replicated::gather(&endpoint, &endpoint, unchanged).await;
        assert_eq!(
            sender.take().contains(&"versions of p/a".to_owned()),
            is_asked
        );
    }
}

/// What the job holds moves on with the steps; what others hold stays.
#[tokio::test]
async fn a_preview_knows_what_is_held_no_more_after_the_steps() {
    let sender = Arc::new(Told::new(&[("p/a", &[1, 2, 3])]).with_cursors(&[("p/a", 1)]));
    let receiver = Arc::new(Told {
        held: vec![(1, true), (2, false)],
        ..Told::new(&[("p/a", &[1, 2])])
    });
    let (on_sender, on_receiver): (Arc<dyn Endpoint>, Arc<dyn Endpoint>) =
        (Arc::clone(&sender) as _, Arc::clone(&receiver) as _);
    let pruner = pruner(Side::Receiver, 1);
    let destroyed = |replicated: &Replicated| {
        let plan = pruner.plan(replicated.of(Side::Receiver).expect("listed"));
        let Planned::Judged(judged) = &plan.filesystems()["p/a"] else {
            panic!("not judged");
        };
        let names = judged.destroyed().map(|it| it.version.name().to_owned());
        names.collect::<Vec<_>>()
    };
    let mut replicated = Replicated::gather(&on_sender, &on_receiver, Unchanged::default()).await;
    assert_eq!(destroyed(&replicated), [""; 0]);
    let third = crate::replication::version::Version::try_from(version(3)).expect("valid");
    replicated.assume_arrived("p/a", &[third], true);
    assert_eq!(destroyed(&replicated), ["s1"]);
}

#[tokio::test]
async fn what_is_cut_short_says_so() {
    let sender = Arc::new(Told::new(&[("p/a", &[1, 2, 3])]).with_cursors(&[("p/a", 3)]));
    let endpoint: Arc<dyn Endpoint> = Arc::clone(&sender) as _;
    let replicated = Replicated::gather(&endpoint, &endpoint, Unchanged::default()).await;
    let (report, stop) = (LiveReport::default(), CancellationToken::new());
    stop.cancel();
    pruner(Side::Sender, 1)
        .run(replicated.of(Side::Sender), &endpoint, &report, &stop)
        .await;
    let report = report.now();
    assert_eq!(report.state, State::ExecErr);
    assert_eq!(
        report.pending.expect("planned")[0].last_error,
        "context canceled"
    );
}

#[tokio::test]
async fn a_job_that_replicates_nothing_is_pruned_without_cursor() {
    let side = Arc::new(Told {
        placeholders: vec!["p"],
        ..Told::new(&[("p", &[1, 2, 3]), ("p/a", &[1, 2, 3]), ("p/b", &[])])
    });
    let endpoint: Arc<dyn Endpoint> = Arc::clone(&side) as _;
    let report = LiveReport::default();
    let found = facts::local(&endpoint).await;
    let stop = CancellationToken::new();
    pruner(Side::Local, 2)
        .run(found, &endpoint, &report, &stop)
        .await;
    assert_eq!(report.now().state, State::Done);
    let asked = [
        "destroy p/a s1",
        "list",
        "versions of p/a",
        "versions of p/b",
    ];
    assert_eq!(side.take(), asked);
    let completed = report.now().completed.expect("has run");
    let skipped = completed.iter().find(|it| it.filesystem == "p");
    assert_eq!(
        skipped.expect("named").skip_reason,
        "filesystem is placeholder"
    );
}
