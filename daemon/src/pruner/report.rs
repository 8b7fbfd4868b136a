//! How a pruner stands. Its JSON is that of zrepl 0.7.0 (`P` of the status), with one field more that its clients do not look at: why a
//! snapshot stays. [`LiveReport`] is what a pruner writes into, and what becomes a [`Report`] whenever somebody looks.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Deserializer, Serialize};
use zrepl_proto::pdu;

use super::judge::{Judged, Judgement};
use crate::prune::Rule;

/// The report of one run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Report {
    /// How far it is.
    pub state: State,
    /// Why there is no plan; empty if that is not why it ended.
    pub error: String,
    /// Filesystems that are still to be pruned, by path; nothing before there is a plan.
    pub pending: Option<Vec<Filesystem>>,
    /// Filesystems that are done, in the order in which they were.
    pub completed: Option<Vec<Filesystem>>,
}

/// How far a pruner is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum State {
    /// The sides are being asked.
    #[default]
    Plan,
    /// A side could not be asked.
    PlanErr,
    /// Snapshots are being destroyed.
    Exec,
    /// Something could not be planned or destroyed.
    ExecErr,
    /// Everything is as the rules want it.
    Done,
}

/// What is done with one filesystem.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Filesystem {
    /// Its path.
    pub filesystem: String,
    /// All snapshots, oldest first.
    #[serde(deserialize_with = "null_is_empty", serialize_with = "empty_is_null")]
    pub snapshot_list: Vec<Snapshot>,
    /// Those that are to go.
    #[serde(deserialize_with = "null_is_empty", serialize_with = "empty_is_null")]
    pub destroy_list: Vec<Snapshot>,
    /// Why it is not looked at; empty if it is.
    pub skip_reason: String,
    /// What went wrong; empty if nothing did.
    pub last_error: String,
}

/// A snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Snapshot {
    /// The name after `@`.
    pub name: String,
    /// Does the other side have it, as far as is known?
    pub replicated: bool,
    /// When it was taken, as its side writes it.
    pub date: String,
    /// Why it stays; nothing if it goes. zrepl 0.7.0 does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<String>,
}

fn null_is_empty<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

fn empty_is_null<S: serde::Serializer>(
    list: &[Snapshot],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    if list.is_empty() {
        serializer.serialize_none()
    } else {
        list.serialize(serializer)
    }
}

impl Filesystem {
    /// A filesystem for which there is a plan.
    pub(super) fn planned(path: &str, judged: &Judged, rules: &[Rule]) -> Self {
        let all = judged.all().iter();
        Self {
            filesystem: path.to_owned(),
            snapshot_list: all.map(|it| Snapshot::new(it, rules)).collect(),
            destroy_list: judged
                .destroyed()
                .map(|it| Snapshot::new(it, rules))
                .collect(),
            ..Self::default()
        }
    }

    /// A filesystem that is not looked at.
    pub(super) fn skipped(path: &str, reason: &str) -> Self {
        Self {
            filesystem: path.to_owned(),
            skip_reason: reason.to_owned(),
            ..Self::default()
        }
    }

    /// A filesystem for which there is no plan.
    pub(super) fn failed(path: &str, error: String) -> Self {
        Self {
            filesystem: path.to_owned(),
            last_error: error,
            ..Self::default()
        }
    }
}

impl Snapshot {
    fn new(judgement: &Judgement, rules: &[Rule]) -> Self {
        let version = pdu::FilesystemVersion::from(&judgement.version);
        Self {
            name: version.name,
            replicated: judgement.is_replicated,
            date: version.creation,
            kept: (!judgement.is_destroyed()).then(|| judgement.reasons(rules).join("; ")),
        }
    }
}

/// What is said of work that was given up. As Go says it.
const CANCELLED: &str = "context canceled";

/// A report that is being written. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct LiveReport(Arc<Mutex<Report>>);

impl LiveReport {
    /// How it stands now.
    pub fn now(&self) -> Report {
        self.lock().clone()
    }

    /// Nobody need look: everything stays.
    pub fn nothing_to_do(&self) {
        self.begin(Vec::new(), Vec::new());
        self.finish();
    }

    /// It was cancelled before there was a plan.
    pub fn cancel_plan(&self) {
        self.fail_plan(CANCELLED.to_owned());
    }

    pub(super) fn fail_plan(&self, error: String) {
        let mut report = self.lock();
        report.state = State::PlanErr;
        report.error = error;
    }

    pub(super) fn begin(&self, pending: Vec<Filesystem>, completed: Vec<Filesystem>) {
        let mut report = self.lock();
        report.state = State::Exec;
        report.pending = Some(pending);
        report.completed = Some(completed);
    }

    /// A filesystem is done, with an error or without.
    pub(super) fn complete(&self, path: &str, error: Option<String>) {
        let mut report = self.lock();
        let Some(pending) = &mut report.pending else {
            return;
        };
        let Some(position) = pending.iter().position(|it| it.filesystem == path) else {
            return;
        };
        let mut filesystem = pending.remove(position);
        filesystem.last_error = error.unwrap_or_default();
        report.completed.get_or_insert_default().push(filesystem);
    }

    /// Says whether everything went well. What is still pending is not: the run was cancelled. What was asked for may still happen.
    pub(super) fn finish(&self) -> bool {
        let mut report = self.lock();
        for filesystem in report.pending.iter_mut().flatten() {
            CANCELLED.clone_into(&mut filesystem.last_error);
        }
        let mut all = report.pending.iter().chain(&report.completed).flatten();
        let is_done = report.pending.as_ref().is_none_or(Vec::is_empty)
            && all.all(|it| it.last_error.is_empty());
        report.state = if is_done { State::Done } else { State::ExecErr };
        is_done
    }

    fn lock(&self) -> MutexGuard<'_, Report> {
        // A report is whole at any time, also where somebody panicked.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
