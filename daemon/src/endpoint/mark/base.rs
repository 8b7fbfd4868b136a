//! What pruners of both sides go by: the sender's answer about its cursor and the versions of both sides flow in, how far the
//! filesystem has been replicated and what has to stay flows out. It is the promise that `guarantee_nothing` keeps: no marks, and
//! nevertheless no pruner of ours destroys the snapshot from which the next step can start.

use std::collections::HashMap;

use zfs_safe::guid::Guid;
use zfs_safe::version::Txg;

/// How far a filesystem has been replicated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Base {
    /// The guid of the sender's cursor: the receiver has confirmed that it has this.
    pub cursor: Option<Guid>,
    /// The receiver has snapshots and not that of the cursor, and what is in common is older: it has been put back to an earlier time.
    /// (zrepl 0.7.0 believes the cursor, and its pruner then destroys what the receiver has lost.)
    pub is_behind: bool,
    /// The guid of the receiver's newest snapshot of which the sender has a snapshot or bookmark: the next step starts there.
    pub common: Option<Guid>,
}

impl Base {
    /// Finds the base of a filesystem.
    pub fn find(
        cursor: Option<Guid>,
        sender_versions: impl IntoIterator<Item = (Guid, Txg)>,
        receiver_snapshots: impl IntoIterator<Item = (Guid, Txg)>,
    ) -> Self {
        let on_sender: HashMap<_, _> = sender_versions.into_iter().collect();
        let on_receiver: HashMap<_, _> = receiver_snapshots.into_iter().collect();
        let common = on_receiver
            .iter()
            .filter(|(guid, _)| on_sender.contains_key(guid))
            .max_by_key(|&(_, createtxg)| createtxg)
            .map(|(guid, _)| *guid);
        let lost = cursor.filter(|cursor| !on_receiver.contains_key(cursor));
        let age = |guid| on_sender.get(&guid);
        let is_behind = match (lost.and_then(age), common.and_then(age)) {
            (Some(lost), Some(common)) => common < lost,
            _ => false,
        };
        Self {
            cursor,
            is_behind,
            common,
        }
    }

    /// The guid up to which snapshots count as replicated: the `cursor` of [`crate::prune::mark_replicated`]. It is that of the cursor
    /// if there is one. Where nothing is guaranteed there is none, so zrepl 0.7.0 cannot prune there; what the sides have in common
    /// tells as much. `None` means that nothing has been replicated.
    pub fn replicated_up_to(self) -> Option<Guid> {
        let cursor = self.cursor.filter(|_| !self.is_behind);
        cursor.or(self.common)
    }

    /// The guid of the snapshot that the sender's pruner must keep, whatever its rules say: the one that the next step starts from,
    /// unless the cursor is there and remains.
    pub fn kept_on_sender(self) -> Option<Guid> {
        self.common.filter(|_| self.common != self.cursor)
    }

    /// The guid of the snapshot that the receiver's pruner must keep, whatever its rules say. Mostly it is held as the one received
    /// last, but not where nothing is guaranteed.
    pub const fn kept_on_receiver(self) -> Option<Guid> {
        self.common
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(cursor: Option<u64>, sender: &[u64], receiver: &[(u64, u64)]) -> Base {
        Base::find(
            cursor.map(Guid::new),
            sender
                .iter()
                .map(|&guid| (Guid::new(guid), Txg::new(100 + guid))),
            receiver
                .iter()
                .map(|&(guid, txg)| (Guid::new(guid), Txg::new(txg))),
        )
    }

    #[test]
    fn with_a_cursor_only_what_is_confirmed_counts_as_replicated() {
        let base = find(Some(1), &[1, 2], &[(1, 50), (2, 60)]);
        assert_eq!(base.replicated_up_to(), Some(Guid::new(1)));
        // The next step starts from 2, of which there is no cursor.
        assert_eq!(base.kept_on_sender(), Some(Guid::new(2)));
        assert_eq!(base.kept_on_receiver(), Some(Guid::new(2)));
    }

    #[test]
    fn the_snapshot_at_the_cursor_may_go_from_the_sender_but_not_from_the_receiver() {
        let base = find(Some(2), &[1, 2], &[(1, 50), (2, 60)]);
        assert_eq!(base.kept_on_sender(), None);
        assert_eq!(base.kept_on_receiver(), Some(Guid::new(2)));
    }

    #[test]
    fn without_one_the_newest_common_version_of_the_receiver_counts_and_stays() {
        for (sender, receiver, common) in [
            (&[1, 2, 3][..], &[(1, 50), (2, 60)][..], 2),
            (&[3, 2, 1], &[(2, 60), (1, 50)], 2),
            // The txgs of a receiver are its own, and it may have what the sender never had.
            (&[1, 2, 3], &[(2, 7), (1, 8), (9, 9)], 1),
        ] {
            let base = find(None, sender, receiver);
            let common = Some(Guid::new(common));
            assert_eq!(base.replicated_up_to(), common);
            assert_eq!(base.kept_on_sender(), common);
            assert_eq!(base.kept_on_receiver(), common);
        }
    }

    #[test]
    fn a_receiver_that_has_lost_the_snapshot_at_the_cursor_counts_as_it_is() {
        let base = find(Some(3), &[1, 2, 3, 4], &[(1, 50), (2, 60), (9, 70)]);
        assert_eq!(base.replicated_up_to(), Some(Guid::new(2)));
        assert_eq!(base.kept_on_sender(), Some(Guid::new(2)));
        // It may know less than the receiver has: then only what it knows is confirmed.
        let base = find(Some(1), &[1, 2, 3], &[(2, 60)]);
        assert_eq!(base.replicated_up_to(), Some(Guid::new(1)));
        // A receiver that cannot be asked, or has nothing, does not contradict.
        for receiver in [&[][..], &[(9, 70)]] {
            let base = find(Some(3), &[1, 2, 3], receiver);
            assert_eq!(base.replicated_up_to(), Some(Guid::new(3)));
        }
    }

    #[test]
    fn nothing_in_common_means_that_nothing_counts_as_replicated() {
        for (sender, receiver) in [
            (&[1, 2][..], &[][..]),
            (&[], &[(1, 1)]),
            (&[1], &[(2, 1), (3, 2)]),
        ] {
            let base = find(None, sender, receiver);
            assert_eq!(base, Base::default());
            assert_eq!(base.replicated_up_to(), None);
            assert_eq!(base.kept_on_sender(), None);
        }
    }
}
