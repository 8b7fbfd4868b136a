//! Batches of one pool in one call each: snapshots, bookmarks, holds. How a batch gets through is in `submission`.

use std::collections::{BTreeMap, BTreeSet};

use super::submission::{Batch, ItemErrors, by_pool, rounds};
use super::{HoldLease, Native, dataset, list};
use crate::errno::{Errno, Symbol};
use crate::error::{Operation, Reason, ZfsError};
use crate::name::{BookmarkName, DatasetPath, SnapshotName, VersionName};
use crate::nvlist::{NvList, Value};
use crate::outcome::Outcome;
use crate::property::PropertyName;
use crate::zfs::{BookmarkRequest, HoldRequest};

/// Most holds or bookmarks in one call. The kernel wants 48 KiB of free space for each (three copies of a 16 KiB block),
/// so much larger calls fail on small or full pools, and bookmark names are compared pairwise.
const CHUNK: usize = 1000;

/// Most snapshots destroyed in one call: each costs sync-context time in which the whole pool waits.
const DESTROY_CHUNK: usize = 250;

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
