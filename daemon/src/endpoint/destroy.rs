//! Destroying snapshots for whoever asks: a request with its dataset flows in, what became of each snapshot flows out, in the order of
//! the request. All that one dataset loses goes in one call, together with what others destroy in the pool at the same time.

use std::collections::HashMap;

use zfs_safe::Outcome;
use zfs_safe::guid::Guid;
use zfs_safe::name::{DatasetPath, NameError, SnapshotName};
use zfs_safe::version::FilesystemVersion as FoundVersion;
use zrepl_proto::pdu::{DestroySnapshotRes, DestroySnapshotsRes, FilesystemVersion, VersionType};

use super::local_zfs::LocalZfs;

/// Why nothing is destroyed at all.
#[derive(Debug, thiserror::Error)]
pub enum DestroyError {
    /// A bookmark is named, or something unknown.
    #[error("version {0:?} is not a snapshot")]
    NotASnapshot(String),
}

/// Why one snapshot is not destroyed.
#[derive(Debug, thiserror::Error)]
enum NotTried {
    #[error(transparent)]
    Name(#[from] NameError),
    #[error(
        "cannot destroy snapshot {name}, because it cannot be seen whether it is the one that was to go: {problem}"
    )]
    Unknown { name: SnapshotName, problem: String },
    /// Whoever decided has seen another one of that name.
    #[error(
        "cannot destroy snapshot {name}: it has guid {found}, and the one that was to go had {announced}; it has been destroyed and \
         taken again meanwhile"
    )]
    Another {
        name: SnapshotName,
        announced: Guid,
        found: Guid,
    },
}

/// What snapshots there are now, by full name; none of a dataset that is gone.
fn guids(zfs: &LocalZfs, dataset: &DatasetPath) -> zfs_safe::Result<HashMap<String, Guid>> {
    let there = match zfs.snapshots(dataset) {
        Err(error) if error.is_not_found() => return Ok(HashMap::new()),
        there => there?,
    };
    let guid = |it: &FoundVersion| (it.name.as_str().to_owned(), it.guid);
    Ok(there.iter().map(guid).collect())
}

/// Destroys these snapshots of `dataset`. What is gone already is destroyed. Blocks for a transaction group.
pub fn destroy(
    zfs: &LocalZfs,
    dataset: &DatasetPath,
    versions: Vec<FilesystemVersion>,
) -> Result<DestroySnapshotsRes, DestroyError> {
    if let Some(other) = versions
        .iter()
        .find(|version| version.version_type() != Ok(VersionType::Snapshot))
    {
        return Err(DestroyError::NotASnapshot(excerpt(&other.name)));
    }
    if versions.is_empty() {
        return Ok(DestroySnapshotsRes::default());
    }
    // What is to be released must not hold them. Before the look at what is there: that must not be old when they go.
    zfs.finish_removals_blocking(&dataset.pool());
    // Nothing to try of those that are gone.
    let wanted: Vec<Result<Option<SnapshotName>, NotTried>> = {
        let there = guids(zfs, dataset);
        let check = |version: &FilesystemVersion| {
            let name = dataset.snapshot(&version.name)?;
            let there = there.as_ref().map_err(|error| NotTried::Unknown {
                name: name.clone(),
                problem: error.to_string(),
            })?;
            match there.get(name.as_str()) {
                Some(found) if *found != Guid::new(version.guid) => Err(NotTried::Another {
                    announced: Guid::new(version.guid),
                    found: *found,
                    name,
                }),
                Some(_) => Ok(Some(name)),
                // Destroyed already. One of that name that somebody takes from now on is another one.
                None => Ok(None),
            }
        };
        versions.iter().map(check).collect()
    };
    let snapshots: Vec<_> = wanted.iter().flatten().flatten().cloned().collect();
    let outcomes = if snapshots.is_empty() {
        Vec::new()
    } else {
        zfs.commit().destroy_snapshots(&snapshots)
    };
    let mut outcomes = outcomes.into_iter();
    let results = versions.into_iter().zip(wanted).map(|(version, name)| {
        let failed = match name {
            Err(error) => Some(error.to_string()),
            Ok(None) => None,
            Ok(Some(name)) => match outcomes.next() {
                Some(Outcome::Done | Outcome::AlreadyDone | Outcome::Missing) => None,
                Some(Outcome::Failed(error)) => Some(error.to_string()),
                Some(Outcome::NotTried) | None => {
                    Some(format!("cannot destroy snapshot {name}: not tried"))
                }
            },
        };
        match failed {
            Some(error) => DestroySnapshotRes::failed(version, error),
            None => DestroySnapshotRes::destroyed(version),
        }
    });
    Ok(DestroySnapshotsRes {
        results: results.collect(),
    })
}

/// Comes from the peer: an error need not repeat a megabyte.
fn excerpt(text: &str) -> String {
    text.chars().take(256).collect()
}
