//! Snapshots at times that a cron specification names: the time flows in, what to do next flows out.
//!
//! As in zrepl 0.7.0, a match that comes while the last round still runs is skipped and counted; a machine that slept through
//! matches, or whose clock was set ahead, takes snapshots once; and what was missed while the daemon did not run is not made up
//! for. A clock that is set back a little shows times again for which snapshots were taken: they are not taken twice. One that
//! is set back by more than three hours was wrong, and what it shows now counts, as with cron(8). (zrepl 0.7.0 waits until the
//! clock has caught up.)

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::cron_spec::CronSpec;
use super::next::{Next, Why};

/// Keeps the time of snapshots by the clock.
#[derive(Clone, Debug)]
pub struct Cron {
    spec: CronSpec,
    local: TimeZone,
    wakeup: Option<Wakeup>,
    phase: Phase,
    requested: bool,
    /// Matches since the last round began that came while it ran.
    skipped: u32,
    error: Option<String>,
}

/// The first match after a time.
#[derive(Clone, Copy, Debug)]
struct Wakeup {
    after: Timestamp,
    at: Option<Timestamp>,
}

impl Wakeup {
    /// Has the clock not been set far back since, and is there something to wait for?
    fn is_good_at(self, now: Timestamp) -> bool {
        self.after.duration_since(now) <= PATIENCE && (self.at.is_some() || now < self.look_again())
    }

    /// When it is worth looking for a match where none was in sight.
    fn look_again(self) -> Timestamp {
        let again = self.after.saturating_add(NO_MATCH);
        again.unwrap_or(Timestamp::MAX)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Waiting,
    Running,
    Stopped,
}

/// How far a clock may go back and still be waited for.
const PATIENCE: SignedDuration = SignedDuration::from_hours(3);

/// How long to wait where no match is in sight.
const NO_MATCH: SignedDuration = SignedDuration::from_hours(365 * 24);

impl Cron {
    /// At the start. Clocks without a zone of their own are read in `local`.
    pub fn new(spec: CronSpec, local: TimeZone) -> Self {
        Self {
            spec,
            local,
            wakeup: None,
            phase: Phase::Waiting,
            requested: false,
            skipped: 0,
            error: None,
        }
    }

    /// What to do, now that the clock shows `now`.
    pub fn next(&mut self, now: Timestamp) -> Next {
        if self.phase == Phase::Stopped {
            return Next::Wait;
        }
        let wakeup = match self.wakeup {
            Some(wakeup) if wakeup.is_good_at(now) => wakeup,
            _ => self.look_ahead(now),
        };
        let running = self.phase == Phase::Running;
        if self.requested && !running {
            return Next::SnapshotNow(Why::Requested);
        }
        match wakeup.at {
            Some(at) if at > now => Next::WaitUntil {
                at,
                why: Why::Match,
            },
            Some(_) if running => {
                self.skipped = self.skipped.saturating_add(1);
                self.look_ahead(now);
                Next::Skip
            }
            Some(_) => Next::SnapshotNow(Why::Match),
            None => Next::WaitUntil {
                at: wakeup.look_again(),
                why: Why::NoMatch,
            },
        }
    }

    fn look_ahead(&mut self, now: Timestamp) -> Wakeup {
        let wakeup = Wakeup {
            after: now,
            at: self.spec.next(now, &self.local),
        };
        self.wakeup = Some(wakeup);
        wakeup
    }

    /// Somebody wants snapshots as soon as no round runs.
    pub fn request(&mut self) {
        self.requested = true;
    }

    /// After [`Next::SnapshotNow`].
    pub fn begin(&mut self, now: Timestamp) {
        self.phase = Phase::Running;
        self.requested = false;
        self.skipped = 0;
        self.error = None;
        if self.wakeup().is_none_or(|at| at <= now) {
            self.look_ahead(now);
        }
    }

    /// The round is over, or has failed.
    pub fn ended(&mut self, result: Result<(), String>) {
        if self.phase == Phase::Running {
            self.phase = Phase::Waiting;
            self.error = result.err();
        }
    }

    /// Nothing more is going to happen.
    pub fn stop(&mut self) {
        self.phase = Phase::Stopped;
    }

    /// Has [`Self::stop`] been called?
    pub fn is_stopped(&self) -> bool {
        self.phase == Phase::Stopped
    }

    /// Does a round run?
    pub fn is_running(&self) -> bool {
        self.phase == Phase::Running
    }

    /// The next match, once somebody has asked what to do.
    pub fn wakeup(&self) -> Option<Timestamp> {
        self.wakeup.and_then(|wakeup| wakeup.at)
    }

    /// What went wrong with the last round. The texts are those of zrepl 0.7.0.
    pub fn errors(&self) -> Vec<String> {
        let too_often = (self.skipped > 0).then(|| {
            let skipped = self.skipped;
            format!("cron frequency is too high; snapshots were not taken {skipped} times")
        });
        self.error.iter().cloned().chain(too_often).collect()
    }
}

#[cfg(test)]
mod tests;
