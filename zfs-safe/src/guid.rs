//! The identity of a snapshot or bookmark, which survives renaming and replication.

use std::fmt;

/// The `guid` property of a snapshot or bookmark.
///
/// A received snapshot has the guid of the one that was sent, and a bookmark that of its snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Guid(u64);

impl Guid {
    /// Wraps the number as ZFS reports it.
    pub const fn new(guid: u64) -> Self {
        Self(guid)
    }

    /// The number as ZFS reports it.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Guid {
    /// Decimal, as `zfs get guid` prints it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}
