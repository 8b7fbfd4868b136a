//! `cargo vm shell`: a guest for people, on its serial console, or for one script from the
//! command line or from standard input.

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::guest;
use crate::host::Host;
use crate::machine::{Machine, Options};
use crate::packages::Purpose;
use crate::recipe::ZfsVersion;
use crate::terminal::{self, Terminal};

/// For scripts.
const SCRIPT_LIMIT: Duration = Duration::from_secs(2 * 3600);

/// For people.
const SHELL_LIMIT: Duration = Duration::from_secs(7 * 24 * 3600);

pub(crate) fn run(
    version: ZfsVersion,
    script: Option<&str>,
    put: &[PathBuf],
    memory_mib: u32,
) -> Result<ExitCode> {
    let piped = match script {
        None if !io::stdin().is_terminal() => Some(
            io::read_to_string(io::stdin())
                .context("cannot read the script from standard input")?,
        ),
        _ => None,
    };
    let host = Host::prepare(Purpose::Guests, &[version])?;
    let mut options = Options {
        memory_mib,
        ..Options::default()
    };
    for path in put {
        options.put(path)?;
    }
    let mut machine = host.boot(version, &options)?;
    let Some(script) = script.or(piped.as_deref()) else {
        eprintln!(
            "OpenZFS {} after {:.1} s; `exit` or Ctrl-] ends the guest",
            machine.guest().fact("zfs"),
            machine.boot_time().as_secs_f64()
        );
        return interact(&mut machine).map(|()| ExitCode::SUCCESS);
    };
    let output = machine
        .guest()
        .command(["sh", "-c", script])
        .limit(SCRIPT_LIMIT)
        .run_with(guest::print_through)?;
    if output.status() != 0 {
        let log = machine.console().keep(&format!("shell-{version}"));
        eprintln!("status {}; console log: {}", output.status(), log.display());
    }
    Ok(ExitCode::from(output.status()))
}

/// Joins the user's terminal to the guest's serial line until the shell there ends, or the user presses Ctrl-].
pub(crate) fn interact(machine: &mut Machine) -> Result<()> {
    let serial = machine.serial()?;
    let (columns, rows) = terminal::size();
    let script = format!(
        "exec </dev/ttyS0 >/dev/ttyS0 2>&1; stty sane rows {rows} cols {columns}; \
         export TERM='{}' PS1='guest# '; cd /root; setsid -c ash; exit $?",
        terminal::kind()
    );
    let terminal = Terminal::join(serial)?;
    let shell = machine
        .guest()
        .command(["sh", "-c", &script])
        .limit(SHELL_LIMIT)
        .start()?;
    let ended = shell.wait_until(|| terminal.was_left())?;
    drop(terminal);
    if ended.is_none() {
        eprintln!();
    }
    Ok(())
}
