//! The scenarios, by what they are about.

mod bad_world;
mod batches;
mod datasets;
mod facts;
mod group;
mod listing;
mod programs;
mod receiving;
mod sending;
mod streams;

use crate::bed::{Bed, Which};

/// `Err` holds the reason why a scenario does not apply here.
pub(crate) type Verdict = Result<(), String>;

/// One scenario.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) run: fn(&mut Bed) -> Verdict,
    /// Runs with this implementation only.
    pub(crate) only: Option<Which>,
}

impl Scenario {
    /// For both implementations.
    const fn new(name: &'static str, run: fn(&mut Bed) -> Verdict) -> Self {
        Self {
            name,
            run,
            only: None,
        }
    }

    /// For the native implementation only: what it is about exists there alone.
    const fn native(name: &'static str, run: fn(&mut Bed) -> Verdict) -> Self {
        Self {
            name,
            run,
            only: Some(Which::Native),
        }
    }

    pub(crate) fn runs_with(&self, which: Which) -> bool {
        self.only.is_none_or(|only| only == which)
    }
}

pub(crate) fn all() -> Vec<Scenario> {
    let lists = [
        listing::LIST,
        datasets::LIST,
        batches::LIST,
        programs::LIST,
        sending::LIST,
        receiving::LIST,
        group::LIST,
        facts::LIST,
        bad_world::LIST,
    ];
    lists
        .into_iter()
        .flatten()
        .map(|s| Scenario {
            name: s.name,
            run: s.run,
            only: s.only,
        })
        .collect()
}

/// What [`crate::bed::child`] makes a child process do.
pub(crate) fn child_action(which: Which, action: &str) {
    let known = facts::child_action(action) || bad_world::child_action(which, action);
    assert!(known, "no action {action} for {which:?}");
}
