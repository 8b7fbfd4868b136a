//! What is in the place of a filesystem that is to be received: nothing, a placeholder, or the filesystem as it was received before.

use zfs_safe::ZfsError;
use zfs_safe::name::{DatasetPath, EntityName, SnapshotName, VersionName};
use zfs_safe::property::PropertyName;
use zfs_safe::zfs::{DatasetQuery, VersionQuery};

use crate::endpoint::local_zfs::LocalZfs;
use crate::endpoint::placeholder::{self, PROPERTY, is_placeholder, local_value};

/// The property whose value, other than `-`, is the token of an interrupted receive.
pub(super) const RESUME_TOKEN: &str = "receive_resume_token";

/// The value of [`PROPERTY`] from the moment when a placeholder begins to be replaced until what replaces it has arrived. Every
/// zrepl takes it for no placeholder; but as long as there are no snapshots we know that nothing of value is there.
pub(super) const REPLACING: &str = "replacing";

/// What is in a target's place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) dataset: DatasetPath,
    pub(super) kind: Kind,
    /// Where a receive was interrupted.
    pub(super) resume_token: Option<String>,
    /// Is it encrypted, by itself or with its parent?
    pub(super) is_encrypted: bool,
}

/// Which of the three it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nothing.
    Absent,
    /// A filesystem that stands in for a parent.
    Placeholder,
    /// A placeholder, into which something was being received.
    Replacing,
    /// Anything else: nothing of it is destroyed.
    Received,
}

/// Names of properties that are constants.
pub(super) fn property(name: &str) -> PropertyName {
    name.parse().expect("a constant")
}

impl Target {
    /// Looks. Blocks.
    pub(super) fn read(zfs: &LocalZfs, dataset: &DatasetPath) -> Result<Self, ZfsError> {
        let wanted = [PROPERTY, RESUME_TOKEN, "encryption"].map(property);
        let mut target = Self {
            dataset: dataset.clone(),
            kind: Kind::Absent,
            resume_token: None,
            is_encrypted: false,
        };
        let properties = match zfs
            .zfs()
            .properties(&EntityName::from(dataset.clone()), &wanted)
        {
            Ok(properties) => properties,
            Err(error) if error.is_not_found() => return Ok(target),
            Err(error) => return Err(error),
        };
        let value = |name: &str| {
            properties
                .iter()
                .find(|property| property.name.as_str() == name)
                .map(|property| property.value.as_str())
                .filter(|value| !matches!(*value, "" | "-"))
        };
        target.resume_token = value(RESUME_TOKEN).map(str::to_owned);
        target.is_encrypted = value("encryption").is_some_and(|value| value != "off");
        target.kind = match local_value(&properties) {
            REPLACING => Kind::Replacing,
            local if is_placeholder(dataset.as_str(), local) => Kind::Placeholder,
            _ => Kind::Received,
        };
        if target.kind == Kind::Replacing && !target.snapshots(zfs)?.is_empty() {
            target.kind = Kind::Received;
        }
        Ok(target)
    }

    /// Its snapshots, oldest first. Blocks.
    pub(super) fn snapshots(&self, zfs: &LocalZfs) -> Result<Vec<SnapshotName>, ZfsError> {
        let versions = zfs
            .zfs()
            .versions(&self.dataset, &VersionQuery::SNAPSHOTS)?;
        Ok(versions
            .into_iter()
            .filter_map(|version| match version.name {
                VersionName::Snapshot(name) => Some(name),
                VersionName::Bookmark(_) => None,
            })
            .collect())
    }

    /// Are there datasets below it? Blocks.
    pub(super) fn has_children(&self, zfs: &LocalZfs) -> Result<bool, ZfsError> {
        let query = DatasetQuery {
            properties: Vec::new(),
            depth: Some(1),
        };
        let found = zfs
            .zfs()
            .datasets(std::slice::from_ref(&self.dataset), &query)?;
        Ok(found.len() > 1)
    }

    /// Writes down what it is from now on: [`REPLACING`], [`placeholder::ON`] or [`placeholder::OFF`]. Blocks.
    pub(super) fn mark(&self, zfs: &LocalZfs, value: &'static str) -> Result<(), ZfsError> {
        let entity = EntityName::from(self.dataset.clone());
        zfs.zfs()
            .set_properties(&entity, &[(property(PROPERTY), value.to_owned())])?;
        if value != placeholder::ON {
            tracing::info!(fs = %self.dataset, value, "clearing placeholder property");
        }
        Ok(())
    }
}
