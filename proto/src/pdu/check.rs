//! What must not be sent: a message flows in, the first reason against it flows out.
//!
//! A panic in a handler ends the whole Go daemon, and these inputs cause one (recorded, or read in `internal/endpoint`,
//! `internal/replication/logic/pdu` and `internal/zfs`): no ReplicationConfig, a version type other than 0 and 1, a creation
//! that does not parse, an illegal version name, a bookmark as the end of a step, a result without its snapshot. The
//! other reasons here are orderly errors at every peer; they are found sooner this way.

use super::{
    CreationError, DestroySnapshotRes, DestroySnapshotsReq, DestroySnapshotsRes, FilesystemVersion,
    GuaranteeError, ListFilesystemReq, ListFilesystemRes, ListFilesystemVersionsReq,
    ListFilesystemVersionsRes, PingReq, PingRes, Protection, ReceiveReq, ReceiveRes,
    ReplicationConfig, ReplicationCursorReq, ReplicationCursorRes, SendCompletedReq,
    SendCompletedRes, SendReq, SendRes, VersionType, excerpt,
};

/// The longest name of a version: the kernel's limit for whole names.
const MAX_NAME_LEN: usize = 255;

/// A message that can be checked before it is sent.
pub trait Check: prost::Message {
    /// Refuses a message that could end a Go peer, or that no peer can act on.
    fn check(&self) -> Result<(), PduError> {
        Ok(())
    }
}

/// Why a message must not be sent, or cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PduError {
    /// A field that has to be there is not.
    #[error("{message} has no {field}")]
    Missing {
        /// The message, as the schema calls it.
        message: &'static str,
        /// The field, as the schema calls it.
        field: &'static str,
    },
    /// Neither snapshot nor bookmark.
    #[error("version type {0} is unknown")]
    VersionType(i32),
    /// Not the name of a version.
    #[error("version name {0:?} is not valid")]
    VersionName(String),
    /// Not a time.
    #[error(transparent)]
    Creation(#[from] CreationError),
    /// A bookmark where only a snapshot will do.
    #[error("{message} names bookmark {name:?}, expected a snapshot")]
    Bookmark {
        /// The message, as the schema calls it.
        message: &'static str,
        /// Name of the bookmark.
        name: String,
    },
    /// No promise that can be kept.
    #[error(transparent)]
    Guarantee(#[from] GuaranteeError),
}

impl Check for PingReq {}
impl Check for PingRes {}
impl Check for ListFilesystemReq {}
impl Check for ListFilesystemRes {}
impl Check for ListFilesystemVersionsReq {}
impl Check for ReplicationCursorReq {}
impl Check for SendRes {}
impl Check for SendCompletedRes {}
impl Check for ReceiveRes {}

impl Check for FilesystemVersion {
    fn check(&self) -> Result<(), PduError> {
        self.version_type()?;
        if !is_version_name(&self.name) {
            return Err(PduError::VersionName(excerpt(&self.name)));
        }
        self.created()?;
        Ok(())
    }
}

impl Check for ListFilesystemVersionsRes {
    fn check(&self) -> Result<(), PduError> {
        self.versions.iter().try_for_each(Check::check)
    }
}

impl Check for SendReq {
    fn check(&self) -> Result<(), PduError> {
        self.from.iter().try_for_each(Check::check)?;
        check_snapshot("SendReq", self.to.as_ref())?;
        check_config("SendReq", self.replication_config.as_ref())
    }
}

impl Check for SendCompletedReq {
    fn check(&self) -> Result<(), PduError> {
        self.original_req
            .as_ref()
            .ok_or(PduError::Missing {
                message: "SendCompletedReq",
                field: "OriginalReq",
            })?
            .check()
    }
}

impl Check for ReceiveReq {
    fn check(&self) -> Result<(), PduError> {
        check_snapshot("ReceiveReq", self.to.as_ref())?;
        check_config("ReceiveReq", self.replication_config.as_ref())
    }
}

impl Check for DestroySnapshotsReq {
    fn check(&self) -> Result<(), PduError> {
        self.snapshots
            .iter()
            .try_for_each(|version| check_is_snapshot("DestroySnapshotsReq", version))
    }
}

impl Check for DestroySnapshotRes {
    /// What the snapshot looks like is the business of who asked.
    fn check(&self) -> Result<(), PduError> {
        match self.snapshot {
            Some(_) => Ok(()),
            None => Err(PduError::Missing {
                message: "DestroySnapshotRes",
                field: "Snapshot",
            }),
        }
    }
}

impl Check for DestroySnapshotsRes {
    fn check(&self) -> Result<(), PduError> {
        self.results.iter().try_for_each(Check::check)
    }
}

impl Check for ReplicationCursorRes {
    fn check(&self) -> Result<(), PduError> {
        self.cursor().map(|_| ())
    }
}

/// The end of a step.
fn check_snapshot(message: &'static str, to: Option<&FilesystemVersion>) -> Result<(), PduError> {
    let field = "To";
    check_is_snapshot(message, to.ok_or(PduError::Missing { message, field })?)
}

fn check_is_snapshot(message: &'static str, version: &FilesystemVersion) -> Result<(), PduError> {
    version.check()?;
    match version.version_type()? {
        VersionType::Snapshot => Ok(()),
        VersionType::Bookmark => Err(PduError::Bookmark {
            message,
            name: version.name.clone(),
        }),
    }
}

fn check_config(message: &'static str, config: Option<&ReplicationConfig>) -> Result<(), PduError> {
    let field = "ReplicationConfig";
    Protection::try_from(config.ok_or(PduError::Missing { message, field })?)?;
    Ok(())
}

/// The kernel's rule for what follows `@` or `#`, which is also zrepl's.
fn is_version_name(name: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.: ".contains(&byte);
    (1..=MAX_NAME_LEN).contains(&name.len())
        && name.bytes().all(is_allowed)
        && !matches!(name, "." | "..")
}
