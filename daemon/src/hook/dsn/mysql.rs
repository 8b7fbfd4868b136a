//! MySQL and MariaDB: `[user[:password]@][net[(addr)]]/dbname[?param1=value1&…]`, as go-sql-driver/mysql 1.9 reads it.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::net::Ipv6Addr;
use std::str::FromStr;

use super::{Plus, REDACTED, host_and_port, percent_decoded};

const DEFAULT_PORT: &str = "3306";
const DEFAULT_TCP: &str = "127.0.0.1:3306";
const DEFAULT_UNIX: &str = "/tmp/mysql.sock";

/// Parameters that are true or false.
const SWITCHES: [&str; 13] = [
    "allowAllFiles",
    "allowCleartextPasswords",
    "allowFallbackToPlaintext",
    "allowNativePasswords",
    "allowOldPasswords",
    "checkConnLiveness",
    "clientFoundRows",
    "columnsWithAlias",
    "compress",
    "interpolateParams",
    "multiStatements",
    "parseTime",
    "rejectReadOnly",
];

/// How to reach a MySQL server.
#[derive(Clone, PartialEq, Eq)]
pub struct MysqlDsn {
    text: String,
    user: String,
    password: String,
    net: String,
    address: String,
    database: String,
    parameters: BTreeMap<String, String>,
}

/// Why a text does not say how to reach a server. No variant shows what could be part of a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MysqlDsnError {
    /// `(` without `)`.
    #[error("invalid DSN: network address not terminated (missing closing brace)")]
    Address,
    /// Not true or false.
    #[error(
        "invalid bool value: {value:?} of {key:?} must be one of 1, true, TRUE, True, 0, false, FALSE and False"
    )]
    Bool {
        /// Which parameter.
        key: String,
        /// Its value.
        value: String,
    },
    /// `%` without two hexadecimal digits, or with those of no text.
    #[error(
        "invalid DSN: the {0} has an invalid escape: '%' needs two hexadecimal digits, and what is escaped must be UTF-8"
    )]
    Escape(&'static str),
    /// No `/`.
    #[error(
        "invalid DSN: missing the slash separating the database name: the form is [user[:password]@][net[(addr)]]/dbname[?param=value]"
    )]
    MissingSlash,
    /// Neither `tcp` nor `unix`, and no address.
    #[error(
        "default addr for network unknown: a network other than tcp and unix needs an address in parentheses"
    )]
    NoDefaultAddress,
    /// Not a number.
    #[error("invalid value {value:?} of {key:?}: must be a whole number")]
    Number {
        /// Which parameter.
        key: &'static str,
        /// Its value.
        value: String,
    },
    /// A `/` in a parameter.
    #[error("invalid DSN: did you forget to escape a param value? ('/' is written %2F)")]
    Unescaped,
    /// A parameter that means nothing here.
    #[error("parameter {key:?} is not supported: {reason}")]
    Unsupported {
        /// Which one.
        key: &'static str,
        /// Why not.
        reason: &'static str,
    },
    /// Not an address for `tcp`.
    #[error(
        "invalid DSN: the network address for tcp must be host, host:port, [address] or [address]:port"
    )]
    TcpAddress,
    /// Not a way to use TLS.
    #[error(
        "invalid value / unknown config name: {0:?} of \"tls\" must be true, false, skip-verify or preferred"
    )]
    Tls(String),
}

impl MysqlDsn {
    /// The text as written, with the password.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The user; empty if there is none.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The password; empty if there is none.
    pub fn password(&self) -> &str {
        &self.password
    }

    /// `tcp`, `unix` or what the text says.
    pub fn net(&self) -> &str {
        &self.net
    }

    /// `host:port` for `tcp`, a socket's path for `unix`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The database; empty if there is none.
    pub fn database(&self) -> &str {
        &self.database
    }

    /// All parameters by name.
    pub fn parameters(&self) -> &BTreeMap<String, String> {
        &self.parameters
    }

    /// One of the parameters that are true or false, if it is set.
    pub fn switch(&self, key: &str) -> Option<bool> {
        boolean(self.parameters.get(key)?)
    }
}

impl FromStr for MysqlDsn {
    type Err = MysqlDsnError;

    fn from_str(text: &str) -> Result<Self, MysqlDsnError> {
        // The last slash: password and address may contain some.
        let (server, database) = text.rsplit_once('/').ok_or(MysqlDsnError::MissingSlash)?;
        let (login, server) = server.rsplit_once('@').unwrap_or(("", server));
        let (user, password) = login.split_once(':').unwrap_or((login, ""));
        let (net, address) = match server.split_once('(') {
            None => (server, ""),
            Some((net, rest)) => match rest.strip_suffix(')') {
                Some(address) => (net, address),
                None if rest.contains(')') => return Err(MysqlDsnError::Unescaped),
                None => return Err(MysqlDsnError::Address),
            },
        };
        let net = if net.is_empty() { "tcp" } else { net };
        let address = match (net, address) {
            ("tcp", "") => DEFAULT_TCP.to_owned(),
            ("unix", "") => DEFAULT_UNIX.to_owned(),
            (_, "") => return Err(MysqlDsnError::NoDefaultAddress),
            ("tcp", address) => with_port(address).ok_or(MysqlDsnError::TcpAddress)?,
            (_, address) => address.to_owned(),
        };
        let (database, query) = database.split_once('?').unwrap_or((database, ""));
        let database = percent_decoded(database, Plus::Itself)
            .ok_or(MysqlDsnError::Escape("database name"))?;
        Ok(Self {
            text: text.to_owned(),
            user: user.to_owned(),
            password: password.to_owned(),
            net: net.to_owned(),
            address,
            database,
            parameters: parameters(query)?,
        })
    }
}

impl fmt::Debug for MysqlDsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MysqlDsn({self})")
    }
}

impl fmt::Display for MysqlDsn {
    /// With everything that is implied, but without the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.user)?;
        if !self.password.is_empty() {
            write!(f, ":{REDACTED}")?;
        }
        if !self.user.is_empty() || !self.password.is_empty() {
            f.write_str("@")?;
        }
        write!(
            f,
            "{}({})/{}",
            self.net,
            self.address,
            escaped(&self.database)
        )?;
        for (index, (key, value)) in self.parameters.iter().enumerate() {
            let separator = if index > 0 { '&' } else { '?' };
            write!(f, "{separator}{key}={}", escaped(value))?;
        }
        Ok(())
    }
}

fn parameters(query: &str) -> Result<BTreeMap<String, String>, MysqlDsnError> {
    let mut parameters = BTreeMap::new();
    // What has no `=` is ignored by the driver, too.
    for (key, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
        let value =
            percent_decoded(value, Plus::Blank).ok_or(MysqlDsnError::Escape("parameter list"))?;
        match key {
            "strict" => {
                return Err(MysqlDsnError::Unsupported {
                    key: "strict",
                    reason: "strict mode has been removed from the driver",
                });
            }
            "serverPubKey" => {
                return Err(MysqlDsnError::Unsupported {
                    key: "serverPubKey",
                    reason: "there is no way to register a key under a name",
                });
            }
            "maxAllowedPacket" if value.parse::<i64>().is_err() => {
                return Err(MysqlDsnError::Number {
                    key: "maxAllowedPacket",
                    value,
                });
            }
            "tls" => {
                let known = matches!(
                    value.to_ascii_lowercase().as_str(),
                    "skip-verify" | "preferred"
                );
                if !known && boolean(&value).is_none() {
                    return Err(MysqlDsnError::Tls(value));
                }
            }
            key if SWITCHES.contains(&key) && boolean(&value).is_none() => {
                return Err(MysqlDsnError::Bool {
                    key: key.to_owned(),
                    value,
                });
            }
            _ => {}
        }
        parameters.insert(key.to_owned(), value);
    }
    Ok(parameters)
}

fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "true" | "TRUE" | "True" => Some(true),
        "0" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// Adds the default port; nothing if the text is neither a host nor an address, with or without port.
fn with_port(address: &str) -> Option<String> {
    match host_and_port(address) {
        Some((_, Some(_))) => Some(address.to_owned()),
        Some((host, None)) if !host.contains(':') => Some(format!("{host}:{DEFAULT_PORT}")),
        Some((host, None)) => Some(format!("[{host}]:{DEFAULT_PORT}")),
        None => {
            let ip = address.split_once('%').map_or(address, |(ip, _)| ip);
            ip.parse::<Ipv6Addr>().ok()?;
            Some(format!("[{address}]:{DEFAULT_PORT}"))
        }
    }
}

/// Escapes what would mean something else in a name or value.
fn escaped(text: &str) -> String {
    const SPECIAL: &str = "%/?&=+#";
    let mut escaped = String::new();
    for character in text.chars() {
        if SPECIAL.contains(character) || character.is_ascii_control() || character == ' ' {
            write!(escaped, "%{:02X}", u32::from(character)).expect("strings take all text");
        } else {
            escaped.push(character);
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(text: &str) -> MysqlDsn {
        let dsn: MysqlDsn = text.parse().unwrap_or_else(|e| panic!("{text}: {e}"));
        assert_eq!(dsn.as_str(), text);
        dsn
    }

    #[test]
    fn parts_are_told_apart() {
        let cases = [
            ("/", ["", "", "tcp", "127.0.0.1:3306", ""]),
            ("/db", ["", "", "tcp", "127.0.0.1:3306", "db"]),
            ("@/", ["", "", "tcp", "127.0.0.1:3306", ""]),
            ("unix/", ["", "", "unix", "/tmp/mysql.sock", ""]),
            (
                "zrepl_lock_tables:yourpasswordhere@tcp(localhost)/",
                [
                    "zrepl_lock_tables",
                    "yourpasswordhere",
                    "tcp",
                    "localhost:3306",
                    "",
                ],
            ),
            (
                "u:p:/@w@unix(/run/my sql.sock)/db",
                ["u", "p:/@w", "unix", "/run/my sql.sock", "db"],
            ),
            ("u@tcp([::1]:3307)/", ["u", "", "tcp", "[::1]:3307", ""]),
            ("u@tcp([::1])/", ["u", "", "tcp", "[::1]:3306", ""]),
            ("u@tcp(::1)/", ["u", "", "tcp", "[::1]:3306", ""]),
            (
                "u@tcp(fe80::1%eth0)/",
                ["u", "", "tcp", "[fe80::1%eth0]:3306", ""],
            ),
            ("u@(host:1)/", ["u", "", "tcp", "host:1", ""]),
            ("u@tcp()/", ["u", "", "tcp", "127.0.0.1:3306", ""]),
            (
                "u@cloudsql(project:db)/x%2Fy",
                ["u", "", "cloudsql", "project:db", "x/y"],
            ),
        ];
        for (text, expected) in cases {
            let dsn = parsed(text);
            let found = [
                dsn.user(),
                dsn.password(),
                dsn.net(),
                dsn.address(),
                dsn.database(),
            ];
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn parameters_are_kept_and_the_known_ones_checked() {
        let dsn = parsed(
            "/?parseTime=true&compress=0&x=a+b%2Fc&ignored&tls=Skip-Verify&maxAllowedPacket=0&x=last",
        );
        let found: Vec<_> = dsn
            .parameters()
            .iter()
            .map(|(k, v)| format!("{k}={v}"))
            .collect();
        assert_eq!(
            found,
            [
                "compress=0",
                "maxAllowedPacket=0",
                "parseTime=true",
                "tls=Skip-Verify",
                "x=last"
            ]
        );
        assert_eq!(dsn.switch("parseTime"), Some(true));
        assert_eq!(dsn.switch("compress"), Some(false));
        assert_eq!(dsn.switch("allowAllFiles"), None);
        assert_eq!(parsed("/?x=a+b%2Fc").parameters()["x"], "a b/c");
    }

    #[test]
    fn what_is_malformed_is_refused() {
        let cases = [
            (
                "",
                "invalid DSN: missing the slash separating the database name",
            ),
            ("u:p@tcp(h)", "invalid DSN: missing the slash"),
            (
                "u@tcp(h/db",
                "invalid DSN: network address not terminated (missing closing brace)",
            ),
            (
                "u@tcp(h)/db?loc=Europe/Berlin",
                "invalid DSN: did you forget to escape a param value?",
            ),
            (
                "u@tcp(h)x/",
                "invalid DSN: did you forget to escape a param value?",
            ),
            ("u@tcp(a:b:c)/", "the network address for tcp must be"),
            ("u@tcp([::1]x)/", "the network address for tcp must be"),
            ("u@udp/", "default addr for network unknown"),
            ("/%", "invalid DSN: the database name has an invalid escape"),
            (
                "/?x=%",
                "invalid DSN: the parameter list has an invalid escape",
            ),
            (
                "/?parseTime=yes",
                "invalid bool value: \"yes\" of \"parseTime\" must be",
            ),
            (
                "/?tls=custom",
                "invalid value / unknown config name: \"custom\"",
            ),
            (
                "/?maxAllowedPacket=1M",
                "invalid value \"1M\" of \"maxAllowedPacket\"",
            ),
            ("/?strict=true", "parameter \"strict\" is not supported"),
            (
                "/?serverPubKey=x",
                "parameter \"serverPubKey\" is not supported",
            ),
        ];
        for (text, expected) in cases {
            let error = text.parse::<MysqlDsn>().expect_err(text).to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
        for key in SWITCHES {
            assert!(
                format!("/?{key}=maybe").parse::<MysqlDsn>().is_err(),
                "{key}"
            );
        }
    }

    #[test]
    fn what_is_shown_has_no_password() {
        let cases = [
            ("/", "tcp(127.0.0.1:3306)/"),
            (
                "u:hunter2@tcp(h)/db?x=a+b&a=%26",
                "u:***@tcp(h:3306)/db?a=%26&x=a%20b",
            ),
            (":hunter2@/", ":***@tcp(127.0.0.1:3306)/"),
            ("u@unix/a%2Fb", "u@unix(/tmp/mysql.sock)/a%2Fb"),
        ];
        for (text, expected) in cases {
            let dsn = parsed(text);
            assert_eq!(dsn.to_string(), expected);
            assert_eq!(format!("{dsn:?}"), format!("MysqlDsn({expected})"));
        }
        for text in [
            "u:hunter2@tcp(h)",
            "u:hunter2/x@tcp(h)",
            "u:hunter2@tcp(h/",
            "u:hunter2@udp/",
        ] {
            let error = text.parse::<MysqlDsn>().expect_err(text);
            assert!(
                !format!("{error} {error:?}").contains("hunter2"),
                "{error:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in r"[a-c:@()/?&=%\[\]0-9]{0,30}") {
            if let Ok(dsn) = text.parse::<MysqlDsn>() && dsn.password().is_empty() {
                let shown: MysqlDsn = dsn.to_string().parse().expect("shown");
                prop_assert_eq!(shown.parameters(), dsn.parameters());
                prop_assert_eq!(shown.database(), dsn.database());
                prop_assert_eq!(shown.address(), dsn.address());
            }
        }
    }
}
