//! QEMU's own command line: one command over its monitor socket.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

/// QEMU answers at once unless the host is in trouble.
const LIMIT: Duration = Duration::from_secs(30);

/// Executes one command on a fresh connection and waits for its end.
pub(crate) fn execute(port: UnixStream, command: &str, arguments: &Value) -> Result<()> {
    port.set_read_timeout(Some(LIMIT))
        .context("cannot set a limit on QEMU's monitor")?;
    let mut out = port
        .try_clone()
        .context("cannot duplicate QEMU's monitor")?;
    let mut lines = BufReader::new(port).lines();
    let enable = json!({ "execute": "qmp_capabilities" });
    let request = json!({ "execute": command, "arguments": arguments });
    for line in [enable, request] {
        writeln!(out, "{line}").context("cannot write to QEMU's monitor")?;
        answer(&mut lines)?;
    }
    Ok(())
}

/// The next answer; the greeting and events come in between.
fn answer(lines: &mut impl Iterator<Item = std::io::Result<String>>) -> Result<()> {
    for line in lines {
        let line = line.context("cannot read from QEMU's monitor")?;
        let message: Value = serde_json::from_str(&line).context("QEMU's monitor says no JSON")?;
        if let Some(error) = message.get("error") {
            bail!("QEMU refuses: {}", error["desc"]);
        }
        if message.get("return").is_some() {
            return Ok(());
        }
    }
    bail!("QEMU's monitor ended without an answer")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(lines: &[&str]) -> Result<()> {
        answer(&mut lines.iter().map(|line| Ok((*line).to_owned())))
    }

    #[test]
    fn an_answer_is_found_among_events() {
        assert!(
            told(&[
                r#"{"QMP": {}}"#,
                r#"{"event": "RESET"}"#,
                r#"{"return": {}}"#
            ])
            .is_ok()
        );
        let refused = told(&[r#"{"error": {"desc": "no such link"}}"#]);
        assert!(refused.is_err_and(|error| error.to_string().contains("no such link")));
        assert!(told(&[r#"{"event": "RESET"}"#]).is_err());
    }
}
