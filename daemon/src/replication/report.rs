//! How a replication stands: the one value that status, metrics and logs are views of. Its JSON is that of zrepl 0.7.0
//! (`R` and `A` of the status), with two fields more that its clients do not look at. [`LiveReport`] is what the driver writes
//! into, and what becomes a [`Report`] whenever somebody looks.

mod live;

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};

use crate::go_time;

pub use live::LiveReport;
pub(in crate::replication) use live::{LiveFilesystem, LiveStep, Working};

/// The report of one run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Report {
    /// When the run began; nothing before that.
    #[serde(with = "go_time")]
    pub start_at: Option<Timestamp>,
    /// When it ended. zrepl 0.7.0 never says.
    #[serde(with = "go_time")]
    pub finish_at: Option<Timestamp>,
    /// Since when it waits, or waited last, for a side that cannot be reached.
    #[serde(with = "go_time")]
    pub wait_reconnect_since: Option<Timestamp>,
    /// Until when it waits at most.
    #[serde(with = "go_time")]
    pub wait_reconnect_until: Option<Timestamp>,
    /// Why that was in vain.
    pub wait_reconnect_error: Option<TimedError>,
    /// All attempts, the last one last.
    #[serde(deserialize_with = "null_is_empty")]
    pub attempts: Vec<Attempt>,
}

/// Something that went wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct TimedError {
    /// What, on how many lines it may be.
    pub err: String,
    /// When it was noticed.
    #[serde(with = "go_time::always")]
    pub time: Timestamp,
}

/// One attempt at all filesystems.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Attempt {
    /// How far it is.
    pub state: AttemptState,
    /// When it began.
    #[serde(with = "go_time")]
    pub start_at: Option<Timestamp>,
    /// When it ended.
    #[serde(with = "go_time")]
    pub finish_at: Option<Timestamp>,
    /// Why the filesystems could not be listed.
    pub plan_error: Option<TimedError>,
    /// Ordered by path.
    #[serde(deserialize_with = "null_is_empty")]
    pub filesystems: Vec<Filesystem>,
}

/// How far an attempt is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum AttemptState {
    /// The filesystems are being listed.
    #[serde(rename = "planning")]
    Planning,
    /// They could not be.
    #[serde(rename = "planning-error")]
    PlanningError,
    /// They are being planned and replicated.
    #[serde(rename = "fan-out-filesystems")]
    FanOutFilesystems,
    /// It is over, and some of them failed.
    #[serde(rename = "filesystem-error")]
    FilesystemError,
    /// It is over, and none of them failed.
    #[serde(rename = "done")]
    Done,
}

/// A filesystem in an attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Filesystem {
    /// Which.
    pub info: FilesystemInfo,
    /// How far it is.
    pub state: FilesystemState,
    /// What it waits for.
    pub blocked_on: BlockedOn,
    /// Why it could not be planned.
    pub plan_error: Option<TimedError>,
    /// Why a step failed.
    pub step_error: Option<TimedError>,
    /// Position of the step that is being done or failed; behind the last one when all are done.
    pub current_step: usize,
    /// What there is to do.
    #[serde(deserialize_with = "null_is_empty")]
    pub steps: Vec<Step>,
    /// What can be done about its error. Not in zrepl 0.7.0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
    /// Why the receiver's resume token was discarded. Not in zrepl 0.7.0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub discarded_token: Option<String>,
}

/// Which filesystem.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct FilesystemInfo {
    /// The path on the sender.
    pub name: String,
}

/// How far a filesystem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum FilesystemState {
    /// Waits to be planned, or is being planned.
    #[serde(rename = "planning")]
    Planning,
    /// Could not be planned.
    #[serde(rename = "planning-error")]
    PlanningError,
    /// Has steps to do.
    #[serde(rename = "stepping")]
    Stepping,
    /// One of them failed.
    #[serde(rename = "step-error")]
    StepError,
    /// All of them are done.
    #[serde(rename = "done")]
    Done,
}

/// What a filesystem waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum BlockedOn {
    /// Nothing: it is being worked on, or is over.
    #[serde(rename = "nothing")]
    Nothing,
    /// Its turn to be planned.
    #[serde(rename = "plan-queue")]
    PlanQueue,
    /// A parent that is not on the receiver yet.
    #[serde(rename = "parent-initial-repl")]
    ParentInitialRepl,
    /// The turn of its next step.
    #[serde(rename = "repl-queue")]
    ReplQueue,
}

/// A step of a filesystem.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Step {
    /// What it is and how far.
    pub info: StepInfo,
}

/// What a step is and how far.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct StepInfo {
    /// Where it starts, with `@` or `#`; empty for a full one.
    pub from: String,
    /// The snapshot that arrives, with `@`.
    pub to: String,
    /// Does it continue an earlier one?
    pub resumed: bool,
    /// The sender's estimate of the stream that is left; zero if there is none.
    pub bytes_expected: u64,
    /// What has been moved in this attempt.
    pub bytes_replicated: u64,
}

impl TimedError {
    /// An error of now.
    pub fn now(err: impl Into<String>) -> Self {
        Self {
            err: err.into(),
            time: Timestamp::now(),
        }
    }
}

impl Report {
    /// How many filesystems failed in the last attempt; none if it failed before there were any. As zrepl 0.7.0 counts.
    pub fn failed_filesystems(&self) -> Option<usize> {
        match self.attempts.last() {
            None => Some(0),
            Some(attempt) if attempt.state == AttemptState::PlanningError => None,
            Some(attempt) => Some(
                attempt
                    .filesystems
                    .iter()
                    .filter(|it| it.error().is_some())
                    .count(),
            ),
        }
    }
}

impl Filesystem {
    /// Why it failed, if it did.
    pub fn error(&self) -> Option<&TimedError> {
        self.plan_error.as_ref().or(self.step_error.as_ref())
    }
}

impl AttemptState {
    /// Is it over?
    pub fn is_final(self) -> bool {
        matches!(
            self,
            Self::PlanningError | Self::FilesystemError | Self::Done
        )
    }
}

impl BlockedOn {
    /// zrepl's word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::PlanQueue => "plan-queue",
            Self::ParentInitialRepl => "parent-initial-repl",
            Self::ReplQueue => "repl-queue",
        }
    }
}

impl fmt::Display for BlockedOn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// Go writes a list that was never filled as null.
fn null_is_empty<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests;
