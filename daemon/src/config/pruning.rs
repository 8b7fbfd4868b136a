//! The section `pruning`: which snapshots are kept.

use serde::Serialize;

use super::decode::declare::{kinds, notation, section};
use super::decode::node::Node;
use super::decode::schema::{self, Definitions, Json};
use super::decode::{Reading, Value, items, type_text};
use super::value::integer::Count;
use crate::go_regex::GoRegex;
use crate::prune::Rule;
use crate::prune::grid::RetentionGrid;

section! {
    /// Which snapshots are kept on the two sides. A snapshot is destroyed if no rule keeps it.
    pub struct ReplicatedPruning {
        /// Rules for the side that sends.
        keep_sender: KeepRules = required,
        /// Rules for the side that receives.
        keep_receiver: KeepRules = required,
    }
}

section! {
    /// Which snapshots are kept. A snapshot is destroyed if no rule keeps it.
    pub struct LocalPruning {
        /// The rules.
        keep: LocalKeepRules = required,
    }
}

kinds! {
    /// What is kept.
    pub enum KeepRule {
        /// What the receiver does not have yet.
        NotReplicated(NotReplicated) = "not_replicated",
        /// The newest ones.
        LastN(LastN) = "last_n",
        /// By name.
        Regex(Regex) = "regex",
        /// Fewer the older they are.
        Grid(Grid) = "grid",
    }
}

kinds! {
    /// What is kept where nothing is replicated.
    pub enum LocalKeepRule {
        /// The newest ones.
        LastN(LastN) = "last_n",
        /// By name.
        Regex(Regex) = "regex",
        /// Fewer the older they are.
        Grid(Grid) = "grid",
    }
}

section! {
    /// Keeps what the receiver does not have yet.
    pub struct NotReplicated {
        /// Whether the snapshot that was replicated last is kept as well.
        keep_snapshot_at_cursor: bool = default(true),
    }
}

section! {
    /// Keeps the newest snapshots.
    pub struct LastN {
        /// How many.
        count: Count = required,
        /// Counts only snapshots whose names match, and keeps no others.
        regex: GoRegex = default(GoRegex::everything()),
    }
}

section! {
    /// Keeps snapshots by name.
    pub struct Regex {
        /// Keeps those whose names match.
        regex: GoRegex = required,
        /// Keeps those whose names do not match instead.
        negate: bool = default(false),
    }
}

section! {
    /// Keeps fewer snapshots the older they are.
    pub struct Grid {
        /// Intervals from the youngest snapshot into the past, separated by `|`: repetitions x length, and how many snapshots
        /// are kept in each, one unless `(keep=…)` follows.
        grid: RetentionGrid = required,
        /// Looks only at snapshots whose names match, and keeps no others.
        regex: GoRegex = required,
    }
}

/// Rules for a side of a replication, at least one.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(transparent)]
pub struct KeepRules(Vec<KeepRule>);

impl KeepRules {
    /// The rules as written.
    pub fn as_slice(&self) -> &[KeepRule] {
        &self.0
    }

    /// The rules as they are evaluated.
    pub fn rules(&self) -> Vec<Rule> {
        self.0.iter().map(Rule::from).collect()
    }
}

impl Value for KeepRules {
    fn read(node: &Node, cx: &mut Reading<'_>) -> Option<Self> {
        cx.mark(node.at);
        Vec::read(node, cx).map(Self)
    }

    fn schema(definitions: &mut Definitions) -> Json {
        schema::list(&KeepRule::schema(definitions))
    }
}

/// Rules where nothing is replicated, at least one.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(transparent)]
pub struct LocalKeepRules(Vec<LocalKeepRule>);

impl LocalKeepRules {
    /// The rules as written.
    pub fn as_slice(&self) -> &[LocalKeepRule] {
        &self.0
    }

    /// The rules as they are evaluated.
    pub fn rules(&self) -> Vec<Rule> {
        self.0.iter().map(Rule::from).collect()
    }
}

impl Value for LocalKeepRules {
    fn read(node: &Node, cx: &mut Reading<'_>) -> Option<Self> {
        cx.mark(node.at);
        items(node, cx, |node, cx| {
            if type_text(node) == Some("not_replicated") {
                cx.error(
                    node.at,
                    "single-site pruner cannot support `not_replicated` keep rule: a snap job does not replicate",
                );
                return None;
            }
            LocalKeepRule::read(node, cx)
        })
        .map(Self)
    }

    fn schema(definitions: &mut Definitions) -> Json {
        schema::list(&LocalKeepRule::schema(definitions))
    }
}

impl From<&KeepRule> for Rule {
    fn from(rule: &KeepRule) -> Self {
        match rule {
            KeepRule::NotReplicated(rule) => Self::NotReplicated {
                keep_snapshot_at_cursor: rule.keep_snapshot_at_cursor,
            },
            KeepRule::LastN(rule) => rule.into(),
            KeepRule::Regex(rule) => rule.into(),
            KeepRule::Grid(rule) => rule.into(),
        }
    }
}

impl From<&LocalKeepRule> for Rule {
    fn from(rule: &LocalKeepRule) -> Self {
        match rule {
            LocalKeepRule::LastN(rule) => rule.into(),
            LocalKeepRule::Regex(rule) => rule.into(),
            LocalKeepRule::Grid(rule) => rule.into(),
        }
    }
}

impl From<&LastN> for Rule {
    fn from(rule: &LastN) -> Self {
        Self::LastN {
            count: rule.count.number(),
            regex: (!rule.regex.as_str().is_empty()).then(|| rule.regex.clone()),
        }
    }
}

impl From<&Regex> for Rule {
    fn from(rule: &Regex) -> Self {
        Self::Regex {
            regex: rule.regex.clone(),
            negate: rule.negate,
        }
    }
}

impl From<&Grid> for Rule {
    fn from(rule: &Grid) -> Self {
        Self::Grid {
            grid: rule.grid.clone(),
            regex: rule.regex.clone(),
        }
    }
}

notation!(
    RetentionGrid,
    "Intervals separated by `|`, each `repetitions x length (keep=count)`, the shortest first.",
    ["1x1h(keep=all) | 24x1h | 35x1d | 6x30d"]
);

impl Serialize for GoRegex {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}
