//! ZFS of this host, as all endpoints and jobs of one daemon share it: one group commit, so that what they change together waits
//! for one transaction group; one memory of listings; one memory of marks; and for each pool a list of marks that are to go.
//! Calls to ZFS block, so they run on threads of their own.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::task::{JoinSet, spawn_blocking};
use tracing::Span;
use zfs_safe::group_commit::GroupCommit;
use zfs_safe::name::{DatasetPath, PoolName, VersionName};
use zfs_safe::version::FilesystemVersion;
use zfs_safe::version_memory::{Evidence, VersionMemory};
use zfs_safe::zfs::Zfs;
use zfs_safe::{Outcome, ZfsError};

use super::Held;
use super::mark::memory::{MarkMemory, version};
use super::mark::removal::{Queue, Removals};
use super::mark::{Change, Inventory, JobId, Mark, Place};

/// How long marks that are to go may gather. Long enough for the steps of a round to come together, and short enough for whoever looks
/// at the pool after a round.
const LINGER: Duration = Duration::from_secs(1);

/// A handle; clones share everything.
#[derive(Clone, Debug)]
pub struct LocalZfs(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    commit: GroupCommit,
    versions: VersionMemory,
    marks: MarkMemory,
    removals: Removals,
    making_parents: tokio::sync::Mutex<()>,
}

impl LocalZfs {
    /// Shares `zfs`. Fails if the kernel module does not tell its version.
    pub fn new(zfs: Arc<dyn Zfs>) -> zfs_safe::Result<Self> {
        Ok(Self(Arc::new(Shared {
            versions: VersionMemory::new(Arc::clone(&zfs))?,
            commit: GroupCommit::new(zfs),
            marks: MarkMemory::default(),
            removals: Removals::default(),
            making_parents: tokio::sync::Mutex::default(),
        })))
    }

    /// Everything that is neither joined nor remembered.
    pub fn zfs(&self) -> &dyn Zfs {
        &**self.0.commit.zfs()
    }

    /// To be held while parents of a received filesystem are looked for and made: several receivers can need the same.
    pub async fn making_parents(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.0.making_parents.lock().await
    }

    /// Changes that are joined with those of others.
    pub fn commit(&self) -> &GroupCommit {
        &self.0.commit
    }

    /// Listings of versions that are remembered.
    pub fn memory(&self) -> &VersionMemory {
        &self.0.versions
    }

    /// Snapshots and bookmarks of a dataset, in history order, through the memory. Blocks.
    pub fn versions(&self, dataset: &DatasetPath) -> zfs_safe::Result<Vec<FilesystemVersion>> {
        self.0.marks.listing(self.zfs(), dataset, || {
            self.0.versions.versions(dataset, SystemTime::now())
        })
    }

    /// The same, by evidence that was read a moment ago. Blocks.
    pub fn versions_by(
        &self,
        dataset: &DatasetPath,
        evidence: Evidence,
    ) -> zfs_safe::Result<Vec<FilesystemVersion>> {
        self.0.marks.listing(self.zfs(), dataset, || {
            let memory = self.memory();
            memory.versions_by(dataset, evidence, SystemTime::now())
        })
    }

    /// Snapshots of a dataset, oldest first, through the memory. Blocks.
    pub fn snapshots(&self, dataset: &DatasetPath) -> zfs_safe::Result<Arc<[FilesystemVersion]>> {
        self.0.marks.listing(self.zfs(), dataset, || {
            self.0.versions.snapshots(dataset, SystemTime::now())
        })
    }

    /// The same, by evidence that was read a moment ago. Blocks.
    pub fn snapshots_by(
        &self,
        dataset: &DatasetPath,
        evidence: Evidence,
    ) -> zfs_safe::Result<Arc<[FilesystemVersion]>> {
        self.0.marks.listing(self.zfs(), dataset, || {
            let memory = self.memory();
            memory.snapshots_by(dataset, evidence, SystemTime::now())
        })
    }

    /// What is marked on a dataset whose versions are these. Blocks, the first time for a dataset.
    pub fn inventory(
        &self,
        dataset: &DatasetPath,
        versions: &[FilesystemVersion],
    ) -> zfs_safe::Result<Inventory> {
        self.0.marks.inventory(self.zfs(), dataset, versions)
    }

    /// What a snapshot or bookmark is. Blocks.
    pub fn version(&self, name: &VersionName) -> zfs_safe::Result<FilesystemVersion> {
        version(self.zfs(), name)
    }

    /// What is held on a dataset, without its bookmarks. Blocks, the first time for a dataset.
    pub fn holds(&self, dataset: &DatasetPath) -> zfs_safe::Result<Inventory> {
        self.0.marks.holds(self.zfs(), dataset)
    }

    /// The snapshots of a dataset that are held for replications, of whichever job. What cannot be read is as good as not held: a
    /// snapshot that is held all the same cannot be destroyed. `job` is whoever asks. Blocks, the first time for a dataset.
    pub fn held(&self, dataset: &DatasetPath, job: &JobId) -> Vec<Held> {
        let held = |mark: &Mark| Held {
            guid: mark.guid(),
            is_own: mark.job() == job,
        };
        match self.holds(dataset) {
            Ok(inventory) => inventory.marks().iter().map(held).collect(),
            Err(error) => {
                tracing::warn!(fs = %dataset, err = %error, "cannot see what is held");
                Vec::new()
            }
        }
    }

    /// Remembers what a held snapshot is, so that [`holds`](Self::holds) need not ask.
    pub fn remember_held(&self, version: &FilesystemVersion) {
        self.0.marks.remember(version);
    }

    /// Makes marks, all of them before it returns. The first one that fails is the error. Blocks for a transaction group.
    pub fn make_marks(&self, changes: Vec<Change>) -> Result<(), ZfsError> {
        let places: Vec<_> = changes.iter().map(Change::place).collect();
        self.0.removals.keep(&places);
        let outcomes = self.0.marks.apply(&self.0.commit, changes);
        outcomes
            .into_iter()
            .find_map(|(change, outcome)| not_made(&change, outcome))
            .map_or(Ok(()), Err)
    }

    /// Removes marks of which nobody depends on their being gone: together with those of others, in a while. Whatever fails is logged,
    /// and is stale when the next round begins, as it is if the process dies before. To be called within [`run`](Self::run).
    pub fn remove_marks(&self, changes: &[Change]) {
        self.0.marks.expect_gone(changes);
        for pool in self.0.removals.add(changes.iter().map(Change::place)) {
            let shared = Arc::downgrade(&self.0);
            tokio::spawn(async move {
                tokio::time::sleep(LINGER).await;
                if let Some(shared) = shared.upgrade() {
                    Self(shared).finish_removals([pool]).await;
                }
            });
        }
    }

    /// Keeps a mark that is there.
    pub fn keep_mark(&self, place: Place) {
        self.0.removals.keep(&[place]);
    }

    /// Removes marks now. Whatever fails is logged, forgotten and found again in the next round. Blocks for a transaction group.
    pub fn remove_marks_now(&self, changes: Vec<Change>) {
        for (change, outcome) in self.0.marks.apply(&self.0.commit, changes) {
            log_removed(&change, outcome);
        }
    }

    /// Whatever of a pool was to go in a while is gone when this returns. Blocks for a transaction group if there is any.
    pub fn finish_removals_blocking(&self, pool: &PoolName) {
        self.0.removals.finish(pool, |mut queue: Queue| {
            let changes = queue.keys().cloned().map(Place::removal).collect();
            for (change, outcome) in self.0.marks.apply(&self.0.commit, changes) {
                let span = queue.remove(&change.place()).unwrap_or_else(Span::none);
                span.in_scope(|| log_removed(&change, outcome));
            }
        });
    }

    /// Whatever of these pools was to go in a while is gone when this is ready. To be called before the process ends, at the latest.
    /// A pool that hangs keeps the others from nothing.
    pub async fn finish_removals(&self, pools: impl IntoIterator<Item = PoolName>) {
        let finish = |pool| {
            let this = self.clone();
            async move {
                this.run(move |zfs| zfs.finish_removals_blocking(&pool))
                    .await;
            }
        };
        let finishing: JoinSet<()> = pools.into_iter().map(finish).collect();
        finishing.join_all().await;
    }

    /// Forgets what is known of datasets; it is read anew when next asked for.
    pub fn forget<'a>(&self, datasets: impl IntoIterator<Item = &'a DatasetPath>) {
        for dataset in datasets {
            self.0.marks.forget(dataset);
            self.0.versions.forget(dataset);
        }
    }

    /// Runs something that blocks. It runs to its end even if nobody waits for it any more.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> T {
        let this = self.clone();
        // What is logged there is logged for whoever asked.
        let span = Span::current();
        match spawn_blocking(move || span.in_scope(|| work(&this))).await {
            Ok(result) => result,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // Only a runtime that ends does that, and then nobody polls this.
                Err(_) => std::future::pending().await,
            },
        }
    }
}

fn log_removed(change: &Change, outcome: Outcome) {
    match outcome {
        Outcome::Failed(error) => {
            tracing::error!(abstraction = %change, err = %error, "cannot destroy abstraction");
        }
        Outcome::NotTried => {
            tracing::error!(abstraction = %change, "cannot destroy abstraction: not tried");
        }
        Outcome::Done => tracing::info!(abstraction = %change, "destroyed abstraction"),
        Outcome::AlreadyDone | Outcome::Missing => {}
    }
}

/// A mark that is to be made and is not there.
fn not_made(change: &Change, outcome: Outcome) -> Option<ZfsError> {
    use zfs_safe::error::{Operation, Reason};
    let operation = match change {
        Change::Hold(_) | Change::Release(_) => Operation::Hold,
        Change::Bookmark(_) | Change::DestroyBookmark(_) => Operation::Bookmark,
    };
    match outcome {
        Outcome::Done | Outcome::AlreadyDone => None,
        Outcome::Failed(error) => Some(error),
        Outcome::Missing => Some(ZfsError::new(operation, change.subject(), Reason::NotFound)),
        Outcome::NotTried => Some(ZfsError::new(operation, change.subject(), Reason::Other)),
    }
}
