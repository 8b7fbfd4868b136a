//! Running one command: its environment, its output, how it ended.

use std::ffi::OsStr;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, ChildStderr, ExitStatus, Stdio};

use super::stderr;
use crate::counters::Counters;
use crate::error::{Operation, Reason, Result, ZfsError};

/// Bytes of arguments in one command. Linux allows 128 KiB in a single argument and much more in all; FreeBSD 256 KiB in
/// all, environment included.
pub(super) const ARGUMENT_BYTES: usize = 96 << 10;

/// Bytes of standard error that are kept: each line names a dataset and its problem, and there may be one for each name
/// in the arguments.
const STDERR_BYTES: usize = 1 << 20;

/// Switches of the tools that change what they print or do.
const UNWANTED_ENVIRONMENT: [&str; 4] = [
    "ZFS_COLOR",
    "ZFS_ABORT",
    "ZFS_MODULE_LOADING",
    "POSIXLY_CORRECT",
];

/// A command to be run.
#[derive(Debug)]
pub(super) struct Command<'a> {
    program: &'a Path,
    process: std::process::Command,
    counters: &'a Counters,
    input: Option<Vec<u8>>,
}

/// A command that has ended.
#[derive(Clone, Debug)]
pub(super) struct Finished {
    pub(super) exit: Exit,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exit {
    /// It returned this number.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
}

impl<'a> Command<'a> {
    /// A command without arguments.
    pub(super) fn new(program: &'a Path, counters: &'a Counters) -> Self {
        let mut process = std::process::Command::new(program);
        // The messages that are classified are the untranslated ones.
        process.env("LC_ALL", "C").stdin(Stdio::null());
        // The tools wait this long for a missing device, 10 seconds if not told.
        process.env("ZFS_MODULE_TIMEOUT", "0");
        for name in UNWANTED_ENVIRONMENT {
            process.env_remove(name);
        }
        Self {
            program,
            process,
            counters,
            input: None,
        }
    }

    /// Adds options and their values.
    #[must_use]
    pub(super) fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.process.args(args);
        self
    }

    /// Adds `option value` pairs.
    #[must_use]
    pub(super) fn options<S: AsRef<OsStr>>(
        mut self,
        option: &str,
        values: impl IntoIterator<Item = S>,
    ) -> Self {
        for value in values {
            self.process.arg(option).arg(value);
        }
        self
    }

    /// Adds what the command works on. Nothing there is taken for an option, whatever it starts with.
    #[must_use]
    pub(super) fn operands<S: AsRef<OsStr>>(
        mut self,
        operands: impl IntoIterator<Item = S>,
    ) -> Self {
        self.process.arg("--").args(operands);
        self
    }

    /// Feeds the command from memory.
    #[must_use]
    pub(super) fn input(mut self, input: Vec<u8>) -> Self {
        self.input = Some(input);
        self
    }

    /// Feeds the command from a descriptor.
    #[must_use]
    pub(super) fn stdin(mut self, input: OwnedFd) -> Self {
        self.process.stdin(input);
        self
    }

    /// Runs the command and gives its output if it succeeds, else its error for `operation` on `dataset`.
    pub(super) fn success(self, operation: Operation, dataset: &str) -> Result<String> {
        let finished = self.run(operation, dataset)?;
        match finished.failure(operation, dataset) {
            None => Ok(finished.stdout),
            Some(error) => Err(error),
        }
    }

    /// Runs the command to its end, however that is.
    pub(super) fn run(mut self, operation: Operation, dataset: &str) -> Result<Finished> {
        let input = self.input.take();
        if input.is_some() {
            self.process.stdin(Stdio::piped());
        }
        let mut child = self.spawn(operation, dataset)?;
        let lost = |error: std::io::Error| {
            process_error(
                operation,
                dataset,
                format!("cannot read its output: {error}"),
            )
        };
        let (stdin, stdout, stderr) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (stdout, stderr) = std::thread::scope(|scope| {
            let stderr = scope.spawn(|| read_stderr(stderr));
            let feeder = stdin.map(|mut stdin| {
                // A command that does not read its input has a reason and will tell it.
                scope.spawn(move || drop(stdin.write_all(&input.unwrap_or_default())))
            });
            let mut output = Vec::new();
            let read = stdout.map_or(Ok(0), |mut stdout| stdout.read_to_end(&mut output));
            if let Some(feeder) = feeder {
                drop(feeder.join());
            }
            (read.map(|_| output), stderr.join().unwrap_or_default())
        });
        let status = child.wait().map_err(lost)?;
        let stdout = String::from_utf8_lossy(&stdout.map_err(lost)?).into_owned();
        Ok(Finished {
            exit: Exit::from(status),
            stdout,
            stderr,
        })
    }

    /// Starts the command with its output in pipes.
    pub(super) fn spawn(mut self, operation: Operation, dataset: &str) -> Result<Child> {
        self.counters.add_process();
        tracing::trace!(command = ?self.process, "run");
        let spawned = self
            .process
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        spawned.map_err(|error| {
            let program = self.program.display();
            let detail = match error.kind() {
                ErrorKind::NotFound => {
                    format!("{program}: command not found; install the ZFS tools or correct PATH")
                }
                _ => format!("{program}: {error}"),
            };
            process_error(operation, dataset, detail)
        })
    }
}

impl Finished {
    /// The error it ended with, if it did.
    pub(super) fn failure(&self, operation: Operation, dataset: &str) -> Option<ZfsError> {
        (self.exit != Exit::Code(0))
            .then(|| stderr::classify(operation, dataset, self.exit, &self.stderr))
    }
}

impl From<ExitStatus> for Exit {
    fn from(status: ExitStatus) -> Self {
        status
            .signal()
            .map_or_else(|| Self::Code(status.code().unwrap_or(-1)), Self::Signal)
    }
}

/// An error of running the tools, not of ZFS.
pub(super) fn process_error(
    operation: Operation,
    dataset: &str,
    detail: impl Into<String>,
) -> ZfsError {
    ZfsError::new(operation, dataset, Reason::Process).with_detail(detail)
}

/// Reads standard error to its end and keeps the first part.
pub(super) fn read_stderr(stderr: Option<ChildStderr>) -> String {
    let Some(mut stderr) = stderr else {
        return String::new();
    };
    let mut kept = Vec::new();
    // What cannot be read is only missed in a message.
    drop(
        stderr
            .by_ref()
            .take(STDERR_BYTES as u64)
            .read_to_end(&mut kept),
    );
    // The rest must be read too, or the command waits for room in the pipe for ever.
    drop(std::io::copy(&mut stderr, &mut std::io::sink()));
    String::from_utf8_lossy(&kept).into_owned()
}

/// Splits items into runs whose arguments fit into one command; each run holds at least one item.
pub(super) fn fitting<T>(items: &[T], length: impl Fn(&T) -> usize) -> Vec<&[T]> {
    let mut runs = Vec::new();
    let (mut start, mut bytes) = (0, 0);
    for (index, item) in items.iter().enumerate() {
        // Each argument ends with a NUL and has a pointer.
        let cost = length(item) + 1 + size_of::<usize>();
        if index > start && bytes + cost > ARGUMENT_BYTES {
            runs.push(&items[start..index]);
            (start, bytes) = (index, 0);
        }
        bytes += cost;
    }
    if start < items.len() {
        runs.push(&items[start..]);
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::super::fake::Fake;
    use super::*;

    fn run(script: &str) -> Finished {
        Fake::new(script)
            .cli
            .zfs("list")
            .run(Operation::ListDatasets, "p")
            .expect("runs")
    }

    #[test]
    fn tells_how_a_command_ended() {
        assert_eq!(run("exit 0").exit, Exit::Code(0));
        assert_eq!(run("exit 255").exit, Exit::Code(255));
        assert_eq!(run("kill -9 $$").exit, Exit::Signal(libc::SIGKILL));
        let finished = run("echo out; echo err >&2; exit 2");
        assert_eq!(
            (finished.stdout.as_str(), finished.stderr.as_str()),
            ("out\n", "err\n")
        );
        let error = run("kill -15 $$")
            .failure(Operation::ListDatasets, "p")
            .expect("failed");
        assert_eq!(error.reason, Reason::Interrupted);
    }

    #[test]
    fn a_flood_of_messages_is_drained_and_cut() {
        let finished = run(
            "head -c 3000000 /dev/zero | tr '\\0' e >&2; head -c 3000000 /dev/zero | tr '\\0' o",
        );
        assert_eq!(finished.stdout.len(), 3_000_000);
        assert_eq!(finished.stderr.len(), STDERR_BYTES);
    }

    #[test]
    fn environment_and_input_are_ours() {
        let finished = run("echo $LC_ALL $ZFS_MODULE_TIMEOUT; cat");
        assert_eq!(finished.stdout, "C 0\n");
        let fake = Fake::new("cat");
        let text = "x".repeat(300_000);
        let echoed = fake
            .cli
            .zfs("program")
            .input(text.clone().into_bytes())
            .success(Operation::Program, "p");
        assert_eq!(echoed.expect("succeeds"), text);
        let unread = Fake::new("exit 0");
        let ended = unread
            .cli
            .zfs("program")
            .input(text.into_bytes())
            .success(Operation::Program, "p");
        assert_eq!(ended.expect("succeeds"), "");
    }

    #[test]
    fn operands_are_never_options() {
        let fake = Fake::new("exit 0");
        fake.cli
            .zfs("hold")
            .operands(["-r", "p@s"])
            .success(Operation::Hold, "p@s")
            .expect("succeeds");
        assert_eq!(fake.calls(), ["zfs hold -- -r p@s"]);
        assert_eq!(fake.cli.counters.now().processes, 1);
    }

    #[test]
    fn a_missing_program_is_an_error_of_its_own() {
        let counters = Counters::default();
        let missing = Path::new("/nonexistent/zfs");
        let error = Command::new(missing, &counters)
            .success(Operation::Open, "")
            .expect_err("fails");
        assert_eq!(error.reason, Reason::Process);
        assert!(
            error
                .to_string()
                .contains("/nonexistent/zfs: command not found"),
            "{error}"
        );
    }

    #[test]
    fn arguments_are_split_to_fit() {
        let lengths = |items: &[usize]| {
            fitting(items, |length| *length)
                .iter()
                .map(|run| run.len())
                .collect::<Vec<_>>()
        };
        assert!(lengths(&[]).is_empty());
        assert_eq!(lengths(&[1, 2, 3]), [3]);
        assert_eq!(lengths(&[255; 1000]), [372, 372, 256]);
        // What fits into none is tried alone.
        assert_eq!(lengths(&[200_000, 1, 200_000]), [1, 1, 1]);
    }
}
