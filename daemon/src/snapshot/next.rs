//! What is to be done next, as whoever keeps the time of a job's snapshots answers when it is asked: [`Periodic`] and [`Cron`].
//!
//! [`Periodic`]: super::periodic::Periodic
//! [`Cron`]: super::cron::Cron

use std::fmt;

use jiff::Timestamp;

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Find out which snapshots there are.
    ListSnapshots,
    /// The time has come while the last round still runs: nothing, but it is worth a warning.
    Skip,
    /// Take snapshots.
    SnapshotNow(Why),
    /// Nothing before something else happens: a round ends, or somebody asks for one.
    Wait,
    /// Nothing before the clock shows this or was set. Then ask again: earlier does no harm.
    WaitUntil {
        /// The time.
        at: Timestamp,
        /// What for.
        why: Why,
    },
}

/// Why snapshots are taken, or will be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// An interval has passed since a round that failed.
    AfterError,
    /// An interval has passed since snapshots could not be looked up.
    AfterSyncUpError,
    /// An interval has passed since the last round.
    Interval,
    /// A time of the clock that matches.
    Match,
    /// There is no match in the years ahead; whether there is one later is to be seen.
    NoMatch,
    /// There are no snapshots yet.
    NoSnapshots,
    /// Somebody wants them.
    Requested,
    /// An interval has passed since the newest snapshot that was there at the start.
    SyncPoint,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AfterError => "interval after a failed round",
            Self::AfterSyncUpError => "interval after the failed search for a sync point",
            Self::Interval => "interval",
            Self::Match => "cron specification",
            Self::NoMatch => "no match of the cron specification in the next years",
            Self::NoSnapshots => "no snapshots yet",
            Self::Requested => "requested",
            Self::SyncPoint => "interval after the newest snapshot found at the start",
        })
    }
}
