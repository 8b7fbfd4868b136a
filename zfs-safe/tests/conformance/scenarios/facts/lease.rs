//! Temporary holds: how they end when their holder is killed, and when the pool goes away under it.

use std::time::{Duration, Instant};

use zfs_safe::native::{HoldLease, Native};
use zfs_safe::outcome::Outcome;

use super::Verdict;
use crate::bed::{self, Bed, Which, holds, sh, snap, tag};

pub(super) fn leases_end_with_their_holder(bed: &mut Bed) -> Verdict {
    sh("zfs create conf/a; zfs snapshot conf/a@1; zfs hold lasting conf/a@1");
    let tags = |bed: &Bed| -> Vec<String> {
        bed.zfs
            .holds(&snap("conf/a@1"))
            .expect("lists")
            .into_iter()
            .map(|hold| hold.tag.to_string())
            .collect()
    };
    let mut holder = bed::start_child(Which::Native, "fact-hold-a-lease");
    assert_eq!(holder.line().as_deref(), Some("held"));
    assert_eq!(tags(bed), ["lasting", "temporary"]);
    let killed = Instant::now();
    holder.kill();
    while tags(bed).len() > 1 {
        assert!(
            killed.elapsed() < Duration::from_secs(10),
            "{:?}",
            tags(bed)
        );
        std::thread::sleep(Duration::from_millis(10));
    }
    bed.fact(
        "n",
        format!(
            "holder killed with SIGKILL: released {} ms later",
            killed.elapsed().as_millis()
        ),
    );
    assert_eq!(tags(bed), ["lasting"]);

    // The holder survives its pool: the holds are not there when the pool comes back.
    let mut holder = bed::start_child(Which::Native, "fact-hold-a-lease");
    assert_eq!(holder.line().as_deref(), Some("held"));
    assert_eq!(tags(bed), ["lasting", "temporary"]);
    sh("zpool export -f conf; zpool import -d /tmp conf");
    let after = tags(bed);
    holder.kill();
    bed.fact(
        "n",
        format!("pool exported and imported while the holder lives: holds {after:?}"),
    );
    assert_eq!(after, ["lasting"]);

    // Dropping the lease in the process itself.
    let native = Native::open().expect("opens");
    let lease = HoldLease::open().expect("opens");
    let done = native.hold_temporarily(
        &holds(&[("conf/a@1", "temporary"), ("conf/a@none", "temporary")]),
        &lease,
    );
    assert_eq!(done, [Outcome::Done, Outcome::Missing]);
    let start = Instant::now();
    drop(lease);
    bed.fact(
        "n",
        format!(
            "lease dropped: {} ms, then holds {:?}",
            start.elapsed().as_millis(),
            tags(bed)
        ),
    );
    assert_eq!(tags(bed), ["lasting"]);
    // A snapshot that is held temporarily cannot be destroyed, and can be released like any other.
    let lease = HoldLease::open().expect("opens");
    assert_eq!(
        native.hold_temporarily(&holds(&[("conf/a@1", "again")]), &lease),
        [Outcome::Done]
    );
    assert!(
        bed.zfs.destroy_snapshots(&[snap("conf/a@1")])[0]
            .error()
            .is_some()
    );
    assert_eq!(
        bed.zfs
            .release(&holds(&[("conf/a@1", tag("again").as_str())])),
        [Outcome::Done]
    );
    drop(lease);
    Ok(())
}

/// In a child that is to be killed.
pub(super) fn hold_a_lease() {
    let native = Native::open().expect("opens");
    let lease = HoldLease::open().expect("opens");
    let outcomes = native.hold_temporarily(&holds(&[("conf/a@1", "temporary")]), &lease);
    assert_eq!(outcomes, [Outcome::Done]);
    println!("held");
    // Until killed; or until the parent is gone.
    drop(std::io::copy(&mut std::io::stdin(), &mut std::io::sink()));
    drop(lease);
}
