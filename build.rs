//! Stamps `ZREPL_VERSION` for `cli` and `daemon`: from the environment where a packager sets it, else from git, else
//! the crate's version.

use std::process::Command;

/// Grows with each commit.
const COMMITS: &str = "../.git/logs/HEAD";

fn main() {
    println!("cargo:rerun-if-env-changed=ZREPL_VERSION");
    // Named only where it is: cargo runs the script anew each time for a file that is missing.
    println!("cargo:rerun-if-changed=../build.rs");
    if std::path::Path::new(COMMITS).exists() {
        println!("cargo:rerun-if-changed={COMMITS}");
    }
    let version = std::env::var("ZREPL_VERSION")
        .ok()
        .filter(|v| !v.is_empty())
        .or_else(|| git(&["describe", "--tags", "--always", "--match", "v*"]).map(from_git))
        .unwrap_or_else(|| format!("v{}", env!("CARGO_PKG_VERSION")));
    println!("cargo:rustc-env=ZREPL_VERSION={version}");
}

/// A bare commit id (no tag yet) gets the crate's version in front, so that the string always starts with a version.
fn from_git(described: String) -> String {
    if described.starts_with('v') {
        described
    } else {
        format!("v{}-g{described}", env!("CARGO_PKG_VERSION"))
    }
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let text = text.trim();
    (output.status.success() && !text.is_empty()).then(|| text.to_owned())
}
