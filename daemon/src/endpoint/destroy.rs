//! Destroying snapshots for whoever asks: a request with its dataset flows in, what became of each snapshot flows out, in the order of
//! the request. All that one dataset loses goes in one call, together with what others destroy in the pool at the same time.

use zfs_safe::Outcome;
use zfs_safe::name::{DatasetPath, NameError, SnapshotName};
use zrepl_proto::pdu::{DestroySnapshotRes, DestroySnapshotsRes, FilesystemVersion, VersionType};

use super::local_zfs::LocalZfs;

/// Why nothing is destroyed at all.
#[derive(Debug, thiserror::Error)]
pub enum DestroyError {
    /// A bookmark is named, or something unknown.
    #[error("version {0:?} is not a snapshot")]
    NotASnapshot(String),
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
    let names: Vec<Result<SnapshotName, NameError>> = versions
        .iter()
        .map(|version| dataset.snapshot(&version.name))
        .collect();
    let snapshots: Vec<_> = names.iter().flatten().cloned().collect();
    let outcomes = if snapshots.is_empty() {
        Vec::new()
    } else {
        // What is to be released must not hold them.
        zfs.finish_removals_blocking(&dataset.pool());
        zfs.commit().destroy_snapshots(&snapshots)
    };
    let mut outcomes = outcomes.into_iter();
    let results = versions.into_iter().zip(names).map(|(version, name)| {
        let failed = match name {
            Err(error) => Some(error.to_string()),
            Ok(name) => match outcomes.next() {
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
