//! The sections `connect` and `serve`: how the two sides of a replication reach each other.

use super::decode::declare::{kinds, notation, section};
use super::decode::node::{Kind, Node, Position};
use super::decode::schema::{self, Definitions, Json};
use super::decode::{Reading, Value, map_entries, text};
use super::value::host_port::HostPort;
use super::value::integer::Port;
use super::value::path::FilePath;
use crate::causes::chain;
use crate::go_duration::Timeout;
use crate::name::client_identity::ClientIdentity;
use crate::transport::ip_map::{ClientMap, Entry};

kinds! {
    /// How the active side reaches the passive one.
    pub enum Connect {
        /// By TCP, unencrypted; the passive side knows us by our address.
        Tcp(TcpConnect) = "tcp",
        /// By TLS; both sides show certificates.
        Tls(TlsConnect) = "tls",
        /// Through ssh, which starts `zrepl stdinserver` on the other side.
        Ssh(SshConnect) = "ssh+stdinserver",
        /// To a job of the same daemon.
        Local(LocalConnect) = "local",
    }
}

section! {
    /// By TCP, unencrypted.
    pub struct TcpConnect {
        /// Where the passive side listens.
        address: HostPort = required,
        /// Time allowed for connecting; 0 is without limit.
        dial_timeout: Timeout = default(Timeout::from_secs(10)),
    }
}

section! {
    /// By TLS.
    pub struct TlsConnect {
        /// Where the passive side listens.
        address: HostPort = required,
        /// Certificates that the server's is checked against.
        ca: FilePath = required,
        /// Our certificate, by whose common name the server knows us.
        cert: FilePath = required,
        /// Its private key.
        key: FilePath = required,
        /// The name that the server's certificate must have among its subject alternative names.
        server_cn: String = required,
        /// Time allowed for connecting; 0 is without limit.
        dial_timeout: Timeout = default(Timeout::from_secs(10)),
    }
}

section! {
    /// Through ssh.
    pub struct SshConnect {
        /// Host to log in to.
        host: String = required,
        /// User to log in as.
        user: String = required,
        /// Port of the ssh server.
        port: Port = required,
        /// Private key to log in with.
        identity_file: FilePath = required,
        /// Options for `ssh -o`.
        options: Vec<String> = default(Vec::new()),
        /// The ssh program.
        ssh_command: SshCommand = default(SshCommand("ssh".to_owned())),
        /// Accepted and not used.
        transport_open_command: IgnoredCommand = default(IgnoredCommand(Vec::new())),
        /// Time allowed for starting ssh and being greeted; 0 is without limit.
        dial_timeout: Timeout = default(Timeout::from_secs(10)),
    }
}

section! {
    /// To a job of the same daemon.
    pub struct LocalConnect {
        /// The listener's name.
        listener_name: String = required,
        /// Who we are to it.
        client_identity: ClientIdentity = required,
        /// Time allowed for connecting; 0 is without limit.
        dial_timeout: Timeout = default(Timeout::from_secs(2)),
    }
}

kinds! {
    /// How the passive side is reached.
    pub enum Serve {
        /// By TCP, unencrypted; clients are known by their addresses.
        Tcp(TcpServe) = "tcp",
        /// By TLS; clients are known by the common names of their certificates.
        Tls(TlsServe) = "tls",
        /// Through ssh, which starts `zrepl stdinserver`.
        Stdinserver(StdinserverServe) = "stdinserver",
        /// By a job of the same daemon.
        Local(LocalServe) = "local",
    }
}

section! {
    /// By TCP, unencrypted.
    pub struct TcpServe {
        /// Where to listen.
        listen: HostPort = required,
        /// Whether to listen on an address that this machine does not have yet.
        listen_freebind: bool = default(false),
        /// Client addresses and networks, with the identity of each.
        clients: ClientMap = required,
    }
}

section! {
    /// By TLS.
    pub struct TlsServe {
        /// Where to listen.
        listen: HostPort = required,
        /// Whether to listen on an address that this machine does not have yet.
        listen_freebind: bool = default(false),
        /// Certificates that those of clients are checked against.
        ca: FilePath = required,
        /// Our certificate.
        cert: FilePath = required,
        /// Its private key.
        key: FilePath = required,
        /// The common names of clients that may connect; each is the client's identity.
        client_cns: Vec<ClientIdentity> = required,
        /// Time allowed for the handshake; 0 is without limit.
        handshake_timeout: Timeout = default(Timeout::from_secs(10)),
    }
}

section! {
    /// Through ssh.
    pub struct StdinserverServe {
        /// Clients that may connect, as `zrepl stdinserver IDENTITY` names them.
        client_identities: Vec<ClientIdentity> = required,
    }
}

section! {
    /// By a job of the same daemon.
    pub struct LocalServe {
        /// The name under which jobs connect.
        listener_name: String = required,
    }
}

/// The ssh program: a path, or a name to be found through `PATH`.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(transparent)]
pub struct SshCommand(String);

impl SshCommand {
    /// The path or name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Value for SshCommand {
    fn read(node: &Node, cx: &mut Reading<'_>) -> Option<Self> {
        let command = text(node, cx)?;
        if command.is_empty() {
            return Self::null();
        }
        Some(Self(command))
    }

    /// zrepl 0.7.0 takes an empty command for the default.
    fn null() -> Option<Self> {
        Some(Self("ssh".to_owned()))
    }

    fn schema(_: &mut Definitions) -> Json {
        schema::any_text()
    }
}

/// A command line that zrepl 0.7.0 reads and never uses.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(transparent)]
pub struct IgnoredCommand(Vec<String>);

impl Value for IgnoredCommand {
    fn read(node: &Node, cx: &mut Reading<'_>) -> Option<Self> {
        let words = Vec::read(node, cx)?;
        cx.warn(
            node.at,
            "has no effect, as in zrepl 0.7.0: use ssh_command for another program",
        );
        Some(Self(words))
    }

    fn null() -> Option<Self> {
        Some(Self(Vec::new()))
    }

    fn schema(definitions: &mut Definitions) -> Json {
        Vec::<String>::schema(definitions)
    }
}

notation!(
    ClientIdentity,
    "Who a client is: one component of a dataset's path.",
    ["prod1"] as name
);

impl Value for ClientMap {
    fn read(node: &Node, cx: &mut Reading<'_>) -> Option<Self> {
        let entries = map_entries(node, cx, |address, entry, cx| {
            let identity = cx.under(address, |cx| text(&entry.value, cx))?;
            match Entry::new(address, &identity) {
                Ok(entry) => Some(entry),
                Err(error) => {
                    cx.error(entry.key.at, chain(&error));
                    None
                }
            }
        })?;
        match Self::from_entries(entries) {
            Ok(map) => Some(map),
            Err(error) => {
                cx.error(key_place(node, &error.key), chain(&error));
                None
            }
        }
    }

    fn schema(_: &mut Definitions) -> Json {
        schema::map(
            &schema::name(
                "The client's identity; for a network, with one `*`, which stands for the client's address.",
                &["prod1", "lan-*"],
            ),
            "From the client's address, or a network such as 10.0.0.0/8, to the client's identity.",
        )
    }
}

/// Where a key of a map stands; the map's own place if it has no such key.
fn key_place(map: &Node, key: &str) -> Position {
    let Kind::Mapping(entries) = &map.kind else {
        return map.at;
    };
    let entry = entries.iter().find(|e| e.key.text() == Some(key));
    entry.map_or(map.at, |entry| entry.key.at)
}

impl serde::Serialize for ClientMap {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(
            self.entries()
                .iter()
                .map(|entry| (entry.key(), entry.identity())),
        )
    }
}

notation!(
    Timeout,
    null = Some(Timeout::UNLIMITED),
    "A duration as in Go: numbers with units (ns, us, ms, s, m, h), such as 1m30s; 0 is without limit.",
    ["10s", "1m30s", "0"] as duration_or_zero
);
