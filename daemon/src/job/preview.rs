//! What a job would do if it were its turn now: for people, and as JSON for programs. Nothing is changed on this host; the other side
//! is asked as at the beginning of a round.

use serde::Serialize;

use crate::prune::Rule;
use crate::pruner::facts::Replicated;
use crate::pruner::judge::{Decision, Side};
use crate::pruner::{Plan, Planned, Pruner};
use crate::replication::driver;
use crate::replication::plan::Reason;

/// What a job would do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub struct Preview {
    /// The job's name.
    pub job: String,
    /// The snapshots that a round would take now; nothing of a job that takes none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshots: Option<Snapshots>,
    /// What would be replicated, of the snapshots that there are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replication: Option<Replication>,
    /// What would be destroyed and kept afterwards, on each side that the job prunes.
    pub pruning: Vec<Pruning>,
}

/// A round of snapshots.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Snapshots {
    /// The name that they would have now.
    pub name: String,
    /// Filesystems that would be taken together, those of a pool at one instant.
    pub together: Vec<String>,
    /// Filesystems that hooks run around, one by one.
    pub with_hooks: Vec<String>,
    /// Why the filesystems are not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A replication.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Replication {
    /// Why a side cannot be asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// By path.
    pub filesystems: Vec<Filesystem>,
}

/// A filesystem that is replicated.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Filesystem {
    /// Its path.
    pub filesystem: String,
    /// Why there is no plan.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Why these steps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// In order.
    pub steps: Vec<Step>,
}

/// The transfer of a snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Step {
    /// What it starts from, with `@` or `#`; nothing for a full stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The snapshot, with `@`.
    pub to: String,
    /// Does it continue a stream that was interrupted?
    pub resumed: bool,
    /// The sender's estimate; nothing if it has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
}

/// The pruning of one side.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Pruning {
    /// `sender`, `receiver` or `local`.
    pub side: &'static str,
    /// Why a side cannot be asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// By path.
    pub filesystems: Vec<PrunedFilesystem>,
}

/// A filesystem that is pruned.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PrunedFilesystem {
    /// Its path.
    pub filesystem: String,
    /// Why it is not looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skipped: Option<&'static str>,
    /// Why nothing would be destroyed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Oldest first.
    pub snapshots: Vec<PrunedSnapshot>,
}

/// What would become of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PrunedSnapshot {
    /// The name after `@`.
    pub name: String,
    /// Would it be destroyed?
    pub destroyed: bool,
    /// The rules that keep it, or what else does; of one that goes, what each rule says about it.
    pub reasons: Vec<String>,
}

impl Replication {
    pub(super) fn of(previewed: &Result<Vec<driver::Preview>, String>) -> Self {
        match previewed {
            Ok(filesystems) => Self {
                error: None,
                filesystems: filesystems.iter().map(Filesystem::of).collect(),
            },
            Err(error) => Self {
                error: Some(error.clone()),
                filesystems: Vec::new(),
            },
        }
    }
}

impl Filesystem {
    fn of(previewed: &driver::Preview) -> Self {
        let filesystem = previewed.filesystem.clone();
        match &previewed.outcome {
            Ok(steps) => Self {
                filesystem,
                error: None,
                reason: Some(reason(&steps.reason)),
                steps: steps
                    .steps
                    .iter()
                    .map(|(step, size)| Step {
                        from: step.from.as_ref().map(ToString::to_string),
                        to: step.to.to_string(),
                        resumed: step.resume_token.is_some(),
                        bytes: (*size > 0).then_some(*size),
                    })
                    .collect(),
            },
            Err(error) => Self {
                filesystem,
                error: Some(error.clone()),
                ..Self::default()
            },
        }
    }
}

fn reason(reason: &Reason) -> String {
    match reason {
        Reason::Incremental { base } => {
            format!("incremental from {base}, the newest that both sides have")
        }
        Reason::Initial { left_out: 0 } => "the first replication".to_owned(),
        Reason::Initial { left_out } => {
            format!("the first replication, without {left_out} older snapshots")
        }
        Reason::Placeholder => "nothing of its own to send".to_owned(),
        Reason::Resumed { bytes } => {
            format!("resumed where it was interrupted, after {bytes} bytes")
        }
        Reason::UpToDate { latest } => format!("up to date at {latest}"),
    }
}

impl Pruning {
    /// Of a side of a replication, after these steps.
    pub(super) fn of_side(pruner: &Pruner, replicated: &Replicated) -> Self {
        match replicated.of(pruner.side) {
            Ok(found) => Self::of(pruner, &pruner.plan(found)),
            Err(error) => Self::failed(pruner.side, error),
        }
    }

    pub(super) fn of(pruner: &Pruner, plan: &Plan<'_>) -> Self {
        let filesystems = plan.filesystems().iter();
        Self {
            side: pruner.side.name(),
            error: None,
            filesystems: filesystems
                .map(|(path, planned)| pruned(path, planned, &pruner.rules))
                .collect(),
        }
    }

    pub(super) fn failed(side: Side, error: String) -> Self {
        Self {
            side: side.name(),
            error: Some(error),
            filesystems: Vec::new(),
        }
    }
}

fn pruned(path: &str, planned: &Planned, rules: &[Rule]) -> PrunedFilesystem {
    let filesystem = PrunedFilesystem {
        filesystem: path.to_owned(),
        ..PrunedFilesystem::default()
    };
    match planned {
        Planned::Judged(judged) => PrunedFilesystem {
            snapshots: judged
                .all()
                .iter()
                .map(|it| PrunedSnapshot {
                    name: it.version.name().to_owned(),
                    destroyed: it.decision == Decision::Destroyed,
                    reasons: it.reasons(rules),
                })
                .collect(),
            ..filesystem
        },
        Planned::Skipped(reason) => PrunedFilesystem {
            skipped: Some(reason),
            ..filesystem
        },
        Planned::Failed(error) => PrunedFilesystem {
            error: Some(error.clone()),
            ..filesystem
        },
    }
}

#[cfg(test)]
mod tests;
