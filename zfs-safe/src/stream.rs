//! Running sends and receives: a pipe, an OS thread on its far end, and how it ended.
//!
//! The kernel (or zfs(8)) works on one end of a pipe in a thread of its own, with all signals blocked: any pending signal
//! would end the transfer with `EINTR`. The caller moves bytes at the other end and finally says how that went. Only both
//! halves together tell the cause: a kernel that could not write says `EINTR` when in truth the network broke, and a caller
//! that could not write says `EPIPE` when in truth the pool was full.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::thread::JoinHandle;

use crate::error::{Operation, Reason, RejectedProperty, Result, ZfsError};
use crate::name::SnapshotName;

/// Pipe sizes to try, largest first. 1 MiB is what an unprivileged process may have on Linux
/// (`/proc/sys/fs/pipe-max-size`); beyond a per-user budget even that is refused.
const PIPE_SIZES: [usize; 3] = [1 << 20, 256 << 10, 64 << 10];

/// A running send. Read the stream from it, then [`finish`](Self::finish). Dropping it ends the send.
#[derive(Debug)]
pub struct SendStream {
    reader: File,
    worker: Worker<()>,
    progress: ProgressSource,
}

/// A running receive. Write what follows the begin record to it, then [`finish`](Self::finish). Dropping it ends the
/// receive as if the stream had been cut; what arrived is kept if the receive is resumable.
#[derive(Debug)]
pub struct ReceiveStream {
    writer: File,
    worker: Worker<ReceiveReport>,
}

/// What a successful receive reports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReceiveReport {
    /// Bytes the kernel took from the stream after the begin record, where it tells.
    pub bytes: Option<u64>,
    /// Properties that were refused after the data had arrived.
    pub rejected: Vec<RejectedProperty>,
    /// Properties that were not asked for because they do not apply to this kind of dataset.
    pub skipped: Vec<String>,
}

/// How far a send is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SendProgress {
    /// Bytes written into the stream.
    pub written: u64,
    /// Bytes of the dataset that have been visited, where that is known.
    pub visited: Option<u64>,
}

/// Why a stream did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// ZFS gave up; the relay's trouble, if any, followed from that.
    #[error(transparent)]
    Zfs(ZfsError),
    /// The relay gave up, and ZFS because of it.
    #[error("cannot {operation} {dataset}: moving the stream failed")]
    Relay {
        /// Send or receive.
        operation: Operation,
        /// The snapshot.
        dataset: String,
        /// What the relay said.
        source: io::Error,
    },
}

impl StreamError {
    /// ZFS' error, if ZFS was the cause.
    pub fn zfs(&self) -> Option<&ZfsError> {
        match self {
            Self::Zfs(error) => Some(error),
            Self::Relay { .. } => None,
        }
    }
}

/// Asks a running send how far it is.
#[derive(Clone)]
pub(crate) struct ProgressSource(pub(crate) Arc<dyn Fn() -> Result<SendProgress> + Send + Sync>);

impl fmt::Debug for ProgressSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProgressSource")
    }
}

/// The thread at the far end.
#[derive(Debug)]
struct Worker<R> {
    operation: Operation,
    dataset: String,
    thread: JoinHandle<Result<R>>,
}

impl SendStream {
    /// Starts `work` on the writing end of a new pipe. `work` must close that end when it returns.
    pub(crate) fn start(
        dataset: String,
        progress: ProgressSource,
        (reader, writer): (OwnedFd, OwnedFd),
        work: impl FnOnce(OwnedFd) -> Result<()> + Send + 'static,
    ) -> Result<Self> {
        let worker = Worker::start(Operation::Send, dataset, move || work(writer))?;
        Ok(Self {
            reader: File::from(reader),
            worker,
            progress,
        })
    }

    /// A send that `work` does on the writing end of a pipe: for implementations of [`Zfs`](crate::Zfs) elsewhere, such as
    /// those of tests. `work` closes that end when it returns. Nobody can tell how far it is.
    pub fn by(
        snapshot: &SnapshotName,
        work: impl FnOnce(OwnedFd) -> Result<()> + Send + 'static,
    ) -> Result<Self> {
        let dataset = snapshot.to_string();
        let pipe = stream_pipe(Operation::Send, &dataset)?;
        let unknown = {
            let dataset = dataset.clone();
            move || {
                let dataset = dataset.as_str();
                let error = ZfsError::new(Operation::SendProgress, dataset, Reason::Unsupported);
                Err(error)
            }
        };
        Self::start(dataset, ProgressSource(Arc::new(unknown)), pipe, work)
    }

    /// How far the kernel is. An error once the send has ended.
    pub fn progress(&self) -> Result<SendProgress> {
        (self.progress.0)()
    }

    /// Ends the send and tells how it went. `relay` is how the caller's reading went: `Ok` if it read to the end of the
    /// stream. Closes the pipe first, so a send that is still running ends at its next record.
    pub fn finish(self, relay: io::Result<()>) -> Result<(), StreamError> {
        drop(self.reader);
        let (operation, dataset) = (self.worker.operation, self.worker.dataset.clone());
        match (self.worker.join(), relay) {
            (Ok(()), Ok(())) => Ok(()),
            // Once its reader is gone the kernel reports an interruption or a broken pipe: an effect, not a cause.
            (
                Err(ZfsError {
                    reason: Reason::Interrupted | Reason::ReaderGone,
                    ..
                })
                | Ok(()),
                Err(source),
            ) => Err(StreamError::Relay {
                operation,
                dataset,
                source,
            }),
            (Err(error), _) => Err(StreamError::Zfs(error)),
        }
    }

    /// Ends the send on purpose, whatever its state, and waits until the kernel has let go of the snapshot.
    pub fn cancel(self) {
        drop(self.reader);
        // The result of a cancelled send is of no interest: it was not wanted.
        drop(self.worker.join());
    }
}

impl ReceiveStream {
    /// Starts `work` on the reading end of a new pipe. `work` must close that end when it returns.
    pub(crate) fn start(
        dataset: String,
        (reader, writer): (OwnedFd, OwnedFd),
        work: impl FnOnce(OwnedFd) -> Result<ReceiveReport> + Send + 'static,
    ) -> Result<Self> {
        let worker = Worker::start(Operation::Receive, dataset, move || work(reader))?;
        Ok(Self {
            writer: File::from(writer),
            worker,
        })
    }

    /// A receive that `work` does on the reading end of a pipe: for implementations of [`Zfs`](crate::Zfs) elsewhere, such
    /// as those of tests. `work` closes that end when it returns.
    pub fn by(
        snapshot: &SnapshotName,
        work: impl FnOnce(OwnedFd) -> Result<ReceiveReport> + Send + 'static,
    ) -> Result<Self> {
        let dataset = snapshot.to_string();
        let pipe = stream_pipe(Operation::Receive, &dataset)?;
        Self::start(dataset, pipe, work)
    }

    /// Ends the receive and tells how it went. `relay` is how the caller's writing went: `Ok` if it wrote the whole stream.
    /// Closes the pipe first: a kernel that still waits for records sees the end of the stream.
    ///
    /// An error of the relay is returned even if the kernel had everything it needed, since then the caller does not know
    /// that the stream was complete.
    pub fn finish(self, relay: io::Result<()>) -> Result<ReceiveReport, StreamError> {
        drop(self.writer);
        let (operation, dataset) = (self.worker.operation, self.worker.dataset.clone());
        match (self.worker.join(), relay) {
            (Ok(report), Ok(())) => Ok(report),
            // Only a kernel that has stopped reading breaks the pipe: it was first.
            (Err(error), Err(source)) if source.kind() == io::ErrorKind::BrokenPipe => {
                Err(StreamError::Zfs(error))
            }
            // The stream ended early because the relay did.
            (
                Err(ZfsError {
                    reason: Reason::StreamTruncated | Reason::Interrupted,
                    ..
                })
                | Ok(_),
                Err(source),
            ) => Err(StreamError::Relay {
                operation,
                dataset,
                source,
            }),
            // Otherwise the relay failed because the kernel stopped reading.
            (Err(error), _) => Err(StreamError::Zfs(error)),
        }
    }
}

impl<R: Send + 'static> Worker<R> {
    fn start(
        operation: Operation,
        dataset: String,
        work: impl FnOnce() -> Result<R> + Send + 'static,
    ) -> Result<Self> {
        let name = if operation == Operation::Send {
            "zfs-send"
        } else {
            "zfs-receive"
        };
        let spawned = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(work);
        match spawned {
            Ok(thread) => Ok(Self {
                operation,
                dataset,
                thread,
            }),
            Err(error) => Err(ZfsError::new(operation, dataset, Reason::OutOfMemory)
                .with_detail(format!("cannot start a thread: {error}"))),
        }
    }

    fn join(self) -> Result<R> {
        match self.thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

impl Read for SendStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.reader.read(buffer)
    }
}

impl AsFd for SendStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.reader.as_fd()
    }
}

impl Write for ReceiveStream {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.writer.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsFd for ReceiveStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.writer.as_fd()
    }
}

/// A pipe for a stream: (reader, writer), closed on exec, as large as it may be. The size is set here and never again:
/// resizing a pipe that holds data can deadlock a send on some Linux kernels (openzfs issue 13232).
pub(crate) fn stream_pipe(operation: Operation, dataset: &str) -> Result<(OwnedFd, OwnedFd)> {
    let failed = |error: rustix::io::Errno| {
        ZfsError::from_errno(
            operation,
            dataset,
            crate::errno::Errno::new(error.raw_os_error()),
        )
        .with_detail("pipe")
    };
    let (reader, writer) =
        rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(failed)?;
    #[cfg(target_os = "linux")]
    for size in PIPE_SIZES {
        if rustix::pipe::fcntl_setpipe_size(&writer, size).is_ok() {
            break;
        }
    }
    Ok((reader, writer))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::errno::Symbol;

    fn no_progress() -> ProgressSource {
        ProgressSource(Arc::new(|| Ok(SendProgress::default())))
    }

    /// A send whose kernel writes `records` records of 64 KiB and then returns `end`, or what a kernel returns when it
    /// cannot write.
    fn send(records: usize, end: Result<()>) -> SendStream {
        let pipe = stream_pipe(Operation::Send, "p@s").expect("pipe");
        SendStream::start("p@s".into(), no_progress(), pipe, move |writer| {
            let mut writer = File::from(writer);
            for _ in 0..records {
                if writer.write_all(&vec![7; 65536]).is_err() {
                    return Err(ZfsError::from_errno(
                        Operation::Send,
                        "p@s",
                        Symbol::EINTR.errno(),
                    ));
                }
            }
            end
        })
        .expect("starts")
    }

    #[test]
    fn a_send_read_to_its_end_succeeds() {
        let mut stream = send(40, Ok(()));
        let mut data = Vec::new();
        stream.read_to_end(&mut data).expect("reads");
        assert_eq!(data.len(), 40 * 65536);
        stream.finish(Ok(())).expect("succeeds");
    }

    #[test]
    fn when_the_relay_broke_the_relay_is_the_cause() {
        let stream = send(1000, Ok(()));
        let error = stream
            .finish(Err(io::Error::other("network down")))
            .expect_err("fails");
        assert!(
            matches!(&error, StreamError::Relay { source, .. } if source.to_string() == "network down"),
            "{error}"
        );
    }

    #[test]
    fn when_the_kernel_failed_the_kernel_is_the_cause() {
        let kernel = ZfsError::from_errno(Operation::Send, "p@s", Symbol::EIO.errno());
        let mut stream = send(1, Err(kernel.clone()));
        io::copy(&mut stream, &mut io::sink()).expect("reads");
        let error = stream.finish(Ok(())).expect_err("fails");
        assert_eq!(error.zfs(), Some(&kernel));
        let mut stream = send(1, Err(kernel.clone()));
        io::copy(&mut stream, &mut io::sink()).expect("reads");
        let error = stream
            .finish(Err(io::Error::other("short stream")))
            .expect_err("fails");
        assert_eq!(error.zfs(), Some(&kernel));
    }

    #[test]
    fn an_unread_send_can_be_cancelled_and_ends() {
        send(1000, Ok(())).cancel();
    }

    /// A receive whose kernel reads `wanted` bytes and then returns `end`.
    fn receive(wanted: usize, end: Result<ReceiveReport>) -> ReceiveStream {
        let pipe = stream_pipe(Operation::Receive, "p@s").expect("pipe");
        ReceiveStream::start("p@s".into(), pipe, move |reader| {
            let mut buffer = vec![0; wanted];
            match File::from(reader).read_exact(&mut buffer) {
                Ok(()) => end,
                Err(_) => Err(ZfsError::from_errno(
                    Operation::Receive,
                    "p@s",
                    Symbol::StreamTruncated.errno(),
                )),
            }
        })
        .expect("starts")
    }

    #[test]
    fn a_receive_cut_by_the_relay_names_the_relay() {
        let mut stream = receive(1 << 20, Ok(ReceiveReport::default()));
        stream.write_all(&[1; 1000]).expect("writes");
        let error = stream
            .finish(Err(io::Error::other("reset by peer")))
            .expect_err("fails");
        assert!(matches!(error, StreamError::Relay { .. }), "{error}");
    }

    #[test]
    fn a_short_stream_from_a_happy_relay_is_a_truncated_stream() {
        let mut stream = receive(1 << 20, Ok(ReceiveReport::default()));
        stream.write_all(&[1; 1000]).expect("writes");
        let error = stream.finish(Ok(())).expect_err("fails");
        assert_eq!(
            error.zfs().map(|e| &e.reason),
            Some(&Reason::StreamTruncated)
        );
    }

    #[test]
    fn a_kernel_that_stops_reading_is_the_cause_of_the_broken_pipe() {
        let full = ZfsError::from_errno(Operation::Receive, "p@s", Symbol::ENOSPC.errno());
        let mut stream = receive(10, Err(full.clone()));
        let relay = (0..100).try_for_each(|_| stream.write_all(&vec![1; 65536]));
        assert!(relay.is_err());
        let error = stream.finish(relay).expect_err("fails");
        assert_eq!(error.zfs(), Some(&full));
    }
}
