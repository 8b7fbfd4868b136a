//! Pools that zrepl 0.7.0 has replicated, as it leaves them when all is well and when it is killed: the next round goes on from there,
//! sends nothing again, and leaves what 0.7.0 would have left, so that it can take over again. Marks are made here by zfs(8), with
//! the names that the recordings of 0.7.0 have (`recv`, `hold` and `bookmark` commands of ../shared/vectors).

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::in_guest_with_zrepl;
use super::state::{self, Tree};
use crate::daemon::Daemon;
use crate::guest::Guest;
use crate::machine::Options;
use crate::scenario::Bench;

const LIMIT: Duration = Duration::from_secs(120);

const JOBS: &str = "- name: push
  type: push
  connect: {type: local, listener_name: l, client_identity: host1}
  filesystems: {'tank/t<': true, 'tank/t': false}
  snapshotting: {type: manual}
  pruning:
    keep_sender: [{type: regex, regex: '.*'}]
    keep_receiver: [{type: regex, regex: '.*'}]
- name: sink
  type: sink
  root_fs: backup/sink
  serve: {type: local, listener_name: l}
  recv: {placeholder: {encryption: inherit}}
";

/// What is in it, and how 0.7.0 left it.
const FILESYSTEMS: [(&str, &str); 6] = [
    ("fine", "as a finished round leaves it"),
    (
        "littered",
        "with marks of steps that were given up, which 0.7.0 never removes",
    ),
    ("unconfirmed", "killed before the sender heard of the step"),
    ("interrupted", "killed in the middle of a step"),
    (
        "unguarded",
        "with guarantee_incremental: a tentative cursor is the only base",
    ),
    (
        "legacy",
        "with a cursor from before 0.3, and marks of another job",
    ),
];

const POOLS: &str = r"
for pool in tank backup; do truncate -s 512M /tmp/$pool.img; done
zpool create -O mountpoint=/tank tank /tmp/tank.img
zpool create -O mountpoint=none backup /tmp/backup.img
zfs create backup/sink
for fs in backup/sink/host1 backup/sink/host1/tank backup/sink/host1/tank/t; do
    zfs create -o zrepl:placeholder=on -o mountpoint=none $fs
done
zfs create tank/t
guid() { printf %016x $(zfs get -Hpo value guid $1); }
cursor() { zfs bookmark $1 ${1%@*}#zrepl_CURSOR_G_$(guid $1)_J_${2-push}; }
tentative() { zfs bookmark $1 ${1%@*}#zrepl_CURSORTENTATIVE__G_$(guid $1)_J_push; }
there=backup/sink/host1
for name in fine littered unconfirmed interrupted unguarded legacy; do
    fs=tank/t/$name
    zfs create $fs
    for snapshot in 1 2; do
        head -c 1500000 /dev/urandom >/tank/t/$name/$snapshot
        zfs snapshot $fs@$snapshot
    done
    zfs send $fs@1 | zfs recv -u $there/$fs@1
    case $name in
    interrupted)
        zfs hold zrepl_last_received_J_sink $there/$fs@1
        cursor $fs@1
        zfs hold zrepl_STEP_J_push $fs@1 $fs@2
        zfs send -i @1 $fs@2 | head -c 700000 | zfs recv -u -s $there/$fs@2 2>/dev/null || true
        continue;;
    esac
    zfs send -i @1 $fs@2 | zfs recv -u $there/$fs@2
    zfs hold zrepl_last_received_J_sink $there/$fs@2
    case $name in
    fine) cursor $fs@2;;
    littered)
        cursor $fs@1; cursor $fs@2; tentative $fs@1; tentative $fs@2
        zfs hold zrepl_STEP_J_push $fs@1 $fs@2
        zfs hold zrepl_last_received_J_sink $there/$fs@1;;
    unconfirmed)
        cursor $fs@1
        zfs hold zrepl_STEP_J_push $fs@1 $fs@2;;
    unguarded)
        tentative $fs@1; tentative $fs@2
        zfs destroy $fs@1; zfs destroy $fs@2;;
    legacy)
        cursor $fs@2; cursor $fs@1 other
        zfs bookmark $fs@1 $fs#zrepl_replication_cursor
        zfs hold zrepl_STEP_J_other $fs@1
        zfs hold zrepl_last_received_J_other $there/$fs@1;;
    esac
done
for name in fine littered unconfirmed interrupted unguarded legacy; do
    head -c 100000 /dev/urandom >/tank/t/$name/3
done
zfs snapshot -r tank/t@3
";

pub(crate) fn takes_over_from_zrepl_0_7_0(bench: &Bench<'_>) -> Result<()> {
    in_guest_with_zrepl(bench, Options::default(), |guest, program| {
        guest.script(POOLS)?.ok()?;
        let was_interrupted = read(guest)?.1.dataset("interrupted")?.has_resume_token;
        ensure!(was_interrupted, "the receive was not interrupted");
        let daemon = Daemon::new(guest, program, "daemon", JOBS)?;
        daemon.start()?;
        let run = daemon.replicate("push", LIMIT)?;
        for (name, how) in FILESYSTEMS {
            let filesystem = run
                .filesystem(&format!("tank/t/{name}"))
                .with_context(|| format!("{name} was not replicated"))?;
            ensure!(
                filesystem.steps.iter().all(|step| !step.from.is_empty()),
                "{name} was sent in full: {filesystem:?}"
            );
            let bytes: u64 = filesystem.steps.iter().map(|step| step.replicated).sum();
            // The third snapshot, and of the second what had not arrived.
            let most = if name == "interrupted" {
                1_400_000
            } else {
                300_000
            };
            ensure!(bytes <= most, "{name}: {bytes} bytes were sent");
            bench.say(&format!("{name}, {how}: {bytes} bytes"));
        }
        let resumed = run
            .filesystem("tank/t/interrupted")
            .is_some_and(|it| it.steps.iter().any(|step| step.resumed));
        ensure!(resumed, "the interrupted step was not resumed");
        // In order to hand back, the daemon is stopped, and that leaves nothing undone.
        daemon.kill("TERM")?;
        ensure_handed_back(guest)
    })
}

fn read(guest: &Guest) -> Result<(Tree, Tree)> {
    Ok((
        Tree::read(guest, "tank/t")?,
        Tree::read(guest, "backup/sink/host1/tank/t")?,
    ))
}

/// Both sides are as after a round of 0.7.0, and what is not of our jobs is untouched.
fn ensure_handed_back(guest: &Guest) -> Result<()> {
    let (mut ours, mut theirs) = read(guest)?;
    let foreign = {
        let sender = ours.dataset("legacy")?;
        let receiver = theirs.dataset("legacy")?;
        let bookmark = |mark: &str| sender.bookmarks.iter().any(|it| it.contains(mark));
        bookmark("_J_other")
            && bookmark("#zrepl_replication_cursor")
            && sender
                .holds
                .iter()
                .any(|(_, tag)| tag == "zrepl_STEP_J_other")
            && receiver
                .holds
                .iter()
                .any(|(_, tag)| tag == "zrepl_last_received_J_other")
    };
    ensure!(foreign, "marks of others are gone: {ours:?} {theirs:?}");
    for tree in [&mut ours, &mut theirs] {
        for dataset in tree.0.values_mut() {
            dataset.holds.retain(|(_, tag)| !tag.ends_with("_J_other"));
            dataset
                .bookmarks
                .retain(|it| !it.ends_with("_J_other") && it != "#zrepl_replication_cursor");
        }
    }
    // Its older snapshots are gone on the sender.
    if let Some(unguarded) = theirs.0.get_mut("unguarded") {
        unguarded.snapshots.retain(|(name, _)| name == "@3");
    }
    theirs.0.remove("");
    ours.0.remove("");
    let names = FILESYSTEMS.map(|(name, _)| name);
    state::ensure_converged(&ours, &theirs, &names, "push", "sink")
}
