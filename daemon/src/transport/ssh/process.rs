//! An ssh process: a command line comes in, pipes come out, and however they are given up, the process ends and is waited
//! for. That takes a thread of its own and no tokio: the last wires are dropped when the runtime is.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use tokio::net::unix::pipe;

use super::last_words::LastWords;

/// How long ssh may take to send what is left and to end, its input being closed; after it, how long SIGTERM may take.
const PATIENCE: Duration = Duration::from_secs(1);

/// How many processes are being started or ended.
static UNSETTLED: Mutex<usize> = Mutex::new(0);
static SETTLED: Condvar = Condvar::new();

/// Waits until every ssh process whose wire or connection attempt was dropped has ended, which takes some seconds at most.
/// For the end of the program: processes that do not end by themselves would outlive it.
pub fn wait_for_ended() {
    let count = UNSETTLED.lock().unwrap_or_else(PoisonError::into_inner);
    let none = SETTLED.wait_while(count, |count| *count > 0);
    drop(none.unwrap_or_else(PoisonError::into_inner));
}

/// Makes [`wait_for_ended`] wait.
#[derive(Debug)]
pub(super) struct Unsettled(());

impl Unsettled {
    pub(super) fn new() -> Self {
        *UNSETTLED.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        Self(())
    }
}

impl Drop for Unsettled {
    fn drop(&mut self) {
        *UNSETTLED.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        SETTLED.notify_all();
    }
}

/// A process. Dropping it ends it; its pipes should be closed by then.
#[derive(Debug)]
pub(super) struct Process {
    /// None only while it is dropped.
    child: Option<Child>,
    /// Whether it has earned a chance to end by itself.
    trusted: bool,
    words: LastWords,
    name: String,
}

/// A process that was just started.
#[derive(Debug)]
pub(super) struct Started {
    // Pipes are closed before the process is ended: fields are dropped in this order.
    stdin: OwnedFd,
    stdout: OwnedFd,
    stderr: OwnedFd,
    child: Unwatched,
    _unsettled: Unsettled,
}

/// A child that nobody listens to yet.
#[derive(Debug)]
struct Unwatched(Option<Child>);

/// A process with pipes that can be waited for.
#[derive(Debug)]
pub(super) struct Attached {
    pub(super) stdin: pipe::Sender,
    pub(super) stdout: pipe::Receiver,
    pub(super) process: Process,
}

/// Starts it with an empty environment and in a process group of its own, so that a script in front of ssh ends with ssh.
/// Blocks until it runs.
pub(super) fn start(
    program: &Path,
    name: &str,
    arguments: &[String],
    unsettled: Unsettled,
) -> io::Result<Started> {
    let mut child = Command::new(program)
        .arg0(name)
        .args(arguments)
        .env_clear()
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let piped = "asked for above";
    Ok(Started {
        stdin: child.stdin.take().expect(piped).into(),
        stdout: child.stdout.take().expect(piped).into(),
        stderr: child.stderr.take().expect(piped).into(),
        child: Unwatched(Some(child)),
        _unsettled: unsettled,
    })
}

/// Where the program is: `name` itself if it is a path, else the first executable file of that name in `path`.
pub(super) fn find(name: &str, path: Option<&OsStr>) -> Option<PathBuf> {
    if name.contains('/') {
        return Some(name.into());
    }
    std::env::split_paths(path?)
        // As in Go: nothing that depends on the directory we were started in.
        .filter(|directory| directory.is_absolute())
        .map(|directory| directory.join(name))
        .find(|file| {
            file.is_file() && rustix::fs::access(file, rustix::fs::Access::EXEC_OK).is_ok()
        })
}

impl Started {
    /// To be called within a tokio runtime.
    pub(super) fn attach(self, name: String) -> io::Result<Attached> {
        let Self {
            stdin,
            stdout,
            stderr,
            mut child,
            _unsettled,
        } = self;
        let stdin = pipe::Sender::from_owned_fd(stdin)?;
        let stdout = pipe::Receiver::from_owned_fd(stdout)?;
        let words = LastWords::of(pipe::Receiver::from_owned_fd(stderr)?);
        Ok(Attached {
            stdin,
            stdout,
            process: Process {
                child: child.0.take(),
                trusted: false,
                words,
                name,
            },
        })
    }
}

impl Process {
    /// From now on it is given time to end by itself.
    pub(super) fn trust(&mut self) {
        self.trusted = true;
    }

    pub(super) fn words(&self) -> &LastWords {
        &self.words
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let Some(child) = self.child.take() else {
            return;
        };
        if !self.trusted {
            end_aside(child, None);
            return;
        }
        let (words, name) = (self.words.clone(), std::mem::take(&mut self.name));
        end_aside(
            child,
            Some(Box::new(move |status| {
                if let Some(complaint) = complaint(status, &words, &name) {
                    tracing::warn!("{complaint}");
                }
            })),
        );
    }
}

impl Drop for Unwatched {
    fn drop(&mut self) {
        if let Some(child) = self.0.take() {
            end_aside(child, None);
        }
    }
}

type Report = Box<dyn FnOnce(ExitStatus) + Send>;

/// Ends the process on a thread of its own; at once if `report`, which is told how it ended by itself, is missing.
fn end_aside(child: Child, report: Option<Report>) {
    let unsettled = Unsettled::new();
    // Where the child is found even if there cannot be a thread.
    let left = Arc::new(Mutex::new(Some((child, report, unsettled))));
    let taken = Arc::clone(&left);
    let take = move || {
        let mut left = taken.lock().unwrap_or_else(PoisonError::into_inner);
        left.take()
    };
    let thread = thread::Builder::new().name("end-ssh".to_owned());
    let started = thread.spawn(move || {
        if let Some((child, report, _unsettled)) = take() {
            end(child, report);
        }
    });
    if let Err(error) = started {
        tracing::warn!("cannot start a thread to end ssh, killing it: {error}");
        let left = left.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((child, _, _unsettled)) = left {
            end(child, None);
        }
    }
}

fn end(mut child: Child, report: Option<Report>) {
    if let Err(error) = end_within(&mut child, report) {
        tracing::warn!("cannot wait for ssh: {error}");
    }
}

fn end_within(child: &mut Child, report: Option<Report>) -> io::Result<()> {
    if let Some(report) = report {
        if let Some(status) = wait(child, PATIENCE)? {
            report(status);
            return Ok(());
        }
        signal(child, Signal::TERM);
        if wait(child, PATIENCE)?.is_some() {
            return Ok(());
        }
    }
    signal(child, Signal::KILL);
    child.wait()?;
    Ok(())
}

/// The child has not been waited for yet, so its number is still its own.
fn signal(child: &Child, signal: Signal) {
    if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        // It fails only if all of the group have ended.
        rustix::process::kill_process_group(pid, signal).ok();
    }
}

/// How it ended, if it did in time. By asking now and then: no portable call waits for one child and for a time.
fn wait(child: &mut Child, patience: Duration) -> io::Result<Option<ExitStatus>> {
    let deadline = Instant::now() + patience;
    let mut pause = Duration::from_millis(1);
    loop {
        let status = child.try_wait()?;
        if status.is_some() || Instant::now() >= deadline {
            return Ok(status);
        }
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

/// What to log about a process that ended by itself. ssh ends with 255 if it failed itself, for instance because it lost its
/// connection; whoever read from the wire has seen the end of the input only.
fn complaint(status: ExitStatus, words: &LastWords, name: &str) -> Option<String> {
    if status.code() != Some(255) {
        return None;
    }
    // What is still in the pipe has to be read by a task of tokio's.
    for _ in 0..20 {
        if words.is_over() {
            break;
        }
        thread::sleep(Duration::from_millis(10));
    }
    Some(format!(
        "the connection to {name} was lost: {}",
        words.quote()
    ))
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    #[test]
    fn only_a_failure_of_ssh_itself_is_worth_a_line() {
        let words = LastWords::default();
        words.keep(b"Timeout, server sink.example not responding.\r\n");
        for code in [0, 1, 127] {
            let status = ExitStatus::from_raw(code << 8);
            assert_eq!(complaint(status, &words, "ssh://sink.example"), None);
        }
        assert_eq!(
            complaint(ExitStatus::from_raw(255 << 8), &words, "ssh://sink.example").as_deref(),
            Some(
                "the connection to ssh://sink.example was lost: ssh says: Timeout, server sink.example not responding."
            )
        );
    }
}
