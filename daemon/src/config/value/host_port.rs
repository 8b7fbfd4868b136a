//! `host:port` as Go splits it.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Serialize, Serializer};

use crate::config::decode::node::{Node, shortened};
use crate::config::decode::schema::{self, Definitions, Json};
use crate::config::decode::{Reading, Value, parsed};

/// An address to listen on or to connect to. An empty host means all addresses of this machine; the port may be a service
/// name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostPort {
    text: String,
    host: String,
    port: String,
}

/// Why a text is no `host:port`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("address {}: {problem}; write host:port, such as \"10.0.0.1:8888\", \":8888\" or \"[::1]:8888\"", shortened(.text))]
pub struct HostPortError {
    text: String,
    problem: &'static str,
}

impl HostPort {
    /// The host without brackets, perhaps with a zone; empty for all addresses.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port or service name.
    pub fn port(&self) -> &str {
        &self.port
    }

    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether what passes there stays on this machine, as far as the text tells.
    pub fn is_loopback(&self) -> bool {
        let address = self.host.split('%').next().unwrap_or("");
        self.host == "localhost"
            || address
                .parse()
                .is_ok_and(|ip: IpAddr| ip.to_canonical().is_loopback())
    }
}

impl FromStr for HostPort {
    type Err = HostPortError;

    fn from_str(text: &str) -> Result<Self, HostPortError> {
        let problem = |problem| HostPortError {
            text: text.to_owned(),
            problem,
        };
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (host, rest) = rest
                    .split_once(']')
                    .ok_or_else(|| problem("missing ']' in address"))?;
                let port = rest
                    .strip_prefix(':')
                    .ok_or_else(|| problem("missing port in address"))?;
                (host, port)
            }
            None => text
                .rsplit_once(':')
                .ok_or_else(|| problem("missing port in address"))?,
        };
        if !text.starts_with('[') && host.contains(':') || port.contains(':') {
            return Err(problem("too many colons in address"));
        }
        if host.contains(['[', ']']) || port.contains(['[', ']']) {
            return Err(problem("unexpected bracket in address"));
        }
        Ok(Self {
            text: text.to_owned(),
            host: host.to_owned(),
            port: port.to_owned(),
        })
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for HostPort {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Value for HostPort {
    fn read(node: &Node, cx: &mut Reading<'_>) -> Option<Self> {
        cx.mark(node.at);
        parsed(node, cx)
    }

    fn schema(_: &mut Definitions) -> Json {
        schema::text(
            "host:port; without a host: all addresses of this machine.",
            &["backup.example.com:8888", ":8888", "[::1]:8888"],
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_splits_it_like_this() {
        let cases = [
            ("10.0.0.1:8888", Ok(("10.0.0.1", "8888"))),
            (":8888", Ok(("", "8888"))),
            ("[::1]:8888", Ok(("::1", "8888"))),
            ("[fe80::1%eth0]:1", Ok(("fe80::1%eth0", "1"))),
            ("host:http", Ok(("host", "http"))),
            ("host:", Ok(("host", ""))),
            ("[]:1", Ok(("", "1"))),
            ("host", Err("missing port in address")),
            ("::1:8888", Err("too many colons in address")),
            ("[::1]", Err("missing port in address")),
            ("[::1", Err("missing ']' in address")),
            ("[::1]8888", Err("missing port in address")),
            ("a]:1", Err("unexpected bracket in address")),
            ("[a]:b:1", Err("too many colons in address")),
        ];
        for (text, expected) in cases {
            let address = text.parse::<HostPort>();
            let found = match &address {
                Ok(address) => Ok((address.host(), address.port())),
                Err(error) => Err(error.problem),
            };
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn loopback_is_recognised() {
        for (text, expected) in [
            ("127.0.0.1:1", true),
            ("127.8.8.8:1", true),
            ("[::1]:1", true),
            ("[::ffff:127.0.0.1]:1", true),
            ("localhost:1", true),
            (":1", false),
            ("0.0.0.0:1", false),
            ("10.0.0.1:1", false),
        ] {
            let address: HostPort = text.parse().expect("valid");
            assert_eq!(address.is_loopback(), expected, "{text}");
        }
    }
}
