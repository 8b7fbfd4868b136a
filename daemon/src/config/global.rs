//! The section `global`: logging, monitoring, sockets.

use std::collections::HashMap;

use serde::Serialize;

use super::decode::declare::{kinds, notation, section, words};
use super::decode::node::Node;
use super::decode::schema::{self, Definitions, Json};
use super::decode::{Reading, Value, items, type_text};
use super::value::host_port::HostPort;
use super::value::path::{FilePath, SocketPath};
use crate::go_duration::PositiveDuration;

section! {
    /// Settings of the daemon as a whole.
    pub struct Global {
        /// Where log entries go. Without it: to stdout, from level warn on, for humans.
        logging: Logging = default(Logging::default()),
        /// Where metrics are served.
        monitoring: Monitoring = default(Monitoring(Vec::new())),
        /// The socket through which the zrepl command talks to the daemon.
        control: Control = section,
        /// Settings of transports that serve.
        serve: ServeSettings = section,
    }
}

impl Default for Global {
    fn default() -> Self {
        Self {
            logging: Logging::default(),
            monitoring: Monitoring(Vec::new()),
            control: Control {
                sockpath: SocketPath::default_control(),
            },
            serve: ServeSettings {
                stdinserver: StdinserverSockets {
                    sockdir: SocketPath::default_stdinserver(),
                },
            },
        }
    }
}

section! {
    /// The control socket.
    pub struct Control {
        /// Its path. The directory must exist and must not be accessible to others.
        sockpath: SocketPath = default(SocketPath::default_control()),
    }
}

section! {
    /// Settings of transports that serve.
    pub struct ServeSettings {
        /// The transport for ssh.
        stdinserver: StdinserverSockets = section,
    }
}

section! {
    /// Sockets through which `zrepl stdinserver` reaches the daemon.
    pub struct StdinserverSockets {
        /// The directory; it has one socket for each client identity.
        sockdir: SocketPath = default(SocketPath::default_stdinserver()),
    }
}

words! {
    /// The least important entries that an outlet shows.
    pub enum Level: "level" {
        /// Everything.
        Debug = "debug",
        /// What happens.
        Info = "info",
        /// What may need attention.
        Warn = "warn",
        /// What went wrong.
        Error = "error",
    }
}

words! {
    /// How an entry is written.
    pub enum Format: "log format" {
        /// For people.
        Human = "human",
        /// `key=value` pairs.
        Logfmt = "logfmt",
        /// One JSON object a line.
        Json = "json",
    }
}

words! {
    /// What kind of program syslog files the entries under.
    pub enum Facility: "syslog facility", null = Kern {
        /// Kernel.
        Kern = "kern",
        /// User programs.
        User = "user",
        /// Mail.
        Mail = "mail",
        /// Daemons.
        Daemon = "daemon",
        /// Authentication.
        Auth = "auth",
        /// Syslog itself.
        Syslog = "syslog",
        /// Printing.
        Lpr = "lpr",
        /// News.
        News = "news",
        /// UUCP.
        Uucp = "uucp",
        /// Cron.
        Cron = "cron",
        /// Private authentication.
        Authpriv = "authpriv",
        /// FTP.
        Ftp = "ftp",
        /// For local use.
        Local0 = "local0",
        /// For local use.
        Local1 = "local1",
        /// For local use.
        Local2 = "local2",
        /// For local use.
        Local3 = "local3",
        /// For local use.
        Local4 = "local4",
        /// For local use.
        Local5 = "local5",
        /// For local use.
        Local6 = "local6",
        /// For local use.
        Local7 = "local7",
    }
}

kinds! {
    /// A place where log entries go.
    pub enum Outlet {
        /// The daemon's standard output.
        Stdout(StdoutOutlet) = "stdout",
        /// The system log.
        Syslog(SyslogOutlet) = "syslog",
        /// A log server.
        Tcp(TcpOutlet) = "tcp",
    }
}

section! {
    /// Standard output.
    pub struct StdoutOutlet {
        /// The least important entries shown.
        level: Level = required,
        /// How entries are written.
        format: Format = required,
        /// Whether entries have a time. On a terminal they always do.
        time: bool = default(true),
        /// Whether entries are coloured on a terminal.
        color: bool = default(true),
    }
}

section! {
    /// The system log.
    pub struct SyslogOutlet {
        /// The least important entries sent.
        level: Level = required,
        /// How entries are written.
        format: Format = required,
        /// What kind of program syslog files the entries under.
        facility: Facility = default(Facility::Local0),
        /// Least time between attempts to reach the log; entries in between are dropped.
        retry_interval: PositiveDuration = default(ten_seconds()),
    }
}

section! {
    /// A log server, reached by TCP.
    pub struct TcpOutlet {
        /// The least important entries sent.
        level: Level = required,
        /// How entries are written.
        format: Format = required,
        /// The server.
        address: HostPort = required,
        /// The kind of network, as Go calls it: tcp, tcp4 or tcp6.
        net: Network = default(Network::Tcp),
        /// Time allowed for connecting and for writing, and the pause after a failure.
        retry_interval: PositiveDuration = default(ten_seconds()),
        /// Encrypts the connection.
        tls: Option<OutletTls> = default(None),
    }
}

words! {
    /// Which internet protocol reaches the log server.
    pub enum Network: "network" {
        /// Any.
        Tcp = "tcp",
        /// IPv4.
        Tcp4 = "tcp4",
        /// IPv6.
        Tcp6 = "tcp6",
    }
}

section! {
    /// Certificates for a log server.
    pub struct OutletTls {
        /// Certificates that the server's is checked against.
        ca: FilePath = required,
        /// Our certificate.
        cert: FilePath = required,
        /// Its private key.
        key: FilePath = required,
    }
}

fn ten_seconds() -> PositiveDuration {
    PositiveDuration::from_secs(10).expect("ten is positive")
}

notation!(
    PositiveDuration,
    "A duration as in Go: numbers with units (ns, us, ms, s, m, h), such as 1m30s.",
    ["10s", "1m30s"]
);

/// The outlets. At most one of them is stdout, and one syslog.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Logging(Vec<Outlet>);

impl Logging {
    /// The outlets as written. None at all means stdout from level warn on, without time and colour.
    pub fn outlets(&self) -> &[Outlet] {
        &self.0
    }
}

impl Default for Logging {
    fn default() -> Self {
        Self(vec![Outlet::Stdout(StdoutOutlet {
            level: Level::Warn,
            format: Format::Human,
            time: true,
            color: true,
        })])
    }
}

impl Value for Logging {
    fn read(node: &Node, cx: &mut Reading<'_>) -> Option<Self> {
        let mut first: HashMap<String, u32> = HashMap::new();
        let outlets = items(node, cx, |node, cx| {
            let outlet = Outlet::read(node, cx);
            // By the word: an outlet that is wrong otherwise still counts.
            let single = type_text(node).filter(|kind| matches!(*kind, "stdout" | "syslog"));
            if let Some(kind) = single
                && let Some(line) = first.get(kind)
            {
                cx.error(
                    node.at,
                    format!("can only define one '{kind}' outlet, and the first is in line {line}"),
                );
                return None;
            }
            if let Some(kind) = single {
                first.insert(kind.to_owned(), node.at.line);
            }
            outlet
        })?;
        Some(Self(outlets))
    }

    fn null() -> Option<Self> {
        Some(Self(Vec::new()))
    }

    fn schema(definitions: &mut Definitions) -> Json {
        schema::list(&Outlet::schema(definitions))
    }
}

kinds! {
    /// A way to watch the daemon.
    pub enum Monitor {
        /// Metrics over HTTP.
        Prometheus(Prometheus) = "prometheus",
    }
}

section! {
    /// Serves metrics at `/metrics`.
    pub struct Prometheus {
        /// Where to listen. 9811 is the port that zrepl is known for.
        listen: HostPort = required,
        /// Whether to listen on an address that this machine does not have yet.
        listen_freebind: bool = default(false),
    }
}

/// The monitors: one at most.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Monitoring(Vec<Monitor>);

impl Monitoring {
    /// The monitor, if there is one.
    pub fn monitors(&self) -> &[Monitor] {
        &self.0
    }
}

impl Value for Monitoring {
    fn read(node: &Node, cx: &mut Reading<'_>) -> Option<Self> {
        let mut first: Option<u32> = None;
        let monitors = items(node, cx, |node, cx| {
            let monitor = Monitor::read(node, cx);
            let Some(line) = first else {
                first = Some(node.at.line);
                return monitor;
            };
            // zrepl 0.7.0 accepted it and then ended with "duplicate job name _prometheus".
            cx.error(
                node.at,
                format!("can only define one prometheus monitor, and the first is in line {line}"),
            );
            None
        })?;
        Some(Self(monitors))
    }

    fn null() -> Option<Self> {
        Some(Self(Vec::new()))
    }

    fn schema(definitions: &mut Definitions) -> Json {
        let mut list = schema::list(&Monitor::schema(definitions));
        list["maxItems"] = 1.into();
        list
    }
}
