//! Channel programs: Lua that the kernel runs within one transaction group.
//!
//! They need root, stop the pool's txg pipeline while they run, and leave their text in the pool's history. Two rules
//! follow: never for reading, and only where atomicity over many objects is worth it.

use std::collections::BTreeMap;
use std::fmt;

use crate::error::{Operation, Reason, ZfsError};
use crate::name::{DatasetPath, HoldTag, PoolName, SnapshotName};
use crate::outcome::Outcome;
use crate::zfs::Zfs;

/// Most snapshots that one program destroys. Each costs sync-context time during which the whole pool waits.
const DESTROY_CHUNK: usize = 250;

/// A program and how it may run.
#[derive(Clone, Debug)]
pub struct Program {
    /// Lua 5.2 text. Arguments arrive as one table in `...`.
    pub text: String,
    /// The argument table. Must not hold [`ProgramValue::Nil`].
    pub arguments: ProgramValue,
    /// Run in syncing context, where `zfs.sync.*` may change the pool; costs one txg even if nothing changes.
    pub sync: bool,
    /// Most Lua instructions; the kernel's default is 10 million, its maximum 100 million.
    pub instruction_limit: u64,
    /// Most bytes of Lua memory, and of the reply; the kernel's default is 10 MiB, its maximum 100 MiB.
    pub memory_limit: u64,
}

impl Program {
    /// `ZCP_DEFAULT_INSTRLIMIT` of `include/sys/fs/zfs.h`.
    pub const DEFAULT_INSTRUCTIONS: u64 = 10 * 1000 * 1000;
    /// `ZCP_DEFAULT_MEMLIMIT` of `include/sys/fs/zfs.h`.
    pub const DEFAULT_MEMORY: u64 = 10 << 20;

    /// A program that may change the pool, without arguments and with the kernel's default limits.
    pub fn sync(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            arguments: ProgramValue::Table(BTreeMap::new()),
            sync: true,
            instruction_limit: Self::DEFAULT_INSTRUCTIONS,
            memory_limit: Self::DEFAULT_MEMORY,
        }
    }

    /// A program that only reads.
    pub fn read_only(text: impl Into<String>) -> Self {
        Self {
            sync: false,
            ..Self::sync(text)
        }
    }

    /// The same with arguments.
    #[must_use]
    pub fn with_arguments(mut self, arguments: ProgramValue) -> Self {
        self.arguments = arguments;
        self
    }
}

/// A value going into or coming out of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProgramValue {
    /// Nothing: what a program without `return` gives.
    Nil,
    /// `true` or `false`.
    Boolean(bool),
    /// A number. The kernel's Lua has 64-bit signed integers only; a guid of 2^63 or more comes out negative.
    Integer(i64),
    /// A string.
    Text(String),
    /// A table by key; number keys appear as decimal text.
    Table(BTreeMap<String, ProgramValue>),
}

impl ProgramValue {
    /// A table with the keys 1, 2, … as Lua's lists have.
    pub fn list(values: impl IntoIterator<Item = Self>) -> Self {
        Self::Table(
            (1..)
                .zip(values)
                .map(|(index, value): (u64, _)| (index.to_string(), value))
                .collect(),
        )
    }

    /// A table of named values.
    pub fn table<'a>(pairs: impl IntoIterator<Item = (&'a str, Self)>) -> Self {
        Self::Table(
            pairs
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value))
                .collect(),
        )
    }

    /// The entry `key` of a table.
    pub fn entry(&self, key: &str) -> Option<&Self> {
        match self {
            Self::Table(entries) => entries.get(key),
            _ => None,
        }
    }

    /// The number.
    pub fn as_integer(&self) -> Option<i64> {
        match self {
            Self::Integer(number) => Some(*number),
            _ => None,
        }
    }

    /// The string.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The values of a table that is a list, in order.
    pub fn items(&self) -> Vec<&Self> {
        (1_u64..)
            .map_while(|index| self.entry(&index.to_string()))
            .collect()
    }
}

impl From<&str> for ProgramValue {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

/// Why a program did not give a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProgramFailure {
    /// The text is not a Lua program; nothing ran. Holds the kernel's message.
    Syntax(String),
    /// An error at run time: `error(…)`, a wrong argument to a ZFS function, a bad return value. Holds the message.
    Runtime(String),
    /// The instruction limit was reached, after this many where the kernel tells.
    InstructionLimit(Option<u64>),
    /// The memory limit was reached.
    MemoryLimit,
    /// A limit is 0 or above the maximum, or an argument has no Lua form; nothing ran.
    InvalidRequest(String),
    /// The program ran, but its result does not fit into the reply.
    ResultTooLarge,
    /// A signal ended it.
    Interrupted,
    /// It could not be run at all: privilege, pool missing, read-only or suspended, no channel programs in this module.
    Refused(Reason),
}

/// Whether a failed program has changed the pool. There is no rollback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effects {
    /// Nothing was changed.
    None,
    /// What ran before the failure has stayed.
    Possible,
    /// Everything was done; only the result is lost.
    Complete,
}

/// A channel program that gave no result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramError {
    /// The pool.
    pub pool: PoolName,
    /// What happened.
    pub failure: ProgramFailure,
}

impl ProgramError {
    /// Whether the pool may have been changed.
    pub fn effects(&self) -> Effects {
        match self.failure {
            ProgramFailure::Syntax(_)
            | ProgramFailure::InvalidRequest(_)
            | ProgramFailure::Refused(_) => Effects::None,
            ProgramFailure::Runtime(_)
            | ProgramFailure::InstructionLimit(_)
            | ProgramFailure::MemoryLimit
            | ProgramFailure::Interrupted => Effects::Possible,
            ProgramFailure::ResultTooLarge => Effects::Complete,
        }
    }

    /// The same as an error of the batch that used the program.
    fn into_zfs_error(self, operation: Operation, dataset: &str) -> ZfsError {
        let reason = match &self.failure {
            ProgramFailure::Refused(reason) => reason.clone(),
            ProgramFailure::Interrupted => Reason::Interrupted,
            ProgramFailure::MemoryLimit => Reason::OutOfMemory,
            _ => Reason::Other,
        };
        ZfsError::new(operation, dataset, reason).with_detail(self.to_string())
    }
}

impl fmt::Display for ProgramError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "channel program on pool {}: ", self.pool)?;
        match &self.failure {
            ProgramFailure::Syntax(message) => write!(f, "syntax error: {message}"),
            ProgramFailure::Runtime(message) => write!(f, "{message}"),
            ProgramFailure::InstructionLimit(Some(used)) => {
                write!(f, "stopped after {used} instructions")
            }
            ProgramFailure::InstructionLimit(None) => write!(f, "instruction limit reached"),
            ProgramFailure::MemoryLimit => write!(f, "memory limit reached"),
            ProgramFailure::InvalidRequest(problem) => write!(f, "{problem}"),
            ProgramFailure::ResultTooLarge => write!(f, "its result is too large"),
            ProgramFailure::Interrupted => write!(f, "interrupted"),
            ProgramFailure::Refused(reason) => write!(f, "{reason}"),
        }
    }
}

impl std::error::Error for ProgramError {}

/// Destroys those of `snapshots` that are neither held nor cloned, in one transaction group per 250 snapshots, looking
/// and destroying in the same instant: no hold can slip in between. Needs root.
///
/// Unlike [`Zfs::destroy_snapshots`] this is one call whatever fails, on kernels with and without an atomic
/// `lzc_destroy_snaps`, and its reasons are as of that instant. All snapshots must be of `pool`, else nothing is done.
pub fn destroy_snapshots_unless_held(
    zfs: &dyn Zfs,
    pool: &PoolName,
    snapshots: &[SnapshotName],
) -> Vec<Outcome> {
    if let Some(stranger) = snapshots.iter().find(|name| name.pool() != *pool) {
        // The program would end at this name with a fatal error, after having destroyed those before it.
        let error = |name: &SnapshotName| {
            ZfsError::new(
                Operation::DestroySnapshots,
                name.as_str(),
                Reason::CrossPool,
            )
            .with_detail(format!("{stranger} is not of pool {pool}"))
        };
        return snapshots
            .iter()
            .map(|name| Outcome::Failed(error(name)))
            .collect();
    }
    let mut outcomes = Vec::with_capacity(snapshots.len());
    for chunk in snapshots.chunks(DESTROY_CHUNK) {
        let names = chunk.iter().map(|name| ProgramValue::from(name.as_str()));
        let arguments = ProgramValue::table([("snapshots", ProgramValue::list(names))]);
        let program = Program::sync(DESTROY_UNLESS_HELD).with_arguments(arguments);
        match zfs.run_program(pool, &program) {
            Ok(result) => outcomes.extend(chunk.iter().map(|name| destroy_outcome(name, &result))),
            Err(error) => outcomes.extend(chunk.iter().map(|name| {
                Outcome::Failed(
                    error
                        .clone()
                        .into_zfs_error(Operation::DestroySnapshots, name.as_str()),
                )
            })),
        }
    }
    outcomes
}

/// Gives a table: snapshot → { errno, holds = {tags}, clones = {names} } for those that stay. `zfs.list.*` on something
/// that does not exist is fatal, hence the check; `zfs.exists` on a name of another pool is fatal too, which the caller
/// rules out by name.
const DESTROY_UNLESS_HELD: &str = r#"
local arguments = ...
local kept = {}
for _, snapshot in ipairs(arguments["snapshots"]) do
    if zfs.exists(snapshot) then
        local holds = {}
        for tag in zfs.list.holds(snapshot) do
            holds[#holds + 1] = tag
        end
        local clones = {}
        for clone in zfs.list.clones(snapshot) do
            clones[#clones + 1] = clone
        end
        if #holds > 0 or #clones > 0 then
            kept[snapshot] = { errno = 0, holds = holds, clones = clones }
        else
            local errno = zfs.sync.destroy(snapshot)
            if errno ~= 0 then
                kept[snapshot] = { errno = errno, holds = holds, clones = clones }
            end
        end
    end
end
return kept
"#;

fn destroy_outcome(snapshot: &SnapshotName, result: &ProgramValue) -> Outcome {
    let Some(kept) = result.entry(snapshot.as_str()) else {
        return Outcome::Done;
    };
    let texts = |key| kept.entry(key).map(ProgramValue::items).unwrap_or_default();
    let tags: Vec<_> = texts("holds")
        .into_iter()
        .filter_map(ProgramValue::as_text)
        .map(HoldTag::from_kernel)
        .collect();
    let clones: Vec<_> = texts("clones")
        .into_iter()
        .filter_map(|v| DatasetPath::new(v.as_text()?).ok())
        .collect();
    let reason = if !tags.is_empty() {
        Reason::Held(tags)
    } else if !clones.is_empty() {
        Reason::HasClones(clones)
    } else {
        let number = kept
            .entry("errno")
            .and_then(ProgramValue::as_integer)
            .and_then(|n| i32::try_from(n).ok());
        let errno = crate::errno::Errno::new(number.unwrap_or(0));
        return Outcome::Failed(ZfsError::from_errno(
            Operation::DestroySnapshots,
            snapshot.as_str(),
            errno,
        ));
    };
    Outcome::Failed(ZfsError::new(
        Operation::DestroySnapshots,
        snapshot.as_str(),
        reason,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_tables_counted_from_one() {
        let list = ProgramValue::list([ProgramValue::from("a"), ProgramValue::from("b")]);
        assert_eq!(list.entry("1"), Some(&ProgramValue::from("a")));
        assert_eq!(list.items().len(), 2);
        assert_eq!(ProgramValue::Nil.items().len(), 0);
    }

    #[test]
    fn what_the_program_kept_names_its_reason() {
        let kept = |holds: &[&str], clones: &[&str], errno| {
            let list =
                |texts: &[&str]| ProgramValue::list(texts.iter().map(|t| ProgramValue::from(*t)));
            ProgramValue::table([(
                "p/a@s",
                ProgramValue::table([
                    ("errno", ProgramValue::Integer(errno)),
                    ("holds", list(holds)),
                    ("clones", list(clones)),
                ]),
            )])
        };
        let name = SnapshotName::new("p/a@s").expect("valid");
        let reason = |result: &ProgramValue| {
            destroy_outcome(&name, result)
                .error()
                .map(|e| e.reason.label())
        };
        assert_eq!(destroy_outcome(&name, &ProgramValue::Nil), Outcome::Done);
        assert_eq!(reason(&kept(&["t"], &["p/c"], 0)).as_deref(), Some("Held"));
        assert_eq!(
            reason(&kept(&[], &["p/c"], 0)).as_deref(),
            Some("HasClones")
        );
        assert_eq!(reason(&kept(&[], &[], 16)).as_deref(), Some("Busy"));
    }
}
