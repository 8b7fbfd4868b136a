//! Snapshots of one pool, as many as possible at one instant: names flow in; what became of each flows out, answer by answer.
//!
//! ZFS takes all snapshots of a call or none. If it names those that it refuses, the others are taken without them. If it refuses a
//! call and names nobody, be it for lack of space, for a limit of a parent, or for what an unprivileged process may not do, one of
//! them may be to blame for all: then halves are tried, and halves of those, so that it is refused alone in the end. So no more calls
//! are made than twice those that there would be one by one. But a call that lacks space waits for a transaction group before it
//! fails: when that happens to one alone after it happened to more, there is no room, and nothing more is tried.

use tokio_util::sync::CancellationToken;
use zfs_safe::error::{Operation, Reason};
use zfs_safe::group_commit::GroupCommit;
use zfs_safe::name::{DatasetPath, PoolName, SnapshotName};
use zfs_safe::{Outcome, ZfsError};

use super::{NotTaken, SUBSYSTEM};

/// What became of the snapshot of a filesystem.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) filesystem: DatasetPath,
    pub(super) result: Result<(), NotTaken>,
}

/// What is tried in one call.
struct Group {
    snapshots: Vec<SnapshotName>,
    /// Is it a part of what did not go for lack of space?
    lacked_space: bool,
}

/// Takes these snapshots. `answer` gets, after each call, what is known then, and gets everything once. Blocks for a transaction group,
/// and for one more for each time that some are refused.
pub(super) fn take_all(
    commit: &GroupCommit,
    pool: &PoolName,
    snapshots: Vec<SnapshotName>,
    stop: &CancellationToken,
    mut answer: impl FnMut(Vec<Taken>),
) {
    let mut is_halved = false;
    let mut groups = vec![Group {
        snapshots,
        lacked_space: false,
    }];
    while let Some(group) = groups.pop() {
        if stop.is_cancelled() {
            groups.push(group);
            answer(all(groups, |_| NotTaken::Stopped));
            return;
        }
        let outcomes = commit.snapshot(&group.snapshots, &[]);
        if let Some(error) = refused_together(&outcomes) {
            if !is_halved {
                is_halved = true;
                tracing::warn!(
                    subsystem = SUBSYSTEM, pool = %pool, err = %error.reason,
                    "ZFS refuses to take these snapshots together: trying fewer at a time, so not all of this pool are of one instant"
                );
            }
            groups.extend(halves(group.snapshots, error.reason == Reason::NoSpace));
            answer(Vec::new());
            continue;
        }
        let no_room = no_room_for_one(&outcomes).filter(|_| group.lacked_space);
        let (known, not_tried) = sort(group.snapshots, outcomes);
        answer(known);
        if let Some(error) = no_room {
            answer(all(groups, |name| error.clone().on(name.as_str()).into()));
            return;
        }
        if !not_tried.is_empty() {
            groups.push(Group {
                snapshots: not_tried,
                lacked_space: group.lacked_space,
            });
        }
    }
}

/// The error of a call of several, if it may be the fault of one of them.
fn refused_together(outcomes: &[Outcome]) -> Option<&ZfsError> {
    let [first, others @ ..] = outcomes else {
        return None;
    };
    let error = first.error()?;
    let can_be_of_one = matches!(
        error.reason,
        Reason::LimitReached | Reason::NoSpace | Reason::NotFound | Reason::PermissionDenied
    );
    let is_same = |outcome: &Outcome| outcome.error().is_some_and(|it| it.reason == error.reason);
    (can_be_of_one && !others.is_empty() && others.iter().all(is_same)).then_some(error)
}

/// The error of a call of one that lacked space.
fn no_room_for_one(outcomes: &[Outcome]) -> Option<ZfsError> {
    let [Outcome::Failed(error)] = outcomes else {
        return None;
    };
    (error.reason == Reason::NoSpace).then(|| error.clone())
}

/// The first half is last, so that it is taken first.
fn halves(mut snapshots: Vec<SnapshotName>, lacked_space: bool) -> [Group; 2] {
    let second = snapshots.split_off(snapshots.len().div_ceil(2));
    [second, snapshots].map(|snapshots| Group {
        snapshots,
        lacked_space,
    })
}

/// What a call has settled, and what is to be tried again.
fn sort(snapshots: Vec<SnapshotName>, outcomes: Vec<Outcome>) -> (Vec<Taken>, Vec<SnapshotName>) {
    // If ZFS says nothing about any of them, asking again would not end.
    let is_silent = outcomes.iter().all(|it| *it == Outcome::NotTried);
    let mut known = Vec::with_capacity(snapshots.len());
    let mut not_tried = Vec::new();
    for (snapshot, outcome) in snapshots.into_iter().zip(outcomes) {
        let failed = |reason| {
            let error = ZfsError::new(Operation::Snapshot, snapshot.as_str(), reason);
            Err(NotTaken::from(error))
        };
        let result = match outcome {
            Outcome::Done => Ok(()),
            Outcome::AlreadyDone => failed(Reason::AlreadyExists),
            Outcome::Missing => failed(Reason::NotFound),
            Outcome::Failed(error) => Err(error.into()),
            Outcome::NotTried if is_silent => failed(Reason::Other),
            Outcome::NotTried => {
                not_tried.push(snapshot);
                continue;
            }
        };
        known.push(Taken {
            filesystem: snapshot.dataset(),
            result,
        });
    }
    (known, not_tried)
}

/// The same for all that has not been tried.
fn all(groups: Vec<Group>, error: impl Fn(&SnapshotName) -> NotTaken) -> Vec<Taken> {
    let rest = groups.into_iter().rev().flat_map(|group| group.snapshots);
    let taken = |name: SnapshotName| Taken {
        filesystem: name.dataset(),
        result: Err(error(&name)),
    };
    rest.map(taken).collect()
}

#[cfg(test)]
mod tests;
