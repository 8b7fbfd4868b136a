//! A point in a dataset's history: what replication compares, holds and sends.

use std::fmt;

use crate::guid::Guid;
use crate::name::VersionName;

/// A transaction group number of one pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Txg(u64);

impl Txg {
    /// Wraps a number that the pool gave.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Txg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A snapshot or bookmark with the facts that never change while it exists, and its holds if asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilesystemVersion {
    /// Full name.
    pub name: VersionName,
    /// Identity across pools: equal on both sides of a replication.
    pub guid: Guid,
    /// Transaction group of the snapshot (for a bookmark: of the snapshot it was made of). Orders versions of one
    /// dataset; means nothing in another pool.
    pub createtxg: Txg,
    /// Unix time in seconds.
    pub creation: u64,
    /// Number of user holds: `None` if not asked for, and for bookmarks, which cannot be held.
    pub userrefs: Option<u64>,
}

impl FilesystemVersion {
    /// Is this a snapshot?
    pub fn is_snapshot(&self) -> bool {
        matches!(self.name, VersionName::Snapshot(_))
    }

    /// Order within a dataset: oldest first; at the same txg a bookmark after the snapshot it was made of.
    pub fn history_order(&self) -> (Txg, bool, &str) {
        (self.createtxg, !self.is_snapshot(), self.name.as_str())
    }
}
