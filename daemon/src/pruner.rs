//! Destroys the snapshots that no rule keeps: what both sides say and the rules flow in; requests to destroy, a report and the log
//! flow out.
//!
//! ```text
//! facts ─► judge ─► here ─► endpoints
//!                    └► report
//! ```
//!
//! Both sides are asked once for the pruners of both. A filesystem of which nothing goes costs no request, and what goes is asked for
//! at the same time for all filesystems, so that it can be destroyed in one call.

pub mod facts;
pub mod judge;
pub mod report;

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;
use zrepl_proto::pdu::{DestroySnapshotsReq, FilesystemVersion};

use self::facts::Found;
use self::judge::{Decision, Judged, Side, judge};
use self::report::{Filesystem, LiveReport};
use crate::causes::chain;
use crate::endpoint::Endpoint;
use crate::prune::Rule;

/// What logs call this part of the daemon.
const SUBSYSTEM: &str = "pruning";

/// How many requests to destroy are under way at the same time. All of them can share one transaction group.
const REQUESTS_AT_ONCE: usize = 64;

/// How many snapshots one request names at most. A Go peer takes no message beyond 4 MiB, and may start one process for each.
const SNAPSHOTS_PER_REQUEST: usize = 5000;

/// What a pruner does on one side.
#[derive(Clone, Debug)]
pub struct Pruner {
    /// Whose snapshots.
    pub side: Side,
    /// What is kept.
    pub rules: Vec<Rule>,
}

/// What would be done, or is.
#[derive(Debug)]
pub struct Plan<'a> {
    pruner: &'a Pruner,
    filesystems: BTreeMap<String, Planned>,
}

/// What becomes of a filesystem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Planned {
    /// All its snapshots have been judged.
    Judged(Judged),
    /// It is not looked at, and that is no error.
    Skipped(&'static str),
    /// Something is not known, so nothing is destroyed.
    Failed(String),
}

impl Pruner {
    /// Is there a rule that obviously keeps every snapshot there can be?
    pub fn keeps_everything(&self) -> bool {
        self.rules.iter().any(Rule::keeps_everything)
    }

    /// Decides for all filesystems. Changes nothing.
    pub fn plan<P: Into<String>>(&self, found: impl IntoIterator<Item = (P, Found)>) -> Plan<'_> {
        let planned = |found| match found {
            Found::Facts(facts) => match judge(self.side, &self.rules, facts) {
                Ok(judged) => Planned::Judged(judged),
                Err(error) => Planned::Failed(error.to_string()),
            },
            Found::Skipped(reason) => Planned::Skipped(reason),
            Found::Unknown(error) => Planned::Failed(error),
        };
        let found = found.into_iter();
        Plan {
            pruner: self,
            filesystems: found
                .map(|(path, found)| (path.into(), planned(found)))
                .collect(),
        }
    }

    /// Plans and destroys. Never fails as a whole: what failed is in the report, and logged. Cancelling `stop` ends it soon; requests
    /// under way may still be carried out.
    pub async fn run<P: Into<String>>(
        &self,
        found: Result<impl IntoIterator<Item = (P, Found)>, String>,
        target: &Arc<dyn Endpoint>,
        report: &LiveReport,
        stop: &CancellationToken,
    ) {
        let side = self.side;
        match found {
            Ok(found) => {
                let plan = self.plan(found);
                plan.log();
                plan.run(target, report, stop).await;
            }
            Err(error) => {
                tracing::error!(subsystem = SUBSYSTEM, prune_side = %side, err = error, "cannot plan pruning");
                report.fail_plan(error);
            }
        }
    }
}

impl Plan<'_> {
    /// What becomes of each filesystem, by path.
    pub fn filesystems(&self) -> &BTreeMap<String, Planned> {
        &self.filesystems
    }

    /// Why each snapshot stays or goes, for whoever wants to know.
    fn log(&self) {
        let prune_side = self.pruner.side;
        for (fs, planned) in &self.filesystems {
            match planned {
                Planned::Judged(judged) => {
                    for it in judged.all() {
                        let snapshot = it.version.name();
                        let reasons = it.reasons(&self.pruner.rules).join("; ");
                        if it.is_destroyed() {
                            tracing::debug!(subsystem = SUBSYSTEM, %prune_side, %fs, snapshot, reasons, "destroy snapshot: no rule keeps it");
                        } else {
                            tracing::debug!(subsystem = SUBSYSTEM, %prune_side, %fs, snapshot, reasons, "keep snapshot");
                        }
                    }
                }
                Planned::Skipped(reason) => {
                    tracing::debug!(subsystem = SUBSYSTEM, %prune_side, %fs, reason, "skip filesystem");
                }
                Planned::Failed(error) => {
                    tracing::error!(subsystem = SUBSYSTEM, %prune_side, %fs, err = error, "cannot plan pruning of filesystem");
                }
            }
        }
    }

    async fn run(&self, target: &Arc<dyn Endpoint>, report: &LiveReport, stop: &CancellationToken) {
        let rules = &self.pruner.rules;
        let (mut pending, mut completed) = (Vec::new(), Vec::new());
        let mut requests = JoinSet::new();
        let permits = Arc::new(Semaphore::new(REQUESTS_AT_ONCE));
        for (path, planned) in &self.filesystems {
            match planned {
                Planned::Judged(judged) => {
                    let filesystem = Filesystem::planned(path, judged, rules);
                    if filesystem.destroy_list.is_empty() {
                        completed.push(filesystem);
                        continue;
                    }
                    pending.push(filesystem);
                    let destroying = destroy(Arc::clone(target), path.clone(), judged);
                    let permits = Arc::clone(&permits);
                    let request = async move {
                        // Nobody closes the semaphore.
                        let _permit = permits.acquire_owned().await;
                        destroying.await
                    };
                    requests.spawn(request.in_current_span());
                }
                Planned::Skipped(reason) => completed.push(Filesystem::skipped(path, reason)),
                Planned::Failed(error) => completed.push(Filesystem::failed(path, error.clone())),
            }
        }
        report.begin(pending, completed);
        loop {
            let joined = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                joined = requests.join_next() => joined,
            };
            match joined {
                Some(Ok((path, error))) => {
                    if let Some(error) = &error {
                        let prune_side = self.pruner.side;
                        tracing::error!(subsystem = SUBSYSTEM, %prune_side, fs = path, err = error, "target could not destroy snapshots");
                    }
                    report.complete(&path, error);
                }
                Some(Err(error)) => {
                    if let Ok(panic) = error.try_into_panic() {
                        std::panic::resume_unwind(panic);
                    }
                }
                None => break,
            }
        }
        report.finish();
    }
}

/// Has the snapshots of one filesystem destroyed that are to go. Says what went wrong, in the words of zrepl 0.7.0.
fn destroy(
    target: Arc<dyn Endpoint>,
    filesystem: String,
    judged: &Judged,
) -> impl Future<Output = (String, Option<String>)> + Send + 'static {
    let snapshots = judged.destroyed();
    let snapshots: Vec<_> = snapshots
        .map(|it| FilesystemVersion::from(&it.version))
        .collect();
    async move {
        let mut failed: Vec<(String, String)> = Vec::new();
        let mut refused = None;
        for snapshots in snapshots.chunks(SNAPSHOTS_PER_REQUEST) {
            let request = DestroySnapshotsReq {
                filesystem: filesystem.clone(),
                snapshots: snapshots.to_vec(),
            };
            match target.destroy_snapshots(request).await {
                Ok(answer) => {
                    let answers = answer.results.into_iter();
                    let mut results: BTreeMap<String, String> = answers
                        .filter_map(|it| Some((it.snapshot?.name, it.error)))
                        .collect();
                    for snapshot in snapshots {
                        let name = &snapshot.name;
                        match results.remove(name) {
                            Some(error) if error.is_empty() => {}
                            Some(error) => failed.push((name.clone(), error)),
                            None => failed.push((
                                name.clone(),
                                format!("missing destroy-result for @{name}"),
                            )),
                        }
                    }
                }
                // What goes wrong with one request need not go wrong with the next.
                Err(error) => refused = Some(chain(&error)),
            }
        }
        let problem = match (problem(&failed), refused) {
            (Some(failed), Some(refused)) => Some(format!("{failed}; {refused}")),
            (failed, refused) => failed.or(refused),
        };
        (filesystem, problem)
    }
}

/// All that failed, in one text.
fn problem(failed: &[(String, String)]) -> Option<String> {
    let (_, first) = failed.first()?;
    let is_same = failed.iter().all(|(_, error)| error == first);
    Some(if is_same {
        let names: Vec<_> = failed.iter().map(|(name, _)| format!("@{name}")).collect();
        format!("destroys failed {}: {first}", names.join(", "))
    } else {
        let each = failed
            .iter()
            .map(|(name, error)| format!("(@{name}: {error})"));
        format!("destroys failed: {}", each.collect::<Vec<_>>().join(", "))
    })
}

/// What of a plan is to be destroyed.
impl Planned {
    /// How many snapshots go.
    pub fn destroyed(&self) -> usize {
        match self {
            Self::Judged(judged) => judged
                .all()
                .iter()
                .filter(|it| it.decision == Decision::Destroyed)
                .count(),
            Self::Skipped(_) | Self::Failed(_) => 0,
        }
    }
}

#[cfg(test)]
mod tests;
