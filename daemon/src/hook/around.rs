//! Carries a plan out around one snapshot: hooks and an action that takes the snapshot flow in; a report that can be looked at
//! meanwhile, lines of the log, and an outcome flow out.

use std::error::Error;
use std::fmt::Display;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;
use zfs_safe::name::SnapshotName;

use super::due::DuePostEdges;
use super::patience::Patience;
use super::plan::{Edge, Part, Plan, Status};
use super::{Action, Hook, report};
use crate::causes::chain;

/// A run of hooks around one snapshot, not yet begun.
#[derive(Debug)]
pub struct Around {
    hooks: Vec<Arc<Hook>>,
    snapshot: SnapshotName,
    progress: Progress,
    due: DuePostEdges,
}

/// How a run stands. Clones are the same.
#[derive(Clone, Debug)]
pub struct Progress(Arc<Mutex<Plan>>);

/// What has come of a run.
#[derive(Debug)]
pub struct Outcome<T, E> {
    /// What the action returned; nothing if it was not asked, because a hook forbade it or the job is being stopped.
    pub snapshot: Option<Result<T, E>>,
    /// Has anything failed or been skipped, the snapshot included?
    pub had_error: bool,
}

/// What a pre edge leaves for the post edge of the same hook.
#[derive(Debug)]
enum Held {
    Nothing,
    #[cfg(feature = "hook-mysql")]
    Lock(super::mysql::Lock),
}

/// An edge has run.
struct Ended {
    /// What the status shows of it.
    report: String,
    /// What the log says if it has failed.
    error: Option<String>,
    held: Held,
}

impl Around {
    pub(super) fn new(hooks: Vec<Arc<Hook>>, snapshot: SnapshotName, due: DuePostEdges) -> Self {
        let plan = Plan::new(hooks.iter().map(|hook| hook.fatal).collect());
        Self {
            hooks,
            snapshot,
            progress: Progress(Arc::new(Mutex::new(plan))),
            due,
        }
    }

    #[cfg(test)]
    pub(super) fn snapshot(&self) -> &SnapshotName {
        &self.snapshot
    }

    /// Where the run can be watched.
    pub fn progress(&self) -> Progress {
        self.progress.clone()
    }

    /// Runs pre edges, `take`, and post edges. Cancelling `stop` ends a running pre edge and prevents what has not begun, but post
    /// edges whose pre edge has succeeded still run, each within its timeout. So the way to end a run early is to cancel `stop`, not
    /// to drop the future: then programs are killed and connections closed, but no post edge runs.
    pub async fn run<T, E, F>(
        self,
        stop: &CancellationToken,
        take: impl FnOnce() -> F,
    ) -> Outcome<T, E>
    where
        E: Error,
        F: Future<Output = Result<T, E>>,
    {
        let span = tracing::error_span!(
            "hooks",
            fs = self.snapshot.dataset().as_str(),
            snap = self.snapshot.name()
        );
        self.run_within_span(stop, take).instrument(span).await
    }

    async fn run_within_span<T, E, F>(
        self,
        stop: &CancellationToken,
        take: impl FnOnce() -> F,
    ) -> Outcome<T, E>
    where
        E: Error,
        F: Future<Output = Result<T, E>>,
    {
        let _announced = self
            .due
            .announce(&self.hooks, &self.snapshot, self.progress());
        let mut held: Vec<Held> = self.hooks.iter().map(|_| Held::Nothing).collect();
        let mut snapshot = None;
        let mut take = Some(take);
        while let Some(part) = self.next(stop) {
            self.progress
                .change(|plan| plan.begin(part, Instant::now()));
            let (report, error) = match part {
                Part::Hook(hook, edge) => {
                    let before = std::mem::replace(&mut held[hook], Held::Nothing);
                    let stop = (edge == Edge::Pre).then_some(stop);
                    let ended = self.hooks[hook]
                        .run(edge, &self.snapshot, before, stop)
                        .await;
                    held[hook] = ended.held;
                    (ended.report, ended.error)
                }
                Part::Snapshot => {
                    tracing::debug!("running callback");
                    let take = take.take().expect("a plan has one snapshot");
                    let result = take().await;
                    let error = result.as_ref().err().map(|error| chain(error));
                    snapshot = Some(result);
                    let report = match &error {
                        None => "snapshot".to_owned(),
                        Some(error) => format!("snapshot error: {error}"),
                    };
                    (report.clone(), error.is_some().then_some(report))
                }
            };
            if let Some(error) = &error {
                self.log(part, error);
            }
            let now = Instant::now();
            self.progress
                .change(|plan| plan.finish(part, error.is_none(), report, now));
        }
        self.log_skipped();
        Outcome {
            snapshot,
            had_error: self.progress.had_error(),
        }
    }

    fn next(&self, stop: &CancellationToken) -> Option<Part> {
        self.progress.change(|plan| {
            if stop.is_cancelled() {
                plan.stop();
            }
            plan.next()
        })
    }

    fn log(&self, part: Part, error: &dyn Display) {
        let Part::Hook(number, edge) = part else {
            tracing::error!(err = %error, "callback failed");
            return;
        };
        let hook = &self.hooks[number];
        match edge {
            Edge::Pre => {
                tracing::error!(hook = %hook, err = %error, "hook invocation failed for pre-edge");
                if hook.fatal {
                    tracing::error!(
                        hook = %hook,
                        "no snapshot will be taken, because this hook's errors are fatal; only running post-edges for successful pre-edges"
                    );
                }
            }
            Edge::Post => {
                tracing::error!(hook = %hook, err = %error, "hook invocation failed for post-edge");
            }
        }
    }

    fn log_skipped(&self) {
        let plan = self.progress.plan();
        for (number, hook) in self.hooks.iter().enumerate() {
            let post = plan.status(Part::Hook(number, Edge::Post));
            if post == Status::SkippedDueToPreErr {
                tracing::info!(hook = %hook, "skip post-edge because pre-edge failed");
            }
        }
    }
}

impl Progress {
    /// The table that the status shows, as zrepl 0.7.0 has it in `Hooks`: a line for each part.
    pub fn table(&self) -> String {
        let plan = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        report::table(&plan, Instant::now())
    }

    /// Has anything failed or been skipped so far: `HooksHadError`.
    pub fn had_error(&self) -> bool {
        self.plan().had_error()
    }

    /// All parts and how they stand.
    pub fn plan(&self) -> Plan {
        let plan = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        plan.clone()
    }

    pub(super) fn change<T>(&self, change: impl FnOnce(&mut Plan) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Hook {
    async fn run(
        &self,
        edge: Edge,
        snapshot: &SnapshotName,
        held: Held,
        stop: Option<&CancellationToken>,
    ) -> Ended {
        let patience = Patience {
            timeout: self.timeout,
            stop,
        };
        match &self.action {
            Action::Command(command) => {
                let invocation = command.invocation(edge, snapshot);
                let result = command.run(&invocation, patience).await;
                let report = invocation.report(&result);
                let error = result.err().map(|error| chain(&error));
                Ended {
                    error: error.map(|error| format!("{report} FAILED with error: {error}")),
                    report,
                    held,
                }
            }
            #[cfg(feature = "hook-mysql")]
            Action::Mysql(tables) => tables.run(edge, held, patience).await,
            #[cfg(feature = "hook-postgres")]
            Action::Postgres(checkpoint) => {
                let result = match edge {
                    Edge::Pre => checkpoint.before(patience).await,
                    Edge::Post => Ok(()),
                };
                let error = result.err().map(|error| chain(&error));
                let report = match &error {
                    None => "postgres CHECKPOINT completed".to_owned(),
                    Some(error) => super::postgres::report_failed(error),
                };
                Ended {
                    report,
                    error,
                    held,
                }
            }
            #[cfg(any(feature = "hook-mysql", feature = "hook-postgres"))]
            Action::Unusable { report, .. } => Ended {
                report: report.clone(),
                error: Some(report.clone()),
                held,
            },
        }
    }
}

#[cfg(feature = "hook-mysql")]
impl super::mysql::LockTables {
    async fn run(&self, edge: Edge, held: Held, patience: Patience<'_>) -> Ended {
        use super::mysql::{LOCK, UNLOCK};

        let (statement, result) = match (edge, held) {
            (Edge::Pre, _) => (LOCK, self.before(patience).await.map(Held::Lock)),
            (Edge::Post, Held::Lock(lock)) => {
                let result = self.after(lock, patience).await;
                (UNLOCK, result.map(|()| Held::Nothing))
            }
            // A post edge runs only if the pre edge has succeeded, and that leaves a lock.
            (Edge::Post, Held::Nothing) => (UNLOCK, Ok(Held::Nothing)),
        };
        match result {
            Ok(held) => Ended {
                report: statement.to_owned(),
                error: None,
                held,
            },
            Err(error) => {
                let report = format!("{statement}: {}", chain(&error));
                Ended {
                    error: Some(report.clone()),
                    report,
                    held: Held::Nothing,
                }
            }
        }
    }
}
