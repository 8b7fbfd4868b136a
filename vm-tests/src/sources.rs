//! Where Debian packages come from: the host's own mirror, with the components and suites that the host lacks.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

const FALLBACK_MIRROR: &str = "http://deb.debian.org/debian";
const FALLBACK_SECURITY: &str = "http://deb.debian.org/debian-security";
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// The mirrors that the host is set up to use.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Mirrors {
    pub(crate) archive: String,
    pub(crate) security: String,
}

impl Mirrors {
    pub(crate) fn of_host() -> Self {
        let mut text = fs::read_to_string("/etc/apt/sources.list").unwrap_or_default();
        if let Ok(entries) = fs::read_dir("/etc/apt/sources.list.d") {
            let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
            paths.sort();
            for path in paths {
                if let Ok(content) = fs::read_to_string(&path) {
                    text.push('\n');
                    text.push_str(&content);
                }
            }
        }
        Self::parse(&text)
    }

    /// Finds the Debian mirrors in sources of either format: whatever URI ends in `/debian` or `/debian-security`.
    fn parse(text: &str) -> Self {
        let mut archive = None;
        let mut security = None;
        let uris = text
            .lines()
            .map(str::trim)
            .filter(|line| line.starts_with("deb ") || line.starts_with("URIs:"))
            .flat_map(str::split_whitespace)
            .filter(|word| {
                word.starts_with("http://")
                    || word.starts_with("https://")
                    || word.starts_with("file:")
            })
            .map(|uri| uri.trim_end_matches('/'));
        for uri in uris {
            if uri.ends_with("/debian") {
                archive.get_or_insert_with(|| uri.to_owned());
            } else if uri.ends_with("/debian-security") {
                security.get_or_insert_with(|| uri.to_owned());
            }
        }
        let security = security.unwrap_or_else(|| {
            archive.as_ref().map_or_else(
                || FALLBACK_SECURITY.to_owned(),
                |archive| format!("{archive}-security"),
            )
        });
        Self {
            archive: archive.unwrap_or_else(|| FALLBACK_MIRROR.to_owned()),
            security,
        }
    }

    /// For apt on the host: everything of one release that builds need, `contrib` and backports included.
    pub(crate) fn sources_list(&self, suite: &str) -> String {
        self.list(suite, &format!("deb [signed-by={KEYRING}]"))
    }

    /// The same for a guest's root file system, where apt has the keys of its release.
    pub(crate) fn guest_sources_list(&self, suite: &str) -> String {
        self.list(suite, "deb")
    }

    fn list(&self, suite: &str, prefix: &str) -> String {
        let Self { archive, security } = self;
        [
            (archive, suite.to_owned()),
            (archive, format!("{suite}-updates")),
            (security, format!("{suite}-security")),
            (archive, format!("{suite}-backports")),
        ]
        .map(|(mirror, suite)| format!("{prefix} {mirror} {suite} main contrib\n"))
        .concat()
    }
}

/// The release that the host itself runs, such as `bookworm`.
pub(crate) fn host_suite() -> Result<String> {
    let path = Path::new("/etc/os-release");
    let text = fs::read_to_string(path)
        .context("cannot read /etc/os-release; the test machines need a Debian host")?;
    parse_suite(&text)
        .context("/etc/os-release names no VERSION_CODENAME; the test machines need a Debian host")
}

fn parse_suite(os_release: &str) -> Option<String> {
    os_release
        .lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="))
        .map(|name| name.trim_matches('"').to_owned())
        .filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_mirrors_in_both_formats() {
        let old = "# deb http://ignored.example/debian x\ndeb [arch=amd64] http://m.example/debian/ trixie main\n";
        assert_eq!(
            Mirrors::parse(old),
            Mirrors {
                archive: "http://m.example/debian".to_owned(),
                security: "http://m.example/debian-security".to_owned(),
            }
        );
        let new = "Types: deb\nURIs: https://node.example/x\n\nTypes: deb\nURIs: http://m.example/debian\n\n\
                   URIs: http://s.example/debian-security\n";
        assert_eq!(
            Mirrors::parse(new),
            Mirrors {
                archive: "http://m.example/debian".to_owned(),
                security: "http://s.example/debian-security".to_owned(),
            }
        );
    }

    #[test]
    fn falls_back_without_any_source() {
        assert_eq!(Mirrors::parse("").archive, FALLBACK_MIRROR);
    }

    #[test]
    fn reads_the_codename() {
        assert_eq!(
            parse_suite("ID=debian\nVERSION_CODENAME=trixie\n").as_deref(),
            Some("trixie")
        );
        assert_eq!(parse_suite("ID=debian\n"), None);
    }
}
