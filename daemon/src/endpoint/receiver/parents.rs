//! Makes the placeholders that a target needs above it. One is made under another name and then given its own, so that a filesystem
//! of that name always has the property that tells what it is: what ZFS makes and then sets properties of, a power failure could leave
//! without them, and nobody would ever dare to receive into it.

use std::collections::BTreeSet;

use zfs_safe::ZfsError;
use zfs_safe::error::Reason;
use zfs_safe::name::{DatasetPath, EntityName};
use zfs_safe::property::{PropertyError, PropertyName};

use crate::config::transfer::PlaceholderEncryption;
use crate::endpoint::access::ReceiveRoot;
use crate::endpoint::local_zfs::LocalZfs;
use crate::endpoint::placeholder::{Creation, PlaceholderError, missing_parents};

/// Follows the name of a placeholder that is being made.
const UNFINISHED: &str = ".zrepl.new";

/// Why there is no place for a target.
#[derive(Debug, thiserror::Error)]
pub(super) enum ParentsError {
    #[error(transparent)]
    Placeholder(#[from] PlaceholderError),
    #[error("cannot create placeholder filesystem {dataset}")]
    Create {
        dataset: DatasetPath,
        source: ZfsError,
    },
    #[error(transparent)]
    Zfs(#[from] ZfsError),
}

/// Makes all parents of `target` that are missing. Blocks. To be called under [`LocalZfs::making_parents`], so that others of this
/// process do not make the same at the same time; other processes may.
pub(super) fn make(
    zfs: &LocalZfs,
    root: &ReceiveRoot,
    target: &DatasetPath,
    encryption: PlaceholderEncryption,
) -> Result<(), ParentsError> {
    let exists = |dataset: &DatasetPath| zfs.zfs().exists(&EntityName::from(dataset.clone()));
    match target.parent() {
        // Mostly there is nothing to make, and this is all that is asked.
        Some(parent) if exists(&parent)? => return Ok(()),
        _ => {}
    }
    let mut ancestors: Vec<_> =
        std::iter::successors(target.parent(), DatasetPath::parent).collect();
    ancestors.reverse();
    let mut existing = BTreeSet::new();
    for ancestor in ancestors {
        if !exists(&ancestor)? {
            break;
        }
        existing.insert(ancestor);
    }
    for creation in missing_parents(root, target, &existing, encryption)? {
        create(zfs, &creation).map_err(|source| ParentsError::Create {
            dataset: creation.dataset.clone(),
            source,
        })?;
        tracing::info!(placeholder_fs = %creation.dataset, "created placeholder filesystem");
    }
    Ok(())
}

/// Makes one placeholder, whose parent exists. Blocks.
pub(super) fn create(zfs: &LocalZfs, creation: &Creation) -> Result<(), ZfsError> {
    let properties = creation
        .properties()
        .into_iter()
        .map(|(name, value)| Ok((name.parse()?, value.to_owned())))
        .collect::<Result<Vec<(PropertyName, String)>, PropertyError>>()
        .expect("the names of these properties are constants");
    let zfs = zfs.zfs();
    let Ok(unfinished) = DatasetPath::new(format!("{}{UNFINISHED}", creation.dataset)) else {
        // The name is so long that no other fits.
        return zfs.create_filesystem(&creation.dataset, &properties);
    };
    match zfs.create_filesystem(&unfinished, &properties) {
        Err(error) if error.reason == Reason::AlreadyExists => {
            // Left behind by somebody who was killed. Nothing can be in it.
            gone(zfs.destroy_dataset(&unfinished))?;
            zfs.create_filesystem(&unfinished, &properties)?;
        }
        created => created?,
    }
    match zfs.rename(&unfinished, &creation.dataset) {
        // Somebody was faster, be it another daemon.
        Err(error) if error.reason == Reason::AlreadyExists => {
            gone(zfs.destroy_dataset(&unfinished))
        }
        Err(error)
            if error.is_not_found()
                && zfs.exists(&EntityName::from(creation.dataset.clone()))? =>
        {
            Ok(())
        }
        renamed => renamed,
    }
}

/// What is not there any more need not be destroyed.
fn gone(destroyed: Result<(), ZfsError>) -> Result<(), ZfsError> {
    match destroyed {
        Err(error) if error.is_not_found() => Ok(()),
        destroyed => destroyed,
    }
}
