//! `last_n`: the newest snapshots.

use std::num::NonZeroUsize;

use super::{Opinion, Snapshot, matching};
use crate::go_regex::GoRegex;

pub(super) fn opinions(
    count: NonZeroUsize,
    regex: Option<&GoRegex>,
    snapshots: &[Snapshot<'_>],
) -> Vec<Opinion> {
    let mut newest_first = matching(regex, snapshots);
    newest_first.sort_by(|&a, &b| {
        let key = |index: usize| (snapshots[index].creation, snapshots[index].name);
        key(b).cmp(&key(a))
    });
    let mut opinions = vec![Opinion::NameUnwanted; snapshots.len()];
    for (position, index) in newest_first.into_iter().enumerate() {
        let rank = position + 1;
        opinions[index] = if rank <= count.get() {
            Opinion::Newest { rank }
        } else {
            Opinion::NotAmongNewest { rank }
        };
    }
    opinions
}
