//! Takes the snapshots of a job: its filter, names and hooks and the clock flow in, snapshots flow out, and how far they are.
//!
//! Filesystems without hooks are snapshotted together: all of a pool at one instant, as far as ZFS lets us. Filesystems with hooks
//! come one by one afterwards.

mod pools;
mod together;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;
use zfs_safe::ZfsError;
use zfs_safe::name::{DatasetPath, NameError, PoolName, SnapshotName};

use self::pools::{NoAnswer, Pools};
use self::together::Taken;
use super::preview;
use crate::causes::chain;
use crate::endpoint::local_zfs::LocalZfs;
use crate::endpoint::sender;
use crate::filter::FilesystemFilter;
use crate::hook::{FilesystemHooks, Hooks, Partition};
use crate::snapshot::naming::SnapshotNaming;
use crate::snapshot::periodic::{Newest, NewestSnapshot};
use crate::snapshot::progress::Progress;
use crate::snapshot::schedule::{RoundError, Snapshots};

/// What logs call this part of the daemon.
const SUBSYSTEM: &str = "snapshot";

/// Takes snapshots of a job's filesystems.
#[derive(Debug)]
pub(super) struct Taking {
    zfs: LocalZfs,
    filesystems: FilesystemFilter,
    naming: SnapshotNaming,
    hooks: Hooks,
    pools: Pools,
    /// The newest name so far.
    last_name: Option<String>,
}

/// How long a round waits for a name that the last one did not use: the rest of a second, if names tell seconds.
const WAIT_FOR_NAME: Duration = Duration::from_millis(1500);

/// Why there is no snapshot of a filesystem.
#[derive(Debug, thiserror::Error)]
enum NotTaken {
    #[error("cannot name the snapshot")]
    Name(#[from] NameError),
    #[error(transparent)]
    NoAnswer(#[from] NoAnswer),
    #[error("not tried: the job is being stopped")]
    Stopped,
    #[error(transparent)]
    Zfs(#[from] ZfsError),
}

impl Snapshots for Taking {
    async fn newest(&mut self) -> Result<Vec<Newest>, RoundError> {
        let filesystems = self.list().await?;
        let prefix = self.naming.prefix().to_owned();
        let newest = move |zfs: &LocalZfs| {
            let newest = |filesystem: DatasetPath| Newest {
                snapshot: match zfs.snapshots(&filesystem) {
                    Ok(snapshots) => Ok(NewestSnapshot::among(&*snapshots, &prefix)),
                    Err(error) => Err(error.to_string()),
                },
                filesystem,
            };
            filesystems.into_iter().map(newest).collect()
        };
        Ok(self.zfs.run(newest).await)
    }

    async fn take(
        &mut self,
        progress: &Progress,
        stop: &CancellationToken,
    ) -> Result<(), RoundError> {
        let filesystems = self.list().await?;
        progress.planned(&filesystems);
        let Partition {
            without,
            with,
            unused,
        } = self.hooks.partition(filesystems);
        for hook in unused {
            hook.warn();
        }
        self.wait_for_name(stop).await;
        let mut is_well = self.take_together(without, progress, stop).await;
        for hooks in with {
            if stop.is_cancelled() {
                return Err(RoundError::Incomplete);
            }
            is_well &= self.take_with_hooks(&hooks, progress, stop).await;
        }
        if is_well {
            Ok(())
        } else {
            Err(RoundError::Incomplete)
        }
    }
}

impl Taking {
    pub(super) fn new(
        zfs: LocalZfs,
        filesystems: FilesystemFilter,
        naming: SnapshotNaming,
        hooks: Hooks,
    ) -> Self {
        Self {
            pools: Pools::new(zfs.clone()),
            zfs,
            filesystems,
            naming,
            hooks,
            last_name: None,
        }
    }

    /// All filesystems of the job that there are now.
    async fn list(&self) -> Result<Vec<DatasetPath>, RoundError> {
        let filter = self.filesystems.clone();
        let listed = self
            .zfs
            .run(move |zfs| sender::local_filesystems(zfs.zfs(), &filter));
        listed
            .await
            .map_err(|error| RoundError::List(Box::new(error)))
    }

    /// What a round would take now.
    pub(super) async fn preview(&self) -> preview::Snapshots {
        let name = self.naming.name_at(Timestamp::now());
        let listed = match self.list().await {
            Ok(listed) => listed,
            Err(error) => {
                return preview::Snapshots {
                    name,
                    error: Some(chain(&error)),
                    ..preview::Snapshots::default()
                };
            }
        };
        let Partition { without, with, .. } = self.hooks.partition(listed);
        let path = |path: &DatasetPath| path.as_str().to_owned();
        preview::Snapshots {
            name,
            together: without.iter().map(path).collect(),
            with_hooks: with.iter().map(|hooks| path(hooks.filesystem())).collect(),
            error: None,
        }
    }

    /// Rounds right after each other would find the names of the last one, if those are of the same second. What is coarser repeats
    /// itself all the same.
    async fn wait_for_name(&self, stop: &CancellationToken) {
        const STEP: Duration = Duration::from_millis(20);
        if !self.naming.distinguishes(Duration::from_secs(1)) {
            return;
        }
        let deadline = Instant::now() + WAIT_FOR_NAME;
        let is_taken = || {
            let name = self.naming.name_at(Timestamp::now());
            self.last_name.as_ref() == Some(&name)
        };
        while is_taken() && !stop.is_cancelled() && Instant::now() < deadline {
            tokio::time::sleep(STEP).await;
        }
    }

    /// What snapshots of this moment are called.
    fn name(&mut self) -> (Timestamp, String) {
        let now = Timestamp::now();
        let name = self.naming.name_at(now);
        self.last_name = Some(name.clone());
        (now, name)
    }

    /// All pools at the same time. Says whether all went well.
    async fn take_together(
        &mut self,
        filesystems: Vec<DatasetPath>,
        progress: &Progress,
        stop: &CancellationToken,
    ) -> bool {
        let (now, name) = self.name();
        let mut is_well = true;
        let mut pools: BTreeMap<PoolName, Vec<SnapshotName>> = BTreeMap::new();
        for filesystem in filesystems {
            progress.started(&filesystem, &name, now);
            match filesystem.snapshot(&name) {
                Ok(snapshot) => pools.entry(filesystem.pool()).or_default().push(snapshot),
                Err(error) => is_well &= ended(&filesystem, &Err(error.into()), progress),
            }
        }
        let mut taking = JoinSet::new();
        for (pool, snapshots) in pools {
            let (pools, progress, stop) = (self.pools.clone(), progress.clone(), stop.clone());
            let take = async move {
                let mut is_well = true;
                let note = |it: Taken| is_well &= ended(&it.filesystem, &it.result, &progress);
                pools.take(&pool, snapshots, &stop, note).await;
                is_well
            };
            taking.spawn(take.in_current_span());
        }
        let all = taking.join_all().await;
        is_well && all.into_iter().all(|it| it)
    }

    async fn take_with_hooks(
        &mut self,
        hooks: &FilesystemHooks,
        progress: &Progress,
        stop: &CancellationToken,
    ) -> bool {
        let filesystem = hooks.filesystem().clone();
        let (now, name) = self.name();
        progress.started(&filesystem, &name, now);
        let pool = filesystem.pool();
        // No hook runs for a snapshot that cannot be.
        let possible = filesystem.snapshot(&name).map_err(NotTaken::from);
        let possible = possible.and_then(|snapshot| {
            self.pools.check(&pool)?;
            Ok(snapshot)
        });
        let snapshot = match possible {
            Ok(snapshot) => snapshot,
            Err(error) => return ended(&filesystem, &Err(error), progress),
        };
        let around = hooks.around(snapshot.clone());
        let edges = around.progress();
        let take = async || {
            // There is one result for each.
            let mut result = Ok(());
            let note = |it: Taken| result = it.result;
            self.pools.take(&pool, vec![snapshot], stop, note).await;
            result
        };
        let running = around.run(stop, take);
        tokio::pin!(running);
        let outcome = loop {
            let tick = tokio::time::sleep(Duration::from_secs(1));
            tokio::select! {
                outcome = &mut running => break outcome,
                () = tick => progress.hooks(&filesystem, edges.table(), edges.had_error()),
            }
        };
        progress.hooks(&filesystem, edges.table(), edges.had_error());
        let is_taken = if let Some(result) = &outcome.snapshot {
            note(&filesystem, result)
        } else {
            tracing::error!(subsystem = SUBSYSTEM, fs = %filesystem, "no snapshot was taken: a hook before it failed, or the job was stopped");
            false
        };
        let is_well = is_taken && !outcome.had_error;
        progress.ended(&filesystem, is_well, Timestamp::now());
        is_well
    }
}

/// It is over for a filesystem without hooks, or before its hooks. Says whether a snapshot was taken.
fn ended(filesystem: &DatasetPath, result: &Result<(), NotTaken>, progress: &Progress) -> bool {
    let is_taken = note(filesystem, result);
    progress.ended(filesystem, is_taken, Timestamp::now());
    is_taken
}

/// Logs what became of a snapshot. Says whether it was taken.
fn note(filesystem: &DatasetPath, result: &Result<(), NotTaken>) -> bool {
    match result {
        Ok(()) => {
            tracing::debug!(subsystem = SUBSYSTEM, fs = %filesystem, "snapshot taken");
            true
        }
        Err(error) => {
            tracing::error!(subsystem = SUBSYSTEM, fs = %filesystem, err = %chain(error), "cannot create snapshot");
            false
        }
    }
}

#[cfg(test)]
mod tests;
