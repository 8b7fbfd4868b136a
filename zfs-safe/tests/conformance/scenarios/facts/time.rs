//! Transaction groups and times: what a call waits for, what it leaves in the history, and when snapshots changed.

use std::sync::Barrier;
use std::time::{Duration, Instant};

use zfs_safe::outcome::Outcome;
use zfs_safe::program::{Program, ProgramValue};
use zfs_safe::zfs::{SendArgs, SendFlags};
use zfs_sys::ioctl::OBJSET_STATS;

use super::super::streams::{bytes_of, receive};
use super::Verdict;
use super::kernel::{Block, Kernel, REPLY};
use crate::bed::{Bed, dataset, entity, holds, last_txg, pool, settings, sh, snap, snaps};

pub(super) fn history_of_programs(bed: &mut Bed) -> Verdict {
    const RUNS: usize = 5;
    let count = || {
        sh("zpool history -i conf | grep -c 'ioctl channel_program' || true")
            .parse::<usize>()
            .expect("a number")
    };
    let size = || {
        sh("zpool history -il conf | wc -c")
            .parse::<usize>()
            .expect("a number")
    };
    let (records, bytes, txg) = (count(), size(), last_txg("conf"));
    let program = Program::read_only(format!("return 1 -- {}", "x".repeat(1000)));
    for _ in 0..RUNS {
        assert_eq!(
            bed.zfs.run_program(&pool("conf"), &program),
            Ok(ProgramValue::Integer(1))
        );
    }
    let waited = last_txg("conf") - txg;
    sh("zpool sync conf");
    let (records, bytes) = (count() - records, size() - bytes);
    bed.fact("h", format!(
        "{RUNS} read-only programs of 1 kB: {records} history records, {bytes} bytes more of `zpool history -il`, \
         {waited} transaction groups during them"
    ));
    assert_eq!(records, RUNS);
    Ok(())
}

pub(super) fn holds_share_transaction_groups(bed: &mut Bed) -> Verdict {
    sh("zfs create conf/a; zfs snapshot conf/a@1");
    let mut idle = Vec::new();
    for number in 0..5 {
        let start = Instant::now();
        let outcomes = bed
            .zfs
            .hold(&holds(&[("conf/a@1", &format!("idle-{number}"))]));
        idle.push(start.elapsed().as_millis());
        assert_eq!(outcomes, [Outcome::Done]);
    }
    bed.fact("k", format!("one hold at a time, idle pool: {idle:?} ms"));
    for threads in [1, 4, 16] {
        let barrier = Barrier::new(threads);
        let before = last_txg("conf");
        let start = Instant::now();
        let slowest = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..threads)
                .map(|number| {
                    let (zfs, barrier) = (&bed.zfs, &barrier);
                    scope.spawn(move || {
                        let request = holds(&[("conf/a@1", &format!("of-{threads}-{number}"))]);
                        barrier.wait();
                        let start = Instant::now();
                        assert_eq!(zfs.hold(&request), [Outcome::Done]);
                        start.elapsed().as_millis()
                    })
                })
                .collect();
            workers
                .into_iter()
                .map(|worker| worker.join().expect("no panic"))
                .max()
        });
        let groups = last_txg("conf") - before;
        bed.fact("k", format!(
            "{threads} holds at once: {groups} transaction groups, {} ms in all, slowest {slowest:?} ms", start.elapsed().as_millis()
        ));
        assert!(
            groups <= threads as u64,
            "{groups} transaction groups for {threads} calls"
        );
    }
    Ok(())
}

/// The kernel's own value.
fn changed(name: &str) -> Option<u64> {
    let mut block = Block::new(name, REPLY, 0);
    assert_eq!(Kernel::open().run(OBJSET_STATS, &mut block), 0, "{name}");
    block
        .reply()
        .list("snapshots_changed")
        .and_then(|entry| entry.u64("value"))
}

pub(super) fn snapshots_changed(bed: &mut Bed) -> Verdict {
    const NAMES: [&str; 10] = [
        "hold", "bookmark", "rename", "destroy", "snapshot", "set", "rollback", "dst", "nothing",
        "send",
    ];
    for name in NAMES {
        bed.zfs
            .create_filesystem(&dataset(&format!("conf/{name}")), &[])
            .expect("creates");
    }
    bed.zfs
        .create_filesystem(&dataset("conf/new"), &[])
        .expect("creates");
    bed.fact(
        "l",
        format!(
            "snapshots_changed of a new dataset: {:?}",
            changed("conf/new")
        ),
    );
    let all: Vec<String> = NAMES
        .iter()
        .filter(|name| **name != "dst")
        .map(|name| format!("conf/{name}@1"))
        .collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    assert!(
        bed.zfs
            .snapshot(&snaps(&all), &[])
            .iter()
            .all(Outcome::is_done)
    );
    let full = SendArgs {
        snapshot: snap("conf/send@1"),
        base: None,
        flags: SendFlags::default(),
        resume: None,
    };
    let bytes = bytes_of(bed, &full).expect("sends");
    if !bed.at_least(2, 2) {
        bed.fact("l", format!("after a snapshot: {:?}", changed("conf/hold")));
        assert_eq!(changed("conf/hold"), None);
        return Ok(());
    }
    let value = changed("conf/hold").expect("is set");
    let age = sh("date +%s")
        .parse::<u64>()
        .expect("a number")
        .abs_diff(value);
    bed.fact(
        "l",
        format!(
            "a Unix time in {}",
            if age < 60 { "seconds" } else { "another unit" }
        ),
    );
    // Twice within one second.
    std::thread::sleep(Duration::from_millis(
        1100 - u64::from(now().subsec_millis()) % 1000,
    ));
    let mut times = Vec::new();
    for number in 0..3 {
        assert!(
            bed.zfs
                .snapshot(&snaps(&[&format!("conf/nothing@{number}x")]), &[])[0]
                .is_done()
        );
        times.push((
            changed("conf/nothing").expect("is set"),
            now().as_millis() % 100_000,
        ));
    }
    bed.fact(
        "l",
        format!("three snapshots in a row, (value, clock in ms): {times:?}"),
    );
    let before: Vec<_> = NAMES
        .iter()
        .map(|name| changed(&format!("conf/{name}")))
        .collect();
    std::thread::sleep(Duration::from_millis(1200));
    assert!(bed.zfs.hold(&holds(&[("conf/hold@1", "t")]))[0].is_done());
    sh("zfs bookmark conf/bookmark@1 conf/bookmark#1; zfs rename conf/rename@1 conf/rename@2");
    assert!(bed.zfs.destroy_snapshots(&snaps(&["conf/destroy@1"]))[0].is_done());
    assert!(bed.zfs.snapshot(&snaps(&["conf/snapshot@2"]), &[])[0].is_done());
    bed.zfs
        .set_properties(&entity("conf/set@1"), &settings(&[("u:x", "1")]))
        .expect("sets");
    bed.zfs
        .rollback(&snap("conf/rollback@1"))
        .expect("rolls back");
    receive(bed, "conf/dst@1", &bytes, |args| args.force = true)
        .unwrap_or_else(|error| panic!("{error}"));
    let after: Vec<_> = NAMES
        .iter()
        .map(|name| changed(&format!("conf/{name}")))
        .collect();
    let moved: Vec<_> = NAMES
        .iter()
        .zip(before.iter().zip(&after))
        .filter(|(_, (a, b))| a != b)
        .map(|(name, _)| *name)
        .collect();
    let still: Vec<_> = NAMES.iter().filter(|name| !moved.contains(name)).collect();
    bed.fact(
        "l",
        format!("changed by: {moved:?}; not by: {still:?} (dst = receive)"),
    );
    for name in ["snapshot", "destroy", "rename", "dst"] {
        assert!(moved.contains(&name), "{name} leaves it as it was");
    }
    sh("zpool export conf; zpool import -d /tmp conf");
    let again: Vec<_> = NAMES
        .iter()
        .map(|name| changed(&format!("conf/{name}")))
        .collect();
    bed.fact(
        "l",
        format!(
            "the same after export and import: {}; last snapshot destroyed: {:?}",
            again == after,
            changed("conf/destroy")
        ),
    );
    Ok(())
}

fn now() -> Duration {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("after 1970")
}
