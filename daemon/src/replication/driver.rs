//! Carries out what was decided: asks both sides, plans, runs the steps that the schedule hands out, and tries again as often as that
//! can help. It is the only part of this module that waits.
//!
//! A run is attempts (here); an attempt is tasks (`execution`), each of which plans a filesystem (`planning`) or does a step
//! (`transfer`).

mod connectivity;
mod execution;
mod failure;
mod memory;
mod planning;
mod preview;
mod transfer;

use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use zfs_safe::name::NameError;
use zrepl_proto::pdu::{Filesystem, ListFilesystemReq, Protection};

use self::connectivity::wait_for_both;
use self::execution::{Execution, Uncompleted};
use self::failure::{CANCELLED, Failure};
use super::attempt::{self, GiveUp, Next};
use super::plan::{self, Policy, Side};
use super::report::{LiveFilesystem, LiveReport, TimedError, Working};
use super::resume::StreamPolicy;
use super::schedule::Schedule;
use super::step;
use crate::config::transfer::{ConflictResolution, Replication};
use crate::config::value::integer::Concurrency;
use crate::endpoint::{Endpoint, EndpointError};
use crate::rpc::connectivity as rpc_connectivity;

pub use self::memory::{BothVersions, Memory, Unchanged};
pub use self::preview::{Preview, PreviewedSteps, preview};

/// What logs call this part of the daemon.
const SUBSYSTEM: &str = "repl";

/// How long a stream may stand still, unless the environment says otherwise. A sender that looks for something to send in a
/// large filesystem, or a pool that is being imported elsewhere, may need minutes.
pub const DEFAULT_STALL_LIMIT: Duration = Duration::from_secs(30 * 60);

/// The two sides.
#[derive(Clone, Debug)]
pub struct Sides {
    /// Where the filesystems are.
    pub sender: Arc<dyn Endpoint>,
    /// Where they go.
    pub receiver: Arc<dyn Endpoint>,
}

/// How a run is carried out.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What is sent at first, and what is known about streams.
    pub policy: Policy,
    /// What both sides promise about steps.
    pub protection: Protection,
    /// How many filesystems are planned or replicated at the same time.
    pub steps: NonZeroUsize,
    /// How many sizes are estimated at the same time.
    pub size_estimates: NonZeroUsize,
    /// How many attempts one run has.
    pub max_attempts: NonZeroU32,
    /// How long to wait for a side that cannot be reached.
    pub reconnect_limit: Duration,
    /// How long a stream may stand still before it is cut, to be resumed.
    pub stall_limit: Duration,
}

impl Settings {
    /// What the configuration says, with defaults for what it does not. `stream` is what is known about the sender's streams.
    pub fn new(
        replication: &Replication,
        conflicts: &ConflictResolution,
        stream: Option<StreamPolicy>,
    ) -> Self {
        let concurrency = &replication.concurrency;
        // The configuration has no zero.
        let number = |it: Concurrency| NonZeroUsize::new(it.number()).unwrap_or(NonZeroUsize::MIN);
        Self {
            policy: Policy {
                initial_replication: conflicts.initial_replication,
                stream,
            },
            protection: step::protection(&replication.protection),
            steps: number(concurrency.steps),
            size_estimates: number(concurrency.size_estimates),
            max_attempts: attempt::DEFAULT_MAX_ATTEMPTS,
            reconnect_limit: rpc_connectivity::DEFAULT_LIMIT,
            stall_limit: DEFAULT_STALL_LIMIT,
        }
    }
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ending {
    /// Stopped from outside.
    pub is_cancelled: bool,
    /// How many filesystems failed in the last attempt; none if it failed before there were any.
    pub failed_filesystems: Option<usize>,
}

/// Replicates everything once. Never fails as a whole: what failed is in the report, and logged. Cancelling `stop` cuts running
/// streams so that they can be resumed; the run then ends soon.
pub async fn run(
    sides: &Sides,
    settings: &Settings,
    memory: &mut Memory,
    report: &LiveReport,
    stop: &CancellationToken,
) -> Ending {
    report.begin();
    let mut run = Run {
        sides,
        settings,
        memory,
        report,
        stop,
        uncompleted: Uncompleted::new(),
    };
    let is_cancelled = run.attempts().await;
    report.finish();
    Ending {
        is_cancelled,
        failed_filesystems: report.now().failed_filesystems(),
    }
}

struct Run<'a> {
    sides: &'a Sides,
    settings: &'a Settings,
    memory: &'a mut Memory,
    report: &'a LiveReport,
    stop: &'a CancellationToken,
    uncompleted: Uncompleted,
}

impl Run<'_> {
    /// Says whether it was stopped before it was done.
    async fn attempts(&mut self) -> bool {
        let max = self.settings.max_attempts;
        for number in 1..=max.get() {
            let ending = self.attempt().await;
            match attempt::after(number, max, &ending) {
                Next::Done => return false,
                Next::Retry => {}
                Next::Reconnect => {
                    if !self.reconnect().await {
                        return self.stop.is_cancelled();
                    }
                }
                Next::GiveUp(why @ GiveUp::Cancelled) => {
                    tracing::info!(subsystem = SUBSYSTEM, attempt = number, "{why}");
                    return true;
                }
                Next::GiveUp(why) => {
                    tracing::error!(subsystem = SUBSYSTEM, attempt = number, "{why}");
                    return false;
                }
            }
        }
        false
    }

    async fn attempt(&mut self) -> attempt::Ending {
        self.memory.forget_unchanged();
        self.report.begin_attempt();
        let listing = tokio::select! {
            biased;
            () = self.stop.cancelled() => None,
            listing = list_both(self.sides) => Some(listing),
        };
        let (sender, receiver) = match listing {
            Some(Ok(lists)) => lists,
            Some(Err(failure)) => {
                tracing::error!(subsystem = SUBSYSTEM, err = failure.text, "cannot plan");
                self.report.fail_attempt(TimedError::now(failure.text));
                return attempt::Ending {
                    global: Some(failure.class),
                    ..attempt::Ending::default()
                };
            }
            None => {
                self.report.fail_attempt(TimedError::now(CANCELLED));
                return attempt::Ending {
                    is_cancelled: true,
                    ..attempt::Ending::default()
                };
            }
        };
        let ending = self.fan_out(&sender, &receiver).await;
        self.report.finish_attempt();
        ending
    }

    async fn fan_out(&mut self, sender: &[Filesystem], receiver: &[Filesystem]) -> attempt::Ending {
        let plan::Pairs {
            filesystems: pairs,
            invalid,
        } = plan::pair(sender, receiver);
        if sender.is_empty() {
            tracing::warn!(
                subsystem = SUBSYSTEM,
                "no filesystems were considered for replication"
            );
        }
        self.memory.retain(pairs.iter().map(|it| &it.filesystem));
        let paths = pairs.iter().map(|it| it.filesystem.clone()).collect();
        let names = pairs.iter().map(|it| it.filesystem.as_str());
        let details = names.map(LiveFilesystem::new).collect();
        let invalid: Vec<_> = invalid.iter().map(invalid_filesystem).collect();
        let is_invalid = !invalid.is_empty();
        let schedule = Schedule::new(paths, self.settings.steps);
        let working = Working::new(schedule, details, invalid);
        self.report.fan_out(working.clone());
        let execution = Execution::new(
            self.sides,
            self.settings,
            self.memory,
            &mut self.uncompleted,
            pairs,
            working,
        );
        let mut ending = execution.run(self.stop).await;
        if is_invalid {
            ending.filesystems.push(attempt::Class::Permanent);
        }
        ending
    }

    /// Waits until both sides can be reached; says whether they can.
    async fn reconnect(&self) -> bool {
        let limit = self.settings.reconnect_limit;
        tracing::warn!(
            subsystem = SUBSYSTEM,
            ?limit,
            "temporary connectivity-related error identified, start waiting for reconnect"
        );
        self.report.begin_reconnect(limit);
        let result = tokio::select! {
            biased;
            () = self.stop.cancelled() => Err(CANCELLED.to_owned()),
            result = wait_for_both(self.sides, limit) => result,
        };
        match result {
            Ok(()) => {
                tracing::info!(subsystem = SUBSYSTEM, "reconnect successful");
                true
            }
            Err(err) => {
                tracing::error!(
                    subsystem = SUBSYSTEM,
                    err,
                    "reconnecting failed, aborting run"
                );
                self.report.fail_reconnect(TimedError::now(err));
                false
            }
        }
    }
}

async fn list_both(sides: &Sides) -> Result<(Vec<Filesystem>, Vec<Filesystem>), Failure> {
    let (sender, receiver) = tokio::join!(
        sides.sender.list_filesystems(ListFilesystemReq {}),
        sides.receiver.list_filesystems(ListFilesystemReq {}),
    );
    let failed =
        |side| move |error: EndpointError| Failure::asking(side, "list its filesystems", &error);
    let sender = sender.map_err(failed(Side::Sender))?.filesystems;
    let receiver = receiver.map_err(failed(Side::Receiver))?.filesystems;
    Ok((sender, receiver))
}

/// A name that no filesystem can have stands in the report like a filesystem that cannot be planned.
fn invalid_filesystem(error: &NameError) -> LiveFilesystem {
    let err = format!("sender lists a filesystem that cannot be: {error}");
    tracing::error!(subsystem = SUBSYSTEM, err, "cannot plan filesystem");
    let mut filesystem = LiveFilesystem::new(&error.text);
    filesystem.fail(&err, None);
    filesystem
}

#[cfg(test)]
mod tests;
