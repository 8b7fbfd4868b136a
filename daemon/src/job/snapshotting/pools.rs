//! Pools at work: what to snapshot flows in, and results flow out as each pool answers. No pool is waited for for ever: one whose
//! disks do not answer blocks whoever asks it, for as long as they do not, and is nobody else's business.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, Span};
use zfs_safe::name::{DatasetPath, PoolName, SnapshotName};

use super::SUBSYSTEM;
use super::together::{Taken, take_all};
use crate::endpoint::local_zfs::LocalZfs;
use crate::go_duration::GoDuration;

/// How long a pool may take to answer a call. Under load that is some transaction groups, of seconds each, and where a disk has errors
/// it is a few minutes until the kernel gives the disk up. A database that is locked by its hook should not wait longer.
const PATIENCE: Duration = Duration::from_secs(5 * 60);

/// A pool does not answer.
#[derive(Debug, thiserror::Error)]
#[error("pool {pool} has not answered for {silent}; it is left out until it does")]
pub(super) struct NoAnswer {
    pool: PoolName,
    silent: GoDuration,
}

/// The pools of one job. Clones are the same.
#[derive(Clone, Debug)]
pub(super) struct Pools {
    zfs: LocalZfs,
    patience: Duration,
    at_work: AtWork,
}

/// Pools that have been asked and are not done, and when they were asked or answered last.
#[derive(Clone, Debug, Default)]
struct AtWork(Arc<Mutex<HashMap<PoolName, Instant>>>);

/// A pool is at work for as long as this is there.
struct Work {
    pool: PoolName,
    at_work: AtWork,
}

impl Pools {
    pub(super) fn new(zfs: LocalZfs) -> Self {
        Self::with_patience(zfs, PATIENCE)
    }

    pub(super) fn with_patience(zfs: LocalZfs, patience: Duration) -> Self {
        Self {
            zfs,
            patience,
            at_work: AtWork::default(),
        }
    }

    /// Does a call that was given up still wait for the pool? To be asked by whoever waits for the end of each call.
    pub(super) fn check(&self, pool: &PoolName) -> Result<(), NoAnswer> {
        match self.at_work.pools().get(pool) {
            Some(heard) => Err(NoAnswer::since(pool, *heard)),
            None => Ok(()),
        }
    }

    /// Takes snapshots of one pool. `note` gets each once. Not to be called for a pool for which it runs; all right once it was
    /// dropped or has given up.
    pub(super) async fn take(
        &self,
        pool: &PoolName,
        snapshots: Vec<SnapshotName>,
        stop: &CancellationToken,
        mut note: impl FnMut(Taken) + Send,
    ) {
        let mut left: BTreeSet<_> = snapshots.iter().map(SnapshotName::dataset).collect();
        let Some(work) = self.at_work.begin(pool) else {
            for it in left {
                note(self.unanswered(pool, it));
            }
            return;
        };
        let stop = stop.child_token();
        // What is given up, or not waited for any more, tries nothing further once it gets its answer.
        let _given_up = stop.clone().drop_guard();
        let (answers, mut answered) = mpsc::unbounded_channel();
        let zfs = self.zfs.clone();
        let call = async move {
            let take = move |zfs: &LocalZfs| {
                take_all(zfs.commit(), &work.pool, snapshots, &stop, |taken| {
                    // Nobody hears it if the job has been dropped.
                    let _ = answers.send(taken);
                });
            };
            zfs.run(take).await;
        };
        let call = tokio::spawn(call.instrument(Span::current()));
        loop {
            match tokio::time::timeout(self.patience, answered.recv()).await {
                Ok(Some(taken)) => {
                    self.at_work.heard(pool);
                    for taken in taken {
                        left.remove(&taken.filesystem);
                        note(taken);
                    }
                }
                Ok(None) => break,
                Err(_) => {
                    for it in left {
                        note(self.unanswered(pool, it));
                    }
                    let log = log_late(pool.clone(), answered);
                    tokio::spawn(log.instrument(Span::current()));
                    return;
                }
            }
        }
        // Only then the pool is not at work any more.
        if let Err(error) = call.await
            && let Ok(panic) = error.try_into_panic()
        {
            std::panic::resume_unwind(panic);
        }
    }

    /// What becomes of what the pool leaves open.
    fn unanswered(&self, pool: &PoolName, filesystem: DatasetPath) -> Taken {
        let heard = self.at_work.pools().get(pool).copied();
        let error = NoAnswer::since(pool, heard.unwrap_or_else(Instant::now));
        Taken {
            filesystem,
            result: Err(error.into()),
        }
    }
}

impl NoAnswer {
    fn since(pool: &PoolName, heard: Instant) -> Self {
        let seconds = heard.elapsed().as_secs();
        Self {
            pool: pool.clone(),
            silent: GoDuration::from_secs(seconds.try_into().unwrap_or(u32::MAX)),
        }
    }
}

impl AtWork {
    /// Nothing if it is at work.
    fn begin(&self, pool: &PoolName) -> Option<Work> {
        match self.pools().entry(pool.clone()) {
            Entry::Occupied(_) => None,
            Entry::Vacant(entry) => {
                entry.insert(Instant::now());
                Some(Work {
                    pool: pool.clone(),
                    at_work: self.clone(),
                })
            }
        }
    }

    fn heard(&self, pool: &PoolName) {
        if let Some(heard) = self.pools().get_mut(pool) {
            *heard = Instant::now();
        }
    }

    fn pools(&self) -> MutexGuard<'_, HashMap<PoolName, Instant>> {
        // Whole at any time, also where somebody panicked.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        self.at_work.pools().remove(&self.pool);
    }
}

/// What has come of a call that was given up: the round has said that there are no snapshots.
async fn log_late(pool: PoolName, mut answered: mpsc::UnboundedReceiver<Vec<Taken>>) {
    let (mut taken, mut failed) = (0_u32, 0_u32);
    while let Some(results) = answered.recv().await {
        for it in results {
            *(if it.result.is_ok() {
                &mut taken
            } else {
                &mut failed
            }) += 1;
        }
    }
    tracing::warn!(
        subsystem = SUBSYSTEM, pool = %pool, taken, failed,
        "pool answers again: snapshots that were given up and are taken all the same are later than their names say, and later than their hooks"
    );
}
