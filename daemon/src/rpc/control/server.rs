//! The passive side of control connections.
//!
//! Wires that carry the label `zrepl_control` flow in, each with its client; requests go to the [`Endpoint`] of that client and
//! its answers back. One connection does not disturb another, nor does a client that means harm: what it can make us keep
//! is limited, and a handler that panics fails its request alone. Each connection ends with one line in the log.
//!
//! HTTP/2 runs in a task per connection that this module owns, rather than in tonic's own accept loop, which tells nobody why a
//! connection ended and cannot end one by force.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::codegen::StdError;

use self::dispatch::Dispatch;
use super::MAX_FRAME_LEN;
use super::stream::{ControlStream, Ending};
use crate::causes::chain;
use crate::rpc::{Client, Endpoints};
use crate::transport::Wire;

mod answer;
mod dispatch;

/// As Go: a ping after this time without a sign of life, and the end if there is none for the second time.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// For the client's HTTP/2 preface; until then there is no keepalive. Go allows 120 s, and its clients need none of them.
const PREFACE_LIMIT: Duration = Duration::from_secs(30);
const PREFACE_LEN: u64 = 24;
/// For requests in progress when we stop.
const GRACE: Duration = Duration::from_secs(5);

/// Go's clients assume 100 unless told otherwise, and queue what is above.
const MAX_STREAMS: u32 = 128;
/// A zrepl's request has a dozen short headers.
const MAX_HEADER_LIST: u32 = 16 << 10;
/// Streams that a client may reset before we got to look at them.
const MAX_EARLY_RESETS: usize = 20;
/// Malformed requests on one connection.
const MAX_MALFORMED: usize = 64;
/// What may be under way to us unread: on a stream, and on all. Streams that wait for their turn leave room for the others.
const STREAM_WINDOW: u32 = 64 << 10;
const CONNECTION_WINDOW: u32 = MAX_STREAMS * STREAM_WINDOW;
/// What a stream may hold of an answer that the client does not take.
const SEND_BUFFER: usize = 64 << 10;

/// Serves control connections.
pub struct ControlServer {
    endpoints: Arc<dyn Endpoints>,
    stop: CancellationToken,
    connections: TaskTracker,
}

/// A server that asks these endpoints, until it is stopped: then it says goodbye on all connections and gives requests in
/// progress a few seconds.
pub fn serve(endpoints: Arc<dyn Endpoints>, stop: CancellationToken) -> ControlServer {
    ControlServer {
        endpoints,
        stop,
        connections: TaskTracker::new(),
    }
}

impl ControlServer {
    /// Takes over a connection behind its label. Does not wait.
    pub fn accept(&self, wire: Wire, client: Client) {
        let endpoint = self.endpoints.endpoint(&client);
        let service = Dispatch::new(endpoint, Arc::new(client));
        let stop = self.stop.clone();
        self.connections.spawn(run(wire, service, stop));
    }

    /// Serves a connection behind its label to its end.
    pub async fn serve(&self, wire: Wire, client: Client) {
        let endpoint = self.endpoints.endpoint(&client);
        let service = Dispatch::new(endpoint, Arc::new(client));
        let stop = self.stop.clone();
        self.connections
            .track_future(run(wire, service, stop))
            .await;
    }

    /// How many connections there are.
    pub fn connections(&self) -> usize {
        self.connections.len()
    }

    /// Returns when all connections have ended. They do so after a stop.
    pub async fn finished(&self) {
        self.connections.close();
        self.connections.wait().await;
    }
}

impl fmt::Debug for ControlServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ControlServer")
            .field("connections", &self.connections())
            .finish_non_exhaustive()
    }
}

/// Requests that wait for their answer.
#[derive(Clone, Debug, Default)]
struct InProgress(Arc<AtomicUsize>);

/// One of them.
#[derive(Debug)]
struct Request(InProgress);

impl InProgress {
    fn begin(&self) -> Request {
        self.0.fetch_add(1, Ordering::Relaxed);
        Request(self.clone())
    }

    fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn run(wire: Wire, service: Dispatch, stop: CancellationToken) {
    let client = Arc::clone(service.client());
    let in_progress = service.in_progress().clone();
    let stream = ControlStream::from_client(wire);
    let ending = stream.ending();
    let end = drive(stream, service, &ending, &stop).await;
    let why = end.text(&ending);
    let (identity, peer) = (&client.identity, &client.peer);
    if end.is_orderly(&ending, in_progress.count()) {
        tracing::debug!(client = %identity, %peer, why, "control connection ended");
    } else {
        tracing::warn!(client = %identity, %peer, why, "control connection ended");
    }
}

/// What ended a connection.
#[derive(Debug)]
enum End {
    /// HTTP/2 did: the client closed it, broke it, or fell silent.
    Http(Result<(), StdError>),
    /// There never was any HTTP/2.
    NoPreface,
    /// We did.
    Stopped,
    /// We did, and requests in progress took too long.
    OutOfGrace,
}

impl End {
    /// A client may close or reset a connection on which it waits for nothing: Go's says goodbye first, and then resets the
    /// connection if it has left a ping unread.
    fn is_orderly(&self, ending: &Ending, in_progress: usize) -> bool {
        match self {
            Self::Http(result) => {
                in_progress == 0 && (result.is_ok() || ending.by_peer().is_some())
            }
            Self::Stopped => true,
            Self::NoPreface | Self::OutOfGrace => false,
        }
    }

    fn text(&self, ending: &Ending) -> String {
        match (self, ending.by_peer()) {
            (Self::Http(_), Some(end)) => end.to_string(),
            (Self::Http(Err(error)), None) => chain(error.as_ref()),
            (Self::Http(Ok(())), None) => "client has finished".to_owned(),
            (Self::NoPreface, _) => format!("client sent no HTTP/2 within {PREFACE_LIMIT:?}"),
            (Self::Stopped, _) => "server stops".to_owned(),
            (Self::OutOfGrace, _) => {
                format!("server stops, requests were still in progress after {GRACE:?}")
            }
        }
    }
}

async fn drive(
    stream: ControlStream,
    service: Dispatch,
    ending: &Ending,
    stop: &CancellationToken,
) -> End {
    let mut builder = Builder::new(TokioExecutor::new()).http2_only();
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .adaptive_window(false)
        .max_frame_size(MAX_FRAME_LEN)
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEADER_LIST)
        .max_pending_accept_reset_streams(MAX_EARLY_RESETS)
        .max_local_error_reset_streams(MAX_MALFORMED)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER);
    let service = TowerToHyperService::new(service);
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let no_preface = async {
        sleep(PREFACE_LIMIT).await;
        if ending.received() >= PREFACE_LEN {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        result = &mut connection => return End::Http(result),
        () = no_preface => return End::NoPreface,
        () = stop.cancelled() => {}
    }
    if ending.received() < PREFACE_LEN {
        return End::Stopped;
    }
    connection.as_mut().graceful_shutdown();
    match timeout(GRACE, connection).await {
        Ok(_) => End::Stopped,
        Err(_) => End::OutOfGrace,
    }
}
