use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::*;
use crate::endpoint::fake_zfs::FakeZfs;

/// Snapshots `@s` of these filesystems of `p`: what is wrong with each, in the order of their names, and the calls without the word.
fn take(fake: &Arc<FakeZfs>, filesystems: &[&str]) -> (Vec<(String, String)>, Vec<String>) {
    take_until(fake, filesystems, &CancellationToken::new())
}

fn take_until(
    fake: &Arc<FakeZfs>,
    filesystems: &[&str],
    stop: &CancellationToken,
) -> (Vec<(String, String)>, Vec<String>) {
    fake.calls();
    let commit = GroupCommit::new(Arc::clone(fake) as _);
    let snapshot = |name: &&str| SnapshotName::new(format!("p/{name}@s")).expect("valid");
    let snapshots: Vec<_> = filesystems.iter().map(snapshot).collect();
    let pool = snapshots[0].pool();
    let mut taken = Vec::new();
    take_all(&commit, &pool, snapshots, stop, |it| taken.extend(it));
    let text = |taken: Taken| {
        let problem = match taken.result {
            Ok(()) => "taken".to_owned(),
            Err(NotTaken::Zfs(error)) => format!("{:?}", error.reason),
            Err(other) => other.to_string(),
        };
        (taken.filesystem.as_str()[2..].to_owned(), problem)
    };
    let mut taken: Vec<_> = taken.into_iter().map(text).collect();
    taken.sort();
    let names: BTreeSet<_> = taken.iter().map(|it| &it.0).collect();
    assert_eq!(names.len(), filesystems.len(), "each once: {taken:?}");
    assert_eq!(taken.len(), filesystems.len(), "each once: {taken:?}");
    let short = |call: &String| {
        let names = call.split(' ').skip(1);
        let short: Vec<_> = names.map(|name| &name[2..name.len() - 2]).collect();
        short.join(" ")
    };
    (taken, fake.calls().iter().map(short).collect())
}

fn problems(taken: &[(String, String)]) -> Vec<(&str, &str)> {
    let bad = taken.iter().filter(|it| it.1 != "taken");
    bad.map(|it| (it.0.as_str(), it.1.as_str())).collect()
}

/// `p/a` to `p/h`.
const EIGHT: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];

fn eight() -> Arc<FakeZfs> {
    Arc::new(FakeZfs::with(
        &EIGHT
            .map(|name| format!("p/{name}"))
            .each_ref()
            .map(|it| &**it),
    ))
}

#[test]
fn what_zfs_names_is_left_out_and_the_others_are_of_one_instant() {
    let fake = eight();
    fake.make("p/b@s");
    fake.destroy("p/e");
    let (taken, calls) = take(&fake, &EIGHT);
    assert_eq!(
        problems(&taken),
        [("b", "AlreadyExists"), ("e", "NotFound")]
    );
    assert_eq!(calls, ["a b c d e f g h", "a c d f g h"]);
}

#[test]
fn what_spoils_a_call_without_being_named_is_found_and_the_others_are_taken() {
    for reason in [
        Reason::LimitReached,
        Reason::NotFound,
        Reason::PermissionDenied,
    ] {
        let fake = eight();
        let given = reason.clone();
        fake.refuse_snapshots(move |names| {
            let is_bad = names.iter().any(|name| name == "p/f@s");
            is_bad.then(|| given.clone())
        });
        let (taken, calls) = take(&fake, &EIGHT);
        assert_eq!(problems(&taken), [("f", &*format!("{reason:?}"))]);
        let expected = [
            "a b c d e f g h",
            "a b c d",
            "e f g h",
            "e f",
            "e",
            "f",
            "g h",
        ];
        assert_eq!(calls, expected, "{reason:?}");
    }
}

#[test]
fn what_is_no_fault_of_one_is_not_tried_again() {
    let fake = eight();
    fake.refuse_snapshots(|_| Some(Reason::PoolSuspended));
    let (taken, calls) = take(&fake, &EIGHT);
    assert_eq!(problems(&taken).len(), 8);
    assert_eq!(calls.len(), 1);
}

/// A pool with room for so many.
fn with_room(fake: &FakeZfs, room: usize) {
    let room = AtomicUsize::new(room);
    fake.refuse_snapshots(move |names| {
        let take = |room: usize| room.checked_sub(names.len());
        let taken = room.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take);
        taken.is_err().then_some(Reason::NoSpace)
    });
}

#[test]
fn as_many_are_taken_as_there_is_room_for_and_then_no_more_is_tried() {
    let fake = eight();
    with_room(&fake, 5);
    let (taken, calls) = take(&fake, &EIGHT);
    assert_eq!(
        problems(&taken),
        [("f", "NoSpace"), ("g", "NoSpace"), ("h", "NoSpace")]
    );
    assert_eq!(
        calls,
        ["a b c d e f g h", "a b c d", "e f g h", "e f", "e", "f"]
    );

    let fake = eight();
    with_room(&fake, 0);
    let (taken, calls) = take(&fake, &EIGHT);
    assert_eq!(problems(&taken).len(), 8);
    assert_eq!(calls, ["a b c d e f g h", "a b c d", "a b", "a"]);
    assert!(fake.contents("p/h").is_empty());
}

#[test]
fn a_volume_without_room_for_itself_does_not_stop_the_others() {
    let fake = eight();
    // The volume `a` lacks space of its own, and what the process may not do with `h` hides that.
    fake.refuse_snapshots(|names| match names {
        [one] if one == "p/a@s" => Some(Reason::NoSpace),
        names if names.iter().any(|it| it == "p/a@s" || it == "p/h@s") => {
            Some(Reason::PermissionDenied)
        }
        _ => None,
    });
    let (taken, _) = take(&fake, &EIGHT);
    assert_eq!(
        problems(&taken),
        [("a", "NoSpace"), ("h", "PermissionDenied")]
    );
}

#[test]
fn no_more_is_tried_once_the_job_stops() {
    let fake = eight();
    let stop = CancellationToken::new();
    let is_first = AtomicBool::new(true);
    let stopping = stop.clone();
    fake.refuse_snapshots(move |_| {
        if !is_first.swap(false, Ordering::SeqCst) {
            stopping.cancel();
            return None;
        }
        Some(Reason::LimitReached)
    });
    let (taken, calls) = take_until(&fake, &EIGHT, &stop);
    assert_eq!(calls, ["a b c d e f g h", "a b c d"]);
    let problems = problems(&taken);
    let names: Vec<_> = problems.iter().map(|it| it.0).collect();
    assert_eq!(names, ["e", "f", "g", "h"]);
    assert!(problems[0].1.starts_with("not tried"), "{problems:?}");
}
