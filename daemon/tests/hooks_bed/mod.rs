//! Hooks as a job's configuration has them, around a snapshot that is none. Several test programs share it.

use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use zfs_safe::name::{DatasetPath, SnapshotName};
use zrepl_daemon::config;
use zrepl_daemon::hook::{Around, DuePostEdges, Hooks, HooksError, Outcome, Progress};

/// What a snapshot may fail with.
#[derive(Debug, thiserror::Error)]
#[error("dataset is busy")]
pub(crate) struct Busy;

/// Hooks from the value of `hooks`, in YAML.
pub(crate) fn configured(hooks: &str) -> Result<Hooks, HooksError> {
    let yaml = format!(
        "jobs:\n\
         - name: j\n\
         \x20 type: snap\n\
         \x20 filesystems: {{\"<\": true}}\n\
         \x20 snapshotting: {{type: periodic, interval: 10m, prefix: zrepl_, hooks: {hooks}}}\n\
         \x20 pruning: {{keep: [{{type: last_n, count: 1}}]}}\n"
    );
    let loaded = config::parse("zrepl.yml", &yaml).unwrap_or_else(|e| panic!("{e}\n{yaml}"));
    let job = loaded.config.job("j").expect("it is there");
    let snapshotting = job.snapshotting().expect("it takes snapshots");
    Hooks::new(snapshotting, &|_| None, DuePostEdges::default())
}

/// A run around `tank/db@now`.
pub(crate) fn around(hooks: &str) -> Around {
    let hooks = configured(hooks).unwrap_or_else(|e| panic!("{e:?}"));
    let filesystem = DatasetPath::new("tank/db").expect("valid");
    let hooks = hooks.for_filesystem(&filesystem).expect("they match");
    hooks.around(SnapshotName::new("tank/db@now").expect("valid"))
}

/// What was seen of a run.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) outcome: Outcome<(), Busy>,
    pub(crate) progress: Progress,
    pub(crate) took: Duration,
}

impl Seen {
    /// The statuses of all parts.
    pub(crate) fn statuses(&self) -> String {
        let plan = self.progress.plan();
        let statuses = plan.steps().iter().map(|step| step.status.to_string());
        statuses.collect::<Vec<_>>().join(" ")
    }

    /// What the part of this number, from 0, says of itself.
    pub(crate) fn report(&self, number: usize) -> String {
        let plan = self.progress.plan();
        plan.steps()[number].report.clone().unwrap_or_default()
    }

    /// Was the snapshot taken?
    pub(crate) fn snapshot(&self) -> bool {
        matches!(self.outcome.snapshot, Some(Ok(())))
    }
}

/// Runs hooks around an action.
pub(crate) async fn run<F: Future<Output = Result<(), Busy>>>(
    hooks: &str,
    stop: &CancellationToken,
    take: impl FnOnce() -> F,
) -> Seen {
    let around = around(hooks);
    let progress = around.progress();
    let begun = Instant::now();
    let outcome = around.run(stop, take).await;
    Seen {
        outcome,
        progress,
        took: begun.elapsed(),
    }
}

/// Runs hooks around a snapshot that succeeds.
pub(crate) async fn run_around_success(hooks: &str) -> Seen {
    run(hooks, &CancellationToken::new(), async || Ok(())).await
}
