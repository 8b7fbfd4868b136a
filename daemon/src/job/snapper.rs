//! The snapshotter in the service of a job: runs beside it, and tells it when a round has ended.

use std::sync::Arc;

use jiff::tz::TimeZone;
use tokio_util::sync::CancellationToken;

use super::preview;
use super::snapshotting::Taking;
use crate::config::snapshotting::Snapshotting;
use crate::endpoint::local_zfs::LocalZfs;
use crate::filter::FilesystemFilter;
use crate::hook::Hooks;
use crate::snapshot::periodic::Newest;
use crate::snapshot::progress::Progress;
use crate::snapshot::schedule::{RoundError, Snapper, Snapshots};
use crate::wall_clock::SystemClock;

/// A job's snapshotter, before it runs.
#[derive(Debug)]
pub(super) struct Snapping {
    pub(super) snapper: Arc<Snapper>,
    rounds: Rounds,
}

/// What a round is.
#[derive(Debug)]
enum Rounds {
    Taking(Box<Taking>),
    /// Others take the snapshots.
    Manual,
}

impl Snapping {
    /// As configured. `snapper` is what others see of it.
    pub(super) fn new(
        config: &Snapshotting,
        zfs: LocalZfs,
        filesystems: FilesystemFilter,
        hooks: Hooks,
    ) -> Self {
        let taking = |naming: &crate::snapshot::naming::SnapshotNaming| {
            Rounds::Taking(Box::new(Taking::new(
                zfs,
                filesystems,
                naming.clone(),
                hooks,
            )))
        };
        let (snapper, rounds) = match config {
            Snapshotting::Periodic(periodic) => (
                Snapper::periodic(periodic.interval),
                taking(&periodic.naming),
            ),
            Snapshotting::Cron(cron) => (
                Snapper::cron(cron.cron.clone(), TimeZone::system()),
                taking(&cron.naming),
            ),
            Snapshotting::Manual(_) => (Snapper::manual(), Rounds::Manual),
        };
        Self {
            snapper: Arc::new(snapper),
            rounds,
        }
    }

    /// Of a job whose snapshots others take.
    #[cfg(test)]
    pub(super) fn manual() -> Self {
        Self {
            snapper: Arc::new(Snapper::manual()),
            rounds: Rounds::Manual,
        }
    }

    /// What a round would take now; nothing if others take snapshots.
    pub(super) async fn preview(&self) -> Option<preview::Snapshots> {
        match &self.rounds {
            Rounds::Taking(taking) => Some(taking.preview().await),
            Rounds::Manual => None,
        }
    }

    /// Takes snapshots when it is time, until `stop` is cancelled.
    pub(super) async fn run(mut self, stop: &CancellationToken) {
        self.snapper.run(&SystemClock, &mut self.rounds, stop).await;
    }
}

impl Snapshots for Rounds {
    async fn newest(&mut self) -> Result<Vec<Newest>, RoundError> {
        match self {
            Self::Taking(taking) => taking.newest().await,
            Self::Manual => Ok(Vec::new()),
        }
    }

    async fn take(
        &mut self,
        progress: &Progress,
        stop: &CancellationToken,
    ) -> Result<(), RoundError> {
        match self {
            Self::Taking(taking) => taking.take(progress, stop).await,
            Self::Manual => Ok(()),
        }
    }
}
