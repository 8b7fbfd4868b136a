//! Which build this is.

/// Version and commit, from git or the packager: see the workspace's `build.rs`.
pub const VERSION: &str = env!("ZREPL_VERSION");

/// The line that `zrepl version` prints for a program, in the form of zrepl 0.7.0, whose parsers look for `key=value`. The
/// key `go` is left out: there is none.
pub fn line() -> String {
    format!(
        "zrepl version={VERSION} OS={} ARCH={} Compiler=rustc",
        std::env::consts::OS,
        std::env::consts::ARCH
    )
}

#[cfg(test)]
mod tests {
    #[test]
    fn version_line_starts_like_that_of_zrepl() {
        assert!(
            super::line().starts_with("zrepl version=v"),
            "{}",
            super::line()
        );
    }
}
