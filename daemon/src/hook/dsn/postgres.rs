//! PostgreSQL: `postgres://user:password@host:port/dbname?key=value`, or `key=value key='quoted value'`, as lib/pq 1.11
//! reads them.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use super::{Plus, REDACTED, host_and_port, percent_decoded};

const SCHEMES: [&str; 2] = ["postgres://", "postgresql://"];

/// What lib/pq takes for true or false.
const BOOLEANS: [&str; 16] = [
    "1", "t", "T", "true", "TRUE", "True", "yes", "on", "0", "f", "F", "false", "FALSE", "False",
    "no", "off",
];

/// How to reach a PostgreSQL server.
#[derive(Clone, PartialEq, Eq)]
pub struct PostgresDsn {
    text: String,
    parameters: BTreeMap<String, String>,
}

/// Why a text does not say how to reach a server. No variant shows what could be part of a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PostgresDsnError {
    /// A value may be split over several hosts, but not like this.
    #[error(
        "wrong value for {key:?}: {found} of them do not fit to {hosts} hosts, one for each or a single one is allowed"
    )]
    Count {
        /// Which parameter.
        key: &'static str,
        /// How many there are.
        found: usize,
        /// How many hosts there are.
        hosts: usize,
    },
    /// `\` at the end.
    #[error("missing character after backslash at the end of the connection info string")]
    Backslash,
    /// `=value`.
    #[error(
        "missing parameter name before \"=\" at character {position} of the connection info string"
    )]
    MissingKey {
        /// Where, counted from 1.
        position: usize,
    },
    /// A word without value: blanks in a value, perhaps.
    #[error(
        "missing \"=\" after the word at character {position} in connection info string: a value with blanks needs quotes"
    )]
    MissingValue {
        /// Where the word starts, counted from 1.
        position: usize,
    },
    /// A quote is missing.
    #[error("unterminated quoted string literal in connection string")]
    Quote,
    /// The URL is none.
    #[error("invalid URL: {0}")]
    Url(UrlProblem),
    /// Not what the parameter may be.
    #[error("wrong value for {key:?}: {value:?} is not supported; {allowed}")]
    Value {
        /// Which parameter.
        key: &'static str,
        /// Its value.
        value: String,
        /// What it may be.
        allowed: &'static str,
    },
}

/// What is wrong with a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlProblem {
    /// A control character.
    #[error("it contains a control character")]
    Control,
    /// `%` without two hexadecimal digits, or with those of no text.
    #[error(
        "its {0} has an invalid escape: '%' needs two hexadecimal digits, and what is escaped must be UTF-8"
    )]
    Escape(&'static str),
    /// What stands between `@` and `/`.
    #[error(
        "its host and port are not of the form host, host:port or [address]:port, with a number up to 65535 for the port"
    )]
    Host,
    /// The name of a parameter that could not be one in pairs either.
    #[error("its query has a parameter whose name is empty, or contains a blank or '='")]
    Parameter,
    /// Before the `@`.
    #[error("its user name or password contains a character that must be written as %XX")]
    User,
}

impl PostgresDsn {
    /// The text as written, with the password.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// All parameters by name, with the password.
    pub fn parameters(&self) -> &BTreeMap<String, String> {
        &self.parameters
    }

    /// One parameter.
    pub fn parameter(&self, key: &str) -> Option<&str> {
        self.parameters.get(key).map(String::as_str)
    }
}

impl FromStr for PostgresDsn {
    type Err = PostgresDsnError;

    fn from_str(text: &str) -> Result<Self, PostgresDsnError> {
        let url = SCHEMES.iter().find_map(|scheme| text.strip_prefix(scheme));
        let mut parameters = match url {
            Some(rest) => from_url(rest).map_err(PostgresDsnError::Url)?,
            None => from_pairs(text)?,
        };
        if let Some(database) = parameters.remove("database") {
            let name = parameters.entry("dbname".to_owned()).or_default();
            if name.is_empty() {
                *name = database;
            }
        }
        check(&parameters)?;
        Ok(Self {
            text: text.to_owned(),
            parameters,
        })
    }
}

impl fmt::Debug for PostgresDsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PostgresDsn({self})")
    }
}

impl fmt::Display for PostgresDsn {
    /// As pairs, without secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (key, value)) in self.parameters.iter().enumerate() {
            let separator = if index > 0 { " " } else { "" };
            write!(f, "{separator}{key}=")?;
            // `sslkey` is a key if `sslinline` says so, else a file's name.
            let secret = matches!(key.as_str(), "password" | "sslpassword")
                || (key == "sslkey" && self.parameters.contains_key("sslinline"));
            let plain = |c: char| !c.is_whitespace() && c != '\'' && c != '\\';
            if secret {
                f.write_str(REDACTED)?;
            } else if !value.is_empty() && value.chars().all(plain) {
                f.write_str(value)?;
            } else {
                write!(f, "'{}'", value.replace('\\', r"\\").replace('\'', r"\'"))?;
            }
        }
        Ok(())
    }
}

fn from_pairs(text: &str) -> Result<BTreeMap<String, String>, PostgresDsnError> {
    let mut parameters = BTreeMap::new();
    let mut characters = text.chars().zip(1..).peekable();
    loop {
        while characters.next_if(|(c, _)| c.is_whitespace()).is_some() {}
        let Some(&(_, position)) = characters.peek() else {
            return Ok(parameters);
        };
        let mut key = String::new();
        while let Some((c, _)) = characters.next_if(|(c, _)| *c != '=' && !c.is_whitespace()) {
            key.push(c);
        }
        while characters.next_if(|(c, _)| c.is_whitespace()).is_some() {}
        if characters.next_if(|(c, _)| *c == '=').is_none() {
            return Err(PostgresDsnError::MissingValue { position });
        }
        if key.is_empty() {
            return Err(PostgresDsnError::MissingKey { position });
        }
        while characters.next_if(|(c, _)| c.is_whitespace()).is_some() {}
        let quoted = characters.next_if(|(c, _)| *c == '\'').is_some();
        let mut value = String::new();
        loop {
            match characters.next().map(|(c, _)| c) {
                Some('\'') if quoted => break,
                Some('\\') => match characters.next() {
                    Some((c, _)) => value.push(c),
                    None if quoted => return Err(PostgresDsnError::Quote),
                    None => return Err(PostgresDsnError::Backslash),
                },
                None if quoted => return Err(PostgresDsnError::Quote),
                None => break,
                Some(c) if !quoted && c.is_whitespace() => break,
                Some(c) => value.push(c),
            }
        }
        parameters.insert(key, value);
    }
}

/// What follows the scheme. Empty parts set nothing; a parameter in the query outweighs its like before that, as in libpq.
fn from_url(rest: &str) -> Result<BTreeMap<String, String>, UrlProblem> {
    if rest.chars().any(|c| c.is_ascii_control()) {
        return Err(UrlProblem::Control);
    }
    let decoded = |text, part| percent_decoded(text, Plus::Itself).ok_or(UrlProblem::Escape(part));
    let rest = rest.split_once('#').map_or(rest, |(rest, _)| rest);
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let mut parameters = BTreeMap::new();
    let mut set = |key: &str, value: String| {
        if !value.is_empty() {
            parameters.insert(key.to_owned(), value);
        }
    };
    let (userinfo, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-._:~!$&'()*+,;=%@".contains(c);
    if !userinfo.chars().all(allowed) {
        return Err(UrlProblem::User);
    }
    let (user, password) = userinfo.split_once(':').unwrap_or((userinfo, ""));
    set("user", decoded(user, "user name")?);
    set("password", decoded(password, "password")?);
    let (host, port) = host_and_port(host).ok_or(UrlProblem::Host)?;
    let port = port.unwrap_or_default();
    // What is no port may be part of a password, so it is not left to the check that would show it.
    let is_port = port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok();
    let forbidden = [' ', '<', '>', '"', '\\', '^', '`', '{', '|', '}'];
    if !(port.is_empty() || is_port) || host.contains(forbidden) {
        return Err(UrlProblem::Host);
    }
    set("host", decoded(host, "host")?);
    set("port", port.to_owned());
    set("dbname", decoded(path, "database name")?);
    let mut seen: HashSet<String> = HashSet::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let decoded = |text| percent_decoded(text, Plus::Blank).ok_or(UrlProblem::Escape("query"));
        let (key, value) = (decoded(key)?, decoded(value)?);
        if key.is_empty() || key.contains(|c: char| c == '=' || c.is_whitespace()) {
            return Err(UrlProblem::Parameter);
        }
        // Of several values for one key the first counts.
        if !seen.contains(&key) {
            set(&key, value);
            seen.insert(key);
        }
    }
    Ok(parameters)
}

/// Checks the values that lib/pq checks before it connects.
fn check(parameters: &BTreeMap<String, String>) -> Result<(), PostgresDsnError> {
    const CHOICES: [(&str, &[&str], &str); 4] = [
        (
            "load_balance_hosts",
            &["disable", "random"],
            "supported values are disable and random",
        ),
        (
            "sslmode",
            &["disable", "require", "verify-ca", "verify-full"],
            "supported values are disable, require, verify-ca and verify-full",
        ),
        (
            "sslnegotiation",
            &["postgres", "direct"],
            "supported values are postgres and direct",
        ),
        (
            "target_session_attrs",
            &[
                "any",
                "read-write",
                "read-only",
                "primary",
                "standby",
                "prefer-standby",
            ],
            "supported values are any, read-write, read-only, primary, standby and prefer-standby",
        ),
    ];
    const SWITCHES: [&str; 4] = [
        "binary_parameters",
        "disable_prepared_binary_result",
        "sslinline",
        "sslsni",
    ];
    let expect =
        |key: &'static str, allowed: &'static str, valid: &dyn Fn(&str) -> bool| match parameters
            .get(key)
        {
            Some(value) if !valid(value) => Err(PostgresDsnError::Value {
                key,
                value: value.clone(),
                allowed,
            }),
            _ => Ok(()),
        };
    for (key, choices, allowed) in CHOICES {
        expect(key, allowed, &|value| choices.contains(&value))?;
    }
    for key in SWITCHES {
        expect(key, "it must be true or false", &|value| {
            BOOLEANS.contains(&value)
        })?;
    }
    expect(
        "connect_timeout",
        "it must be a whole number of seconds",
        &|value| value.parse::<i64>().is_ok(),
    )?;
    expect(
        "client_encoding",
        "it must be absent or \"UTF8\"",
        &|value| {
            let letters = value.chars().filter(char::is_ascii_alphanumeric);
            let letters: String = letters.map(|c| c.to_ascii_lowercase()).collect();
            matches!(letters.as_str(), "utf8" | "unicode")
        },
    )?;
    expect("datestyle", "it must be absent or \"ISO, MDY\"", &|value| {
        value == "ISO, MDY"
    })?;
    // Of a list, further ones may be empty, which means the default.
    let each = |value: &str, valid: &dyn Fn(&str) -> bool| {
        value
            .split(',')
            .enumerate()
            .all(|(index, part)| (index > 0 && part.is_empty()) || valid(part))
    };
    expect(
        "port",
        "it must be a number up to 65535, or one for each host, separated by commas",
        &|value| {
            each(value, &|part| {
                part.bytes().all(|b| b.is_ascii_digit()) && part.parse::<u16>().is_ok()
            })
        },
    )?;
    expect(
        "hostaddr",
        "it must be an IP address, or one for each host, separated by commas",
        &|value| each(value, &|part| part.parse::<IpAddr>().is_ok()),
    )?;
    let count = |key: &str| {
        parameters
            .get(key)
            .map_or(0, |value| value.split(',').count())
    };
    let (hosts, addresses, ports) = (count("host"), count("hostaddr"), count("port"));
    if hosts > 0 && addresses > 0 && hosts != addresses {
        return Err(PostgresDsnError::Count {
            key: "hostaddr",
            found: addresses,
            hosts,
        });
    }
    let hosts = hosts.max(addresses);
    if hosts > 1 && ports > 1 && hosts != ports {
        return Err(PostgresDsnError::Count {
            key: "port",
            found: ports,
            hosts,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
