//! Building and checking the workspace with cargo, on the host.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::summary::Totals;

/// Builds zrepl and the daemon's programs for guests in one go. What cargo builds together shares its features; one by one, the
/// daemon and what it depends on would be compiled twice.
pub(crate) const ZREPL_AND_EXAMPLES: [&str; 10] = [
    "build",
    "--profile",
    "guest",
    "-p",
    "zrepl",
    "-p",
    "zrepl-daemon",
    "--bin",
    "zrepl",
    "--examples",
];

/// Where `Cargo.lock` is.
#[derive(Debug)]
pub(crate) struct Workspace {
    root: PathBuf,
}

/// The crates that also exist without libzfs_core.
const WITHOUT_NATIVE: [&str; 6] = ["-p", "zfs-safe", "-p", "zrepl-daemon", "-p", "zrepl"];

/// With it, tests fail where the database servers are missing that we have installed; without it, they are skipped.
const SERVERS_REQUIRED: &str = "ZREPL_TEST_SERVERS_REQUIRED";

/// A check that is not a test, with the name it is reported under.
pub(crate) struct Step {
    pub(crate) name: &'static str,
    arguments: Vec<&'static str>,
    environment: &'static [(&'static str, &'static str)],
}

impl Step {
    /// In order of what they cost.
    pub(crate) fn all() -> [Self; 3] {
        let mut without_native = vec!["clippy"];
        without_native.extend(WITHOUT_NATIVE);
        without_native.extend(["--no-default-features", "--", "-D", "warnings"]);
        [
            Self {
                name: "format",
                arguments: vec!["fmt", "--all", "--check"],
                environment: &[],
            },
            Self {
                name: "clippy",
                arguments: vec![
                    "clippy",
                    "--workspace",
                    "--all-targets",
                    "--",
                    "-D",
                    "warnings",
                ],
                environment: &[],
            },
            Self {
                name: "clippy without ZFS headers",
                arguments: without_native,
                // Hides the headers, so that a build that needs them fails here and not at a packager's.
                environment: &[("PKG_CONFIG_LIBDIR", "/nonexistent")],
            },
        ]
    }
}

impl Workspace {
    pub(crate) fn find() -> Result<Self> {
        let output = Command::new(cargo())
            .args(["locate-project", "--workspace", "--message-format", "plain"])
            .output()
            .context("cannot start cargo")?;
        let manifest = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
        match manifest.parent() {
            Some(root) if output.status.success() && manifest.is_absolute() => Ok(Self {
                root: root.to_owned(),
            }),
            _ => bail!("there is no cargo workspace here; run `cargo vm` in the checkout"),
        }
    }

    fn cargo(&self) -> Command {
        let mut command = Command::new(cargo());
        command.current_dir(&self.root).stdin(Stdio::null());
        command
    }

    /// Runs a check with its output as it comes; whether it held.
    pub(crate) fn check(&self, step: &Step) -> Result<bool> {
        let status = self
            .cargo()
            .args(&step.arguments)
            .envs(step.environment.iter().copied())
            .status()
            .context("cannot start cargo")?;
        Ok(status.success())
    }

    /// Runs the unit tests and counts them.
    pub(crate) fn unit_tests(&self) -> Result<Totals> {
        let mut child = self
            .cargo()
            .args(["test", "--workspace", "--no-fail-fast"])
            .env(SERVERS_REQUIRED, "1")
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start cargo")?;
        let mut totals = Totals::default();
        if let Some(output) = child.stdout.take() {
            for line in BufReader::new(output).split(b'\n') {
                let line = line.context("cannot read what cargo prints")?;
                let line = String::from_utf8_lossy(&line);
                writeln!(std::io::stdout(), "{line}").ok();
                if let Some(counts) = Totals::parse_libtest(&line) {
                    totals += counts;
                }
            }
        }
        let status = child.wait().context("cannot wait for cargo")?;
        if !status.success() && totals.failed == 0 {
            // It did not compile, or a test program died.
            totals += Totals::ONE_FAILED;
        }
        Ok(totals)
    }

    /// Whether the crate has such a target yet.
    pub(crate) fn has_target(&self, package: &str, kind: &str, name: &str) -> Result<bool> {
        let output = self
            .cargo()
            .args(["metadata", "--no-deps", "--format-version", "1"])
            .output()
            .context("cannot start cargo")?;
        if !output.status.success() {
            bail!(
                "cargo metadata failed:\n{}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
        let metadata: Value =
            serde_json::from_slice(&output.stdout).context("cargo metadata printed no JSON")?;
        let packages = metadata["packages"]
            .as_array()
            .map_or(&[][..], Vec::as_slice);
        Ok(packages
            .iter()
            .filter(|found| found["name"] == package)
            .flat_map(|found| found["targets"].as_array().map_or(&[][..], Vec::as_slice))
            .any(|target| target["name"] == name && target["kind"][0] == kind))
    }

    /// Builds one target and returns its executable. The arguments are those of `cargo`, such as `build --example x`.
    pub(crate) fn executable(&self, arguments: &[&str], target: &str) -> Result<PathBuf> {
        let output = self
            .cargo()
            .args(arguments)
            .arg("--message-format=json-render-diagnostics")
            .stderr(Stdio::inherit())
            .output()
            .context("cannot start cargo")?;
        if !output.status.success() {
            bail!("`cargo {}` failed ({})", arguments.join(" "), output.status);
        }
        let executable = String::from_utf8_lossy(&output.stdout)
            .lines()
            .filter_map(|line| find_executable(line, target))
            .next_back()
            .with_context(|| {
                format!(
                    "`cargo {}` built no executable for {target}",
                    arguments.join(" ")
                )
            })?;
        fs::canonicalize(&executable)
            .with_context(|| format!("cannot find {}", executable.display()))
    }
}

/// Reads one line of cargo's JSON.
fn find_executable(line: &str, target: &str) -> Option<PathBuf> {
    let message: Value = serde_json::from_str(line).ok()?;
    if message["reason"] != "compiler-artifact" || message["target"]["name"] != target {
        return None;
    }
    message["executable"].as_str().map(PathBuf::from)
}

fn cargo() -> String {
    std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_executable_of_the_target_only() {
        let line = |name: &str, executable: &str| {
            format!(
                r#"{{"reason":"compiler-artifact","target":{{"name":"{name}"}},"executable":{executable}}}"#
            )
        };
        assert_eq!(
            find_executable(&line("demo", r#""/t/demo""#), "demo"),
            Some(PathBuf::from("/t/demo"))
        );
        assert_eq!(find_executable(&line("zfs_safe", "null"), "zfs_safe"), None);
        assert_eq!(
            find_executable(&line("other", r#""/t/other""#), "demo"),
            None
        );
        assert_eq!(find_executable("Compiling", "demo"), None);
    }
}
