//! TCP, unencrypted: `host:port` of the configuration in, wires out. The passive side knows a client by its address alone,
//! and whoever is not in its map gets not a single byte.

mod bind;
mod dial;
mod peer;
mod port;

use std::net::SocketAddr;
use std::sync::Arc;

use super::ip_map::ClientMap;
use super::{
    BoxFuture, Connect, ConnectError, Incoming, Listener, RefusedPeer, TransportError, Wire,
};
use crate::config::connection::{TcpConnect, TcpServe};
use crate::config::value::host_port::HostPort;
use crate::go_duration::Timeout;

pub use bind::ListenProblem;
pub(super) use bind::ListeningSocket;
pub use dial::{AllFailed, ConnectedToItself};
pub(super) use dial::{dial, prepare};
pub use port::PortError;

/// A step of an accepted connection, for messages.
pub(super) const PREPARING: &str = "setting the options of the socket";

/// Connects by TCP.
#[derive(Debug)]
pub struct TcpConnector {
    target: String,
    address: HostPort,
    dial_timeout: Timeout,
}

impl TcpConnector {
    /// Prepares connections; names are looked up for each of them.
    pub fn new(config: &TcpConnect) -> Self {
        Self {
            target: format!("tcp://{}", config.address),
            address: config.address.clone(),
            dial_timeout: config.dial_timeout,
        }
    }
}

impl Connect for TcpConnector {
    fn connect(&self) -> BoxFuture<'_, Result<Wire, ConnectError>> {
        Box::pin(async {
            let limit = self.dial_timeout.limit();
            let socket = dial(&self.target, &self.address, limit).await?;
            Ok(socket.into())
        })
    }

    fn target(&self) -> &str {
        &self.target
    }
}

/// Listens for TCP.
#[derive(Debug)]
pub struct TcpListener {
    name: String,
    socket: ListeningSocket,
    clients: Arc<ClientMap>,
}

impl TcpListener {
    /// Begins to listen. Belongs in a tokio runtime.
    pub fn bind(config: &TcpServe) -> Result<Self, TransportError> {
        let socket = ListeningSocket::bind(&config.listen, config.listen_freebind)?;
        Ok(Self {
            name: format!("tcp://{}", socket.local_addr()),
            socket,
            clients: Arc::new(config.clients.clone()),
        })
    }

    /// Where it listens: with the port that the system chose, if the configured one is 0.
    pub fn local_addr(&self) -> SocketAddr {
        self.socket.local_addr()
    }
}

impl Listener for TcpListener {
    fn accept(&mut self) -> BoxFuture<'_, std::io::Result<Incoming>> {
        Box::pin(async {
            let (socket, peer) = self.socket.accept().await?;
            let clients = Arc::clone(&self.clients);
            Ok(Incoming {
                peer: peer.to_peer(),
                handshake: Box::pin(async move {
                    let identity = clients
                        .identity(peer.ip(), peer.zone())
                        .map_err(|unknown| RefusedPeer::Unlisted(unknown.to_string()))?;
                    prepare(&socket).map_err(|error| RefusedPeer::failed(PREPARING, error))?;
                    Ok((socket.into(), identity))
                }),
            })
        })
    }

    fn address(&self) -> &str {
        &self.name
    }
}

#[cfg(test)]
mod tests;
