//! From a data source name to the options of a connection, as go-sql-driver/mysql understands it: parameters that are the
//! driver's, and others, which are variables of the session.

use std::fmt;
use std::time::Duration;

use mysql_async::{Opts, OptsBuilder};

use crate::hook::dsn::MysqlDsn;

/// How to reach a server, checked.
pub(super) struct Address {
    options: Opts,
    /// Does the name say how long the server waits for statements?
    has_wait_timeout: bool,
    /// What errors show: no password.
    shown: String,
}

/// Why a data source name is of no use to us.
#[derive(Debug, thiserror::Error)]
pub(in crate::hook) enum AddressError {
    /// Neither `tcp` nor `unix`.
    #[error("the dsn has an unknown network {0:?}: it must be tcp or unix")]
    Network(String),
    /// No `host:port`.
    #[error("the dsn has no port that is a number up to 65535: {0:?}")]
    Port(String),
    /// We speak no TLS to MySQL.
    #[error(
        "tls={0} in the dsn is not supported: this zrepl speaks no TLS to MySQL; use the server's socket (unix(/path)), or tls=false where \
         the network may be trusted"
    )]
    Tls(String),
    /// What is no variable's name.
    #[error("the dsn has a parameter {0:?} that neither the driver nor a server can have")]
    Variable(String),
}

/// Parameters of the Go driver. Those that concern results, packets and limits mean nothing to two statements under the hook's own
/// `timeout`.
const FOR_THE_DRIVER: [&str; 27] = [
    "allowAllFiles",
    "allowCleartextPasswords",
    "allowFallbackToPlaintext",
    "allowNativePasswords",
    "allowOldPasswords",
    "charset",
    "checkConnLiveness",
    "clientFoundRows",
    "collation",
    "columnsWithAlias",
    "compress",
    "connectionAttributes",
    "interpolateParams",
    "loc",
    "maxAllowedPacket",
    "multiStatements",
    "parseTime",
    "readTimeout",
    "rejectReadOnly",
    "serverPubKey",
    "strict",
    "timeTruncate",
    "timeout",
    "tls",
    "writeTimeout",
    "x-clean-quit",
    "enableCleartextPlugin",
];

/// As go-sql-driver; what the driver here would ask the server for.
const MAX_PACKET: usize = 64 << 20;

impl Address {
    pub(super) fn new(dsn: &MysqlDsn) -> Result<Self, AddressError> {
        check_tls(dsn)?;
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let options = OptsBuilder::default()
            .user(some(dsn.user()))
            .pass(some(dsn.password()))
            .db_name(some(dsn.database()))
            .setup(session_variables(dsn)?)
            // What is written is where we go.
            .prefer_socket(false)
            .stmt_cache_size(0)
            .max_allowed_packet(Some(MAX_PACKET))
            .wait_timeout(Some(WAIT_TIMEOUT))
            .tcp_keepalive(Some(KEEPALIVE))
            .secure_auth(dsn.switch("allowOldPasswords") != Some(true))
            .enable_cleartext_plugin(dsn.switch("allowCleartextPasswords") == Some(true));
        let options = match dsn.net() {
            "unix" => options.socket(Some(dsn.address())),
            "tcp" => {
                let (host, port) = host_and_port(dsn.address())?;
                options.ip_or_hostname(host).tcp_port(port)
            }
            other => return Err(AddressError::Network(other.to_owned())),
        };
        Ok(Self {
            options: options.into(),
            has_wait_timeout: dsn.parameters().keys().any(|name| is_wait_timeout(name)),
            shown: format!("MySQL ({dsn})"),
        })
    }

    /// Does the name itself say how long the server waits for statements?
    pub(super) fn has_wait_timeout(&self) -> bool {
        self.has_wait_timeout
    }

    pub(super) fn options(&self) -> Opts {
        self.options.clone()
    }
}

/// In seconds. It tells the server nothing: the driver only compares it to the age of connections in a pool, of which there is none
/// here, and would ask the server for it.
const WAIT_TIMEOUT: usize = 28_800;

/// How often a connection that is silent during a long snapshot is asked whether the other side is still there. It also keeps
/// firewalls from forgetting it.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// `wait_timeout`, or `@@session.wait_timeout`.
fn is_wait_timeout(name: &str) -> bool {
    let variable = name.rsplit(['@', '.']).next();
    variable.is_some_and(|variable| variable.eq_ignore_ascii_case("wait_timeout"))
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

/// `preferred` allows plain text, and proves nothing to anybody; the others are promises that we would break.
fn check_tls(dsn: &MysqlDsn) -> Result<(), AddressError> {
    let Some(tls) = dsn.parameters().get("tls") else {
        return Ok(());
    };
    if dsn.net() == "unix" || dsn.switch("tls") == Some(false) {
        return Ok(());
    }
    if tls.eq_ignore_ascii_case("preferred") {
        tracing::warn!(
            "tls=preferred in the dsn of a MySQL hook: this zrepl speaks no TLS to MySQL, and connects in plain text"
        );
        return Ok(());
    }
    Err(AddressError::Tls(tls.clone()))
}

/// `SET name = value` for each parameter that is not the driver's. Values are expressions, as for the Go driver.
fn session_variables(dsn: &MysqlDsn) -> Result<Vec<String>, AddressError> {
    let others = dsn.parameters().iter();
    let others = others.filter(|(name, _)| !FOR_THE_DRIVER.contains(&name.as_str()));
    others
        .map(|(name, value)| {
            let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '@');
            if name.is_empty() || !name.chars().all(allowed) {
                return Err(AddressError::Variable(name.clone()));
            }
            Ok(format!("SET {name} = {value}"))
        })
        .collect()
}

/// The name has been read already, and the port added if there was none.
fn host_and_port(address: &str) -> Result<(String, u16), AddressError> {
    let wrong = || AddressError::Port(address.to_owned());
    let (host, port) = address.rsplit_once(':').ok_or_else(wrong)?;
    let host = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    let host = if host.is_empty() { "localhost" } else { host };
    Ok((host.to_owned(), port.parse().map_err(|_| wrong())?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(dsn: &str) -> Result<Address, AddressError> {
        Address::new(&dsn.parse().expect("a data source name"))
    }

    #[test]
    fn parameters_arrive_where_they_belong() {
        let of = |dsn: &str| address(dsn).expect(dsn).options();
        let options = of("u:p@tcp(h)/d?sql_mode=%27ANSI%27&parseTime=true");
        assert_eq!(options.ip_or_hostname(), "h");
        assert_eq!(options.tcp_port(), 3306);
        assert_eq!(options.user(), Some("u"));
        assert_eq!(options.pass(), Some("p"));
        assert_eq!(options.db_name(), Some("d"));
        assert_eq!(options.setup(), ["SET sql_mode = 'ANSI'"]);
        assert_eq!(options.socket(), None);
        assert!(!options.prefer_socket());
        assert_eq!(options.tcp_keepalive(), Some(Duration::from_secs(60)));
        let options = of("unix(/run/x.sock)/?tls=true");
        assert_eq!(options.socket(), Some("/run/x.sock"));
        assert_eq!(options.user(), None);
        assert_eq!(options.db_name(), None);
        let options = of("u@tcp([::1]:5)/?tls=false");
        assert_eq!((options.ip_or_hostname(), options.tcp_port()), ("::1", 5));
        of("u@tcp(h)/?tls=preferred");
    }

    #[test]
    fn what_would_be_passed_over_is_refused() {
        for (dsn, expected) in [
            ("u@tcp(h)/?tls=true", "tls=true in the dsn is not supported"),
            ("u@tcp(h)/?tls=skip-verify", "tls=skip-verify in the dsn"),
            (
                "u@cloudsql(x)/",
                "the dsn has an unknown network \"cloudsql\"",
            ),
            ("u@tcp(h:mysql)/", "the dsn has no port"),
            ("/?a%20b=1", "the dsn has a parameter \"a%20b\""),
        ] {
            let error = address(dsn).expect_err(dsn).to_string();
            assert!(error.starts_with(expected), "{dsn}: {error}");
        }
    }

    #[test]
    fn what_is_shown_has_no_password() {
        let address = address("u:hunter2@tcp(h)/").expect("valid");
        assert_eq!(address.to_string(), "MySQL (u:***@tcp(h:3306)/)");
        assert_eq!(format!("{address:?}"), "MySQL (u:***@tcp(h:3306)/)");
    }
}
