//! Which build this is, and how programs tell each other.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Version and commit, from git or the packager: see the workspace's `build.rs`.
pub const VERSION: &str = env!("ZREPL_VERSION");

/// A build of zrepl. As JSON it is the answer to `/version` on the control socket, whose keys are those of zrepl 0.7.0.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Build {
    /// Version and commit.
    #[serde(rename = "Version")]
    pub version: String,
    /// Version of Go; empty where the program is not written in it.
    #[serde(rename = "RuntimeGo", default)]
    pub go: String,
    /// Operating system, as Go names it.
    #[serde(rename = "RuntimeGOOS", default)]
    pub os: String,
    /// Processor, as Go names it.
    #[serde(rename = "RuntimeGOARCH", default)]
    pub arch: String,
    /// What compiled it.
    #[serde(rename = "RUNTIMECompiler", default)]
    pub compiler: String,
}

impl Build {
    /// This very program.
    pub fn this() -> Self {
        Self {
            version: VERSION.to_owned(),
            go: String::new(),
            os: go_os(std::env::consts::OS).to_owned(),
            arch: go_arch(std::env::consts::ARCH).to_owned(),
            compiler: "rustc".to_owned(),
        }
    }
}

impl fmt::Display for Build {
    /// The words of zrepl 0.7.0, in its order, for parsers that look for `key=value`. The key `go` is left out where
    /// there is no Go.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            version,
            go,
            os,
            arch,
            compiler,
        } = self;
        write!(f, "zrepl version={version}")?;
        if !go.is_empty() {
            write!(f, " go={go}")?;
        }
        write!(f, " GOOS={os} GOARCH={arch} Compiler={compiler}")
    }
}

/// The line that `zrepl version` prints for this program.
pub fn line() -> String {
    Build::this().to_string()
}

/// Go's name of an operating system, by Rust's.
fn go_os(rust: &str) -> &str {
    match rust {
        "macos" => "darwin",
        same => same,
    }
}

/// Go's name of a processor, by Rust's.
fn go_arch(rust: &str) -> &str {
    match rust {
        "x86_64" => "amd64",
        "x86" => "386",
        "aarch64" => "arm64",
        "loongarch64" => "loong64",
        "powerpc64" if cfg!(target_endian = "little") => "ppc64le",
        "powerpc64" => "ppc64",
        same => same,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_line_starts_like_that_of_zrepl() {
        assert!(line().starts_with("zrepl version=v"), "{}", line());
    }

    #[test]
    fn the_line_has_the_keys_of_zrepl_except_go() {
        let keys: Vec<String> = line()
            .split(' ')
            .filter_map(|word| Some(word.split_once('=')?.0.to_owned()))
            .collect();
        assert_eq!(keys, ["version", "GOOS", "GOARCH", "Compiler"]);
    }

    #[test]
    fn a_build_in_go_is_shown_as_go_shows_it() {
        let answer = r#"{"Version":"v0.7.0","RuntimeGo":"go1.25.12","RuntimeGOOS":"linux","RuntimeGOARCH":"amd64","RUNTIMECompiler":"gc"}"#;
        let build: Build = serde_json::from_str(answer).expect("valid");
        assert_eq!(
            build.to_string(),
            "zrepl version=v0.7.0 go=go1.25.12 GOOS=linux GOARCH=amd64 Compiler=gc"
        );
        assert_eq!(serde_json::to_string(&build).expect("plain data"), answer);
    }
}
