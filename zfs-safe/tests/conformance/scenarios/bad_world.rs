//! The world around us is not as it should be: no device, no privilege, no pool, no space, no disk. Every operation must
//! say so at once, by name and reason, the same in both implementations, and leave the pool as it was.

mod operations;
mod suspended;

use std::sync::Arc;
use std::time::{Duration, Instant};

use zfs_safe::error::{Reason, ZfsError};
use zfs_safe::outcome::Outcome;
use zfs_safe::zfs::PoolHealth;

use self::operations::{READINGS, changes, prepare, readings, send};
use super::{Scenario, Verdict};
use crate::bed::{self, Bed, Which, entity, holds, make_pool, mark, sh, snap, snaps};

pub(super) const LIST: &[Scenario] = &[
    Scenario::new("no_device", no_device),
    Scenario::new("no_privilege", no_privilege),
    Scenario::native("delegated_privilege", delegated_privilege),
    Scenario::new("unknown_pool", unknown_pool),
    Scenario::new("read_only_pool", read_only_pool),
    Scenario::new("full_pool", full_pool),
    // Last: what cannot be recovered from would be in the way of others.
    Scenario::new("suspended_pool", suspended::suspended_pool),
];

/// The user without privilege.
const NOBODY: u32 = 65534;

/// Does what a child process is started for here; false if the action is not one of these.
pub(super) fn child_action(which: Which, action: &str) -> bool {
    let zfs = which
        .open()
        .unwrap_or_else(|error| panic!("cannot open: {error}"));
    match action {
        "bad-world-read" => print_all(readings(&*zfs, "conf")),
        "bad-world-change" => {
            print_all(changes(&*zfs, "conf"));
            println!("send: {}", send(&*zfs, "conf"));
        }
        "bad-world-suspended" => suspended::in_child(&*zfs),
        _ => return false,
    }
    true
}

fn print_all(answers: impl Iterator<Item = (&'static str, String)>) {
    for (what, answer) in answers {
        println!("{what}: {answer}");
    }
}

/// Everything that a pool's users can see of it.
fn state(pool: &str) -> String {
    sh(&format!(
        "zfs list -H -t all -o name,guid,userrefs -r {pool}; zfs get -r -H -s local,received -o name,property,value all {pool}; \
         zfs holds -H -r {pool}@none 2>/dev/null || true"
    ))
}

/// Undoes something when the scenario ends, however it does.
struct Undo(&'static str);

impl Drop for Undo {
    fn drop(&mut self) {
        // If this fails the scenarios that follow will say so.
        let _: bool = bed::try_sh(self.0).is_ok();
    }
}

fn no_device(bed: &mut Bed) -> Verdict {
    sh("zfs create conf/a; mv /dev/zfs /dev/zfs.away");
    let undo = Undo("mv /dev/zfs.away /dev/zfs");
    let opened = bed.which.open().map(drop);
    bed.saw_result("open", &opened);
    let error = opened.expect_err("there is no device");
    assert_eq!(error.reason, Reason::DeviceMissing);
    assert!(error.to_string().contains("/dev/zfs"), "{error}");
    let exists = bed.zfs.exists(&entity("conf/a"));
    let taken = bed.zfs.snapshot(&snaps(&["conf/a@1"]), &[]);
    drop(undo);
    if bed.is_native() {
        // What is open stays open.
        assert_eq!(exists, Ok(true));
        assert_eq!(taken, [Outcome::Done]);
    } else {
        for error in [exists.as_ref().err(), taken[0].error()] {
            assert_eq!(
                error.map(|error| &error.reason),
                Some(&Reason::DeviceMissing),
                "{error:?}"
            );
        }
    }
    assert_eq!(bed.zfs.exists(&entity("conf/a")), Ok(true));
    bed.which.open().map(drop).expect("opens again");
    Ok(())
}

fn no_privilege(bed: &mut Bed) -> Verdict {
    prepare(&*bed.zfs, "conf");
    sh("chmod 666 /dev/zfs");
    let _undo = Undo("chmod 600 /dev/zfs");
    let before = state("conf");
    let answers = bed::child(bed.which, "bad-world-read", Some(NOBODY))
        .unwrap_or_else(|error| panic!("{error}"));
    let expected: Vec<String> = READINGS.iter().map(|what| format!("{what}: ok")).collect();
    assert_eq!(answers.lines().collect::<Vec<_>>(), expected);
    bed.saw("readings", answers.lines().count());
    let answers = bed::child(bed.which, "bad-world-change", Some(NOBODY))
        .unwrap_or_else(|error| panic!("{error}"));
    let wrong: Vec<&str> = answers
        .lines()
        .filter(|line| !line.contains(": PermissionDenied of conf") && !line.starts_with("discard"))
        .collect();
    bed.saw("changes", &answers);
    assert_eq!(state("conf"), before);
    assert!(wrong.is_empty(), "{wrong:#?}");
    Ok(())
}

fn delegated_privilege(bed: &mut Bed) -> Verdict {
    prepare(&*bed.zfs, "conf");
    sh("chmod 666 /dev/zfs; zfs allow -u 65534 \
        snapshot,hold,release,bookmark,destroy,mount,send,userprop,create,receive,rename,rollback conf");
    let _undo = Undo("chmod 600 /dev/zfs");
    let answers = bed::child(bed.which, "bad-world-change", Some(NOBODY))
        .unwrap_or_else(|error| panic!("{error}"));
    for line in answers.lines() {
        bed.fact("delegated", line);
        let (what, answer) = line.split_once(": ").expect("two parts");
        // Channel programs are for root alone.
        let expected = if what.contains("program") {
            "PermissionDenied of conf"
        } else {
            "ok"
        };
        assert!(answer == expected || what == "discard", "{line}");
    }
    Ok(())
}

fn unknown_pool(bed: &mut Bed) -> Verdict {
    // The stream to receive is that of an existing pool.
    let zfs = Arc::clone(&bed.zfs);
    prepare(&*zfs, "conf");
    for (what, answer) in readings(&*zfs, "nopool").chain(changes(&*zfs, "nopool")) {
        bed.saw(what, &answer);
        let expected = match what {
            "pools" => "ok",
            "exists" => "not there",
            "hold" | "release" | "bookmark" => "Missing",
            _ => "NotFound of nopool",
        };
        assert!(answer.starts_with(expected), "{what}: {answer}");
    }
    Ok(())
}

fn read_only_pool(bed: &mut Bed) -> Verdict {
    make_pool(
        "conf2",
        "/tmp/conf2.img",
        "128M",
        &["-O", "mountpoint=none"],
    );
    let zfs = Arc::clone(&bed.zfs);
    prepare(&*zfs, "conf2");
    sh("zpool export conf2; zpool import -o readonly=on -d /tmp conf2");
    let before = state("conf2");
    for (what, answer) in readings(&*zfs, "conf2") {
        bed.saw(what, &answer);
        assert_eq!(answer, "ok", "{what}");
    }
    for (what, answer) in changes(&*zfs, "conf2") {
        bed.saw(what, &answer);
        let can_be_said = match what {
            // Nothing to do, which can be seen without writing.
            "discard" => ["Ok(false)", "PoolReadOnly of conf2"]
                .iter()
                .any(|text| answer.starts_with(text)),
            _ => answer.starts_with("PoolReadOnly of conf2"),
        };
        assert!(can_be_said, "{what}: {answer}");
    }
    assert_eq!(state("conf2"), before);
    Ok(())
}

fn full_pool(bed: &mut Bed) -> Verdict {
    make_pool(
        "conf2",
        "/tmp/conf2.img",
        "64M",
        &["-O", "mountpoint=/tmp/conf2", "-O", "compression=off"],
    );
    prepare(&*bed.zfs, "conf2");
    // A reservation fills most of it faster than data would.
    sh(
        "zfs create -o reservation=$(($(zfs get -Hp -o value available conf2) - 4194304)) conf2/rest; \
        dd if=/dev/zero of=/tmp/conf2/fill bs=128k 2>/dev/null || true; zpool sync conf2",
    );
    let start = Instant::now();
    for (what, answer) in changes(&*bed.zfs, "conf2") {
        // What still fits is the kernel's decision and not quite the same each time.
        bed.fact("full pool", format!("{what}: {answer}"));
        let is_typed = matches!(what, "discard")
            || ["ok", "NoSpace of conf2", "LimitReached of conf2"]
                .iter()
                .any(|text| answer.starts_with(text));
        assert!(is_typed, "{what}: {answer}");
    }
    assert!(
        start.elapsed() < Duration::from_secs(30),
        "{:?}",
        start.elapsed()
    );
    // Space can be made, and then all is well.
    sh("rm -f /tmp/conf2/fill; zfs destroy conf2/rest; zpool sync conf2; zpool sync conf2");
    let again = bed.zfs.snapshot(&snaps(&["conf2/a@after"]), &[]);
    assert_eq!(again, [Outcome::Done]);
    assert_eq!(
        bed.zfs.hold(&holds(&[("conf2/a@after", "t")])),
        [Outcome::Done]
    );
    assert_eq!(sh("zpool status -x conf2"), "pool 'conf2' is healthy");
    let health = bed
        .zfs
        .pools()
        .expect("lists")
        .into_iter()
        .find(|pool| pool.name.as_str() == "conf2");
    assert_eq!(health.map(|pool| pool.health), Some(PoolHealth::Online));
    let missing = bed.zfs.destroy_bookmarks(&[mark("conf2/a#none")]);
    assert_eq!(missing, [Outcome::Done]);
    let none: Result<bool, ZfsError> = bed.zfs.exists(&snap("conf2/a@none").into());
    assert_eq!(none, Ok(false));
    Ok(())
}
