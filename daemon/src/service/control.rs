//! The control socket: HTTP on a UNIX socket, whose answers and texts are those of zrepl 0.7.0 to the letter, because scripts and
//! its command line know them. Whoever can open the socket may ask; who that is is decided by its directory.

mod answer;
mod server;
pub mod socket;
mod write_limit;

use std::fmt;
use std::time::Duration;

use crate::job::signals::SignalError;
use crate::status::Status;

pub use server::serve;

/// What is controlled.
pub trait Controlled: fmt::Debug + Send + Sync {
    /// What it does.
    fn status(&self) -> Status;

    /// Sends a signal to a job.
    fn signal(&self, job: &str, signal: Signal) -> Result<(), Refused>;
}

/// What a job can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Begin.
    Wakeup,
    /// End what runs.
    Reset,
    /// Take snapshots.
    Snapshot,
    /// Destroy the snapshots that no rule keeps.
    Prune,
}

/// Why a signal was refused. The texts are those of zrepl 0.7.0.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Nobody of this name.
    #[error("Job {0} does not exist")]
    NoSuchJob(String),
    /// The job does not take it now.
    #[error(transparent)]
    Signal(#[from] SignalError),
}

/// How long a client may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// To say what it wants, and until it says it again.
    pub read: Duration,
    /// To go on reading the answer.
    pub write: Duration,
}
