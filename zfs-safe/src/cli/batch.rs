//! Batches: snapshots, bookmarks, holds. What happened to each item is read from the messages, which name it.

use std::collections::{BTreeMap, BTreeSet};

use super::command::{Finished, fitting};
use super::{Cli, dataset, list, stderr};
use crate::error::{Operation, Reason, Result, ZfsError};
use crate::name::{DatasetPath, PoolName, SnapshotName};
use crate::outcome::Outcome;
use crate::property::PropertyName;
use crate::zfs::{BookmarkRequest, HoldRequest};

pub(super) fn snapshot(
    cli: &Cli,
    snapshots: &[SnapshotName],
    properties: &[(PropertyName, String)],
) -> Vec<Outcome> {
    let mut pools: BTreeMap<PoolName, Vec<usize>> = BTreeMap::new();
    for (index, name) in snapshots.iter().enumerate() {
        pools.entry(name.pool()).or_default().push(index);
    }
    let mut outcomes = vec![Outcome::NotTried; snapshots.len()];
    for items in pools.into_values() {
        let names: Vec<_> = items.iter().map(|&item| &snapshots[item]).collect();
        for (item, outcome) in items
            .into_iter()
            .zip(snapshot_pool(cli, &names, properties))
        {
            outcomes[item] = outcome;
        }
    }
    outcomes
}

/// Snapshots of one pool: one command whatever their number, since they shall be of one instant.
fn snapshot_pool(
    cli: &Cli,
    names: &[&SnapshotName],
    properties: &[(PropertyName, String)],
) -> Vec<Outcome> {
    let operation = Operation::Snapshot;
    let failed = |name: &SnapshotName, reason| {
        Outcome::Failed(ZfsError::new(operation, name.as_str(), reason))
    };
    let twice = twice_of_one_filesystem(names);
    if !twice.is_empty() {
        let outcome = |name: &&SnapshotName| {
            if twice.contains(&name.dataset()) {
                failed(name, Reason::CrossPool)
            } else {
                Outcome::NotTried
            }
        };
        return names.iter().map(outcome).collect();
    }
    let ran = cli
        .zfs("snapshot")
        .options("-o", dataset::assignments(properties))
        .operands(names.iter().map(|name| name.as_str()))
        .run(operation, "");
    let finished = match ran {
        Ok(finished) => finished,
        Err(error) => {
            return names
                .iter()
                .map(|name| Outcome::Failed(error.clone().on(name.as_str())))
                .collect();
        }
    };
    let Some(error) = finished.failure(operation, "") else {
        return vec![Outcome::Done; names.len()];
    };
    let reasons =
        if stderr::messages(&finished.stderr).any(|line| line.starts_with("cannot open '")) {
            // zfs(8) stops at the first filesystem that it cannot open; the kernel would tell of all.
            unfit_for_snapshot(cli, names, &error)
        } else {
            refused_snapshots(&finished, names)
        };
    // The limit of an ancestor is no item's own, and is told in the same words as a full pool.
    let error = match error.reason {
        Reason::NoSpace if reasons.is_empty() && names_ancestor(&finished, names) => ZfsError {
            reason: Reason::LimitReached,
            ..error
        },
        _ => error,
    };
    let outcome = |name: &&SnapshotName| match reasons.get(name.as_str()) {
        Some(reason) => Outcome::Failed(ZfsError {
            reason: reason.clone(),
            ..error.clone().on(name.as_str())
        }),
        None if reasons.is_empty() => Outcome::Failed(error.clone().on(name.as_str())),
        None => Outcome::NotTried,
    };
    names.iter().map(outcome).collect()
}

/// The kernel takes one snapshot of each filesystem in a call.
fn twice_of_one_filesystem(names: &[&SnapshotName]) -> BTreeSet<DatasetPath> {
    let mut seen = BTreeSet::new();
    names
        .iter()
        .map(|name| name.dataset())
        .filter(|dataset| !seen.insert(dataset.clone()))
        .collect()
}

/// Reasons of the snapshots that the kernel named.
fn refused_snapshots(finished: &Finished, names: &[&SnapshotName]) -> BTreeMap<String, Reason> {
    let mut reasons = BTreeMap::new();
    for (named, description) in refusals(finished) {
        if names.iter().any(|name| name.as_str() == named) {
            let reason = stderr::reason_of_description(Operation::Snapshot, description);
            reasons.insert(named.to_owned(), reason);
        } else if let Some(name) = names.iter().find(|name| name.dataset().as_str() == named) {
            // A snapshot limit is reported under the name of the dataset, in the same words as a full pool.
            let reason = match stderr::reason_of_description(Operation::Snapshot, description) {
                Reason::NoSpace => Reason::LimitReached,
                other => other,
            };
            reasons.insert(name.to_string(), reason);
        }
    }
    reasons
}

/// Does a message name a dataset above one of the items?
fn names_ancestor(finished: &Finished, names: &[&SnapshotName]) -> bool {
    refusals(finished)
        .filter_map(|(named, _)| DatasetPath::new(named).ok())
        .any(|above| names.iter().any(|it| it.dataset().is_within(&above)))
}

/// What the kernel named, and the words for why.
fn refusals(finished: &Finished) -> impl Iterator<Item = (&str, &str)> {
    stderr::messages(&finished.stderr)
        .filter_map(|line| line.strip_prefix("cannot create snapshot '"))
        .filter_map(|rest| rest.split_once("': "))
}

/// Reasons of snapshots whose filesystem is missing, or which are there already.
fn unfit_for_snapshot(
    cli: &Cli,
    names: &[&SnapshotName],
    error: &ZfsError,
) -> BTreeMap<String, Reason> {
    let mut reasons = BTreeMap::new();
    for names in fitting(names, |name| 2 * name.as_str().len()) {
        let datasets: Vec<_> = names.iter().map(|name| name.dataset()).collect();
        let operands = datasets
            .iter()
            .map(DatasetPath::as_str)
            .chain(names.iter().map(|name| name.as_str()));
        let Ok(listed) = cli
            .zfs("list")
            .args(["-Hp", "-o", "name", "-t", "filesystem,volume,snapshot"])
            .operands(operands)
            .run(Operation::Snapshot, "")
        else {
            return BTreeMap::new();
        };
        let found: BTreeSet<&str> = listed.stdout.lines().collect();
        for (name, dataset) in names.iter().zip(&datasets) {
            if found.contains(name.as_str()) {
                reasons.insert(name.to_string(), Reason::AlreadyExists);
            } else if !found.contains(dataset.as_str()) {
                reasons.insert(name.to_string(), error.reason.clone());
            }
        }
    }
    reasons
}

pub(super) fn bookmark(cli: &Cli, requests: &[BookmarkRequest]) -> Vec<Outcome> {
    requests
        .iter()
        .map(|request| {
            let created = cli
                .zfs("bookmark")
                .operands([request.source.as_str(), request.bookmark.as_str()])
                .success(Operation::Bookmark, request.bookmark.as_str());
            match created {
                Ok(_) => Outcome::Done,
                Err(error) if error.is_not_found() => Outcome::Missing,
                Err(error) if error.reason == Reason::AlreadyExists => {
                    existing_bookmark(cli, request, error)
                }
                Err(error) => Outcome::Failed(error),
            }
        })
        .collect()
}

/// What it means that the bookmark exists: its guid tells whether it is the wanted one.
fn existing_bookmark(cli: &Cli, request: &BookmarkRequest, error: ZfsError) -> Outcome {
    let guid = |name| list::guid(cli, Operation::Bookmark, name);
    match (
        guid(request.bookmark.as_str()),
        guid(request.source.as_str()),
    ) {
        (Ok(existing), Ok(wanted)) if existing == wanted => Outcome::AlreadyDone,
        (_, Err(_)) => Outcome::Missing,
        _ => Outcome::Failed(error),
    }
}

pub(super) fn hold(cli: &Cli, requests: &[HoldRequest]) -> Vec<Outcome> {
    marks(cli, &HOLD, requests)
}

pub(super) fn release(cli: &Cli, requests: &[HoldRequest]) -> Vec<Outcome> {
    marks(cli, &RELEASE, requests)
}

/// `zfs hold` or `zfs release`, which are alike: one tag, many snapshots, each done or not on its own.
struct Mark {
    operation: Operation,
    subcommand: &'static str,
    /// How a message about one snapshot starts.
    message: &'static str,
    /// What it says if the wanted state was there.
    settled: &'static str,
    /// Whether the tag is there when it is done.
    present: bool,
}

const HOLD: Mark = Mark {
    operation: Operation::Hold,
    subcommand: "hold",
    message: "cannot hold snapshot '",
    settled: "tag already exists on this dataset",
    present: true,
};

const RELEASE: Mark = Mark {
    operation: Operation::Release,
    subcommand: "release",
    message: "cannot release hold from snapshot '",
    settled: "no such tag on this dataset",
    present: false,
};

fn marks(cli: &Cli, mark: &Mark, requests: &[HoldRequest]) -> Vec<Outcome> {
    let mut by_tag: BTreeMap<&str, Vec<&SnapshotName>> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for HoldRequest { snapshot, tag } in requests {
        // What is asked for twice is done once.
        if seen.insert((snapshot, tag)) {
            by_tag.entry(tag.as_str()).or_default().push(snapshot);
        }
    }
    let mut outcomes: BTreeMap<(&str, &str), Outcome> = BTreeMap::new();
    for (tag, snapshots) in by_tag {
        for chunk in fitting(&snapshots, |snapshot| snapshot.as_str().len()) {
            for (snapshot, outcome) in chunk.iter().zip(mark_chunk(cli, mark, tag, chunk)) {
                outcomes.insert((snapshot.as_str(), tag), outcome);
            }
        }
    }
    let mut results = Vec::with_capacity(requests.len());
    for HoldRequest { snapshot, tag } in requests {
        let outcome = outcomes.get_mut(&(snapshot.as_str(), tag.as_str()));
        results.push(outcome.as_deref().cloned().unwrap_or(Outcome::NotTried));
        if let Some(done) = outcome.filter(|outcome| **outcome == Outcome::Done) {
            *done = Outcome::AlreadyDone;
        }
    }
    results
}

fn mark_chunk(cli: &Cli, mark: &Mark, tag: &str, snapshots: &[&SnapshotName]) -> Vec<Outcome> {
    let operands = [tag]
        .into_iter()
        .chain(snapshots.iter().map(|snapshot| snapshot.as_str()));
    let finished = match cli
        .zfs(mark.subcommand)
        .operands(operands)
        .run(mark.operation, "")
    {
        Ok(finished) => finished,
        Err(error) => {
            return snapshots
                .iter()
                .map(|name| Outcome::Failed(error.clone().on(name.as_str())))
                .collect();
        }
    };
    let Some(whole) = finished.failure(mark.operation, "") else {
        return vec![Outcome::Done; snapshots.len()];
    };
    let named = mark.read(&finished);
    // One command goes through all snapshots and says nothing of those that are done. Some messages have no name.
    let silent = snapshots
        .iter()
        .filter(|snapshot| named.of(snapshot).is_none())
        .count();
    let all_of_them = whole.reason == Reason::DeviceMissing || named.unnamed == silent;
    let outcome = |snapshot: &&SnapshotName| match named.of(snapshot) {
        Some(outcome) => outcome,
        None if named.unnamed == 0 && silent < snapshots.len() => Outcome::Done,
        None if all_of_them => Outcome::Failed(whole.clone().on(snapshot.as_str())),
        None => mark.look(cli, tag, snapshot, whole.clone()),
    };
    snapshots.iter().map(outcome).collect()
}

/// Outcomes that messages name.
#[derive(Debug, Default)]
struct Named {
    snapshots: BTreeMap<String, Outcome>,
    datasets: BTreeMap<String, Outcome>,
    /// Messages without a name.
    unnamed: usize,
}

impl Named {
    fn of(&self, snapshot: &SnapshotName) -> Option<Outcome> {
        let outcome = self
            .snapshots
            .get(snapshot.as_str())
            .or_else(|| self.datasets.get(snapshot.dataset().as_str()))?
            .clone();
        Some(match outcome {
            Outcome::Failed(error) => Outcome::Failed(error.on(snapshot.as_str())),
            other => other,
        })
    }
}

impl Mark {
    fn read(&self, finished: &Finished) -> Named {
        let mut named = Named::default();
        for line in stderr::messages(&finished.stderr) {
            let (names, rest) = if let Some(rest) = line.strip_prefix(self.message) {
                (&mut named.snapshots, rest)
            } else if let Some(rest) = line.strip_prefix("cannot open '") {
                (&mut named.datasets, rest)
            } else {
                named.unnamed += 1;
                continue;
            };
            let Some((name, description)) = rest.split_once("': ") else {
                continue;
            };
            names.insert(name.to_owned(), self.outcome(name, description));
        }
        named
    }

    fn outcome(&self, name: &str, description: &str) -> Outcome {
        if description == self.settled {
            return Outcome::AlreadyDone;
        }
        match stderr::reason_of_description(self.operation, description) {
            Reason::NotFound => Outcome::Missing,
            reason => Outcome::Failed(
                ZfsError::new(self.operation, name, reason).with_detail(description),
            ),
        }
    }

    /// Finds out what became of one snapshot.
    fn look(&self, cli: &Cli, tag: &str, snapshot: &SnapshotName, error: ZfsError) -> Outcome {
        let is_there: Result<bool> = list::holds(cli, snapshot)
            .map(|holds| holds.iter().any(|hold| hold.tag.as_str() == tag));
        match is_there {
            Ok(is_there) if is_there == self.present => Outcome::Done,
            Err(missing) if missing.is_not_found() => Outcome::Missing,
            _ => Outcome::Failed(error.on(snapshot.as_str())),
        }
    }
}

#[cfg(test)]
mod tests;
