//! The stream of a zfs send on its way from whoever makes it to whoever receives it.
//!
//! In this process a stream is a pipe, because a pipe is what the kernel fills and empties. From another host it is a
//! [`RemoteStream`]: part of a connection that can also move its bytes into a pipe. Both come with a counter of what has
//! passed, and with the limits that apply; whoever moves bytes honours both.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;

use super::EndpointError;
use crate::bandwidth::Limit;
use crate::transport::BoxFuture;

/// A stream. Dropping it ends the send.
#[derive(Debug)]
pub struct SendStream {
    /// Where its bytes come from.
    pub source: Source,
    /// Bytes that have left the source.
    pub moved: Counter,
    /// Each is paid for every byte.
    pub limits: Vec<Arc<Limit>>,
}

/// Where the bytes of a stream come from.
#[derive(Debug)]
pub enum Source {
    /// A pipe that a producer in this process fills.
    Local(LocalStream),
    /// A connection.
    Remote(Box<dyn RemoteStream>),
}

/// A stream that comes out of a pipe. Dropping it closes the pipe, and then ends the producer.
#[derive(Debug)]
pub struct LocalStream {
    pipe: Option<pipe::Receiver>,
    producer: Option<Box<dyn Producer>>,
}

impl LocalStream {
    /// Out of a pipe that somebody writes into.
    pub fn new(pipe: pipe::Receiver, producer: Box<dyn Producer>) -> Self {
        Self {
            pipe: Some(pipe),
            producer: Some(producer),
        }
    }

    /// The reading end, to be read to its end; none after [`finish`](Self::finish).
    pub fn pipe(&self) -> Option<&pipe::Receiver> {
        self.pipe.as_ref()
    }

    /// The next bytes; none at the end of the pipe, or after [`finish`](Self::finish).
    pub async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.pipe {
            Some(pipe) => pipe.read(buffer).await,
            None => Ok(0),
        }
    }

    /// Closes the pipe and asks the producer: see [`Producer::finish`]. Once it is polled it is to be polled to its end.
    pub async fn finish(&mut self, relay: io::Result<()>) -> Result<(), String> {
        // A producer that still writes would wait for ever if the pipe stayed open.
        self.pipe = None;
        match self.producer.take() {
            Some(producer) => producer.finish(relay).await,
            None => Err("stream has been finished before".to_owned()),
        }
    }
}

/// Writes a stream into a pipe.
pub trait Producer: fmt::Debug + Send {
    /// Says whether the stream is complete, after its pipe has been read to the end (`relay` is `Ok`), or ends the producer
    /// early because moving failed (`relay` is why). The end of a pipe alone says nothing: a producer that dies closes it, too.
    fn finish(self: Box<Self>, relay: io::Result<()>) -> BoxFuture<'static, Result<(), String>>;
}

/// A stream that comes from another host. Dropping it closes the connection.
pub trait RemoteStream: fmt::Debug + Send {
    /// The next bytes; none at the end of a complete stream.
    fn read<'a>(&'a mut self, buffer: &'a mut [u8]) -> BoxFuture<'a, Result<usize, StreamError>>;

    /// Moves what is left of the stream into a pipe, adding to `moved` as it goes and paying `limits`. `Ok` only if the
    /// stream was complete.
    fn move_into<'a>(
        &'a mut self,
        pipe: &'a mut pipe::Sender,
        moved: &'a Counter,
        limits: &'a [Arc<Limit>],
    ) -> BoxFuture<'a, Result<(), MoveError>>;
}

/// Why a stream from another host is not complete.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// The producer gave up, and says why.
    #[error("sender failed: {0}")]
    Sender(String),
    /// The connection was lost, or the peer broke the protocol.
    #[error(transparent)]
    Connection(EndpointError),
}

/// Why a stream was not moved into a pipe.
#[derive(Debug, thiserror::Error)]
pub enum MoveError {
    /// It did not arrive.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// Whoever reads the pipe has stopped.
    #[error("cannot write to the pipe")]
    Pipe(#[source] io::Error),
}

/// Counts bytes, and knows whether there will be more; clones count together.
#[derive(Clone, Debug, Default)]
pub struct Counter(Arc<Count>);

#[derive(Debug, Default)]
struct Count {
    bytes: AtomicU64,
    has_ended: AtomicBool,
}

impl Counter {
    /// So many more.
    pub fn add(&self, bytes: u64) {
        self.0.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// So many up to now.
    pub fn get(&self) -> u64 {
        self.0.bytes.load(Ordering::Relaxed)
    }

    /// All bytes have been handed over. Whoever moves the stream says so, so that nobody waits for more of them while its
    /// producer and its receiver finish.
    pub fn end(&self) {
        self.0.has_ended.store(true, Ordering::Relaxed);
    }

    /// Whether all bytes have been handed over.
    pub fn has_ended(&self) -> bool {
        self.0.has_ended.load(Ordering::Relaxed)
    }
}

impl SendStream {
    /// Out of a pipe.
    pub fn local(pipe: OwnedFd, producer: Box<dyn Producer>) -> io::Result<Self> {
        let pipe = pipe::Receiver::from_owned_fd(pipe)?;
        Ok(Self::new(Source::Local(LocalStream::new(pipe, producer))))
    }

    /// From another host.
    pub fn remote(stream: Box<dyn RemoteStream>) -> Self {
        Self::new(Source::Remote(stream))
    }

    fn new(source: Source) -> Self {
        Self {
            source,
            moved: Counter::default(),
            limits: Vec::new(),
        }
    }
}
