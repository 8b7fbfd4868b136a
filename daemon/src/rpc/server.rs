//! The passive side: takes peers from a listener, finds out who each is and what it wants, and serves it.
//!
//! Each peer has a task of its own from its connect on, so that one which stays silent delays nobody. How many may be silent is
//! [`Admission`]'s to say. A connection that fails ends alone, with a line in the log that says who and why.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;
use zrepl_proto::label::Label;

use super::admission::Admission;
use super::control::server::{self as control, ControlServer};
use super::data::connection::Connection;
use super::data::server::{self as data, Serving};
use super::data::{ConnectionError, Patience};
use super::handshake::{self, HandshakeError};
use super::metrics::{Metrics, Plane, Refusal};
use super::{Client, Endpoints};
use crate::causes::chain;
use crate::name::client_identity::ClientIdentity;
use crate::transport::{Incoming, Listener, Peer, RefusedPeer, Wire};

/// For the transport's own handshake, where the configuration sets no limit, or a higher one.
const TRANSPORT_LIMIT: Duration = Duration::from_secs(60);
/// After an error of the listener itself, such as too many open files.
const PAUSE: Duration = Duration::from_millis(200);

/// How a server behaves.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The job, for log lines and metrics.
    pub job: String,
    /// What it announces, and how long it waits for clients to announce themselves.
    pub handshake: handshake::Settings,
    /// How long it waits for requests and streams.
    pub patience: Patience,
    /// How many peers may be between connect and label.
    pub unfinished: usize,
    /// How many connections one client may have.
    pub per_client: usize,
    /// Where it counts.
    pub metrics: Metrics,
}

impl Settings {
    /// The defaults, for a job of this name.
    pub fn new(job: impl Into<String>) -> Self {
        Self {
            job: job.into(),
            handshake: handshake::Settings::default(),
            patience: Patience::default(),
            unfinished: 256,
            per_client: 256,
            metrics: Metrics::new(),
        }
    }
}

/// Why a peer did not become a client.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error(transparent)]
    Transport(#[from] RefusedPeer),
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
    #[error("the transport's handshake was not finished within {0:?}")]
    TooSlow(Duration),
    #[error(
        "more than {0} peers have connected and not said what they want, most of them from the same address"
    )]
    Displaced(usize),
    #[error("client {client} has {limit} connections already")]
    TooMany {
        client: ClientIdentity,
        limit: usize,
    },
    #[error("this daemon is stopping")]
    Stopping,
}

/// Serves peers until `stop` is cancelled: then it listens no more, cuts streams, gives requests in progress a few seconds, and
/// returns when all connections have ended.
pub async fn serve(
    mut listener: Box<dyn Listener>,
    endpoints: Arc<dyn Endpoints>,
    settings: Settings,
    stop: CancellationToken,
) {
    let job = settings.job.clone();
    let server = Arc::new(Server {
        control: control::serve(Arc::clone(&endpoints), stop.clone()),
        endpoints,
        admission: Mutex::new(Waiting {
            admission: Admission::new(settings.unfinished),
            leave: HashMap::new(),
        }),
        clients: Mutex::default(),
        serving: Serving {
            patience: settings.patience,
            stop: stop.clone(),
        },
        settings,
    });
    let peers = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok(incoming) => {
                let server = Arc::clone(&server);
                let entered = server.enter(&incoming.peer);
                let meeting = async move { server.meet(incoming, entered).await };
                peers.spawn(meeting.in_current_span());
            }
            Err(error) => {
                let (listener, error) = (listener.address(), chain(&error));
                tracing::error!(%job, %listener, %error, "cannot accept connections, will try again");
                tokio::select! {
                    () = stop.cancelled() => break,
                    () = sleep(PAUSE) => {}
                }
            }
        }
    }
    drop(listener);
    peers.close();
    tokio::join!(peers.wait(), server.control.finished());
}

struct Server {
    settings: Settings,
    endpoints: Arc<dyn Endpoints>,
    control: ControlServer,
    serving: Serving,
    admission: Mutex<Waiting>,
    clients: Mutex<HashMap<ClientIdentity, usize>>,
}

/// Peers that have not said yet what they want.
struct Waiting {
    admission: Admission,
    /// Tells one of them to leave.
    leave: HashMap<u64, CancellationToken>,
}

/// A peer's place among those.
struct Entered {
    number: u64,
    leave: CancellationToken,
}

/// One of a client's connections.
struct Place<'a> {
    server: &'a Server,
    client: ClientIdentity,
}

impl Server {
    fn enter(&self, peer: &Peer) -> Entered {
        let leave = self.serving.stop.child_token();
        let mut waiting = lock(&self.admission);
        let admitted = waiting.admission.enter(&peer.origin);
        if let Some(displaced) = admitted.displaced
            && let Some(leave) = waiting.leave.remove(&displaced)
        {
            leave.cancel();
            self.settings.metrics.displaced();
        }
        waiting.leave.insert(admitted.number, leave.clone());
        self.settings.metrics.unfinished(waiting.admission.len());
        Entered {
            number: admitted.number,
            leave,
        }
    }

    fn left(&self, number: u64) {
        let mut waiting = lock(&self.admission);
        waiting.admission.leave(number);
        waiting.leave.remove(&number);
        self.settings.metrics.unfinished(waiting.admission.len());
    }

    async fn meet(&self, incoming: Incoming, entered: Entered) {
        let peer = incoming.peer.clone();
        let greeted = tokio::select! {
            biased;
            () = entered.leave.cancelled() => Err(self.told_to_leave()),
            greeted = self.greet(incoming) => greeted,
        };
        self.left(entered.number);
        let (job, name) = (&self.settings.job, &peer.name);
        match greeted {
            Ok((wire, client, label)) => self.serve(wire, client, label).await,
            Err(Refused::Stopping) => {}
            Err(refused) => {
                let reason = match refused {
                    Refused::Transport(RefusedPeer::Unlisted(_)) => Refusal::Unlisted,
                    Refused::Transport(_) | Refused::TooSlow(_) => Refusal::Transport,
                    Refused::Handshake(_) => Refusal::Handshake,
                    Refused::Displaced(_) | Refused::TooMany { .. } | Refused::Stopping => {
                        Refusal::Flood
                    }
                };
                self.settings.metrics.refused(job, reason);
                let error = chain(&refused);
                tracing::warn!(%job, peer = %name, %error, "connection refused");
            }
        }
    }

    fn told_to_leave(&self) -> Refused {
        if self.serving.stop.is_cancelled() {
            Refused::Stopping
        } else {
            Refused::Displaced(self.settings.unfinished)
        }
    }

    /// From the connect to the label.
    async fn greet(&self, incoming: Incoming) -> Result<(Wire, Client, Label), Refused> {
        let (mut wire, identity) = timeout(TRANSPORT_LIMIT, incoming.handshake)
            .await
            .map_err(|_| Refused::TooSlow(TRANSPORT_LIMIT))??;
        let greeting = handshake::accept(&mut wire, &self.settings.handshake).await?;
        let client = Client {
            identity,
            peer: incoming.peer.name,
            agreement: greeting.agreement,
        };
        Ok((wire, client, greeting.label))
    }

    async fn serve(&self, wire: Wire, client: Client, label: Label) {
        let (job, metrics) = (&self.settings.job, &self.settings.metrics);
        let place = match self.place(&client.identity) {
            Ok(place) => place,
            Err(refused) => {
                metrics.refused(job, Refusal::Flood);
                let error = chain(&refused);
                tracing::warn!(%job, peer = %client.peer, %error, "connection refused");
                return;
            }
        };
        match label {
            Label::Control => {
                let _open = metrics.open(job, Plane::Control);
                self.control.serve(wire, client).await;
            }
            Label::Data => {
                let _open = metrics.open(job, Plane::Data);
                self.serve_data(wire, client).await;
            }
        }
        drop(place);
    }

    async fn serve_data(&self, wire: Wire, client: Client) {
        let job = &self.settings.job;
        let endpoint = self.endpoints.endpoint(&client);
        let Client { identity, peer, .. } = client;
        let connection =
            Connection::new(wire, &self.settings.patience, self.settings.metrics.clone());
        let name = format!("{identity} ({peer})");
        let served = data::serve(connection, &name, endpoint, &self.serving).await;
        let request = served
            .request
            .map_or("none", zrepl_proto::response::Endpoint::path);
        match served.result {
            Ok(()) => {
                tracing::debug!(%job, client = %identity, %peer, request, "request done");
            }
            // A client that changes its mind, or whose receive failed; it says so in its own log.
            Err(data::ServeError::Connection(error @ ConnectionError::Rst)) => {
                let error = chain(&error);
                tracing::info!(%job, client = %identity, %peer, request, %error, "request cut short");
            }
            Err(error) => {
                let error = chain(&error);
                tracing::warn!(%job, client = %identity, %peer, request, %error, "request failed");
            }
        }
    }

    fn place(&self, client: &ClientIdentity) -> Result<Place<'_>, Refused> {
        let limit = self.settings.per_client;
        let mut clients = lock(&self.clients);
        let count = clients.entry(client.clone()).or_default();
        if *count >= limit {
            let client = client.clone();
            return Err(Refused::TooMany { client, limit });
        }
        *count += 1;
        Ok(Place {
            server: self,
            client: client.clone(),
        })
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut clients = lock(&self.server.clients);
        if let Some(count) = clients.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                clients.remove(&self.client);
            }
        }
    }
}

/// What these locks guard is whole at any time, also where somebody panicked.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
