//! `not_replicated`: snapshots that the other side still needs, as far as the replication cursor tells.

use zfs_safe::guid::Guid;

use super::{Opinion, Rule, Snapshot};

pub(super) fn opinions(snapshots: &[Snapshot<'_>]) -> Vec<Opinion> {
    snapshots
        .iter()
        .map(|snapshot| {
            if snapshot.replicated {
                Opinion::Replicated
            } else {
                Opinion::NotReplicated
            }
        })
        .collect()
}

/// Does some rule ask not to keep the snapshot at the cursor? To be asked about the rules of the sender.
pub fn cursor_counts_as_replicated(rules: &[Rule]) -> bool {
    rules.iter().any(|rule| {
        matches!(
            rule,
            Rule::NotReplicated {
                keep_snapshot_at_cursor: false
            }
        )
    })
}

/// Sets what counts as replicated: all that is older than the snapshot at the cursor, and that one itself only if
/// `including_cursor`. If no snapshot is at the cursor, none counts as replicated.
pub fn mark_replicated(snapshots: &mut [Snapshot<'_>], cursor: Guid, including_cursor: bool) {
    let at_cursor = snapshots
        .iter()
        .find(|snapshot| snapshot.guid == cursor)
        .map(|snapshot| snapshot.createtxg);
    for snapshot in snapshots {
        snapshot.replicated = at_cursor.is_some_and(|at_cursor| {
            snapshot.createtxg < at_cursor || (including_cursor && snapshot.guid == cursor)
        });
    }
}
