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
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(text: &str) -> Vec<(String, String)> {
        let dsn: PostgresDsn = text.parse().unwrap_or_else(|e| panic!("{text}: {e}"));
        assert_eq!(dsn.as_str(), text);
        dsn.parameters().clone().into_iter().collect()
    }

    #[test]
    fn a_url_has_no_parameters_that_pairs_cannot_have() {
        for query in ["a+b=c", "=c", "a%3Db=c", "a%0ab=c", "&="] {
            let error = format!("postgres://h/d?{query}").parse::<PostgresDsn>();
            let expected = PostgresDsnError::Url(UrlProblem::Parameter);
            assert_eq!(error, Err(expected), "{query}");
        }
    }

    #[test]
    fn many_parameters_are_read_quickly() {
        let pairs: Vec<String> = (0..50_000).map(|n| format!("{n}=x")).collect();
        let text = format!("postgres://h/?{}", pairs.join("&"));
        let before = std::time::Instant::now();
        assert_eq!(parsed(&text).len(), 50_001);
        let needed = before.elapsed();
        assert!(needed.as_secs() < 5, "{needed:?}, though unoptimised");
    }

    #[test]
    fn both_forms_give_parameters() {
        let cases: &[(&str, &[(&str, &str)])] = &[
            (
                "host=localhost port=5432 user=postgres password=yourpasswordhere sslmode=disable",
                &[
                    ("host", "localhost"),
                    ("password", "yourpasswordhere"),
                    ("port", "5432"),
                    ("sslmode", "disable"),
                    ("user", "postgres"),
                ],
            ),
            ("", &[]),
            (" \t\n", &[]),
            (
                "user =  me\tdbname\n= x ",
                &[("dbname", "x"), ("user", "me")],
            ),
            (
                r"password='it\'s a \\ b' user=a\ b",
                &[("password", r"it's a \ b"), ("user", "a b")],
            ),
            ("password=''user=x", &[("password", ""), ("user", "x")]),
            ("password=a'b=c", &[("password", "a'b=c")]),
            ("user=a user=b", &[("user", "b")]),
            ("user=", &[("user", "")]),
            ("database=x", &[("dbname", "x")]),
            ("database=x dbname=y", &[("dbname", "y")]),
            ("search_path=a,b", &[("search_path", "a,b")]),
            ("postgres://", &[]),
            ("postgresql:///", &[]),
            ("postgres://h", &[("host", "h")]),
            (
                "postgres://bob:se%2Fcr%40et@1.2.3.4:5432/my%20db?sslmode=verify-full&application_name=a+b",
                &[
                    ("application_name", "a b"),
                    ("dbname", "my db"),
                    ("host", "1.2.3.4"),
                    ("password", "se/cr@et"),
                    ("port", "5432"),
                    ("sslmode", "verify-full"),
                    ("user", "bob"),
                ],
            ),
            (
                "postgres://u@[::1]:1/d",
                &[
                    ("dbname", "d"),
                    ("host", "::1"),
                    ("port", "1"),
                    ("user", "u"),
                ],
            ),
            (
                "postgresql:///d?host=/run/postgresql",
                &[("dbname", "d"), ("host", "/run/postgresql")],
            ),
            (
                "postgres://h/?host=other&host=third&x#frag",
                &[("host", "other")],
            ),
            ("host=a,b port=1,2", &[("host", "a,b"), ("port", "1,2")]),
            ("host=a,b port=1", &[("host", "a,b"), ("port", "1")]),
            ("client_encoding=UTF-8", &[("client_encoding", "UTF-8")]),
        ];
        for (text, expected) in cases {
            let expected: Vec<_> = expected
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect();
            assert_eq!(parsed(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_malformed_is_refused() {
        let cases = [
            (
                "host",
                "missing \"=\" after the word at character 1 in connection info string",
            ),
            (
                "user=x password=a b",
                "missing \"=\" after the word at character 19",
            ),
            ("=x", "missing parameter name before \"=\" at character 1"),
            ("password='x", "unterminated quoted string literal"),
            (r"password='x\", "unterminated quoted string literal"),
            (r"password=x\", "missing character after backslash"),
            ("mysql://h", "missing \"=\" after the word at character 1"),
            (
                "sslmode=prefer",
                "wrong value for \"sslmode\": \"prefer\" is not supported; supported values are disable",
            ),
            ("port=70000", "wrong value for \"port\""),
            ("port=", "wrong value for \"port\""),
            ("port=+1", "wrong value for \"port\""),
            ("connect_timeout=10s", "wrong value for \"connect_timeout\""),
            ("hostaddr=localhost", "wrong value for \"hostaddr\""),
            (
                "sslinline=maybe",
                "wrong value for \"sslinline\": \"maybe\" is not supported; it must be true or false",
            ),
            ("client_encoding=latin1", "it must be absent or \"UTF8\""),
            ("datestyle=german", "it must be absent or \"ISO, MDY\""),
            (
                "host=a,b,c port=1,2",
                "wrong value for \"port\": 2 of them do not fit to 3 hosts",
            ),
            (
                "host=a hostaddr=::1,::2",
                "wrong value for \"hostaddr\": 2 of them do not fit to 1 hosts",
            ),
            ("postgres://u:p@h:x/", "invalid URL: its host and port"),
            ("postgres://a:1,b:2/", "invalid URL: its host and port"),
            ("postgres://h:99999/", "invalid URL: its host and port"),
            (
                "postgres://u:p w@h/",
                "invalid URL: its user name or password",
            ),
            (
                "postgres://u:p%@h/",
                "invalid URL: its password has an invalid escape",
            ),
            (
                "postgres://h/%ff",
                "invalid URL: its database name has an invalid escape",
            ),
            (
                "postgres://h/?a=%",
                "invalid URL: its query has an invalid escape",
            ),
            (
                "postgres://h\n/",
                "invalid URL: it contains a control character",
            ),
        ];
        for (text, expected) in cases {
            let error = text.parse::<PostgresDsn>().expect_err(text).to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn what_is_shown_has_no_secrets() {
        let cases = [
            ("user=me password=hunter2", "password=*** user=me"),
            ("postgres://me:hunter2@h/", "host=h password=*** user=me"),
            ("postgres://h/?password=hunter2", "host=h password=***"),
            ("sslkey=hunter2 sslinline=true", "sslinline=true sslkey=***"),
            ("sslkey=/etc/key", "sslkey=/etc/key"),
            (
                "sslpassword=hunter2 options='-c x' user=''",
                "options='-c x' sslpassword=*** user=''",
            ),
            (r"user=a\'b\\", r"user='a\'b\\'"),
        ];
        for (text, expected) in cases {
            let dsn: PostgresDsn = text.parse().unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!(dsn.to_string(), expected);
            assert_eq!(format!("{dsn:?}"), format!("PostgresDsn({expected})"));
        }
        for text in [
            "user=me password=x hunter2",
            "password='hunter2",
            "postgres://me:hunter2/x@h",
            "postgres://me:x#hunter2@h",
            "postgres://me:hunter2%@h",
            "postgres://me:hunter2<@h",
        ] {
            let error = text.parse::<PostgresDsn>().expect_err(text);
            assert!(
                !format!("{error} {error:?}").contains("hunter2"),
                "{error:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in r"(postgres://)?[a-c='\\ @:/?&%\[\]0-9]{0,30}") {
            let _ = text.parse::<PostgresDsn>();
        }

        /// Without secrets, what is shown says the same.
        #[test]
        fn what_is_shown_is_read_back(pairs in proptest::collection::btree_map("x[a-z]{1,5}", r"[ -~]{0,8}", 0..4)) {
            let parameters: Vec<_> = pairs.iter().map(|(k, v)| {
                format!("{k}='{}'", v.replace('\\', r"\\").replace('\'', r"\'"))
            }).collect();
            let dsn: PostgresDsn = parameters.join(" ").parse().expect("quoted");
            prop_assert_eq!(dsn.parameters(), &pairs);
            let shown: PostgresDsn = dsn.to_string().parse().expect("shown");
            prop_assert_eq!(shown.parameters(), &pairs);
        }
    }
}
