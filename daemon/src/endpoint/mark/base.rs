//! What pruners of both sides go by: the sender's answer about its cursor and the versions of both sides flow in, how far the
//! filesystem has been replicated and what has to stay flows out. It is the promise that `guarantee_nothing` keeps: no marks, and
//! nevertheless no pruner of ours destroys the snapshot from which the next step can start.

use std::collections::HashSet;

use zfs_safe::guid::Guid;
use zfs_safe::version::Txg;

/// How far a filesystem has been replicated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Base {
    /// The guid of the sender's cursor: the receiver has confirmed that it has this.
    pub cursor: Option<Guid>,
    /// The guid of the receiver's newest snapshot of which the sender has a snapshot or bookmark: the next step starts there.
    pub common: Option<Guid>,
}

impl Base {
    /// Finds the base of a filesystem.
    pub fn find(
        cursor: Option<Guid>,
        sender_versions: impl IntoIterator<Item = Guid>,
        receiver_snapshots: impl IntoIterator<Item = (Guid, Txg)>,
    ) -> Self {
        let on_sender: HashSet<_> = sender_versions.into_iter().collect();
        let common = receiver_snapshots
            .into_iter()
            .filter(|(guid, _)| on_sender.contains(guid))
            .max_by_key(|&(_, createtxg)| createtxg)
            .map(|(guid, _)| guid);
        Self { cursor, common }
    }

    /// The guid up to which snapshots count as replicated: the `cursor` of [`crate::prune::mark_replicated`]. It is that of the cursor
    /// if there is one. Where nothing is guaranteed there is none, so zrepl 0.7.0 cannot prune there; what the sides have in common
    /// tells as much. `None` means that nothing has been replicated.
    pub fn replicated_up_to(self) -> Option<Guid> {
        self.cursor.or(self.common)
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
            sender.iter().copied().map(Guid::new),
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
