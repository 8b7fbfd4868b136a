//! What zfs(8) says on standard error, turned back into the reason that the kernel gave.
//!
//! libzfs prints `what it tried 'name': description`. Names hold neither quotes nor line ends, but may hold anything that
//! descriptions are made of ("tank/out of space" is a fine name), so descriptions are compared whole or from their start
//! and never searched for.

use super::command::Exit;
use super::phrases::{self, Meaning};
use crate::error::{Operation, Reason, RejectedProperty, ZfsError};

/// Most of standard error that goes into an error's detail.
const DETAIL_LINES: usize = 6;
const DETAIL_CHARS: usize = 1000;

/// The error of a command that failed.
pub(super) fn classify(operation: Operation, dataset: &str, exit: Exit, stderr: &str) -> ZfsError {
    let reason = reason_of(operation, stderr).unwrap_or_else(|| match exit {
        // An unknown error number makes libzfs abort after its message.
        Exit::Signal(libc::SIGPIPE) if operation == Operation::Send => Reason::ReaderGone,
        Exit::Signal(libc::SIGKILL | libc::SIGTERM | libc::SIGINT | libc::SIGHUP) => {
            Reason::Interrupted
        }
        Exit::Signal(_) | Exit::Code(_) => unknown(operation, stderr),
    });
    let mut detail = detail(stderr);
    if detail.is_empty() || matches!(exit, Exit::Signal(_)) {
        let end = match exit {
            Exit::Code(code) => format!("exit status {code}"),
            Exit::Signal(signal) => format!("ended by signal {signal}"),
        };
        detail = if detail.is_empty() {
            end
        } else {
            format!("{detail} ({end})")
        };
    }
    ZfsError::new(operation, dataset, reason).with_detail(detail)
}

/// The reason in the first line that has a known one.
pub(super) fn reason_of(operation: Operation, stderr: &str) -> Option<Reason> {
    messages(stderr).find_map(|line| {
        phrases::meaning(operation, description(line)).map(|m| m.reason(operation, line))
    })
}

/// The reason of one description, such as follows a name in a line that lists several.
pub(super) fn reason_of_description(operation: Operation, text: &str) -> Reason {
    phrases::meaning(operation, text)
        .map_or(Reason::Process, |meaning| meaning.reason(operation, text))
}

/// What an unknown message means: the tools check properties themselves, with a text for each rule.
fn unknown(operation: Operation, stderr: &str) -> Reason {
    match operation {
        Operation::SetProperties | Operation::InheritProperty => {
            let problem = messages(stderr).next().map_or("", description);
            Reason::InvalidProperty(vec![RejectedProperty {
                name: quoted(problem).unwrap_or_default().to_owned(),
                problem: problem.to_owned(),
            }])
        }
        _ => Reason::Process,
    }
}

/// The lines that say what is wrong: those before the description of the command's usage.
pub(super) fn messages(stderr: &str) -> impl Iterator<Item = &str> {
    stderr
        .lines()
        .map(str::trim_end)
        .take_while(|line| *line != "usage:")
        .filter(|line| !line.is_empty())
}

/// The part of a line after what was tried and on what.
pub(super) fn description(line: &str) -> &str {
    let line = line.strip_prefix("internal error: ").unwrap_or(line);
    let line = line.strip_prefix("warning: ").unwrap_or(line);
    if !line.starts_with("cannot ") && !line.starts_with("Channel program ") {
        return line;
    }
    let Some((action, rest)) = line.split_once(": ") else {
        return line;
    };
    // Names may hold a colon and a space. Most are in quotes; some come last in an action that has one description.
    if action.contains('\'') {
        return line
            .split_once("': ")
            .map_or(rest, |(_, description)| description);
    }
    if UNQUOTED.iter().any(|action| line.starts_with(action)) {
        return line
            .rsplit_once(": ")
            .map_or(rest, |(_, description)| description);
    }
    // `zfs receive` puts its action before that of the check that failed.
    rest.strip_prefix("cannot receive: ").unwrap_or(rest)
}

/// Actions that end with a bare name.
const UNQUOTED: [&str; 2] = ["cannot restore to ", "cannot resume recv "];

/// The first name in quotes.
pub(super) fn quoted(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once('\'')?;
    rest.split_once('\'').map(|(name, _)| name)
}

/// The messages, each once, shortened, on one line.
pub(super) fn detail(stderr: &str) -> String {
    let mut lines: Vec<&str> = Vec::new();
    for line in messages(stderr).map(str::trim) {
        if lines.contains(&line) {
            continue;
        }
        if lines.len() == DETAIL_LINES {
            lines.push("…");
            break;
        }
        lines.push(line);
    }
    lines.join("; ").chars().take(DETAIL_CHARS).collect()
}

impl Meaning {
    /// The reason, as seen from an operation that printed `line`.
    fn reason(self, operation: Operation, line: &str) -> Reason {
        match self {
            Self::Number(symbol) => Reason::of(operation, symbol),
            Self::Reason(reason) => reason(),
            Self::Property => {
                let problem = description(line);
                Reason::InvalidProperty(vec![RejectedProperty {
                    name: quoted(problem).unwrap_or_default().to_owned(),
                    problem: problem.to_owned(),
                }])
            }
        }
    }
}

#[cfg(test)]
mod tests;
