//! The report while the driver works: the schedule of each attempt, what there is to do, and the counters of the streams. A
//! [`Report`] is made of them when somebody looks, so nothing is counted twice, and nobody who looks holds up the work: under
//! the locks there are only clones of handles.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use super::{
    Attempt, AttemptState, Filesystem, FilesystemInfo, FilesystemState, Report, Step, StepInfo,
    TimedError,
};
use crate::endpoint::stream::Counter;
use crate::replication;
use crate::replication::schedule::{Schedule, State};

/// A report while it is being written. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct LiveReport(Arc<Mutex<Run>>);

#[derive(Debug, Default)]
struct Run {
    started: Option<Timestamp>,
    finished: Option<Timestamp>,
    reconnect: Option<Reconnect>,
    attempts: Vec<LiveAttempt>,
}

#[derive(Clone, Debug)]
struct Reconnect {
    since: Timestamp,
    until: Option<Timestamp>,
    error: Option<TimedError>,
}

#[derive(Clone, Debug)]
struct LiveAttempt {
    started: Timestamp,
    finished: Option<Timestamp>,
    phase: Phase,
}

#[derive(Clone, Debug)]
enum Phase {
    Listing,
    Failed(TimedError),
    Working(Working),
}

/// An attempt whose filesystems are known. Clones share it.
#[derive(Clone, Debug)]
pub(in crate::replication) struct Working(Arc<Mutex<Filesystems>>);

/// What a [`Working`] shares.
#[derive(Debug)]
pub(in crate::replication) struct Filesystems {
    pub(in crate::replication) schedule: Schedule,
    /// In the order of the schedule.
    pub(in crate::replication) details: Vec<LiveFilesystem>,
    /// Names on the sender's list that no filesystem can have.
    invalid: Vec<LiveFilesystem>,
}

/// What is said of a filesystem beside its state. Everything in it is cheap to clone.
#[derive(Clone, Debug)]
pub(in crate::replication) struct LiveFilesystem {
    pub(in crate::replication) name: Arc<str>,
    pub(in crate::replication) steps: Arc<[LiveStep]>,
    pub(in crate::replication) error: Option<Arc<TimedError>>,
    pub(in crate::replication) advice: Option<Arc<str>>,
    pub(in crate::replication) discarded_token: Option<Arc<str>>,
}

/// A step of a filesystem.
#[derive(Debug)]
pub(in crate::replication) struct LiveStep {
    pub(in crate::replication) from: String,
    pub(in crate::replication) to: String,
    pub(in crate::replication) resumed: bool,
    pub(in crate::replication) bytes_expected: u64,
    /// That of its stream, once there is one.
    pub(in crate::replication) moved: OnceLock<Counter>,
}

impl LiveReport {
    /// The report as it is now.
    pub fn now(&self) -> Report {
        let run = self.run();
        let (started, finished) = (run.started, run.finished);
        let reconnect = run.reconnect.clone();
        let attempts = run.attempts.clone();
        drop(run);
        Report {
            start_at: started,
            finish_at: finished,
            wait_reconnect_since: reconnect.as_ref().map(|it| it.since),
            wait_reconnect_until: reconnect.as_ref().and_then(|it| it.until),
            wait_reconnect_error: reconnect.and_then(|it| it.error),
            attempts: attempts.into_iter().map(LiveAttempt::report).collect(),
        }
    }

    /// A run begins; what was said of another one is forgotten.
    pub(in crate::replication) fn begin(&self) {
        *self.run() = Run {
            started: Some(Timestamp::now()),
            ..Run::default()
        };
    }

    /// The run is over.
    pub(in crate::replication) fn finish(&self) {
        self.run().finished = Some(Timestamp::now());
    }

    /// The filesystems are going to be listed.
    pub(in crate::replication) fn begin_attempt(&self) {
        let mut run = self.run();
        run.reconnect = None;
        run.attempts.push(LiveAttempt {
            started: Timestamp::now(),
            finished: None,
            phase: Phase::Listing,
        });
    }

    /// The filesystems cannot be listed.
    pub(in crate::replication) fn fail_attempt(&self, error: TimedError) {
        self.set_phase(Phase::Failed(error));
        self.finish_attempt();
    }

    /// The filesystems are known.
    pub(in crate::replication) fn fan_out(&self, working: Working) {
        self.set_phase(Phase::Working(working));
    }

    /// The attempt is over.
    pub(in crate::replication) fn finish_attempt(&self) {
        if let Some(attempt) = self.run().attempts.last_mut() {
            attempt.finished = Some(Timestamp::now());
        }
    }

    /// From now on, and for so long at most, the run waits for a side that cannot be reached.
    pub(in crate::replication) fn begin_reconnect(&self, limit: Duration) {
        let since = Timestamp::now();
        self.run().reconnect = Some(Reconnect {
            since,
            until: since.checked_add(limit).ok(),
            error: None,
        });
    }

    /// It waited in vain.
    pub(in crate::replication) fn fail_reconnect(&self, error: TimedError) {
        if let Some(reconnect) = &mut self.run().reconnect {
            reconnect.error = Some(error);
        }
    }

    fn set_phase(&self, phase: Phase) {
        if let Some(attempt) = self.run().attempts.last_mut() {
            attempt.phase = phase;
        }
    }

    fn run(&self) -> MutexGuard<'_, Run> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LiveAttempt {
    fn report(self) -> Attempt {
        let (state, plan_error, filesystems) = match self.phase {
            Phase::Listing => (AttemptState::Planning, None, Vec::new()),
            Phase::Failed(error) => (AttemptState::PlanningError, Some(error), Vec::new()),
            Phase::Working(working) => {
                let filesystems = working.report();
                let state = if self.finished.is_none() {
                    AttemptState::FanOutFilesystems
                } else if filesystems.iter().any(|it| it.error().is_some()) {
                    AttemptState::FilesystemError
                } else {
                    AttemptState::Done
                };
                (state, None, filesystems)
            }
        };
        Attempt {
            state,
            start_at: Some(self.started),
            finish_at: self.finished,
            plan_error,
            filesystems,
        }
    }
}

impl Working {
    /// Nothing is done yet, apart from what is known about names that cannot be.
    pub(in crate::replication) fn new(
        schedule: Schedule,
        details: Vec<LiveFilesystem>,
        invalid: Vec<LiveFilesystem>,
    ) -> Self {
        Self(Arc::new(Mutex::new(Filesystems {
            schedule,
            details,
            invalid,
        })))
    }

    /// For a moment.
    pub(in crate::replication) fn lock(&self) -> MutexGuard<'_, Filesystems> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn report(&self) -> Vec<Filesystem> {
        let this = self.lock();
        let states: Vec<State> = this.schedule.states().cloned().collect();
        let details = this.details.clone();
        let invalid = this.invalid.clone();
        drop(this);

        let planned = states.into_iter().zip(details);
        let invalid = invalid.into_iter().map(|it| (State::PlanningFailed, it));
        let mut filesystems: Vec<_> = planned
            .chain(invalid)
            .map(|(state, details)| details.report(&state))
            .collect();
        filesystems.sort_by(|a, b| a.info.name.cmp(&b.info.name));
        filesystems
    }
}

impl LiveFilesystem {
    /// One about which nothing is known yet.
    pub(in crate::replication) fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            steps: Arc::new([]),
            error: None,
            advice: None,
            discarded_token: None,
        }
    }

    /// Says why it failed, and what can be done about it.
    pub(in crate::replication) fn fail(&mut self, error: &str, advice: Option<&str>) {
        self.error = Some(Arc::new(TimedError::now(error)));
        self.advice = advice.map(Into::into);
    }

    fn report(self, state: &State) -> Filesystem {
        let (shown, current_step) = match *state {
            State::PlanQueued | State::Planning => (FilesystemState::Planning, 0),
            State::PlanningFailed => (FilesystemState::PlanningError, 0),
            State::WaitingForParents => (FilesystemState::Stepping, 0),
            State::StepQueued { step } | State::Stepping { step } | State::Completing { step } => {
                (FilesystemState::Stepping, step)
            }
            State::ParentsFailed(_) => (FilesystemState::StepError, 0),
            State::StepFailed { step } => (FilesystemState::StepError, step),
            State::Done => (FilesystemState::Done, self.steps.len()),
        };
        let error = self.error.as_deref().cloned();
        let (plan_error, step_error) = match shown {
            FilesystemState::PlanningError => (error, None),
            FilesystemState::StepError => (None, error),
            _ => (None, None),
        };
        Filesystem {
            info: FilesystemInfo {
                name: self.name.as_ref().to_owned(),
            },
            state: shown,
            blocked_on: state.blocked_on(),
            plan_error,
            step_error,
            current_step,
            steps: self.steps.iter().map(LiveStep::report).collect(),
            advice: self.advice.as_deref().map(ToOwned::to_owned),
            discarded_token: self.discarded_token.as_deref().map(ToOwned::to_owned),
        }
    }
}

impl LiveStep {
    /// One that has not begun.
    pub(in crate::replication) fn new(step: &replication::step::Step, bytes_expected: u64) -> Self {
        Self {
            from: step
                .from
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default(),
            to: step.to.to_string(),
            resumed: step.resume_token.is_some(),
            bytes_expected,
            moved: OnceLock::new(),
        }
    }

    /// Its stream has begun; it begins once.
    pub(in crate::replication) fn begin(&self, moved: &Counter) {
        self.moved.get_or_init(|| moved.clone());
    }

    fn report(&self) -> Step {
        Step {
            info: StepInfo {
                from: self.from.clone(),
                to: self.to.clone(),
                resumed: self.resumed,
                bytes_expected: self.bytes_expected,
                bytes_replicated: self.moved.get().map_or(0, Counter::get),
            },
        }
    }
}
