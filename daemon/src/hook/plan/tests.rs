use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;

/// How a hook behaves.
#[derive(Clone, Copy, Debug)]
struct Behaviour {
    fatal: bool,
    pre: bool,
    post: bool,
}

/// A world: hooks, whether the snapshot succeeds, and after how many ended parts the job is told to stop.
#[derive(Clone, Debug)]
struct World {
    hooks: Vec<Behaviour>,
    snapshot: bool,
    stop_after: Option<usize>,
}

/// What is seen from outside: what ran, in order, and how each part stands at the end.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    ran: Vec<Part>,
    end: Vec<Status>,
}

impl World {
    fn succeeds(&self, part: Part) -> bool {
        match part {
            Part::Hook(hook, Edge::Pre) => self.hooks[hook].pre,
            Part::Snapshot => self.snapshot,
            Part::Hook(hook, Edge::Post) => self.hooks[hook].post,
        }
    }

    fn carried_out(&self) -> Seen {
        let mut plan = Plan::new(self.hooks.iter().map(|hook| hook.fatal).collect());
        let mut ran = Vec::new();
        let now = Instant::now();
        loop {
            if self.stop_after == Some(ran.len()) {
                plan.stop();
            }
            let Some(part) = plan.next() else { break };
            ran.push(part);
            plan.begin(part, now);
            assert_eq!(plan.status(part), Status::Exec);
            plan.finish(part, self.succeeds(part), String::new(), now);
        }
        let failed_or_not_run = plan.steps().iter().any(|step| step.status != Status::Ok);
        assert_eq!(plan.had_error(), failed_or_not_run);
        Seen {
            ran,
            end: plan.steps().iter().map(|step| step.status).collect(),
        }
    }

    /// The same by nesting: each hook encloses those after it, and the innermost is the snapshot.
    fn nested(&self) -> Seen {
        let mut seen = Nesting {
            world: self,
            ran: Vec::new(),
            before: Vec::new(),
            after: Vec::new(),
            prevented: false,
        };
        seen.enter(0);
        let mut end = seen.before;
        // Those of the innermost were written first, and run first.
        end.extend(seen.after);
        Seen { ran: seen.ran, end }
    }
}

struct Nesting<'a> {
    world: &'a World,
    ran: Vec<Part>,
    before: Vec<Status>,
    after: Vec<Status>,
    prevented: bool,
}

impl Nesting<'_> {
    fn enter(&mut self, depth: usize) {
        if self.world.stop_after.is_some_and(|n| self.ran.len() >= n) {
            self.prevented = true;
        }
        let Some(hook) = self.world.hooks.get(depth).copied() else {
            let status = self.run(Part::Snapshot);
            self.before.push(status);
            return;
        };
        let pre = self.run(Part::Hook(depth, Edge::Pre));
        self.before.push(pre);
        let fatal = pre == Status::Err && hook.fatal;
        self.prevented |= fatal;
        self.enter(depth + 1);
        let post = match pre {
            Status::Ok => {
                let part = Part::Hook(depth, Edge::Post);
                self.ran.push(part);
                if hook.post { Status::Ok } else { Status::Err }
            }
            Status::Err if !fatal => Status::SkippedDueToPreErr,
            _ => Status::SkippedDueToFatalErr,
        };
        self.after.push(post);
    }

    fn run(&mut self, part: Part) -> Status {
        if self.prevented {
            return Status::SkippedDueToFatalErr;
        }
        self.ran.push(part);
        if self.world.succeeds(part) {
            Status::Ok
        } else {
            Status::Err
        }
    }
}

fn all_behaviours() -> impl Iterator<Item = Behaviour> + Clone {
    (0..8).map(|bits| Behaviour {
        fatal: bits & 1 > 0,
        pre: bits & 2 > 0,
        post: bits & 4 > 0,
    })
}

/// All ways in which `count` hooks can behave.
fn combinations(count: usize) -> Vec<Vec<Behaviour>> {
    (0..count).fold(vec![Vec::new()], |known, _| {
        let longer = |hooks: &Vec<Behaviour>| {
            let hooks = hooks.clone();
            all_behaviours().map(move |next| [hooks.as_slice(), &[next]].concat())
        };
        known.iter().flat_map(longer).collect()
    })
}

#[test]
fn up_to_three_hooks_run_as_if_nested_whatever_fails_and_whenever_it_is_stopped() {
    let mut worlds = 0;
    for count in 0..=3 {
        for hooks in combinations(count) {
            for snapshot in [false, true] {
                for stop_after in (0..=2 * count + 1).map(Some).chain([None]) {
                    let world = World {
                        hooks: hooks.clone(),
                        snapshot,
                        stop_after,
                    };
                    assert_eq!(world.carried_out(), world.nested(), "{world:?}");
                    worlds += 1;
                }
            }
        }
    }
    assert_eq!(worlds, 2 * 3 + 16 * 5 + 128 * 7 + 1024 * 9);
}

proptest! {
    #[test]
    fn many_hooks_run_as_if_nested(
        hooks in prop::collection::vec(any::<(bool, bool, bool)>(), 0..12),
        snapshot: bool,
        stop_after in prop::option::of(0_usize..26),
    ) {
        let behaviour = |(fatal, pre, post)| Behaviour { fatal, pre, post };
        let hooks = hooks.into_iter().map(behaviour).collect();
        let world = World { hooks, snapshot, stop_after };
        prop_assert_eq!(world.carried_out(), world.nested());
    }
}

#[test]
fn a_fatal_failure_leaves_no_earlier_hook_without_its_post_edge() {
    let mut plan = Plan::new(vec![false, true, false]);
    let now = Instant::now();
    let mut ran = Vec::new();
    while let Some(part) = plan.next() {
        ran.push(part);
        plan.begin(part, now);
        plan.finish(part, part != Part::Hook(1, Edge::Pre), "r".to_owned(), now);
    }
    let (first, second) = (Part::Hook(0, Edge::Pre), Part::Hook(1, Edge::Pre));
    assert_eq!(ran, [first, second, Part::Hook(0, Edge::Post)]);
    assert_eq!(
        plan.steps()
            .iter()
            .map(|step| step.status.to_string())
            .collect::<Vec<_>>(),
        [
            "Ok",
            "Err",
            "SkippedDueToFatalErr",
            "SkippedDueToFatalErr",
            "SkippedDueToFatalErr",
            "SkippedDueToFatalErr",
            "Ok"
        ]
    );
    assert!(plan.had_error());
}

#[test]
fn a_part_knows_how_long_it_took() {
    let mut plan = Plan::new(Vec::new());
    let begun = Instant::now();
    plan.begin(Part::Snapshot, begun);
    assert_eq!(plan.next(), None, "one at a time");
    plan.finish(
        Part::Snapshot,
        true,
        "snapshot".to_owned(),
        begun + Duration::from_secs(3),
    );
    let step = &plan.steps()[0];
    assert_eq!(step.took, Some(Duration::from_secs(3)));
    assert_eq!(step.report.as_deref(), Some("snapshot"));
    assert!(!plan.had_error());
}
