//! Destroys the snapshots that a request names, all in as few calls as ZFS allows, and says of each what became of it.

use zfs_safe::Outcome;
use zfs_safe::name::{DatasetPath, SnapshotName, VersionName};
use zrepl_proto::pdu::{DestroySnapshotRes, DestroySnapshotsRes, FilesystemVersion};

use super::local_zfs::LocalZfs;
use super::{EndpointError, listing};

/// Destroys snapshots of `dataset`. One that is not there any more counts as destroyed. A name that ZFS would refuse fails the
/// whole request, before anything is destroyed.
pub(super) async fn destroy(
    zfs: &LocalZfs,
    dataset: DatasetPath,
    versions: Vec<FilesystemVersion>,
) -> Result<DestroySnapshotsRes, EndpointError> {
    let snapshots: Vec<SnapshotName> = versions
        .iter()
        .map(|version| match listing::name(&dataset, version) {
            Ok(VersionName::Snapshot(snapshot)) => Ok(snapshot),
            Ok(VersionName::Bookmark(_)) => {
                let name = &version.name;
                Err(EndpointError::Failed(format!(
                    "version {name:?} is not a snapshot"
                )))
            }
            Err(error) => Err(EndpointError::Failed(error.to_string())),
        })
        .collect::<Result<_, _>>()?;
    let outcomes = zfs
        .run(move |zfs| {
            if snapshots.is_empty() {
                return Vec::new();
            }
            zfs.commit().destroy_snapshots(&snapshots)
        })
        .await;
    let results = versions
        .into_iter()
        .zip(outcomes)
        .map(|(version, outcome)| match outcome {
            Outcome::Done | Outcome::AlreadyDone | Outcome::Missing => {
                DestroySnapshotRes::destroyed(version)
            }
            Outcome::Failed(error) => DestroySnapshotRes::failed(version, error.to_string()),
            Outcome::NotTried => DestroySnapshotRes::failed(
                version,
                "not tried, because another snapshot of the same call could not be destroyed",
            ),
        });
    Ok(DestroySnapshotsRes {
        results: results.collect(),
    })
}
