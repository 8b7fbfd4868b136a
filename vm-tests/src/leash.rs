//! Ties a QEMU to the life of the harness. The harness holds a pipe to this process, which is the same binary in a process
//! group of its own with QEMU as its child. When the pipe closes, for whatever reason (drop, Ctrl-C, SIGKILL, a crash), it
//! kills QEMU and removes the guest's files.

use std::fs;
use std::io::{self, Read};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

/// Runs `command` until it ends or standard input does. Returns its exit code.
pub(crate) fn hold(remove: Option<PathBuf>, command: &[String]) -> Result<u8> {
    let (program, arguments) = command.split_first().context("no command")?;
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot start {program}"))?;
    let (released, release) = mpsc::channel::<()>();
    thread::spawn(move || {
        // Whatever ends the read, the harness is no longer there to hold on.
        io::copy(&mut io::stdin().lock().by_ref(), &mut io::sink()).ok();
        drop(released);
    });
    let gone = |limit| release.recv_timeout(limit) == Err(RecvTimeoutError::Disconnected);
    let status = loop {
        if let Some(status) = child.try_wait().context("cannot wait for the child")? {
            break Some(status);
        }
        if gone(Duration::from_millis(50)) {
            child.kill().ok();
            child.wait().ok();
            break None;
        }
    };
    // The death of the harness closes the guest's port too, and the guest may have been faster to end.
    let abandoned = status.is_none() || gone(Duration::from_secs(1));
    if let (true, Some(directory)) = (abandoned, remove) {
        fs::remove_dir_all(directory).ok();
    }
    Ok(status
        .and_then(|status| status.code())
        .map_or(1, |code| u8::try_from(code).unwrap_or(1)))
}
