//! A job that others ask: gives each client the endpoint that is its own.
//!
//! A client's endpoint is kept as long as the job runs, because what is in progress on one connection matters on another. Since a
//! network of clients can have any number of identities, endpoints that no connection uses are given up when there are too many.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;
use tracing::Span;
use zfs_safe::name::DatasetPath;

use super::client_cursor;
use super::side::Side;
use super::snapper::Snapping;
use crate::bandwidth::Limit;
use crate::causes::chain;
use crate::config::connection::Serve;
use crate::config::transfer::ReceiveOptions;
use crate::endpoint::Endpoint;
use crate::endpoint::access::ReceiveRoot;
use crate::endpoint::local_zfs::LocalZfs;
use crate::endpoint::mark::JobId;
use crate::endpoint::receiver::{self, Receiver};
use crate::endpoint::sender::{self, Sender};
use crate::name::ClientIdentity;
use crate::rpc::server::{self, serve};
use crate::rpc::{Client, Endpoints};
use crate::transport::{self, Listener, Shared, TransportError};

mod refusing;

use refusing::Refusing;

/// How many endpoints are kept before unused ones go.
const KEPT: usize = 1024;

/// The job, before it listens.
#[derive(Debug)]
pub(super) struct Passive {
    pub(super) serve: Serve,
    pub(super) shared: Shared,
    pub(super) server: server::Settings,
    pub(super) offer: Offer,
    /// A sink has none.
    pub(super) snapping: Option<Snapping>,
}

/// What clients get.
#[derive(Clone, Debug)]
pub(super) enum Offer {
    /// A sink: to each client its own place below `root_fs`.
    Sink(Arc<Sink>),
    /// A source: all clients the same filesystems.
    Source(Arc<Source>),
}

/// The job, listening.
#[derive(Debug)]
pub(super) struct Listening {
    listener: Box<dyn Listener>,
    server: server::Settings,
    offer: Offer,
    snapping: Option<Snapping>,
}

impl Passive {
    /// From now on only tells clients what they ask for, and removes no stale marks on that occasion: they may not be stale for the
    /// daemon, which knows what is running.
    pub(super) fn leave_marks(&self) {
        let leaves_marks = match &self.offer {
            Offer::Sink(sink) => &sink.leaves_marks,
            Offer::Source(source) => &source.leaves_marks,
        };
        leaves_marks.store(true, Ordering::Relaxed);
    }

    /// Begins to listen.
    pub(super) fn listen(self) -> Result<Listening, TransportError> {
        Ok(Listening {
            listener: transport::listener(&self.serve, &self.shared)?,
            server: self.server,
            offer: self.offer,
            snapping: self.snapping,
        })
    }
}

impl Listening {
    /// Serves until `stop` is cancelled.
    pub(super) async fn run(self, stop: CancellationToken) {
        let endpoints: Arc<dyn Endpoints> = match &self.offer {
            Offer::Sink(sink) => Arc::clone(sink) as _,
            Offer::Source(source) => Arc::clone(source) as _,
        };
        tracing::info!(listener = %self.listener.address(), "waiting for connections");
        let snapping = async {
            if let Some(snapping) = self.snapping {
                snapping.run(&stop).await;
            }
        };
        let serving = serve(self.listener, endpoints, self.server, stop.clone());
        tokio::join!(serving, snapping);
        match &self.offer {
            Offer::Sink(sink) => sink.settle().await,
            Offer::Source(source) => source.settle().await,
        }
    }
}

/// Endpoints by whose they are.
#[derive(Debug)]
struct Kept<K, E>(Mutex<HashMap<K, Arc<E>>>);

impl<K, E> Default for Kept<K, E> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash, E> Kept<K, E> {
    /// The endpoint that is kept, or a new one.
    fn endpoint(&self, key: K, make: impl FnOnce() -> E) -> Arc<E> {
        let mut kept = self.lock();
        if kept.len() >= KEPT && !kept.contains_key(&key) {
            kept.retain(|_, endpoint| Arc::strong_count(endpoint) > 1);
        }
        let endpoint = kept.entry(key).or_insert_with(|| Arc::new(make()));
        Arc::clone(endpoint)
    }

    fn all(&self) -> Vec<Arc<E>> {
        self.lock().values().map(Arc::clone).collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<K, Arc<E>>> {
        // The map is whole at any time, also where somebody panicked.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The clients of a sink.
#[derive(Debug)]
pub(super) struct Sink {
    zfs: LocalZfs,
    job: JobId,
    root_fs: DatasetPath,
    receive: ReceiveOptions,
    limit: Option<Arc<Limit>>,
    span: Span,
    receivers: Kept<ClientIdentity, Receiver>,
    /// Even if they are stale.
    leaves_marks: AtomicBool,
}

impl Sink {
    /// A sink that files what it receives below `root_fs`.
    pub(super) fn new(
        zfs: LocalZfs,
        job: JobId,
        root_fs: DatasetPath,
        receive: ReceiveOptions,
        span: Span,
    ) -> Self {
        Self {
            limit: Limit::new(&receive.bandwidth_limit).map(Arc::new),
            zfs,
            job,
            root_fs,
            receive,
            span,
            receivers: Kept::default(),
            leaves_marks: AtomicBool::new(false),
        }
    }

    async fn settle(&self) {
        for receiver in self.receivers.all() {
            receiver.settle().await;
        }
        // Of receivers that are not kept any more.
        self.zfs.finish_removals([self.root_fs.pool()]).await;
    }

    fn receiver(&self, root: ReceiveRoot) -> Receiver {
        let settings = receiver::Settings {
            job: self.job.clone(),
            root,
            receive: self.receive.clone(),
            limit: self.limit.clone(),
        };
        let receiver = Receiver::new(self.zfs.clone(), settings);
        if self.leaves_marks.load(Ordering::Relaxed) {
            receiver.that_changes_nothing()
        } else {
            receiver
        }
    }
}

impl Endpoints for Sink {
    fn endpoint(&self, client: &Client) -> Arc<dyn Endpoint> {
        let identity = &client.identity;
        let endpoint: Arc<dyn Endpoint> =
            match ReceiveRoot::of_client(self.root_fs.clone(), identity) {
                Ok(root) => self
                    .receivers
                    .endpoint(identity.clone(), || self.receiver(root)),
                Err(error) => {
                    let reason = format!(
                        "client identity {identity} cannot be used as a dataset below {}: {}",
                        self.root_fs,
                        chain(&error)
                    );
                    self.span
                        .in_scope(|| tracing::error!(client = %identity, "{reason}"));
                    Arc::new(Refusing::new(reason))
                }
            };
        Arc::new(Side::new(endpoint, of_client(&self.span, identity)))
    }
}

/// The clients of a source.
#[derive(Debug)]
pub(super) struct Source {
    zfs: LocalZfs,
    settings: sender::Settings,
    /// Whether clients are kept apart, if they can be.
    has_several_clients: bool,
    /// The names of the daemon's other jobs.
    others: Vec<JobId>,
    span: Span,
    senders: Kept<JobId, Sender>,
    /// Even if they are stale.
    leaves_marks: AtomicBool,
}

impl Source {
    /// A source that several clients may come to.
    pub(super) fn new(
        zfs: LocalZfs,
        settings: sender::Settings,
        has_several_clients: bool,
        others: Vec<JobId>,
        span: Span,
    ) -> Self {
        Self {
            zfs,
            settings,
            has_several_clients,
            others,
            span,
            senders: Kept::default(),
            leaves_marks: AtomicBool::new(false),
        }
    }
}

impl Source {
    async fn settle(&self) {
        for sender in self.senders.all() {
            sender.settle().await;
        }
    }
}

impl Endpoints for Source {
    fn endpoint(&self, client: &Client) -> Arc<dyn Endpoint> {
        let settings = if self.has_several_clients {
            self.span
                .in_scope(|| settings_for(client, &self.settings, &self.others))
        } else {
            self.settings.clone()
        };
        let sender = self.senders.endpoint(settings.job.clone(), || {
            let sender = Sender::new(self.zfs.clone(), settings);
            if self.leaves_marks.load(Ordering::Relaxed) {
                sender.that_changes_nothing()
            } else {
                sender
            }
        });
        Arc::new(Side::new(sender, of_client(&self.span, &client.identity)))
    }
}

/// With the name in which marks for this client are made, where several can come.
fn settings_for(client: &Client, plain: &sender::Settings, others: &[JobId]) -> sender::Settings {
    if !client_cursor::is_agreed(&client.agreement) {
        return plain.clone();
    }
    let Some(job) = client_cursor::job_id(&plain.job, &client.identity, others) else {
        let why =
            "the names of job and client are too long together, or could be those of another job";
        tracing::warn!(client = %client.identity, "cannot keep this client's cursor apart from those of other clients: {why}");
        return plain.clone();
    };
    sender::Settings {
        job,
        fallback_job: Some(plain.job.clone()),
        ..plain.clone()
    }
}

/// Names the client in what is logged for it.
fn of_client(job: &Span, client: &ClientIdentity) -> Span {
    tracing::error_span!(parent: job, "client", %client)
}

#[cfg(test)]
mod tests;
