//! A pool whose disk refuses writes. It is called `limbo`, so that cleaning up after a scenario does not touch it: every
//! zpool(8) command that does might wait for ever.

use std::time::{Duration, Instant};

use zfs_safe::error::ZfsError;
use zfs_safe::zfs::{PoolHealth, Zfs};

use super::Verdict;
use super::operations::{changes, prepare, readings, send};
use crate::bed::{self, Bed, set_parameter, sh, try_sh};

/// How long an operation may take. It needs a few processes of 0.1 s each.
const PROMPT: Duration = Duration::from_secs(8);

/// Brings the pool back and destroys it, whatever happened before.
struct Rescue;

impl Drop for Rescue {
    fn drop(&mut self) {
        // Each with a time limit: a pool that cannot be saved stays behind, which does not hurt other scenarios.
        for script in [
            "mount -o remount,size=300M /tmp/limbo",
            "timeout -s KILL 10 zpool clear limbo",
            "timeout -s KILL 10 zpool sync limbo",
            // Who waited for the pool goes on writing to it for a moment.
            "i=0; until timeout -s KILL 10 zpool destroy -f limbo; do \
                i=$((i+1)); [ $i -lt 20 ]; sleep 0.3; done",
            "umount /tmp/limbo",
        ] {
            if let Err(error) = try_sh(script) {
                println!("fact suspended: rescue: {}", error.replace('\n', " "));
            }
        }
        set_parameter("zfs_txg_timeout", "3600");
    }
}

fn is_suspended() -> bool {
    std::fs::read_to_string("/proc/spl/kstat/zfs/limbo/state")
        .is_ok_and(|state| state.trim() == "SUSPENDED")
}

pub(super) fn suspended_pool(bed: &mut Bed) -> Verdict {
    sh(
        "mkdir -p /tmp/limbo; mount -t tmpfs -o size=300M none /tmp/limbo; truncate -s 128M /tmp/limbo/disk; \
        zpool create -O mountpoint=/tmp/limbo-mnt -O compression=off limbo /tmp/limbo/disk",
    );
    prepare(&*bed.zfs, "limbo");
    let rescue = Rescue;
    // No page more than there is now: the next new block finds no room on the disk. Whoever writes it waits for the pool.
    sh(
        "zpool sync limbo; used=$(df -k /tmp/limbo | tail -1 | awk '{print $3}'); mount -o remount,size=${used}k /tmp/limbo; \
        dd if=/dev/zero of=/tmp/limbo-mnt/f bs=128k count=40 >/dev/null 2>&1 </dev/null &",
    );
    set_parameter("zfs_txg_timeout", "1");
    let start = Instant::now();
    while !is_suspended() {
        assert!(
            start.elapsed() < Duration::from_secs(30),
            "the pool does not suspend"
        );
        std::thread::sleep(Duration::from_millis(100));
    }
    bed.fact(
        "suspended",
        format!("after {} ms", start.elapsed().as_millis()),
    );

    // In a child, for a process with a thread in the kernel cannot end.
    let mut child = bed::start_child(bed.which, "bad-world-suspended");
    let mut wrong = Vec::new();
    let mut last = "(start)".to_owned();
    loop {
        let start = Instant::now();
        let Some(line) = child.line_within(PROMPT) else {
            if !child.has_ended() {
                wrong.push(format!("the operation after `{last}` hangs"));
            }
            break;
        };
        let took = start.elapsed();
        if line == "end" {
            break;
        }
        bed.fact("suspended", format!("{line} ({} ms)", took.as_millis()));
        let (what, answer) = line.split_once(": ").expect("two parts");
        let expected = match what {
            "health" => answer == "Suspended",
            "read pools" => answer == "ok",
            // The kernel answers nothing else about such a pool, not even from memory.
            _ => answer.starts_with("PoolSuspended of limbo"),
        };
        bed.saw("suspended", &line);
        if !expected {
            wrong.push(line.clone());
        }
        last = line;
    }
    drop(rescue);
    // The child may have been waiting for the pool.
    let start = Instant::now();
    while !child.has_ended() && start.elapsed() < PROMPT {
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    Ok(())
}

/// Every operation in turn, each with a line when it has returned.
pub(super) fn in_child(zfs: &dyn Zfs) {
    let health = || -> Result<Option<PoolHealth>, ZfsError> {
        let pools = zfs.pools()?;
        Ok(pools
            .into_iter()
            .find(|pool| pool.name.as_str() == "limbo")
            .map(|pool| pool.health))
    };
    match health() {
        Ok(Some(health)) => println!("health: {health:?}"),
        other => println!("health: {other:?}"),
    }
    for (what, answer) in readings(zfs, "limbo") {
        println!("read {what}: {answer}");
    }
    for (what, answer) in changes(zfs, "limbo") {
        println!("{what}: {answer}");
    }
    println!("send: {}", send(zfs, "limbo"));
    println!("end");
}
