//! From what both sides list to the steps of each filesystem: listings and policies flow in, plans with their reasons flow
//! out. Each filesystem is planned by itself, so that nothing about one of them can keep another from being replicated; and
//! whatever is listed, planning ends with steps, with nothing to do, or with an error that says why.

use std::collections::BTreeMap;
use std::fmt;

use zfs_safe::name::{DatasetPath, NameError};
use zrepl_proto::pdu;

use super::incremental_path::{History, incremental_path};
use super::resolution::{self, Unresolved};
use super::resume::{RefusedToken, StreamPolicy, Unusable, resume};
use super::step::{Step, steps};
use super::version::{Version, VersionError};
use crate::config::transfer::InitialReplication;

/// A filesystem of the sender and its counterpart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The name on the wire, the same for both sides.
    pub filesystem: DatasetPath,
    /// Is that of the sender a placeholder?
    pub sender_is_placeholder: bool,
    /// What the receiver has under this name.
    pub receiver: Option<Counterpart>,
}

/// What the receiver has under the name of a filesystem of the sender.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counterpart {
    /// Does it only stand in for a parent?
    pub is_placeholder: bool,
    /// Where a receive was interrupted.
    pub resume_token: Option<String>,
}

/// All filesystems of a sender.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pairs {
    /// Ordered by path, so parents come before their children.
    pub filesystems: Vec<Pair>,
    /// Names on the sender's list that no filesystem can have.
    pub invalid: Vec<NameError>,
}

/// What a filesystem is planned from.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The filesystem.
    pub pair: Pair,
    /// The sender's versions, in any order. Empty if [`Pair::needs_sender_versions`] says that they do not matter.
    pub sender: Vec<pdu::FilesystemVersion>,
    /// The receiver's versions, in any order. Empty if [`Pair::needs_receiver_versions`] says that they do not matter.
    pub receiver: Vec<pdu::FilesystemVersion>,
    /// A token that did not work before.
    pub refused: Option<RefusedToken>,
}

/// What the configuration says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// What the first replication of a filesystem sends.
    pub initial_replication: InitialReplication,
    /// What streams look like, if that is known.
    pub stream: Option<StreamPolicy>,
}

/// What is to be done for one filesystem, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilesystemPlan {
    /// The filesystem.
    pub filesystem: DatasetPath,
    /// Why the receiver's token is not used, if it is not.
    pub discarded_token: Option<Unusable>,
    /// Does the receiver have it already, with a snapshot at least? Its children can be received then, whatever happens to it.
    pub is_on_receiver: bool,
    /// The steps, or why there are none.
    pub outcome: Result<Steps, PlanningError>,
}

/// The steps of one filesystem, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Steps {
    /// May be empty.
    pub steps: Vec<Step>,
    /// Why these.
    pub reason: Reason,
}

/// Why a filesystem gets the steps it gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Incrementals up to the newest snapshot.
    Incremental {
        /// The newest version that both sides have.
        base: Version,
    },
    /// The first replication, with the newest snapshot only or with all of them, as the policy says.
    Initial {
        /// How many older snapshots are not sent.
        left_out: usize,
    },
    /// Nothing to do: the sender has no data of its own there.
    Placeholder,
    /// First of all an interrupted step is continued.
    Resumed {
        /// How much of it has arrived.
        bytes: u64,
    },
    /// Nothing to do.
    UpToDate {
        /// The newest version that both sides have.
        latest: Version,
    },
}

/// Which side a listing is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// Where snapshots come from.
    Sender,
    /// Where they go.
    Receiver,
}

/// Why a filesystem cannot be planned. Planning again changes nothing as long as both sides stay as they are.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanningError {
    /// What one of the sides lists cannot be understood.
    #[error("{side} lists versions that cannot be used")]
    Listing {
        /// The side.
        side: Side,
        /// The first one that cannot.
        source: VersionError,
    },
    /// The sender has nothing, the receiver has something.
    #[error("sender filesystem is placeholder, but receiver filesystem is not")]
    SenderIsPlaceholder,
    /// Neither snapshots nor bookmarks.
    #[error("sender does not have any versions")]
    NoSenderVersions,
    /// The histories do not fit, and no policy says what to do about it.
    #[error(transparent)]
    Conflict(#[from] Unresolved),
}

/// Finds the counterparts of all filesystems of the sender. Of filesystems that are listed twice, the first counts.
pub fn pair(sender: &[pdu::Filesystem], receiver: &[pdu::Filesystem]) -> Pairs {
    let counterparts = first_of_each(receiver.iter().map(|it| (it.path.as_str(), it)));
    let mut pairs = Pairs::default();
    for (path, listed) in first_of_each(sender.iter().map(|it| (it.path.as_str(), it))) {
        match DatasetPath::new(path) {
            Ok(filesystem) => pairs.filesystems.push(Pair {
                filesystem,
                sender_is_placeholder: listed.is_placeholder,
                receiver: counterparts.get(path).map(|it| Counterpart {
                    is_placeholder: it.is_placeholder,
                    resume_token: present(&it.resume_token),
                }),
            }),
            Err(error) => pairs.invalid.push(error),
        }
    }
    pairs
}

fn first_of_each<'a, T>(listed: impl Iterator<Item = (&'a str, T)>) -> BTreeMap<&'a str, T> {
    let mut first = BTreeMap::new();
    for (path, value) in listed {
        first.entry(path).or_insert(value);
    }
    first
}

/// `zfs get` writes `-` for a property that is not set.
fn present(token: &str) -> Option<String> {
    (!matches!(token, "" | "-")).then(|| token.to_owned())
}

impl Pair {
    /// Whether the sender's versions matter.
    pub fn needs_sender_versions(&self) -> bool {
        !self.sender_is_placeholder
    }

    /// Whether the receiver's versions matter. What a placeholder has does not: it gives way to what arrives.
    pub fn needs_receiver_versions(&self) -> bool {
        !self.sender_is_placeholder && self.has_real_counterpart()
    }

    fn has_real_counterpart(&self) -> bool {
        self.receiver.as_ref().is_some_and(|it| !it.is_placeholder)
    }

    fn resume_token(&self) -> Option<&str> {
        self.receiver.as_ref()?.resume_token.as_deref()
    }
}

/// Plans one filesystem.
pub fn plan(facts: Facts, policy: Policy) -> FilesystemPlan {
    let mut plan = FilesystemPlan {
        filesystem: facts.pair.filesystem.clone(),
        discarded_token: None,
        is_on_receiver: false,
        outcome: Err(PlanningError::NoSenderVersions),
    };
    plan.outcome = plan.decide(facts, policy);
    plan
}

impl FilesystemPlan {
    fn decide(&mut self, facts: Facts, policy: Policy) -> Result<Steps, PlanningError> {
        let pair = facts.pair;
        if pair.sender_is_placeholder {
            self.is_on_receiver = pair.has_real_counterpart() && pair.resume_token().is_none();
            return if pair.has_real_counterpart() {
                Err(PlanningError::SenderIsPlaceholder)
            } else {
                Ok(Steps::none(Reason::Placeholder))
            };
        }
        let receiver = if pair.has_real_counterpart() {
            History::of_snapshots(listed(Side::Receiver, facts.receiver)?)
        } else {
            History::default()
        };
        self.is_on_receiver = !receiver.versions().is_empty();
        let sender = History::new(listed(Side::Sender, facts.sender)?);
        if sender.versions().is_empty() {
            return Err(PlanningError::NoSenderVersions);
        }
        if let Some(token) = pair.resume_token() {
            let refused = facts.refused.as_ref();
            let histories = (&sender, &receiver);
            match resume(token, refused, &pair.filesystem, histories, policy.stream) {
                Ok(resumption) => {
                    return Ok(Steps {
                        steps: resumption.steps,
                        reason: Reason::Resumed {
                            bytes: resumption.bytes,
                        },
                    });
                }
                Err(reason) => self.discarded_token = Some(reason),
            }
        }
        by_histories(sender, receiver, policy.initial_replication)
    }
}

fn listed(
    side: Side,
    versions: Vec<pdu::FilesystemVersion>,
) -> Result<Vec<Version>, PlanningError> {
    versions
        .into_iter()
        .map(Version::try_from)
        .collect::<Result<_, _>>()
        .map_err(|source| PlanningError::Listing { side, source })
}

fn by_histories(
    sender: History,
    receiver: History,
    policy: InitialReplication,
) -> Result<Steps, PlanningError> {
    let conflict = match incremental_path(sender, receiver) {
        Ok(path) if path.snapshots.is_empty() => {
            return Ok(Steps::none(Reason::UpToDate { latest: path.base }));
        }
        Ok(path) => {
            return Ok(Steps {
                steps: steps(Some(path.base.clone()), path.snapshots),
                reason: Reason::Incremental { base: path.base },
            });
        }
        Err(conflict) => conflict,
    };
    let initial = resolution::resolve(conflict, policy)?;
    Ok(Steps {
        steps: steps(None, initial.snapshots),
        reason: Reason::Initial {
            left_out: initial.left_out,
        },
    })
}

impl Steps {
    fn none(reason: Reason) -> Self {
        Self {
            steps: Vec::new(),
            reason,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Incremental { base } => {
                write!(f, "incremental from {base}, the newest common version")
            }
            Self::Initial { left_out: 0 } => f.write_str("initial replication of all snapshots"),
            Self::Initial { left_out } => write!(
                f,
                "initial replication of the newest snapshot, without {left_out} older"
            ),
            Self::Placeholder => f.write_str("sender filesystem is placeholder"),
            Self::Resumed { bytes } => write!(f, "resumed after {bytes} bytes"),
            Self::UpToDate { latest } => write!(
                f,
                "the most recent sender snapshot is already present on the receiver (guid={}, name=\"{latest}\")",
                latest.guid()
            ),
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sender => "sender",
            Self::Receiver => "receiver",
        })
    }
}

#[cfg(test)]
mod tests;
