//! The daemon as a whole: a configuration and ZFS flow in; jobs run until they are told to stop, or have all ended by themselves.
//!
//! It is one to a control socket: the second daemon of a configuration does not start. Stopping has a limit, so that a service manager need
//! not kill it: streams are cut, which the other side can resume, and what does not end in time is named in the log. Only hooks that
//! have something to undo after a snapshot get the time that they were promised.

pub mod control;
pub mod go_text;
pub mod logging;
mod notify;
mod tasks;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::causes::chain;
use crate::config::Config;
use crate::environment::{self, EnvironmentError};
use crate::hook::DuePostEdges;
use crate::job::signals::SignalError;
use crate::job::{self, BuildError, Environment, Handle, Job};
use crate::status::{self, Status};
use control::socket::{ControlSocket, SocketError};
use control::{Controlled, Refused, Signal};
use tasks::Tasks;

/// How long jobs may take to stop, unless hooks have to run after snapshots.
pub const STOP_LIMIT: Duration = Duration::from_secs(5);

/// The control socket's place among the jobs.
const CONTROL_JOB: &str = "_control";

/// Why the daemon does not run, or did not end well.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// There is one already.
    #[error("another zrepl daemon uses this control socket")]
    AnotherDaemon(#[source] SocketError),
    /// A setting of the environment cannot be read.
    #[error(transparent)]
    Environment(#[from] EnvironmentError),
    /// A job cannot be made. The text is that of zrepl 0.7.0.
    #[error("cannot build jobs from config")]
    Jobs(#[from] BuildError),
    /// Not everything stopped in time.
    #[error("these did not stop in time: {}", .0.join(", "))]
    NotStopped(Vec<String>),
}

/// Runs the daemon until `stop` is cancelled and everything has ended. To be called within a tokio runtime.
pub async fn run(
    config: &Config,
    environment: &Environment<'_>,
    stop: CancellationToken,
) -> Result<(), ServiceError> {
    let (read, write) = environment::control_limits(environment.variables)?;
    let settings = environment::settings(environment.variables)?;
    // First, so that a second daemon changes nothing.
    let socket = match ControlSocket::bind(config.global.control.sockpath.as_path()).await {
        Ok(socket) => Some(socket),
        Err(error) if error.is_another_daemon() => return Err(ServiceError::AnotherDaemon(error)),
        Err(error) => {
            // As in zrepl 0.7.0: replication goes on without it.
            tracing::error!(job = CONTROL_JOB, err = %chain(&error), "error listening");
            None
        }
    };
    let jobs = job::build(config, environment)?;
    let daemon = Arc::new(Daemon {
        jobs: jobs
            .iter()
            .map(|job| (job.handle().name().to_string(), job.handle().clone()))
            .collect(),
        settings,
    });
    let control_stop = CancellationToken::new();
    let control = socket.map(|socket| {
        let limits = control::Limits { read, write };
        let serving = control::serve(socket, daemon, limits, control_stop.clone());
        tokio::spawn(serving)
    });
    tracing::info!("starting daemon");
    if !config.global.monitoring.monitors().is_empty() {
        tracing::warn!(
            "this version of zrepl serves no metrics: global.monitoring has no effect yet"
        );
    }
    let stopping = Stopping {
        limit: STOP_LIMIT,
        due: environment.due.clone(),
    };
    let ended = run_jobs(jobs, &stop, control.is_some(), stopping).await;
    control_stop.cancel();
    if let Some(control) = control {
        control.await.ok();
    }
    tracing::info!("daemon exiting");
    ended
}

/// Starts all jobs, and waits until they have ended. With a control socket, the daemon goes on when all have.
async fn run_jobs(
    jobs: Vec<Job>,
    stop: &CancellationToken,
    has_control: bool,
    stopping: Stopping,
) -> Result<(), ServiceError> {
    let mut tasks = Tasks::default();
    for job in jobs {
        let name = job.handle().name().to_string();
        tasks.spawn(name, job.start(stop.clone()));
    }
    notify::ready(tasks.len());
    tokio::select! {
        biased;
        () = stop.cancelled() => tracing::info!("told to stop"),
        () = tasks.all_ended() => {
            tracing::info!("all jobs finished");
            if has_control {
                stop.cancelled().await;
            }
        }
    }
    notify::stopping();
    tracing::info!("waiting for jobs to finish");
    if !tasks.end_within(stopping.limit).await {
        stopping.let_hooks_end(&mut tasks).await;
    }
    let late = tasks.give_up();
    if late.is_empty() {
        return Ok(());
    }
    for job in &late {
        tracing::error!(%job, "job has not stopped in time, the daemon exits without it");
    }
    Err(ServiceError::NotStopped(late))
}

/// How long jobs are waited for.
#[derive(Debug)]
struct Stopping {
    limit: Duration,
    due: DuePostEdges,
}

impl Stopping {
    /// The limit is over and jobs are left. Those that still have to undo something after a snapshot may do so: to end them here would
    /// leave a database locked or a filesystem frozen. No hook can come due any more, so this is asked once.
    async fn let_hooks_end(&self, tasks: &mut Tasks) {
        let Some(due) = self.due.now() else { return };
        tracing::warn!(
            hooks = due.hooks.join(", "), at_most = ?due.at_most,
            "hooks still have to run after snapshots, waiting for them"
        );
        let hooks_end = async {
            timeout(due.at_most, self.due.all_ended()).await.ok();
            // What their jobs have left to do; others have had their time.
            sleep(self.limit).await;
        };
        tokio::select! {
            biased;
            () = tasks.all_ended() => {}
            () = hooks_end => {}
        }
    }
}

/// What the control socket asks.
#[derive(Debug)]
struct Daemon {
    jobs: BTreeMap<String, Handle>,
    settings: Vec<status::Setting>,
}

impl Controlled for Daemon {
    fn status(&self) -> Status {
        let jobs = self.jobs.iter();
        let mut jobs: BTreeMap<_, _> = jobs
            .map(|(name, job)| (name.clone(), job.status()))
            .collect();
        jobs.insert(CONTROL_JOB.to_owned(), status::JobStatus::Internal);
        let environment = std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        });
        Status {
            jobs,
            global: status::Global {
                settings: status::Settings {
                    entries: self.settings.clone(),
                },
                environment: status::harmless(environment),
                ..status::Global::default()
            },
        }
    }

    fn signal(&self, job: &str, signal: Signal) -> Result<(), Refused> {
        let deaf = job::signals::Signals::default();
        let handle = self.jobs.get(job);
        let signals = match handle {
            Some(handle) => handle.signals(),
            None if job == CONTROL_JOB => &deaf,
            None => return Err(Refused::NoSuchJob(job.to_owned())),
        };
        match signal {
            Signal::Wakeup => signals.wakeup()?,
            Signal::Reset => signals.reset()?,
            Signal::Snapshot => {
                handle.map_or(Err(SignalError::NoSnapshots), Handle::snapshot_now)?;
            }
            Signal::Prune => signals.prune()?,
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
