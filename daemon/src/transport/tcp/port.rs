//! Ports by number or by the name of a service, as Go takes them.

use std::fs;

/// Where services and their ports are listed.
const SERVICES: &str = "/etc/services";

/// A port that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PortError {
    /// More than sixteen bits.
    #[error("port {0} is too large: the largest is 65535")]
    TooLarge(String),
    /// Not a number, and not a service that this machine knows.
    #[error("{0:?} is neither a port number nor a tcp service in {SERVICES}")]
    UnknownService(String),
}

/// The number of a port; of an empty one 0, with which the system chooses.
pub(super) fn number(port: &str) -> Result<u16, PortError> {
    if port.bytes().all(|byte| byte.is_ascii_digit()) {
        return match port {
            "" => Ok(0),
            _ => port
                .parse()
                .map_err(|_| PortError::TooLarge(port.to_owned())),
        };
    }
    let services = fs::read_to_string(SERVICES).unwrap_or_default();
    listed(&services, port).ok_or_else(|| PortError::UnknownService(port.to_owned()))
}

/// The port of a service, by its name or an alias of it.
fn listed(services: &str, wanted: &str) -> Option<u16> {
    services.lines().find_map(|line| {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_ascii_whitespace();
        let name = words.next()?;
        let port = words.next()?.strip_suffix("/tcp")?;
        let is_wanted = |name: &str| name.eq_ignore_ascii_case(wanted);
        (is_wanted(name) || words.any(is_wanted))
            .then(|| port.parse().ok())
            .flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_numbers_or_services() {
        assert_eq!(number("8888"), Ok(8888));
        assert_eq!(number(""), Ok(0));
        assert_eq!(
            number("65536"),
            Err(PortError::TooLarge("65536".to_owned()))
        );
        let unknown = number("no such service").expect_err("unknown");
        assert_eq!(
            unknown.to_string(),
            "\"no such service\" is neither a port number nor a tcp service in /etc/services"
        );
    }

    #[test]
    fn services_are_found_by_name_and_alias() {
        let services = "# name\nntp 123/udp\nzrepl\t8888/tcp  backup # replication\nhttp 80/tcp\n";
        for (name, expected) in [
            ("zrepl", Some(8888)),
            ("ZREPL", Some(8888)),
            ("backup", Some(8888)),
            ("http", Some(80)),
            ("ntp", None),
            ("replication", None),
        ] {
            assert_eq!(listed(services, name), expected, "{name}");
        }
    }
}
