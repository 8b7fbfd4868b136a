//! Batches of one pool in one call each: snapshots, bookmarks, holds.
//!
//! What the kernel promises differs by call and release: most are all-or-nothing and name the items that failed, but a
//! hold that exists hides the errors behind it, and kernels after 2.4 destroy snapshots one by one. One loop serves all
//! of them: submit, take out what the reply names, submit the rest again, until nothing is left or a call fails without
//! naming anybody.

use std::collections::{BTreeMap, BTreeSet};

use super::core::Reply;
use super::{HoldLease, Native, dataset, list};
use crate::errno::{Errno, Symbol};
use crate::error::{Operation, Reason, ZfsError};
use crate::name::{BookmarkName, DatasetPath, PoolName, SnapshotName, VersionName};
use crate::nvlist::{NvList, Value};
use crate::outcome::Outcome;
use crate::property::PropertyName;
use crate::zfs::{BookmarkRequest, HoldRequest};

/// Most holds or bookmarks in one call. The kernel wants 48 KiB of free space for each (three copies of a 16 KiB block),
/// so much larger calls fail on small or full pools, and bookmark names are compared pairwise.
const CHUNK: usize = 1000;

/// Most snapshots destroyed in one call: each costs sync-context time in which the whole pool waits.
const DESTROY_CHUNK: usize = 250;

/// The key that stands for errors that did not fit into a reply (`ZFS_IOC_N_MORE_ERRORS`); not a name.
const MORE_ERRORS: &str = "N_MORE_ERRORS";

pub(super) fn snapshot(
    native: &Native,
    snapshots: &[SnapshotName],
    properties: &[(PropertyName, String)],
) -> Vec<Outcome> {
    let mut batch = Batch::new(
        native,
        Operation::Snapshot,
        snapshots.iter().map(SnapshotName::as_str),
    );
    let properties: NvList = properties
        .iter()
        .map(|(name, value)| (name.as_str(), Value::from(value.as_str())))
        .collect();
    for (_, items) in by_pool(snapshots, SnapshotName::pool) {
        let twice = twice_of_one_filesystem(snapshots, &items);
        if !twice.is_empty() {
            for item in items {
                let outcome = if twice.contains(&item) {
                    Outcome::Failed(ZfsError::new(
                        Operation::Snapshot,
                        snapshots[item].as_str(),
                        Reason::CrossPool,
                    ))
                } else {
                    Outcome::NotTried
                };
                batch.settle(item, outcome);
            }
            continue;
        }
        let names: NvList = items
            .iter()
            .map(|&item| (snapshots[item].as_str(), Value::Boolean))
            .collect();
        let reply = batch.call(|core| core.snapshot(&names, &properties));
        let Some(errno) = reply.errno else {
            batch.settle_all(&items, &Outcome::Done);
            continue;
        };
        let errors = ItemErrors::read(&reply.list);
        // A snapshot limit is reported under the name of the dataset.
        let error_of = |item: usize| {
            let name = &snapshots[item];
            errors
                .get(name.as_str())
                .or_else(|| errors.get(name.dataset().as_str()))
        };
        let nobody_named = items.iter().all(|&item| error_of(item).is_none());
        for item in items {
            let outcome = match error_of(item) {
                Some(errno) => Outcome::Failed(batch.error(item, errno)),
                None if nobody_named => Outcome::Failed(batch.error(item, errno)),
                None => Outcome::NotTried,
            };
            batch.settle(item, outcome);
        }
    }
    batch.finish()
}

/// Items that name a filesystem which another item names too: the kernel takes one snapshot of each in a call.
fn twice_of_one_filesystem(snapshots: &[SnapshotName], items: &[usize]) -> BTreeSet<usize> {
    let mut by_dataset: BTreeMap<DatasetPath, Vec<usize>> = BTreeMap::new();
    for &item in items {
        by_dataset
            .entry(snapshots[item].dataset())
            .or_default()
            .push(item);
    }
    by_dataset
        .into_values()
        .filter(|items| items.len() > 1)
        .flatten()
        .collect()
}

pub(super) fn bookmark(native: &Native, requests: &[BookmarkRequest]) -> Vec<Outcome> {
    let mut batch = Batch::new(
        native,
        Operation::Bookmark,
        requests.iter().map(|r| r.bookmark.as_str()),
    );
    for (_, items) in by_pool(requests, |r| r.bookmark.pool()) {
        // The same name twice would be one key of the call; the second one comes after the first exists.
        for round in rounds(&items, |item| requests[item].bookmark.as_str()) {
            for chunk in round.chunks(CHUNK) {
                batch.run(
                    chunk.to_vec(),
                    |core, items| {
                        core.bookmark(
                            &items
                                .iter()
                                .map(|&item| {
                                    (
                                        requests[item].bookmark.as_str(),
                                        Value::from(requests[item].source.as_str()),
                                    )
                                })
                                .collect(),
                        )
                    },
                    |native, item, errno| bookmark_failure(native, &requests[item], errno),
                    |_, _, _| Vec::new(),
                );
            }
        }
    }
    batch.finish()
}

fn bookmark_failure(native: &Native, request: &BookmarkRequest, errno: Errno) -> Outcome {
    let failed = || {
        Outcome::Failed(ZfsError::from_errno(
            Operation::Bookmark,
            request.bookmark.as_str(),
            errno,
        ))
    };
    match errno.symbol() {
        Symbol::ENOENT | Symbol::ESRCH => Outcome::Missing,
        Symbol::EEXIST => {
            let existing = list::bookmark_stats(native, &request.bookmark)
                .ok()
                .and_then(|list| bookmark_guid(&list));
            let wanted = match &request.source {
                VersionName::Snapshot(snapshot) => native
                    .device
                    .stats(snapshot.as_str())
                    .ok()
                    .map(|stats| stats.guid.get()),
                VersionName::Bookmark(bookmark) => list::bookmark_stats(native, bookmark)
                    .ok()
                    .and_then(|list| bookmark_guid(&list)),
            };
            match (existing, wanted) {
                (Some(existing), Some(wanted)) if existing == wanted => Outcome::AlreadyDone,
                (_, None) => Outcome::Missing,
                _ => failed(),
            }
        }
        _ => failed(),
    }
}

fn bookmark_guid(properties: &NvList) -> Option<u64> {
    properties.list("guid")?.u64("value")
}

pub(super) fn hold(
    native: &Native,
    requests: &[HoldRequest],
    lease: Option<&HoldLease>,
) -> Vec<Outcome> {
    let mut batch = Batch::new(
        native,
        Operation::Hold,
        requests.iter().map(|r| r.snapshot.as_str()),
    );
    for (_, items) in by_pool(requests, |r| r.snapshot.pool()) {
        // A call takes one tag for each snapshot.
        for round in rounds(&items, |item| requests[item].snapshot.as_str()) {
            for chunk in round.chunks(CHUNK) {
                batch.run(
                    chunk.to_vec(),
                    |core, items| {
                        let holds = items
                            .iter()
                            .map(|&item| {
                                (
                                    requests[item].snapshot.as_str(),
                                    Value::from(requests[item].tag.as_str()),
                                )
                            })
                            .collect();
                        match lease {
                            None => core.hold(&holds),
                            Some(lease) => {
                                core.hold_temporarily(&holds, std::os::fd::AsFd::as_fd(&lease.0))
                            }
                        }
                    },
                    |_, item, errno| match errno.symbol() {
                        Symbol::ENOENT => Outcome::Missing,
                        Symbol::EEXIST => Outcome::AlreadyDone,
                        _ => Outcome::Failed(ZfsError::from_errno(
                            Operation::Hold,
                            requests[item].snapshot.as_str(),
                            errno,
                        )),
                    },
                    // The kernel stops at the first hold that exists. Rather than waiting for a transaction group to
                    // find each next one, look which others there are.
                    |native, rest, errno| match errno.symbol() {
                        Symbol::EEXIST => rest
                            .iter()
                            .filter_map(|&item| {
                                Some((item, settled_hold(native, &requests[item])?))
                            })
                            .collect(),
                        _ => Vec::new(),
                    },
                );
            }
        }
    }
    batch.finish()
}

fn settled_hold(native: &Native, request: &HoldRequest) -> Option<Outcome> {
    match list::holds(native, &request.snapshot) {
        Ok(holds) => holds
            .iter()
            .any(|hold| hold.tag == request.tag)
            .then_some(Outcome::AlreadyDone),
        Err(error) if error.is_not_found() => Some(Outcome::Missing),
        // The call itself will say it again.
        Err(_) => None,
    }
}

pub(super) fn release(native: &Native, requests: &[HoldRequest]) -> Vec<Outcome> {
    let mut batch = Batch::new(
        native,
        Operation::Release,
        requests.iter().map(|r| r.snapshot.as_str()),
    );
    for (_, items) in by_pool(requests, |r| r.snapshot.pool()) {
        // The same hold twice would be one key of the call.
        for round in rounds(&items, |item| &requests[item]) {
            for chunk in round.chunks(CHUNK) {
                batch.run_with_keys(
                    chunk.to_vec(),
                    // A missing hold is reported as `snapshot#tag`, a missing snapshot under its name.
                    |item, errors| {
                        let HoldRequest { snapshot, tag } = &requests[item];
                        errors
                            .get(&format!("{snapshot}#{tag}"))
                            .map(Missing::Hold)
                            .or_else(|| errors.get(snapshot.as_str()).map(Missing::Snapshot))
                    },
                    |core, items| core.release(&release_list(requests, items)),
                    |_, item, missing| match missing {
                        Missing::Hold(errno) if errno.symbol() == Symbol::ENOENT => {
                            Outcome::AlreadyDone
                        }
                        Missing::Snapshot(errno) if errno.symbol() == Symbol::ENOENT => {
                            Outcome::Missing
                        }
                        Missing::Hold(errno) | Missing::Snapshot(errno) => {
                            Outcome::Failed(ZfsError::from_errno(
                                Operation::Release,
                                requests[item].snapshot.as_str(),
                                errno,
                            ))
                        }
                    },
                    |_, _, _| Vec::new(),
                );
            }
        }
    }
    batch.finish()
}

/// What a reply to a release is about.
enum Missing {
    Hold(Errno),
    Snapshot(Errno),
}

/// { snapshot → { tag, … }, … }
fn release_list(requests: &[HoldRequest], items: &[usize]) -> NvList {
    let mut tags: BTreeMap<&str, NvList> = BTreeMap::new();
    for &item in items {
        let HoldRequest { snapshot, tag } = &requests[item];
        tags.entry(snapshot.as_str())
            .or_default()
            .insert(tag.as_str(), Value::Boolean);
    }
    tags.into_iter()
        .map(|(snapshot, tags)| (snapshot, Value::List(tags)))
        .collect()
}

pub(super) fn destroy_snapshots(native: &Native, snapshots: &[SnapshotName]) -> Vec<Outcome> {
    let mut batch = Batch::new(
        native,
        Operation::DestroySnapshots,
        snapshots.iter().map(SnapshotName::as_str),
    );
    for (_, items) in by_pool(snapshots, SnapshotName::pool) {
        for chunk in items.chunks(DESTROY_CHUNK) {
            batch.run(
                chunk.to_vec(),
                |core, items| {
                    core.destroy_snapshots(
                        &items
                            .iter()
                            .map(|&item| (snapshots[item].as_str(), Value::Boolean))
                            .collect(),
                    )
                },
                |native, item, errno| match errno.symbol() {
                    Symbol::ENOENT => Outcome::Done,
                    _ => Outcome::Failed(dataset::undestroyable(native, &snapshots[item], errno)),
                },
                |_, _, _| Vec::new(),
            );
        }
    }
    batch.finish()
}

pub(super) fn destroy_bookmarks(native: &Native, bookmarks: &[BookmarkName]) -> Vec<Outcome> {
    let mut batch = Batch::new(
        native,
        Operation::DestroyBookmarks,
        bookmarks.iter().map(BookmarkName::as_str),
    );
    for (_, items) in by_pool(bookmarks, BookmarkName::pool) {
        for chunk in items.chunks(CHUNK) {
            batch.run(
                chunk.to_vec(),
                |core, items| {
                    core.destroy_bookmarks(
                        &items
                            .iter()
                            .map(|&item| (bookmarks[item].as_str(), Value::Boolean))
                            .collect(),
                    )
                },
                |_, item, errno| match errno.symbol() {
                    Symbol::ENOENT | Symbol::ESRCH => Outcome::Done,
                    _ => Outcome::Failed(ZfsError::from_errno(
                        Operation::DestroyBookmarks,
                        bookmarks[item].as_str(),
                        errno,
                    )),
                },
                |_, _, _| Vec::new(),
            );
        }
    }
    batch.finish()
}

/// Items by pool, each list in the order given.
fn by_pool<T>(items: &[T], pool: impl Fn(&T) -> PoolName) -> BTreeMap<PoolName, Vec<usize>> {
    let mut pools: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (index, item) in items.iter().enumerate() {
        pools.entry(pool(item)).or_default().push(index);
    }
    pools
}

/// Splits items into rounds in which each key occurs once, first occurrences first.
fn rounds<K: Ord>(items: &[usize], key: impl Fn(usize) -> K) -> Vec<Vec<usize>> {
    let mut seen: BTreeMap<K, usize> = BTreeMap::new();
    let mut rounds: Vec<Vec<usize>> = Vec::new();
    for &item in items {
        let count = seen.entry(key(item)).or_default();
        match rounds.get_mut(*count) {
            Some(round) => round.push(item),
            None => rounds.push(vec![item]),
        }
        *count += 1;
    }
    rounds
}

/// Per-item errors of a reply.
struct ItemErrors(BTreeMap<String, Errno>);

impl ItemErrors {
    fn read(list: &NvList) -> Self {
        let errors = list.iter().filter(|(name, _)| *name != MORE_ERRORS);
        Self(
            errors
                .filter_map(|(name, value)| match value {
                    Value::Int32(number) if *number != 0 => {
                        Some((name.to_owned(), Errno::new(*number)))
                    }
                    _ => None,
                })
                .collect(),
        )
    }

    fn get(&self, name: &str) -> Option<Errno> {
        self.0.get(name).copied()
    }
}

/// One batch under way.
struct Batch<'a> {
    native: &'a Native,
    operation: Operation,
    /// What each item is called in errors.
    names: Vec<&'a str>,
    outcomes: Vec<Option<Outcome>>,
}

impl<'a> Batch<'a> {
    fn new(native: &'a Native, operation: Operation, names: impl Iterator<Item = &'a str>) -> Self {
        let names: Vec<_> = names.collect();
        let outcomes = vec![None; names.len()];
        Self {
            native,
            operation,
            names,
            outcomes,
        }
    }

    /// Runs items whose errors are reported under their own names. See [`run_with_keys`](Self::run_with_keys).
    fn run(
        &mut self,
        items: Vec<usize>,
        call: impl Fn(&super::core::Core, &[usize]) -> Reply,
        judge: impl Fn(&Native, usize, Errno) -> Outcome,
        settle_others: impl Fn(&Native, &[usize], Errno) -> Vec<(usize, Outcome)>,
    ) {
        let names = self.names.clone();
        self.run_with_keys(
            items,
            |item, errors| errors.get(names[item]),
            call,
            judge,
            settle_others,
        );
    }

    /// Submits `items` until each has an outcome. `error_of` finds an item's error in a reply, `judge` says what it means,
    /// and `settle_others` may settle more items after a failure.
    fn run_with_keys<E>(
        &mut self,
        items: Vec<usize>,
        error_of: impl Fn(usize, &ItemErrors) -> Option<E>,
        call: impl Fn(&super::core::Core, &[usize]) -> Reply,
        judge: impl Fn(&Native, usize, E) -> Outcome,
        settle_others: impl Fn(&Native, &[usize], Errno) -> Vec<(usize, Outcome)>,
    ) {
        let mut groups = vec![items];
        while let Some(items) = groups.pop() {
            if items.is_empty() {
                continue;
            }
            let reply = self.call(|core| call(core, &items));
            let errors = ItemErrors::read(&reply.list);
            let mut rest = Vec::with_capacity(items.len());
            for &item in &items {
                match error_of(item, &errors) {
                    Some(error) => self.settle(item, judge(self.native, item, error)),
                    None => rest.push(item),
                }
            }
            let Some(errno) = reply.errno else {
                self.settle_all(&rest, &Outcome::Done);
                continue;
            };
            if rest.len() < items.len() {
                for (item, outcome) in settle_others(self.native, &rest, errno) {
                    self.settle(item, outcome);
                }
                rest.retain(|&item| self.outcomes[item].is_none());
                groups.push(rest);
            } else if asks_for_less(errno) && rest.len() > 1 {
                let half = rest.split_off(rest.len() / 2);
                groups.push(half);
                groups.push(rest);
            } else {
                self.settle_rejected(&rest, errno);
            }
        }
    }

    /// A call that failed as a whole.
    fn settle_rejected(&mut self, items: &[usize], errno: Errno) {
        for &item in items {
            // The pool itself is missing. For marks that is as good as a missing snapshot; a destroy must not claim that
            // the snapshots of an exported pool are gone.
            let absent = matches!(errno.symbol(), Symbol::ENOENT | Symbol::ESRCH);
            let mark = matches!(
                self.operation,
                Operation::Hold | Operation::Release | Operation::Bookmark
            );
            let outcome = if absent && mark {
                Outcome::Missing
            } else {
                Outcome::Failed(self.error(item, errno))
            };
            self.settle(item, outcome);
        }
    }

    fn call(&self, call: impl FnOnce(&super::core::Core) -> Reply) -> Reply {
        let reply = call(&self.native.core);
        self.native.count_mutation(self.operation, reply.errno);
        reply
    }

    fn error(&self, item: usize, errno: Errno) -> ZfsError {
        ZfsError::from_errno(self.operation, self.names[item], errno)
    }

    fn settle(&mut self, item: usize, outcome: Outcome) {
        self.outcomes[item] = Some(outcome);
    }

    fn settle_all(&mut self, items: &[usize], outcome: &Outcome) {
        for &item in items {
            self.settle(item, outcome.clone());
        }
    }

    fn finish(self) -> Vec<Outcome> {
        self.outcomes
            .into_iter()
            .map(|outcome| outcome.unwrap_or(Outcome::NotTried))
            .collect()
    }
}

/// Errors of a whole call that a smaller call may not have: the free space that the kernel asks for in advance, and the
/// memory of the Lua program that destroys snapshots up to 2.4.
fn asks_for_less(errno: Errno) -> bool {
    matches!(
        errno.symbol(),
        Symbol::ENOSPC | Symbol::ENOMEM | Symbol::ECHRNG
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_hold_each_key_once_and_keep_the_order() {
        let keys = ["a", "b", "a", "c", "a", "b"];
        let items: Vec<_> = (0..keys.len()).collect();
        assert_eq!(
            rounds(&items, |item| keys[item]),
            [vec![0, 1, 3], vec![2, 5], vec![4]]
        );
    }

    #[test]
    fn the_count_of_dropped_errors_is_no_name() {
        let list = NvList::from_iter([("p/a@s", Value::Int32(16)), (MORE_ERRORS, Value::Int32(7))]);
        let errors = ItemErrors::read(&list);
        assert_eq!(errors.get("p/a@s"), Some(Errno::new(16)));
        assert_eq!(errors.0.len(), 1);
    }
}
