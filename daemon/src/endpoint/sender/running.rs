//! Which filesystems have a step under way. Marks that a running step needs can look stale to whoever has not heard of it; so clones of
//! a sender tell each other here, and change the marks of a filesystem one after the other.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use zfs_safe::name::{DatasetPath, PoolName};

/// All filesystems that were asked about.
#[derive(Debug, Default)]
pub(super) struct Filesystems(Mutex<HashMap<DatasetPath, Arc<Filesystem>>>);

/// What a job's endpoint knows of a filesystem.
#[derive(Debug, Default)]
pub(super) struct Filesystem {
    running: AtomicUsize,
    marks: Mutex<()>,
    is_warned_of: AtomicBool,
}

/// A step under way. Dropping it ends it.
#[derive(Debug)]
pub(super) struct Running(Arc<Filesystem>);

impl Filesystems {
    /// This one.
    pub(super) fn of(&self, dataset: &DatasetPath) -> Arc<Filesystem> {
        Arc::clone(lock(&self.0).entry(dataset.clone()).or_default())
    }

    /// The pools that they are in.
    pub(super) fn pools(&self) -> BTreeSet<PoolName> {
        lock(&self.0).keys().map(DatasetPath::pool).collect()
    }

    /// Forgets what is not there any more, unless somebody is busy with it.
    pub(super) fn retain(&self, is_there: impl Fn(&DatasetPath) -> bool) {
        lock(&self.0)
            .retain(|dataset, filesystem| is_there(dataset) || Arc::strong_count(filesystem) > 1);
    }
}

impl Filesystem {
    /// Marks may be changed while this is held. Blocks while somebody else changes them.
    pub(super) fn marks(&self) -> MutexGuard<'_, ()> {
        lock(&self.marks)
    }

    /// The same, if nobody changes them and no step is under way.
    pub(super) fn marks_if_idle(&self) -> Option<MutexGuard<'_, ()>> {
        let marks = match self.marks.try_lock() {
            Ok(marks) => marks,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        self.is_idle().then_some(marks)
    }

    /// Is no step under way?
    pub(super) fn is_idle(&self) -> bool {
        self.running.load(Ordering::SeqCst) == 0
    }

    /// A step begins.
    pub(super) fn begin(self: &Arc<Self>) -> Running {
        self.running.fetch_add(1, Ordering::SeqCst);
        Running(Arc::clone(self))
    }

    /// True the first time.
    pub(super) fn is_first_warning(&self) -> bool {
        !self.is_warned_of.swap(true, Ordering::SeqCst)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

/// No code that holds this lock leaves anything half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
