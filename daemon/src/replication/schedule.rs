//! What is done next, and at most how much at a time: filesystems and what became of tasks flow in, tasks flow out. First all
//! filesystems are planned; then the step with the oldest target comes first, so that all filesystems reach one point in time
//! before any goes on to the next. Nothing a filesystem does or fails to do keeps others waiting for ever: only children that
//! the receiver does not have yet depend on their parents, and if a parent fails, they fail with an error that names it.
//! What follows a transfer (the sender moves its cursor) takes up no slot, so that it does not delay the transfers of others.
//!
//! The state of one filesystem:
//!
//! ```text
//! PlanQueued ─► Planning ─► WaitingForParents ─► StepQueued ─► Stepping ─► Completing ─► Done
//!                  │               │                 ▲             │         │  │
//!                  │               │                 └─────────────│─────────┘  │
//!                  ▼               ▼                               ▼            ▼
//!            PlanningFailed   ParentsFailed                    StepFailed   StepFailed
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;

use zfs_safe::name::DatasetPath;

use super::report::BlockedOn;
use super::step::Step;

/// The filesystems of one attempt.
#[derive(Debug)]
pub struct Schedule {
    filesystems: Vec<Filesystem>,
    /// What could start now: the target's creation, nothing for planning, and the filesystem.
    queue: BTreeSet<(Option<i64>, usize)>,
    free: usize,
    /// What failed because of a parent, until somebody asks.
    orphans: Vec<usize>,
}

#[derive(Debug)]
struct Filesystem {
    path: DatasetPath,
    state: State,
    /// The target's creation for each step.
    targets: Vec<i64>,
    presence: Presence,
    ancestors: Vec<usize>,
    descendants: Vec<usize>,
}

/// Is it on the receiver, so that its children can be received?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Presence {
    NotYet,
    Present,
    /// It failed by itself before it was there.
    Failed,
}

/// Where a filesystem is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Waits for its turn to be planned.
    PlanQueued,
    /// Is being planned.
    Planning,
    /// Cannot be planned.
    PlanningFailed,
    /// Its first step creates it on the receiver, below a parent that is not there yet.
    WaitingForParents,
    /// Its first step would have created it on the receiver, but a parent did not get there.
    ParentsFailed(ParentsFailed),
    /// Waits for its turn.
    StepQueued {
        /// Position of the step.
        step: usize,
    },
    /// Is being replicated.
    Stepping {
        /// Position of the step.
        step: usize,
    },
    /// The step's snapshot has arrived, and the sender is told so.
    Completing {
        /// Position of the step.
        step: usize,
    },
    /// This step failed; those after it were not tried.
    StepFailed {
        /// Position of the step.
        step: usize,
    },
    /// All steps are done.
    Done,
}

/// Why a filesystem could not be replicated for the first time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("parent(s) failed during initial replication: [{}]", join(.parents))]
pub struct ParentsFailed {
    /// Those that failed by themselves.
    pub parents: Vec<DatasetPath>,
}

/// Something to do now. Whoever does it hands it back with the result; meanwhile it takes up a slot.
#[derive(Debug, PartialEq, Eq)]
pub enum Task {
    /// Plan a filesystem.
    Plan(PlanTask),
    /// Do a step.
    Step(StepTask),
}

/// A filesystem to be planned.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub struct PlanTask {
    filesystem: usize,
}

/// A step to be done.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub struct StepTask {
    filesystem: usize,
    step: usize,
}

/// A step to be completed after its snapshot has arrived. It takes up no slot, but its filesystem goes on only after it.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub struct CompletionTask {
    filesystem: usize,
    step: usize,
}

/// What a schedule needs to know of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Planned {
    /// There are steps, or nothing to do.
    Steps {
        /// The target's creation for each step.
        targets: Vec<i64>,
        /// Does the first step create the filesystem on the receiver?
        begins_in_full: bool,
    },
    /// There is no plan.
    Failed {
        /// Does the receiver have the filesystem nevertheless?
        is_on_receiver: bool,
    },
}

impl Schedule {
    /// A schedule that does at most `slots` things at a time. What does not matter otherwise is done in the given order.
    pub fn new(paths: Vec<DatasetPath>, slots: NonZeroUsize) -> Self {
        let mut positions = BTreeMap::new();
        for (position, path) in paths.iter().enumerate() {
            positions.entry(path.clone()).or_insert(position);
        }
        let mut filesystems: Vec<_> = paths
            .into_iter()
            .map(|path| Filesystem {
                ancestors: ancestors(&path, &positions),
                path,
                state: State::PlanQueued,
                targets: Vec::new(),
                presence: Presence::NotYet,
                descendants: Vec::new(),
            })
            .collect();
        for position in 0..filesystems.len() {
            for ancestor in filesystems[position].ancestors.clone() {
                filesystems[ancestor].descendants.push(position);
            }
        }
        Self {
            queue: (0..filesystems.len()).map(|it| (None, it)).collect(),
            filesystems,
            free: slots.get(),
            orphans: Vec::new(),
        }
    }

    /// What to start next; nothing if all slots are taken, or as long as nothing more can start.
    pub fn start(&mut self) -> Option<Task> {
        if self.free == 0 {
            return None;
        }
        let (_, filesystem) = self.queue.pop_first()?;
        self.free -= 1;
        let state = &mut self.filesystems[filesystem].state;
        Some(if let State::StepQueued { step } = *state {
            *state = State::Stepping { step };
            Task::Step(StepTask { filesystem, step })
        } else {
            *state = State::Planning;
            Task::Plan(PlanTask { filesystem })
        })
    }

    /// A filesystem is planned, or cannot be.
    pub fn planned(&mut self, PlanTask { filesystem }: PlanTask, planned: Planned) {
        self.free += 1;
        let this = &mut self.filesystems[filesystem];
        match planned {
            Planned::Failed { is_on_receiver } => {
                this.state = State::PlanningFailed;
                this.presence = if is_on_receiver {
                    Presence::Present
                } else {
                    Presence::Failed
                };
            }
            Planned::Steps { targets, .. } if targets.is_empty() => {
                this.state = State::Done;
                // If it is not there, it is a placeholder, which the receiver makes when a child arrives.
                this.presence = Presence::Present;
            }
            Planned::Steps {
                targets,
                begins_in_full: true,
            } => {
                this.targets = targets;
                this.state = State::WaitingForParents;
                self.try_release(filesystem);
                return;
            }
            Planned::Steps { targets, .. } => {
                this.targets = targets;
                this.presence = Presence::Present;
                self.enqueue_step(filesystem, 0);
            }
        }
        self.tell_descendants(filesystem);
    }

    /// The snapshot of a step has arrived: children of its filesystem can be received from now on.
    pub fn received(&mut self, StepTask { filesystem, step }: StepTask) -> CompletionTask {
        self.free += 1;
        let this = &mut self.filesystems[filesystem];
        this.state = State::Completing { step };
        if this.presence != Presence::Present {
            this.presence = Presence::Present;
            self.tell_descendants(filesystem);
        }
        CompletionTask { filesystem, step }
    }

    /// A step is completed.
    pub fn completed(&mut self, CompletionTask { filesystem, step }: CompletionTask) {
        if step + 1 < self.filesystems[filesystem].targets.len() {
            self.enqueue_step(filesystem, step + 1);
        } else {
            self.filesystems[filesystem].state = State::Done;
        }
    }

    /// A step failed although its snapshot has arrived.
    pub fn completion_failed(&mut self, CompletionTask { filesystem, step }: CompletionTask) {
        self.filesystems[filesystem].state = State::StepFailed { step };
    }

    /// A step failed.
    pub fn step_failed(&mut self, StepTask { filesystem, step }: StepTask) {
        self.free += 1;
        let this = &mut self.filesystems[filesystem];
        this.state = State::StepFailed { step };
        if this.presence == Presence::NotYet {
            this.presence = Presence::Failed;
            self.tell_descendants(filesystem);
        }
    }

    /// Those that failed because of a parent since this was last asked.
    pub fn take_orphans(&mut self) -> Vec<usize> {
        std::mem::take(&mut self.orphans)
    }

    /// Nothing more is done: whatever has not ended yet fails where it is. Those filesystems, in order.
    pub fn cancel(&mut self) -> Vec<usize> {
        self.queue.clear();
        let mut cut = Vec::new();
        for (position, this) in self.filesystems.iter_mut().enumerate() {
            this.state = match this.state {
                State::PlanQueued | State::Planning => State::PlanningFailed,
                State::WaitingForParents => State::StepFailed { step: 0 },
                State::StepQueued { step }
                | State::Stepping { step }
                | State::Completing { step } => State::StepFailed { step },
                State::PlanningFailed
                | State::ParentsFailed(_)
                | State::StepFailed { .. }
                | State::Done => continue,
            };
            cut.push(position);
        }
        cut
    }

    /// Where each filesystem is, in the order given at the beginning.
    pub fn states(&self) -> impl ExactSizeIterator<Item = &State> {
        self.filesystems.iter().map(|it| &it.state)
    }

    /// Where one filesystem is.
    pub fn state(&self, filesystem: usize) -> &State {
        &self.filesystems[filesystem].state
    }

    /// Is everything done or failed?
    pub fn is_finished(&self) -> bool {
        self.states().all(State::is_final)
    }

    fn enqueue_step(&mut self, filesystem: usize, step: usize) {
        let this = &mut self.filesystems[filesystem];
        this.state = State::StepQueued { step };
        self.queue.insert((Some(this.targets[step]), filesystem));
    }

    fn tell_descendants(&mut self, filesystem: usize) {
        for descendant in self.filesystems[filesystem].descendants.clone() {
            self.try_release(descendant);
        }
    }

    /// Lets a waiting filesystem go, or fail, if its parents allow to say so.
    fn try_release(&mut self, filesystem: usize) {
        let this = &self.filesystems[filesystem];
        if this.state != State::WaitingForParents {
            return;
        }
        let ancestors = || this.ancestors.iter().map(|&it| &self.filesystems[it]);
        let failed: Vec<_> = ancestors()
            .filter(|it| it.presence == Presence::Failed)
            .map(|it| it.path.clone())
            .collect();
        if !failed.is_empty() {
            // Its own children need not be told: they have the parent that failed in common.
            self.filesystems[filesystem].state =
                State::ParentsFailed(ParentsFailed { parents: failed });
            self.orphans.push(filesystem);
        } else if ancestors().all(|it| it.presence == Presence::Present) {
            self.enqueue_step(filesystem, 0);
        }
    }
}

/// From the topmost one down.
fn ancestors(path: &DatasetPath, positions: &BTreeMap<DatasetPath, usize>) -> Vec<usize> {
    let mut found = Vec::new();
    let mut parent = path.parent();
    while let Some(path) = parent {
        found.extend(positions.get(&path).copied());
        parent = path.parent();
    }
    found.reverse();
    found
}

fn join(paths: &[DatasetPath]) -> String {
    let paths: Vec<_> = paths.iter().map(DatasetPath::as_str).collect();
    paths.join(" ")
}

impl State {
    /// Does it stay like this?
    pub fn is_final(&self) -> bool {
        match self {
            Self::PlanningFailed
            | Self::ParentsFailed(_)
            | Self::StepFailed { .. }
            | Self::Done => true,
            Self::PlanQueued
            | Self::Planning
            | Self::WaitingForParents
            | Self::StepQueued { .. }
            | Self::Stepping { .. }
            | Self::Completing { .. } => false,
        }
    }

    /// What it waits for.
    pub fn blocked_on(&self) -> BlockedOn {
        match self {
            Self::PlanQueued => BlockedOn::PlanQueue,
            Self::WaitingForParents => BlockedOn::ParentInitialRepl,
            Self::StepQueued { .. } => BlockedOn::ReplQueue,
            _ => BlockedOn::Nothing,
        }
    }
}

impl PlanTask {
    /// Position of the filesystem in the order given at the beginning.
    pub fn filesystem(&self) -> usize {
        self.filesystem
    }
}

impl StepTask {
    /// Position of the filesystem in the order given at the beginning.
    pub fn filesystem(&self) -> usize {
        self.filesystem
    }

    /// Position of the step in the filesystem's plan.
    pub fn step(&self) -> usize {
        self.step
    }
}

impl CompletionTask {
    /// Position of the filesystem in the order given at the beginning.
    pub fn filesystem(&self) -> usize {
        self.filesystem
    }

    /// Position of the step in the filesystem's plan.
    pub fn step(&self) -> usize {
        self.step
    }
}

impl From<&[Step]> for Planned {
    fn from(steps: &[Step]) -> Self {
        Self::Steps {
            targets: steps.iter().map(|step| step.to.created()).collect(),
            begins_in_full: steps.first().is_some_and(|it| !it.is_incremental()),
        }
    }
}

#[cfg(test)]
mod tests;
