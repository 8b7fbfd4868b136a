//! The listening side of TLS over TCP. A client is who the common name of its certificate says, if the `ca` file vouches for
//! the certificate and the configuration lists the name.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::KeyLog;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::failure::TlsFailure;
use super::files::{Facts, load_authorities, load_identity};
use super::stream::wire;
use super::trust::Role;
use crate::config::connection::TlsServe;
use crate::name::client_identity::ClientIdentity;
use crate::transport::tcp::{ListeningSocket, PREPARING, prepare};
use crate::transport::time_limit::{Expired, within};
use crate::transport::{BoxFuture, Incoming, Listener, RefusedPeer, TransportError, Wire};

const STEP: &str = "the TLS handshake";

/// Listens for TLS.
#[derive(Debug)]
pub struct TlsListener {
    name: String,
    socket: ListeningSocket,
    gate: Arc<Gate>,
}

/// What all handshakes of a listener need.
struct Gate {
    acceptor: TlsAcceptor,
    clients: Vec<ClientIdentity>,
    limit: Option<Duration>,
}

impl std::fmt::Debug for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gate")
            .field("clients", &self.clients)
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

impl TlsListener {
    /// Reads the certificates and the key, then begins to listen. Belongs in a tokio runtime.
    pub fn bind(config: &TlsServe, key_log: Arc<dyn KeyLog>) -> Result<Self, TransportError> {
        let authorities = load_authorities(config.ca.as_path())?;
        let identity = load_identity(config.cert.as_path(), config.key.as_path())?;
        let server = super::server(authorities, &identity, key_log)?;
        let socket = ListeningSocket::bind(&config.listen, config.listen_freebind)?;
        Ok(Self {
            name: format!("tls://{}", socket.local_addr()),
            socket,
            gate: Arc::new(Gate {
                acceptor: server.into(),
                clients: config.client_cns.clone(),
                limit: config.handshake_timeout.limit(),
            }),
        })
    }

    /// Where it listens: with the port that the system chose, if the configured one is 0.
    pub fn local_addr(&self) -> SocketAddr {
        self.socket.local_addr()
    }
}

impl Listener for TlsListener {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<Incoming>> {
        Box::pin(async {
            let (socket, peer) = self.socket.accept().await?;
            let gate = Arc::clone(&self.gate);
            Ok(Incoming {
                peer: peer.to_peer(),
                handshake: Box::pin(async move { gate.admit(socket).await }),
            })
        })
    }

    fn address(&self) -> &str {
        &self.name
    }
}

impl Gate {
    async fn admit(&self, socket: TcpStream) -> Result<(Wire, ClientIdentity), RefusedPeer> {
        prepare(&socket).map_err(|error| RefusedPeer::failed(PREPARING, error))?;
        let handshake = self.acceptor.accept(socket).into_fallible();
        let stream = match within(self.limit, handshake).await {
            Err(Expired(limit)) => return Err(RefusedPeer::TimedOut(STEP, limit)),
            Ok(Err((error, socket))) => {
                return Err(match TlsFailure::of(error, Role::Client) {
                    Ok(failure) => {
                        part(socket).await;
                        RefusedPeer::failed(STEP, failure)
                    }
                    Err(error) => RefusedPeer::failed(STEP, error),
                });
            }
            Ok(Ok(stream)) => stream,
        };
        match self.identity(&stream) {
            Ok(identity) => Ok((wire(stream, Role::Client), identity)),
            Err(unlisted) => {
                part(stream).await;
                Err(RefusedPeer::Unlisted(unlisted))
            }
        }
    }

    /// Who the client is, or why it is nobody.
    fn identity(&self, stream: &TlsStream<TcpStream>) -> Result<ClientIdentity, String> {
        let (_, session) = stream.get_ref();
        let shown = session.peer_certificates().and_then(<[_]>::first);
        let name = shown
            .and_then(Facts::of)
            .and_then(|facts| facts.common_name)
            .ok_or("the client's certificate has no common name")?;
        let listed = self.clients.iter().find(|client| client.as_str() == name);
        listed
            .cloned()
            .ok_or_else(|| format!("the client's common name {name:?} is not among client_cns"))
    }
}

/// Says goodbye and closes. Closing with unread input, such as the banner of a client that thinks it is welcome, would be a
/// reset, which may overtake the goodbye and leave the client without the reason.
async fn part(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    const PATIENCE: Duration = Duration::from_secs(1);
    const CHUNKS: usize = 16;
    let parting = async {
        stream.shutdown().await?;
        let mut ignored = [0; 4096];
        for _ in 0..CHUNKS {
            if stream.read(&mut ignored).await? == 0 {
                break;
            }
        }
        io::Result::Ok(())
    };
    // Whether the client listens is its own affair.
    within(Some(PATIENCE), parting).await.ok();
}
