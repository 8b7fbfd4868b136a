//! Marks that are to go, and have time: nobody waits for a transaction group because something is of no use any more. Places of marks
//! flow in, one call for all of a pool that have gathered flows out, after a while or before somebody depends on their being gone.
//!
//! Dying in between loses nothing: what should have gone is stale, and goes when the next round begins. What must never happen is
//! that a mark goes which has been made again meanwhile; whoever makes marks says so first ([`Removals::keep`]). Pools do not wait for
//! each other: a call to one whose disk has gone may take for ever.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use tracing::Span;
use zfs_safe::name::PoolName;

use super::Place;

/// What is to go, each with the span of whoever said so.
pub(in crate::endpoint) type Queue = BTreeMap<Place, Span>;

/// Marks that are to go, pool by pool.
#[derive(Debug, Default)]
pub(in crate::endpoint) struct Removals(Mutex<BTreeMap<PoolName, Arc<OfPool>>>);

/// Those of one pool.
#[derive(Debug, Default)]
struct OfPool {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    queue: Queue,
    /// Those that a call is removing now.
    going: BTreeSet<Place>,
}

impl Removals {
    /// Adds marks. Returns the pools of which there were none, so that somebody has to see to them.
    pub(in crate::endpoint) fn add(
        &self,
        places: impl IntoIterator<Item = Place>,
    ) -> BTreeSet<PoolName> {
        let mut begun = BTreeSet::new();
        for place in places {
            let pool = place.pool();
            let of_pool = self.of(&pool);
            let mut state = of_pool.lock();
            if state.queue.is_empty() {
                begun.insert(pool);
            }
            state.queue.insert(place, Span::current());
        }
        begun
    }

    /// These marks are wanted, again or still: they are not removed. Blocks while one of them is being removed, so that it can be made
    /// anew afterwards.
    pub(in crate::endpoint) fn keep(&self, places: &[Place]) {
        for place in places {
            let of_pool = self.of(&place.pool());
            let mut state = of_pool.lock();
            state.queue.remove(place);
            while state.going.contains(place) {
                state = of_pool.wait(state);
            }
        }
    }

    /// Has `run` remove everything of this pool that was added before. Blocks until it is gone, whoever removes it.
    pub(in crate::endpoint) fn finish(&self, pool: &PoolName, run: impl FnOnce(Queue)) {
        let of_pool = self.of(pool);
        let mut state = of_pool.lock();
        while !state.going.is_empty() {
            state = of_pool.wait(state);
        }
        if state.queue.is_empty() {
            return;
        }
        let queue = std::mem::take(&mut state.queue);
        state.going = queue.keys().cloned().collect();
        drop(state);
        let _gone = Going(&of_pool);
        run(queue);
    }

    /// There is one for each pool that ever had marks to remove; a host has few.
    fn of(&self, pool: &PoolName) -> Arc<OfPool> {
        let mut pools = lock(&self.0);
        Arc::clone(pools.entry(pool.clone()).or_default())
    }
}

impl OfPool {
    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.changed
            .wait(state)
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// No code that holds one of these locks leaves anything half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends a removal, also if it panics.
struct Going<'a>(&'a OfPool);

impl Drop for Going<'_> {
    fn drop(&mut self) {
        self.0.lock().going.clear();
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;
    use std::time::Duration;

    use zfs_safe::name::{DatasetPath, HoldTag};
    use zfs_safe::zfs::HoldRequest;

    use super::*;

    fn hold(snapshot: &str) -> Place {
        hold_of("p/a", snapshot)
    }

    fn hold_of(dataset: &str, snapshot: &str) -> Place {
        let dataset = DatasetPath::new(dataset).expect("valid");
        Place::Hold(HoldRequest {
            snapshot: dataset.snapshot(snapshot).expect("valid"),
            tag: HoldTag::new("zrepl_STEP_J_job").expect("valid"),
        })
    }

    fn pool(name: &str) -> PoolName {
        PoolName::new(name).expect("valid")
    }

    fn removed(removals: &Removals) -> Vec<Place> {
        let mut found = Vec::new();
        removals.finish(&pool("p"), |queue| found.extend(queue.into_keys()));
        found
    }

    #[test]
    fn what_was_added_goes_once_and_in_one_call() {
        let removals = Removals::default();
        assert_eq!(removals.add([hold("1"), hold("2")]), [pool("p")].into());
        assert!(removals.add([hold("2"), hold("3")]).is_empty());
        assert_eq!(removed(&removals), [hold("1"), hold("2"), hold("3")]);
        removals.finish(&pool("p"), |queue| panic!("{queue:?}"));
        assert_eq!(removals.add([hold("1")]), [pool("p")].into());
        assert!(Removals::default().add([]).is_empty());
    }

    #[test]
    fn what_is_wanted_again_stays() {
        let removals = Removals::default();
        removals.add([hold("1"), hold("2")]);
        removals.keep(&[hold("2"), hold("3")]);
        assert_eq!(removed(&removals), [hold("1")]);
    }

    /// Starts a removal of `1` that lasts until the returned end is dropped.
    fn removing<'s>(removals: &'s Removals, scope: &'s thread::Scope<'s, '_>) -> mpsc::Sender<()> {
        let (end, ended) = mpsc::channel();
        let (begin, begun) = mpsc::channel();
        removals.add([hold("1")]);
        scope.spawn(move || {
            removals.finish(&pool("p"), |_| {
                begin.send(()).expect("somebody waits");
                ended.recv().expect_err("the end is dropped");
            });
        });
        begun.recv().expect("begins");
        end
    }

    #[test]
    fn what_is_going_is_waited_for() {
        type Wait = fn(&Removals);
        let waits: [Wait; 2] = [
            |removals| removals.keep(&[hold("2"), hold("1")]),
            |removals| removals.finish(&pool("p"), |_| ()),
        ];
        for wait in waits {
            let removals = Removals::default();
            thread::scope(|scope| {
                let end = removing(&removals, scope);
                let waiting = scope.spawn(|| wait(&removals));
                // Nobody waits for what has nothing to do with it.
                removals.keep(&[hold("2"), hold_of("q/a", "1")]);
                removals.add([hold_of("q/a", "1")]);
                let mut others = 0;
                removals.finish(&pool("q"), |queue| others = queue.len());
                assert_eq!(others, 1);
                thread::sleep(Duration::from_millis(50));
                assert!(!waiting.is_finished());
                drop(end);
                waiting.join().expect("ends");
            });
        }
    }

    #[test]
    fn a_removal_that_panics_is_over() {
        let removals = Removals::default();
        removals.add([hold("1")]);
        thread::scope(|scope| {
            let panicking = scope.spawn(|| removals.finish(&pool("p"), |_| panic!("as told")));
            panicking.join().expect_err("panics");
        });
        removals.keep(&[hold("1")]);
        assert_eq!(removed(&removals), []);
    }
}
