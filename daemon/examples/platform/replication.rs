//! A replication as most cases have it: the sender of a push job and the receiver of a pull job in one process, one attempt, one step at
//! a time, and only the newest snapshot at first.

use std::error::Error;
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use zrepl_daemon::config;
use zrepl_daemon::config::job::JobConfig;
use zrepl_daemon::config::transfer::{InitialReplication, ReceiveOptions, SendOptions};
use zrepl_daemon::endpoint::Endpoint;
use zrepl_daemon::endpoint::access::ReceiveRoot;
use zrepl_daemon::endpoint::mark::JobId;
use zrepl_daemon::endpoint::receiver::{self, Receiver};
use zrepl_daemon::endpoint::sender::{self, Sender};
use zrepl_daemon::filter::FilesystemFilter;
use zrepl_daemon::name::ClientIdentity;
use zrepl_daemon::replication::driver::{self, Settings, Sides};
use zrepl_daemon::replication::plan::Policy;
use zrepl_daemon::replication::report::LiveReport;
use zrepl_proto::pdu::{Creation, FilesystemVersion, GuaranteeKind, Protection, SendReq};

use crate::case::Case;
use crate::interference::{Interfered, Interference};
use crate::run::Run;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// Names of the jobs.
pub(crate) const SENDER_JOB: &str = "sender-job";
pub(crate) const RECEIVER_JOB: &str = "receiver-job";

/// The same promise for all steps.
pub(crate) const fn both(kind: GuaranteeKind) -> Protection {
    Protection {
        initial: kind,
        incremental: kind,
    }
}

/// How to replicate.
#[derive(Clone, Debug)]
pub(crate) struct Replication {
    /// Patterns of the sender's filter, with full names.
    pub(crate) filesystems: Vec<(String, bool)>,
    /// The receiver's `root_fs`.
    pub(crate) root_fs: &'static str,
    /// Whom the receiver takes the sender for, if it is a sink.
    pub(crate) client: Option<&'static str>,
    /// The section `send`.
    pub(crate) send: &'static str,
    /// The section `recv`.
    pub(crate) recv: &'static str,
    /// What is sent at first.
    pub(crate) initial: InitialReplication,
    /// What is promised.
    pub(crate) protection: Protection,
    /// How many attempts there are.
    pub(crate) attempts: u32,
    /// The sender's job.
    pub(crate) sender_job: &'static str,
    /// The receiver's job.
    pub(crate) receiver_job: &'static str,
    /// What goes wrong.
    pub(crate) interference: Interference,
}

impl Replication {
    /// Of these filesystems of the case.
    pub(crate) fn of(case: &Case, filesystems: &[&str]) -> Self {
        Self {
            filesystems: filesystems
                .iter()
                .map(|name| (case.full(name), true))
                .collect(),
            root_fs: "receiver",
            client: None,
            send: "{}",
            recv: "{}",
            initial: InitialReplication::MostRecent,
            protection: both(GuaranteeKind::Resumability),
            attempts: 1,
            sender_job: SENDER_JOB,
            receiver_job: RECEIVER_JOB,
            interference: Interference::default(),
        }
    }

    /// Of the filesystem `sender`.
    pub(crate) fn of_sender(case: &Case) -> Self {
        Self::of(case, &["sender"])
    }

    pub(crate) fn protect(mut self, protection: Protection) -> Self {
        self.protection = protection;
        self
    }

    pub(crate) fn interfere(mut self, interference: Interference) -> Self {
        self.interference = interference;
        self
    }

    pub(crate) fn send(mut self, options: &'static str) -> Self {
        self.send = options;
        self
    }

    pub(crate) fn recv(mut self, options: &'static str) -> Self {
        self.recv = options;
        self
    }

    /// The sender, undisturbed.
    pub(crate) fn sender(&self, case: &Case) -> Result<Sender> {
        let settings = sender::Settings {
            job: JobId::new(self.sender_job)?,
            fallback_job: None,
            filesystems: FilesystemFilter::new(
                self.filesystems
                    .iter()
                    .map(|(pattern, accept)| (pattern, *accept)),
            )?,
            send: send_options(self.send)?,
            limit: None,
        };
        Ok(Sender::new(case.shared.clone(), settings))
    }

    /// The receiver, undisturbed.
    pub(crate) fn receiver(&self, case: &Case) -> Result<Receiver> {
        let root_fs = case.dataset(self.root_fs);
        let root = match self.client {
            None => ReceiveRoot::of_pull(root_fs),
            Some(client) => ReceiveRoot::of_client(root_fs, &ClientIdentity::new(client)?)?,
        };
        let settings = receiver::Settings {
            job: JobId::new(self.receiver_job)?,
            root,
            receive: receive_options(self.recv)?,
            limit: None,
        };
        Ok(Receiver::new(case.shared.clone(), settings))
    }

    /// Replicates once.
    pub(crate) async fn run(&self, case: &mut Case) -> Result<Run> {
        let sender = Arc::new(self.sender(case)?) as Arc<dyn Endpoint>;
        let receiver = Arc::new(self.receiver(case)?) as Arc<dyn Endpoint>;
        let sides = Sides {
            sender: Arc::new(Interfered::new(sender, &self.interference)),
            receiver: Arc::new(Interfered::new(receiver, &self.interference)),
        };
        let settings = Settings {
            policy: Policy {
                initial_replication: self.initial,
                stream: Some((&send_options(self.send)?).into()),
            },
            protection: self.protection,
            steps: NonZeroUsize::MIN,
            size_estimates: NonZeroUsize::MIN,
            max_attempts: NonZeroU32::new(self.attempts).ok_or("no attempt")?,
            reconnect_limit: Duration::from_secs(30),
            // Emulated, making many parents takes its time.
            stall_limit: Duration::from_secs(30 * 60),
        };
        let report = LiveReport::default();
        let stop = CancellationToken::new();
        let ending = driver::run(&sides, &settings, &mut case.memory, &report, &stop).await;
        let pool = case.dataset(self.root_fs).pool();
        case.shared.finish_removals([pool]).await;
        Ok(Run::new(ending, &report, case.root()))
    }
}

/// What a sender is asked for, with names such as `sender@1`.
pub(crate) fn request(
    case: &Case,
    from: Option<&str>,
    to: &str,
    token: Option<&str>,
) -> Result<SendReq> {
    let to = case.version(to);
    Ok(SendReq {
        filesystem: to.name.dataset().to_string(),
        from: from
            .map(|from| on_the_wire(&case.version(from)))
            .transpose()?,
        to: Some(on_the_wire(&to)?),
        resume_token: token.unwrap_or_default().to_owned(),
        replication_config: Some(both(GuaranteeKind::Resumability).into()),
    })
}

/// A version as both sides name it.
pub(crate) fn on_the_wire(
    version: &zfs_safe::version::FilesystemVersion,
) -> Result<FilesystemVersion> {
    let make = if version.is_snapshot() {
        FilesystemVersion::snapshot
    } else {
        FilesystemVersion::bookmark
    };
    // Nobody looks at the time.
    let creation: Creation = "2026-11-21T00:00:00Z".parse()?;
    let name = version.name.name().to_owned();
    Ok(make(
        name,
        version.guid.get(),
        version.createtxg.get(),
        creation,
    ))
}

const SNAPSHOTS_BY_HAND: &str = "snapshotting: {type: manual}";
const PRUNING: &str =
    "pruning: {keep_sender: [{type: not_replicated}], keep_receiver: [{type: last_n, count: 1}]}";

fn send_options(yaml: &str) -> Result<SendOptions> {
    let job = format!(
        "{{type: push, name: job, connect: {{type: tcp, address: '127.0.0.1:1'}}, filesystems: {{'<': true}}, send: {yaml}, \
         {SNAPSHOTS_BY_HAND}, {PRUNING}}}"
    );
    match config::parse("platform.yml", &format!("jobs: [{job}]"))?
        .config
        .job("job")
    {
        Some(JobConfig::Push(job)) => Ok(job.send.clone()),
        _ => Err("not a push job".into()),
    }
}

fn receive_options(yaml: &str) -> Result<ReceiveOptions> {
    let job = format!(
        "{{type: sink, name: job, root_fs: root, serve: {{type: local, listener_name: name}}, recv: {yaml}}}"
    );
    match config::parse("platform.yml", &format!("jobs: [{job}]"))?
        .config
        .job("job")
    {
        Some(JobConfig::Sink(job)) => Ok(job.recv.clone()),
        _ => Err("not a sink job".into()),
    }
}
