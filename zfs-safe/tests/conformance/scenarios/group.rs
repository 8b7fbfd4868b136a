//! Group commit and the memory of versions, on a real pool.

use std::sync::{Arc, Barrier};
use std::time::{Duration, SystemTime};

use zfs_safe::group_commit::GroupCommit;
use zfs_safe::outcome::Outcome;
use zfs_safe::version::FilesystemVersion;
use zfs_safe::version_memory::VersionMemory;
use zfs_safe::zfs::VersionQuery;

use super::{Scenario, Verdict};
use crate::bed::{Bed, dataset, holds, last_txg, settings, sh, snaps};

pub(super) const LIST: &[Scenario] = &[
    Scenario::native(
        "group_commit_joins_concurrent_holds",
        group_commit_joins_concurrent_holds,
    ),
    Scenario::new(
        "group_commit_keeps_requests_apart",
        group_commit_keeps_requests_apart,
    ),
    Scenario::native(
        "version_memory_sees_every_change",
        version_memory_sees_every_change,
    ),
    Scenario::native(
        "version_memory_costs_two_ioctls",
        version_memory_costs_two_ioctls,
    ),
];

const THREADS: usize = 24;

fn group_commit_joins_concurrent_holds(bed: &mut Bed) -> Verdict {
    let names: Vec<String> = (0..THREADS).map(|i| format!("conf/f{i}")).collect();
    sh(&format!(
        "for f in {}; do zfs create $f; done",
        names.join(" ")
    ));
    let snapshots: Vec<_> = names.iter().map(|name| format!("{name}@s")).collect();
    let all: Vec<&str> = snapshots.iter().map(String::as_str).collect();
    assert!(
        bed.zfs
            .snapshot(&snaps(&all), &[])
            .iter()
            .all(Outcome::is_done)
    );
    let group = GroupCommit::new(Arc::clone(&bed.zfs));
    let start = Barrier::new(THREADS);
    let before = last_txg("conf");
    let ((), cost) = bed.cost(|| {
        std::thread::scope(|scope| {
            for name in &snapshots {
                let (group, start) = (&group, &start);
                scope.spawn(move || {
                    start.wait();
                    assert_eq!(group.hold(&holds(&[(name, "job")])), [Outcome::Done]);
                });
            }
        });
    });
    let groups = last_txg("conf") - before;
    let counts = group.counts();
    assert_eq!(counts.requests, THREADS as u64);
    // One call while the others queue up, one for them; a late thread may need a third.
    assert!(counts.calls <= 4, "{counts:?}");
    assert_eq!(cost.txg_waits, counts.calls);
    assert!(
        groups <= counts.calls,
        "{groups} transaction groups for {counts:?}"
    );
    Ok(())
}

fn group_commit_keeps_requests_apart(bed: &mut Bed) -> Verdict {
    sh("zfs create conf/a; zfs create conf/b; zfs create conf/c; zfs snapshot conf/b@s");
    let group = GroupCommit::new(Arc::clone(&bed.zfs));
    let results = std::thread::scope(|scope| {
        let threads: Vec<_> = ["conf/a@s", "conf/b@s", "conf/c@s"]
            .into_iter()
            .map(|name| {
                let group = &group;
                scope.spawn(move || group.snapshot(&snaps(&[name]), &settings(&[("u:x", "1")])))
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("no panic"))
            .collect::<Vec<_>>()
    });
    assert_eq!(results[0], [Outcome::Done]);
    assert!(results[1][0].error().is_some());
    assert_eq!(results[2], [Outcome::Done]);
    bed.saw_outcomes("outcomes", &results.concat());
    let both = group.release(&holds(&[("conf/a@s", "none"), ("conf/none@s", "none")]));
    bed.saw_outcomes("released", &both);
    let gone = group.destroy_snapshots(&snaps(&["conf/a@s", "conf/c@s"]));
    assert!(gone.iter().all(Outcome::is_done));
    Ok(())
}

/// A time by which every change so far has settled.
fn later() -> SystemTime {
    SystemTime::now() + Duration::from_secs(10)
}

fn without_holds(versions: &[FilesystemVersion]) -> Vec<FilesystemVersion> {
    let without = |version: &FilesystemVersion| FilesystemVersion {
        userrefs: None,
        ..version.clone()
    };
    versions.iter().map(without).collect()
}

fn version_memory_sees_every_change(bed: &mut Bed) -> Verdict {
    sh("zfs create conf/a; zfs snapshot conf/a@1");
    let memory = VersionMemory::new(Arc::clone(&bed.zfs)).expect("opens");
    let path = dataset("conf/a");
    let truth = |bed: &Bed| bed.zfs.versions(&path, &VersionQuery::ALL).expect("lists");
    let check = |bed: &mut Bed, what: &str| {
        for _ in 0..2 {
            let listed = memory.versions(&path, SystemTime::now()).expect("lists");
            assert_eq!(without_holds(&listed), truth(bed), "{what}");
        }
        bed.saw(
            what,
            truth(bed)
                .iter()
                .map(|v| v.name.to_string())
                .collect::<Vec<_>>(),
        );
    };
    check(bed, "at first");
    // Changes within one second of each other, each of which must be seen at once.
    for change in [
        "zfs snapshot conf/a@2",
        "zfs destroy conf/a@1",
        "zfs bookmark conf/a@2 conf/a#m",
        "zfs snapshot conf/a@3",
        "zfs rename conf/a@3 conf/a@4",
        "zfs destroy conf/a#m",
        "zfs destroy conf/a@4",
        "zfs destroy conf/a@2",
    ] {
        sh(change);
        check(bed, change);
    }
    // After a pause, when the memory is relied upon.
    sh("zfs snapshot conf/a@5");
    std::thread::sleep(Duration::from_secs(3));
    check(bed, "settled");
    for change in [
        "zfs snapshot conf/a@6",
        "zfs destroy conf/a@5",
        "zfs rename conf/a@6 conf/a@7",
    ] {
        sh(change);
        std::thread::sleep(Duration::from_millis(2100));
        check(bed, change);
    }
    // Another dataset of the same name.
    sh("zfs destroy -r conf/a; zfs create conf/a; zfs snapshot conf/a@7");
    check(bed, "replaced");
    sh("zfs destroy -r conf/a");
    let gone = memory.versions(&path, SystemTime::now());
    assert!(
        gone.as_ref().is_err_and(zfs_safe::ZfsError::is_not_found),
        "{gone:?}"
    );
    Ok(())
}

fn version_memory_costs_two_ioctls(bed: &mut Bed) -> Verdict {
    if !bed.at_least(2, 2) {
        return Err("before 2.2 the kernel does not tell when snapshots changed".to_owned());
    }
    sh(
        "zfs create conf/a; for i in 1 2 3 4 5 6 7 8 9; do zfs snapshot conf/a@$i; done; zfs hold mine conf/a@3; zfs create conf/empty",
    );
    let memory = VersionMemory::new(Arc::clone(&bed.zfs)).expect("opens");
    for (name, count) in [("conf/a", 9), ("conf/empty", 0)] {
        let first = memory.versions(&dataset(name), later()).expect("lists");
        let (again, cost) = bed.cost(|| memory.versions(&dataset(name), later()).expect("lists"));
        assert_eq!((first.len(), &without_holds(&first)), (count, &again));
        // Holds are counted where nothing is remembered.
        let counted: Vec<_> = first.iter().map(|it| it.userrefs).collect();
        let expected: Vec<_> = (1..=count)
            .map(|number| Some(u64::from(number == 3)))
            .collect();
        assert_eq!(counted, expected);
        assert_eq!(
            (cost.ioctls, cost.processes, cost.txg_waits),
            (2, 0, 0),
            "{name}"
        );
    }
    Ok(())
}
