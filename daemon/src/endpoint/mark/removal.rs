//! Marks that are to go, and have time: nobody waits for a transaction group because something is of no use any more. Places of marks
//! flow in, one call for all that have gathered flows out, after a while or before somebody depends on their being gone.
//!
//! Dying in between loses nothing: what should have gone is stale, and goes when the next round begins. What must never happen is
//! that a mark goes which has been made again meanwhile; whoever makes marks says so first ([`Removals::keep`]).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use tracing::Span;

use super::Place;

/// What is to go, each with the span of whoever said so.
pub(in crate::endpoint) type Queue = BTreeMap<Place, Span>;

/// Marks that are to go.
#[derive(Debug, Default)]
pub(in crate::endpoint) struct Removals {
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
    /// Adds marks. Says whether there were none, so that somebody has to see to it.
    pub(in crate::endpoint) fn add(&self, places: impl IntoIterator<Item = Place>) -> bool {
        let span = Span::current();
        let mut state = self.lock();
        let was_empty = state.queue.is_empty();
        let places = places.into_iter().map(|place| (place, span.clone()));
        state.queue.extend(places);
        was_empty && !state.queue.is_empty()
    }

    /// These marks are wanted, again or still: they are not removed. Blocks while one of them is being removed, so that it can be made
    /// anew afterwards.
    pub(in crate::endpoint) fn keep(&self, places: &[Place]) {
        let mut state = self.lock();
        for place in places {
            state.queue.remove(place);
        }
        while places.iter().any(|place| state.going.contains(place)) {
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Has `run` remove everything that was added before. Blocks until it is gone, whoever removes it.
    pub(in crate::endpoint) fn finish(&self, run: impl FnOnce(Queue)) {
        let mut state = self.lock();
        while !state.going.is_empty() {
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        if state.queue.is_empty() {
            return;
        }
        let queue = std::mem::take(&mut state.queue);
        state.going = queue.keys().cloned().collect();
        drop(state);
        let _gone = Going(self);
        run(queue);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code that holds this lock leaves anything half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends a removal, also if it panics.
struct Going<'a>(&'a Removals);

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
        let dataset = DatasetPath::new("p/a").expect("valid");
        Place::Hold(HoldRequest {
            snapshot: dataset.snapshot(snapshot).expect("valid"),
            tag: HoldTag::new("zrepl_STEP_J_job").expect("valid"),
        })
    }

    fn removed(removals: &Removals) -> Vec<Place> {
        let mut found = Vec::new();
        removals.finish(|queue| found.extend(queue.into_keys()));
        found
    }

    #[test]
    fn what_was_added_goes_once_and_in_one_call() {
        let removals = Removals::default();
        assert!(removals.add([hold("1"), hold("2")]));
        assert!(!removals.add([hold("2"), hold("3")]));
        assert_eq!(removed(&removals), [hold("1"), hold("2"), hold("3")]);
        removals.finish(|queue| panic!("{queue:?}"));
        assert!(removals.add([hold("1")]));
        assert!(!Removals::default().add([]));
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
            removals.finish(|_| {
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
            |removals| removals.finish(|_| ()),
        ];
        for wait in waits {
            let removals = Removals::default();
            thread::scope(|scope| {
                let end = removing(&removals, scope);
                let waiting = scope.spawn(|| wait(&removals));
                // Nobody waits for what has nothing to do with it.
                removals.keep(&[hold("2")]);
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
            let panicking = scope.spawn(|| removals.finish(|_| panic!("as told")));
            panicking.join().expect_err("panics");
        });
        removals.keep(&[hold("1")]);
        assert_eq!(removed(&removals), []);
    }
}
