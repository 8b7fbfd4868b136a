//! Which datasets the other side may reach, and under which names. The name of a filesystem in a request flows in; the local dataset,
//! or why there is none for this peer, flows out. On a receiver everything a client can name is below `root_fs/<its identity>`; on a
//! sender only what passes the job's filter exists. What a sender checks beyond names is in [`send`].
//!
//! Error texts are zrepl's where it has them (`internal/zfs/datasetpath.go`, `internal/endpoint/endpoint.go`), because peers show
//! them to users. The rules are the kernel's, which are stricter.

use zfs_safe::name::{DatasetPath, NameError};

use crate::filter::FilesystemFilter;
use crate::name::ClientIdentity;

pub mod send;

/// Why the other side does not get what it asks for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccessError {
    /// No filesystem is named.
    #[error("empty filesystem not allowed")]
    Empty,
    /// The name has a character that zrepl allows in no name.
    #[error("contains forbidden characters (any of '{FORBIDDEN}')")]
    Forbidden,
    /// The name, or what it becomes below the root, is none that ZFS allows.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The job's filter excludes the filesystem.
    #[error("endpoint does not allow access to filesystem {dataset}")]
    NotInFilter {
        /// The filesystem.
        dataset: DatasetPath,
    },
    /// The name ends with a slash.
    #[error("must not end with a '/'")]
    TrailingSlash,
}

/// Wire constant: the characters as zrepl lists them in its error.
const FORBIDDEN: &str = "@#|\t<>*";

/// Below which dataset a receiver files what it receives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceiveRoot {
    root_fs: DatasetPath,
    client_root: DatasetPath,
}

impl ReceiveRoot {
    /// The root of a pull job: `root_fs` itself.
    pub fn of_pull(root_fs: DatasetPath) -> Self {
        Self {
            client_root: root_fs.clone(),
            root_fs,
        }
    }

    /// The root that a sink job has for one client: `root_fs/<client>`.
    pub fn of_client(root_fs: DatasetPath, client: &ClientIdentity) -> Result<Self, NameError> {
        Ok(Self {
            client_root: root_fs.join(client.as_str())?,
            root_fs,
        })
    }

    /// The dataset that is configured, which must exist.
    pub fn root_fs(&self) -> &DatasetPath {
        &self.root_fs
    }

    /// The dataset below which the client's filesystems are.
    pub fn client_root(&self) -> &DatasetPath {
        &self.client_root
    }

    /// The dataset that the other side means by `filesystem`: always below [`client_root`](Self::client_root).
    pub fn to_local(&self, filesystem: &str) -> Result<DatasetPath, AccessError> {
        let filesystem = dataset(filesystem)?;
        Ok(self.client_root.join(filesystem.as_str())?)
    }

    /// What the other side calls `dataset`; `None` for what it cannot name, which includes its root itself.
    pub fn to_remote(&self, dataset: &DatasetPath) -> Option<DatasetPath> {
        let below = dataset
            .as_str()
            .strip_prefix(self.client_root.as_str())?
            .strip_prefix('/')?;
        DatasetPath::new(below).ok()
    }
}

/// The dataset that `filesystem` names on a sender, if it is one of those that the job sends.
pub fn on_sender(filter: &FilesystemFilter, filesystem: &str) -> Result<DatasetPath, AccessError> {
    let dataset = dataset(filesystem)?;
    if filter.accepts(dataset.as_str()) {
        Ok(dataset)
    } else {
        Err(AccessError::NotInFilter { dataset })
    }
}

fn dataset(filesystem: &str) -> Result<DatasetPath, AccessError> {
    if filesystem.is_empty() {
        Err(AccessError::Empty)
    } else if filesystem.contains(|c| FORBIDDEN.contains(c)) {
        Err(AccessError::Forbidden)
    } else if filesystem.ends_with('/') {
        Err(AccessError::TrailingSlash)
    } else {
        Ok(DatasetPath::new(filesystem)?)
    }
}

#[cfg(test)]
mod tests;
