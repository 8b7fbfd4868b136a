//! How a batch gets through: submit, take out what the reply names, submit the rest again, until nothing is left or a call
//! fails without naming anybody.
//!
//! What the kernel promises differs by call and release: most calls are all-or-nothing and name the items that failed, but
//! a hold that exists hides the errors behind it, and kernels after 2.4 destroy snapshots one by one. This loop is right
//! for all of them.

use std::collections::BTreeMap;

use super::Native;
use super::core::{Core, Reply};
use crate::errno::{Errno, Symbol};
use crate::error::{Operation, ZfsError};
use crate::name::PoolName;
use crate::nvlist::{NvList, Value};
use crate::outcome::Outcome;

/// The key that stands for errors that did not fit into a reply (`ZFS_IOC_N_MORE_ERRORS`); not a name.
const MORE_ERRORS: &str = "N_MORE_ERRORS";

/// Items by pool, each list in the order given.
pub(super) fn by_pool<T>(
    items: &[T],
    pool: impl Fn(&T) -> PoolName,
) -> BTreeMap<PoolName, Vec<usize>> {
    let mut pools: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (index, item) in items.iter().enumerate() {
        pools.entry(pool(item)).or_default().push(index);
    }
    pools
}

/// Splits items into rounds in which each key occurs once, first occurrences first.
pub(super) fn rounds<K: Ord>(items: &[usize], key: impl Fn(usize) -> K) -> Vec<Vec<usize>> {
    let mut seen: BTreeMap<K, usize> = BTreeMap::new();
    let mut rounds: Vec<Vec<usize>> = Vec::new();
    for &item in items {
        let count = seen.entry(key(item)).or_default();
        match rounds.get_mut(*count) {
            Some(round) => round.push(item),
            None => rounds.push(vec![item]),
        }
        *count += 1;
    }
    rounds
}

/// Per-item errors of a reply.
pub(super) struct ItemErrors(BTreeMap<String, Errno>);

impl ItemErrors {
    pub(super) fn read(list: &NvList) -> Self {
        let errors = list.iter().filter(|(name, _)| *name != MORE_ERRORS);
        Self(
            errors
                .filter_map(|(name, value)| match value {
                    Value::Int32(number) if *number != 0 => {
                        Some((name.to_owned(), Errno::new(*number)))
                    }
                    _ => None,
                })
                .collect(),
        )
    }

    pub(super) fn get(&self, name: &str) -> Option<Errno> {
        self.0.get(name).copied()
    }
}

/// One batch under way.
pub(super) struct Batch<'a> {
    native: &'a Native,
    operation: Operation,
    /// What each item is called in errors.
    names: Vec<&'a str>,
    outcomes: Vec<Option<Outcome>>,
}

impl<'a> Batch<'a> {
    pub(super) fn new(
        native: &'a Native,
        operation: Operation,
        names: impl Iterator<Item = &'a str>,
    ) -> Self {
        let names: Vec<_> = names.collect();
        let outcomes = vec![None; names.len()];
        Self {
            native,
            operation,
            names,
            outcomes,
        }
    }

    /// Runs items whose errors are reported under their own names. See [`run_with_keys`](Self::run_with_keys).
    pub(super) fn run(
        &mut self,
        items: Vec<usize>,
        call: impl Fn(&Core, &[usize]) -> Reply,
        judge: impl Fn(&Native, usize, Errno) -> Outcome,
        settle_others: impl Fn(&Native, &[usize], Errno) -> Vec<(usize, Outcome)>,
    ) {
        let names = self.names.clone();
        self.run_with_keys(
            items,
            |item, errors| errors.get(names[item]),
            call,
            judge,
            settle_others,
        );
    }

    /// Submits `items` until each has an outcome. `error_of` finds an item's error in a reply, `judge` says what it means,
    /// and `settle_others` may settle more items after a failure.
    pub(super) fn run_with_keys<E>(
        &mut self,
        items: Vec<usize>,
        error_of: impl Fn(usize, &ItemErrors) -> Option<E>,
        call: impl Fn(&Core, &[usize]) -> Reply,
        judge: impl Fn(&Native, usize, E) -> Outcome,
        settle_others: impl Fn(&Native, &[usize], Errno) -> Vec<(usize, Outcome)>,
    ) {
        let mut groups = vec![items];
        while let Some(items) = groups.pop() {
            if items.is_empty() {
                continue;
            }
            let reply = self.call(|core| call(core, &items));
            let errors = ItemErrors::read(&reply.list);
            let mut rest = Vec::with_capacity(items.len());
            for &item in &items {
                match error_of(item, &errors) {
                    Some(error) => self.settle(item, judge(self.native, item, error)),
                    None => rest.push(item),
                }
            }
            let Some(errno) = reply.errno else {
                self.settle_all(&rest, &Outcome::Done);
                continue;
            };
            if rest.len() < items.len() {
                for (item, outcome) in settle_others(self.native, &rest, errno) {
                    self.settle(item, outcome);
                }
                rest.retain(|&item| self.outcomes[item].is_none());
                groups.push(rest);
            } else if asks_for_less(errno) && rest.len() > 1 {
                let half = rest.split_off(rest.len() / 2);
                groups.push(half);
                groups.push(rest);
            } else {
                self.settle_rejected(&rest, errno);
            }
        }
    }

    /// A call that failed as a whole.
    fn settle_rejected(&mut self, items: &[usize], errno: Errno) {
        for &item in items {
            // The pool itself is missing. For marks that is as good as a missing snapshot; a destroy must not claim that
            // the snapshots of an exported pool are gone.
            let absent = matches!(errno.symbol(), Symbol::ENOENT | Symbol::ESRCH);
            let mark = matches!(
                self.operation,
                Operation::Hold | Operation::Release | Operation::Bookmark
            );
            let outcome = if absent && mark {
                Outcome::Missing
            } else {
                Outcome::Failed(self.error(item, errno))
            };
            self.settle(item, outcome);
        }
    }

    pub(super) fn call(&self, call: impl FnOnce(&Core) -> Reply) -> Reply {
        let reply = call(&self.native.core);
        self.native.count_mutation(self.operation, reply.errno);
        reply
    }

    pub(super) fn error(&self, item: usize, errno: Errno) -> ZfsError {
        ZfsError::from_errno(self.operation, self.names[item], errno)
    }

    pub(super) fn settle(&mut self, item: usize, outcome: Outcome) {
        self.outcomes[item] = Some(outcome);
    }

    pub(super) fn settle_all(&mut self, items: &[usize], outcome: &Outcome) {
        for &item in items {
            self.settle(item, outcome.clone());
        }
    }

    pub(super) fn finish(self) -> Vec<Outcome> {
        self.outcomes
            .into_iter()
            .map(|outcome| outcome.unwrap_or(Outcome::NotTried))
            .collect()
    }
}

/// Errors of a whole call that a smaller call may not have: the free space that the kernel asks for in advance, and the
/// memory of the Lua program that destroys snapshots up to 2.4.
fn asks_for_less(errno: Errno) -> bool {
    matches!(
        errno.symbol(),
        Symbol::ENOSPC | Symbol::ENOMEM | Symbol::ECHRNG
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_hold_each_key_once_and_keep_the_order() {
        let keys = ["a", "b", "a", "c", "a", "b"];
        let items: Vec<_> = (0..keys.len()).collect();
        assert_eq!(
            rounds(&items, |item| keys[item]),
            [vec![0, 1, 3], vec![2, 5], vec![4]]
        );
    }

    #[test]
    fn the_count_of_dropped_errors_is_no_name() {
        let list = NvList::from_iter([("p/a@s", Value::Int32(16)), (MORE_ERRORS, Value::Int32(7))]);
        let errors = ItemErrors::read(&list);
        assert_eq!(errors.get("p/a@s"), Some(Errno::new(16)));
        assert_eq!(errors.0.len(), 1);
    }
}
