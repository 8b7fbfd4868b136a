//! Listening sockets: a `host:port` in, connections with their peers' addresses out. Where Go listens on two families, so does
//! this; and what one peer does wrong is no error of the listener.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};

use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};

use super::peer::PeerAddress;
use super::port::{self, PortError};
use crate::config::value::host_port::HostPort;
use crate::transport::TransportError;

/// Connections that wait to be accepted. The system has a limit of its own, often this one.
const BACKLOG: i32 = 4096;

/// Why it is not possible to listen.
#[derive(Debug, thiserror::Error)]
pub enum ListenProblem {
    /// The address may come later, or never.
    #[error(
        "this machine does not have the address; with listen_freebind: true it need not have it yet"
    )]
    AddressMissing(#[source] io::Error),
    /// Somebody else listens there.
    #[error("another program, or another job, listens there already")]
    AddressInUse(#[source] io::Error),
    /// There is no such option, or we may not set it.
    #[error("listen_freebind is not possible on this system")]
    Freebind(#[source] io::Error),
    /// The port is none.
    #[error(transparent)]
    Port(#[from] PortError),
    /// The host is not known.
    #[error("the look-up of the host's addresses failed")]
    Resolve(#[source] io::Error),
    /// The system says no.
    #[error(transparent)]
    System(io::Error),
}

/// A socket that listens.
#[derive(Debug)]
pub(in crate::transport) struct ListeningSocket {
    socket: TcpListener,
    local: SocketAddr,
}

impl ListeningSocket {
    /// Begins to listen. Host names are looked up here and now; of several addresses it is the first, of IPv4 if there is one.
    pub(in crate::transport) fn bind(
        address: &HostPort,
        freebind: bool,
    ) -> Result<Self, TransportError> {
        Self::bound(address.host(), address.port(), freebind).map_err(|source| {
            TransportError::Listen {
                address: address.to_string(),
                source,
            }
        })
    }

    fn bound(host: &str, port: &str, freebind: bool) -> Result<Self, ListenProblem> {
        let port = port::number(port)?;
        let address = match host {
            "" => (Ipv6Addr::UNSPECIFIED, port).into(),
            _ => resolve(host, port).map_err(ListenProblem::Resolve)?,
        };
        let socket = if address.ip().is_unspecified() {
            all_addresses(port, freebind)?
        } else {
            listen(address, freebind)?
        };
        let socket = TcpListener::from_std(socket.into()).map_err(ListenProblem::System)?;
        let local = socket.local_addr().map_err(ListenProblem::System)?;
        Ok(Self { socket, local })
    }

    pub(in crate::transport) fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Waits for the next connection. Cancelling loses none.
    pub(in crate::transport) async fn accept(&self) -> io::Result<(TcpStream, PeerAddress)> {
        loop {
            match self.socket.accept().await {
                Ok((socket, address)) => {
                    let peer = PeerAddress::new(address, &socket);
                    return Ok((socket, peer));
                }
                Err(error) if is_of_one_connection(&error) => {
                    tracing::debug!(%error, "a connection failed before it was accepted");
                }
                Err(error) => return Err(error),
            }
        }
    }
}

fn resolve(host: &str, port: u16) -> io::Result<SocketAddr> {
    let addresses: Vec<SocketAddr> = (host, port).to_socket_addrs()?.collect();
    let v4 = addresses.iter().find(|address| address.is_ipv4());
    v4.or(addresses.first())
        .copied()
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the name has no addresses"))
}

/// Both families, whichever wildcard is written: Go takes `0.0.0.0` and `::` for the same.
fn all_addresses(port: u16, freebind: bool) -> Result<Socket, ListenProblem> {
    match listen((Ipv6Addr::UNSPECIFIED, port).into(), freebind) {
        Err(ListenProblem::AddressMissing(_)) => {}
        Err(ListenProblem::System(error)) if is_family_missing(&error) => {}
        outcome => return outcome,
    }
    listen((Ipv4Addr::UNSPECIFIED, port).into(), freebind)
}

fn is_family_missing(error: &io::Error) -> bool {
    Errno::from_io_error(error) == Some(Errno::AFNOSUPPORT)
}

fn listen(address: SocketAddr, freebind: bool) -> Result<Socket, ListenProblem> {
    let socket = open(address).map_err(ListenProblem::System)?;
    if freebind {
        set_freebind(&socket).map_err(ListenProblem::Freebind)?;
    }
    socket
        .bind(&address.into())
        .and_then(|()| socket.listen(BACKLOG))
        .map_err(|error| match error.kind() {
            io::ErrorKind::AddrNotAvailable => ListenProblem::AddressMissing(error),
            io::ErrorKind::AddrInUse => ListenProblem::AddressInUse(error),
            _ => ListenProblem::System(error),
        })?;
    Ok(socket)
}

fn open(address: SocketAddr) -> io::Result<Socket> {
    let domain = Domain::for_address(address);
    let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    // A daemon that is started anew need not wait until the connections of its predecessor are forgotten.
    socket.set_reuse_address(true)?;
    if domain == Domain::IPV6 {
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    Ok(socket)
}

/// Linux: `IP_FREEBIND` does for both families.
#[cfg(target_os = "linux")]
fn set_freebind(socket: &Socket) -> io::Result<()> {
    socket.set_freebind_v4(true)
}

/// FreeBSD could with `IP_BINDANY`, for which there is no safe function.
#[cfg(not(target_os = "linux"))]
fn set_freebind(_: &Socket) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Whether an error of `accept` is about the connection that it would have returned. Linux also hands out what went wrong on
/// the network meanwhile, and a firewall may forbid a single one.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(
            Errno::CONNABORTED
                | Errno::CONNRESET
                | Errno::HOSTDOWN
                | Errno::HOSTUNREACH
                | Errno::INTR
                | Errno::NETDOWN
                | Errno::NETUNREACH
                | Errno::NOPROTOOPT
                | Errno::PERM
                | Errno::PROTO
                | Errno::TIMEDOUT
        )
    )
}

#[cfg(test)]
mod tests;
