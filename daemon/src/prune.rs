//! Which snapshots are kept: facts about the snapshots of one dataset in, an opinion of every rule about every snapshot out.
//! A snapshot may be destroyed only if no rule wants to keep it, and if there are no rules, nothing may. Nothing here looks
//! at the clock or the pool, so the pruners of both sides, `snap` jobs and whoever wants it explained get the same answer.

use std::fmt;
use std::num::NonZeroUsize;

use zfs_safe::guid::Guid;
use zfs_safe::version::Txg;

use crate::go_regex::GoRegex;

pub mod grid;
pub mod grid_spec;
mod last_n;
mod not_replicated;
mod regex;

use grid::{GridOpinion, RetentionGrid};
pub use not_replicated::{cursor_counts_as_replicated, mark_replicated};

/// A snapshot that may be destroyed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot<'a> {
    /// The name after `@`.
    pub name: &'a str,
    /// Identity across pools.
    pub guid: Guid,
    /// Transaction group of its creation.
    pub createtxg: Txg,
    /// Unix time in seconds.
    pub creation: i64,
    /// Does the other side have it, as far as the replication cursor tells? See [`mark_replicated`].
    pub replicated: bool,
}

/// A reason to keep snapshots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Keeps, in each bucket of the grid, some of the snapshots whose name matches.
    Grid {
        /// The buckets.
        grid: RetentionGrid,
        /// Which names.
        regex: GoRegex,
    },
    /// Keeps the newest ones whose name matches.
    LastN {
        /// How many.
        count: NonZeroUsize,
        /// Which names; all of them if there is none.
        regex: Option<GoRegex>,
    },
    /// Keeps what the other side does not have yet.
    NotReplicated {
        /// Also keep the one at the replication cursor, which the other side does have. [`mark_replicated`] sees to that.
        keep_snapshot_at_cursor: bool,
    },
    /// Keeps the snapshots whose name matches.
    Regex {
        /// Which names.
        regex: GoRegex,
        /// Keep those that do not match instead.
        negate: bool,
    },
}

/// What one rule says about one snapshot, and why. [`Rule::explain`] puts it into words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opinion {
    /// [`Rule::Grid`] has a place in time for it, or none.
    Grid(GridOpinion),
    /// [`Rule::LastN`] counts it among the newest.
    Newest {
        /// Its place, 1 for the newest.
        rank: usize,
    },
    /// The name matches, or not, and [`Rule::Regex`] wants just that.
    NameWanted,
    /// The name is not of the kind that the rule keeps.
    NameUnwanted,
    /// [`Rule::NotReplicated`] keeps it.
    NotReplicated,
    /// [`Rule::LastN`] has found enough newer ones.
    NotAmongNewest {
        /// Its place, 1 for the newest.
        rank: usize,
    },
    /// [`Rule::NotReplicated`] does not care for it.
    Replicated,
}

/// What all rules say about all snapshots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    snapshots: usize,
    /// For each rule the opinions about all snapshots.
    opinions: Vec<Vec<Opinion>>,
}

/// What all rules say about one snapshot.
#[derive(Clone, Copy, Debug)]
pub struct Verdict<'a> {
    plan: &'a Plan,
    snapshot: usize,
}

/// An opinion in words.
#[derive(Clone, Copy, Debug)]
pub struct Explanation<'a> {
    rule: &'a Rule,
    opinion: Opinion,
}

/// Asks every rule about the snapshots of one dataset. Where rules cannot tell snapshots apart, they count as younger the
/// earlier they are listed; pruners list them by createtxg.
pub fn evaluate(rules: &[Rule], snapshots: &[Snapshot<'_>]) -> Plan {
    Plan {
        snapshots: snapshots.len(),
        opinions: rules.iter().map(|rule| rule.opinions(snapshots)).collect(),
    }
}

impl Rule {
    /// What this rule alone says about each snapshot.
    pub fn opinions(&self, snapshots: &[Snapshot<'_>]) -> Vec<Opinion> {
        match self {
            Self::Grid { grid, regex } => grid::opinions(grid, regex, snapshots),
            Self::LastN { count, regex } => last_n::opinions(*count, regex.as_ref(), snapshots),
            Self::NotReplicated { .. } => not_replicated::opinions(snapshots),
            Self::Regex { regex, negate } => regex::opinions(regex, *negate, snapshots),
        }
    }

    /// Its kind, as configurations call it.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Grid { .. } => "grid",
            Self::LastN { .. } => "last_n",
            Self::NotReplicated { .. } => "not_replicated",
            Self::Regex { .. } => "regex",
        }
    }

    /// Does it obviously keep every snapshot there can be?
    pub fn keeps_everything(&self) -> bool {
        matches!(self, Self::Regex { regex, negate: false } if regex.matches_everything())
    }

    /// Might it keep a snapshot of this name because of the name?
    pub fn wants_name(&self, name: &str) -> bool {
        match self {
            Self::Grid { regex, .. } => regex.is_match(name),
            Self::LastN { regex, .. } => regex.as_ref().is_none_or(|regex| regex.is_match(name)),
            Self::NotReplicated { .. } => false,
            Self::Regex { regex, negate } => regex.is_match(name) != *negate,
        }
    }

    /// Puts one of this rule's opinions into words.
    pub fn explain(&self, opinion: Opinion) -> Explanation<'_> {
        Explanation {
            rule: self,
            opinion,
        }
    }
}

impl Opinion {
    /// Does the rule want to keep the snapshot?
    pub fn keeps(self) -> bool {
        match self {
            Self::Grid(grid) => grid.keeps(),
            Self::Newest { .. } | Self::NameWanted | Self::NotReplicated => true,
            Self::NameUnwanted | Self::NotAmongNewest { .. } | Self::Replicated => false,
        }
    }
}

impl Plan {
    /// The verdicts in the order of the snapshots.
    pub fn verdicts(&self) -> impl ExactSizeIterator<Item = Verdict<'_>> {
        (0..self.snapshots).map(|snapshot| Verdict {
            plan: self,
            snapshot,
        })
    }

    /// The positions of the snapshots that no rule keeps.
    pub fn destroyed(&self) -> impl Iterator<Item = usize> {
        self.verdicts()
            .enumerate()
            .filter_map(|(index, verdict)| (!verdict.is_kept()).then_some(index))
    }
}

impl<'a> Verdict<'a> {
    /// Is the snapshot kept?
    pub fn is_kept(self) -> bool {
        self.plan.opinions.is_empty() || self.kept_by().next().is_some()
    }

    /// The rules that keep it, by position, with the reason.
    pub fn kept_by(self) -> impl Iterator<Item = (usize, Opinion)> {
        self.opinions()
            .enumerate()
            .filter(|(_, opinion)| opinion.keeps())
    }

    /// What each rule says, in the order of the rules.
    pub fn opinions(self) -> impl Iterator<Item = Opinion> + 'a {
        self.plan
            .opinions
            .iter()
            .map(move |column| column[self.snapshot])
    }
}

impl fmt::Display for Explanation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let regex = match self.rule {
            Rule::Grid { regex, .. } | Rule::Regex { regex, .. } => regex.as_str(),
            Rule::LastN { regex, .. } => regex.as_ref().map_or("", GoRegex::as_str),
            Rule::NotReplicated { .. } => "",
        };
        let negated = matches!(self.rule, Rule::Regex { negate: true, .. });
        match (self.opinion, self.rule) {
            (Opinion::Grid(opinion), Rule::Grid { grid, .. }) => opinion.explain(grid, f),
            (Opinion::Newest { rank: 1 }, _) => f.write_str("the newest"),
            (Opinion::Newest { .. }, Rule::LastN { count, .. }) => {
                write!(f, "among the newest {count}")
            }
            (Opinion::NotAmongNewest { rank }, Rule::LastN { count, .. }) => {
                write!(f, "number {rank} from the newest, beyond {count}")
            }
            (Opinion::NameWanted, _) if negated => write!(f, "name does not match `{regex}`"),
            (Opinion::NameWanted, _) => write!(f, "name matches `{regex}`"),
            (Opinion::NameUnwanted, _) if negated => write!(f, "name matches `{regex}`"),
            (Opinion::NameUnwanted, _) => write!(f, "name does not match `{regex}`"),
            (
                Opinion::NotReplicated,
                Rule::NotReplicated {
                    keep_snapshot_at_cursor: true,
                },
            ) => f.write_str("the newest that is replicated, or newer"),
            (Opinion::NotReplicated, _) => f.write_str("newer than what is replicated"),
            (
                Opinion::Replicated,
                Rule::NotReplicated {
                    keep_snapshot_at_cursor: false,
                },
            ) => f.write_str("not newer than what is replicated"),
            (Opinion::Replicated, _) => f.write_str("older than the newest that is replicated"),
            // An opinion of another rule: there is nothing better to say.
            (Opinion::Grid(_) | Opinion::Newest { .. } | Opinion::NotAmongNewest { .. }, _) => f
                .write_str(if self.opinion.keeps() {
                    "kept"
                } else {
                    "not kept"
                }),
        }
    }
}

/// Positions of the snapshots whose name matches.
fn matching(regex: Option<&GoRegex>, snapshots: &[Snapshot<'_>]) -> Vec<usize> {
    snapshots
        .iter()
        .enumerate()
        .filter(|(_, snapshot)| regex.is_none_or(|regex| regex.is_match(snapshot.name)))
        .map(|(index, _)| index)
        .collect()
}

#[cfg(test)]
mod tests;
