//! A step that is asked for: a request of the other side and what ZFS says flow in, a step that exists and that the job's policy allows
//! flows out, or the first reason against it. Order and texts are those of zrepl 0.7.0 (`internal/zfs/zfs.go`), because a peer shows
//! them to its users.

use zfs_safe::ZfsError;
use zfs_safe::error::{Operation, Reason};
use zfs_safe::guid::Guid;
use zfs_safe::name::{DatasetPath, EntityName, NameError, SnapshotName, VersionName};
use zfs_safe::resume_token::{ResumeToken, ResumeTokenError};
use zfs_safe::version::FilesystemVersion;
use zfs_safe::zfs::{SendArgs, SendFlags};
use zrepl_proto::pdu::{self, PduError, SendReq, VersionType};

use crate::config::transfer::SendOptions;
use crate::endpoint::access::send::{PolicyError, RequestedStep, SendPolicy, TokenError};
use crate::endpoint::local_zfs::LocalZfs;

/// A step that may be sent.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) from: Option<FilesystemVersion>,
    pub(super) to: FilesystemVersion,
    /// The name of `to`.
    pub(super) snapshot: SnapshotName,
    pub(super) token: Option<ResumeToken>,
}

/// Why a step is not sent.
#[derive(Debug, thiserror::Error)]
pub(super) enum ArgumentError {
    #[error("`To` must not be nil")]
    NoTo,
    #[error("`To` invalid")]
    To(#[source] VersionError),
    #[error("`From` invalid")]
    From(#[source] VersionError),
    #[error("cannot check whether filesystem {:?} is encrypted", dataset.as_str())]
    Encryption {
        dataset: DatasetPath,
        source: ZfsError,
    },
    #[error(transparent)]
    Policy(#[from] PolicyError),
    #[error("resume token is corrupt")]
    CorruptToken(#[from] ResumeTokenError),
    #[error(transparent)]
    Token(#[from] TokenError),
}

/// Why a version that a peer names is none of ours.
#[derive(Debug, thiserror::Error)]
pub(super) enum VersionError {
    #[error(transparent)]
    Message(#[from] PduError),
    #[error(transparent)]
    Name(#[from] NameError),
    #[error("must not be nil")]
    Nothing,
    #[error("version must be a snapshot")]
    NotASnapshot,
    #[error("dataset {:?} does not exist", name.as_str())]
    Missing { name: VersionName },
    /// The numbers are as zrepl 0.7.0 has them, which prints them as characters.
    #[error("`GUID` field does not match real dataset's GUID: '{found}' != '{expected}'")]
    Guid { found: Guid, expected: Guid },
    #[error(transparent)]
    Zfs(ZfsError),
}

impl Step {
    /// Checks a request for a dataset that may be asked for. Blocks.
    pub(super) fn check(
        zfs: &LocalZfs,
        policy: SendPolicy,
        dataset: &DatasetPath,
        request: &SendReq,
    ) -> Result<Self, ArgumentError> {
        let to = request.to.as_ref().ok_or(ArgumentError::NoTo)?;
        let (snapshot, to) = find_snapshot(zfs, dataset, to).map_err(ArgumentError::To)?;
        let from = match &request.from {
            Some(from) => Some(
                name(dataset, from)
                    .and_then(|name| find(zfs, name, from))
                    .map_err(ArgumentError::From)?,
            ),
            None => None,
        };
        let is_encrypted =
            is_encrypted(zfs, dataset).map_err(|source| ArgumentError::Encryption {
                dataset: dataset.clone(),
                source,
            })?;
        policy.check_dataset(dataset, is_encrypted)?;
        let token = match request.resume_token.as_str() {
            "" => None,
            text => {
                let token = ResumeToken::decode(text)?;
                let step = RequestedStep {
                    dataset,
                    from: from.as_ref().map(|from| from.guid),
                    to: to.guid,
                };
                policy.check_token(&token, step, is_encrypted)?;
                Some(token)
            }
        };
        Ok(Self {
            from,
            to,
            snapshot,
            token,
        })
    }

    /// What ZFS is told.
    pub(super) fn args(&self, options: &SendOptions) -> SendArgs {
        // A stream that goes on has the form that it began with, and zrepl 0.7.0 says no more than the token to zfs(8).
        let flags = match self.token {
            Some(_) => SendFlags::default(),
            None => flags(options),
        };
        SendArgs {
            snapshot: self.snapshot.clone(),
            base: self.from.as_ref().map(|from| from.name.clone()),
            flags,
            resume: self.token.clone(),
        }
    }

    /// Does it start from a bookmark?
    pub(super) fn starts_from_bookmark(&self) -> bool {
        self.from.as_ref().is_some_and(|from| !from.is_snapshot())
    }
}

fn flags(options: &SendOptions) -> SendFlags {
    SendFlags {
        raw: options.encrypted || options.raw,
        compressed: options.compressed,
        embedded: options.embedded_data,
        large_blocks: options.large_blocks,
        saved: options.saved,
        properties: options.send_properties,
        backup: options.backup_properties,
    }
}

/// The snapshot that a peer names, if it is there and the same. Blocks.
pub(super) fn find_snapshot(
    zfs: &LocalZfs,
    dataset: &DatasetPath,
    wanted: &pdu::FilesystemVersion,
) -> Result<(SnapshotName, FilesystemVersion), VersionError> {
    match name(dataset, wanted)? {
        VersionName::Snapshot(snapshot) => {
            let found = find(zfs, snapshot.clone().into(), wanted)?;
            Ok((snapshot, found))
        }
        VersionName::Bookmark(_) => Err(VersionError::NotASnapshot),
    }
}

fn name(
    dataset: &DatasetPath,
    wanted: &pdu::FilesystemVersion,
) -> Result<VersionName, VersionError> {
    Ok(match wanted.version_type()? {
        VersionType::Snapshot => dataset.snapshot(&wanted.name)?.into(),
        VersionType::Bookmark => dataset.bookmark(&wanted.name)?.into(),
    })
}

fn find(
    zfs: &LocalZfs,
    name: VersionName,
    wanted: &pdu::FilesystemVersion,
) -> Result<FilesystemVersion, VersionError> {
    let found = match zfs.version(&name) {
        Err(error) if error.is_not_found() => return Err(VersionError::Missing { name }),
        other => other.map_err(VersionError::Zfs)?,
    };
    let expected = Guid::new(wanted.guid);
    if found.guid == expected {
        Ok(found)
    } else {
        let found = found.guid;
        Err(VersionError::Guid { found, expected })
    }
}

/// Only a definite "off" is no.
fn is_encrypted(zfs: &LocalZfs, dataset: &DatasetPath) -> zfs_safe::Result<bool> {
    const PROPERTY: &str = "encryption";
    let name = EntityName::from(dataset.clone());
    let wanted: Vec<_> = PROPERTY.parse().into_iter().collect();
    let found = zfs.zfs().properties(&name, &wanted)?;
    match found.first().map(|property| property.value.as_str()) {
        Some("off") => Ok(false),
        None | Some("" | "-") => {
            Err(
                ZfsError::new(Operation::ReadProperties, dataset.as_str(), Reason::Other)
                    .with_detail("no value of `encryption`"),
            )
        }
        Some(_) => Ok(true),
    }
}
