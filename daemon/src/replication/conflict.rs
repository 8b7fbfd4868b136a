//! Histories of the two sides that do not fit: what both have flows in, zrepl's own text about it flows out, and beside it
//! what an administrator can do. Conflicts are values: whoever shows one need not look at the pools again.

use std::fmt;

use super::version::Version;

/// Why the newest snapshot of the receiver cannot be the base of the next step.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    /// There is nothing to send. Bookmarks can be the base of a step, not its target.
    #[error("no snapshots available on sender side")]
    NoSenderSnapshots {
        /// How many bookmarks the sender has.
        bookmarks: usize,
    },
    /// No snapshot of the receiver is among the versions of the sender.
    #[error("no common snapshot or suitable bookmark between sender and receiver{}", Both(.sender, .receiver))]
    NoCommonAncestor {
        /// All versions of the sender, oldest first.
        sender: Vec<Version>,
        /// All snapshots of the receiver, oldest first.
        receiver: Vec<Version>,
    },
    /// The receiver has gone its own way.
    #[error(
        "the receiver's latest snapshot is not present on sender:\n  last common: {common}\n  sender-only:{}\n  receiver-only:{}",
        Lines(.sender_only),
        Lines(.receiver_only)
    )]
    Diverged {
        /// The newest version that both have, as the sender calls it.
        common: Box<Version>,
        /// What the sender has after it, oldest first.
        sender_only: Vec<Version>,
        /// The snapshots that the receiver has after it, oldest first: one at least.
        receiver_only: Vec<Version>,
    },
}

impl Conflict {
    /// What can be done about it. Nothing of it is done here, because all of it destroys or moves something.
    pub fn advice(&self) -> &'static str {
        match self {
            Self::NoSenderSnapshots { bookmarks: 0 } => {
                "take a snapshot of the filesystem on the sender"
            }
            Self::NoSenderSnapshots { .. } => {
                "take a snapshot of the filesystem on the sender: it has bookmarks only, and what they mark cannot be sent any more"
            }
            Self::NoCommonAncestor { receiver, .. } if receiver.is_empty() => {
                "set conflict_resolution.initial_replication to most_recent or all"
            }
            Self::NoCommonAncestor { .. } => {
                "rename the filesystem on the receiver out of the way, and it is replicated again from the start; what was received so far stays under the new name"
            }
            Self::Diverged { .. } => {
                "if the receiver-only snapshots can go, destroy them on the receiver with `zfs rollback -r` to the last common one; if not, rename the filesystem there out of the way, and it is replicated again from the start"
            }
        }
    }

    /// Does the receiver have snapshots of the filesystem, as far as this conflict tells?
    pub fn receiver_has_snapshots(&self) -> bool {
        match self {
            Self::NoSenderSnapshots { .. } => false,
            Self::NoCommonAncestor { receiver, .. } => !receiver.is_empty(),
            Self::Diverged { .. } => true,
        }
    }
}

/// Both lists, unless both are empty.
struct Both<'a>(&'a [Version], &'a [Version]);

impl fmt::Display for Both<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(sender, receiver) = self;
        if sender.is_empty() && receiver.is_empty() {
            return Ok(());
        }
        let (sender, receiver) = (Lines(sender), Lines(receiver));
        write!(
            f,
            ":\n  sorted sender versions:{sender}\n  sorted receiver versions:{receiver}"
        )
    }
}

/// One line for each version. Of very many only the newest are shown: zrepl 0.7.0 shows all, which nobody reads and which
/// every request for the status would carry.
struct Lines<'a>(&'a [Version]);

const MAX_LINES: usize = 50;

impl fmt::Display for Lines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let older = self.0.len().saturating_sub(MAX_LINES);
        if older > 0 {
            write!(f, "\n    … {older} older")?;
        }
        self.0
            .iter()
            .skip(older)
            .try_for_each(|version| write!(f, "\n    {version}"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::model::{bookmark, snapshot};
    use super::*;

    #[test]
    fn texts_are_those_of_zrepl() {
        // recorded in 06c1-diverged, where a line feed follows
        let diverged = Conflict::Diverged {
            common: Box::new(snapshot("e2", 2, 2)),
            sender_only: vec![snapshot("e3", 3, 3)],
            receiver_only: vec![snapshot("foreign", 4, 9)],
        };
        assert_eq!(
            diverged.to_string(),
            "the receiver's latest snapshot is not present on sender:\n  last common: @e2\n  sender-only:\n    @e3\n  receiver-only:\n    @foreign"
        );
        // by reading
        let mut unrelated = Conflict::NoCommonAncestor {
            sender: vec![bookmark("a", 1, 1), snapshot("b", 2, 2)],
            receiver: vec![],
        };
        assert_eq!(
            unrelated.to_string(),
            "no common snapshot or suitable bookmark between sender and receiver:\n  sorted sender versions:\n    #a\n    @b\n  sorted receiver versions:"
        );
        assert!(!unrelated.receiver_has_snapshots());
        assert!(unrelated.advice().contains("initial_replication"));
        if let Conflict::NoCommonAncestor { sender, .. } = &mut unrelated {
            sender.clear();
        }
        assert_eq!(
            unrelated.to_string(),
            "no common snapshot or suitable bookmark between sender and receiver"
        );
        for bookmarks in [0, 3] {
            let nothing = Conflict::NoSenderSnapshots { bookmarks };
            assert_eq!(nothing.to_string(), "no snapshots available on sender side");
            assert_eq!(nothing.advice().contains("bookmarks only"), bookmarks > 0);
        }
    }

    #[test]
    fn of_very_many_versions_the_newest_are_shown() {
        let many = (0..45_000)
            .map(|n| snapshot(&format!("s{n}"), n, n))
            .collect();
        let text = Conflict::NoCommonAncestor {
            sender: many,
            receiver: vec![snapshot("r", 99_999, 1)],
        }
        .to_string();
        assert_eq!(text.lines().count(), 1 + 1 + 1 + MAX_LINES + 1 + 1);
        assert!(text.contains("… 44950 older\n    @s44950\n"));
        assert!(text.contains("    @s44999\n"));
    }
}
