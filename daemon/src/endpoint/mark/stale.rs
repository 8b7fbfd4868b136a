//! Which marks are of no use any more: everything that is marked on a filesystem and the job's name flow in, a verdict with its
//! reason about every mark flows out. What is stale may be removed at the start of a round, while no step of the job is running on
//! the filesystem. Nothing is stale that may be the only thing to start the next step from, and nothing of another job is.
//!
//! The rules are those of `zrepl zfs-abstraction release-stale`, with two differences. Tentative cursors can be stale; zrepl 0.7.0
//! leaves them forever if its process ends before the step does. And a step hold without any cursor is not stale merely because there
//! is a newer one: the older snapshot may have arrived and the newer one not, and then it is what the next step starts from. Nobody
//! but the planner can know; the marks for its next step replace both.

use std::fmt;

use zfs_safe::name::BookmarkName;

use super::{Change, Inventory, JobId, Mark, MarkKind};

/// What is to become of a mark, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict<'a> {
    /// The mark.
    pub mark: &'a Mark,
    /// What is to become of it.
    pub decision: Decision<'a>,
}

/// What is to become of a mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision<'a> {
    /// It stays.
    Keep(KeepReason),
    /// It may be removed.
    Stale(StaleReason<'a>),
}

/// Why a mark stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeepReason {
    /// It tells how far the filesystem has been replicated.
    NewestCursor,
    /// It tells what was received last.
    NewestLastReceived,
    /// It was made for a step whose completion was never heard of.
    StepPending,
    /// It belongs to another job.
    OtherJob,
}

/// Why a mark may be removed, with the mark that makes it useless.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StaleReason<'a> {
    /// It was made for a step, and the cursor is there already or further.
    BehindCursor(&'a Mark),
    /// There is a newer one, and a bookmark of the same snapshot to start from.
    BehindStepHold {
        /// The newer one.
        newest: &'a Mark,
        /// What to start from.
        bookmark: &'a Mark,
    },
    /// There is a newer one of its kind, of which one is enough.
    Superseded(&'a Mark),
}

/// All verdicts about one filesystem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdicts<'a> {
    verdicts: Vec<Verdict<'a>>,
    legacy_cursor: Option<&'a BookmarkName>,
}

/// Judges all marks of a filesystem as `job` sees them.
pub fn judge<'a>(inventory: &'a Inventory, job: &JobId) -> Verdicts<'a> {
    let own = Own::find(inventory, job);
    let verdicts = inventory
        .marks()
        .iter()
        .map(|mark| Verdict {
            mark,
            decision: if mark.job() == job {
                own.decide(mark)
            } else {
                Decision::Keep(KeepReason::OtherJob)
            },
        })
        .collect();
    Verdicts {
        verdicts,
        legacy_cursor: inventory.legacy_cursor(),
    }
}

impl<'a> Verdicts<'a> {
    /// What becomes of each mark, oldest first.
    pub fn all(&self) -> &[Verdict<'a>] {
        &self.verdicts
    }

    /// What may be removed, in the order in which to do it: old cursors last.
    pub fn stale(&self) -> Vec<(&'a Mark, StaleReason<'a>)> {
        let mut stale: Vec<_> = self
            .verdicts
            .iter()
            .filter_map(|verdict| match verdict.decision {
                Decision::Stale(reason) => Some((verdict.mark, reason)),
                Decision::Keep(_) => None,
            })
            .collect();
        stale.sort_by_key(|(mark, _)| mark.kind());
        stale
    }

    /// How to remove what may be removed.
    pub fn changes(&self) -> impl Iterator<Item = Change> {
        self.stale().into_iter().map(|(mark, _)| mark.removal())
    }

    /// Marks of other jobs. They may be of a job that was renamed or removed, which only an administrator can know.
    pub fn of_other_jobs(&self) -> impl Iterator<Item = &'a Mark> {
        self.verdicts
            .iter()
            .filter(|verdict| verdict.decision == Decision::Keep(KeepReason::OtherJob))
            .map(|verdict| verdict.mark)
    }

    /// The cursor from before zrepl 0.3. It belongs to no job, so it always stays.
    pub fn legacy_cursor(&self) -> Option<&'a BookmarkName> {
        self.legacy_cursor
    }
}

/// What a job's marks are measured by.
struct Own<'a> {
    cursor: Option<&'a Mark>,
    last_received: Option<&'a Mark>,
    step_hold: Option<&'a Mark>,
    tentative: Vec<&'a Mark>,
}

impl<'a> Own<'a> {
    fn find(inventory: &'a Inventory, job: &JobId) -> Self {
        let of_kind = |kind| {
            inventory
                .marks()
                .iter()
                .filter(move |mark| mark.job() == job && mark.kind() == kind)
        };
        let newest = |kind| of_kind(kind).max_by_key(|mark| mark.createtxg());
        Self {
            cursor: newest(MarkKind::Cursor),
            last_received: newest(MarkKind::LastReceivedHold),
            step_hold: newest(MarkKind::StepHold),
            tentative: of_kind(MarkKind::TentativeCursor).collect(),
        }
    }

    fn decide(&self, mark: &Mark) -> Decision<'a> {
        let stale = match mark.kind() {
            MarkKind::StepHold => self
                .behind_cursor(mark)
                .or_else(|| self.behind_step_hold(mark)),
            MarkKind::TentativeCursor => self.behind_cursor(mark),
            MarkKind::Cursor => superseded(mark, self.cursor),
            MarkKind::LastReceivedHold => superseded(mark, self.last_received),
        };
        let keep = match mark.kind() {
            MarkKind::StepHold | MarkKind::TentativeCursor => KeepReason::StepPending,
            MarkKind::Cursor => KeepReason::NewestCursor,
            MarkKind::LastReceivedHold => KeepReason::NewestLastReceived,
        };
        stale.map_or(Decision::Keep(keep), Decision::Stale)
    }

    fn behind_cursor(&self, mark: &Mark) -> Option<StaleReason<'a>> {
        self.cursor
            .filter(|cursor| mark.createtxg() <= cursor.createtxg())
            .map(StaleReason::BehindCursor)
    }

    fn behind_step_hold(&self, mark: &Mark) -> Option<StaleReason<'a>> {
        let newest = self
            .step_hold
            .filter(|newest| mark.createtxg() < newest.createtxg())?;
        let bookmark = self
            .tentative
            .iter()
            .copied()
            .find(|tentative| tentative.guid() == mark.guid())?;
        Some(StaleReason::BehindStepHold { newest, bookmark })
    }
}

fn superseded<'a>(mark: &Mark, newest: Option<&'a Mark>) -> Option<StaleReason<'a>> {
    newest
        .filter(|newest| mark.createtxg() < newest.createtxg())
        .map(StaleReason::Superseded)
}

impl fmt::Display for KeepReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NewestCursor => "the newest cursor",
            Self::NewestLastReceived => "on the snapshot received last",
            Self::StepPending => "made for a step that is not known to be complete",
            Self::OtherJob => "of another job",
        })
    }
}

impl fmt::Display for StaleReason<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BehindCursor(cursor) => write!(f, "not newer than {cursor}"),
            Self::BehindStepHold { newest, bookmark } => {
                write!(f, "older than {newest}, and there is {bookmark}")
            }
            Self::Superseded(newest) => write!(f, "older than {newest}"),
        }
    }
}

#[cfg(test)]
mod tests;
