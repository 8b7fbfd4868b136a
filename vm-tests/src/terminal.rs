//! The user's terminal while it is joined to a guest's serial line: raw, so that keys such as Ctrl-C reach the guest.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Context, Result};
use rustix::termios::{self, OptionalActions, Termios};

/// Ctrl-].
const LEAVE: u8 = 0x1d;
/// Ctrl-D: what a shell takes for the end of its input.
const END_OF_INPUT: u8 = 0x04;

/// Dropping it gives the terminal back as it was.
#[derive(Debug)]
pub(crate) struct Terminal {
    /// Nothing where standard input is no terminal.
    before: Option<Termios>,
    left: Arc<AtomicBool>,
    serial: UnixStream,
}

impl Terminal {
    pub(crate) fn join(serial: UnixStream) -> Result<Self> {
        let stdin = io::stdin();
        let before = termios::tcgetattr(&stdin).ok();
        if let Some(before) = &before {
            let mut raw = before.clone();
            raw.make_raw();
            termios::tcsetattr(&stdin, OptionalActions::Now, &raw)
                .context("cannot make the terminal raw")?;
        }
        let left = Arc::new(AtomicBool::new(false));
        let mut output = serial
            .try_clone()
            .context("cannot duplicate the serial line")?;
        thread::spawn(move || {
            // Ends with the guest.
            io::copy(&mut output, &mut Unbuffered).ok();
        });
        let input = serial
            .try_clone()
            .context("cannot duplicate the serial line")?;
        let leave = Arc::clone(&left);
        thread::spawn(move || forward_keys(input, &leave));
        Ok(Self {
            before,
            left,
            serial,
        })
    }

    /// Whether the user pressed Ctrl-].
    pub(crate) fn was_left(&self) -> bool {
        self.left.load(Ordering::Relaxed)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.serial.shutdown(std::net::Shutdown::Both).ok();
        if let Some(before) = &self.before {
            termios::tcsetattr(io::stdin(), OptionalActions::Now, before).ok();
        }
    }
}

fn forward_keys(mut serial: UnixStream, leave: &AtomicBool) {
    let mut keys = [0; 256];
    while let Ok(length) = io::stdin().lock().read(&mut keys) {
        let mut typed = &keys[..length];
        if typed.is_empty() {
            typed = &[END_OF_INPUT];
        }
        if typed.contains(&LEAVE) {
            leave.store(true, Ordering::Relaxed);
            return;
        }
        if serial.write_all(typed).is_err() || length == 0 {
            return;
        }
    }
}

/// Standard output without its line buffer: every byte a guest echoes shows at once.
struct Unbuffered;

impl Write for Unbuffered {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        rustix::io::write(io::stdout(), bytes).map_err(io::Error::from)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Columns and rows of the user's terminal.
pub(crate) fn size() -> (u16, u16) {
    termios::tcgetwinsize(io::stdin())
        .ok()
        .filter(|size| size.ws_col > 0 && size.ws_row > 0)
        .map_or((80, 24), |size| (size.ws_col, size.ws_row))
}

/// The name of the terminal's kind if it is safe to pass through a shell.
pub(crate) fn kind() -> String {
    std::env::var("TERM")
        .ok()
        .filter(|name| {
            name.bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-+.".contains(&byte))
        })
        .unwrap_or_else(|| "vt100".to_owned())
}
