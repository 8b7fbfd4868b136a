//! What becomes of the snapshots of one filesystem on one side: rules, the versions listed, how far it has been replicated and what is
//! needed flow in; a verdict with its reasons about every snapshot flows out. Nothing else decides what is destroyed, whether it then is
//! or somebody only wants to know.
//!
//! What the next step starts from, and what is held for replications, is never destroyed and no error, whatever the rules say.

use std::collections::HashSet;
use std::fmt;

use zfs_safe::guid::Guid;

use crate::endpoint::mark::base::Base;
use crate::prune::{
    Opinion, Rule, Snapshot, cursor_counts_as_replicated, evaluate, mark_replicated,
};
use crate::replication::version::Version;

/// Whose snapshots are judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// Those that are sent.
    Sender,
    /// Those that were received.
    Receiver,
    /// Those of a job that replicates nothing.
    Local,
}

impl Side {
    /// As logs and metrics call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sender => "sender",
            Self::Receiver => "receiver",
            Self::Local => "local",
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What is known of a filesystem on the side that is pruned.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Snapshots and bookmarks, in any order.
    pub versions: Vec<Version>,
    /// How far it has been replicated; nothing of a filesystem that is not replicated.
    pub base: Base,
    /// Snapshots that are held for replications, of whichever job.
    pub held: HashSet<Guid>,
}

/// All snapshots of a filesystem with what becomes of them, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Judged {
    snapshots: Vec<Judgement>,
}

/// What becomes of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// The snapshot.
    pub version: Version,
    /// Does the other side have it, as far as is known?
    pub is_replicated: bool,
    /// What becomes of it.
    pub decision: Decision,
    /// What each rule says, in the order of the rules.
    pub opinions: Vec<Opinion>,
}

/// What becomes of a snapshot, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Rules keep it. Each by its position, with what it says.
    Kept(Vec<(usize, Opinion)>),
    /// No rule keeps it, and nevertheless it stays.
    Needed(Need),
    /// It goes.
    Destroyed,
}

/// Why a snapshot stays that no rule keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Need {
    /// The next step starts from it.
    NextStep,
    /// It is held for a replication.
    Held,
}

/// Why nothing is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotJudged {
    /// Nothing says what the other side has. The text is that of zrepl 0.7.0.
    #[error(
        "replication cursor bookmark does not exist (one successful replication is required before pruning works)"
    )]
    NothingReplicated,
}

/// Judges the snapshots of a filesystem.
pub fn judge(side: Side, rules: &[Rule], facts: Facts) -> Result<Judged, NotJudged> {
    let Facts {
        mut versions,
        base,
        held,
    } = facts;
    versions.sort_by(Version::history_order);
    // Bookmarks count for how far a filesystem that is not replicated has come, as in zrepl 0.7.0.
    let newest = versions.last().map(Version::guid);
    versions.retain(Version::is_snapshot);
    if versions.is_empty() {
        return Ok(Judged::default());
    }
    let (replicated_up_to, kept) = match side {
        Side::Sender => (base.replicated_up_to(), base.kept_on_sender()),
        Side::Receiver => (base.replicated_up_to(), base.kept_on_receiver()),
        Side::Local => (newest, None),
    };
    let cursor = replicated_up_to.ok_or(NotJudged::NothingReplicated)?;
    let mut snapshots: Vec<_> = versions.iter().map(snapshot).collect();
    let including_cursor = side == Side::Sender && cursor_counts_as_replicated(rules);
    mark_replicated(&mut snapshots, cursor, including_cursor);
    let plan = evaluate(rules, &snapshots);
    let decisions = plan.verdicts().zip(&versions).map(|(verdict, version)| {
        let guid = version.guid();
        if verdict.is_kept() {
            Decision::Kept(verdict.kept_by().collect())
        } else if kept == Some(guid) {
            Decision::Needed(Need::NextStep)
        } else if held.contains(&guid) {
            Decision::Needed(Need::Held)
        } else {
            Decision::Destroyed
        }
    });
    let decisions: Vec<_> = decisions.collect();
    let opinions = plan.verdicts().map(|verdict| verdict.opinions().collect());
    let replicated: Vec<_> = snapshots.iter().map(|it| it.replicated).collect();
    let opinions: Vec<Vec<Opinion>> = opinions.collect();
    let judgements = versions
        .into_iter()
        .zip(replicated)
        .zip(decisions.into_iter().zip(opinions));
    let snapshots = judgements.map(
        |((version, is_replicated), (decision, opinions))| Judgement {
            version,
            is_replicated,
            decision,
            opinions,
        },
    );
    Ok(Judged {
        snapshots: snapshots.collect(),
    })
}

fn snapshot(version: &Version) -> Snapshot<'_> {
    Snapshot {
        name: version.name(),
        guid: version.guid(),
        createtxg: version.createtxg(),
        creation: version.created(),
        replicated: false,
    }
}

impl Judged {
    /// All snapshots, oldest first.
    pub fn all(&self) -> &[Judgement] {
        &self.snapshots
    }

    /// Those that go, oldest first.
    pub fn destroyed(&self) -> impl Iterator<Item = &Judgement> {
        self.snapshots
            .iter()
            .filter(|it| it.decision == Decision::Destroyed)
    }
}

impl Judgement {
    /// Does it go?
    pub fn is_destroyed(&self) -> bool {
        self.decision == Decision::Destroyed
    }

    /// Why it stays, each reason; of one that goes, what every rule says about it.
    pub fn reasons(&self, rules: &[Rule]) -> Vec<String> {
        let explain = |(rule, opinion): (&Rule, Opinion)| {
            format!("{}: {}", rule.name(), rule.explain(opinion))
        };
        let all = rules.iter().zip(self.opinions.iter().copied());
        match &self.decision {
            Decision::Kept(by) if by.is_empty() => vec!["there are no rules".to_owned()],
            Decision::Kept(_) => all
                .filter(|(_, opinion)| opinion.keeps())
                .map(explain)
                .collect(),
            Decision::Needed(need) => vec![need.to_string()],
            Decision::Destroyed => all.map(explain).collect(),
        }
    }
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NextStep => "the next replication starts from it",
            Self::Held => "held for a replication",
        })
    }
}

#[cfg(test)]
mod tests;
