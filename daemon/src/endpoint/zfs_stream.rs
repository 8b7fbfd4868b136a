//! Streams of ZFS as streams of endpoints. The pipe's end on our side does not block, and belongs to the async runtime; the other
//! end is the kernel's, and ZFS' own threads wait there.

use std::fmt;
use std::io;
use std::os::fd::AsFd;

use tokio::io::AsyncWriteExt as _;
use tokio::net::unix::pipe;
use tokio::task::spawn_blocking;
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

/// Reads the first record, which says what the stream is.
pub async fn begin(stream: &mut SendStream) -> Result<BeginRecord, BeginError> {
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
    Ok(BeginRecord::read(&mut &bytes[..filled])?)
}

/// As large as what moves bytes from a connection.
const BUFFER: usize = 128 << 10;

/// Why a stream was not received.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    /// ZFS refused it, or it did not arrive; which of the two came first has been found out.
    #[error(transparent)]
    Zfs(#[from] ZfsStreamError),
    /// A thread of ours panicked.
    #[error("internal error: {0}")]
    Thread(String),
}

/// Moves what is left of a stream into a running receive, and says how that ended. Once it is polled it is to be polled to its
/// end: the kernel's receive is not over before.
pub async fn receive(
    mut stream: SendStream,
    receive: ReceiveStream,
) -> Result<ReceiveReport, ReceiveError> {
    let pipe = receive
        .as_fd()
        .try_clone_to_owned()
        .and_then(pipe::Sender::from_owned_fd);
    let relay = match pipe {
        Ok(pipe) => move_into(&mut stream, pipe).await,
        Err(error) => Err(error),
    };
    // The sender may learn of it while ZFS still thinks.
    drop(stream);
    match spawn_blocking(move || receive.finish(relay)).await {
        Ok(verdict) => Ok(verdict?),
        Err(error) => Err(ReceiveError::Thread(error.to_string())),
    }
}

async fn move_into(stream: &mut SendStream, mut pipe: pipe::Sender) -> io::Result<()> {
    let SendStream {
        source,
        moved,
        limits,
    } = stream;
    match source {
        Source::Remote(remote) => match remote.move_into(&mut pipe, moved, limits).await {
            Ok(()) => Ok(()),
            Err(MoveError::Pipe(error)) => Err(error),
            Err(MoveError::Stream(error)) => Err(io::Error::other(chain(&error))),
        },
        Source::Local(local) => {
            let mut buffer = vec![0; BUFFER];
            loop {
                let count = local.read(&mut buffer).await?;
                if count == 0 {
                    return ended(local).await;
                }
                pipe.write_all(&buffer[..count]).await?;
                moved.add(count as u64);
                pay(limits, count as u64).await;
            }
        }
    }
}

/// Asks the producer of a stream whose pipe is at its end.
async fn ended(local: &mut LocalStream) -> io::Result<()> {
    match local.finish(Ok(())).await {
        Ok(()) => Ok(()),
        Err(text) => Err(io::Error::other(format!("sender failed: {text}"))),
    }
}
