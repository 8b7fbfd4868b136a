//! Programs of the host on their way into a guest: stripped, because a guest under emulation unpacks every byte slowly.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result};

/// This very binary, which is the agent when the guest starts it.
pub(crate) fn agent() -> Result<&'static [u8]> {
    static AGENT: OnceLock<Vec<u8>> = OnceLock::new();
    if let Some(agent) = AGENT.get() {
        return Ok(agent);
    }
    let agent = stripped(Path::new("/proc/self/exe"))?;
    Ok(AGENT.get_or_init(|| agent))
}

/// The content of a program without symbols and debug data; as it is where there is no `strip`.
pub(crate) fn stripped(program: &Path) -> Result<Vec<u8>> {
    let directory = tempfile::tempdir().context("cannot create a temporary directory")?;
    let copy = directory.path().join("program");
    let program = fs::canonicalize(program).unwrap_or_else(|_| program.to_owned());
    let done = Command::new("strip")
        .arg("-o")
        .arg(&copy)
        .arg(&program)
        .status()
        .is_ok_and(|status| status.success());
    let path = if done { &copy } else { &program };
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}
