//! A job as it runs: its part of the configuration flows in; replications, answers to other hosts and a report flow out.
//!
//! ```text
//! push, pull      active     wait ─► invoke ─► wait …   when woken up, or by the clock
//! source, sink    passive    listen, and give each client its endpoint
//! snap            active     the same, and an invocation only prunes
//! ```
//!
//! A job has one task and one [`Signals`]. Everything that it does is logged in a span with its name.

mod active;
mod build;
mod client_cursor;
mod passive;
pub mod preview;
mod pruning;
mod replication;
mod side;
pub mod signals;
mod snapper;
mod snapshotting;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, Span};

use crate::config::job::JobConfig;
use crate::name::JobName;
use crate::pruner;
use crate::pruner::judge::Side;
use crate::replication::report::LiveReport;
use crate::snapshot::schedule::Snapper;
use crate::status::{self, JobStatus};
use active::Active;
use passive::Passive;
use preview::Preview;
use signals::{SignalError, Signals};

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
    reports: Reports,
    /// Of the snapshots that it takes, if it may.
    snapper: Option<Arc<Snapper>>,
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
}

/// The reports of the invocation that runs, or ran last. Clones are the same.
#[derive(Clone, Debug, Default)]
struct Reports(Arc<Mutex<Begun>>);

/// The reports of what an invocation has begun.
#[derive(Clone, Debug, Default)]
struct Begun {
    replication: Option<LiveReport>,
    pruning: BTreeMap<&'static str, pruner::report::LiveReport>,
}

impl Reports {
    /// An invocation begins: nothing is known of those before it.
    fn clear(&self) {
        *self.lock() = Begun::default();
    }

    /// An invocation begins that only prunes.
    fn clear_pruning(&self) {
        self.lock().pruning.clear();
    }

    fn begin_replication(&self) -> LiveReport {
        let report = LiveReport::default();
        self.lock().replication = Some(report.clone());
        report
    }

    fn begin_pruning(&self, side: Side) -> pruner::report::LiveReport {
        let report = pruner::report::LiveReport::default();
        self.lock().pruning.insert(side.name(), report.clone());
        report
    }

    fn replication(&self) -> Option<crate::replication::report::Report> {
        let report = self.lock().replication.clone();
        report.map(|report| report.now())
    }

    fn pruning(&self, side: Side) -> Option<pruner::report::Report> {
        let report = self.lock().pruning.get(side.name()).cloned();
        report.map(|report| report.now())
    }

    fn lock(&self) -> MutexGuard<'_, Begun> {
        // The list is whole at any time, also where somebody panicked.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// Has snapshots taken at once, or right after those that are being taken. A job that has ended takes none.
    pub fn snapshot_now(&self) -> Result<(), SignalError> {
        let snapper = self.snapper.as_ref();
        let snapper = snapper.filter(|snapper| !snapper.is_stopped());
        let snapper = snapper.ok_or(SignalError::NoSnapshots)?;
        snapper.snapshot_now();
        Ok(())
    }

    /// What it does.
    pub fn status(&self) -> JobStatus {
        let snapshotting = || self.snapper.as_ref().map(|snapper| snapper.report());
        let active = || status::Active {
            replication: self.reports.replication(),
            pruning_sender: self.reports.pruning(Side::Sender),
            pruning_receiver: self.reports.pruning(Side::Receiver),
            snapshotting: snapshotting(),
        };
        match self.kind {
            Kind::Push => JobStatus::Push(active()),
            Kind::Pull => JobStatus::Pull(active()),
            Kind::Sink => JobStatus::Sink(status::Passive::default()),
            Kind::Source => JobStatus::Source(status::Passive {
                snapper: snapshotting(),
            }),
            Kind::Snap => JobStatus::Snap(status::Snap {
                pruning: self.reports.pruning(Side::Local),
                snapshotting: snapshotting(),
            }),
        }
    }
}

impl Job {
    /// What it would do if it were its turn now. A sink does nothing by itself. To reach a job of the same configuration over the
    /// transport `local`, that job must have been started.
    pub async fn preview(self, stop: &CancellationToken) -> Preview {
        let span = self.span.clone();
        let name = self.handle.name.to_string();
        let previewing = async {
            let (snapping, invocation) = match self.work {
                Work::Active(Active {
                    snapping,
                    invocation,
                    ..
                }) => (snapping, Some(invocation)),
                Work::Passive(passive) => (passive.snapping, None),
            };
            let snapshots = match &snapping {
                Some(snapping) => snapping.preview().await,
                None => None,
            };
            let (replication, pruning) = match invocation {
                Some(mut invocation) => invocation.preview(stop).await,
                None => (None, Vec::new()),
            };
            Preview {
                job: name,
                snapshots,
                replication,
                pruning,
            }
        };
        previewing.instrument(span).await
    }

    /// The same job without its snapshotter, for whoever only wants it to answer others.
    #[must_use]
    pub fn without_snapshots(mut self) -> Self {
        match &mut self.work {
            Work::Active(active) => active.snapping = None,
            Work::Passive(passive) => passive.snapping = None,
        }
        self
    }

    /// What others see of it.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Begins to listen, if it is a job that listens, and returns what remains to be run until the job ends. Cancelling `stop` ends
    /// it: streams are cut so that they can be resumed. A job that cannot listen says so in the log and ends at once.
    pub fn start(self, stop: CancellationToken) -> impl Future<Output = ()> + Send + 'static {
        let Self { span, work, handle } = self;
        let started = span.in_scope(|| {
            tracing::info!("starting job");
            match work {
                Work::Active(active) => Started::Active(active),
                Work::Passive(passive) => match passive.listen() {
                    Ok(listening) => Started::Passive(Box::new(listening)),
                    Err(error) => {
                        let error = crate::causes::chain(&error);
                        tracing::error!(err = %error, "cannot listen");
                        if let Some(snapper) = &handle.snapper {
                            snapper.stop();
                        }
                        Started::Ended
                    }
                },
            }
        });
        let run = async move {
            match started {
                Started::Active(active) => active.run(stop).await,
                Started::Passive(passive) => passive.run(stop).await,
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
            reports: Reports::default(),
            snapper: None,
        };
        let signals = Arc::clone(&handle.signals);
        Self {
            handle,
            span: Span::none(),
            work: Work::Active(Active {
                snapping: None,
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
    Ended,
}
