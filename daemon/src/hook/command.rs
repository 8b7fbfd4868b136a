//! Hooks that are programs: a snapshot's name flows in through the environment, lines flow out to the log, and the exit status
//! decides. Variables and texts are those of zrepl 0.7.0.
//!
//! A program runs in a process group of its own, and all of the group is killed when the program takes too long or the job is stopped.
//! zrepl 0.7.0 kills the program alone, and then waits until whatever it started closes its output, if it ever does. What a program
//! leaves running on purpose is left alone; only what it prints is not waited for.

mod output;
mod problem;

use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal};
use tokio::process::Child;

use super::patience::{GivenUp, Patience};
use super::plan::Edge;
use crate::config::snapshotting::CommandHook;
use output::Listening;
pub(super) use problem::CommandError;
use zfs_safe::name::SnapshotName;

/// How long what a program has printed may take to arrive after its end.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How long the kernel may take to end a killed program; one that waits for a dead disk may take for ever.
const BURIAL: Duration = Duration::from_secs(5);

/// A program.
#[derive(Debug)]
pub(super) struct Command {
    path: PathBuf,
    timeout: Duration,
    /// How much of what it prints is logged at once, for each of its two outputs.
    logged: usize,
}

/// Its environment is the daemon's and these variables.
#[derive(Debug)]
pub(super) struct Invocation<'a> {
    path: &'a Path,
    variables: [(&'static str, String); 5],
}

impl Command {
    pub(super) fn new(config: &CommandHook, logged: usize) -> Self {
        Self {
            path: config.path.as_path().to_owned(),
            timeout: config.timeout.duration(),
            logged,
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What runs at this edge.
    pub(super) fn invocation(&self, edge: Edge, snapshot: &SnapshotName) -> Invocation<'_> {
        let kind = match edge {
            Edge::Pre => "pre_snapshot",
            Edge::Post => "post_snapshot",
        };
        Invocation {
            path: &self.path,
            // In the order in which they are shown.
            variables: [
                // No dry run exists, neither here nor in zrepl 0.7.0, but programs look at the variable.
                ("ZREPL_DRYRUN", String::new()),
                ("ZREPL_FS", snapshot.dataset().as_str().to_owned()),
                ("ZREPL_HOOKTYPE", kind.to_owned()),
                ("ZREPL_SNAPNAME", snapshot.name().to_owned()),
                ("ZREPL_TIMEOUT", self.timeout.as_secs().to_string()),
            ],
        }
    }

    /// Runs the program to its end, and does not outlast `patience` by more than some seconds.
    pub(super) async fn run(
        &self,
        invocation: &Invocation<'_>,
        patience: Patience<'_>,
    ) -> Result<(), CommandError> {
        let (mut running, mut listening) = (None, None);
        let work = async {
            let Running(child) = running.insert(Running::start(invocation).await?);
            listening = Some(Listening::start(child, &self.path, self.logged));
            let ended = child.wait().await;
            ended.map_err(|source| CommandError::Wait { source })
        };
        let ended = patience.within(work).await;
        let result = match (ended, &mut running) {
            (Ok(Ok(status)), _) => CommandError::of_status(status),
            (Ok(Err(error)), _) => Err(error),
            (Err(reason), Some(running)) => Err(running.kill(reason).await),
            (Err(reason), None) => Err(CommandError::NotStarted { reason }),
        };
        if let Some(listening) = listening {
            listening.end_within(LAST_WORDS).await;
        }
        result
    }
}

impl Invocation<'_> {
    /// How it went, as zrepl 0.7.0 shows it in the status: as a command line that can be copied.
    pub(super) fn report(&self, result: &Result<(), CommandError>) -> String {
        let line = self.command_line();
        match result {
            Ok(()) => format!("command hook: \"{line}\""),
            Err(error) => {
                let error = crate::causes::chain(error);
                format!("command hook failed with {error:?}: \"{line}\"")
            }
        }
    }

    fn command_line(&self) -> String {
        let variables = self.variables.iter();
        let variables = variables.map(|(name, value)| format!("{name}='{value}' "));
        variables.collect::<String>() + &self.path.display().to_string()
    }
}

/// A program that runs. Dropping it kills it, and its process group.
#[derive(Debug)]
struct Running(Child);

impl Running {
    /// On a thread that may be held up, as it is by a filesystem that hangs. What starts when nobody waits for it any more is killed,
    /// because it is dropped.
    async fn start(invocation: &Invocation<'_>) -> Result<Self, CommandError> {
        let path = invocation.path.to_owned();
        let mut command = tokio::process::Command::new(&path);
        command
            .envs(
                invocation
                    .variables
                    .iter()
                    .map(|(name, value)| (name, value)),
            )
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let starting = tokio::task::spawn_blocking(move || {
            let started = command.spawn();
            started
                .map(Self)
                .map_err(|source| CommandError::of_start(&path, source))
        });
        starting.await.unwrap_or_else(|error| {
            // The runtime ends, or there is a bug.
            let path = invocation.path.to_owned();
            let source = io::Error::other(error);
            Err(CommandError::Start { path, source })
        })
    }

    async fn kill(&mut self, reason: GivenUp) -> CommandError {
        self.kill_group();
        match tokio::time::timeout(BURIAL, self.0.wait()).await {
            Ok(Ok(_)) => CommandError::Killed { reason },
            Ok(Err(source)) => CommandError::Wait { source },
            Err(_) => CommandError::Immortal { reason },
        }
    }

    fn kill_group(&self) {
        // The number is there until the child has been waited for, so it cannot be that of somebody else.
        let leader = self.0.id().and_then(|id| i32::try_from(id).ok());
        if let Some(leader) = leader.and_then(Pid::from_raw) {
            // It fails only if all of the group have ended.
            rustix::process::kill_process_group(leader, Signal::KILL).ok();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // tokio waits for it then.
        self.kill_group();
    }
}
