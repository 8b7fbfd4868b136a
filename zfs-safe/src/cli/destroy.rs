//! Destroying snapshots and bookmarks.

use std::collections::BTreeMap;

use super::command::{ARGUMENT_BYTES, Exit, Finished};
use super::{Cli, list, stderr};
use crate::error::{Operation, Reason, Result, ZfsError};
use crate::name::{BookmarkName, DatasetPath, HoldTag, PoolName, SnapshotName};
use crate::outcome::Outcome;

/// Most snapshots destroyed by one command: each costs sync-context time in which the whole pool waits.
const DESTROY_CHUNK: usize = 250;

pub(super) fn snapshots(cli: &Cli, snapshots: &[SnapshotName]) -> Vec<Outcome> {
    let mut datasets: BTreeMap<DatasetPath, Vec<&str>> = BTreeMap::new();
    for snapshot in snapshots {
        let names = datasets.entry(snapshot.dataset()).or_default();
        if !names.contains(&snapshot.name()) {
            names.push(snapshot.name());
        }
    }
    let mut kept = BTreeMap::new();
    for (dataset, names) in &datasets {
        for names in chunks(dataset, names) {
            destroy_chunk(cli, dataset, names.to_vec(), &mut kept);
        }
    }
    let outcome = |name: &SnapshotName| {
        kept.get(name.as_str())
            .cloned()
            .map_or(Outcome::Done, Outcome::Failed)
    };
    snapshots.iter().map(outcome).collect()
}

/// All names of a chunk go into one argument.
fn chunks<'n, 's>(dataset: &DatasetPath, names: &'n [&'s str]) -> Vec<&'n [&'s str]> {
    let mut chunks = Vec::new();
    let mut rest = names;
    while !rest.is_empty() {
        let mut bytes = dataset.as_str().len();
        let fitting = rest.iter().take(DESTROY_CHUNK).take_while(|name| {
            bytes += name.len() + 1;
            bytes <= ARGUMENT_BYTES
        });
        let (chunk, others) = rest.split_at(fitting.count().max(1));
        chunks.push(chunk);
        rest = others;
    }
    chunks
}

/// Destroys snapshots of one dataset and adds those that stay to `kept`. One that cannot be destroyed stops the others of
/// its command, so it is taken out and the rest submitted again.
fn destroy_chunk(
    cli: &Cli,
    dataset: &DatasetPath,
    names: Vec<&str>,
    kept: &mut BTreeMap<String, ZfsError>,
) {
    let mut names = names;
    while !names.is_empty() {
        match destroy_all(cli, dataset, &names) {
            Ok(stubborn) if stubborn.is_empty() => return,
            Ok(stubborn) => {
                names.retain(|name| !stubborn.contains_key(name));
                for (name, description) in stubborn {
                    let snapshot = format!("{dataset}@{name}");
                    kept.insert(snapshot.clone(), explain(cli, &snapshot, &description));
                }
            }
            Err(error) => {
                for name in names {
                    let snapshot = format!("{dataset}@{name}");
                    kept.insert(snapshot.clone(), error.clone().on(snapshot));
                }
                return;
            }
        }
    }
}

/// One command: which snapshots have stopped it and why; none if all are gone.
fn destroy_all<'n>(
    cli: &Cli,
    dataset: &DatasetPath,
    names: &[&'n str],
) -> Result<BTreeMap<&'n str, String>> {
    let operation = Operation::DestroySnapshots;
    let operand = format!("{dataset}@{}", names.join(","));
    let finished = cli
        .zfs("destroy")
        .operands([operand])
        .run(operation, dataset.as_str())?;
    let Some(error) = finished.failure(operation, dataset.as_str()) else {
        return Ok(BTreeMap::new());
    };
    if error.is_not_found() || nothing_to_destroy(&finished) {
        return check_pool(cli, operation, &dataset.pool()).map(|()| BTreeMap::new());
    }
    let stubborn = undestroyable(&finished, dataset, names);
    if stubborn.is_empty() {
        Err(error)
    } else {
        Ok(stubborn)
    }
}

fn nothing_to_destroy(finished: &Finished) -> bool {
    const NOTHING: &str = "could not find any snapshots to destroy; check snapshot names.";
    finished.exit == Exit::Code(1) && stderr::messages(&finished.stderr).eq([NOTHING])
}

/// Snapshots that the messages name, with what they say: `cannot destroy 'NAME': …` from a check of zfs(8), which looks for
/// clones first, `cannot destroy snapshot NAME: …` from the kernel.
fn undestroyable<'n>(
    finished: &Finished,
    dataset: &DatasetPath,
    names: &[&'n str],
) -> BTreeMap<&'n str, String> {
    let mut found = BTreeMap::new();
    for line in stderr::messages(&finished.stderr) {
        let Some(rest) = line.strip_prefix("cannot destroy ") else {
            continue;
        };
        for name in names {
            let prefixes = [
                format!("'{dataset}@{name}': "),
                format!("snapshot {dataset}@{name}: "),
            ];
            if let Some(description) = prefixes
                .iter()
                .find_map(|prefix| rest.strip_prefix(prefix.as_str()))
            {
                found.insert(*name, description.to_owned());
            }
        }
    }
    found
}

/// The error of a snapshot that cannot be destroyed, with who holds it or what was cloned from it.
///
/// For the kernel holds come first, for zfs(8) clones; and before 2.3 zfs(8) says of a held snapshot that it is busy.
fn explain(cli: &Cli, snapshot: &str, description: &str) -> ZfsError {
    let operation = Operation::DestroySnapshots;
    let told = stderr::reason_of_description(operation, description);
    let reason = match told {
        Reason::Busy | Reason::Held(_) | Reason::HasClones(_) => {
            match (holders(cli, snapshot), told) {
                (Ok(tags), _) if !tags.is_empty() => Reason::Held(tags),
                (_, Reason::HasClones(_)) => Reason::HasClones(clones(cli, snapshot)),
                (Err(_), Reason::Held(_)) => Reason::Held(Vec::new()),
                _ => Reason::Busy,
            }
        }
        other => other,
    };
    ZfsError::new(operation, snapshot, reason).with_detail(description)
}

fn holders(cli: &Cli, snapshot: &str) -> Result<Vec<HoldTag>> {
    let name = SnapshotName::new(snapshot)
        .map_err(|error| ZfsError::new(Operation::ListHolds, snapshot, Reason::from(error)))?;
    Ok(list::holds(cli, &name)?
        .into_iter()
        .map(|hold| hold.tag)
        .collect())
}

fn clones(cli: &Cli, snapshot: &str) -> Vec<DatasetPath> {
    let values = list::read(
        cli,
        Operation::DestroySnapshots,
        snapshot,
        &["guid", "clones"],
    )
    .unwrap_or_default();
    let names = values
        .get("clones")
        .map_or("", |value| value.value.as_str());
    let mut clones: Vec<_> = names
        .split(',')
        .filter_map(|name| DatasetPath::new(name).ok())
        .collect();
    clones.sort();
    clones
}

/// An error unless the pool can be looked into. zfs(8) calls what it cannot look at missing, and nothing shall be called
/// destroyed that may be there.
fn check_pool(cli: &Cli, operation: Operation, pool: &PoolName) -> Result<()> {
    cli.zfs("list")
        .args(["-H", "-o", "name", "-t", "filesystem"])
        .operands([pool.as_str()])
        .success(operation, pool.as_str())
        .map(drop)
}

pub(super) fn bookmarks(cli: &Cli, bookmarks: &[BookmarkName]) -> Vec<Outcome> {
    let operation = Operation::DestroyBookmarks;
    bookmarks
        .iter()
        .map(|bookmark| {
            let finished = match cli
                .zfs("destroy")
                .operands([bookmark.as_str()])
                .run(operation, bookmark.as_str())
            {
                Ok(finished) => finished,
                Err(error) => return Outcome::Failed(error),
            };
            let Some(error) = finished.failure(operation, bookmark.as_str()) else {
                return Outcome::Done;
            };
            let absent = format!("bookmark '{bookmark}' does not exist.");
            if !stderr::messages(&finished.stderr).any(|line| line == absent) {
                return Outcome::Failed(error);
            }
            // So it says for a missing or suspended pool as well.
            match check_pool(cli, operation, &bookmark.pool()) {
                Ok(()) => Outcome::Done,
                Err(error) => Outcome::Failed(error.on(bookmark.as_str())),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests;
