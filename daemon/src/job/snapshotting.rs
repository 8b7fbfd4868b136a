//! Takes the snapshots of a job: its filter, names and hooks and the clock flow in, snapshots flow out, and how far they are.
//!
//! Filesystems without hooks are snapshotted together: all of a pool at one instant. If ZFS refuses some of them, the others are
//! taken without those. Filesystems with hooks come one by one afterwards.

use std::time::Duration;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;
use zfs_safe::error::{Operation, Reason};
use zfs_safe::name::{DatasetPath, NameError, SnapshotName};
use zfs_safe::{Outcome, ZfsError};

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
        let mut is_well = self.take_together(without, progress).await;
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
    async fn take_together(&self, filesystems: Vec<DatasetPath>, progress: &Progress) -> bool {
        let now = Timestamp::now();
        let name = self.naming.name_at(now);
        for filesystem in &filesystems {
            progress.started(filesystem, &name, now);
        }
        let take = move |zfs: &LocalZfs| take_all(zfs, filesystems, &name);
        let taken = self.zfs.run(take).await;
        let mut is_well = true;
        for (filesystem, result) in taken {
            is_well &= note(&filesystem, &result);
            progress.ended(&filesystem, result.is_ok(), Timestamp::now());
        }
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
        let around = hooks.around(snapshot);
        let edges = around.progress();
        let take = || {
            let filesystem = filesystem.clone();
            self.zfs.run(move |zfs| {
                let mut taken = take_all(zfs, vec![filesystem], &name);
                // There is one result for each.
                taken.pop().map_or(Ok(()), |(_, result)| result)
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

/// Takes snapshots of these filesystems, as many as possible of each pool at one instant. Blocks for a transaction group, and for one
/// more for each time that some are refused.
fn take_all(
    zfs: &LocalZfs,
    filesystems: Vec<DatasetPath>,
    name: &str,
) -> Vec<(DatasetPath, Result<(), NotTaken>)> {
    let mut done = Vec::with_capacity(filesystems.len());
    let mut left: Vec<SnapshotName> = Vec::with_capacity(filesystems.len());
    for filesystem in filesystems {
        match filesystem.snapshot(name) {
            Ok(snapshot) => left.push(snapshot),
            Err(error) => done.push((filesystem, Err(error.into()))),
        }
    }
    while !left.is_empty() {
        let outcomes = zfs.commit().snapshot(&left, &[]);
        let before = left.len();
        let mut again = Vec::new();
        for (snapshot, outcome) in std::mem::take(&mut left).into_iter().zip(outcomes) {
            let failed = |reason| {
                let error = ZfsError::new(Operation::Snapshot, snapshot.as_str(), reason);
                Err(NotTaken::from(error))
            };
            let result = match outcome {
                Outcome::Done => Ok(()),
                Outcome::AlreadyDone => failed(Reason::AlreadyExists),
                Outcome::Missing => failed(Reason::NotFound),
                Outcome::Failed(error) => Err(error.into()),
                Outcome::NotTried => {
                    again.push(snapshot);
                    continue;
                }
            };
            done.push((snapshot.dataset(), result));
        }
        if again.len() == before {
            // ZFS says nothing about any of them: asking again would not end.
            let error = |name: &SnapshotName| {
                ZfsError::new(Operation::Snapshot, name.as_str(), Reason::Other)
            };
            done.extend(again.iter().map(|it| (it.dataset(), Err(error(it).into()))));
            break;
        }
        left = again;
    }
    done
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
