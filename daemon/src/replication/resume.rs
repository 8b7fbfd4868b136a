//! What becomes of a receive that was interrupted: the receiver's token and both histories flow in, the steps that go on from
//! it flow out, or the reason why it cannot be continued. A token never stands in the way: one that cannot be used is
//! discarded by rule, and the filesystem is planned as if there were none. Nothing is lost by that before something else
//! arrives, because the receiver gives up a partial receive only for the stream that takes its place.

use zfs_safe::guid::Guid;
use zfs_safe::name::{DatasetPath, SnapshotName};
use zfs_safe::resume_token::{ResumeToken, ResumeTokenError};

use super::incremental_path::History;
use super::step::{Step, steps};
use super::version::{Version, distinct_snapshots};
use crate::config::transfer::SendOptions;

/// What the sender's configuration says about streams, if it is known: a pull job does not know that of its source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamPolicy {
    /// Only encrypted filesystems are sent, as they are on disk.
    pub encrypted: bool,
    /// Filesystems that are not encrypted are sent as they are on disk.
    pub raw: bool,
}

/// A token that one of the sides would not continue with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedToken {
    /// The token.
    pub token: String,
    /// What the side said.
    pub reason: String,
}

/// How an interrupted receive goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resumption {
    /// The interrupted step, and one for each later snapshot: one at least.
    pub steps: Vec<Step>,
    /// How much of the interrupted step has arrived.
    pub bytes: u64,
}

/// Why a token is discarded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// It is damaged, or of a version of ZFS that we do not know.
    #[error("it cannot be decoded")]
    Undecodable(#[source] ResumeTokenError),
    /// A side refused it.
    #[error("it was refused: {0}")]
    Refused(String),
    /// It belongs to another filesystem, or this one had another name then. Every sender refuses that.
    #[error("its field `toname` = {to_name:?} is not of this filesystem")]
    OtherFilesystem {
        /// The snapshot it names.
        to_name: String,
    },
    /// What was being sent is not on the sender any more, or only a bookmark of it.
    #[error("its `toguid` = {guid} is not found on the sender (`toname` = {to_name:?})")]
    TargetGone {
        /// The snapshot.
        guid: Guid,
        /// Its name when the receive began.
        to_name: String,
    },
    /// What the stream started from is not on the sender any more.
    #[error("its `fromguid` = {guid} is not found on the sender")]
    BaseGone {
        /// The version.
        guid: Guid,
    },
    /// The stream would end before it starts.
    #[error("its base {from} is not older than its target {to}")]
    Backwards {
        /// The base on the sender.
        from: String,
        /// The target on the sender.
        to: String,
    },
    /// The target arrived in another way.
    #[error("its target {to} is already on the receiver")]
    AlreadyReceived {
        /// The target on the sender.
        to: String,
    },
    /// The receiver's newest snapshot is not the one that the stream starts from: the receive would fail at its very end.
    #[error("{}", base_moved(.newest.as_deref()))]
    BaseMoved {
        /// The receiver's newest snapshot, if it has any.
        newest: Option<String>,
    },
    /// The stream is encrypted and must not be, or the other way round.
    #[error("{}", policy(*.raw))]
    Policy {
        /// The stream has blocks as they are on disk.
        raw: bool,
    },
}

/// Decides about a token.
pub fn resume(
    token: &str,
    refused: Option<&RefusedToken>,
    filesystem: &DatasetPath,
    (sender, receiver): (&History, &History),
    policy: Option<StreamPolicy>,
) -> Result<Resumption, Unusable> {
    if let Some(refused) = refused.filter(|refused| refused.token == token) {
        return Err(Unusable::Refused(refused.reason.clone()));
    }
    let decoded = ResumeToken::decode(token).map_err(Unusable::Undecodable)?;
    let is_of_filesystem =
        SnapshotName::new(&*decoded.to_name).is_ok_and(|name| name.dataset() == *filesystem);
    if !is_of_filesystem {
        return Err(Unusable::OtherFilesystem {
            to_name: decoded.to_name,
        });
    }
    if policy.is_some_and(|policy| !policy.allows(decoded.raw)) {
        return Err(Unusable::Policy { raw: decoded.raw });
    }
    let (from, to, later) = ends(&decoded, sender)?;
    check_receiver(from, to, receiver)?;

    let seen = [from.map_or(to.guid(), Version::guid), to.guid()];
    let mut steps = steps(
        Some(to.clone()),
        distinct_snapshots(&sender.versions()[later..], &seen),
    );
    steps.insert(
        0,
        Step {
            from: from.cloned(),
            to: to.clone(),
            resume_token: Some(token.to_owned()),
        },
    );
    Ok(Resumption {
        steps,
        bytes: decoded.bytes,
    })
}

/// Base and target on the sender, and where in its history the versions after the target begin.
fn ends<'a>(
    token: &ResumeToken,
    sender: &'a History,
) -> Result<(Option<&'a Version>, &'a Version, usize), Unusable> {
    // From the newest on: the snapshot rather than its bookmarks.
    let newest_with =
        |guid, is_target: bool| {
            sender.versions().iter().enumerate().rfind(|(_, version)| {
                version.guid() == guid && (version.is_snapshot() || !is_target)
            })
        };
    let Some((at, to)) = newest_with(token.to_guid, true) else {
        return Err(Unusable::TargetGone {
            guid: token.to_guid,
            to_name: token.to_name.clone(),
        });
    };
    let from = match token.from_guid {
        None => None,
        // 0.7.0 asks for a full stream here, which its sender refuses each time.
        Some(guid) => match newest_with(guid, false) {
            None => return Err(Unusable::BaseGone { guid }),
            Some((_, from)) if from.createtxg() >= to.createtxg() => {
                return Err(Unusable::Backwards {
                    from: from.to_string(),
                    to: to.to_string(),
                });
            }
            Some((_, from)) => Some(from),
        },
    };
    Ok((from, to, at + 1))
}

/// A receive into a filesystem that has changed since fails only after everything was sent.
fn check_receiver(
    from: Option<&Version>,
    to: &Version,
    receiver: &History,
) -> Result<(), Unusable> {
    if receiver.snapshots().any(|it| it.guid() == to.guid()) {
        return Err(Unusable::AlreadyReceived { to: to.to_string() });
    }
    let newest = receiver.snapshots().next_back();
    if newest.map(Version::guid) == from.map(Version::guid) {
        Ok(())
    } else {
        Err(Unusable::BaseMoved {
            newest: newest.map(ToString::to_string),
        })
    }
}

impl StreamPolicy {
    /// Would the sender continue a stream with, or without, blocks as they are on disk? A sender also looks whether the
    /// filesystem is encrypted, which is not known here. So a raw token is refused by a policy of plain streams even if the
    /// filesystem is not encrypted and its sender would take it.
    fn allows(self, raw: bool) -> bool {
        match self {
            Self {
                encrypted: true, ..
            } => raw,
            Self { raw: true, .. } => true,
            Self { raw: false, .. } => !raw,
        }
    }
}

impl From<&SendOptions> for StreamPolicy {
    fn from(options: &SendOptions) -> Self {
        Self {
            encrypted: options.encrypted,
            raw: options.raw,
        }
    }
}

fn base_moved(newest: Option<&str>) -> String {
    newest.map_or_else(
        || "its base is not on the receiver, which has no snapshots".to_owned(),
        |newest| format!("its base is not the receiver's newest snapshot {newest}"),
    )
}

fn policy(raw: bool) -> &'static str {
    if raw {
        "it has rawok=true, but policy mandates unencrypted sends"
    } else {
        "it does not have rawok=true, but policy mandates encrypted sends"
    }
}

#[cfg(test)]
mod tests;
