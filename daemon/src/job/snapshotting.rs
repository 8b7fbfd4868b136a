//! Takes the snapshots of a job: its filter, names and hooks and the clock flow in, snapshots flow out, and how far they are.
//!
//! Filesystems without hooks are snapshotted together: all of a pool at one instant, as far as ZFS lets us. Filesystems with hooks
//! come one by one afterwards.

mod together;

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;
use zfs_safe::ZfsError;
use zfs_safe::name::{DatasetPath, NameError, PoolName, SnapshotName};

use self::together::{Taken, take_all};
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
    pub(super) zfs: LocalZfs,
    pub(super) filesystems: FilesystemFilter,
    pub(super) naming: SnapshotNaming,
    pub(super) hooks: Hooks,
}

/// Why there is no snapshot of a filesystem.
#[derive(Debug, thiserror::Error)]
enum NotTaken {
    #[error("cannot name the snapshot")]
    Name(#[from] NameError),
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

    /// Says whether all went well.
    async fn take_together(
        &self,
        filesystems: Vec<DatasetPath>,
        progress: &Progress,
        stop: &CancellationToken,
    ) -> bool {
        let now = Timestamp::now();
        let name = self.naming.name_at(now);
        let mut is_well = true;
        let mut note = |taken: &Taken| {
            is_well &= note(&taken.filesystem, &taken.result);
            progress.ended(&taken.filesystem, taken.result.is_ok(), Timestamp::now());
        };
        let mut pools: BTreeMap<PoolName, Vec<SnapshotName>> = BTreeMap::new();
        for filesystem in filesystems {
            progress.started(&filesystem, &name, now);
            match filesystem.snapshot(&name) {
                Ok(snapshot) => pools.entry(filesystem.pool()).or_default().push(snapshot),
                Err(error) => note(&Taken {
                    filesystem,
                    result: Err(error.into()),
                }),
            }
        }
        let stop = stop.clone();
        let take = move |zfs: &LocalZfs| {
            let mut taken = Vec::new();
            for (pool, snapshots) in pools {
                take_all(zfs.commit(), &pool, snapshots, &stop, |it| taken.extend(it));
            }
            taken
        };
        self.zfs.run(take).await.iter().for_each(note);
        is_well
    }

    async fn take_with_hooks(
        &self,
        hooks: &FilesystemHooks,
        progress: &Progress,
        stop: &CancellationToken,
    ) -> bool {
        let (filesystem, now) = (hooks.filesystem().clone(), Timestamp::now());
        let name = self.naming.name_at(now);
        progress.started(&filesystem, &name, now);
        let snapshot = match filesystem.snapshot(&name) {
            Ok(snapshot) => snapshot,
            Err(error) => {
                note(&filesystem, &Err(error.into()));
                progress.ended(&filesystem, false, Timestamp::now());
                return false;
            }
        };
        let around = hooks.around(snapshot.clone());
        let edges = around.progress();
        let take = || {
            let stop = stop.clone();
            self.zfs.run(move |zfs| {
                let mut taken = Vec::new();
                let pool = snapshot.pool();
                take_all(zfs.commit(), &pool, vec![snapshot], &stop, |it| {
                    taken.extend(it);
                });
                // There is one result for each.
                taken.pop().map_or(Ok(()), |it| it.result)
            })
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
