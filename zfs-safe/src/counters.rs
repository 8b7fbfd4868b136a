//! Counts of what ZFS work costs: ioctls, processes, waits for a transaction group.

use std::sync::atomic::{AtomicU64, Ordering};

/// Live counters of one [`Zfs`](crate::Zfs) handle.
#[derive(Debug, Default)]
pub struct Counters {
    ioctls: AtomicU64,
    processes: AtomicU64,
    txg_waits: AtomicU64,
}

/// The counters at one moment, or the difference between two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// ioctls on the ZFS device, those made inside libzfs_core included.
    pub ioctls: u64,
    /// Processes started. Always 0 for the native implementation.
    pub processes: u64,
    /// Calls that waited for a transaction group to reach the disk. Not counted for zfs(8), which does so unseen.
    pub txg_waits: u64,
}

impl Counters {
    /// The counters now.
    pub fn now(&self) -> Counts {
        Counts {
            ioctls: self.ioctls.load(Ordering::Relaxed),
            processes: self.processes.load(Ordering::Relaxed),
            txg_waits: self.txg_waits.load(Ordering::Relaxed),
        }
    }

    #[cfg_attr(
        not(feature = "native"),
        expect(dead_code, reason = "only native calls make ioctls")
    )]
    pub(crate) fn add_ioctls(&self, number: u64) {
        self.ioctls.fetch_add(number, Ordering::Relaxed);
    }

    pub(crate) fn add_process(&self) {
        self.processes.fetch_add(1, Ordering::Relaxed);
    }

    #[cfg_attr(
        not(feature = "native"),
        expect(dead_code, reason = "only native calls see their txg")
    )]
    pub(crate) fn add_txg_wait(&self) {
        self.txg_waits.fetch_add(1, Ordering::Relaxed);
    }
}

impl std::ops::Sub for Counts {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self {
            ioctls: self.ioctls - earlier.ioctls,
            processes: self.processes - earlier.processes,
            txg_waits: self.txg_waits - earlier.txg_waits,
        }
    }
}
