//! Data source names: how the hooks reach their databases, in the syntaxes of the two Go drivers that zrepl 0.7.0 hands
//! them to. Passwords come in with them and must not get out: neither [`std::fmt::Debug`] nor [`std::fmt::Display`] of a name
//! shows them, and no error repeats a part of the text that could be one.

mod mysql;
mod postgres;

pub use mysql::{MysqlDsn, MysqlDsnError};
pub use postgres::{PostgresDsn, PostgresDsnError, UrlProblem};

/// Shown in place of a secret.
const REDACTED: &str = "***";

/// What `+` means in the text to decode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plus {
    Itself,
    Blank,
}

/// Decodes `%XX`; nothing if an escape is incomplete or the result is not text.
fn percent_decoded(text: &str, plus: Plus) -> Option<String> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => {
                let mut digit = || char::from(bytes.next()?).to_digit(16);
                u8::try_from(digit()? * 16 + digit()?).ok()?
            }
            b'+' if plus == Plus::Blank => b' ',
            other => other,
        });
    }
    String::from_utf8(decoded).ok()
}

/// Splits `host:port`, where an IPv6 address is in brackets. An absent port is `None`; the brackets go.
fn host_and_port(text: &str) -> Option<(&str, Option<&str>)> {
    if let Some(inner) = text.strip_prefix('[') {
        let (host, rest) = inner.split_once(']')?;
        return match rest.strip_prefix(':') {
            Some(port) => Some((host, Some(port))),
            None => rest.is_empty().then_some((host, None)),
        };
    }
    match text.split_once(':') {
        None => Some((text, None)),
        Some((_, port)) if port.contains(':') => None,
        Some((host, port)) => Some((host, Some(port))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_decoded() {
        assert_eq!(
            percent_decoded("a%20b+c", Plus::Itself).as_deref(),
            Some("a b+c")
        );
        assert_eq!(
            percent_decoded("a+%2B%c3%bc", Plus::Blank).as_deref(),
            Some("a +ü")
        );
        for text in ["%", "%2", "%zz", "%ff", "%+1"] {
            assert_eq!(percent_decoded(text, Plus::Itself), None, "{text}");
        }
    }

    #[test]
    fn hosts_and_ports_are_told_apart() {
        let cases = [
            ("h", Some(("h", None))),
            ("h:1", Some(("h", Some("1")))),
            ("h:", Some(("h", Some("")))),
            (":1", Some(("", Some("1")))),
            ("[::1]", Some(("::1", None))),
            ("[::1]:5", Some(("::1", Some("5")))),
            ("[::1]x", None),
            ("[::1", None),
            ("::1", None),
        ];
        for (text, expected) in cases {
            assert_eq!(host_and_port(text), expected, "{text}");
        }
    }
}
