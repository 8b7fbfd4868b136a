//! Connects to a `host:port`: whichever of its addresses answers first. The next one is tried as soon as one has failed, or
//! has been silent for a moment, so that a family of addresses that leads nowhere costs that moment and no more.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinSet;

use super::port;
use crate::config::value::host_port::HostPort;
use crate::transport::ConnectError;
use crate::transport::time_limit::{Expired, within};

/// How long one address is waited for before the next is tried as well (RFC 8305 proposes it).
const STAGGER: Duration = Duration::from_millis(250);

/// As long as Go waits before it asks an idle peer whether it is still there, and between two such questions.
const KEEPALIVE: Duration = Duration::from_secs(15);

/// Unanswered questions after which the connection ends, as in Go.
const KEEPALIVE_PROBES: u32 = 9;

/// Why no address of a host could be connected to.
#[derive(Debug)]
pub struct AllFailed(Vec<(SocketAddr, io::Error)>);

impl fmt::Display for AllFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("the name has no addresses");
        }
        for (index, (address, error)) in self.0.iter().enumerate() {
            let comma = if index > 0 { ", " } else { "" };
            write!(f, "{comma}{address}: {error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for AllFailed {}

/// What the system may do if nobody listens at a port that it also gives to clients.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("nobody listens there: the connection came back to ourselves")]
pub struct ConnectedToItself;

/// Connects; `target` is for messages.
pub(in crate::transport) async fn dial(
    target: &str,
    address: &HostPort,
    limit: Option<Duration>,
) -> Result<TcpStream, ConnectError> {
    const STEP: &str = "the TCP connection";
    let target = || target.to_owned();
    let port = port::number(address.port()).map_err(|error| ConnectError::Refused {
        target: target(),
        step: STEP,
        source: error.into(),
    })?;
    let attempt = async {
        let addresses = resolve(address.host(), port)
            .await
            .map_err(|error| ("the look-up of the host's addresses", error.into()))?;
        first_to_answer(alternating(addresses))
            .await
            .map_err(|error| (STEP, error.into()))
    };
    match within(limit, attempt).await {
        Ok(Ok(socket)) => Ok(socket),
        Ok(Err((step, source))) => Err(ConnectError::Unreachable {
            target: target(),
            step,
            source,
        }),
        Err(Expired(limit)) => Err(ConnectError::TimedOut {
            target: target(),
            step: STEP,
            limit,
        }),
    }
}

async fn resolve(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    if host.is_empty() {
        // As in Go: this machine.
        let (v4, v6) = (Ipv4Addr::LOCALHOST, Ipv6Addr::LOCALHOST);
        return Ok(vec![(v4, port).into(), (v6, port).into()]);
    }
    Ok(lookup_host((host, port)).await?.collect())
}

/// Addresses of the two families in turn, beginning with that of the first; otherwise in the order of the resolver.
fn alternating(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let Some(first) = addresses.first().map(SocketAddr::is_ipv6) else {
        return addresses;
    };
    let (preferred, others): (Vec<_>, Vec<_>) = addresses
        .into_iter()
        .partition(|address| address.is_ipv6() == first);
    let mut others = others.into_iter();
    let mut order = Vec::new();
    for address in preferred {
        order.push(address);
        order.extend(others.next());
    }
    order.extend(others);
    order
}

async fn first_to_answer(addresses: Vec<SocketAddr>) -> Result<TcpStream, AllFailed> {
    let mut waiting = addresses.into_iter();
    let mut attempts = JoinSet::new();
    let mut failed = Vec::new();
    loop {
        let patience = waiting.next().map(|address| {
            attempts.spawn(async move { connect(address).await.map_err(|error| (address, error)) });
            STAGGER
        });
        match within(patience, attempts.join_next()).await {
            Ok(Some(Ok(Ok(socket)))) => return Ok(socket),
            Ok(Some(Ok(Err(failure)))) => failed.push(failure),
            Ok(None) => return Err(AllFailed(failed)),
            // Nobody cancels attempts but we, by leaving.
            Ok(Some(Err(_))) | Err(Expired(_)) => {}
        }
    }
}

async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpStream::connect(address).await?;
    checked(&socket)?;
    prepare(&socket)?;
    Ok(socket)
}

fn checked(socket: &TcpStream) -> io::Result<()> {
    if socket.local_addr()? != socket.peer_addr()? {
        return Ok(());
    }
    let kind = io::ErrorKind::ConnectionRefused;
    Err(io::Error::new(kind, ConnectedToItself))
}

/// What Go sets on each socket.
pub(in crate::transport) fn prepare(socket: &TcpStream) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE)
        .with_interval(KEEPALIVE)
        .with_retries(KEEPALIVE_PROBES);
    SockRef::from(socket).set_tcp_keepalive(&keepalive)
}

#[cfg(test)]
pub(in crate::transport) mod tests;
