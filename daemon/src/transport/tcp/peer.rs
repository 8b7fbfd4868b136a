//! A peer's address as the system tells it in, as the client map and messages want it out: IPv4 is IPv4 whichever socket it
//! arrived on, and the index of a network interface becomes its name.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;

use crate::transport::Peer;

/// Where a peer's connection comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::transport) struct PeerAddress {
    ip: IpAddr,
    zone: Option<String>,
    port: u16,
}

impl PeerAddress {
    /// `socket` is any socket: interfaces are asked for through one.
    pub(super) fn new(address: SocketAddr, socket: impl AsFd) -> Self {
        let zone = match address {
            SocketAddr::V6(address) if address.scope_id() != 0 => {
                Some(interface_name(address.scope_id(), socket))
            }
            _ => None,
        };
        Self {
            ip: address.ip().to_canonical(),
            zone,
            port: address.port(),
        }
    }

    pub(super) fn ip(&self) -> IpAddr {
        self.ip
    }

    /// The interface that a link-local address belongs to.
    pub(super) fn zone(&self) -> Option<&str> {
        self.zone.as_deref()
    }

    pub(in crate::transport) fn to_peer(&self) -> Peer {
        Peer {
            name: self.to_string(),
            origin: self.host(),
        }
    }

    fn host(&self) -> String {
        match &self.zone {
            Some(zone) => format!("{}%{zone}", self.ip),
            None => self.ip.to_string(),
        }
    }
}

impl fmt::Display for PeerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (host, port) = (self.host(), self.port);
        if self.ip.is_ipv6() {
            write!(f, "[{host}]:{port}")
        } else {
            write!(f, "{host}:{port}")
        }
    }
}

/// The number, as in Go, if the interface is gone.
#[cfg(target_os = "linux")]
fn interface_name(index: u32, socket: impl AsFd) -> String {
    rustix::net::netdevice::index_to_name(socket, index).unwrap_or_else(|_| index.to_string())
}

/// No safe function tells the name here.
#[cfg(not(target_os = "linux"))]
fn interface_name(index: u32, _: impl AsFd) -> String {
    index.to_string()
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv6Addr, SocketAddrV6, TcpListener};

    use super::*;

    fn peer(address: &str, scope: u32) -> PeerAddress {
        let socket = TcpListener::bind("127.0.0.1:0").expect("loopback is there");
        let address = match address.parse().expect("an address") {
            SocketAddr::V6(v6) => SocketAddrV6::new(*v6.ip(), v6.port(), 0, scope).into(),
            v4 @ SocketAddr::V4(_) => v4,
        };
        PeerAddress::new(address, &socket)
    }

    #[test]
    fn ipv4_is_ipv4_on_an_ipv6_socket() {
        let peer = peer("[::ffff:192.0.2.7]:41234", 0);
        assert_eq!(peer, super::tests::peer("192.0.2.7:41234", 0));
        assert_eq!(peer.to_string(), "192.0.2.7:41234");
        assert_eq!(peer.to_peer().origin, "192.0.2.7");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_zone_is_the_name_of_an_interface_or_its_number_once_it_is_gone() {
        let socket = TcpListener::bind("127.0.0.1:0").expect("loopback is there");
        let lo = rustix::net::netdevice::name_to_index(&socket, "lo").expect("loopback is there");
        let near = peer("[fe80::1]:7", lo);
        assert_eq!(near.zone(), Some("lo"));
        assert_eq!(
            near.ip(),
            "fe80::1".parse::<Ipv6Addr>().expect("an address")
        );
        assert_eq!(near.to_string(), "[fe80::1%lo]:7");
        assert_eq!(near.to_peer().origin, "fe80::1%lo");
        assert_eq!(peer("[fe80::1]:7", 999_999).zone(), Some("999999"));
        assert_eq!(peer("[fe80::1]:7", 0).zone(), None);
    }
}
