//! What runs around one snapshot, in which order, and what follows from each outcome. Outcomes flow in, the next part and how
//! everything stands flow out; nothing here runs anything or reads a clock.
//!
//! ```text
//! pre 1 ─► pre 2 ─► … ─► snapshot ─► … ─► post 2 ─► post 1
//! ```
//!
//! A post edge runs if the pre edge of its hook has succeeded, whatever else has failed since. zrepl 0.7.0 promises that, too,
//! but runs no post edge at all after a fatal failure, so that a database may stay locked.

use std::fmt;
use std::time::{Duration, Instant};

/// Before or after the snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edge {
    /// Before.
    Pre,
    /// After.
    Post,
}

/// Something that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The edge of a hook, which is counted from 0 in the order of the configuration.
    Hook(usize, Edge),
    /// The snapshot.
    Snapshot,
}

/// How a part stands. The names are those of zrepl 0.7.0, and are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Not yet run.
    Pending,
    /// Running.
    Exec,
    /// Succeeded.
    Ok,
    /// Failed.
    Err,
    /// Will not run: something before it failed that forbids it, or the job is being stopped.
    SkippedDueToFatalErr,
    /// Will not run: a post edge whose pre edge failed.
    SkippedDueToPreErr,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pending => "Pending",
            Self::Exec => "Exec",
            Self::Ok => "Ok",
            Self::Err => "Err",
            Self::SkippedDueToFatalErr => "SkippedDueToFatalErr",
            Self::SkippedDueToPreErr => "SkippedDueToPreErr",
        })
    }
}

/// A part and how it stands.
#[derive(Clone, Debug)]
pub struct Step {
    /// What it is.
    pub part: Part,
    /// How it stands.
    pub status: Status,
    /// When it began.
    pub begun: Option<Instant>,
    /// How long it took.
    pub took: Option<Duration>,
    /// What it says of itself, once it has ended.
    pub report: Option<String>,
}

/// All parts around one snapshot. What runs next is the first that is pending.
#[derive(Clone, Debug)]
pub struct Plan {
    /// For each hook, whether the failure of its pre edge prevents the snapshot.
    fatal: Vec<bool>,
    steps: Vec<Step>,
}

impl Plan {
    /// Plans hooks in the order of the configuration; of each is given whether the failure of its pre edge is fatal.
    pub fn new(fatal: Vec<bool>) -> Self {
        let hooks = 0..fatal.len();
        let pre = hooks.clone().map(|hook| Part::Hook(hook, Edge::Pre));
        let post = hooks.rev().map(|hook| Part::Hook(hook, Edge::Post));
        let steps = pre.chain([Part::Snapshot]).chain(post).map(|part| Step {
            part,
            status: Status::Pending,
            begun: None,
            took: None,
            report: None,
        });
        Self {
            steps: steps.collect(),
            fatal,
        }
    }

    /// All parts in the order in which they run.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// What is to run now; nothing if all is done. Only one part runs at a time.
    pub fn next(&self) -> Option<Part> {
        let pending = |step: &&Step| step.status == Status::Pending;
        self.steps.iter().find(pending).map(|step| step.part)
    }

    /// A part begins.
    pub fn begin(&mut self, part: Part, now: Instant) {
        let place = self.place(part);
        let step = &mut self.steps[place];
        step.status = Status::Exec;
        step.begun = Some(now);
    }

    /// A part has ended, and says so.
    pub fn finish(&mut self, part: Part, succeeded: bool, report: String, now: Instant) {
        let place = self.place(part);
        let step = &mut self.steps[place];
        step.status = if succeeded { Status::Ok } else { Status::Err };
        step.took = step.begun.map(|begun| now.duration_since(begun));
        step.report = Some(report);
        if let (Part::Hook(hook, Edge::Pre), false) = (part, succeeded) {
            if self.fatal[hook] {
                self.skip(Part::Hook(hook, Edge::Post), Status::SkippedDueToFatalErr);
                self.stop();
            } else {
                self.skip(Part::Hook(hook, Edge::Post), Status::SkippedDueToPreErr);
            }
        }
    }

    /// From now on nothing begins but the post edges of hooks whose pre edge has succeeded.
    pub fn stop(&mut self) {
        for hook in 0..self.fatal.len() {
            let pre = Part::Hook(hook, Edge::Pre);
            if self.status(pre) == Status::Pending {
                self.skip(pre, Status::SkippedDueToFatalErr);
                self.skip(Part::Hook(hook, Edge::Post), Status::SkippedDueToFatalErr);
            }
        }
        self.skip(Part::Snapshot, Status::SkippedDueToFatalErr);
    }

    /// Has anything failed, or been skipped?
    pub fn had_error(&self) -> bool {
        let good = [Status::Pending, Status::Exec, Status::Ok];
        self.steps.iter().any(|step| !good.contains(&step.status))
    }

    /// How a part stands.
    pub fn status(&self, part: Part) -> Status {
        self.steps[self.place(part)].status
    }

    fn skip(&mut self, part: Part, as_status: Status) {
        let place = self.place(part);
        let step = &mut self.steps[place];
        if step.status == Status::Pending {
            step.status = as_status;
        }
    }

    fn place(&self, part: Part) -> usize {
        let hooks = self.fatal.len();
        match part {
            Part::Hook(hook, Edge::Pre) => hook,
            Part::Snapshot => hooks,
            Part::Hook(hook, Edge::Post) => 2 * hooks - hook,
        }
    }
}

#[cfg(test)]
mod tests;
