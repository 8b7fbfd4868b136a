//! The clients of a `tcp` listener: addresses and networks in, the identity of a peer out. Whoever can take an address gets
//! its identity, which is why an identity that only works for some addresses of a network is refused when the map is made.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::name::client_identity::{ClientIdentity, ClientIdentityError};

/// Longest name of a network interface, as zrepl counts it.
const MAX_ZONE_LEN: usize = 16;

/// What stands for the client's address in the identity of a network.
const PLACEHOLDER: char = '*';

/// Clients by address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientMap {
    /// As written.
    entries: Vec<Entry>,
    /// Indices of the entries in the order in which they are tried.
    order: Vec<usize>,
}

/// One line of the map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    key: String,
    identity: String,
    network: Network,
    zone: String,
    clients: Clients,
}

/// An address range of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Network {
    /// The first address, in 128 bits: IPv4 as `::ffff:a.b.c.d`.
    address: u128,
    /// Leading bits, of 128, that all of them share.
    prefix: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Clients {
    One(ClientIdentity),
    /// The text before and after the address.
    Each(String, String),
}

/// An entry that the map cannot have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot parse client IP map: cannot parse {key:?}:{identity:?}: {problem}")]
pub struct ClientMapError {
    /// The address or network as written.
    pub key: String,
    /// The identity as written.
    pub identity: String,
    /// What is wrong.
    pub problem: EntryProblem,
}

/// What is wrong with an entry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntryProblem {
    /// Not an address.
    #[error(
        "invalid client address {0:?}: neither an IPv4 or IPv6 address nor a network in CIDR notation"
    )]
    Address(String),
    /// Two identities for the same addresses.
    #[error("the entry {other:?} is about the same addresses, but says {identity:?}")]
    Ambiguous {
        /// The other entry's key.
        other: String,
        /// The other entry's identity.
        identity: String,
    },
    /// A `/`, but not a network.
    #[error(
        "invalid network {0:?}: CIDR notation is an address, '/' and the number of bits that count, at most 32 for IPv4 and 128 for IPv6"
    )]
    Cidr(String),
    /// Not an identity, for some address at least.
    #[error("invalid client identity {text:?}: {error}")]
    Identity {
        /// The identity, for a network with the longest address that could be inserted.
        text: String,
        /// Why not.
        error: ClientIdentityError,
    },
    /// A network needs the address to tell its clients apart.
    #[error(
        "CIDRs require 1 IP placeholder: the identity must contain '*' exactly once, but contains it {found} times"
    )]
    Placeholders {
        /// How many there are.
        found: usize,
    },
    /// One address is one client.
    #[error("non-CIDR matches must not contain '*' placeholder")]
    PlaceholderWithoutNetwork,
    /// `address%zone/bits`.
    #[error("invalid zone {0:?}: a zone stands last, after the number of bits")]
    Zone(String),
}

/// Why a peer is nobody.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnknownClient {
    /// The identity made of its address is none. Only a strange zone does that.
    #[error("client IP {ip} would be called {text:?}: {error}")]
    Identity {
        /// The peer's address.
        ip: IpAddr,
        /// What it would be called.
        text: String,
        /// Why not.
        error: ClientIdentityError,
    },
    /// No entry is about its address.
    #[error("no identity mapping for client IP: {ip}%{zone}")]
    NotInMap {
        /// The peer's address.
        ip: IpAddr,
        /// Its zone, often empty.
        zone: String,
    },
}

impl ClientMap {
    /// Builds the map from pairs of address and identity; the first bad one is the error.
    pub fn new<K: AsRef<str>, I: AsRef<str>>(
        entries: impl IntoIterator<Item = (K, I)>,
    ) -> Result<Self, ClientMapError> {
        let entries = entries
            .into_iter()
            .map(|(key, identity)| Entry::new(key.as_ref(), identity.as_ref()))
            .collect::<Result<_, _>>()?;
        Self::from_entries(entries)
    }

    /// Builds the map from entries that were parsed one by one. They may still contradict each other.
    pub fn from_entries(entries: Vec<Entry>) -> Result<Self, ClientMapError> {
        let mut order: Vec<usize> = (0..entries.len()).collect();
        order.sort_by(|&a, &b| entries[a].rank().cmp(&entries[b].rank()));
        for pair in order.windows(2) {
            let (first, second) = (&entries[pair[0]], &entries[pair[1]]);
            if first.rank() == second.rank() && first.identity != second.identity {
                return Err(second.error(EntryProblem::Ambiguous {
                    other: first.key.clone(),
                    identity: first.identity.clone(),
                }));
            }
        }
        Ok(Self { entries, order })
    }

    /// The entries as written.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Who the peer is. `zone` is that of a link-local address; the longest matching prefix decides.
    pub fn identity(
        &self,
        ip: IpAddr,
        zone: Option<&str>,
    ) -> Result<ClientIdentity, UnknownClient> {
        let ip = ip.to_canonical();
        let zone = zone.unwrap_or_default();
        let entry = self
            .order
            .iter()
            .map(|&index| &self.entries[index])
            .find(|entry| entry.zone == zone && entry.network.contains(ip));
        match entry.map(|entry| &entry.clients) {
            None => Err(UnknownClient::NotInMap {
                ip,
                zone: zone.to_owned(),
            }),
            Some(Clients::One(identity)) => Ok(identity.clone()),
            Some(Clients::Each(before, after)) => {
                let text = expand(before, ip, zone, after);
                ClientIdentity::new(&text).map_err(|error| UnknownClient::Identity {
                    ip,
                    text,
                    error,
                })
            }
        }
    }
}

impl Entry {
    /// Parses one entry.
    pub fn new(key: &str, identity: &str) -> Result<Self, ClientMapError> {
        let (address, zone) = key.split_once('%').unwrap_or((key, ""));
        parse(address, zone, identity)
            .map(|(network, clients)| Self {
                key: key.to_owned(),
                identity: identity.to_owned(),
                network,
                zone: zone.to_owned(),
                clients,
            })
            .map_err(|problem| ClientMapError {
                key: key.to_owned(),
                identity: identity.to_owned(),
                problem,
            })
    }

    /// The address or network as written.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The identity as written.
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// Sorts entries by the order in which they are tried. Two entries of equal rank are about the same peers.
    fn rank(&self) -> (std::cmp::Reverse<u32>, u128, &str) {
        (
            std::cmp::Reverse(self.network.prefix),
            self.network.address,
            &self.zone,
        )
    }

    fn error(&self, problem: EntryProblem) -> ClientMapError {
        ClientMapError {
            key: self.key.clone(),
            identity: self.identity.clone(),
            problem,
        }
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {:?}", self.key, self.identity)
    }
}

impl Network {
    fn contains(self, ip: IpAddr) -> bool {
        // An IPv6 network around all of `::ffff:0:0/96` still has no IPv4 peers.
        let is_v4 = Ipv6Addr::from_bits(self.address).to_ipv4_mapped().is_some();
        ip.is_ipv4() == is_v4 && widened(ip) & mask(self.prefix) == self.address
    }
}

fn parse(address: &str, zone: &str, identity: &str) -> Result<(Network, Clients), EntryProblem> {
    if zone.contains('/') {
        return Err(EntryProblem::Zone(zone.to_owned()));
    }
    let checked = |text: &str, shown: &str| {
        ClientIdentity::new(text).map_err(|error| EntryProblem::Identity {
            text: shown.to_owned(),
            error,
        })
    };
    let placeholders = identity.matches(PLACEHOLDER).count();
    if !address.contains('/') {
        if placeholders > 0 {
            return Err(EntryProblem::PlaceholderWithoutNetwork);
        }
        let ip: IpAddr = address
            .parse()
            .map_err(|_| EntryProblem::Address(address.to_owned()))?;
        let network = Network {
            address: widened(ip),
            prefix: 128,
        };
        return Ok((network, Clients::One(checked(identity, identity)?)));
    }
    let network = cidr(address).ok_or_else(|| EntryProblem::Cidr(address.to_owned()))?;
    let Some((before, after)) = identity
        .split_once(PLACEHOLDER)
        .filter(|_| placeholders == 1)
    else {
        return Err(EntryProblem::Placeholders {
            found: placeholders,
        });
    };
    // What is wrong whatever the address is better shown without one.
    checked(
        &expand(before, IpAddr::V4(Ipv4Addr::UNSPECIFIED), "", after),
        identity,
    )?;
    let longest_ip = IpAddr::V6(Ipv6Addr::from_bits(u128::MAX));
    let longest = expand(before, longest_ip, &"i".repeat(MAX_ZONE_LEN), after);
    checked(&longest, &longest)?;
    Ok((network, Clients::Each(before.to_owned(), after.to_owned())))
}

/// The network with its host bits cleared.
fn cidr(text: &str) -> Option<Network> {
    let (address, bits) = text.split_once('/')?;
    let address: IpAddr = address.parse().ok()?;
    if bits.is_empty() || !bits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let bits: u32 = bits.parse().ok()?;
    let (width, shift) = if address.is_ipv4() {
        (32, 96)
    } else {
        (128, 0)
    };
    let prefix = (bits <= width).then_some(bits + shift)?;
    Some(Network {
        address: widened(address) & mask(prefix),
        prefix,
    })
}

fn expand(before: &str, ip: IpAddr, zone: &str, after: &str) -> String {
    // ZFS refuses `%`.
    let dash = if zone.is_empty() { "" } else { "-" };
    format!("{before}{ip}{dash}{zone}{after}")
}

fn widened(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => Ipv4Addr::to_ipv6_mapped(&ip).to_bits(),
        IpAddr::V6(ip) => ip.to_bits(),
    }
}

fn mask(prefix: u32) -> u128 {
    u128::MAX.checked_shl(128 - prefix).unwrap_or(0)
}

#[cfg(test)]
mod tests;
