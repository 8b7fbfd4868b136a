//! Sends and their estimates through `zfs send`.
//!
//! The stream goes from the child through a pipe to a thread of ours, which moves it to the caller's pipe: within the
//! kernel on Linux, without copying. So the thread knows how far the send is, which zfs(8) tells only together with an
//! estimate that may take longer than the send, and it can end a child that waits for its disks when the reader is gone.

use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::{Child, ChildStdout};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::event::{PollFd, PollFlags, poll};

use super::command::{Command, Exit, Finished, process_error, read_stderr};
use super::{Cli, list};
use crate::error::{Operation, Reason, Result, ZfsError};
use crate::resume_token::ResumeToken;
use crate::stream::{ProgressSource, SendProgress, SendStream, stream_pipe};
use crate::zfs::{SendArgs, SendFlags};

/// Bytes moved at once: what the largest of our pipes holds.
const MOVED_AT_ONCE: usize = 1 << 20;

/// The progress of a send that has ended.
const ENDED: u64 = u64::MAX;

pub(super) fn estimate(cli: &Cli, send: &SendArgs) -> Result<u64> {
    let operation = Operation::EstimateSend;
    // Properties are not counted, and zfs(8) would put its figures in another form.
    let mut plain = send.clone();
    plain.flags = SendFlags {
        properties: false,
        backup: false,
        ..send.flags
    };
    let output =
        command(cli, operation, &plain, &["-nP"])?.success(operation, send.snapshot.as_str())?;
    let size = output.lines().find_map(|line| line.strip_prefix("size\t"));
    let size: u64 = size.and_then(|size| size.parse().ok()).ok_or_else(|| {
        process_error(
            operation,
            send.snapshot.as_str(),
            "zfs send -nP printed no size",
        )
    })?;
    // The kernel subtracts what has been transferred without looking and may wrap around.
    Ok(if i64::try_from(size).is_ok() { size } else { 0 })
}

pub(super) fn send(cli: &Cli, send: &SendArgs) -> Result<SendStream> {
    let operation = Operation::Send;
    let dataset = send.snapshot.to_string();
    let pipe = stream_pipe(operation, &dataset)?;
    let mut child = command(cli, operation, send, &[])?.spawn(operation, &dataset)?;
    let Some(stdout) = child.stdout.take() else {
        return Err(process_error(operation, &dataset, "zfs send has no output"));
    };
    enlarge(&stdout);
    let moved = Arc::new(AtomicU64::new(0));
    let progress = {
        let (moved, dataset) = (Arc::clone(&moved), dataset.clone());
        ProgressSource(Arc::new(move || match moved.load(Ordering::Relaxed) {
            ENDED => Err(ZfsError::new(
                Operation::SendProgress,
                dataset.as_str(),
                Reason::NotFound,
            )),
            written => Ok(SendProgress {
                written,
                visited: None,
            }),
        }))
    };
    SendStream::start(dataset.clone(), progress, pipe, move |writer| {
        let result = relay(child, stdout, writer, &dataset, &moved);
        moved.store(ENDED, Ordering::Relaxed);
        result
    })
}

/// `zfs send` with these switches first.
fn command<'a>(
    cli: &'a Cli,
    operation: Operation,
    send: &SendArgs,
    switches: &[&str],
) -> Result<Command<'a>> {
    let command = cli.zfs("send").args(switches).args(flags(send.flags));
    let Some(token) = &send.resume else {
        let base = send.base.iter().flat_map(|base| ["-i", base.as_str()]);
        return Ok(command
            .args(package_flags(send.flags))
            .args(base)
            .operands([send.snapshot.as_str()]));
    };
    check_token(cli, operation, send, token)?;
    Ok(command.args(["-t", &token.text]))
}

/// zfs(8) sends what the token says and knows nothing of our arguments. The token is the peer's, so what it names must be
/// what the caller has agreed to send.
fn check_token(
    cli: &Cli,
    operation: Operation,
    send: &SendArgs,
    token: &ResumeToken,
) -> Result<()> {
    let guid = |name: &str| list::guid(cli, operation, name);
    let base = send
        .base
        .as_ref()
        .map(|base| guid(base.as_str()))
        .transpose()?;
    if guid(send.snapshot.as_str())? != token.to_guid || base != token.from_guid {
        return Err(
            ZfsError::new(operation, send.snapshot.as_str(), Reason::InvalidArgument)
                .with_detail("the resume token is for another snapshot or base"),
        );
    }
    Ok(())
}

/// Without `-S`: for the kernel it allows to send a filesystem that was partially received, and changes nothing for a
/// snapshot, but zfs(8) refuses the two together.
fn flags(flags: SendFlags) -> impl Iterator<Item = &'static str> {
    [
        (flags.raw, "-w"),
        (flags.large_blocks, "-L"),
        (flags.compressed, "-c"),
        (flags.embedded, "-e"),
    ]
    .into_iter()
    .filter_map(|(wanted, switch)| wanted.then_some(switch))
}

/// Not with a token: zfs(8) refuses them there.
fn package_flags(flags: SendFlags) -> impl Iterator<Item = &'static str> {
    [(flags.properties, "-p"), (flags.backup, "-b")]
        .into_iter()
        .filter_map(|(wanted, switch)| wanted.then_some(switch))
}

/// Moves the stream until one of its ends is gone, and ends the child.
fn relay(
    mut child: Child,
    stdout: ChildStdout,
    writer: OwnedFd,
    dataset: &str,
    moved: &AtomicU64,
) -> Result<()> {
    let stderr = child.stderr.take();
    let (stopped, stderr) = std::thread::scope(|scope| {
        let stderr = scope.spawn(|| read_stderr(stderr));
        let stopped = move_all(stdout.as_fd(), writer.as_fd(), moved);
        // First of all, a child that writes must fail.
        drop(stdout);
        if stopped.is_err() {
            // It is ours until waited for. It may have ended by itself.
            drop(child.kill());
        }
        (stopped, stderr.join().unwrap_or_default())
    });
    drop(writer);
    let status = child.wait();
    let failed = |reason, detail: String| {
        Err(ZfsError::new(Operation::Send, dataset, reason).with_detail(detail))
    };
    match stopped {
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::BrokenPipe | ErrorKind::ConnectionReset
            ) =>
        {
            return failed(
                Reason::ReaderGone,
                "the reader of the stream is gone".to_owned(),
            );
        }
        Err(error) => return failed(Reason::Io, format!("cannot move the stream: {error}")),
        Ok(()) => {}
    }
    match status {
        Err(error) => failed(
            Reason::Process,
            format!("cannot wait for zfs send: {error}"),
        ),
        Ok(status) => {
            let finished = Finished {
                exit: Exit::from(status),
                stdout: String::new(),
                stderr,
            };
            finished
                .failure(Operation::Send, dataset)
                .map_or(Ok(()), Err)
        }
    }
}

/// Moves bytes from one pipe to another until the first ends. Notices that the second has no reader even while nothing
/// comes from the first.
fn move_all(from: BorrowedFd<'_>, to: BorrowedFd<'_>, moved: &AtomicU64) -> io::Result<()> {
    loop {
        let mut ends = [
            PollFd::from_borrowed_fd(from, PollFlags::IN),
            PollFd::from_borrowed_fd(to, PollFlags::empty()),
        ];
        match poll(&mut ends, None) {
            Err(rustix::io::Errno::INTR) => continue,
            other => other?,
        };
        if ends[1]
            .revents()
            .intersects(PollFlags::ERR | PollFlags::HUP)
        {
            return Err(ErrorKind::BrokenPipe.into());
        }
        match move_some(from, to) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
            Ok(0) => return Ok(()),
            Ok(bytes) => drop(moved.fetch_add(bytes as u64, Ordering::Relaxed)),
        }
    }
}

#[cfg(target_os = "linux")]
fn move_some(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> io::Result<usize> {
    Ok(rustix::pipe::splice(
        from,
        None,
        to,
        None,
        MOVED_AT_ONCE,
        rustix::pipe::SpliceFlags::MOVE,
    )?)
}

#[cfg(not(target_os = "linux"))]
fn move_some(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> io::Result<usize> {
    let mut buffer = vec![0; MOVED_AT_ONCE.min(64 << 10)];
    let bytes = rustix::io::read(from, &mut buffer)?;
    let mut rest = &buffer[..bytes];
    while !rest.is_empty() {
        match rustix::io::write(to, rest) {
            Err(rustix::io::Errno::INTR) => {}
            written => rest = &rest[written?..],
        }
    }
    Ok(bytes)
}

/// Makes the child's pipe as large as ours. While it is empty, and the child has hardly started, that is safe.
#[cfg(target_os = "linux")]
fn enlarge(pipe: &ChildStdout) {
    // A smaller pipe works too.
    let _ = rustix::pipe::fcntl_setpipe_size(pipe, MOVED_AT_ONCE);
}

#[cfg(not(target_os = "linux"))]
fn enlarge(_: &ChildStdout) {}

#[cfg(test)]
mod tests;
