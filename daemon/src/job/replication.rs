//! One invocation of a push or pull job: a connection of its own, one run of the replication over both sides and a line in the log
//! that says what came of it, then the pruners of both sides.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Span;
use zrepl_proto::pdu::GuaranteeKind;

use super::Reports;
use super::active::Invoke;
use super::preview;
use super::pruning::Pruners;
use super::side::Side;
use super::signals::{Part, Signals};
use crate::endpoint::Endpoint;
use crate::endpoint::receiver::Receiver;
use crate::endpoint::sender::Sender;
use crate::replication::driver::{self, Ending, Memory, Sides, Unchanged};
use crate::replication::report::Report;
use crate::rpc::client::{self, RemoteEndpoint};
use crate::transport::Connect;

/// The side of a replication that is in this process. It lives as long as the job: what it knows of its last run helps the next.
#[derive(Clone, Debug)]
pub(super) enum Local {
    /// A push job's.
    Sender(Sender),
    /// A pull job's.
    Receiver(Receiver),
}

/// What a push or pull job does.
#[derive(Debug)]
pub(super) struct Replication {
    pub(super) local: Local,
    pub(super) connect: Arc<dyn Connect>,
    pub(super) client: client::Settings,
    pub(super) driver: driver::Settings,
    pub(super) memory: Memory,
    pub(super) pruners: Pruners,
    pub(super) reports: Reports,
    pub(super) signals: Arc<Signals>,
    pub(super) span: Span,
}

impl Replication {
    fn sides(&self, stop: &CancellationToken) -> Sides {
        let remote = RemoteEndpoint::new(
            Arc::clone(&self.connect),
            self.client.clone(),
            stop.child_token(),
        );
        let remote = Side::new(Arc::new(remote), self.span.clone());
        let remote = Arc::new(remote.with_signals(Arc::clone(&self.signals)));
        let local = |endpoint: Arc<dyn Endpoint>| Arc::new(Side::new(endpoint, self.span.clone()));
        match &self.local {
            Local::Sender(sender) => Sides {
                sender: local(Arc::new(sender.clone())),
                receiver: remote,
            },
            Local::Receiver(receiver) => Sides {
                sender: remote,
                receiver: local(Arc::new(receiver.clone())),
            },
        }
    }
}

#[tonic::async_trait]
impl Invoke for Replication {
    async fn invoke(&mut self, part: Part, stop: &CancellationToken) {
        let sides = self.sides(stop);
        if part == Part::Pruning {
            self.reports.clear_pruning();
            let pruning = self
                .pruners
                .run(&sides, Unchanged::default(), &self.reports, stop);
            pruning.await;
            return;
        }
        let begun = Instant::now();
        self.reports.clear();
        let report = self.reports.begin_replication();
        tracing::info!("start replication");
        let ending = driver::run(&sides, &self.driver, &mut self.memory, &report, stop).await;
        summarize(ending, &report.now(), begun.elapsed());
        if !ending.is_cancelled {
            let unchanged = self.memory.take_unchanged();
            let pruning = self.pruners.run(&sides, unchanged, &self.reports, stop);
            pruning.await;
        }
        // Says goodbye to the other side.
        drop(sides);
    }

    async fn preview(
        &mut self,
        stop: &CancellationToken,
    ) -> (Option<preview::Replication>, Vec<preview::Pruning>) {
        self.local = match &self.local {
            Local::Sender(sender) => Local::Sender(sender.clone().that_changes_nothing()),
            Local::Receiver(receiver) => Local::Receiver(receiver.clone().that_changes_nothing()),
        };
        let sides = self.sides(stop);
        let replication = driver::preview(&sides, &self.driver).await;
        let protection = self.driver.protection;
        let moves_cursor =
            |is_incremental| protection.of_step(is_incremental) != GuaranteeKind::Nothing;
        let pruning = self
            .pruners
            .preview(&sides, &replication, moves_cursor)
            .await;
        (Some(preview::Replication::of(&replication)), pruning)
    }

    async fn settle(&mut self) {
        match &self.local {
            Local::Sender(sender) => sender.settle().await,
            Local::Receiver(receiver) => receiver.settle().await,
        }
    }
}

/// One line about all of it. What failed in particular has been logged where it failed.
fn summarize(ending: Ending, report: &Report, took: Duration) {
    // Milliseconds are enough.
    let duration_s = (took.as_secs_f64() * 1000.0).round() / 1000.0;
    let Done { steps, bytes } = done(report);
    let filesystems = report
        .attempts
        .last()
        .map_or(0, |attempt| attempt.filesystems.len());
    let attempts = report.attempts.len();
    let failed = ending.failed_filesystems;
    if ending.is_cancelled {
        tracing::warn!(
            filesystems,
            steps,
            bytes,
            duration_s,
            "replication was cancelled"
        );
        return;
    }
    match failed {
        Some(0) => {
            tracing::info!(
                filesystems,
                steps,
                bytes,
                attempts,
                duration_s,
                "replication finished"
            );
        }
        Some(failed) => {
            tracing::error!(
                failed,
                filesystems,
                steps,
                bytes,
                attempts,
                duration_s,
                "replication finished with errors"
            );
        }
        None => tracing::error!(attempts, duration_s, "replication failed"),
    }
}

/// What was achieved in all attempts together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Done {
    /// Steps that were completed.
    steps: usize,
    /// Bytes that were moved, those of failed steps included.
    bytes: u64,
}

fn done(report: &Report) -> Done {
    let filesystems = report
        .attempts
        .iter()
        .flat_map(|attempt| &attempt.filesystems);
    filesystems.fold(Done { steps: 0, bytes: 0 }, |done, filesystem| {
        let steps = filesystem.steps.iter();
        Done {
            steps: done.steps + filesystem.current_step.min(filesystem.steps.len()),
            bytes: steps.fold(done.bytes, |bytes, step| {
                bytes.saturating_add(step.info.bytes_replicated)
            }),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_summed_up_is_what_all_attempts_achieved() {
        let step = |bytes: u64| {
            serde_json::json!({"Info": {
                "From": "", "To": "@1", "Resumed": false, "BytesExpected": 0, "BytesReplicated": bytes
            }})
        };
        let filesystem = |current: usize, steps: Vec<serde_json::Value>| {
            serde_json::json!({
                "Info": {"Name": "tank"}, "State": "stepping", "BlockedOn": "nothing",
                "PlanError": null, "StepError": null, "CurrentStep": current, "Steps": steps
            })
        };
        let never = "0001-01-01T00:00:00Z";
        let attempt = |filesystems: Vec<serde_json::Value>| {
            serde_json::json!({
                "State": "done", "StartAt": never, "FinishAt": never, "PlanError": null, "Filesystems": filesystems
            })
        };
        let report = serde_json::json!({
            "StartAt": never, "FinishAt": never, "WaitReconnectSince": never, "WaitReconnectUntil": never,
            "WaitReconnectError": null,
            "Attempts": [
                attempt(vec![filesystem(1, vec![step(10), step(5)]), filesystem(0, vec![])]),
                attempt(vec![filesystem(1, vec![step(7)])]),
            ]
        });
        let report: Report = serde_json::from_value(report).expect("a report");
        let expected = Done {
            steps: 2,
            bytes: 22,
        };
        assert_eq!(done(&report), expected);
    }
}
