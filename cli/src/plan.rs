//! `zrepl plan`: what a job would do now, without doing it. It works without a running daemon: the job is made of the configuration as
//! the daemon makes it, and asked.

use std::io::Write;
use std::path::Path;

use anyhow::{Context, bail};
use tokio::runtime;
use tokio_util::sync::CancellationToken;
use zrepl_daemon::config::connection::Serve;
use zrepl_daemon::config::job::JobConfig;
use zrepl_daemon::config::{self, Loaded};
use zrepl_daemon::job::preview::{
    Filesystem, Preview, PrunedFilesystem, Pruning, Replication, Snapshots,
};
use zrepl_daemon::job::{self, Job};

use crate::args::Plan;
use crate::configuration::checked;
use crate::daemon;

/// Prints what the job would do.
pub(crate) fn run(options: &Plan, path: Option<&Path>, out: &mut impl Write) -> anyhow::Result<()> {
    let Loaded { config, .. } = checked(config::load(path).and_then(Loaded::into_result))?;
    let name = options.job.as_str();
    match config.jobs.iter().find(|job| job.name().as_str() == name) {
        None => bail!("Job {name} does not exist"),
        Some(JobConfig::Sink(_)) => {
            bail!("sink job {name} does nothing by itself: ask the push job of its client")
        }
        Some(_) => {}
    }
    let environment = daemon::environment(&config)?;
    let runtime = runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start threads")?;
    let preview = runtime.block_on(async {
        let stop = CancellationToken::new();
        let _stopped = stop.clone().drop_guard();
        let mut wanted = None;
        for (job, config) in job::build(&config, &environment)?
            .into_iter()
            .zip(&config.jobs)
        {
            if config.name().as_str() == name {
                wanted = Some(job);
            } else if is_local(config) {
                // It may be the other side, which nobody else can reach.
                tokio::spawn(Job::that_only_tells(job).start(stop.clone()));
            }
        }
        let job = wanted.context("the job has vanished")?;
        anyhow::Ok(job.preview(&stop).await)
    })?;
    if options.json {
        serde_json::to_writer_pretty(&mut *out, &preview)?;
        writeln!(out)?;
    } else {
        write(&preview, out)?;
    }
    Ok(())
}

fn is_local(config: &JobConfig) -> bool {
    let serve = match config {
        JobConfig::Sink(job) => &job.serve,
        JobConfig::Source(job) => &job.serve,
        JobConfig::Push(_) | JobConfig::Pull(_) | JobConfig::Snap(_) => return false,
    };
    matches!(serve, Serve::Local(_))
}

fn write(preview: &Preview, out: &mut impl Write) -> std::io::Result<()> {
    writeln!(out, "Job: {}", preview.job)?;
    if let Some(snapshots) = &preview.snapshots {
        write_snapshots(snapshots, out)?;
    }
    if let Some(replication) = &preview.replication {
        write_replication(replication, out)?;
    }
    for pruning in &preview.pruning {
        write_pruning(pruning, out)?;
    }
    Ok(())
}

fn write_snapshots(snapshots: &Snapshots, out: &mut impl Write) -> std::io::Result<()> {
    writeln!(
        out,
        "\nSnapshots, if a round were due now: @{}",
        snapshots.name
    )?;
    if let Some(error) = &snapshots.error {
        writeln!(out, "   ERROR: {error}")?;
    }
    for (how, filesystems) in [
        (
            "together with all others of their pool",
            &snapshots.together,
        ),
        ("one by one, with hooks", &snapshots.with_hooks),
    ] {
        if !filesystems.is_empty() {
            writeln!(out, "   {how}:")?;
        }
        for filesystem in filesystems {
            writeln!(out, "      {filesystem}")?;
        }
    }
    Ok(())
}

fn write_replication(replication: &Replication, out: &mut impl Write) -> std::io::Result<()> {
    if let Some(error) = &replication.error {
        return writeln!(out, "\nReplication:\n   ERROR: {error}");
    }
    let steps = || replication.filesystems.iter().flat_map(|it| &it.steps);
    let bytes = steps().filter_map(|it| it.bytes);
    let bytes = bytes.fold(0, u64::saturating_add);
    writeln!(
        out,
        "\nReplication: {} in {}",
        count(bytes, "byte"),
        count(steps().count() as u64, "step")
    )?;
    if replication.filesystems.is_empty() {
        writeln!(out, "   no filesystems")?;
    }
    for filesystem in &replication.filesystems {
        let Filesystem {
            filesystem: path,
            error,
            reason,
            steps,
        } = filesystem;
        let why = match (error, reason) {
            (Some(error), _) => format!("ERROR: {error}"),
            (None, Some(reason)) => reason.clone(),
            (None, None) => String::new(),
        };
        writeln!(out, "   {path}: {why}")?;
        for step in steps {
            let what = match &step.from {
                Some(from) => format!("{from} => {}", step.to),
                None => format!("full send {}", step.to),
            };
            let size = match step.bytes {
                Some(bytes) => count(bytes, "byte"),
                None => "size not known".to_owned(),
            };
            let resumed = if step.resumed { ", resumed" } else { "" };
            writeln!(out, "      {what} ({size}{resumed})")?;
        }
    }
    Ok(())
}

/// A number of things.
fn count(number: u64, thing: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {thing}{plural}")
}

fn write_pruning(pruning: &Pruning, out: &mut impl Write) -> std::io::Result<()> {
    let what = match pruning.side {
        "local" => "Pruning".to_owned(),
        side => format!("Pruning of the {side}, after that"),
    };
    if let Some(error) = &pruning.error {
        return writeln!(out, "\n{what}:\n   ERROR: {error}");
    }
    let snapshots = || pruning.filesystems.iter().flat_map(|it| &it.snapshots);
    let destroyed = snapshots().filter(|it| it.destroyed).count();
    let all = count(snapshots().count() as u64, "snapshot");
    writeln!(out, "\n{what}: destroy {destroyed} of {all}")?;
    if pruning.filesystems.is_empty() {
        writeln!(out, "   no filesystems")?;
    }
    for filesystem in &pruning.filesystems {
        let PrunedFilesystem {
            filesystem: path,
            skipped,
            error,
            snapshots,
        } = filesystem;
        let destroyed = snapshots.iter().filter(|it| it.destroyed).count();
        let what = match (error, skipped) {
            (Some(error), _) => format!("ERROR: {error}"),
            (None, Some(reason)) => format!("skipped: {reason}"),
            (None, None) => format!(
                "destroy {destroyed} of {}",
                count(snapshots.len() as u64, "snapshot")
            ),
        };
        writeln!(out, "   {path}: {what}")?;
        for snapshot in snapshots {
            let verb = if snapshot.destroyed {
                "destroy"
            } else {
                "keep   "
            };
            let reasons = snapshot.reasons.join("; ");
            writeln!(out, "      {verb} @{}  {reasons}", snapshot.name)?;
        }
    }
    Ok(())
}
