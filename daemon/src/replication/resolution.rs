//! What the first replication of a filesystem sends: the conflict of a receiver that has nothing yet flows in, together with
//! the policy for it, the snapshots to send flow out. Every other conflict is left to a human, because what would resolve it
//! destroys something.

use super::conflict::Conflict;
use super::version::{Version, distinct_snapshots};
use crate::config::transfer::InitialReplication;

/// How a conflict was resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InitialPath {
    /// The snapshots to send, oldest first, the first of them in full: one at least.
    pub snapshots: Vec<Version>,
    /// How many older snapshots of the sender will not be on the receiver.
    pub left_out: usize,
}

/// Why a conflict stands.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unresolved {
    /// The policy is to fail.
    #[error("automatic conflict resolution for initial replication is disabled in config")]
    Disabled(#[source] Conflict),
    /// No policy is for it.
    #[error(transparent)]
    Conflict(#[from] Conflict),
}

impl Unresolved {
    /// What is in the way.
    pub fn conflict(&self) -> &Conflict {
        let (Self::Disabled(conflict) | Self::Conflict(conflict)) = self;
        conflict
    }
}

/// Resolves the conflict if the receiver has no snapshots and the policy allows it.
pub fn resolve(conflict: Conflict, policy: InitialReplication) -> Result<InitialPath, Unresolved> {
    let sender = match &conflict {
        Conflict::NoCommonAncestor { sender, receiver } if receiver.is_empty() => sender,
        _ => return Err(conflict.into()),
    };
    let mut snapshots = distinct_snapshots(sender, &[]);
    if snapshots.is_empty() {
        // 0.7.0 plans a step without target here, or ends.
        let bookmarks = sender.len();
        return Err(Conflict::NoSenderSnapshots { bookmarks }.into());
    }
    let left_out = match policy {
        InitialReplication::MostRecent => snapshots.len() - 1,
        InitialReplication::All => 0,
        InitialReplication::Fail => return Err(Unresolved::Disabled(conflict)),
    };
    snapshots.drain(..left_out);
    Ok(InitialPath {
        snapshots,
        left_out,
    })
}

#[cfg(test)]
mod tests {
    use super::super::model::{bookmark, snapshot};
    use super::*;

    const POLICIES: [InitialReplication; 3] = [
        InitialReplication::MostRecent,
        InitialReplication::All,
        InitialReplication::Fail,
    ];

    fn initial(sender: &[Version]) -> Conflict {
        Conflict::NoCommonAncestor {
            sender: sender.to_vec(),
            receiver: vec![],
        }
    }

    #[test]
    fn the_policy_says_what_the_first_replication_sends() {
        let [one, two, mark, three] = [
            snapshot("1", 1, 1),
            snapshot("2", 2, 2),
            bookmark("m", 9, 3),
            snapshot("3", 3, 4),
        ];
        let conflict = initial(&[one.clone(), two.clone(), mark, three.clone()]);
        let resolved = |policy| resolve(conflict.clone(), policy);
        assert_eq!(
            resolved(InitialReplication::MostRecent),
            Ok(InitialPath {
                snapshots: vec![three.clone()],
                left_out: 2
            })
        );
        assert_eq!(
            resolved(InitialReplication::All),
            Ok(InitialPath {
                snapshots: vec![one, two, three],
                left_out: 0
            })
        );
        let error = resolved(InitialReplication::Fail).expect_err("disabled");
        assert_eq!(
            error.to_string(),
            "automatic conflict resolution for initial replication is disabled in config"
        );
        assert_eq!(error.conflict(), &conflict);
    }

    #[test]
    fn a_sender_with_only_bookmarks_has_nothing_to_send() {
        for policy in POLICIES {
            let error = resolve(initial(&[bookmark("b", 1, 1), bookmark("c", 2, 2)]), policy);
            assert_eq!(
                error,
                Err(Unresolved::Conflict(Conflict::NoSenderSnapshots {
                    bookmarks: 2
                }))
            );
        }
    }

    #[test]
    fn no_policy_touches_snapshots_of_the_receiver() {
        for policy in POLICIES {
            for conflict in [
                Conflict::NoSenderSnapshots { bookmarks: 0 },
                Conflict::NoCommonAncestor {
                    sender: vec![snapshot("a", 1, 1)],
                    receiver: vec![snapshot("a", 2, 1)],
                },
                Conflict::Diverged {
                    common: Box::new(snapshot("a", 1, 1)),
                    sender_only: vec![snapshot("b", 2, 2)],
                    receiver_only: vec![snapshot("b", 3, 2)],
                },
            ] {
                assert_eq!(
                    resolve(conflict.clone(), policy),
                    Err(Unresolved::Conflict(conflict))
                );
            }
        }
    }
}
