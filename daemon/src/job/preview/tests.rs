//! Jobs over ZFS in memory, asked what they would do.

use std::sync::Arc;

use rustls::NoKeyLog;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::config;
use crate::endpoint::fake_zfs::FakeZfs;
use crate::endpoint::local_zfs::LocalZfs;
use crate::hook::DuePostEdges;
use crate::job::{Environment, Job, build};
use crate::rpc::metrics::Metrics;
use crate::transport::Shared;
use crate::transport::local::LocalListeners;

const JOBS: &str = "jobs:
- {type: sink, name: sink, root_fs: tank/backup, serve: {type: local, listener_name: l},
   recv: {placeholder: {encryption: 'off'}}}
- type: push
  name: push
  connect: {type: local, listener_name: l, client_identity: me}
  filesystems: {tank/src: true, tank/new: true}
  snapshotting: {type: periodic, interval: 1h, prefix: auto_}
  pruning:
    keep_sender: [{type: not_replicated}, {type: regex, regex: '^keep'}]
    keep_receiver: [{type: last_n, count: 1}]
- {type: source, name: source, filesystems: {tank/src: true}, serve: {type: local, listener_name: s}, snapshotting: {type: manual}}
- type: pull
  name: pull
  root_fs: tank/pulled
  interval: manual
  connect: {type: local, listener_name: s, client_identity: me}
  recv: {placeholder: {encryption: 'off'}}
  pruning:
    keep_sender: [{type: regex, regex: '.*'}]
    keep_receiver: [{type: last_n, count: 1}]
- type: snap
  name: snap
  filesystems: {tank/src: true}
  snapshotting: {type: manual}
  pruning: {keep: [{type: last_n, count: 2}]}
";

async fn preview(name: &str, fake: &Arc<FakeZfs>) -> Preview {
    let config = config::parse("test.yml", JOBS).expect("good").config;
    let directory = tempfile::tempdir().expect("temporary directory");
    let environment = Environment {
        zfs: LocalZfs::new(Arc::clone(fake) as _).expect("has a version"),
        transports: Shared {
            local: LocalListeners::default(),
            key_log: Arc::new(NoKeyLog {}),
            stdinserver_sockets: directory.path().to_owned(),
        },
        metrics: Metrics::new(),
        due: DuePostEdges::default(),
        variables: &|_| None,
    };
    let stop = CancellationToken::new();
    let _stopped = stop.clone().drop_guard();
    let mut wanted = None;
    for job in build(&config, &environment).expect("builds") {
        if job.handle().name().as_str() == name {
            wanted = Some(job);
        } else {
            tokio::spawn(Job::that_only_tells(job).start(stop.clone()));
        }
    }
    wanted.expect("configured").preview(&stop).await
}

fn lines(pruning: &Pruning) -> Vec<String> {
    let mut lines = Vec::new();
    for filesystem in &pruning.filesystems {
        let error = filesystem.error.as_deref().unwrap_or_default();
        lines.push(format!("{} {error}", filesystem.filesystem));
        for it in &filesystem.snapshots {
            let verb = if it.destroyed { "destroy" } else { "keep" };
            lines.push(format!("{verb} @{}: {}", it.name, it.reasons.join("; ")));
        }
    }
    lines
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_job_tells_what_it_would_send_and_what_would_go_then() {
    let fake = Arc::new(FakeZfs::with(&[
        "tank/backup",
        "tank/new@1",
        "tank/src@1",
        "tank/src@keep",
        "tank/src@2",
        "tank/src@3",
        "tank/src#zrepl_STEP=tank/src@1",
    ]));
    let before = (fake.contents("tank/src"), fake.contents("tank/new"));
    let preview = preview("push", &fake).await;
    let snapshots = preview.snapshots.expect("takes some");
    assert!(snapshots.name.starts_with("auto_"));
    assert_eq!(snapshots.together, ["tank/new", "tank/src"]);
    let replication = preview.replication.expect("replicates");
    let told: Vec<_> = replication
        .filesystems
        .iter()
        .map(|it| (&*it.filesystem, it.reason.as_deref(), it.steps.len()))
        .collect();
    let expected = [
        ("tank/new", Some("the first replication"), 1),
        (
            "tank/src",
            Some("the first replication, without 3 older snapshots"),
            1,
        ),
    ];
    assert_eq!(told, expected);
    assert_eq!(replication.filesystems[1].steps[0].to, "@3");
    // The cursor would be at the newest one by then.
    let [sender, receiver] = &preview.pruning[..] else {
        panic!("{:?}", preview.pruning);
    };
    let expected = [
        "tank/new ",
        "keep @1: not_replicated: the newest that is replicated, or newer",
        "tank/src ",
        "destroy @1: not_replicated: older than the newest that is replicated; regex: name does not match `^keep`",
        "keep @keep: regex: name matches `^keep`",
        "destroy @2: not_replicated: older than the newest that is replicated; regex: name does not match `^keep`",
        "keep @3: not_replicated: the newest that is replicated, or newer",
    ];
    assert_eq!(lines(sender), expected);
    let expected = [
        "tank/new ",
        "keep @1: last_n: the newest",
        "tank/src ",
        "keep @3: last_n: the newest",
    ];
    assert_eq!(lines(receiver), expected);
    let after = (fake.contents("tank/src"), fake.contents("tank/new"));
    assert_eq!(before, after);
}

/// Marks that look as if nobody needed them may be those of a step that the daemon is carrying out: it would remove them, and knows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_looks_stale_stays_on_both_sides() {
    let fake = Arc::new(FakeZfs::with(&[
        "tank/backup",
        "tank/pulled",
        "tank/src@1",
        "tank/src@2",
    ]));
    for (job, own) in [("push", "push"), ("pull", "source")] {
        fake.hold_by_hand("tank/src@1", &format!("zrepl_STEP_J_{own}"));
        let guid = fake.guid("tank/src@2");
        fake.make(&format!(
            "tank/src#zrepl_CURSOR_G_{guid:016x}_J_{own}=tank/src@2"
        ));
        let there = if job == "push" {
            "tank/backup/me/tank/src"
        } else {
            "tank/pulled/tank/src"
        };
        for snapshot in ["@1", "@2"] {
            fake.make(&format!("{there}{snapshot}"));
            let holder = if job == "push" { "sink" } else { "pull" };
            let tag = format!("zrepl_last_received_J_{holder}");
            fake.hold_by_hand(&format!("{there}{snapshot}"), &tag);
        }
        let before = [fake.contents("tank/src"), fake.contents(there)];
        let preview = preview(job, &fake).await;
        let replication = preview.replication.expect("replicates");
        assert_eq!(replication.error, None);
        assert!(!preview.pruning.is_empty());
        assert_eq!(
            [fake.contents("tank/src"), fake.contents(there)],
            before,
            "{job}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snap_job_tells_what_would_go() {
    let fake = Arc::new(FakeZfs::with(&["tank/src@1", "tank/src@2", "tank/src@3"]));
    let preview = preview("snap", &fake).await;
    assert_eq!((preview.snapshots, preview.replication), (None, None));
    let expected = [
        "tank/src ",
        "destroy @1: last_n: number 3 from the newest, beyond 2",
        "keep @2: last_n: among the newest 2",
        "keep @3: last_n: the newest",
    ];
    assert_eq!(lines(&preview.pruning[0]), expected);
    assert_eq!(fake.contents("tank/src"), ["@1", "@2", "@3"]);
}
