//! The passive side of ssh: `zrepl stdinserver`, which sshd has started for a client, connects to the socket of that client's
//! identity and hands over its standard input and output; out comes a wire over them. The bytes of a replication pass
//! between sshd and us without a process in between. Who may connect is decided by who can reach the sockets' directory.

mod descriptor;
mod handover;
mod socket;

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::io;
use std::path::Path;
use std::task::{Context, Poll};

use tokio::net::UnixStream;

use super::{BoxFuture, Incoming, Listener, Peer};
use crate::name::client_identity::ClientIdentity;
use socket::ClientSocket;

pub use socket::BindError;

/// Listens on one socket for each client. The sockets vanish with it.
#[derive(Debug)]
pub struct StdinserverListener {
    sockets: Vec<ClientSocket>,
    /// Which one is asked first, so that a busy client does not keep others out.
    first: usize,
    address: String,
}

impl StdinserverListener {
    /// Binds the sockets of these clients in `directory`, which must exist and be closed to others. To be called within a
    /// tokio runtime.
    pub fn bind(directory: &Path, clients: &[ClientIdentity]) -> Result<Self, BindError> {
        socket::check(directory)?;
        let clients: BTreeSet<_> = clients.iter().cloned().collect();
        let sockets = clients
            .into_iter()
            .map(|identity| ClientSocket::bind(directory, identity))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            sockets,
            first: 0,
            address: directory.display().to_string(),
        })
    }

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Incoming>> {
        let count = self.sockets.len();
        for index in (0..count).map(|offset| (self.first + offset) % count) {
            let socket = &self.sockets[index];
            if let Poll::Ready(accepted) = socket.poll_accept(cx) {
                self.first = (index + 1) % count;
                return Poll::Ready(accepted.map(|stream| incoming(socket, stream)));
            }
        }
        Poll::Pending
    }
}

impl Listener for StdinserverListener {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<Incoming>> {
        Box::pin(poll_fn(|cx| self.poll_accept(cx)))
    }

    fn address(&self) -> &str {
        &self.address
    }
}

fn incoming(socket: &ClientSocket, stream: UnixStream) -> Incoming {
    let identity = socket.identity.clone();
    let process = stream.peer_cred().ok().and_then(|cred| cred.pid());
    let process = process.map_or_else(String::new, |pid| format!(" (process {pid})"));
    Incoming {
        peer: Peer {
            name: format!("{}{process}", socket.path().display()),
            origin: identity.to_string(),
        },
        handshake: Box::pin(async move { Ok((handover::wire(stream).await?, identity)) }),
    }
}

#[cfg(test)]
mod tests;
