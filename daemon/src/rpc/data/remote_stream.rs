//! A stream that arrives on a data connection, lent to whoever receives it.

use std::ops::Range;
use std::sync::Arc;

use tokio::io::AsyncWriteExt as _;
use tokio::net::unix::pipe;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use zrepl_proto::message::MessageError;

use super::connection::Connection;
use super::input::{StreamPiece, StreamPosition};
use super::keeper::Keeper;
use super::{ConnectionError, Input};
use crate::bandwidth::{Limit, pay};
use crate::endpoint::stream::{Counter, MoveError, RemoteStream, StreamError};
use crate::rpc::metrics::{Direction, Metrics};
use crate::transport::BoxFuture;

/// A stream on a connection. Dropping it gives the connection back.
#[derive(Debug)]
pub(super) struct ArrivingStream {
    /// There until it is dropped.
    input: Option<Input>,
    position: StreamPosition,
    state: State,
    /// With whom, for errors.
    peer: String,
    stop: CancellationToken,
    owner: Option<Owner>,
    metrics: Metrics,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    Complete,
    /// Its end will not be seen: the producer failed, or the connection.
    Broken,
}

/// To whom the connection goes when the stream is dropped.
#[derive(Debug)]
pub(super) enum Owner {
    /// To whoever lent it and waits for it.
    Lender(oneshot::Sender<Returned>),
    /// To nobody: it is closed.
    Nobody(Keeper),
}

/// What the lender gets back.
#[derive(Debug)]
pub(super) struct Returned {
    pub(super) input: Input,
    pub(super) rest: Rest,
}

/// What is left of a stream that was lent.
#[derive(Debug)]
pub(super) enum Rest {
    /// Nothing.
    Complete,
    /// From here on it was not read.
    Open(StreamPosition),
    /// Nothing that can be read.
    Broken,
}

impl ArrivingStream {
    pub(super) fn new(
        input: Input,
        position: StreamPosition,
        peer: String,
        stop: CancellationToken,
        owner: Owner,
        metrics: Metrics,
    ) -> Self {
        Self {
            input: Some(input),
            position,
            state: State::Open,
            peer,
            stop,
            owner: Some(owner),
            metrics,
        }
    }

    /// The place of the next bytes in the input's buffer; none at the end.
    async fn piece(&mut self, limit: usize) -> Result<Option<Range<usize>>, StreamError> {
        let failure = match self.state {
            State::Complete => return Ok(None),
            State::Broken => ConnectionError::Message(MessageError::Over),
            State::Open => {
                let input = self.input.as_mut().expect("there until it is dropped");
                let piece = tokio::select! {
                    biased;
                    () = self.stop.cancelled() => Err(ConnectionError::Stopping),
                    piece = input.stream_piece(&mut self.position, limit) => piece,
                };
                match piece {
                    Ok(StreamPiece::Bytes(range)) => return Ok(Some(range)),
                    Ok(StreamPiece::End) => {
                        self.state = State::Complete;
                        return Ok(None);
                    }
                    Ok(StreamPiece::Failed(text)) => {
                        self.state = State::Broken;
                        return Err(StreamError::Sender(text));
                    }
                    Err(error) => error,
                }
            }
        };
        Err(self.broken(failure))
    }

    fn broken(&mut self, failure: ConnectionError) -> StreamError {
        self.state = State::Broken;
        let context = format!("cannot read the stream from {}", self.peer);
        StreamError::Connection(failure.into_endpoint_error(context))
    }

    async fn move_all(
        &mut self,
        pipe: &mut pipe::Sender,
        moved: &Counter,
        limits: &[Arc<Limit>],
    ) -> Result<(), MoveError> {
        while let Some(range) = self.piece(usize::MAX).await? {
            let bytes = self.bytes(range);
            let len = bytes.len() as u64;
            pipe.write_all(bytes).await.map_err(MoveError::Pipe)?;
            moved.add(len);
            pay(limits, len).await;
        }
        Ok(())
    }

    fn bytes(&self, range: Range<usize>) -> &[u8] {
        let input = self.input.as_ref().expect("there until it is dropped");
        input.bytes(range)
    }
}

impl RemoteStream for ArrivingStream {
    fn read<'a>(&'a mut self, buffer: &'a mut [u8]) -> BoxFuture<'a, Result<usize, StreamError>> {
        Box::pin(async {
            if buffer.is_empty() {
                return Ok(0);
            }
            let Some(range) = self.piece(buffer.len()).await? else {
                return Ok(0);
            };
            let bytes = self.bytes(range);
            buffer[..bytes.len()].copy_from_slice(bytes);
            Ok(bytes.len())
        })
    }

    fn move_into<'a>(
        &'a mut self,
        pipe: &'a mut pipe::Sender,
        moved: &'a Counter,
        limits: &'a [Arc<Limit>],
    ) -> BoxFuture<'a, Result<(), MoveError>> {
        Box::pin(async move {
            let stop = self.stop.clone();
            tokio::select! {
                biased;
                () = stop.cancelled() => Err(MoveError::Stream(self.broken(ConnectionError::Stopping))),
                result = self.move_all(pipe, moved, limits) => result,
            }
        })
    }
}

impl Drop for ArrivingStream {
    fn drop(&mut self) {
        let (Some(input), Some(owner)) = (self.input.take(), self.owner.take()) else {
            return;
        };
        let whole = self.state == State::Complete;
        let bytes = self.position.bytes();
        self.metrics.stream(Direction::Received, bytes, whole);
        match owner {
            Owner::Lender(lender) => {
                let rest = match self.state {
                    State::Complete => Rest::Complete,
                    State::Open => Rest::Open(self.position.clone()),
                    State::Broken => Rest::Broken,
                };
                // A lender that does not wait any more has given up the connection.
                let _ = lender.send(Returned { input, rest });
            }
            Owner::Nobody(keeper) => {
                // Without a runtime nobody can close it in order; then it is just closed.
                let metrics = self.metrics.clone();
                if let Ok(runtime) = tokio::runtime::Handle::try_current() {
                    runtime.spawn(async move {
                        if let Some(output) = keeper.stop().await {
                            let connection = Connection {
                                input,
                                output,
                                metrics,
                            };
                            connection.close().await;
                        }
                    });
                }
            }
        }
    }
}
