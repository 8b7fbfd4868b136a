//! How the two sides reach each other: byte streams whose other end is known.
//!
//! A [`Connect`] opens a [`Wire`] to the passive side. A [`Listener`] hands out an [`Incoming`] for each peer that knocks; its
//! handshake, which depends on the peer, is a future of its own, so a peer that stays silent delays nobody else. What is
//! spoken over a wire is no concern of this module.

pub mod ip_map;
pub mod local;
pub mod ssh;
pub mod stdinserver;
pub mod tcp;
mod time_limit;
pub mod tls;
pub mod wire;

use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use rustls::KeyLog;

use crate::config::connection;
use crate::name::client_identity::ClientIdentity;
pub use wire::Wire;

/// A future that can be kept in a struct.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The active side: knows how to reach one passive side.
pub trait Connect: fmt::Debug + Send + Sync {
    /// Opens a wire, transport's own handshakes included, within the configured time.
    fn connect(&self) -> BoxFuture<'_, Result<Wire, ConnectError>>;

    /// Whereto, for messages: `tcp://backup.example.org:8888`.
    fn target(&self) -> &str;
}

/// The passive side: waits for peers.
pub trait Listener: fmt::Debug + Send {
    /// Waits until the next peer knocks, and for nothing that this peer does afterwards. An error concerns the listener
    /// itself, such as too many open files; it may be called again after a pause. Cancelling loses no peer.
    fn accept(&mut self) -> BoxFuture<'_, std::io::Result<Incoming>>;

    /// Where it listens, for messages.
    fn address(&self) -> &str;
}

/// A peer that has knocked.
pub struct Incoming {
    /// Who, as far as that is known before any handshake: an address, or the identity that a socket stands for.
    pub peer: Peer,
    /// Ends with the wire and the client's identity, or with the reason why there is none; then the connection is closed.
    /// It has no limit of its own unless the configuration sets one.
    pub handshake: BoxFuture<'static, Result<(Wire, ClientIdentity), RefusedPeer>>,
}

impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Incoming").field(&self.peer).finish()
    }
}

/// A peer before it is a client. Peers of equal `origin` share one allowance of unfinished handshakes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// For messages, such as `192.0.2.7:41234`.
    pub name: String,
    /// What many connections of one peer have in common: its address without port.
    pub origin: String,
}

/// What the transports of one daemon share; made once.
#[derive(Clone, Debug)]
pub struct Shared {
    /// The listeners of the `local` transport.
    pub local: local::LocalListeners,
    /// Where the secrets of TLS connections go: see [`tls::key_log`].
    pub key_log: Arc<dyn KeyLog>,
    /// Where `zrepl stdinserver` looks for the sockets of its clients.
    pub stdinserver_sockets: PathBuf,
}

/// Makes the active side that a job's `connect` describes. Nothing is connected yet.
pub fn connector(
    config: &connection::Connect,
    shared: &Shared,
) -> Result<Arc<dyn Connect>, TransportError> {
    Ok(match config {
        connection::Connect::Tcp(tcp) => Arc::new(tcp::TcpConnector::new(tcp)),
        connection::Connect::Tls(tls) => {
            Arc::new(tls::TlsConnector::new(tls, Arc::clone(&shared.key_log))?)
        }
        connection::Connect::Local(local) => {
            Arc::new(local::LocalConnector::new(local, &shared.local))
        }
        connection::Connect::Ssh(ssh) => Arc::new(ssh::SshConnector::new(ssh)),
    })
}

/// Makes the passive side that a job's `serve` describes, and begins to listen. Belongs in a tokio runtime.
pub fn listener(
    config: &connection::Serve,
    shared: &Shared,
) -> Result<Box<dyn Listener>, TransportError> {
    Ok(match config {
        connection::Serve::Tcp(tcp) => Box::new(tcp::TcpListener::bind(tcp)?),
        connection::Serve::Tls(tls) => {
            Box::new(tls::TlsListener::bind(tls, Arc::clone(&shared.key_log))?)
        }
        connection::Serve::Local(local) => {
            Box::new(local::LocalListener::new(local, &shared.local)?)
        }
        connection::Serve::Stdinserver(serve) => {
            let directory = &shared.stdinserver_sockets;
            let clients = &serve.client_identities;
            Box::new(stdinserver::StdinserverListener::bind(directory, clients)?)
        }
    })
}

/// Why a side cannot be made from its configuration.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// As configured.
        address: String,
        /// Why not.
        source: tcp::ListenProblem,
    },
    /// One name, one listener.
    #[error("local listener {0:?} belongs to another job already")]
    LocalNameInUse(String),
    /// The sockets of `zrepl stdinserver` cannot be made.
    #[error(transparent)]
    Stdinserver(#[from] stdinserver::BindError),
    /// rustls does not take our certificates.
    #[error("cannot set up TLS")]
    Tls(#[from] rustls::Error),
    /// A certificate or key cannot be used.
    #[error(transparent)]
    TlsFile(#[from] tls::files::TlsFileError),
}

/// Why a peer did not become a client.
#[derive(Debug, thiserror::Error)]
pub enum RefusedPeer {
    /// Nobody has listed it.
    #[error("{0}")]
    Unlisted(String),
    /// It did not finish in time.
    #[error("{0} was not finished within {1:?}")]
    TimedOut(&'static str, std::time::Duration),
    /// TLS, or what else the transport asks for, failed.
    #[error("{step} failed")]
    Handshake {
        /// What was attempted.
        step: &'static str,
        /// Why it failed.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl RefusedPeer {
    fn failed(
        step: &'static str,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        let source = source.into();
        Self::Handshake { step, source }
    }
}

/// Why there is no wire.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The time allowed is over.
    #[error("cannot connect to {target}: {step} was not finished within {limit:?}")]
    TimedOut {
        /// Whereto.
        target: String,
        /// What was attempted.
        step: &'static str,
        /// The time allowed.
        limit: std::time::Duration,
    },
    /// The network, the other host or the program in between said no; it may say yes later.
    #[error("cannot connect to {target}: {step} failed")]
    Unreachable {
        /// Whereto.
        target: String,
        /// What was attempted.
        step: &'static str,
        /// Why it failed.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The other side is not whom we expect, or does not want us: somebody has to change a configuration.
    #[error("cannot connect to {target}: {step} failed")]
    Refused {
        /// Whereto.
        target: String,
        /// What was attempted.
        step: &'static str,
        /// Why it failed.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

#[cfg(test)]
mod tests;
