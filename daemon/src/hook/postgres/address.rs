//! From a data source name to a connection, as lib/pq makes it: which parameters are for the driver and which for the server,
//! what the environment adds, what is implied. `sslmode` is `require` unless the name says otherwise, or the server is on this
//! host's file system.
//!
//! What lib/pq has beyond that is refused rather than passed over: a password file, a service file, keys within the name. Its
//! defaults in the home directory (`~/.pgpass`, `~/.postgresql`) are not looked at.

use std::fmt;
use std::pin::Pin;
use std::time::Duration;

use tokio_postgres::config::{
    Host, LoadBalanceHosts, SslMode, SslNegotiation, TargetSessionAttrs as Attributes,
};
use tokio_postgres::{Config, NoTls};

use super::tls::DatabaseTls;
use crate::environment::Variables;
use crate::hook::dsn::PostgresDsn;
use crate::transport::tls::files::TlsFileError;

/// How to reach a server, checked.
pub(super) struct Address {
    config: Config,
    /// None: in plain text, because that is what the data source name says.
    tls: Option<DatabaseTls>,
    /// What errors show: no secrets.
    shown: String,
}

/// Why a data source name is of no use to us.
#[derive(Debug, thiserror::Error)]
pub(in crate::hook) enum AddressError {
    /// A parameter that this zrepl does not have.
    #[error("parameter {key:?} of the dsn is not supported: {advice}")]
    Unsupported {
        /// Which.
        key: &'static str,
        /// What to do instead.
        advice: &'static str,
    },
    /// Not what the parameter may be.
    #[error("wrong value for {key:?}: {value:?}")]
    Value {
        /// Which parameter.
        key: &'static str,
        /// Its value.
        value: String,
    },
    /// A file of certificates or a key.
    #[error(transparent)]
    File(#[from] TlsFileError),
    /// `sslcert` without `sslkey`, or the reverse.
    #[error("`sslcert` and `sslkey` of the dsn belong together: one of them is missing")]
    HalfIdentity,
    /// `verify-ca` and `verify-full` without anything to verify by.
    #[error(
        "there are no certificates of authorities on this system: name a file of them as `sslrootcert` in the dsn"
    )]
    NoAuthorities,
    /// The TLS library refuses.
    #[error("cannot set up TLS")]
    Tls(#[from] rustls::Error),
}

const DEFAULT_PORT: u16 = 5432;

/// Parameters that are for the driver, and so not sent to the server.
const FOR_THE_DRIVER: [&str; 22] = [
    "application_name",
    "binary_parameters",
    "client_encoding",
    "connect_timeout",
    "datestyle",
    "dbname",
    "disable_prepared_binary_result",
    "fallback_application_name",
    "host",
    "hostaddr",
    "load_balance_hosts",
    "options",
    "password",
    "port",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslnegotiation",
    "sslrootcert",
    "sslsni",
    "target_session_attrs",
    "user",
];

const REFUSED: [(&str, &str); 9] = [
    ("krbsrvname", "there is no Kerberos"),
    ("krbspn", "there is no Kerberos"),
    ("passfile", "write the password into the dsn"),
    ("service", "write the service's parameters into the dsn"),
    ("servicefile", "write the service's parameters into the dsn"),
    ("sslinline", "write certificates and key into files"),
    ("sslpassword", "use a key without password"),
    ("ssl_min_protocol_version", "TLS is 1.2 or 1.3"),
    ("ssl_max_protocol_version", "TLS is 1.2 or 1.3"),
];

/// What the environment says where the name is silent.
const VARIABLES: [(&str, &str); 14] = [
    ("application_name", "PGAPPNAME"),
    ("connect_timeout", "PGCONNECT_TIMEOUT"),
    ("dbname", "PGDATABASE"),
    ("host", "PGHOST"),
    ("hostaddr", "PGHOSTADDR"),
    ("options", "PGOPTIONS"),
    ("password", "PGPASSWORD"),
    ("port", "PGPORT"),
    ("sslcert", "PGSSLCERT"),
    ("sslkey", "PGSSLKEY"),
    ("sslmode", "PGSSLMODE"),
    ("sslrootcert", "PGSSLROOTCERT"),
    ("target_session_attrs", "PGTARGETSESSIONATTRS"),
    ("user", "PGUSER"),
];

impl Address {
    pub(super) fn new(dsn: &PostgresDsn, variables: Variables<'_>) -> Result<Self, AddressError> {
        let value = |key: &str| {
            let written = dsn.parameter(key).map(str::to_owned);
            written.or_else(|| {
                let (_, variable) = VARIABLES.iter().find(|(known, _)| *known == key)?;
                let value = variables(variable)?.into_string().ok()?;
                Some(value).filter(|value| !value.is_empty())
            })
        };
        for (key, advice) in REFUSED {
            if value(key).is_some_and(|value| key != "sslinline" || is_on(&value)) {
                return Err(AddressError::Unsupported { key, advice });
            }
        }
        let mut config = Config::new();
        hosts(&mut config, &value)?;
        if let Some(user) = value("user") {
            config.user(user);
        }
        if let Some(password) = value("password") {
            config.password(password);
        }
        if let Some(database) = value("dbname").filter(|name| !name.is_empty()) {
            config.dbname(database);
        }
        config.application_name(
            value("application_name")
                .or_else(|| value("fallback_application_name"))
                .unwrap_or_else(|| "zrepl".to_owned()),
        );
        let options = server_parameters(dsn, value("options"));
        if !options.is_empty() {
            config.options(options);
        }
        if let Some(seconds) = number("connect_timeout", value("connect_timeout"))?
            && seconds > 0
        {
            config.connect_timeout(Duration::from_secs(seconds));
        }
        if value("load_balance_hosts").as_deref() == Some("random") {
            config.load_balance_hosts(LoadBalanceHosts::Random);
        }
        config.target_session_attrs(session_attributes(
            value("target_session_attrs").as_deref(),
        )?);
        let tls = DatabaseTls::new(&value, is_local(&config))?;
        config.ssl_mode(if tls.is_some() {
            SslMode::Require
        } else {
            SslMode::Disable
        });
        if tls.is_some() && value("sslnegotiation").as_deref() == Some("direct") {
            config.ssl_negotiation(SslNegotiation::Direct);
        }
        Ok(Self {
            config,
            tls,
            shown: format!("PostgreSQL ({dsn})"),
        })
    }

    /// Connects and logs in.
    pub(super) async fn connect(
        &self,
    ) -> Result<(tokio_postgres::Client, Open), tokio_postgres::Error> {
        if let Some(tls) = &self.tls {
            let (client, connection) = self.config.connect(tls.clone()).await?;
            Ok((client, Box::pin(connection)))
        } else {
            let (client, connection) = self.config.connect(NoTls).await?;
            Ok((client, Box::pin(connection)))
        }
    }
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

/// The half of a connection that has to be polled for anything to happen.
pub(super) type Open = Pin<Box<dyn Future<Output = Result<(), tokio_postgres::Error>> + Send>>;

fn hosts(config: &mut Config, value: &dyn Fn(&str) -> Option<String>) -> Result<(), AddressError> {
    let given = |key| value(key).filter(|value| !value.is_empty());
    let (names, addresses) = (given("host"), given("hostaddr"));
    // The checks of TLS need a name; where there is none, the address is.
    let names = names.or_else(|| addresses.clone());
    for name in names.as_deref().unwrap_or("localhost").split(',') {
        config.host(if name.is_empty() { "localhost" } else { name });
    }
    for address in addresses.iter().flat_map(|addresses| addresses.split(',')) {
        let wrong = |_| AddressError::Value {
            key: "hostaddr",
            value: address.to_owned(),
        };
        config.hostaddr(address.parse().map_err(wrong)?);
    }
    for port in given("port").iter().flat_map(|ports| ports.split(',')) {
        let wrong = |_| AddressError::Value {
            key: "port",
            value: port.to_owned(),
        };
        config.port(if port.is_empty() {
            DEFAULT_PORT
        } else {
            port.parse().map_err(wrong)?
        });
    }
    Ok(())
}

/// Are all hosts sockets in the file system? They speak no TLS.
fn is_local(config: &Config) -> bool {
    let hosts = config.get_hosts();
    let local = hosts.iter().all(|host| matches!(host, Host::Unix(_)));
    local && config.get_hostaddrs().is_empty()
}

/// What the server gets besides user and database: `-c name=value` for each parameter that the driver does not know.
fn server_parameters(dsn: &PostgresDsn, options: Option<String>) -> String {
    let known = |key: &str| {
        FOR_THE_DRIVER.contains(&key) || REFUSED.iter().any(|(refused, _)| *refused == key)
    };
    let unknown = dsn.parameters().iter().filter(|(key, _)| !known(key));
    let settings = unknown.map(|(key, value)| {
        let value = value.replace('\\', r"\\").replace(' ', r"\ ");
        format!("-c {key}={value}")
    });
    let parts: Vec<String> = options.into_iter().chain(settings).collect();
    parts.join(" ")
}

fn session_attributes(wanted: Option<&str>) -> Result<Attributes, AddressError> {
    match wanted {
        None | Some("" | "any") => Ok(Attributes::Any),
        Some("read-write" | "primary") => Ok(Attributes::ReadWrite),
        Some("read-only") => Ok(Attributes::ReadOnly),
        Some("standby" | "prefer-standby") => Err(AddressError::Unsupported {
            key: "target_session_attrs",
            advice: "name the host of the standby, or use read-only",
        }),
        Some(other) => Err(AddressError::Value {
            key: "target_session_attrs",
            value: other.to_owned(),
        }),
    }
}

/// Negative numbers of seconds mean none, as in libpq.
fn number(key: &'static str, value: Option<String>) -> Result<Option<u64>, AddressError> {
    let Some(value) = value else { return Ok(None) };
    match value.parse::<i64>() {
        Ok(number) => Ok(u64::try_from(number).ok()),
        Err(_) => Err(AddressError::Value { key, value }),
    }
}

/// What lib/pq takes for true.
pub(super) fn is_on(text: &str) -> bool {
    ["1", "t", "T", "true", "TRUE", "True", "yes", "on"].contains(&text)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;

    fn address(dsn: &str) -> Result<Address, AddressError> {
        let dsn: PostgresDsn = dsn.parse().expect("a data source name");
        Address::new(&dsn, &|_| None)
    }

    fn tls_of(dsn: &str) -> Option<String> {
        let address = address(dsn).expect(dsn);
        let expected = if address.tls.is_some() {
            SslMode::Require
        } else {
            SslMode::Disable
        };
        assert_eq!(address.config.get_ssl_mode(), expected, "{dsn}");
        address.tls.map(|tls| format!("{tls:?}"))
    }

    #[test]
    fn plain_text_is_spoken_only_if_asked_for_or_within_the_host() {
        assert_eq!(tls_of("host=db sslmode=disable"), None);
        assert_eq!(tls_of("host=/run/postgresql sslmode=require"), None);
        assert_eq!(tls_of("host=/run/postgresql"), None);
        for dsn in [
            "",
            "host=db",
            "hostaddr=127.0.0.1",
            "host=/run,db",
            "postgres://db/x",
        ] {
            let tls = tls_of(dsn).expect("as lib/pq, and not as libpq");
            assert!(tls.contains("Encrypted"), "{dsn}: {tls}");
        }
    }

    #[test]
    fn parameters_arrive_where_they_belong() {
        let address = address(
            "host=a,b hostaddr=127.0.0.1,::1 port=1, user=u password=p dbname=d connect_timeout=7 sslmode=disable \
             search_path='a b' options='-c x=1' target_session_attrs=primary application_name=z lock_timeout=5s",
        )
        .expect("valid");
        let config = &address.config;
        assert_eq!(
            config.get_hosts(),
            [Host::Tcp("a".to_owned()), Host::Tcp("b".to_owned())]
        );
        assert_eq!(config.get_hostaddrs().len(), 2);
        assert_eq!(config.get_ports(), [1, 5432]);
        assert_eq!(config.get_user(), Some("u"));
        assert_eq!(config.get_password(), Some(&b"p"[..]));
        assert_eq!(config.get_dbname(), Some("d"));
        assert_eq!(config.get_application_name(), Some("z"));
        assert_eq!(config.get_connect_timeout(), Some(&Duration::from_secs(7)));
        assert_eq!(config.get_target_session_attrs(), Attributes::ReadWrite);
        assert_eq!(
            config.get_options(),
            Some(r"-c x=1 -c lock_timeout=5s -c search_path=a\ b")
        );
        assert!(
            !format!("{address:?}").contains("password=p "),
            "{address:?}"
        );
    }

    #[test]
    fn the_environment_fills_gaps() {
        let variables = |name: &str| match name {
            "PGHOST" => Some(OsString::from("/run/x")),
            "PGUSER" => Some("from-environment".into()),
            _ => None,
        };
        let dsn = "user=written".parse().expect("valid");
        let address = Address::new(&dsn, &variables).expect("valid");
        assert_eq!(address.config.get_user(), Some("written"));
        assert_eq!(address.config.get_hosts(), [Host::Unix("/run/x".into())]);
    }

    #[test]
    fn what_would_be_passed_over_is_refused() {
        for (dsn, expected) in [
            (
                "passfile=/x",
                "parameter \"passfile\" of the dsn is not supported: write the password into the dsn",
            ),
            (
                "service=x",
                "parameter \"service\" of the dsn is not supported",
            ),
            (
                "sslinline=true",
                "parameter \"sslinline\" of the dsn is not supported",
            ),
            (
                "target_session_attrs=standby",
                "parameter \"target_session_attrs\"",
            ),
            (
                "sslcert=/x",
                "`sslcert` and `sslkey` of the dsn belong together",
            ),
            (
                "sslmode=verify-full sslrootcert=/nonexistent",
                "cannot parse ca file: /nonexistent",
            ),
            // lib/pq takes this for "accept any certificate".
            (
                "sslrootcert=/nonexistent",
                "cannot parse ca file: /nonexistent",
            ),
        ] {
            let error = crate::causes::chain(&address(dsn).expect_err(dsn));
            assert!(error.starts_with(expected), "{dsn}: {error}");
        }
        address("sslinline=false sslmode=disable").expect("says nothing");
    }
}
