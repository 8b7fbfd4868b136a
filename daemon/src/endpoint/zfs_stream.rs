//! Streams of ZFS as streams of endpoints. The pipe's end on our side does not block, and belongs to the async runtime; the other
//! end is the kernel's, and ZFS' own threads wait there.

use std::fmt;
use std::io;
use std::os::fd::AsFd;

use tokio::io::AsyncWriteExt as _;
use tokio::net::unix::pipe;
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;
use zfs_safe::begin_record::{BeginRecord, BeginRecordError};
use zfs_safe::stream::{ReceiveReport, ReceiveStream, StreamError as ZfsStreamError};

use super::stream::{LocalStream, MoveError, Producer, SendStream, Source, StreamError};
use crate::bandwidth::pay;
use crate::causes::chain;
use crate::transport::BoxFuture;

/// A running send, as a stream for an endpoint. Dropping it ends the send.
pub fn sending(send: zfs_safe::stream::SendStream) -> io::Result<SendStream> {
    sending_with(send, ())
}

/// The same, with something that is dropped as soon as the send is over, however it ends.
pub fn sending_with<T: fmt::Debug + Send + 'static>(
    send: zfs_safe::stream::SendStream,
    until_over: T,
) -> io::Result<SendStream> {
    // Both are the same end of the pipe; the second one is closed when the send is finished.
    let pipe = send.as_fd().try_clone_to_owned()?;
    SendStream::local(pipe, Box::new(Kernel { send, until_over }))
}

#[derive(Debug)]
struct Kernel<T> {
    send: zfs_safe::stream::SendStream,
    until_over: T,
}

impl<T: fmt::Debug + Send + 'static> Producer for Kernel<T> {
    fn finish(self: Box<Self>, relay: io::Result<()>) -> BoxFuture<'static, Result<(), String>> {
        Box::pin(async move {
            let Self { send, until_over } = *self;
            let verdict = spawn_blocking(move || {
                let verdict = send.finish(relay);
                drop(until_over);
                verdict
            });
            match verdict.await {
                Ok(verdict) => verdict.map_err(|error| chain(&error)),
                Err(error) => Err(error.to_string()),
            }
        })
    }
}

/// Why a stream has no begin record that can be used.
#[derive(Debug, thiserror::Error)]
pub enum BeginError {
    /// The stream did not arrive.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// It is shorter, or no stream of ZFS.
    #[error(transparent)]
    Record(#[from] BeginRecordError),
    /// Its pipe cannot be read.
    #[error("cannot read the stream")]
    Pipe(#[source] io::Error),
}

/// What a stream begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Begin {
    /// A stream of one snapshot.
    Stream(Box<BeginRecord>),
    /// A package, which only zfs(8) can unpack, by its first record.
    Package(Box<[u8; BeginRecord::LEN]>),
}

/// Reads the first record, which says what the stream is.
pub async fn begin(stream: &mut SendStream) -> Result<Begin, BeginError> {
    let mut bytes = [0; BeginRecord::LEN];
    let mut filled = 0;
    while filled < bytes.len() {
        let count = match &mut stream.source {
            Source::Remote(remote) => remote.read(&mut bytes[filled..]).await?,
            Source::Local(local) => {
                let read = local.read(&mut bytes[filled..]).await;
                read.map_err(BeginError::Pipe)?
            }
        };
        if count == 0 {
            break;
        }
        stream.moved.add(count as u64);
        filled += count;
    }
    // Whatever is missing, this says it in its words.
    match BeginRecord::read(&mut &bytes[..filled]) {
        Ok(record) => Ok(Begin::Stream(Box::new(record))),
        Err(BeginRecordError::Compound { bytes }) => Ok(Begin::Package(bytes)),
        Err(error) => Err(error.into()),
    }
}

/// As large as what moves bytes from a connection.
const BUFFER: usize = 128 << 10;

/// Why a stream was not received.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    /// The receiving side gave it up.
    #[error("receive was stopped")]
    Stopped,
    /// It did not arrive, or its sender failed.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// ZFS refused it, or the way to ZFS broke.
    #[error(transparent)]
    Zfs(#[from] ZfsStreamError),
    /// A thread of ours panicked.
    #[error("internal error: {0}")]
    Thread(String),
}

/// Why the way from a stream into ZFS came to an early end.
#[derive(Debug)]
enum Broken {
    Pipe(io::Error),
    Stopped,
    Stream(StreamError),
}

/// Moves what is left of a stream into a running receive, and says how that ended: by what came first. Once it is polled it is to
/// be polled to its end, because the kernel's receive is not over before; cancelling `stop` brings that about.
pub async fn receive(
    mut stream: SendStream,
    receive: ReceiveStream,
    stop: &CancellationToken,
) -> Result<ReceiveReport, ReceiveError> {
    let pipe = receive
        .as_fd()
        .try_clone_to_owned()
        .and_then(pipe::Sender::from_owned_fd);
    let moved = match pipe {
        Ok(pipe) => tokio::select! {
            moved = move_into(&mut stream, pipe) => moved,
            () = stop.cancelled() => Err(Broken::Stopped),
        },
        Err(error) => Err(Broken::Pipe(error)),
    };
    // The sender may learn of it while ZFS still thinks.
    drop(stream);
    let (relay, broken) = match moved {
        Ok(()) => (Ok(()), None),
        Err(Broken::Pipe(error)) => (Err(error), None),
        Err(Broken::Stopped) => (
            Err(io::Error::other("receive was stopped")),
            Some(ReceiveError::Stopped),
        ),
        Err(Broken::Stream(error)) => (
            Err(io::Error::other("stream did not arrive")),
            Some(ReceiveError::Stream(error)),
        ),
    };
    match spawn_blocking(move || receive.finish(relay)).await {
        Ok(Ok(report)) => Ok(report),
        Ok(Err(error)) => Err(match (error, broken) {
            // ZFS says that the way to it was broken, which we know better.
            (ZfsStreamError::Relay { .. }, Some(broken)) => broken,
            (error, _) => error.into(),
        }),
        Err(error) => Err(ReceiveError::Thread(error.to_string())),
    }
}

async fn move_into(stream: &mut SendStream, mut pipe: pipe::Sender) -> Result<(), Broken> {
    let SendStream {
        source,
        moved,
        limits,
    } = stream;
    match source {
        Source::Remote(remote) => match remote.move_into(&mut pipe, moved, limits).await {
            Ok(()) => {
                moved.end();
                Ok(())
            }
            Err(MoveError::Pipe(error)) => Err(Broken::Pipe(error)),
            Err(MoveError::Stream(error)) => Err(Broken::Stream(error)),
        },
        Source::Local(local) => {
            let mut buffer = vec![0; BUFFER];
            loop {
                let count = local.read(&mut buffer).await.map_err(Broken::Pipe)?;
                if count == 0 {
                    moved.end();
                    return ended(local).await.map_err(Broken::Stream);
                }
                let written = pipe.write_all(&buffer[..count]).await;
                written.map_err(Broken::Pipe)?;
                moved.add(count as u64);
                pay(limits, count as u64).await;
            }
        }
    }
}

/// Asks the producer of a stream whose pipe is at its end.
async fn ended(local: &mut LocalStream) -> Result<(), StreamError> {
    local.finish(Ok(())).await.map_err(StreamError::Sender)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::io::AsyncReadExt as _;

    use super::*;
    use crate::bandwidth::Limit;
    use crate::endpoint::stream::{Counter, RemoteStream};

    /// Complete if all bytes were known to be handed over when it was asked.
    #[derive(Debug)]
    struct Ended(Counter);

    impl Producer for Ended {
        fn finish(self: Box<Self>, _: io::Result<()>) -> BoxFuture<'static, Result<(), String>> {
            let has_ended = self.0.has_ended();
            Box::pin(async move { has_ended.then_some(()).ok_or("too early".to_owned()) })
        }
    }

    #[derive(Debug)]
    struct Remote;

    impl RemoteStream for Remote {
        fn read<'a>(&'a mut self, _: &'a mut [u8]) -> BoxFuture<'a, Result<usize, StreamError>> {
            Box::pin(async { Ok(0) })
        }

        fn move_into<'a>(
            &'a mut self,
            _: &'a mut pipe::Sender,
            moved: &'a Counter,
            _: &'a [Arc<Limit>],
        ) -> BoxFuture<'a, Result<(), MoveError>> {
            Box::pin(async {
                assert!(!moved.has_ended());
                Ok(())
            })
        }
    }

    #[tokio::test]
    async fn the_end_of_a_stream_is_known_before_anybody_finishes() {
        let (mut write, read) = pipe::pipe().expect("a pipe");
        let moved = Counter::default();
        let producer = Box::new(Ended(moved.clone()));
        let mut stream = SendStream {
            source: Source::Local(LocalStream::new(read, producer)),
            moved: moved.clone(),
            limits: vec![],
        };
        write.write_all(b"abc").await.expect("room");
        drop(write);
        let (sender, mut receiver) = pipe::pipe().expect("a pipe");
        let relay = move_into(&mut stream, sender).await;
        assert!(relay.is_ok());
        assert_eq!((moved.get(), moved.has_ended()), (3, true));
        let mut bytes = Vec::new();
        receiver.read_to_end(&mut bytes).await.expect("all");
        assert_eq!(bytes, b"abc");
    }

    #[tokio::test]
    async fn so_is_that_of_a_stream_from_another_host() {
        let mut stream = SendStream::remote(Box::new(Remote));
        let (sender, _receiver) = pipe::pipe().expect("a pipe");
        assert!(move_into(&mut stream, sender).await.is_ok());
        assert!(stream.moved.has_ended());
    }
}
