//! The pruners of a job: after a replication those of both sides, from one gathering of facts; of a snap job the one that it has.

use std::sync::Arc;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Span;

use super::Reports;
use super::active::Invoke;
use super::signals::Part;
use super::{preview, side};
use crate::endpoint::Endpoint;
use crate::endpoint::sender::Sender;
use crate::prune::Rule;
use crate::pruner::Pruner;
use crate::pruner::facts::{self, Replicated};
use crate::pruner::judge::Side;
use crate::replication::driver::{self, Sides, Unchanged};

/// The pruners of both sides of a replication.
#[derive(Debug)]
pub(super) struct Pruners {
    pub(super) sender: Pruner,
    pub(super) receiver: Pruner,
}

impl Pruners {
    pub(super) fn new(keep_sender: Vec<Rule>, keep_receiver: Vec<Rule>) -> Self {
        let pruner = |side, rules| Pruner { side, rules };
        Self {
            sender: pruner(Side::Sender, keep_sender),
            receiver: pruner(Side::Receiver, keep_receiver),
        }
    }

    /// What would be pruned if the replication had done this.
    pub(super) async fn preview(
        &self,
        sides: &Sides,
        replication: &Result<Vec<driver::Preview>, String>,
        moves_cursor: impl Fn(bool) -> bool,
    ) -> Vec<preview::Pruning> {
        let gathering = Replicated::gather(&sides.sender, &sides.receiver, Unchanged::default());
        let mut replicated = gathering.await;
        for filesystem in replication.iter().flatten() {
            let Ok(steps) = &filesystem.outcome else {
                continue;
            };
            if let Some(arrived) = &steps.to_confirm {
                replicated.assume_known(&filesystem.filesystem, arrived.guid(), true);
            }
            if let Some((last, _)) = steps.steps.last() {
                let arrived: Vec<_> = steps
                    .steps
                    .iter()
                    .map(|(step, _)| step.to.clone())
                    .collect();
                let moves = moves_cursor(last.is_incremental());
                replicated.assume_arrived(&filesystem.filesystem, &arrived, moves);
            }
        }
        [&self.sender, &self.receiver]
            .map(|pruner| preview::Pruning::of_side(pruner, &replicated))
            .into()
    }

    /// Prunes the sender, then the receiver, unless it is stopped.
    pub(super) async fn run(
        &self,
        sides: &Sides,
        unchanged: Unchanged,
        reports: &Reports,
        stop: &CancellationToken,
    ) {
        let pruners = [
            (&self.sender, &sides.sender),
            (&self.receiver, &sides.receiver),
        ];
        if pruners.iter().all(|(pruner, _)| pruner.keeps_everything()) {
            for (pruner, _) in pruners {
                reports.begin_pruning(pruner.side).nothing_to_do();
            }
            return;
        }
        let report = reports.begin_pruning(Side::Sender);
        tracing::info!("start pruning sender");
        let gathering = Replicated::gather(&sides.sender, &sides.receiver, unchanged);
        let replicated = tokio::select! {
            biased;
            () = stop.cancelled() => return report.cancel_plan(),
            replicated = gathering => replicated,
        };
        for (pruner, target) in pruners {
            if stop.is_cancelled() {
                return;
            }
            let side = pruner.side;
            let report = if side == Side::Sender {
                report.clone()
            } else {
                tracing::info!("start pruning {side}");
                reports.begin_pruning(side)
            };
            let begun = Instant::now();
            pruner.run(replicated.of(side), target, &report, stop).await;
            tracing::info!(duration = ?begun.elapsed(), "finished pruning {side}");
        }
    }
}

/// What a snap job does when it is woken up.
#[derive(Debug)]
pub(super) struct LocalPruning {
    pub(super) pruner: Pruner,
    pub(super) filesystems: Sender,
    pub(super) reports: Reports,
    pub(super) span: Span,
}

#[tonic::async_trait]
impl Invoke for LocalPruning {
    async fn invoke(&mut self, _: Part, stop: &CancellationToken) {
        self.reports.clear();
        let report = self.reports.begin_pruning(Side::Local);
        if self.pruner.keeps_everything() {
            report.nothing_to_do();
            return;
        }
        tracing::info!("start pruning");
        let side = side::Side::new(Arc::new(self.filesystems.clone()), self.span.clone());
        let side: Arc<dyn Endpoint> = Arc::new(side);
        let found = tokio::select! {
            biased;
            () = stop.cancelled() => return report.cancel_plan(),
            found = facts::local(&side) => found,
        };
        self.pruner.run(found, &side, &report, stop).await;
        tracing::info!("finished pruning");
    }

    async fn preview(
        &mut self,
        _: &CancellationToken,
    ) -> (Option<preview::Replication>, Vec<preview::Pruning>) {
        let side: Arc<dyn Endpoint> = Arc::new(self.filesystems.clone().that_changes_nothing());
        let pruning = match facts::local(&side).await {
            Ok(found) => preview::Pruning::of(&self.pruner, &self.pruner.plan(found)),
            Err(error) => preview::Pruning::failed(Side::Local, error),
        };
        (None, vec![pruning])
    }

    async fn settle(&mut self) {
        self.filesystems.settle().await;
    }
}
