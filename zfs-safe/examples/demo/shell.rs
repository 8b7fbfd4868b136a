//! Processes of the demo itself, which prepare and check what zfs-safe works on.

use std::process::Command;

use crate::Result;

/// Runs a program and returns what it printed, without the last line feed.
pub(crate) fn run<'a>(
    program: &str,
    arguments: impl IntoIterator<Item = &'a str>,
) -> Result<String> {
    let mut command = Command::new(program);
    command.args(arguments);
    let output = command
        .output()
        .map_err(|error| format!("cannot start {program}: {error}"))?;
    if !output.status.success() {
        let message = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{command:?}: {}: {}", output.status, message.trim()).into());
    }
    Ok(String::from_utf8(output.stdout)?.trim_end().to_owned())
}

pub(crate) fn zfs(arguments: &[&str]) -> Result<String> {
    run("zfs", arguments.iter().copied())
}

pub(crate) fn zpool(arguments: &[&str]) -> Result<String> {
    run("zpool", arguments.iter().copied())
}
