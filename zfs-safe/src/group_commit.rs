//! Joins concurrent changes of one pool into one kernel call.
//!
//! Every change waits for a transaction group, whether it marks one snapshot or a thousand. Requests of one kind for one
//! pool that arrive while such a call is under way are put together and submitted in the next: the number of calls
//! depends on how long a transaction group takes, not on how many filesystems there are. Each caller gets the outcomes of
//! its own items, and an item that fails concerns only the request that it belongs to.
//!
//! There is no thread of its own: the first caller that finds its lane idle submits what is queued, and whoever is then
//! still waiting does the next round. Kinds do not wait for each other, so a hold and a release may share a transaction
//! group; a caller that needs an order gets it by waiting for the first result, as each call here does.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::name::{BookmarkName, DatasetPath, PoolName, SnapshotName};
use crate::outcome::Outcome;
use crate::property::PropertyName;
use crate::zfs::{BookmarkRequest, HoldRequest, Zfs};

/// Group commit over a [`Zfs`]. Calls block as those of [`Zfs`] do and mean the same.
#[derive(Debug)]
pub struct GroupCommit {
    zfs: Arc<dyn Zfs>,
    pools: Mutex<HashMap<PoolName, Arc<PoolLanes>>>,
    counts: Arc<LaneCounters>,
}

/// How well requests have been joined so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CommitCounts {
    /// Requests made by callers, one for each pool that a request touched.
    pub requests: u64,
    /// Submissions made for them. How many transaction groups these waited for is in
    /// [`Counts::txg_waits`](crate::counters::Counts::txg_waits) of the underlying [`Zfs`].
    pub calls: u64,
}

impl GroupCommit {
    /// Puts group commit in front of `zfs`.
    pub fn new(zfs: Arc<dyn Zfs>) -> Self {
        Self {
            zfs,
            pools: Mutex::default(),
            counts: Arc::default(),
        }
    }

    /// What the changes go to; for everything that is not joined.
    pub fn zfs(&self) -> &Arc<dyn Zfs> {
        &self.zfs
    }

    /// How well requests have been joined so far.
    pub fn counts(&self) -> CommitCounts {
        CommitCounts {
            requests: self.counts.requests.load(Ordering::Relaxed),
            calls: self.counts.calls.load(Ordering::Relaxed),
        }
    }

    /// See [`Zfs::hold`].
    pub fn hold(&self, requests: &[HoldRequest]) -> Vec<Outcome> {
        self.join(
            requests,
            |request| request.snapshot.pool(),
            |lanes| &lanes.hold,
            |zfs, items| zfs.hold(items),
        )
    }

    /// See [`Zfs::release`].
    pub fn release(&self, requests: &[HoldRequest]) -> Vec<Outcome> {
        self.join(
            requests,
            |request| request.snapshot.pool(),
            |lanes| &lanes.release,
            |zfs, items| zfs.release(items),
        )
    }

    /// See [`Zfs::bookmark`].
    pub fn bookmark(&self, requests: &[BookmarkRequest]) -> Vec<Outcome> {
        self.join(
            requests,
            |request| request.bookmark.pool(),
            |lanes| &lanes.bookmark,
            |zfs, items| zfs.bookmark(items),
        )
    }

    /// See [`Zfs::destroy_bookmarks`].
    pub fn destroy_bookmarks(&self, bookmarks: &[BookmarkName]) -> Vec<Outcome> {
        self.join(
            bookmarks,
            BookmarkName::pool,
            |lanes| &lanes.destroy_bookmarks,
            |zfs, items| zfs.destroy_bookmarks(items),
        )
    }

    /// See [`Zfs::destroy_snapshots`].
    pub fn destroy_snapshots(&self, snapshots: &[SnapshotName]) -> Vec<Outcome> {
        self.join(
            snapshots,
            SnapshotName::pool,
            |lanes| &lanes.destroy_snapshots,
            |zfs, items| zfs.destroy_snapshots(items),
        )
    }

    /// See [`Zfs::snapshot`]. All snapshots of one request and pool are taken at one instant or not at all; those of
    /// another request may share that instant, and do not share its failure.
    pub fn snapshot(
        &self,
        snapshots: &[SnapshotName],
        properties: &[(PropertyName, String)],
    ) -> Vec<Outcome> {
        let mut outcomes = vec![Outcome::NotTried; snapshots.len()];
        for (pool, indices) in group_by(snapshots, SnapshotName::pool) {
            let request = SnapshotRequest {
                snapshots: indices
                    .iter()
                    .map(|&index| snapshots[index].clone())
                    .collect(),
                properties: properties.to_vec(),
            };
            let lanes = self.lanes(&pool);
            let results = lanes.snapshot.submit(request, &self.counts, |requests| {
                run_snapshots(&requests, |names, properties| {
                    self.counts.calls.fetch_add(1, Ordering::Relaxed);
                    self.zfs.snapshot(names, properties)
                })
            });
            for (index, outcome) in indices.into_iter().zip(results) {
                outcomes[index] = outcome;
            }
        }
        outcomes
    }

    fn join<T: Clone + Send>(
        &self,
        items: &[T],
        pool: impl Fn(&T) -> PoolName,
        lane: impl Fn(&PoolLanes) -> &Lane<Vec<T>>,
        call: impl Fn(&dyn Zfs, &[T]) -> Vec<Outcome>,
    ) -> Vec<Outcome> {
        let mut outcomes = vec![Outcome::NotTried; items.len()];
        for (pool, indices) in group_by(items, &pool) {
            let request: Vec<_> = indices.iter().map(|&index| items[index].clone()).collect();
            let lanes = self.lanes(&pool);
            let results = lane(&lanes).submit(request, &self.counts, |requests| {
                self.counts.calls.fetch_add(1, Ordering::Relaxed);
                let all: Vec<T> = requests.iter().flatten().cloned().collect();
                let mut results = call(&*self.zfs, &all).into_iter();
                requests
                    .iter()
                    .map(|request| results.by_ref().take(request.len()).collect())
                    .collect()
            });
            for (index, outcome) in indices.into_iter().zip(results) {
                outcomes[index] = outcome;
            }
        }
        outcomes
    }

    fn lanes(&self, pool: &PoolName) -> Arc<PoolLanes> {
        Arc::clone(lock(&self.pools).entry(pool.clone()).or_default())
    }
}

/// Snapshots to take at one instant.
#[derive(Clone, Debug)]
struct SnapshotRequest {
    snapshots: Vec<SnapshotName>,
    properties: Vec<(PropertyName, String)>,
}

/// Takes the snapshots of several requests in as few calls as possible. Requests go together if their properties are
/// equal and no filesystem occurs twice. A request with a failed item drops out, and the others are tried again. If all
/// have one, as when a call lacks space, nobody knows whose fault it is: each is made alone then, once.
fn run_snapshots(
    requests: &[SnapshotRequest],
    call: impl Fn(&[SnapshotName], &[(PropertyName, String)]) -> Vec<Outcome>,
) -> Vec<Vec<Outcome>> {
    let mut results: Vec<Option<Vec<Outcome>>> = vec![None; requests.len()];
    while let Some(first) = results.iter().position(Option::is_none) {
        let properties = &requests[first].properties;
        let mut together: Vec<usize> = Vec::new();
        let mut filesystems: Vec<DatasetPath> = Vec::new();
        for (index, request) in requests.iter().enumerate() {
            let own: Vec<_> = request
                .snapshots
                .iter()
                .map(SnapshotName::dataset)
                .collect();
            let fits = request.properties == *properties
                && own.iter().all(|path| !filesystems.contains(path));
            if results[index].is_none() && (index == first || fits) {
                filesystems.extend(own);
                together.push(index);
            }
        }
        let names: Vec<_> = together
            .iter()
            .flat_map(|&index| requests[index].snapshots.clone())
            .collect();
        let mut outcomes = call(&names, properties).into_iter();
        let split: Vec<(usize, Vec<Outcome>)> = together
            .iter()
            .map(|&index| {
                (
                    index,
                    outcomes
                        .by_ref()
                        .take(requests[index].snapshots.len())
                        .collect(),
                )
            })
            .collect();
        let alone = split.len() == 1;
        if !alone && split.iter().all(|(_, outcomes)| has_failure(outcomes)) {
            for (index, _) in split {
                results[index] = Some(call(&requests[index].snapshots, properties));
            }
            continue;
        }
        let somebody_failed = split.iter().any(|(_, outcomes)| has_failure(outcomes));
        for (index, outcomes) in split {
            // With nobody to blame, everyone's outcome stands, lest this goes on for ever.
            if alone || !somebody_failed || has_failure(&outcomes) {
                results[index] = Some(outcomes);
            }
        }
    }
    results.into_iter().flatten().collect()
}

fn has_failure(outcomes: &[Outcome]) -> bool {
    outcomes
        .iter()
        .any(|outcome| matches!(outcome, Outcome::Failed(_)))
}

#[derive(Debug, Default)]
struct PoolLanes {
    hold: Lane<Vec<HoldRequest>>,
    release: Lane<Vec<HoldRequest>>,
    bookmark: Lane<Vec<BookmarkRequest>>,
    destroy_bookmarks: Lane<Vec<BookmarkName>>,
    destroy_snapshots: Lane<Vec<SnapshotName>>,
    snapshot: Lane<SnapshotRequest>,
}

#[derive(Debug, Default)]
struct LaneCounters {
    requests: AtomicU64,
    calls: AtomicU64,
}

/// Requests of one kind for one pool.
#[derive(Debug)]
struct Lane<R> {
    state: Mutex<LaneState<R>>,
    changed: Condvar,
}

#[derive(Debug)]
struct LaneState<R> {
    queue: Vec<(R, Arc<Mutex<Answer>>)>,
    busy: bool,
}

/// What a waiting caller finds.
#[derive(Debug, Default)]
enum Answer {
    #[default]
    Pending,
    Ready(Vec<Outcome>),
    /// The caller that was to get it has panicked.
    Abandoned,
}

impl<R> Default for Lane<R> {
    fn default() -> Self {
        Self {
            state: Mutex::new(LaneState {
                queue: Vec::new(),
                busy: false,
            }),
            changed: Condvar::new(),
        }
    }
}

impl<R> Lane<R> {
    /// Queues a request, takes part in getting it submitted, and returns its outcomes. `run` gives one list of outcomes
    /// for each request.
    fn submit(
        &self,
        request: R,
        counts: &LaneCounters,
        run: impl Fn(Vec<R>) -> Vec<Vec<Outcome>>,
    ) -> Vec<Outcome> {
        counts.requests.fetch_add(1, Ordering::Relaxed);
        let mine = Arc::new(Mutex::new(Answer::Pending));
        let mut state = lock(&self.state);
        state.queue.push((request, Arc::clone(&mine)));
        loop {
            match std::mem::take(&mut *lock(&mine)) {
                Answer::Ready(outcomes) => return outcomes,
                Answer::Abandoned => panic!("the caller that submitted this request has panicked"),
                Answer::Pending => {}
            }
            if state.busy {
                state = self
                    .changed
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            state.busy = true;
            let (requests, answers) = state.queue.drain(..).unzip();
            drop(state);
            let turn = Turn {
                lane: self,
                answers,
            };
            for (answer, outcomes) in turn.answers.iter().zip(run(requests)) {
                *lock(answer) = Answer::Ready(outcomes);
            }
            drop(turn);
            state = lock(&self.state);
        }
    }
}

/// A caller's turn at submitting. Its end lets the others go on, even if it ends by a panic.
struct Turn<'a, R> {
    lane: &'a Lane<R>,
    answers: Vec<Arc<Mutex<Answer>>>,
}

impl<R> Drop for Turn<'_, R> {
    fn drop(&mut self) {
        for answer in &self.answers {
            let mut answer = lock(answer);
            if matches!(*answer, Answer::Pending) {
                *answer = Answer::Abandoned;
            }
        }
        lock(&self.lane.state).busy = false;
        self.lane.changed.notify_all();
    }
}

fn group_by<T, K: Eq + Hash + Ord>(items: &[T], key: impl Fn(&T) -> K) -> Vec<(K, Vec<usize>)> {
    let mut groups: std::collections::BTreeMap<K, Vec<usize>> = std::collections::BTreeMap::new();
    for (index, item) in items.iter().enumerate() {
        groups.entry(key(item)).or_default().push(index);
    }
    groups.into_iter().collect()
}

/// No code that holds these locks leaves anything half done, so a panic elsewhere does not spoil what they guard.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::AtomicUsize;

    use super::*;
    use crate::error::{Operation, Reason, ZfsError};

    #[test]
    fn requests_that_come_during_a_call_share_the_next() {
        let lane: Lane<Vec<u32>> = Lane::default();
        let counts = LaneCounters::default();
        let calls = AtomicUsize::new(0);
        let started = Barrier::new(2);
        let run = |requests: Vec<Vec<u32>>| {
            if calls.fetch_add(1, Ordering::SeqCst) == 0 {
                started.wait();
                // Until all the others have queued up behind this call.
                while lock(&lane.state).queue.len() < 8 {
                    std::thread::yield_now();
                }
            }
            requests
                .iter()
                .map(|r| vec![Outcome::Done; r.len()])
                .collect()
        };
        std::thread::scope(|scope| {
            scope.spawn(|| assert_eq!(lane.submit(vec![0], &counts, run).len(), 1));
            started.wait();
            for number in 1..=8_u32 {
                let (lane, counts) = (&lane, &counts);
                scope.spawn(move || {
                    let outcomes = lane.submit(vec![number; number as usize], counts, run);
                    assert_eq!(outcomes, vec![Outcome::Done; number as usize]);
                });
            }
        });
        assert_eq!(calls.load(Ordering::SeqCst), 2);
        assert_eq!(counts.requests.load(Ordering::Relaxed), 9);
    }

    fn request(names: &[&str]) -> SnapshotRequest {
        SnapshotRequest {
            snapshots: names
                .iter()
                .map(|name| SnapshotName::new(*name).expect("valid"))
                .collect(),
            properties: Vec::new(),
        }
    }

    /// A kernel in which the snapshots called `bad` fail and take their call with them.
    fn all_or_nothing(names: &[SnapshotName]) -> Vec<Outcome> {
        let bad = |name: &SnapshotName| name.name() == "bad";
        let failed = names.iter().any(bad);
        names
            .iter()
            .map(|name| match (bad(name), failed) {
                (true, _) => Outcome::Failed(ZfsError::new(
                    Operation::Snapshot,
                    name.as_str(),
                    Reason::AlreadyExists,
                )),
                (false, true) => Outcome::NotTried,
                (false, false) => Outcome::Done,
            })
            .collect()
    }

    #[test]
    fn a_failing_snapshot_request_does_not_fail_its_neighbours() {
        let calls = AtomicUsize::new(0);
        let requests = [
            request(&["p/a@1", "p/b@1"]),
            request(&["p/c@bad", "p/d@1"]),
            request(&["p/e@1"]),
        ];
        let results = run_snapshots(&requests, |names, _| {
            calls.fetch_add(1, Ordering::SeqCst);
            all_or_nothing(names)
        });
        assert_eq!(results[0], [Outcome::Done, Outcome::Done]);
        assert!(matches!(
            results[1][..],
            [Outcome::Failed(_), Outcome::NotTried]
        ));
        assert_eq!(results[2], [Outcome::Done]);
        assert_eq!(calls.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn requests_that_fail_together_without_a_culprit_are_made_alone() {
        let sizes = Mutex::new(Vec::new());
        let requests = [
            request(&["p/a@1", "p/b@1"]),
            request(&["p/c@1", "p/d@1", "p/e@1"]),
            request(&["p/f@1"]),
        ];
        // A kernel that has room for two, and names nobody.
        let results = run_snapshots(&requests, |names, _| {
            lock(&sizes).push(names.len());
            let outcome = |name: &SnapshotName| match names.len() {
                ..=2 => Outcome::Done,
                _ => Outcome::Failed(ZfsError::new(
                    Operation::Snapshot,
                    name.as_str(),
                    Reason::NoSpace,
                )),
            };
            names.iter().map(outcome).collect()
        });
        assert_eq!(results[0], [Outcome::Done, Outcome::Done]);
        assert!(has_failure(&results[1]));
        assert_eq!(results[2], [Outcome::Done]);
        assert_eq!(*lock(&sizes), [6, 2, 3, 1]);
    }

    #[test]
    fn snapshots_of_one_filesystem_go_into_separate_calls() {
        let sizes = Mutex::new(Vec::new());
        let requests = [
            request(&["p/a@1"]),
            request(&["p/a@2"]),
            request(&["p/b@1"]),
        ];
        let results = run_snapshots(&requests, |names, _| {
            lock(&sizes).push(names.len());
            all_or_nothing(names)
        });
        assert!(results.iter().flatten().all(Outcome::is_done));
        assert_eq!(*lock(&sizes), [2, 1]);
    }

    #[test]
    fn a_panicking_caller_does_not_block_the_next() {
        let lane: Lane<u8> = Lane::default();
        let counts = LaneCounters::default();
        let panicked = std::thread::scope(|scope| {
            scope
                .spawn(|| lane.submit(1, &counts, |_| panic!("on purpose")))
                .join()
                .is_err()
        });
        assert!(panicked);
        assert_eq!(
            lane.submit(2, &counts, |_| vec![vec![Outcome::Done]]),
            [Outcome::Done]
        );
    }
}
