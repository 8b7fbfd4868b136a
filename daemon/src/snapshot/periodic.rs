//! Snapshots at fixed intervals: facts and the time flow in, what to do next flows out. As in zrepl 0.7.0, an interval counts
//! from the beginning of one round to the beginning of the next, and the first round follows the newest snapshots that were
//! there at the start, so that restarts of the daemon do not disturb the rhythm.
//!
//! ```text
//!          listed                      it is time                  round ended
//!  SyncUp ────────► SyncUp, since … ──────────────► Round ───────────────────────► Waiting, ErrorWait
//!     │                                              ▲  ▲                              │
//!     └─► SyncUpErrWait ──────── it is time ─────────┘  └──────── it is time ──────────┘
//! ```
//!
//! Times are those of the clock on the wall. A machine that slept, or whose clock was set ahead, is late: it takes one round of
//! snapshots at once, however many it has missed, and the next an interval later. When the clock was set back to before the
//! interval began, the interval begins now: no wait is ever longer than one interval. (zrepl 0.7.0 waits until the clock has
//! caught up, for years if it was wrong by years.)

mod sync_point;

use jiff::Timestamp;

use super::next::{Next, Why};
use super::report::PeriodicState;
use crate::interval::Interval;
use sync_point::sync_point;
pub use sync_point::{Excluded, ExcludedProblem, Newest, NewestSnapshot, NoSyncPoint, SyncPoint};

/// Keeps the time of periodic snapshots.
#[derive(Clone, Debug)]
pub struct Periodic {
    interval: Interval,
    state: State,
    requested: bool,
    error: Option<String>,
    /// What it waits or waited for last.
    sleep_until: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Does not know which snapshots there are.
    SyncUp,
    /// Waits until an interval has passed since this time.
    Waiting { since: Timestamp, why: Why },
    /// There is nothing to wait for.
    Due(Why),
    /// Snapshots are being taken, since this time.
    Round { began: Timestamp },
    /// Over.
    Stopped,
}

impl Periodic {
    /// At the start.
    pub fn new(interval: Interval) -> Self {
        Self {
            interval,
            state: State::SyncUp,
            requested: false,
            error: None,
            sleep_until: None,
        }
    }

    /// What to do, now that the clock shows `now`.
    pub fn next(&mut self, now: Timestamp) -> Next {
        match &mut self.state {
            State::Round { .. } | State::Stopped => Next::Wait,
            _ if self.requested => Next::SnapshotNow(Why::Requested),
            State::SyncUp => Next::ListSnapshots,
            State::Due(why) => Next::SnapshotNow(*why),
            State::Waiting { since, why } => {
                let why = *why;
                *since = (*since).min(now);
                let at = after(*since, self.interval);
                self.sleep_until = Some(at);
                if at <= now {
                    Next::SnapshotNow(why)
                } else {
                    Next::WaitUntil { at, why }
                }
            }
        }
    }

    /// After [`Next::ListSnapshots`]: the filesystems of the job.
    pub fn listed(
        &mut self,
        now: Timestamp,
        filesystems: &[Newest],
    ) -> Result<SyncPoint, NoSyncPoint> {
        let found = sync_point(now, self.interval, filesystems);
        match &found {
            Ok(point) => {
                self.sleep_until = Some(point.at);
                self.state = match point.since {
                    Some(since) => State::Waiting {
                        since,
                        why: Why::SyncPoint,
                    },
                    None => State::Due(Why::NoSnapshots),
                };
            }
            Err(error) => self.not_listed(now, error.to_string()),
        }
        found
    }

    /// After [`Next::ListSnapshots`]: the filesystems cannot be listed.
    pub fn not_listed(&mut self, now: Timestamp, error: String) {
        self.error = Some(error);
        self.state = State::Waiting {
            since: now,
            why: Why::AfterSyncUpError,
        };
    }

    /// Somebody wants snapshots as soon as no round runs. The interval begins anew with them.
    pub fn request(&mut self) {
        self.requested = true;
    }

    /// After [`Next::SnapshotNow`].
    pub fn begin(&mut self, now: Timestamp) {
        self.requested = false;
        self.state = State::Round { began: now };
    }

    /// The round is over, or has failed.
    pub fn ended(&mut self, result: Result<(), String>) {
        let State::Round { began } = self.state else {
            return;
        };
        self.error = result.err();
        self.state = State::Waiting {
            since: began,
            why: match self.error {
                None => Why::Interval,
                Some(_) => Why::AfterError,
            },
        };
    }

    /// Nothing more is going to happen.
    pub fn stop(&mut self) {
        self.state = State::Stopped;
        // What Go calls it.
        self.error = Some("context canceled".to_owned());
    }

    /// Has [`Self::stop`] been called?
    pub fn is_stopped(&self) -> bool {
        matches!(self.state, State::Stopped)
    }

    /// How zrepl 0.7.0 calls what is being done; `planned` if the round that runs knows its filesystems.
    pub fn state(&self, planned: bool) -> PeriodicState {
        match self.state {
            State::SyncUp
            | State::Due(_)
            | State::Waiting {
                why: Why::SyncPoint,
                ..
            } => PeriodicState::SyncUp,
            State::Waiting {
                why: Why::AfterSyncUpError,
                ..
            } => PeriodicState::SyncUpErrWait,
            State::Waiting {
                why: Why::AfterError,
                ..
            } => PeriodicState::ErrorWait,
            State::Waiting { .. } => PeriodicState::Waiting,
            State::Round { .. } if planned => PeriodicState::Snapshotting,
            State::Round { .. } => PeriodicState::Planning,
            State::Stopped => PeriodicState::Stopped,
        }
    }

    /// What it waits or waited for last.
    pub fn sleep_until(&self) -> Option<Timestamp> {
        self.sleep_until
    }

    /// What went wrong last, until a later round goes well.
    pub fn error(&self) -> Option<&str> {
        self.error.as_deref()
    }
}

/// An interval later, as far as the calendar goes.
fn after(since: Timestamp, interval: Interval) -> Timestamp {
    since
        .checked_add(interval.duration())
        .unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests;
