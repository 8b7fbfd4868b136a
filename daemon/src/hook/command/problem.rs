//! Why a hook's program has failed, and what to do about it. What begins in Go's words does so because people look for them.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use super::super::patience::GivenUp;

/// Why a program has failed.
#[derive(Debug, thiserror::Error)]
pub(in crate::hook) enum CommandError {
    /// It ended by itself.
    #[error("exit status {code}{}", hint(*code))]
    Exit {
        /// With this status.
        code: i32,
    },
    /// The kernel does not end it.
    #[error(
        "{reason}: it was killed but does not end, perhaps because it waits for a device; look for it with ps(1)"
    )]
    Immortal {
        /// Why it was killed.
        reason: GivenUp,
    },
    /// A script whose interpreter is missing.
    #[error(
        "cannot start {}: the file is there, but not the interpreter that its first line names after \"#!\"", path.display()
    )]
    Interpreter {
        /// The script.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It took too long, or the job was stopped.
    #[error("{reason}: signal: killed, with its process group")]
    Killed {
        /// Why.
        reason: GivenUp,
    },
    /// There is no such program.
    #[error("cannot start {}: correct the `path` of the hook, or install the program", path.display())]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It may not be executed.
    #[error(
        "cannot start {}: make it executable for the user that zrepl runs as (chmod +x), on a filesystem that is not mounted noexec", path.display()
    )]
    NotExecutable {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Neither a program nor a script.
    #[error(
        "cannot start {}: it is no program for this system; if it is a script, its first line must be \"#!\" and the interpreter, such as #!/bin/sh", path.display()
    )]
    NotProgram {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Starting it takes too long, or the job was stopped meanwhile.
    #[error(
        "{reason}: the program has not started yet, perhaps because its filesystem does not answer; it is killed if it starts after all"
    )]
    NotStarted {
        /// Why it was given up.
        reason: GivenUp,
    },
    /// A signal that was not ours.
    #[error("signal: {}", signal_name(*number))]
    Signal {
        /// Which.
        number: i32,
    },
    /// Another reason why it did not start.
    #[error("cannot start {}", path.display())]
    Start {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// How it ended is not known.
    #[error("cannot wait for the program's end")]
    Wait {
        /// Why not.
        source: io::Error,
    },
}

impl CommandError {
    pub(super) fn of_status(status: ExitStatus) -> Result<(), Self> {
        match (status.code(), status.signal()) {
            (Some(0), _) => Ok(()),
            (Some(code), _) => Err(Self::Exit { code }),
            (None, signal) => Err(Self::Signal {
                number: signal.unwrap_or_default(),
            }),
        }
    }

    /// Looks at the file, so it blocks like the start itself.
    pub(super) fn of_start(path: &Path, source: io::Error) -> Self {
        let no_exec = rustix::io::Errno::NOEXEC.raw_os_error();
        let exists = path.exists();
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::NotFound if exists => Self::Interpreter { path, source },
            io::ErrorKind::NotFound => Self::Missing { path, source },
            io::ErrorKind::PermissionDenied => Self::NotExecutable { path, source },
            _ if source.raw_os_error() == Some(no_exec) => Self::NotProgram { path, source },
            _ => Self::Start { path, source },
        }
    }
}

/// What shells mean by their own numbers.
fn hint(code: i32) -> &'static str {
    match code {
        126 => " (a command in it may not be executed)",
        127 => " (a command in it was not found; PATH is that of the daemon)",
        _ => "",
    }
}

/// Go's names of the usual ones.
fn signal_name(number: i32) -> String {
    let name = match number {
        1 => "hangup",
        2 => "interrupt",
        3 => "quit",
        6 => "aborted",
        9 => "killed",
        11 => "segmentation fault",
        13 => "broken pipe",
        15 => "terminated",
        _ => return format!("signal {number}"),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_told_as_by_go() {
        let of = |raw| CommandError::of_status(ExitStatus::from_raw(raw));
        assert!(of(0).is_ok());
        for (raw, expected) in [
            (255 << 8, "exit status 255"),
            (1 << 8, "exit status 1"),
            (
                127 << 8,
                "exit status 127 (a command in it was not found; PATH is that of the daemon)",
            ),
            (9, "signal: killed"),
            (15, "signal: terminated"),
            (11, "signal: segmentation fault"),
            (40, "signal: signal 40"),
        ] {
            assert_eq!(of(raw).expect_err(expected).to_string(), expected);
        }
    }
}
