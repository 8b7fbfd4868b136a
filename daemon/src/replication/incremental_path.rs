//! From the newest version that both sides have to the newest snapshot of the sender: two listings flow in, the snapshots to
//! send flow out, or why there is no way. The base of a path is always the receiver's newest snapshot, so that receiving
//! never rolls anything back; it is recognised by its guid alone.

use std::collections::HashMap;

use super::conflict::Conflict;
use super::version::{Version, distinct_snapshots};

/// Versions of one filesystem, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History(Vec<Version>);

/// The snapshots to send after a base.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IncrementalPath {
    /// The newest version that both sides have, as the sender calls it. A snapshot if the sender still has it, or a bookmark.
    pub base: Version,
    /// The sender's snapshots after it, oldest first. None: the receiver is up to date.
    pub snapshots: Vec<Version>,
}

impl History {
    /// Snapshots and bookmarks, in any order.
    pub fn new(mut versions: Vec<Version>) -> Self {
        versions.sort_by(Version::history_order);
        Self(versions)
    }

    /// Only the snapshots: a receiver's bookmarks say nothing about what it has.
    pub fn of_snapshots(mut versions: Vec<Version>) -> Self {
        versions.retain(Version::is_snapshot);
        Self::new(versions)
    }

    /// All versions, oldest first.
    pub fn versions(&self) -> &[Version] {
        &self.0
    }

    /// The snapshots, oldest first.
    pub fn snapshots(&self) -> impl DoubleEndedIterator<Item = &Version> {
        self.0.iter().filter(|version| version.is_snapshot())
    }
}

/// Finds the path by which the receiver gets what it does not have.
pub fn incremental_path(sender: History, receiver: History) -> Result<IncrementalPath, Conflict> {
    if sender.0.is_empty() {
        return Err(Conflict::NoSenderSnapshots { bookmarks: 0 });
    }
    // Of versions with the same guid the last one is found: the snapshot rather than its bookmarks.
    let by_guid: HashMap<_, _> = sender.0.iter().map(Version::guid).zip(0..).collect();
    let newest_common = receiver
        .0
        .iter()
        .enumerate()
        .rev()
        .find_map(|(at, version)| {
            let in_sender: usize = *by_guid.get(&version.guid())?;
            Some((in_sender, at))
        });
    let Some((in_sender, in_receiver)) = newest_common else {
        return Err(Conflict::NoCommonAncestor {
            sender: sender.0,
            receiver: receiver.0,
        });
    };
    let base = sender.0[in_sender].clone();
    if in_receiver + 1 < receiver.0.len() {
        return Err(Conflict::Diverged {
            common: Box::new(base),
            sender_only: sender.0[in_sender + 1..].to_vec(),
            receiver_only: receiver.0[in_receiver + 1..].to_vec(),
        });
    }
    let snapshots = distinct_snapshots(&sender.0[in_sender + 1..], &[base.guid()]);
    Ok(IncrementalPath { base, snapshots })
}

#[cfg(test)]
mod tests;
