//! The rounds of the table. All routes make each of them at the same time.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::Route;
use crate::daemon::Woken;
use crate::scenario::replication::state::{self, Tree};
use crate::status::{Run, Step};

/// The columns.
pub(super) const KINDS: [&str; 6] = [
    "full",
    "resumed",
    "incremental",
    "bookmark",
    "volume",
    "raw",
];

/// For a round of all routes.
const LIMIT: Duration = Duration::from_secs(240);

/// What came of all rounds.
pub(super) struct Rounds {
    /// Title and cells.
    pub(super) lines: Vec<(String, Vec<&'static str>)>,
    pub(super) failures: Vec<String>,
}

/// What a round is expected to send.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    Resumed,
    Incremental,
    Bookmark,
}

impl Rounds {
    pub(super) fn run(routes: &[Route<'_>]) -> Result<Self> {
        // By round and route.
        let mut outcomes: Vec<Vec<Result<()>>> = Vec::new();
        on_each_sender(
            routes,
            "for tree in $trees; do zfs snapshot -r $tree@1; done",
        )?;
        outcomes.push(cut(routes));
        for kind in [Kind::Resumed, Kind::Incremental, Kind::Bookmark] {
            kind.prepare(routes)?;
            outcomes.push(kind.round(routes)?);
        }
        let mut failures = Vec::new();
        let passed: Vec<Vec<bool>> = outcomes
            .into_iter()
            .zip(["cut", "resumed", "incremental", "bookmark"])
            .map(|(outcomes, round)| {
                routes
                    .iter()
                    .zip(outcomes)
                    .map(|(route, outcome)| {
                        let passed = outcome.is_ok();
                        if let Err(error) = outcome {
                            failures
                                .push(format!("{} {}, {round}: {error:#}", route.title, route.job));
                        }
                        passed
                    })
                    .collect()
            })
            .collect();
        let cell = |passed: bool| if passed { "ok" } else { "FAILED" };
        let mut lines = Vec::new();
        for (index, route) in routes.iter().enumerate().filter(|(_, route)| !route.raw) {
            let raw = index + 1;
            let all = |route: usize| passed.iter().all(|round| round[route]);
            lines.push((
                route.title.clone(),
                vec![
                    cell(passed[0][index]),
                    cell(passed[1][index]),
                    cell(passed[2][index]),
                    cell(passed[3][index]),
                    cell(all(index)),
                    cell(all(raw)),
                ],
            ));
        }
        Ok(Self { lines, failures })
    }
}

/// The first round, one route after the other, so that a slow host cannot be too late. Plain routes are cut by a reset while their
/// filesystem is on its way; raw ones arrive whole.
fn cut(routes: &[Route<'_>]) -> Vec<Result<()>> {
    let one = |route: &Route<'_>| {
        let woken = route.active.wake(&route.job)?;
        if !route.raw {
            route.cut(&woken)?;
        }
        let run = route.active.wait(&woken, LIMIT)?;
        if route.raw {
            route.ensure_full(&run)
        } else {
            route.ensure_cut(&run)
        }
    };
    routes.iter().map(one).collect()
}

impl Kind {
    /// Makes what the round is to send.
    fn prepare(self, routes: &[Route<'_>]) -> Result<()> {
        let change = |name: &str| {
            format!(
                "for tree in $trees; do
                     for directory in /$tree/f /$tree/e; do
                         if [ -d $directory ]; then echo {name} >$directory/{name}; fi
                     done
                     zfs snapshot -r $tree@{name}
                 done
                 for device in /dev/zd*; do echo {name} >$device; done"
            )
        };
        match self {
            Self::Resumed => Ok(()),
            Self::Incremental => on_each_sender(routes, &change("2")),
            Self::Bookmark => on_each_sender(
                routes,
                &format!(
                    "for tree in $trees; do zfs destroy -r $tree@2; done\n{}",
                    change("3")
                ),
            ),
        }
    }

    fn round(self, routes: &[Route<'_>]) -> Result<Vec<Result<()>>> {
        let woken = wake(routes)?;
        let mut outcomes = Vec::new();
        for (route, woken) in routes.iter().zip(&woken) {
            let run = route.active.wait(woken, LIMIT)?;
            outcomes.push(route.check(self, &run));
        }
        Ok(outcomes)
    }

    /// Whether a step is one of this round.
    fn expects(self, dataset: &str, step: &Step) -> bool {
        match self {
            Self::Resumed => step.from.is_empty() && (!dataset.ends_with("/f") || step.resumed),
            Self::Incremental => step.from == "@1" && !step.resumed,
            Self::Bookmark => step.from.starts_with("#zrepl_CURSOR_G_") && !step.resumed,
        }
    }
}

impl Route<'_> {
    /// The datasets below the tree.
    fn paths(&self) -> &'static [&'static str] {
        if self.raw { &["e"] } else { &["f", "v"] }
    }

    fn cut(&self, woken: &Woken) -> Result<()> {
        let name = format!("{}/f", self.tree);
        let under_way = |run: &Run| {
            let filesystem = run.filesystem(&name);
            filesystem
                .and_then(|filesystem| filesystem.steps.into_iter().next())
                .is_some_and(|step| step.replicated > 300_000 && step.replicated < 900_000)
        };
        let run = self.active.wait_until(woken, LIMIT, under_way)?;
        ensure!(
            under_way(&run),
            "nothing to cut: {}{:?}",
            run.problems(),
            run.steps()
        );
        self.active
            .zrepl(&format!("signal reset {}", self.job))?
            .ok()?;
        Ok(())
    }

    /// What was sent before the cut is kept.
    fn ensure_cut(&self, run: &Run) -> Result<()> {
        ensure!(!run.is_done(), "the reset came too late");
        let tree = Tree::read(self.receiver, &self.target)?;
        let filesystem = tree.dataset("f")?;
        ensure!(
            filesystem.has_resume_token && filesystem.snapshots.is_empty(),
            "no partial receive: {filesystem:?}; {}",
            run.problems()
        );
        Ok(())
    }

    fn ensure_full(&self, run: &Run) -> Result<()> {
        self.ensure_done(run)?;
        let mut steps = run.steps();
        steps.retain(|(_, step)| step.done);
        ensure!(
            steps.len() == 1 && steps[0].1.from.is_empty(),
            "not one full step: {steps:?}"
        );
        let target = format!("{}/e", self.target);
        let keys = self
            .receiver
            .run([
                "zfs",
                "get",
                "-H",
                "-o",
                "value",
                "encryption,keystatus",
                &target,
            ])?
            .ok()?
            .text();
        ensure!(keys == "aes-256-gcm\nunavailable", "{target}: {keys}");
        Ok(())
    }

    fn ensure_done(&self, run: &Run) -> Result<()> {
        ensure!(
            run.is_done() && run.problems().is_empty(),
            "{}\n{}",
            run.problems(),
            self.active.log()?
        );
        Ok(())
    }

    /// The steps are those of the round, and both sides are equal afterwards.
    fn check(&self, kind: Kind, run: &Run) -> Result<()> {
        self.ensure_done(run)?;
        let mut steps = run.steps();
        steps.retain(|(_, step)| step.done);
        // The volume may have arrived before the cut, and the raw route was not cut.
        let as_expected = steps
            .iter()
            .all(|(dataset, step)| kind.expects(dataset, step));
        let all_there = kind == Kind::Resumed || steps.len() == self.paths().len();
        ensure!(
            as_expected && all_there,
            "{kind:?}: the steps were {steps:?}"
        );
        if kind == Kind::Resumed && !self.raw {
            ensure!(
                steps.iter().any(|(dataset, _)| dataset.ends_with("/f")),
                "nothing was resumed: {steps:?}"
            );
        }
        let check = || {
            let ours = Tree::read(self.sender, &self.tree)?;
            let mut theirs = Tree::read(self.receiver, &self.target)?;
            if kind == Kind::Bookmark {
                // The base is gone from the sender, and that is the point.
                for dataset in theirs.0.values_mut() {
                    dataset.snapshots.retain(|(name, _)| name != "@2");
                }
            }
            // Snapshots of the tree's root are taken along, but not replicated.
            state::ensure_converged(&ours, &theirs, self.paths(), &self.marks.0, &self.marks.1)
        };
        state::settles(check).context("after the round")
    }
}

/// Wakes all jobs, so that they run at the same time.
fn wake(routes: &[Route<'_>]) -> Result<Vec<Woken>> {
    routes
        .iter()
        .map(|route| route.active.wake(&route.job))
        .collect()
}

/// Runs a script on every sender that knows the trees there as `$trees`.
fn on_each_sender(routes: &[Route<'_>], script: &str) -> Result<()> {
    let mut done: Vec<*const crate::guest::Guest> = Vec::new();
    for route in routes {
        let guest: *const crate::guest::Guest = route.sender;
        if done.contains(&guest) {
            continue;
        }
        done.push(guest);
        let trees: Vec<&str> = routes
            .iter()
            .filter(|other| std::ptr::eq(other.sender, route.sender))
            .map(|other| other.tree.as_str())
            .collect();
        route
            .sender
            .script(&format!("trees='{}'\n{script}", trees.join(" ")))?
            .ok()?;
    }
    Ok(())
}
