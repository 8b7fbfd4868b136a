//! Which marks a step needs for what both sides promise: the step, the promise and the marks that exist flow in, a plan of what to
//! make and then to remove flows out. If the changes are made in its order, the process can be killed between any two of them, and
//! what both sides have in common stays reachable: what a step needs is there before it starts, the new cursor before anything older
//! goes, and old cursors go last.
//!
//! Making a mark that exists is no error and is planned all the same: the marks found may be older than the last thing an
//! administrator did.

use std::fmt;

use zfs_safe::name::{SnapshotName, VersionName};
use zfs_safe::version::FilesystemVersion;
use zrepl_proto::pdu::GuaranteeKind;

use super::{Change, Inventory, JobId, Mark, MarkError, MarkKind};

/// The transfer of one snapshot.
#[derive(Clone, Copy, Debug)]
pub struct Step<'a> {
    /// What it starts from; a full stream starts from nothing.
    pub from: Option<&'a FilesystemVersion>,
    /// The snapshot.
    pub to: &'a FilesystemVersion,
}

/// What to change on one filesystem: first everything to make, then everything to remove.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    create: Vec<Creation>,
    remove: Vec<Removal>,
    unprotected: Option<VersionName>,
}

/// A mark to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Creation {
    /// The mark.
    pub mark: Mark,
    /// The snapshot that is marked.
    pub snapshot: SnapshotName,
}

/// A mark to remove.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removal {
    /// The mark.
    pub mark: Mark,
    /// Why nobody needs it any more.
    pub reason: RemovalReason,
}

/// Why a mark is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RemovalReason {
    /// It was made for a step that is not the one that comes now.
    OtherStep,
    /// Nothing is promised, so nothing is marked.
    NothingPromised,
    /// The step that it was made for is complete.
    StepCompleted,
    /// A newer one has taken its place.
    Superseded,
}

impl Plan {
    /// What to make, in this order.
    pub fn create(&self) -> &[Creation] {
        &self.create
    }

    /// What to remove afterwards, in this order.
    pub fn remove(&self) -> &[Removal] {
        &self.remove
    }

    /// What the step starts from, if it is a bookmark of others, which we cannot keep from being destroyed, and
    /// this job has none of the same snapshot.
    pub fn unprotected(&self) -> Option<&VersionName> {
        self.unprotected.as_ref()
    }

    /// Everything, in the order that makes dying in between harmless.
    pub fn changes(&self) -> impl Iterator<Item = Change> {
        let made = self.create.iter().map(|it| it.mark.creation(&it.snapshot));
        made.chain(self.remove.iter().map(|it| it.mark.removal()))
    }

    /// Nothing to do?
    pub fn is_empty(&self) -> bool {
        self.create.is_empty() && self.remove.is_empty()
    }

    fn add(
        &mut self,
        kind: MarkKind,
        job: &JobId,
        version: &FilesystemVersion,
    ) -> Result<(), MarkError> {
        let VersionName::Snapshot(snapshot) = &version.name else {
            return Err(MarkError::NotASnapshot {
                kind,
                version: version.name.clone(),
            });
        };
        self.create.push(Creation {
            mark: Mark::new(kind, job, version)?,
            snapshot: snapshot.clone(),
        });
        Ok(())
    }

    fn creates(&self, mark: &Mark) -> bool {
        self.create.iter().any(|creation| &creation.mark == mark)
    }

    fn remove_all<'a>(
        &mut self,
        marks: impl IntoIterator<Item = &'a Mark>,
        reason: impl Fn(&Mark) -> RemovalReason,
    ) {
        self.remove.extend(marks.into_iter().map(|mark| Removal {
            mark: mark.clone(),
            reason: reason(mark),
        }));
    }
}

/// On the sender, before the step's stream starts.
///
/// With [`GuaranteeKind::Resumability`] both ends of the step are held, so that the receiver can go on in the middle. With
/// [`GuaranteeKind::IncrementalReplication`] both ends get tentative cursors, so that an incremental step is possible after this
/// one, whether or not its completion becomes known. Marks of this job for other steps go, except for what this step starts from.
/// Cursors stay: the receiver has confirmed no more than that.
pub fn before_send(
    step: Step<'_>,
    promise: GuaranteeKind,
    job: &JobId,
    inventory: &Inventory,
) -> Result<Plan, MarkError> {
    let mut plan = Plan::default();
    let kind = match promise {
        GuaranteeKind::Resumability => Some(MarkKind::StepHold),
        GuaranteeKind::IncrementalReplication => Some(MarkKind::TentativeCursor),
        GuaranteeKind::Nothing => None,
    };
    if let Some(kind) = kind {
        match step.from {
            Some(from) if from.is_snapshot() => plan.add(kind, job, from)?,
            Some(from) if !has_own_bookmark(from, job, inventory) => {
                plan.unprotected = Some(from.name.clone());
            }
            Some(_) | None => {}
        }
        plan.add(kind, job, step.to)?;
    }
    let is_needed = |mark: &Mark| {
        let starts_here = |from: &FilesystemVersion| {
            // A bookmark cannot be marked, but another mark of the same snapshot does what marking it would do.
            mark.is_bookmark(&from.name)
                || (kind.is_some() && !from.is_snapshot() && mark.guid() == from.guid)
        };
        plan.creates(mark) || step.from.is_some_and(starts_here)
    };
    let others: Vec<_> = inventory
        .of_job(job)
        .filter(|mark| mark.kind().is_of_step() && !is_needed(mark))
        .collect();
    plan.remove_all(others, |_| match kind {
        Some(_) => RemovalReason::OtherStep,
        None => RemovalReason::NothingPromised,
    });
    Ok(plan)
}

/// On the sender, after the receiver has confirmed the step. The caller has seen that the step's snapshot is still there.
///
/// The cursor moves to the step's snapshot: from now on the next step can start from there even if the snapshot goes. If making it
/// fails, the caller must not go on to the removals. With [`GuaranteeKind::Nothing`] there is no cursor; see [`super::base`] for what
/// pruning goes by then.
pub fn after_send(
    step: Step<'_>,
    promise: GuaranteeKind,
    job: &JobId,
    inventory: &Inventory,
) -> Result<Plan, MarkError> {
    let mut plan = Plan::default();
    let moves_cursor = match promise {
        GuaranteeKind::Resumability | GuaranteeKind::IncrementalReplication => true,
        GuaranteeKind::Nothing => false,
    };
    if moves_cursor {
        plan.add(MarkKind::Cursor, job, step.to)?;
    }
    for kind in [
        MarkKind::StepHold,
        MarkKind::TentativeCursor,
        MarkKind::Cursor,
    ] {
        let gone: Vec<_> = inventory
            .of_job(job)
            .filter(|mark| mark.kind() == kind && !plan.creates(mark))
            .collect();
        plan.remove_all(gone, |mark| match mark.kind() {
            kind if kind.is_of_step() => RemovalReason::StepCompleted,
            _ if moves_cursor => RemovalReason::Superseded,
            _ => RemovalReason::NothingPromised,
        });
    }
    Ok(plan)
}

/// On the receiver, after `received` was found to be there with the announced guid.
///
/// The job's hold moves to it. With [`GuaranteeKind::Nothing`] all of the job's holds go.
pub fn after_receive(
    received: &FilesystemVersion,
    promise: GuaranteeKind,
    job: &JobId,
    inventory: &Inventory,
) -> Result<Plan, MarkError> {
    let mut plan = Plan::default();
    let holds = match promise {
        GuaranteeKind::Resumability | GuaranteeKind::IncrementalReplication => true,
        GuaranteeKind::Nothing => false,
    };
    if holds {
        plan.add(MarkKind::LastReceivedHold, job, received)?;
    }
    let others: Vec<_> = inventory
        .of_job(job)
        .filter(|mark| mark.kind() == MarkKind::LastReceivedHold && !plan.creates(mark))
        .collect();
    plan.remove_all(others, |_| {
        if holds {
            RemovalReason::Superseded
        } else {
            RemovalReason::NothingPromised
        }
    });
    Ok(plan)
}

/// Has the job a bookmark of the same snapshot? It stays as long as it is of use.
fn has_own_bookmark(version: &FilesystemVersion, job: &JobId, inventory: &Inventory) -> bool {
    inventory.of_job(job).any(|mark| {
        matches!(mark.kind(), MarkKind::TentativeCursor | MarkKind::Cursor)
            && mark.guid() == version.guid
    })
}

impl RemovalReason {
    const fn text(self) -> &'static str {
        match self {
            Self::OtherStep => "made for another step",
            Self::NothingPromised => "no guarantee is asked for",
            Self::StepCompleted => "the step is complete",
            Self::Superseded => "a newer one has taken its place",
        }
    }
}

impl fmt::Display for RemovalReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

#[cfg(test)]
mod tests;
