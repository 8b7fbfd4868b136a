//! A job as it runs: its part of the configuration flows in; replications, answers to other hosts and a report flow out.
//!
//! ```text
//! push, pull      active     wait ─► invoke ─► wait …   when woken up, or by the clock
//! source, sink    passive    listen, and give each client its endpoint
//! snap                       nothing yet
//! ```
//!
//! A job has one task and one [`Signals`]. Everything that it does is logged in a span with its name.

mod active;
mod build;
mod client_cursor;
mod passive;
mod replication;
mod side;
pub mod signals;

use std::sync::{Arc, Mutex, PoisonError};

use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, Span};

use crate::config::job::JobConfig;
use crate::name::JobName;
use crate::replication::report::LiveReport;
use crate::status::{self, JobStatus};
use active::Active;
use passive::Passive;
use signals::Signals;

pub use build::{BuildError, Environment, build};

/// A job that has not been started.
#[derive(Debug)]
pub struct Job {
    handle: Handle,
    span: Span,
    work: Work,
}

/// What others see of a job. Clones are the same.
#[derive(Clone, Debug)]
pub struct Handle {
    name: JobName,
    kind: Kind,
    signals: Arc<Signals>,
    replication: LastReplication,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Push,
    Pull,
    Sink,
    Source,
    Snap,
}

impl From<&JobConfig> for Kind {
    fn from(config: &JobConfig) -> Self {
        match config {
            JobConfig::Push(_) => Self::Push,
            JobConfig::Pull(_) => Self::Pull,
            JobConfig::Sink(_) => Self::Sink,
            JobConfig::Source(_) => Self::Source,
            JobConfig::Snap(_) => Self::Snap,
        }
    }
}

/// What a job does.
#[derive(Debug)]
enum Work {
    Active(Active),
    Passive(Box<Passive>),
    /// Waits for its end.
    Nothing,
}

/// The report of the replication that runs, or ran last.
#[derive(Clone, Debug, Default)]
struct LastReplication(Arc<Mutex<Option<LiveReport>>>);

impl LastReplication {
    /// A new report takes the place of the old one.
    fn begin(&self) -> LiveReport {
        let report = LiveReport::default();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(report.clone());
        report
    }

    fn now(&self) -> Option<crate::replication::report::Report> {
        let report = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        report.map(|report| report.now())
    }
}

impl Handle {
    /// The job's name.
    pub fn name(&self) -> &JobName {
        &self.name
    }

    /// Where it can be woken up and reset.
    pub fn signals(&self) -> &Signals {
        &self.signals
    }

    /// What it does.
    pub fn status(&self) -> JobStatus {
        let active = || status::Active {
            replication: self.replication.now(),
            ..status::Active::default()
        };
        match self.kind {
            Kind::Push => JobStatus::Push(active()),
            Kind::Pull => JobStatus::Pull(active()),
            Kind::Sink => JobStatus::Sink(status::Passive::default()),
            Kind::Source => JobStatus::Source(status::Passive::default()),
            Kind::Snap => JobStatus::Snap(status::Snap::default()),
        }
    }
}

impl Job {
    /// What others see of it.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Begins to listen, if it is a job that listens, and returns what remains to be run until the job ends. Cancelling `stop` ends
    /// it: streams are cut so that they can be resumed. A job that cannot listen says so in the log and ends at once.
    pub fn start(self, stop: CancellationToken) -> impl Future<Output = ()> + Send + 'static {
        let Self { span, work, .. } = self;
        let started = span.in_scope(|| {
            tracing::info!("starting job");
            match work {
                Work::Active(active) => Started::Active(active),
                Work::Passive(passive) => match passive.listen() {
                    Ok(listening) => Started::Passive(Box::new(listening)),
                    Err(error) => {
                        let error = crate::causes::chain(&error);
                        tracing::error!(err = %error, "cannot listen");
                        Started::Ended
                    }
                },
                Work::Nothing => Started::Nothing,
            }
        });
        let run = async move {
            match started {
                Started::Active(active) => active.run(stop).await,
                Started::Passive(passive) => passive.run(stop).await,
                Started::Nothing => stop.cancelled().await,
                Started::Ended => {}
            }
            tracing::info!("job exited");
        };
        run.instrument(span)
    }
}

#[cfg(test)]
impl Job {
    /// A push job whose invocations take `takes` to end once they are told to.
    pub(crate) fn that_ends_within(name: &str, takes: std::time::Duration) -> Self {
        let handle = Handle {
            name: JobName::new(name).expect("valid"),
            kind: Kind::Push,
            signals: Arc::new(Signals::default()),
            replication: LastReplication::default(),
        };
        let signals = Arc::clone(&handle.signals);
        Self {
            handle,
            span: Span::none(),
            work: Work::Active(Active {
                signals,
                interval: None,
                invocation: Box::new(active::Stubborn(takes)),
            }),
        }
    }
}

enum Started {
    Active(Active),
    Passive(Box<passive::Listening>),
    Nothing,
    Ended,
}
