//! How a control connection comes about: a wire, the banners, the label, and HTTP/2 over it.

use std::fmt;
use std::future::{Ready, ready};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tokio::time::timeout;
use tonic::codegen::{Service, http::Uri};
use tonic::transport::{Channel, Endpoint};
use zrepl_proto::label::Label;

use crate::rpc::control::stream::{ControlStream, Ending};
use crate::rpc::control::{MAX_FRAME_LEN, max_message_len};
use crate::rpc::handshake::{self, HandshakeError};
use crate::transport::{Connect, ConnectError};

/// For the whole attempt, whatever its parts allow: grpc-go's limit.
const DIAL_LIMIT: Duration = Duration::from_secs(20);
/// As Go's client in effect. A Go server ends the connection of a client that pings more often than every 2.5 s.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Texts of errors come in headers, and a Go server that is not allowed to send one resets the stream instead.
const MAX_HEADER_LIST: u32 = 1 << 20;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(in crate::rpc) enum DialError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("cannot open a control connection to {target}")]
    Handshake {
        target: String,
        source: HandshakeError,
    },
    #[error("cannot open a control connection to {target} within {DIAL_LIMIT:?}")]
    TimedOut { target: String },
}

impl DialError {
    /// Whether somebody has to change something before it can work.
    pub(super) fn is_permanent(&self) -> bool {
        match self {
            Self::Connect(ConnectError::Refused { .. }) => true,
            Self::Connect(ConnectError::TimedOut { .. } | ConnectError::Unreachable { .. })
            | Self::TimedOut { .. } => false,
            Self::Handshake { source, .. } => source.is_permanent(),
        }
    }
}

/// A connection to ask on.
pub(super) struct Connection {
    pub(super) channel: Channel,
    pub(super) ending: Ending,
    /// The longest message that the server takes.
    pub(super) limit: usize,
}

impl Connection {
    pub(super) async fn dial(
        connect: &dyn Connect,
        settings: &handshake::Settings,
    ) -> Result<Self, DialError> {
        let target = || connect.target().to_owned();
        let attempt = async {
            let mut wire = connect.connect().await?;
            let agreement = handshake::open(&mut wire, Label::Control, settings)
                .await
                .map_err(|source| DialError::Handshake {
                    target: target(),
                    source,
                })?;
            Ok((wire, agreement))
        };
        let (wire, agreement) = timeout(DIAL_LIMIT, attempt)
            .await
            .unwrap_or_else(|_| Err(DialError::TimedOut { target: target() }))?;
        let stream = ControlStream::to_server(wire);
        let ending = stream.ending();
        // Servers look at the path alone; an authority there must be.
        let channel = Endpoint::from_static("http://zrepl.invalid")
            .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT)
            .keep_alive_while_idle(true)
            .http2_adaptive_window(false)
            .http2_max_header_list_size(MAX_HEADER_LIST)
            .max_frame_size(MAX_FRAME_LEN)
            .connect_with_connector_lazy(Once(Arc::new(Mutex::new(Some(stream)))));
        Ok(Self {
            channel,
            ending,
            limit: max_message_len(&agreement),
        })
    }

    pub(super) fn is_over(&self) -> bool {
        self.ending.is_over()
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("ending", &self.ending)
            .finish_non_exhaustive()
    }
}

/// Gives tonic the one wire that there is; reconnecting is not its business.
#[derive(Clone)]
struct Once(Arc<Mutex<Option<ControlStream>>>);

/// The wire is gone, and with it the connection: the request that asks for another was not sent.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("connection is lost")]
pub(super) struct Spent;

impl Service<Uri> for Once {
    type Response = TokioIo<ControlStream>;
    type Error = Spent;
    type Future = Ready<Result<Self::Response, Spent>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Spent>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let mut stream = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ready(stream.take().map(TokioIo::new).ok_or(Spent))
    }
}
