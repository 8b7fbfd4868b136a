//! Whether a server's certificate has the name `server_cn`.
//!
//! Go looks at subject alternative names only. Where there are none, we also take the common name, as its name `server_cn`
//! suggests: certificates of before zrepl 0.3 have nothing else.

use std::net::IpAddr;

use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;

/// How a certificate has a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Match {
    /// As one of its subject alternative names.
    AlternativeName,
    /// Only as its common name, which zrepl 0.7.0 would refuse.
    CommonName,
}

/// How the certificate has this name, if it has.
pub(super) fn matches(certificate: &X509Certificate<'_>, wanted: &str) -> Option<Match> {
    let wanted = wanted.strip_suffix('.').unwrap_or(wanted);
    match certificate.subject_alternative_name() {
        Ok(Some(names)) => {
            let bare = wanted
                .strip_prefix('[')
                .and_then(|rest| rest.strip_suffix(']'));
            let address: Option<IpAddr> = bare.unwrap_or(wanted).parse().ok();
            let names = &names.value.general_names;
            names
                .iter()
                .any(|name| has_name(name, address, wanted))
                .then_some(Match::AlternativeName)
        }
        Ok(None) => {
            let last = certificate.subject().iter_common_name().last()?;
            (last.as_str().ok()? == wanted).then_some(Match::CommonName)
        }
        Err(_) => None,
    }
}

fn has_name(name: &GeneralName<'_>, address: Option<IpAddr>, wanted: &str) -> bool {
    match (name, address) {
        (GeneralName::IPAddress(raw), Some(IpAddr::V4(ip))) => *raw == ip.octets(),
        (GeneralName::IPAddress(raw), Some(IpAddr::V6(ip))) => *raw == ip.octets(),
        (GeneralName::DNSName(pattern), None) => has_dns_name(pattern, wanted),
        _ => false,
    }
}

/// Names without regard to case; a pattern's first label may be `*`, which stands for one label.
fn has_dns_name(pattern: &str, wanted: &str) -> bool {
    if wanted.is_empty() {
        return false;
    }
    if pattern.eq_ignore_ascii_case(wanted) {
        return true;
    }
    match (pattern.strip_prefix("*."), wanted.split_once('.')) {
        (Some(pattern), Some((label, rest))) => {
            !label.is_empty() && !rest.is_empty() && pattern.eq_ignore_ascii_case(rest)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dns_names_match_as_in_go() {
        for (pattern, wanted, expected) in [
            ("a.example.com", "A.Example.com", true),
            ("a.example.com", "b.example.com", false),
            ("*.example.com", "a.example.com", true),
            ("*.example.com", "a.b.example.com", false),
            ("*.example.com", "example.com", false),
            ("*.example.com", ".example.com", false),
            ("a.*.com", "a.example.com", false),
            ("*", "a", false),
            ("backup server", "backup server", true),
            ("", "", false),
        ] {
            assert_eq!(
                has_dns_name(pattern, wanted),
                expected,
                "{pattern} {wanted}"
            );
        }
    }
}
