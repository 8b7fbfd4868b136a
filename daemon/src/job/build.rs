//! From the configuration to jobs that can be started.

use std::sync::Arc;

use tracing::Span;

use super::active::Active;
use super::passive::{Offer, Passive, Sink, Source};
use super::pruning::{LocalPruning, Pruners};
use super::replication::{Local, Replication};
use super::signals::Signals;
use super::snapper::Snapping;
use super::{Handle, Job, Kind, Reports, Work, client_cursor};
use crate::bandwidth::Limit;
use crate::config::Config;
use crate::config::connection::{Connect, Serve};
use crate::config::job::{JobConfig, PullInterval, PullJob, PushJob, SinkJob, SnapJob, SourceJob};
use crate::config::pruning::ReplicatedPruning;
use crate::config::transfer::{self, ConflictResolution, SendOptions};
use crate::endpoint::access::ReceiveRoot;
use crate::endpoint::local_zfs::LocalZfs;
use crate::endpoint::mark::JobId;
use crate::endpoint::receiver::{self, Receiver};
use crate::endpoint::sender::{self, Sender};
use crate::environment::{self, EnvironmentError, Variables};
use crate::hook::{DuePostEdges, Hooks, HooksError};
use crate::name::JobName;
use crate::pruner::Pruner;
use crate::pruner::judge::Side;
use crate::replication::driver::{self, Memory};
use crate::replication::resume::StreamPolicy;
use crate::rpc::handshake;
use crate::rpc::metrics::Metrics;
use crate::transport::{self, Shared, TransportError};

/// What all jobs of a daemon share.
pub struct Environment<'a> {
    /// ZFS of this host.
    pub zfs: LocalZfs,
    /// What transports share.
    pub transports: Shared,
    /// Where connections are counted.
    pub metrics: Metrics,
    /// Where hooks say what they still have to undo.
    pub due: DuePostEdges,
    /// Settings that are not in the configuration.
    pub variables: Variables<'a>,
}

impl std::fmt::Debug for Environment<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Environment")
            .field("zfs", &self.zfs)
            .field("transports", &self.transports)
            .finish_non_exhaustive()
    }
}

/// Why there are no jobs.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A setting of the environment cannot be read.
    #[error(transparent)]
    Environment(#[from] EnvironmentError),
    /// A job cannot have its hooks.
    #[error("cannot build job \"{name}\"")]
    Hooks {
        /// Which.
        name: JobName,
        /// Why not.
        source: HooksError,
    },
    /// A job cannot be made as it is configured.
    #[error("cannot build job \"{name}\"")]
    Job {
        /// Which.
        name: JobName,
        /// Why not.
        source: TransportError,
    },
}

/// Makes all jobs.
pub fn build(config: &Config, environment: &Environment<'_>) -> Result<Vec<Job>, BuildError> {
    let jobs = config.jobs.iter();
    jobs.map(|job| Builder::new(config, job, environment).build())
        .collect()
}

struct Builder<'a> {
    config: &'a Config,
    job: &'a JobConfig,
    environment: &'a Environment<'a>,
    handle: Handle,
    span: Span,
}

impl<'a> Builder<'a> {
    fn new(config: &'a Config, job: &'a JobConfig, environment: &'a Environment<'a>) -> Self {
        let name = job.name();
        Self {
            config,
            job,
            environment,
            handle: Handle {
                name: name.clone(),
                kind: Kind::from(job),
                signals: Arc::new(Signals::default()),
                reports: Reports::default(),
                snapper: None,
            },
            span: tracing::error_span!("job", job = %name),
        }
    }

    fn build(mut self) -> Result<Job, BuildError> {
        let snapping = self.snapping()?;
        self.handle.snapper = snapping.as_ref().map(|it| Arc::clone(&it.snapper));
        let mut work = match self.job {
            JobConfig::Push(job) => Work::Active(self.push(job)?),
            JobConfig::Pull(job) => Work::Active(self.pull(job)?),
            JobConfig::Sink(job) => Work::Passive(Box::new(self.sink(job)?)),
            JobConfig::Source(job) => Work::Passive(Box::new(self.source(job)?)),
            JobConfig::Snap(job) => Work::Active(self.snap(job)),
        };
        match &mut work {
            Work::Active(active) => active.snapping = snapping,
            Work::Passive(passive) => passive.snapping = snapping,
        }
        Ok(Job {
            handle: self.handle,
            span: self.span,
            work,
        })
    }

    /// The snapshotter, of a job that has one.
    fn snapping(&self) -> Result<Option<Snapping>, BuildError> {
        let (config, filesystems) = match self.job {
            JobConfig::Push(job) => (&job.snapshotting, &job.filesystems),
            JobConfig::Source(job) => (&job.snapshotting, &job.filesystems),
            JobConfig::Snap(job) => (&job.snapshotting, &job.filesystems),
            JobConfig::Pull(_) | JobConfig::Sink(_) => return Ok(None),
        };
        let Environment { variables, due, .. } = self.environment;
        let hooks = Hooks::new(config, *variables, due.clone()).map_err(|source| {
            let name = self.handle.name.clone();
            BuildError::Hooks { name, source }
        })?;
        for hook in hooks.unusable() {
            self.span.in_scope(|| hook.log());
        }
        let zfs = self.environment.zfs.clone();
        Ok(Some(Snapping::new(config, zfs, filesystems.clone(), hooks)))
    }

    fn push(&self, job: &PushJob) -> Result<Active, BuildError> {
        let sender = Sender::new(
            self.environment.zfs.clone(),
            sender_settings(&job.name, &job.filesystems, &job.send),
        );
        let stream = StreamPolicy {
            encrypted: job.send.encrypted,
            raw: job.send.raw,
        };
        let driver = self.driver(&job.replication, &job.conflict_resolution, Some(stream))?;
        let handshake = None;
        let pruners = pruners(&job.pruning);
        let local = Local::Sender(sender);
        self.active(local, &job.connect, driver, handshake, pruners)
    }

    fn pull(&self, job: &PullJob) -> Result<Active, BuildError> {
        let settings = receiver::Settings {
            job: JobId::from(&job.name),
            root: ReceiveRoot::of_pull(job.root_fs.as_path().clone()),
            receive: job.recv.clone(),
            limit: Limit::new(&job.recv.bandwidth_limit).map(Arc::new),
        };
        let receiver = Receiver::new(self.environment.zfs.clone(), settings);
        let driver = self.driver(&job.replication, &job.conflict_resolution, None)?;
        let extensions = Some(client_cursor::extensions());
        let pruners = pruners(&job.pruning);
        let local = Local::Receiver(receiver);
        let mut active = self.active(local, &job.connect, driver, extensions, pruners)?;
        active.interval = match job.interval {
            PullInterval::Manual => None,
            PullInterval::Every(interval) => Some(interval.duration()),
        };
        Ok(active)
    }

    fn active(
        &self,
        local: Local,
        connect: &Connect,
        driver: driver::Settings,
        extensions: Option<zrepl_proto::extension::Extensions>,
        pruners: Pruners,
    ) -> Result<Active, BuildError> {
        let environment = self.environment;
        let mut client = environment::client_settings(environment.variables)?;
        client.metrics = environment.metrics.clone();
        if let Some(extensions) = extensions {
            client.handshake = handshake::Settings {
                extensions,
                ..client.handshake
            };
        }
        let connect = transport::connector(connect, &environment.transports).map_err(|source| {
            BuildError::Job {
                name: self.handle.name.clone(),
                source,
            }
        })?;
        let signals = Arc::clone(&self.handle.signals);
        Ok(Active {
            interval: None,
            invocation: Box::new(Replication {
                local,
                connect,
                client,
                driver,
                memory: Memory::default(),
                pruners,
                reports: self.handle.reports.clone(),
                signals: Arc::clone(&signals),
                span: self.span.clone(),
            }),
            signals,
            snapping: None,
        })
    }

    fn driver(
        &self,
        replication: &transfer::Replication,
        conflicts: &ConflictResolution,
        stream: Option<StreamPolicy>,
    ) -> Result<driver::Settings, BuildError> {
        let mut settings = driver::Settings::new(replication, conflicts, stream);
        environment::replication_settings(self.environment.variables, &mut settings)?;
        Ok(settings)
    }

    fn snap(&self, job: &SnapJob) -> Active {
        let settings = sender::Settings {
            job: JobId::from(&job.name),
            fallback_job: None,
            filesystems: job.filesystems.clone(),
            send: SendOptions::default(),
            limit: None,
        };
        Active {
            interval: None,
            invocation: Box::new(LocalPruning {
                pruner: Pruner {
                    side: Side::Local,
                    rules: job.pruning.keep.rules(),
                },
                filesystems: Sender::new(self.environment.zfs.clone(), settings),
                reports: self.handle.reports.clone(),
                span: self.span.clone(),
            }),
            signals: Arc::clone(&self.handle.signals),
            snapping: None,
        }
    }

    fn sink(&self, job: &SinkJob) -> Result<Passive, BuildError> {
        let sink = Sink::new(
            self.environment.zfs.clone(),
            JobId::from(&job.name),
            job.root_fs.as_path().clone(),
            job.recv.clone(),
            self.span.clone(),
        );
        self.passive(&job.serve, Offer::Sink(Arc::new(sink)))
    }

    fn source(&self, job: &SourceJob) -> Result<Passive, BuildError> {
        let others = self.config.jobs.iter().map(JobConfig::name);
        let source = Source::new(
            self.environment.zfs.clone(),
            sender_settings(&job.name, &job.filesystems, &job.send),
            client_cursor::can_have_several_clients(&job.serve, &self.config.jobs),
            others
                .filter(|name| **name != job.name)
                .map(JobId::from)
                .collect(),
            self.span.clone(),
        );
        let mut passive = self.passive(&job.serve, Offer::Source(Arc::new(source)))?;
        passive.server.handshake.extensions = client_cursor::extensions();
        Ok(passive)
    }

    fn passive(&self, serve: &Serve, offer: Offer) -> Result<Passive, BuildError> {
        let environment = self.environment;
        let name = self.handle.name.as_str();
        let mut server = environment::server_settings(environment.variables, name)?;
        server.metrics = environment.metrics.clone();
        Ok(Passive {
            serve: serve.clone(),
            shared: environment.transports.clone(),
            server,
            offer,
            snapping: None,
        })
    }
}

fn pruners(pruning: &ReplicatedPruning) -> Pruners {
    Pruners::new(pruning.keep_sender.rules(), pruning.keep_receiver.rules())
}

fn sender_settings(
    job: &JobName,
    filesystems: &crate::filter::FilesystemFilter,
    send: &SendOptions,
) -> sender::Settings {
    sender::Settings {
        job: JobId::from(job),
        fallback_job: None,
        filesystems: filesystems.clone(),
        send: send.clone(),
        limit: Limit::new(&send.bandwidth_limit).map(Arc::new),
    }
}
