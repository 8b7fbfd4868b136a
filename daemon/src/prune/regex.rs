//! `regex`: snapshots by name.

use super::{Opinion, Snapshot};
use crate::go_regex::GoRegex;

pub(super) fn opinions(regex: &GoRegex, negate: bool, snapshots: &[Snapshot<'_>]) -> Vec<Opinion> {
    snapshots
        .iter()
        .map(|snapshot| {
            if regex.is_match(snapshot.name) == negate {
                Opinion::NameUnwanted
            } else {
                Opinion::NameWanted
            }
        })
        .collect()
}
