//! Frames that arrive: bytes flow in, messages and pieces of streams flow out. A peer that sends nothing for
//! [`IDLE_LIMIT`] is given up; heartbeats count as life, and give writers new time.

use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use std::{future, io};

use tokio::io::{AsyncRead as _, ReadBuf};
use tokio::time::{Instant, timeout, timeout_at};
use zrepl_proto::frame::{FrameHeader, FrameType};
use zrepl_proto::message::{Assembly, Event, Kind};
use zrepl_proto::reader::{FrameReader, Piece};

use super::output::Liveness;
use super::{ConnectionError, IDLE_LIMIT};
use crate::transport::wire::ReadSide;

/// Enough for requests and answers.
const SMALL_BUFFER: usize = 4 << 10;
/// For streams: what a socket holds when its reader is the slower one. 64 KiB cost a third more processor time for each byte.
const LARGE_BUFFER: usize = 512 << 10;

/// The direction from the peer to us.
#[derive(Debug)]
pub struct Input {
    side: Box<dyn ReadSide>,
    frames: FrameReader,
    buffer: Vec<u8>,
    /// What of the buffer has been read and not yet taken.
    filled: Range<usize>,
    /// A failure that came right behind bytes; it is reported once they are taken.
    failure: Option<io::Error>,
    /// Whether the payload of the current frame means nothing.
    skipping: bool,
    liveness: Arc<Liveness>,
}

/// A piece of the current frame; the range is in the buffer.
enum Unit {
    Header(FrameHeader),
    Payload(Range<usize>),
}

/// What comes next in a stream.
pub(super) enum StreamPiece {
    /// Bytes, never none: see [`Input::bytes`].
    Bytes(Range<usize>),
    /// The stream is complete.
    End,
    /// The producer failed, and says why.
    Failed(String),
}

/// A stream that is being read.
#[derive(Clone, Debug)]
pub(super) struct StreamPosition {
    assembly: Assembly,
    patience: Duration,
    /// Since when its next byte is waited for. Not while whoever takes the bytes is busy with the last ones.
    waiting_since: Option<Instant>,
    is_payload: bool,
}

impl StreamPosition {
    /// Bytes of the stream up to here, the current frame included.
    pub(super) fn bytes(&self) -> u64 {
        self.assembly.stream_bytes()
    }
}

impl Input {
    pub(super) fn new(side: Box<dyn ReadSide>, liveness: Arc<Liveness>) -> Self {
        Self {
            side,
            frames: FrameReader::new(),
            buffer: vec![0; SMALL_BUFFER],
            filled: 0..0,
            failure: None,
            skipping: false,
            liveness,
        }
    }

    /// Reads one message. It may come slowly, and with any number of heartbeats, but not for longer than `patience`.
    pub async fn message(
        &mut self,
        kind: Kind,
        patience: Duration,
    ) -> Result<Vec<u8>, ConnectionError> {
        match timeout(patience, self.read_message(kind)).await {
            Ok(message) => message,
            Err(_) => Err(ConnectionError::NoProgress(patience)),
        }
    }

    async fn read_message(&mut self, kind: Kind) -> Result<Vec<u8>, ConnectionError> {
        let mut assembly = Assembly::new(kind);
        loop {
            let header = match self.unit(usize::MAX).await? {
                Unit::Header(header) => header,
                Unit::Payload(range) => {
                    assembly.collect(&self.buffer[range])?;
                    continue;
                }
            };
            match self.event(&mut assembly, header)? {
                Event::End { .. } => return Ok(assembly.into_body().unwrap_or_default()),
                Event::Failed { text, .. } => return Err(ConnectionError::FailedMessage(text)),
                Event::Rst { .. } => return Err(ConnectionError::Rst),
                Event::Heartbeat { .. } | Event::Collect { .. } | Event::Payload { .. } => {}
            }
        }
    }

    /// Begins to read a stream; `patience` is for each wait for its next byte.
    pub(super) fn begin_stream(&mut self, patience: Duration) -> StreamPosition {
        if self.buffer.len() < LARGE_BUFFER {
            // Whatever is in it stays at its place.
            self.buffer.resize(LARGE_BUFFER, 0);
        }
        StreamPosition {
            assembly: Assembly::new(Kind::ZfsStream),
            patience,
            waiting_since: None,
            is_payload: false,
        }
    }

    /// The next piece of a stream. At most `limit` bytes are taken. Cancelling loses nothing.
    pub(super) async fn stream_piece(
        &mut self,
        stream: &mut StreamPosition,
        limit: usize,
    ) -> Result<StreamPiece, ConnectionError> {
        let patience = stream.patience;
        let since = *stream.waiting_since.get_or_insert_with(Instant::now);
        // It is for whatever comes instead of bytes: heartbeats, empty frames, payload that means nothing.
        match timeout_at(since + patience, self.read_stream_piece(stream, limit)).await {
            Ok(piece) => {
                stream.waiting_since = None;
                piece
            }
            Err(_) => Err(ConnectionError::NoProgress(patience)),
        }
    }

    async fn read_stream_piece(
        &mut self,
        stream: &mut StreamPosition,
        limit: usize,
    ) -> Result<StreamPiece, ConnectionError> {
        loop {
            let header = match self.unit(limit).await? {
                Unit::Header(header) => header,
                Unit::Payload(range) if stream.is_payload => return Ok(StreamPiece::Bytes(range)),
                Unit::Payload(range) => {
                    stream.assembly.collect(&self.buffer[range])?;
                    continue;
                }
            };
            let event = self.event(&mut stream.assembly, header)?;
            stream.is_payload = matches!(event, Event::Payload { .. });
            match event {
                Event::End { .. } => return Ok(StreamPiece::End),
                Event::Failed { text, .. } => return Ok(StreamPiece::Failed(text)),
                Event::Rst { .. } => return Err(ConnectionError::Rst),
                Event::Payload { .. } | Event::Collect { .. } | Event::Heartbeat { .. } => {}
            }
        }
    }

    /// The bytes that the last piece of a stream stands for.
    pub(super) fn bytes(&self, range: Range<usize>) -> &[u8] {
        &self.buffer[range]
    }

    /// Watches a peer that has nothing more to say, until it closes the connection or says something nevertheless.
    pub(super) async fn watch(&mut self) -> ConnectionError {
        loop {
            let header = match self.unit(usize::MAX).await {
                Ok(Unit::Header(header)) => header,
                Ok(Unit::Payload(_)) => continue,
                Err(error) => return error,
            };
            // Nothing is expected; whichever message one looks for, only heartbeats and RST are in order.
            let mut assembly = Assembly::new(Kind::ReqHeader);
            match self.event(&mut assembly, header) {
                Ok(Event::Heartbeat { .. }) => {}
                Ok(Event::Rst { .. }) => return ConnectionError::Rst,
                Ok(_) => {
                    return zrepl_proto::message::MessageError::UnexpectedType {
                        received: header.kind(),
                        expected: FrameType::Heartbeat,
                    }
                    .into();
                }
                Err(error) => return error,
            }
        }
    }

    /// Reads and forgets until the connection ends or the time is over; returns how many bytes of payload that were.
    pub(super) async fn drain(&mut self, deadline: Instant) -> u64 {
        let mut drained = 0;
        // Whoever only says goodbye has sent nothing that got lost.
        self.skipping = false;
        while let Ok(Ok(unit)) = timeout_at(deadline, self.unit(usize::MAX)).await {
            if let Unit::Payload(range) = unit {
                drained += range.len() as u64;
            }
        }
        // It ended, or it is no sequence of frames. Then it still has to be read, to be closed without a reset.
        loop {
            drained += self.filled.len() as u64;
            self.filled = 0..0;
            match timeout_at(deadline, self.fill()).await {
                Ok(Ok(count)) if count > 0 => {}
                Ok(Ok(_) | Err(_)) | Err(_) => return drained,
            }
        }
    }

    fn event(
        &mut self,
        assembly: &mut Assembly,
        header: FrameHeader,
    ) -> Result<Event, ConnectionError> {
        let event = assembly.header(header)?;
        self.skipping = matches!(
            event,
            Event::Heartbeat { .. } | Event::Rst { .. } | Event::End { .. } | Event::Failed { .. }
        );
        if matches!(event, Event::Heartbeat { .. }) {
            self.liveness.heartbeat_received();
        }
        Ok(event)
    }

    /// The next piece of a frame, without payload that means nothing; of payload at most `limit` bytes, which must not be
    /// zero. Cancelling loses nothing.
    async fn unit(&mut self, limit: usize) -> Result<Unit, ConnectionError> {
        loop {
            let start = self.filled.start;
            let mut bytes = &self.buffer[self.filled.clone()];
            if self.frames.payload_left() > 0 {
                bytes = &bytes[..bytes.len().min(limit)];
            }
            let before = bytes.len();
            let piece = self.frames.next(&mut bytes)?;
            let taken = before - bytes.len();
            let unit = match piece {
                Some(Piece::Header(header)) => Some(Unit::Header(header)),
                Some(Piece::Payload(_)) => Some(Unit::Payload(start..start + taken)),
                None => None,
            };
            self.filled.start += taken;
            match unit {
                Some(Unit::Payload(_)) if self.skipping => {}
                Some(unit) => return Ok(unit),
                None => self.more().await?,
            }
        }
    }

    /// Waits for more bytes.
    async fn more(&mut self) -> Result<(), ConnectionError> {
        match timeout(IDLE_LIMIT, self.fill()).await {
            Err(_) => Err(ConnectionError::Silent(IDLE_LIMIT)),
            Ok(Err(error)) => Err(ConnectionError::Read(error)),
            Ok(Ok(0)) => {
                self.frames.end()?;
                Err(ConnectionError::Closed)
            }
            Ok(Ok(_)) => Ok(()),
        }
    }

    /// Fills the empty buffer with what is there, waiting for the first byte. TLS hands out at most a record per read, which
    /// would make for small writes behind it; therefore it is read until nothing is left or the buffer is full.
    async fn fill(&mut self) -> io::Result<usize> {
        debug_assert!(self.filled.is_empty());
        if let Some(error) = self.failure.take() {
            return Err(error);
        }
        let (side, buffer, failure) = (&mut self.side, &mut self.buffer, &mut self.failure);
        let count = future::poll_fn(|context| {
            let mut buffer = ReadBuf::new(buffer);
            loop {
                let before = buffer.filled().len();
                let poll = Pin::new(&mut *side).poll_read(context, &mut buffer);
                let filled = buffer.filled().len();
                match poll {
                    Poll::Ready(Ok(())) if filled > before && buffer.remaining() > 0 => {}
                    Poll::Ready(Ok(())) => return Poll::Ready(Ok(filled)),
                    Poll::Ready(Err(error)) if filled > 0 => {
                        *failure = Some(error);
                        return Poll::Ready(Ok(filled));
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending if filled > 0 => return Poll::Ready(Ok(filled)),
                    Poll::Pending => return Poll::Pending,
                }
            }
        })
        .await?;
        self.filled = 0..count;
        Ok(count)
    }
}
