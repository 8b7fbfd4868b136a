//! Lists that come back with an error number: their keys, their order, and what happens when they do not fit.

use std::time::Instant;
use zfs_safe::errno::Errno;

use zfs_safe::error::{Class, Operation, Reason, ZfsError};
use zfs_safe::native::Native;
use zfs_safe::nvlist::{NvList, Value};
use zfs_safe::outcome::Outcome;
use zfs_safe::program::{Program, ProgramFailure};
use zfs_safe::zfs::{HoldRequest, Zfs as _};

use super::Verdict;
use super::kernel::{self, Kernel};
use crate::bed::{self, Bed, Which, dataset, holds, pool, sh, snap, snaps, tag};

fn holds_of(pairs: &[(&str, &str)]) -> NvList {
    let list = pairs
        .iter()
        .map(|(name, tag)| (*name, Value::from(*tag)))
        .collect();
    NvList::from_iter([("holds", Value::List(list))])
}

pub(super) fn shapes_of_error_lists(bed: &mut Bed) -> Verdict {
    sh(
        "zfs create conf/a; zfs create -o snapshot_limit=1 conf/limited; zfs snapshot conf/a@1; zfs snapshot conf/a@2; \
        zfs snapshot conf/limited@1; zfs hold t conf/a@2; zfs allow -u 65534 snapshot,mount conf/limited; chmod 666 /dev/zfs",
    );
    let kernel = Kernel::open();
    let missing = kernel.call(
        kernel::HOLD,
        "conf",
        &holds_of(&[("conf/a@1", "m"), ("conf/a@none", "m"), ("conf/x@1", "m")]),
    );
    bed.fact(
        "f",
        format!(
            "hold, some snapshots missing: errno {} {:?}",
            missing.errno, missing.list
        ),
    );
    assert_eq!(
        (missing.errno, missing.list.i32("conf/a@none")),
        (0, Some(libc::ENOENT))
    );
    assert_eq!(
        (missing.list.i32("conf/x@1"), missing.list.len()),
        (Some(libc::ENOENT), 2)
    );

    let taken = kernel.call(
        kernel::HOLD,
        "conf",
        &holds_of(&[("conf/a@1", "t"), ("conf/a@2", "t"), ("conf/a@none", "t")]),
    );
    bed.fact(
        "f",
        format!(
            "hold, one tag taken, one snapshot missing: errno {} {:?}",
            taken.errno, taken.list
        ),
    );
    assert_eq!(
        (taken.errno, taken.list.i32("conf/a@2")),
        (libc::EEXIST, Some(libc::EEXIST))
    );
    assert!(
        bed.zfs
            .holds(&snap("conf/a@1"))
            .expect("lists")
            .iter()
            .all(|hold| hold.tag.as_str() == "m")
    );

    let tags =
        |names: &[&str]| Value::List(names.iter().map(|name| (*name, Value::Boolean)).collect());
    let arguments = NvList::from_iter([
        ("conf/a@1", tags(&["m", "never"])),
        ("conf/a@none", tags(&["m"])),
    ]);
    let released = kernel.call(kernel::RELEASE, "conf", &arguments);
    bed.fact(
        "f",
        format!(
            "release, a tag and a snapshot missing: errno {} {:?}",
            released.errno, released.list
        ),
    );
    assert_eq!(released.errno, 0);
    assert_eq!(released.list.i32("conf/a@1#never"), Some(libc::ENOENT));
    assert_eq!(released.list.i32("conf/a@none"), Some(libc::ENOENT));
    assert!(bed.zfs.holds(&snap("conf/a@1")).expect("lists").is_empty());

    let limit = bed::child(Which::Native, "fact-snapshot-beyond-limit", Some(65534));
    bed.fact(
        "f",
        format!(
            "snapshots beyond snapshot_limit, by a user: {}",
            limit.as_ref().expect("runs")
        ),
    );
    sh("chmod 600 /dev/zfs");
    assert!(limit.is_ok_and(|text| text.starts_with(&format!("errno {}", libc::EDQUOT))));
    assert_eq!(
        sh("zfs list -H -o name -t snapshot -r conf/limited"),
        "conf/limited@1"
    );
    Ok(())
}

/// In a child without privilege.
pub(super) fn snapshot_beyond_limit() {
    let names = NvList::from_iter([("conf/limited@2", Value::Boolean)]);
    let answer = Kernel::open().call(
        kernel::SNAPSHOT,
        "conf",
        &NvList::from_iter([("snaps", Value::List(names))]),
    );
    let native = Native::open().unwrap_or_else(|error| panic!("{error}"));
    let outcome = native.snapshot(&[snap("conf/limited@2")], &[]).remove(0);
    println!(
        "errno {} {:?}; through zfs-safe {outcome:?}",
        answer.errno, answer.list
    );
    let reason = outcome.error().map(|error| &error.reason);
    assert_eq!(reason, Some(&Reason::LimitReached), "{outcome:?}");
}

pub(super) fn replies_that_do_not_fit(bed: &mut Bed) -> Verdict {
    bed.zfs
        .create_filesystem(&dataset("conf/a"), &[])
        .expect("creates");
    let held: Vec<String> = (0..12).map(|number| format!("conf/a@{number}")).collect();
    let held: Vec<&str> = held.iter().map(String::as_str).collect();
    assert!(
        held.iter()
            .all(|name| bed.zfs.snapshot(&snaps(&[*name]), &[])[0].is_done())
    );
    let requests: Vec<_> = held.iter().map(|name| (*name, "t")).collect();
    assert!(bed.zfs.hold(&holds(&requests)).iter().all(Outcome::is_done));
    let kernel = Kernel::open();
    // A program's result, into a reply of 4 KiB.
    let text = "local t = {} for i = 1, 1000 do t[i] = 'some text' end return t";
    let arguments = NvList::from_iter([
        ("program", Value::from(text)),
        ("arg", Value::List(NvList::new())),
        ("sync", Value::BooleanValue(false)),
        ("instrlimit", Value::UInt64(Program::DEFAULT_INSTRUCTIONS)),
        ("memlimit", Value::UInt64(Program::DEFAULT_MEMORY)),
    ]);
    let program = kernel.call_with(kernel::CHANNEL_PROGRAM, "conf", &arguments, 4096);
    bed.fact(
        "g",
        format!(
            "result of a program larger than its reply: errno {} {:?}",
            program.errno, program.list
        ),
    );
    assert_eq!((program.errno, program.list.get("return")), (0, None));
    assert!(program.list.i32("N_MORE_ERRORS").is_some());
    let same = Program {
        memory_limit: 100_000,
        ..Program::read_only("local t = {} for i = 1, 1000 do t[i] = 'x' end return t")
    };
    let ours = bed
        .zfs
        .run_program(&pool("conf"), &same)
        .map(|_| ())
        .map_err(|error| error.failure);
    bed.fact(
        "g",
        format!("the same through zfs-safe, memory limit 100 kB: {ours:?}"),
    );
    assert!(
        matches!(
            ours,
            Ok(()) | Err(ProgramFailure::ResultTooLarge | ProgramFailure::MemoryLimit)
        ),
        "{ours:?}"
    );

    // Errors for each of 160 names, into 4 KiB.
    let names: Vec<String> = (0..160)
        .map(|number| format!("conf/a@missing-{number}"))
        .collect();
    let pairs: Vec<_> = names.iter().map(|name| (name.as_str(), "t")).collect();
    for count in [40, 80, 160] {
        let start = Instant::now();
        let roomy = kernel.call(kernel::HOLD, "conf", &holds_of(&pairs[..count]));
        bed.fact(
            "g",
            format!("{count} missing held: {} ms", start.elapsed().as_millis()),
        );
        assert_eq!((roomy.errno, roomy.list.len()), (0, count));
    }
    let start = Instant::now();
    let missing = kernel.call_with(kernel::HOLD, "conf", &holds_of(&pairs), 4 << 10);
    let took = start.elapsed().as_millis();
    let more = missing.list.i32("N_MORE_ERRORS");
    bed.fact("g", format!(
        "160 missing snapshots held, reply of 4 KiB: errno {}, {} entries, N_MORE_ERRORS {more:?}, {took} ms", missing.errno, missing.list.len()
    ));
    let named = i32::try_from(missing.list.len() - 1).expect("few");
    assert_eq!(
        (missing.errno, more.map(|more| more + named)),
        (0, Some(160))
    );
    let requests: Vec<_> = names
        .iter()
        .map(|name| HoldRequest {
            snapshot: snap(name),
            tag: tag("t"),
        })
        .collect();
    let outcomes = bed.zfs.hold(&requests);
    assert!(outcomes.iter().all(|outcome| *outcome == Outcome::Missing));

    // The errors of 12 held snapshots.
    let list = held.iter().map(|name| (*name, Value::Boolean)).collect();
    let arguments = NvList::from_iter([("snaps", Value::List(list))]);
    for bytes in [kernel::REPLY, 512, 16] {
        let destroyed = kernel.call_with(kernel::DESTROY_SNAPS, "conf", &arguments, bytes);
        bed.fact("g", format!(
            "12 held snapshots destroyed, reply of {bytes} bytes: errno {}, {} entries, N_MORE_ERRORS {:?}",
            destroyed.errno, destroyed.list.len(), destroyed.list.i32("N_MORE_ERRORS")
        ));
        assert_ne!(destroyed.errno, 0);
    }
    assert_eq!(sh("zfs list -H -o name -t snapshot -r conf | wc -l"), "12");
    Ok(())
}

pub(super) fn destroy_is_atomic(bed: &mut Bed) -> Verdict {
    sh(
        "zfs create conf/a; for i in 1 2 3 4; do zfs snapshot conf/a@$i; done; \
        zfs clone conf/a@3 conf/c; zfs hold t conf/a@2",
    );
    let kernel = Kernel::open();
    let answer = kernel.destroy_snapshots(
        &[
            "conf/a@1",
            "conf/a@2",
            "conf/a@3",
            "conf/a@4",
            "conf/a@none",
        ],
        false,
    );
    let left = sh("zfs list -H -o name -t snapshot -s name -r conf | tr '\\n' ' '");
    bed.fact("destroy", format!(
        "of 1 (free), 2 (held), 3 (cloned), 4 (free), none (missing): errno {} {:?}; left: {left}", answer.errno, answer.list
    ));
    assert_ne!(answer.errno, 0);
    if !bed.at_least(2, 5) {
        assert_eq!(left, "conf/a@1 conf/a@2 conf/a@3 conf/a@4");
        assert_eq!(answer.list.len(), 2);
    }
    let missing = kernel.destroy_snapshots(&["conf/a@none", "conf/x@none"], false);
    bed.fact(
        "destroy",
        format!(
            "of missing ones only: errno {} {:?}",
            missing.errno, missing.list
        ),
    );
    assert_eq!((missing.errno, missing.list.len()), (0, 0));
    let deferred = kernel.destroy_snapshots(&["conf/a@2", "conf/a@3", "conf/a@4"], true);
    let left =
        sh("zfs list -H -o name,defer_destroy -t snapshot -s name -r conf | tr '\\t\\n' '= '");
    bed.fact(
        "destroy",
        format!(
            "deferred, of 2 (held), 3 (cloned), 4: errno {}; left: {left}",
            deferred.errno
        ),
    );
    assert_eq!(deferred.errno, 0);
    Ok(())
}

pub(super) fn unknown_requests(bed: &mut Bed) -> Verdict {
    sh("zfs create conf/a; zfs snapshot conf/a@1");
    let kernel = Kernel::open();
    let empty = NvList::new();
    let gap = kernel.call(kernel::UNKNOWN, "conf", &empty).errno;
    let beyond = kernel.call(0x5aff, "conf", &empty).errno;
    let mut arguments = holds_of(&[("conf/a@1", "t")]);
    arguments.insert("zrepl-unknown", Value::Boolean);
    let key = kernel.call(kernel::HOLD, "conf", &arguments).errno;
    let absent = kernel.call(kernel::HOLD, "conf", &empty).errno;
    let wrong = NvList::from_iter([("holds", Value::Boolean)]);
    let wrong = kernel.call(kernel::HOLD, "conf", &wrong).errno;
    let mut optional = holds_of(&[("conf/a@1", "t")]);
    optional.insert(
        "optional",
        Value::List(NvList::from_iter([("zrepl-unknown", Value::Boolean)])),
    );
    let optional = kernel.call(kernel::HOLD, "conf", &optional).errno;
    bed.fact("unknown", format!(
        "ioctl: errno {gap} (gap), {beyond} (beyond the last); key: {key}; key missing: {absent}; wrong type: {wrong}; \
         inside \"optional\": {optional}"
    ));
    assert_eq!(
        (gap, beyond, key, absent, wrong, optional),
        (1029, 1029, 1030, 1031, 1032, 0)
    );
    for number in [gap, beyond, key, absent, wrong] {
        let error = ZfsError::from_errno(Operation::Hold, "conf", Errno::new(number));
        assert_eq!(
            (&error.reason, error.class()),
            (&Reason::ModuleMismatch, Class::Defect),
            "{number}"
        );
    }
    Ok(())
}

pub(super) fn rollback_and_newer_bookmark(bed: &mut Bed) -> Verdict {
    sh(
        "zfs create conf/a; zfs snapshot conf/a@1; zfs snapshot conf/a@2; zfs bookmark conf/a@2 conf/a#2; zfs destroy conf/a@2",
    );
    let newer = bed.zfs.rollback(&snap("conf/a@1"));
    let of_itself = {
        sh("zfs destroy conf/a#2 && zfs bookmark conf/a@1 conf/a#1");
        bed.zfs.rollback(&snap("conf/a@1"))
    };
    let number = |result: &Result<(), ZfsError>| {
        result
            .as_ref()
            .err()
            .map(|error| (error.reason.label(), error.errno))
    };
    bed.fact("rollback", format!(
        "to the newest snapshot with a newer bookmark: {:?}; with a bookmark of that snapshot: {:?}", number(&newer), number(&of_itself)
    ));
    assert_eq!(of_itself, Ok(()));
    if let Err(error) = newer {
        assert_eq!(error.reason, Reason::NewerVersionsExist);
    }
    Ok(())
}
