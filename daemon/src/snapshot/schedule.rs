//! The snapshotter of a job as it runs: a thin loop over the clock. When there is something to do is decided by [`Periodic`] or
//! [`Cron`]; what it is, by whoever implements [`Snapshots`]; this waits, asks the one and has the other do it, and tells the
//! job afterwards.
//!
//! A job that is busy hears of it when it has time: the end of a round is remembered until somebody has asked for it, and so is
//! a request for one. (zrepl 0.7.0 forgets both.)

use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use thiserror::Error;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::cron::Cron;
use super::cron_spec::CronSpec;
use super::next::{Next, Why};
use super::periodic::{Newest, Periodic, SyncPoint};
use super::progress::Progress;
use super::report::{CronReport, CronState, PeriodicReport, Report};
use crate::causes::chain;
use crate::interval::Interval;
use crate::wall_clock::Clock;

/// What a snapshotter has others do.
pub trait Snapshots: Send {
    /// The newest of the job's snapshots of each of its filesystems. Given up when the job stops.
    fn newest(&mut self) -> impl Future<Output = Result<Vec<Newest>, RoundError>> + Send;

    /// Takes snapshots of all the job's filesystems, once, and says in `progress` how far it is. Cancelling `stop` ends it soon;
    /// it is waited for.
    fn take(
        &mut self,
        progress: &Progress,
        stop: &CancellationToken,
    ) -> impl Future<Output = Result<(), RoundError>> + Send;
}

/// Why a round failed, or did not come about. The texts are those of zrepl 0.7.0.
#[derive(Debug, Error)]
pub enum RoundError {
    /// It has taken place, but not everything went well. The log has more.
    #[error("one or more snapshots could not be created, check logs for details")]
    Incomplete,
    /// The filesystems are not known.
    #[error("cannot list filesystems")]
    List(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// The snapshotter of one job.
#[derive(Debug)]
pub struct Snapper {
    state: Mutex<State>,
    wanted: Notify,
    ended: Notify,
}

#[derive(Debug)]
struct State {
    timing: Timing,
    /// Of the round that runs, or ran last.
    progress: Progress,
    /// Of the round before, to be seen until the new one has filesystems.
    previous: Progress,
}

#[derive(Debug)]
enum Timing {
    Periodic(Periodic),
    Cron(Cron),
    Manual { stopped: bool },
}

impl Snapper {
    /// Takes snapshots at fixed intervals.
    pub fn periodic(interval: Interval) -> Self {
        Self::new(Timing::Periodic(Periodic::new(interval)))
    }

    /// Takes snapshots at times of the clock, read in `local` where the specification names no zone.
    pub fn cron(spec: CronSpec, local: TimeZone) -> Self {
        Self::new(Timing::Cron(Cron::new(spec, local)))
    }

    /// Takes none; what is asked of it is passed on to the job.
    pub fn manual() -> Self {
        Self::new(Timing::Manual { stopped: false })
    }

    fn new(timing: Timing) -> Self {
        let state = State {
            timing,
            progress: Progress::default(),
            previous: Progress::default(),
        };
        Self {
            state: Mutex::new(state),
            wanted: Notify::new(),
            ended: Notify::new(),
        }
    }

    /// Asks for snapshots at once, or right after the round that runs. Asking again before they are begun changes nothing.
    pub fn snapshot_now(&self) {
        self.wanted.notify_one();
    }

    /// Waits until a round has ended since this was called last, well or not. For one who waits; cancelling it loses nothing.
    pub async fn round_ended(&self) {
        self.ended.notified().await;
    }

    /// How it stands.
    pub fn report(&self) -> Report {
        let state = self.state();
        let planned = state.progress.is_planned();
        match &state.timing {
            Timing::Periodic(periodic) => {
                let working = periodic.state(planned);
                let is_over = working != super::report::PeriodicState::Snapshotting;
                Report::Periodic(PeriodicReport {
                    state: working,
                    sleep_until: periodic.sleep_until(),
                    error: periodic
                        .error()
                        .filter(|_| is_over)
                        .unwrap_or_default()
                        .to_owned(),
                    progress: state.progress.now().or_else(|| state.previous.now()),
                })
            }
            Timing::Cron(cron) => Report::Cron(CronReport {
                state: if cron.is_running() {
                    CronState::Running
                } else {
                    CronState::Waiting
                },
                wakeup_time: cron.wakeup(),
                errors: Some(cron.errors()).filter(|errors| !errors.is_empty()),
                progress: state.progress.now(),
            }),
            Timing::Manual { .. } => Report::Manual,
        }
    }

    /// Runs until `stop` is cancelled and no round runs any more.
    pub async fn run<C: Clock, S: Snapshots>(
        &self,
        clock: &C,
        snapshots: &mut S,
        stop: &CancellationToken,
    ) {
        while !stop.is_cancelled() {
            match self.next(clock.now()) {
                Next::ListSnapshots => {
                    let listed = tokio::select! {
                        biased;
                        () = stop.cancelled() => break,
                        listed = snapshots.newest() => listed,
                    };
                    self.listed(clock.now(), listed);
                }
                Next::SnapshotNow(why) => self.round(why, clock, snapshots, stop).await,
                next => {
                    tokio::select! {
                        biased;
                        () = stop.cancelled() => break,
                        () = wait_for(next, clock) => {}
                        () = self.wanted.notified() => self.request(),
                    }
                }
            }
        }
        self.stop();
    }

    /// Nothing more is going to happen.
    pub fn stop(&self) {
        self.transition(|state| match &mut state.timing {
            Timing::Periodic(periodic) => periodic.stop(),
            Timing::Cron(cron) => cron.stop(),
            Timing::Manual { stopped } => *stopped = true,
        });
    }

    /// Is nothing more going to happen?
    pub fn is_stopped(&self) -> bool {
        match &self.state().timing {
            Timing::Periodic(periodic) => periodic.is_stopped(),
            Timing::Cron(cron) => cron.is_stopped(),
            Timing::Manual { stopped } => *stopped,
        }
    }

    /// One round, and the clock at the same time.
    async fn round<C: Clock, S: Snapshots>(
        &self,
        why: Why,
        clock: &C,
        snapshots: &mut S,
        stop: &CancellationToken,
    ) {
        tracing::debug!(reason = %why, "taking snapshots");
        let progress = self.begin(clock.now());
        let result = {
            let taking = snapshots.take(&progress, stop);
            tokio::pin!(taking);
            loop {
                let next = self.next(clock.now());
                if next == Next::Skip {
                    tracing::warn!(
                        "snapshotting triggered according to cron rules but previous snapshotting is not done; not taking \
                         a snapshot this time"
                    );
                    continue;
                }
                tokio::select! {
                    biased;
                    result = &mut taking => break result,
                    () = wait_for(next, clock) => {}
                }
            }
        };
        let result = result.map_err(|error| chain(&error));
        if let Err(error) = &result {
            tracing::error!(err = %error, "snapshotting error");
        }
        self.transition(|state| match &mut state.timing {
            Timing::Periodic(periodic) => periodic.ended(result),
            Timing::Cron(cron) => cron.ended(result),
            Timing::Manual { .. } => {}
        });
        self.ended.notify_one();
    }

    fn next(&self, now: Timestamp) -> Next {
        match &mut self.state().timing {
            Timing::Periodic(periodic) => periodic.next(now),
            Timing::Cron(cron) => cron.next(now),
            Timing::Manual { .. } => Next::Wait,
        }
    }

    fn request(&self) {
        match &mut self.state().timing {
            Timing::Periodic(periodic) => periodic.request(),
            Timing::Cron(cron) => cron.request(),
            Timing::Manual { .. } => self.ended.notify_one(),
        }
    }

    fn listed(&self, now: Timestamp, listed: Result<Vec<Newest>, RoundError>) {
        self.transition(|state| {
            let Timing::Periodic(periodic) = &mut state.timing else {
                return;
            };
            let found = match listed {
                Ok(filesystems) => periodic.listed(now, &filesystems),
                Err(error) => {
                    let error = chain(&error);
                    tracing::error!(err = %error, "snapshotting error");
                    periodic.not_listed(now, error);
                    return;
                }
            };
            log_sync_point(&found);
        });
    }

    /// A round begins; its progress is to be told in what is returned.
    fn begin(&self, now: Timestamp) -> Progress {
        let progress = Progress::default();
        self.transition(|state| {
            let last = std::mem::replace(&mut state.progress, progress.clone());
            if last.is_planned() {
                state.previous = last;
            }
            match &mut state.timing {
                Timing::Periodic(periodic) => periodic.begin(now),
                Timing::Cron(cron) => cron.begin(now),
                Timing::Manual { .. } => {}
            }
        });
        progress
    }

    fn transition(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state();
        let before = state.periodic_state();
        change(&mut state);
        if let (Some(before), Some(after)) = (before, state.periodic_state()) {
            tracing::debug!(transition = %format_args!("{before}=>{after}"), "state transition");
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A state is whole at any time, also where somebody panicked.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn periodic_state(&self) -> Option<super::report::PeriodicState> {
        match &self.timing {
            Timing::Periodic(periodic) => Some(periodic.state(self.progress.is_planned())),
            Timing::Cron(_) | Timing::Manual { .. } => None,
        }
    }
}

/// Until it is worth asking again; for ever, if that is not a matter of time.
async fn wait_for<C: Clock>(next: Next, clock: &C) {
    match next {
        Next::WaitUntil { at, why } => {
            tracing::debug!(sleep_until = %at, reason = %why, "waiting");
            clock.sleep_until(at).await;
        }
        Next::Wait => std::future::pending().await,
        // There is something to do.
        Next::ListSnapshots | Next::Skip | Next::SnapshotNow(_) => {}
    }
}

fn log_sync_point(found: &Result<SyncPoint, super::periodic::NoSyncPoint>) {
    let excluded = match found {
        Ok(point) => &point.excluded,
        Err(error) => &error.excluded,
    };
    for it in excluded {
        tracing::error!(
            fs = %it.filesystem, err = %it.problem,
            "cannot determine optimal sync point for this filesystem"
        );
    }
    match found {
        Ok(point) => {
            tracing::info!(syncPoint = %point.at, "determined sync point");
            for filesystem in &point.left_waiting {
                tracing::warn!(
                    fs = %filesystem, syncPoint = %point.at,
                    "filesystem will not be snapshotted until sync point"
                );
            }
        }
        Err(error) => tracing::error!(err = %error, "snapshotting error"),
    }
}

#[cfg(test)]
mod tests;
