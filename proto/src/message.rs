//! Messages and streams out of frames, and messages into frames.
//!
//! A message or stream of a type is: any number of frames of that type, then either an end frame, or trailer frames with
//! an error text and then an end frame. An empty message is only the end frame. Heartbeats may stand anywhere, RST too.
//!
//! [`Assembly`] reads one of them. It is told each frame header and says what the payload is for; bytes of a stream never pass
//! through it, so they can be moved without being copied. Rules and limits are those of zrepl 0.7.0
//! (`internal/rpc/dataconn/stream/stream.go`, `dataconn_shared.go`).

use crate::chunk;
use crate::frame::{END, FrameHeader, FrameType};
use crate::response::MAX_SENT_RES_HEADER;

/// Longest error text that is kept of a trailer; what is beyond it is dropped.
pub const MAX_TRAILER_KEPT: usize = 64 << 10;

/// What a sequence of frames makes up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The requested endpoint.
    ReqHeader,
    /// Protobuf request.
    ReqStructured,
    /// Success or failure.
    ResHeader,
    /// Protobuf response.
    ResStructured,
    /// A stream of zfs send, of any length.
    ZfsStream,
}

impl Kind {
    /// The type of its frames.
    pub const fn frame_type(self) -> FrameType {
        match self {
            Self::ReqHeader => FrameType::ReqHeader,
            Self::ReqStructured => FrameType::ReqStructured,
            Self::ResHeader => FrameType::ResHeader,
            Self::ResStructured => FrameType::ResStructured,
            Self::ZfsStream => FrameType::ZfsStream,
        }
    }

    /// Longest message that may be sent; `None` for a stream. A Go peer that receives a longer one waits for ever.
    pub const fn max_sent(self) -> Option<usize> {
        match self {
            Self::ReqHeader => Some(32768),
            Self::ReqStructured => Some(4 << 20),
            Self::ResHeader => Some(MAX_SENT_RES_HEADER),
            Self::ResStructured => Some(8 << 20),
            Self::ZfsStream => None,
        }
    }

    /// Longest message that is accepted; `None` for a stream. More than is sent only for response headers: Go does not
    /// shorten error texts.
    pub const fn max_received(self) -> Option<usize> {
        match self {
            Self::ResHeader => Some(1 << 20),
            other => other.max_sent(),
        }
    }
}

/// What a frame means, and what its payload is for. Payload bytes that are neither to be handed on nor to be collected
/// are to be skipped: `skip` says how many there are, normally none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The payload is the next part of the stream. It is not shown to the [`Assembly`].
    Payload {
        /// How many bytes.
        len: u32,
    },
    /// The payload is to be given to [`Assembly::collect`].
    Collect {
        /// How many bytes.
        len: u32,
    },
    /// The peer is alive.
    Heartbeat {
        /// Payload without meaning.
        skip: u32,
    },
    /// The peer closes the connection. Nothing can be read or written any more, but the connection is still to be closed in
    /// order.
    Rst {
        /// Payload without meaning.
        skip: u32,
    },
    /// Message or stream are complete.
    End {
        /// Payload without meaning.
        skip: u32,
    },
    /// The producer failed, and says why. The connection remains usable.
    Failed {
        /// The peer's text, made UTF-8; possibly empty.
        text: String,
        /// Payload without meaning.
        skip: u32,
    },
}

/// Why a connection cannot be read any further. Each of these ends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// A frame type of the lower layers (upper eight bits) that does not exist.
    #[error("unknown frame type {received}, expected {expected}, a heartbeat or RST", expected = .expected.frame_type())]
    UnknownType {
        /// What arrived.
        received: FrameType,
        /// What was being read.
        expected: Kind,
    },
    /// A frame that does not belong here.
    #[error("unexpected frame type {received}, expected {expected}")]
    UnexpectedType {
        /// What arrived.
        received: FrameType,
        /// What was being read.
        expected: FrameType,
    },
    /// The message does not fit.
    #[error("{kind:?} of at least {len} bytes, at most {limit} are allowed")]
    TooLong {
        /// Which message.
        kind: Kind,
        /// Its length so far.
        len: usize,
        /// What is allowed.
        limit: usize,
    },
    /// A frame behind an RST. The text is Go's.
    #[error("frameconn: shutting down")]
    ShutDown,
    /// A frame was shown to an assembly that is complete or has failed: a defect of the caller.
    #[error("message is over, its reader takes no more frames")]
    Over,
    /// Payload was shown that the last frame does not have, or not shown that it has: a defect of the caller.
    #[error("payload does not match its frame, {0} bytes of it are outstanding")]
    PayloadMismatch(u32),
}

/// Reads one message or stream.
///
/// body → ended, or body → trailer → failed. An RST leads to shut down and an error to failed; from there nothing leads on.
#[derive(Clone, Debug)]
pub struct Assembly {
    kind: Kind,
    state: State,
    /// Bytes of the current frame that are still to be collected.
    outstanding: u32,
    body: Vec<u8>,
    trailer: Vec<u8>,
    stream_bytes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Body,
    Trailer,
    Ended,
    ShutDown,
    Failed,
}

impl Assembly {
    /// Of a message or stream of which nothing has been read yet.
    pub fn new(kind: Kind) -> Self {
        Self {
            kind,
            state: State::Body,
            outstanding: 0,
            body: Vec::new(),
            trailer: Vec::new(),
            stream_bytes: 0,
        }
    }

    /// A frame begins.
    pub fn header(&mut self, header: FrameHeader) -> Result<Event, MessageError> {
        let result = self.classify(header);
        if result.is_err() && self.state != State::ShutDown {
            self.state = State::Failed;
        }
        result
    }

    fn classify(&mut self, header: FrameHeader) -> Result<Event, MessageError> {
        match self.state {
            State::ShutDown => return Err(MessageError::ShutDown),
            State::Ended | State::Failed => return Err(MessageError::Over),
            State::Body | State::Trailer => {}
        }
        if self.outstanding > 0 {
            return Err(MessageError::PayloadMismatch(self.outstanding));
        }
        let len = header.payload_len();
        match header.kind() {
            FrameType::Heartbeat => Ok(Event::Heartbeat { skip: len }),
            FrameType::Rst => {
                self.state = State::ShutDown;
                Ok(Event::Rst { skip: len })
            }
            FrameType::End => Ok(self.end(len)),
            FrameType::StreamErrTrailer => {
                self.state = State::Trailer;
                self.outstanding = len;
                Ok(Event::Collect { len })
            }
            own if self.state == State::Body && own == self.kind.frame_type() => self.own(len),
            other => Err(self.refusal(other)),
        }
    }

    fn own(&mut self, len: u32) -> Result<Event, MessageError> {
        let Some(limit) = self.kind.max_received() else {
            self.stream_bytes = self.stream_bytes.saturating_add(u64::from(len));
            return Ok(Event::Payload { len });
        };
        let total =
            usize::try_from(len).map_or(usize::MAX, |len| self.body.len().saturating_add(len));
        if total > limit {
            return Err(MessageError::TooLong {
                kind: self.kind,
                len: total,
                limit,
            });
        }
        self.outstanding = len;
        Ok(Event::Collect { len })
    }

    fn end(&mut self, skip: u32) -> Event {
        if self.state == State::Trailer {
            self.state = State::Failed;
            let text = String::from_utf8_lossy(&self.trailer).into_owned();
            return Event::Failed { text, skip };
        }
        self.state = State::Ended;
        Event::End { skip }
    }

    fn refusal(&self, received: FrameType) -> MessageError {
        if received.code() & 0xff00_0000 != 0 {
            let expected = self.kind;
            return MessageError::UnknownType { received, expected };
        }
        let expected = match self.state {
            State::Trailer => FrameType::StreamErrTrailer,
            _ => self.kind.frame_type(),
        };
        MessageError::UnexpectedType { received, expected }
    }

    /// Payload of a frame that is to be collected, in pieces of any size.
    pub fn collect(&mut self, payload: &[u8]) -> Result<(), MessageError> {
        let left = u32::try_from(payload.len())
            .ok()
            .and_then(|len| self.outstanding.checked_sub(len));
        let Some(left) = left else {
            self.state = State::Failed;
            return Err(MessageError::PayloadMismatch(self.outstanding));
        };
        self.outstanding = left;
        if self.state == State::Trailer {
            let room = MAX_TRAILER_KEPT - self.trailer.len();
            self.trailer
                .extend_from_slice(&payload[..payload.len().min(room)]);
        } else {
            self.body.extend_from_slice(payload);
        }
        Ok(())
    }

    /// What is being read.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Bytes of the stream that have been announced so far.
    pub fn stream_bytes(&self) -> u64 {
        self.stream_bytes
    }

    /// The message, if its end has been read. For a stream it is empty.
    pub fn into_body(self) -> Option<Vec<u8>> {
        (self.state == State::Ended).then_some(self.body)
    }
}

/// A message that cannot be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind:?} of {len} bytes cannot be sent, allowed are 0 and 2 to {limit} bytes")]
pub struct UnsendableMessage {
    kind: Kind,
    len: usize,
    limit: usize,
}

/// A whole message as sent: its frames and the end frame.
pub fn encode(kind: Kind, body: &[u8]) -> Result<Vec<u8>, UnsendableMessage> {
    let len = body.len();
    let limit = kind.max_sent().unwrap_or(usize::MAX);
    if len > limit {
        return Err(UnsendableMessage { kind, len, limit });
    }
    frames(kind.frame_type(), body).ok_or(UnsendableMessage { kind, len, limit })
}

/// How a message or stream ends whose producer failed: a trailer with this text, and the end frame. A text that is empty
/// would mean success, and one of one byte cannot be sent; both are made longer.
#[expect(clippy::missing_panics_doc, reason = "the text has at least two bytes")]
pub fn encode_failure(text: &str) -> Vec<u8> {
    let text = match text.len() {
        0 => "unspecified error".to_owned(),
        1 => format!("{text} "),
        _ => text.to_owned(),
    };
    frames(FrameType::StreamErrTrailer, text.as_bytes()).expect("text has at least two bytes")
}

fn frames(kind: FrameType, mut body: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(body.len() + 2 * END.len());
    for len in chunk::lengths(body.len())? {
        let (payload, rest) = body.split_at(len);
        bytes.extend_from_slice(&FrameHeader::with_payload(kind, len).ok()?.encode());
        bytes.extend_from_slice(payload);
        body = rest;
    }
    bytes.extend_from_slice(&END);
    Some(bytes)
}

#[cfg(test)]
mod tests;
