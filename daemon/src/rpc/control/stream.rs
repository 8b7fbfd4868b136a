//! A wire as HTTP/2 wants it: one object that reads and writes.
//!
//! Bytes of a client pass the [`AuthorityFilter`] on their way to h2; all others pass as they are. How the connection ended is
//! told to whoever holds its [`Ending`], because h2 keeps that to itself. An idle stream holds no buffers.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use zrepl_proto::authority::AuthorityFilter;

use crate::transport::Wire;

/// How much is read from a client at once.
const CHUNK_LEN: usize = 4096;

/// A control connection behind its label.
pub(super) struct ControlStream {
    wire: Wire,
    stage: Option<Stage>,
    ending: Ending,
}

/// How a connection ended; clones tell the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Ending(Arc<Ended>);

#[derive(Debug, Default)]
struct Ended {
    by_peer: OnceLock<PeerEnd>,
    dropped: OnceLock<()>,
    received: AtomicU64,
}

/// What the other side, or the network, did to a connection.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum PeerEnd {
    #[error("peer closed the connection")]
    Closed,
    #[error("{0}")]
    Failed(String),
}

/// A filter and what has come out of it.
struct Stage {
    /// None after the client's last byte.
    filter: Option<AuthorityFilter>,
    /// Filtered and not yet read.
    output: Vec<u8>,
    taken: usize,
}

impl ControlStream {
    /// Towards a server.
    pub(super) fn to_server(wire: Wire) -> Self {
        Self::new(wire, None)
    }

    /// From a client, which has not sent its HTTP/2 preface yet.
    pub(super) fn from_client(wire: Wire) -> Self {
        let stage = Stage {
            filter: Some(AuthorityFilter::new()),
            output: Vec::new(),
            taken: 0,
        };
        Self::new(wire, Some(stage))
    }

    fn new(wire: Wire, stage: Option<Stage>) -> Self {
        Self {
            wire,
            stage,
            ending: Ending::default(),
        }
    }

    /// How it will have ended.
    pub(super) fn ending(&self) -> Ending {
        self.ending.clone()
    }
}

impl Ending {
    /// Whether nothing can be sent any more.
    pub(super) fn is_over(&self) -> bool {
        self.0.by_peer.get().is_some() || self.0.dropped.get().is_some()
    }

    /// How the other side ended it, if it did.
    pub(super) fn by_peer(&self) -> Option<&PeerEnd> {
        self.0.by_peer.get()
    }

    /// Bytes that have come from the other side.
    pub(super) fn received(&self) -> u64 {
        self.0.received.load(Ordering::Relaxed)
    }

    fn observe<T>(&self, result: &io::Result<T>) {
        if let Err(error) = result {
            // The first reason counts, later ones follow from it.
            let _ = self.0.by_peer.set(PeerEnd::Failed(error.to_string()));
        }
    }

    fn observe_read(&self, result: &io::Result<()>, len: usize) {
        self.observe(result);
        if result.is_ok() && len == 0 {
            let _ = self.0.by_peer.set(PeerEnd::Closed);
        }
        let len = u64::try_from(len).expect("a length in memory fits 64 bits");
        self.0.received.fetch_add(len, Ordering::Relaxed);
    }
}

impl Stage {
    /// Gives out what has been filtered.
    fn drain(&mut self, buffer: &mut ReadBuf<'_>) {
        let rest = &self.output[self.taken..];
        let len = rest.len().min(buffer.remaining());
        buffer.put_slice(&rest[..len]);
        self.taken += len;
        if self.taken == self.output.len() {
            self.output = Vec::new();
            self.taken = 0;
        }
    }
}

impl AsyncRead for ControlStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let reader = &mut this.wire.reader;
        let Some(stage) = &mut this.stage else {
            let before = buffer.filled().len();
            let result = ready!(Pin::new(reader).poll_read(cx, buffer));
            let len = buffer.filled().len() - before;
            this.ending.observe_read(&result, len);
            return Poll::Ready(result);
        };
        // A turn without output is no end of the stream: the filter holds back a header block until it is complete.
        while stage.output.is_empty() {
            let Some(filter) = &mut stage.filter else {
                return Poll::Ready(Ok(()));
            };
            let mut bytes = [0; CHUNK_LEN];
            let mut chunk = ReadBuf::new(&mut bytes);
            let result = ready!(Pin::new(&mut *reader).poll_read(cx, &mut chunk));
            this.ending.observe_read(&result, chunk.filled().len());
            result?;
            if !chunk.filled().is_empty() {
                filter.feed(chunk.filled(), &mut stage.output);
            } else if let Some(filter) = stage.filter.take() {
                filter.finish(&mut stage.output);
            }
        }
        stage.drain(buffer);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ControlStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = ready!(Pin::new(&mut this.wire.writer).poll_write(cx, bytes));
        this.ending.observe(&result);
        Poll::Ready(result)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = ready!(Pin::new(&mut this.wire.writer).poll_write_vectored(cx, slices));
        this.ending.observe(&result);
        Poll::Ready(result)
    }

    fn is_write_vectored(&self) -> bool {
        self.wire.writer.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let result = ready!(Pin::new(&mut this.wire.writer).poll_flush(cx));
        this.ending.observe(&result);
        Poll::Ready(result)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().wire.writer).poll_shutdown(cx)
    }
}

impl Drop for ControlStream {
    fn drop(&mut self) {
        let _ = self.ending.0.dropped.set(());
    }
}

impl fmt::Debug for ControlStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ControlStream")
            .field("wire", &self.wire)
            .field("ending", &self.ending)
            .finish_non_exhaustive()
    }
}
