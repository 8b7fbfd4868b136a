//! Whether a server's certificate has the name `server_cn`.
//!
//! Like Go, and in spite of the option's name, this looks at subject alternative names only: who has no such names has no name.

use std::net::IpAddr;

use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;

/// Whether the certificate has this name.
pub(super) fn has(certificate: &X509Certificate<'_>, wanted: &str) -> bool {
    let wanted = wanted.strip_suffix('.').unwrap_or(wanted);
    let Ok(Some(names)) = certificate.subject_alternative_name() else {
        return false;
    };
    let bare = wanted
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let address: Option<IpAddr> = bare.unwrap_or(wanted).parse().ok();
    let names = &names.value.general_names;
    names.iter().any(|name| has_name(name, address, wanted))
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
