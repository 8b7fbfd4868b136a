//! An ssh process: a command line comes in, pipes come out, and however they are given up, the process ends and is waited
//! for. That takes a thread of its own and no tokio: the last wires are dropped when the runtime is.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use tokio::net::unix::pipe;

use super::last_words::LastWords;

/// How long ssh may take to send what is left and to end, its input being closed; after it, how long SIGTERM may take.
const PATIENCE: Duration = Duration::from_secs(1);

/// How many processes are being ended.
static ENDING: Mutex<usize> = Mutex::new(0);
static ENDED: Condvar = Condvar::new();

/// Waits until every ssh process whose wire was dropped has ended, which takes some seconds at most. For the end of the
/// program: processes that do not end by themselves would outlive it.
pub fn wait_for_ended() {
    let ending = ENDING.lock().unwrap_or_else(PoisonError::into_inner);
    let nobody = ENDED.wait_while(ending, |ending| *ending > 0);
    drop(nobody.unwrap_or_else(PoisonError::into_inner));
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
pub(super) fn start(program: &Path, name: &str, arguments: &[String]) -> io::Result<Started> {
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
            Some(Box::new(move |status| report(status, &words, &name))),
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
    *ENDING.lock().unwrap_or_else(PoisonError::into_inner) += 1;
    // Where the thread finds the child even if there cannot be a thread.
    let work = std::sync::Arc::new(Mutex::new(Some((child, report))));
    let copy = std::sync::Arc::clone(&work);
    let run = move || {
        let work = copy.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((child, report)) = work {
            end(child, report);
        }
        *ENDING.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        ENDED.notify_all();
    };
    let thread = thread::Builder::new().name("end-ssh".to_owned());
    if let Err(error) = thread.spawn(run) {
        tracing::warn!("cannot start a thread to end ssh, killing it: {error}");
        let work = work.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((child, _)) = work {
            end(child, None);
        }
        *ENDING.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        ENDED.notify_all();
    }
}

fn end(mut child: Child, report: Option<Report>) {
    if let Some(report) = report {
        if let Some(status) = wait(&mut child, PATIENCE) {
            report(status);
            return;
        }
        signal(&child, Signal::TERM);
        if wait(&mut child, PATIENCE).is_some() {
            return;
        }
    }
    signal(&child, Signal::KILL);
    if let Err(error) = child.wait() {
        tracing::warn!("cannot wait for ssh: {error}");
    }
}

/// The child has not been waited for yet, so its number is still its own.
fn signal(child: &Child, signal: Signal) {
    if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        // It fails only if all of the group have ended.
        rustix::process::kill_process_group(pid, signal).ok();
    }
}

/// How it ended, if it did in time. By asking now and then: no portable call waits for one child and for a time.
fn wait(child: &mut Child, patience: Duration) -> Option<ExitStatus> {
    let deadline = Instant::now() + patience;
    let mut pause = Duration::from_millis(1);
    loop {
        if let Ok(Some(status)) = child.try_wait() {
            return Some(status);
        }
        if Instant::now() >= deadline {
            return None;
        }
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

/// ssh ends with 255 if it failed itself, for instance because it lost its connection. Whoever read from the wire has seen
/// the end of the input only.
fn report(status: ExitStatus, words: &LastWords, name: &str) {
    if status.code() == Some(255) {
        for _ in 0..20 {
            if words.is_over() {
                break;
            }
            thread::sleep(Duration::from_millis(10));
        }
        tracing::warn!("the connection to {name} was lost: {}", words.quote());
    }
}
