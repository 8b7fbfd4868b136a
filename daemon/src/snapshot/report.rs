//! How a job's snapshots stand: the JSON of zrepl 0.7.0 (`S`, `Periodic`, `Cron` and `D` of the status). [`Snapper::report`]
//! makes it when somebody looks; [`Progress`] is the part that whoever takes the snapshots writes.
//!
//! [`Snapper::report`]: super::schedule::Snapper::report
//! [`Progress`]: super::progress::Progress

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::go_time;

/// The report of a job that takes snapshots, or leaves it to others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Written", try_from = "Written")]
pub enum Report {
    /// At fixed intervals.
    Periodic(PeriodicReport),
    /// At times of the clock.
    Cron(CronReport),
    /// Never.
    Manual,
}

/// Snapshots at fixed intervals.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct PeriodicReport {
    /// What is being done.
    pub state: PeriodicState,
    /// What it waits or waited for last.
    #[serde(with = "go_time")]
    pub sleep_until: Option<Timestamp>,
    /// What went wrong last; empty if nothing did.
    pub error: String,
    /// The round that runs, or ran last; nothing before the first.
    pub progress: Option<Vec<Filesystem>>,
}

/// Snapshots at times of the clock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CronReport {
    /// What is being done.
    pub state: CronState,
    /// The next match; nothing if there is none.
    #[serde(with = "go_time")]
    pub wakeup_time: Option<Timestamp>,
    /// What went wrong last; nothing if nothing did.
    pub errors: Option<Vec<String>>,
    /// The round that runs, or ran last; nothing before its filesystems are known.
    pub progress: Option<Vec<Filesystem>>,
}

/// A filesystem in a round.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Filesystem {
    /// Which.
    pub path: String,
    /// How far it is.
    pub state: FilesystemState,
    /// What its snapshot is called, without the filesystem; empty before it is its turn.
    pub snap_name: String,
    /// When its turn came.
    #[serde(with = "go_time")]
    pub start_at: Option<Timestamp>,
    /// What hooks have done, a line for each; empty before it is its turn.
    pub hooks: String,
    /// Did one of them fail?
    pub hooks_had_error: bool,
    /// When its turn was over.
    #[serde(with = "go_time")]
    pub done_at: Option<Timestamp>,
}

/// What a periodic snapshotter does. Numbers and words are those of zrepl 0.7.0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "u8", try_from = "u8")]
pub enum PeriodicState {
    /// Looks for the time of its first round, or waits for it.
    SyncUp = 1,
    /// Could not find it, and waits for an interval.
    SyncUpErrWait = 2,
    /// A round has begun; its filesystems are being looked up.
    Planning = 4,
    /// Snapshots are being taken.
    Snapshotting = 8,
    /// Waits for the next round.
    Waiting = 16,
    /// The same after a round that failed.
    ErrorWait = 32,
    /// Does nothing any more.
    Stopped = 64,
}

/// What a snapshotter by the clock does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CronState {
    /// A round runs.
    Running,
    /// Waits for the next match.
    Waiting,
}

/// How far a filesystem is in a round. Numbers and words are those of zrepl 0.7.0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "u8", try_from = "u8")]
pub enum FilesystemState {
    /// It is not its turn.
    SnapPending = 1,
    /// Hooks run, or the snapshot is being taken.
    SnapStarted = 2,
    /// There is a snapshot, and hooks went well.
    SnapDone = 4,
    /// There is none, or a hook failed.
    SnapError = 8,
}

/// No such state.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("no state has the number {0}")]
pub struct UnknownState(u8);

impl From<PeriodicState> for u8 {
    fn from(state: PeriodicState) -> Self {
        state as Self
    }
}

impl TryFrom<u8> for PeriodicState {
    type Error = UnknownState;

    fn try_from(number: u8) -> Result<Self, UnknownState> {
        Ok(match number {
            1 => Self::SyncUp,
            2 => Self::SyncUpErrWait,
            4 => Self::Planning,
            8 => Self::Snapshotting,
            16 => Self::Waiting,
            32 => Self::ErrorWait,
            64 => Self::Stopped,
            other => return Err(UnknownState(other)),
        })
    }
}

impl From<FilesystemState> for u8 {
    fn from(state: FilesystemState) -> Self {
        state as Self
    }
}

impl TryFrom<u8> for FilesystemState {
    type Error = UnknownState;

    fn try_from(number: u8) -> Result<Self, UnknownState> {
        Ok(match number {
            1 => Self::SnapPending,
            2 => Self::SnapStarted,
            4 => Self::SnapDone,
            8 => Self::SnapError,
            other => return Err(UnknownState(other)),
        })
    }
}

impl fmt::Display for PeriodicState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl fmt::Display for FilesystemState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// A report as written: one of the last three is there.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Written {
    r#type: Type,
    periodic: Option<PeriodicReport>,
    cron: Option<CronReport>,
    manual: Option<Manual>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Type {
    Periodic,
    Cron,
    Manual,
}

#[derive(Serialize, Deserialize)]
struct Manual {}

impl From<Report> for Written {
    fn from(report: Report) -> Self {
        let (r#type, periodic, cron, manual) = match report {
            Report::Periodic(periodic) => (Type::Periodic, Some(periodic), None, None),
            Report::Cron(cron) => (Type::Cron, None, Some(cron), None),
            Report::Manual => (Type::Manual, None, None, Some(Manual {})),
        };
        Self {
            r#type,
            periodic,
            cron,
            manual,
        }
    }
}

/// The part that the type announces is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the report of snapshots lacks what its type announces")]
pub struct Incomplete;

impl TryFrom<Written> for Report {
    type Error = Incomplete;

    fn try_from(written: Written) -> Result<Self, Incomplete> {
        match written.r#type {
            Type::Periodic => written.periodic.map(Self::Periodic),
            Type::Cron => written.cron.map(Self::Cron),
            Type::Manual => Some(Self::Manual),
        }
        .ok_or(Incomplete)
    }
}

#[cfg(test)]
mod tests;
