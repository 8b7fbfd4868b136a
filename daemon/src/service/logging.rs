//! Where log entries go: tracing events flow in, lines on standard output flow out, in one of zrepl's three formats.
//!
//! An entry has the fields of its event and of the spans around it; where both have one, the innermost counts. The field `job`
//! comes from a span that each job's tasks run in, `subsystem` from the module that wrote the entry ([`subsystem`]).
//! Spans that give fields must be of level error, so that they are there whatever the outlet shows.

mod entry;
mod format;
mod human;
mod json;
mod layer;
mod logfmt;
mod subsystem;

use std::ffi::OsString;
use std::io::{self, IsTerminal as _};

use jiff::tz::TimeZone;
use tracing_subscriber::layer::SubscriberExt as _;

use crate::config::global::{Logging, Outlet, StdoutOutlet};
use crate::environment::Variables;
use format::{Look, Writer};
use layer::Lines;

/// Logging was set up before, by somebody else in this process.
#[derive(Debug, thiserror::Error)]
#[error("logging is set up already")]
pub struct AlreadyStarted(#[from] tracing::subscriber::SetGlobalDefaultError);

/// Begins to log as configured, for the rest of the process. Outlets that this version does not have are named in a warning.
pub fn start(config: &Logging, variables: Variables<'_>) -> Result<(), AlreadyStarted> {
    let stdout = config.outlets().iter().find_map(|outlet| match outlet {
        Outlet::Stdout(stdout) => Some(stdout),
        Outlet::Syslog(_) | Outlet::Tcp(_) => None,
    });
    let lines = stdout.map(|outlet| {
        let look = look(outlet, io::stdout().is_terminal(), variables);
        let writer = Writer {
            format: outlet.format,
            look,
            zone: TimeZone::system(),
        };
        Lines::new(outlet.level, writer, io::stdout())
    });
    tracing::subscriber::set_global_default(tracing_subscriber::registry().with(lines))?;
    for outlet in config.outlets() {
        let kind = match outlet {
            Outlet::Stdout(_) => continue,
            Outlet::Syslog(_) => "syslog",
            Outlet::Tcp(_) => "tcp",
        };
        let advice =
            "this version of zrepl logs to standard output only: nothing goes to this outlet";
        if stdout.is_some() {
            tracing::warn!(outlet_type = kind, "{advice}");
        } else {
            // Then there is no log that could say it.
            eprintln_quietly(&format!("warning: logging outlet of type {kind}: {advice}"));
        }
    }
    Ok(())
}

/// What an outlet shows besides the entry itself. zrepl 0.7.0's rules: on a terminal there is always a time, and elsewhere
/// there is never colour.
fn look(outlet: &StdoutOutlet, is_terminal: bool, variables: Variables<'_>) -> Look {
    let is_set = |name| variables(name).is_some_and(|value: OsString| !value.is_empty());
    let is_dumb = variables("TERM").is_some_and(|term| term == "dumb");
    Look {
        time: is_terminal || outlet.time,
        level: true,
        color: is_terminal && outlet.color && !is_set("NO_COLOR") && !is_dumb,
    }
}

/// To standard error, if there is one.
fn eprintln_quietly(line: &str) {
    use io::Write as _;
    io::stderr().write_all(format!("{line}\n").as_bytes()).ok();
}

#[cfg(test)]
mod tests;
