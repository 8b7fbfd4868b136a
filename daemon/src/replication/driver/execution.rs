//! One attempt at filesystems that are known: a task for whatever the schedule hands out, and what follows from how it ends.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;
use zfs_safe::name::DatasetPath;

use super::failure::{CANCELLED, Failure};
use super::memory::Memory;
use super::planning::{self, Planner, Planning};
use super::transfer::{StepFailure, Transfer};
use super::{SUBSYSTEM, Settings, Sides};
use crate::causes::chain;
use crate::endpoint::EndpointError;
use crate::endpoint::stream::Counter;
use crate::replication::attempt::{self, Class, Stage, classify};
use crate::replication::plan::{Pair, Reason};
use crate::replication::report::{LiveStep, Working};
use crate::replication::schedule::{CompletionTask, PlanTask, Planned, State, StepTask, Task};
use crate::replication::step::Step;

/// The steps that an attempt has planned and not done, by filesystem.
pub(super) type Uncompleted = HashMap<DatasetPath, Vec<Step>>;

/// An attempt that is under way.
#[derive(Debug)]
pub(super) struct Execution<'a> {
    planner: Arc<Planner>,
    transfer: Arc<Transfer>,
    memory: &'a mut Memory,
    uncompleted: &'a mut Uncompleted,
    working: Working,
    /// In the order of the schedule.
    filesystems: Vec<Filesystem>,
    tasks: JoinSet<Outcome>,
    running: HashMap<Id, Running>,
}

#[derive(Debug)]
struct Filesystem {
    pair: Pair,
    steps: Arc<[Step]>,
    live: Arc<[LiveStep]>,
    failed: Option<Class>,
}

/// What a task does.
#[derive(Debug)]
enum Running {
    Plan(PlanTask),
    Step(StepTask, Instant),
    Completion(CompletionTask),
}

/// How it ended.
enum Outcome {
    Planned(Box<Planning>),
    Moved(Result<(), Box<StepFailure>>),
    Completed(Result<(), EndpointError>),
}

impl<'a> Execution<'a> {
    /// `working` has the same filesystems in the same order.
    pub(super) fn new(
        sides: &Sides,
        settings: &Settings,
        memory: &'a mut Memory,
        uncompleted: &'a mut Uncompleted,
        pairs: Vec<Pair>,
        working: Working,
    ) -> Self {
        let filesystem = |pair| Filesystem {
            pair,
            steps: Arc::new([]),
            live: Arc::new([]),
            failed: None,
        };
        Self {
            planner: Arc::new(Planner::new(sides.clone(), settings)),
            transfer: Arc::new(Transfer {
                sides: sides.clone(),
                protection: settings.protection,
                stall_limit: settings.stall_limit,
            }),
            memory,
            uncompleted,
            working,
            filesystems: pairs.into_iter().map(filesystem).collect(),
            tasks: JoinSet::new(),
            running: HashMap::new(),
        }
    }

    /// Does all that can be done. Returns how each filesystem failed that failed by itself.
    pub(super) async fn run(mut self, stop: &CancellationToken) -> attempt::Ending {
        let is_cancelled = loop {
            while !stop.is_cancelled()
                && let Some(task) = self.start()
            {
                self.spawn(task);
            }
            let joined = tokio::select! {
                biased;
                () = stop.cancelled() => break true,
                joined = self.tasks.join_next_with_id() => joined,
            };
            match joined {
                None => break false,
                Some(joined) => self.apply(joined),
            }
        };
        if is_cancelled {
            // Streams are cut by this, and what has arrived of them stays.
            self.tasks.shutdown().await;
            self.cancel();
        }
        self.note_uncompleted();
        attempt::Ending {
            is_cancelled,
            global: None,
            filesystems: self.filesystems.iter().filter_map(|it| it.failed).collect(),
        }
    }

    fn start(&self) -> Option<Task> {
        self.working.lock().schedule.start()
    }

    fn spawn(&mut self, task: Task) {
        match task {
            Task::Plan(task) => {
                let pair = self.filesystems[task.filesystem()].pair.clone();
                let remembered = self.memory.of(&pair.filesystem);
                let uncompleted = self.uncompleted.get(&pair.filesystem).cloned();
                let planner = Arc::clone(&self.planner);
                self.watch(Running::Plan(task), async move {
                    let uncompleted = uncompleted.unwrap_or_default();
                    let planning = planner.plan(pair, remembered, &uncompleted).await;
                    Outcome::Planned(Box::new(planning))
                });
            }
            Task::Step(task) => {
                let this = &self.filesystems[task.filesystem()];
                let (steps, live) = (Arc::clone(&this.steps), Arc::clone(&this.live));
                let filesystem = this.pair.filesystem.clone();
                let position = task.step();
                let step = &steps[position];
                tracing::info!(subsystem = SUBSYSTEM, %filesystem, %step, "starting step");
                let transfer = Arc::clone(&self.transfer);
                self.watch(Running::Step(task, Instant::now()), async move {
                    let moving = transfer.run(&filesystem, &steps[position], &live[position]);
                    Outcome::Moved(moving.await.map_err(Box::new))
                });
            }
        }
    }

    fn complete(&mut self, task: CompletionTask) {
        let this = &self.filesystems[task.filesystem()];
        let filesystem = this.pair.filesystem.clone();
        let (steps, position) = (Arc::clone(&this.steps), task.step());
        let transfer = Arc::clone(&self.transfer);
        self.watch(Running::Completion(task), async move {
            Outcome::Completed(transfer.complete(&filesystem, &steps[position]).await)
        });
    }

    fn watch(&mut self, running: Running, work: impl Future<Output = Outcome> + Send + 'static) {
        let handle = self.tasks.spawn(work.in_current_span());
        self.running.insert(handle.id(), running);
    }

    fn apply(&mut self, joined: Result<(Id, Outcome), JoinError>) {
        let id = joined.as_ref().map_or_else(JoinError::id, |(id, _)| *id);
        let running = self.running.remove(&id).expect("all tasks are noted");
        let outcome = joined.map(|(_, outcome)| outcome);
        match (running, outcome) {
            (Running::Plan(task), Ok(Outcome::Planned(planning))) => self.planned(task, *planning),
            (Running::Step(task, since), Ok(Outcome::Moved(result))) => {
                self.moved(task, since, result);
            }
            (Running::Completion(task), Ok(Outcome::Completed(result))) => {
                self.completed(task, result);
            }
            (running, outcome) => self.broken(running, outcome.err()),
        }
        self.tell_orphans();
    }

    fn planned(&mut self, task: PlanTask, planning: Planning) {
        let position = task.filesystem();
        let is_on_receiver = planning.is_on_receiver;
        let planned = match planning.outcome {
            Ok(planned) => planned,
            Err(failure) => {
                let filesystem = &self.filesystems[position].pair.filesystem;
                tracing::error!(subsystem = SUBSYSTEM, %filesystem, err = failure.text, advice = failure.advice, "cannot plan filesystem");
                self.fail(position, &failure);
                let failed = Planned::Failed { is_on_receiver };
                self.working.lock().schedule.planned(task, failed);
                return;
            }
        };
        let this = &mut self.filesystems[position];
        let filesystem = &this.pair.filesystem;
        if let Some((at, listed)) = planning.unchanged {
            self.memory.keep_unchanged(filesystem, at, listed);
        }
        log_plan(filesystem, &planned);
        self.uncompleted.remove(filesystem);
        self.memory.change(filesystem, |it| {
            it.arrived = None;
            if planned.refused.is_some() {
                it.refused.clone_from(&planned.refused);
            }
        });
        let live = planned.steps.iter().zip(&planned.sizes);
        this.live = live
            .map(|(step, size)| LiveStep::new(step, *size))
            .collect();
        this.steps = planned.steps.into();
        let discarded = planned.discarded_token.map(|reason| chain(&reason).into());

        let mut working = self.working.lock();
        let details = &mut working.details[position];
        details.steps = Arc::clone(&this.live);
        details.discarded_token = discarded;
        let planned = Planned::from(&*this.steps);
        working.schedule.planned(task, planned);
    }

    fn moved(&mut self, task: StepTask, since: Instant, result: Result<(), Box<StepFailure>>) {
        let position = task.filesystem();
        let this = &self.filesystems[position];
        let filesystem = &this.pair.filesystem;
        let step = &this.steps[task.step()];
        let bytes = this.live[task.step()].moved.get().map_or(0, Counter::get);
        let duration = since.elapsed();
        match result {
            Ok(()) => {
                tracing::info!(subsystem = SUBSYSTEM, %filesystem, %step, bytes, ?duration, "step finished");
                self.memory
                    .change(filesystem, |it| it.arrived = Some(step.clone()));
                let task = self.working.lock().schedule.received(task);
                self.complete(task);
            }
            Err(failure) => {
                let failure = self.classified(position, task.step(), &failure);
                let this = &self.filesystems[position];
                let (filesystem, step) = (&this.pair.filesystem, &this.steps[task.step()]);
                tracing::error!(subsystem = SUBSYSTEM, %filesystem, %step, bytes, ?duration, err = failure.text, "step failed");
                self.fail(position, &failure);
                self.working.lock().schedule.step_failed(task);
            }
        }
    }

    /// What a failed step means, and what is remembered of its token.
    fn classified(&mut self, position: usize, at: usize, failure: &StepFailure) -> Failure {
        let StepFailure {
            stage,
            error,
            token_after,
        } = failure;
        let this = &self.filesystems[position];
        let (filesystem, step) = (&this.pair.filesystem, &this.steps[at]);
        let token = step.resume_token.as_deref();
        let remembered = self.memory.of(filesystem);
        let progress = remembered.progress(token, token_after.as_deref());
        let (class, refused) = classify(step, *stage, error, progress);
        if let Some(token) = token.filter(|_| class != Class::Temporary) {
            let advice = refused.as_ref().map(|it| &it.reason);
            if let Some(reason) = advice {
                tracing::warn!(subsystem = SUBSYSTEM, %filesystem, reason, "resume token is of no use, the step will start anew");
            }
            self.memory.change(filesystem, |it| {
                it.token_failed(token, token_after.as_deref());
                if refused.is_some() {
                    it.refused = refused;
                }
            });
        }
        Failure::step(*stage, step, class, error)
    }

    fn completed(&mut self, task: CompletionTask, result: Result<(), EndpointError>) {
        let position = task.filesystem();
        let this = &self.filesystems[position];
        let (filesystem, step) = (&this.pair.filesystem, &this.steps[task.step()]);
        match result {
            Ok(()) => {
                self.memory.change(filesystem, |it| it.arrived = None);
                self.working.lock().schedule.completed(task);
            }
            Err(error) => {
                let failure = Failure::step(Stage::Complete, step, (&error).into(), &error);
                tracing::error!(subsystem = SUBSYSTEM, %filesystem, %step, err = failure.text, "step failed");
                self.fail(position, &failure);
                self.working.lock().schedule.completion_failed(task);
            }
        }
    }

    /// A task of ours did not come to its end.
    fn broken(&mut self, running: Running, error: Option<JoinError>) {
        let why = error.map_or_else(|| "wrong outcome".to_owned(), |it| it.to_string());
        let failure = Failure::internal(&why);
        let position = running.filesystem();
        let filesystem = &self.filesystems[position].pair.filesystem;
        tracing::error!(subsystem = SUBSYSTEM, %filesystem, err = failure.text, "replication of filesystem failed");
        self.fail(position, &failure);
        let schedule = &mut self.working.lock().schedule;
        match running {
            Running::Plan(task) => schedule.planned(
                task,
                Planned::Failed {
                    is_on_receiver: false,
                },
            ),
            Running::Step(task, _) => schedule.step_failed(task),
            Running::Completion(task) => schedule.completion_failed(task),
        }
    }

    fn fail(&mut self, position: usize, failure: &Failure) {
        self.filesystems[position].failed = Some(failure.class);
        self.working.lock().details[position].fail(&failure.text, failure.advice);
    }

    /// Says of those that failed because of a parent that they did.
    fn tell_orphans(&self) {
        let mut working = self.working.lock();
        for position in working.schedule.take_orphans() {
            let text = match working.schedule.state(position) {
                State::ParentsFailed(error) => error.to_string(),
                _ => continue,
            };
            let filesystem = &self.filesystems[position].pair.filesystem;
            tracing::error!(subsystem = SUBSYSTEM, %filesystem, err = text, "filesystem is not replicated");
            working.details[position].fail(&text, None);
        }
    }

    fn cancel(&self) {
        let mut working = self.working.lock();
        for position in working.schedule.cancel() {
            working.details[position].fail(CANCELLED, None);
        }
    }

    fn note_uncompleted(&mut self) {
        let working = self.working.lock();
        for (this, state) in self.filesystems.iter().zip(working.schedule.states()) {
            let from = match state {
                State::StepFailed { step } => *step,
                State::ParentsFailed(_) => 0,
                _ => continue,
            };
            let steps = this.steps[from..].to_vec();
            self.uncompleted.insert(this.pair.filesystem.clone(), steps);
        }
    }
}

impl Running {
    fn filesystem(&self) -> usize {
        match self {
            Self::Plan(task) => task.filesystem(),
            Self::Step(task, _) => task.filesystem(),
            Self::Completion(task) => task.filesystem(),
        }
    }
}

fn log_plan(filesystem: &DatasetPath, planned: &planning::Planned) {
    if let Some(reason) = &planned.discarded_token {
        let reason = chain(reason);
        tracing::warn!(subsystem = SUBSYSTEM, %filesystem, reason, "discarding the receiver's resume token, the interrupted step starts anew");
    }
    let (reason, steps) = (&planned.reason, planned.steps.len());
    match reason {
        Reason::Initial { .. } => {
            tracing::info!(subsystem = SUBSYSTEM, %filesystem, %reason, steps, "conflict automatically resolved");
        }
        Reason::Placeholder | Reason::UpToDate { .. } => {
            tracing::debug!(subsystem = SUBSYSTEM, %filesystem, %reason, "no replication steps are required");
        }
        Reason::Incremental { .. } | Reason::Resumed { .. } => {
            tracing::debug!(subsystem = SUBSYSTEM, %filesystem, %reason, steps, "filesystem is planned");
        }
    }
}
