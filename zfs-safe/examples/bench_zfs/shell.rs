//! Processes of the benchmark itself.

use std::process::Command;

use crate::Result;

/// Runs a program to its end and drops what it prints.
pub(crate) fn run(program: &str, arguments: &[&str]) -> Result<()> {
    let mut command = Command::new(program);
    command.args(arguments);
    let output = command
        .output()
        .map_err(|error| format!("cannot start {program}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let message = String::from_utf8_lossy(&output.stderr);
    Err(format!("{command:?}: {}: {}", output.status, message.trim()).into())
}
