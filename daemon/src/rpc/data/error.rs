//! Why a data connection cannot be used any further.

use std::io;
use std::time::Duration;

use zrepl_proto::frame::FrameTooLong;
use zrepl_proto::message::{MessageError, UnsendableMessage};
use zrepl_proto::reader::Truncated;
use zrepl_proto::response::NotAResponse;

use crate::endpoint::EndpointError;

/// Ends a data connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// Not one byte came, not even a heartbeat.
    #[error("nothing was received for {0:?}")]
    Silent(Duration),
    /// Not one byte could be sent, and no heartbeat came.
    #[error("nothing could be sent for {0:?}")]
    Stuck(Duration),
    /// The peer lives and achieves nothing.
    #[error("peer sends heartbeats at most, and nothing else for {0:?}")]
    NoProgress(Duration),
    /// The peer takes nothing from us, though it lives.
    #[error("peer has taken nothing for {0:?}, though it sends heartbeats")]
    NotTaken(Duration),
    /// The peer announced that it closes the connection.
    #[error("peer closes the connection")]
    Rst,
    /// The connection ended between two frames.
    #[error("peer closed the connection")]
    Closed,
    /// The connection ended within a frame.
    #[error(transparent)]
    Truncated(#[from] Truncated),
    /// Reading failed.
    #[error("cannot read")]
    Read(#[source] io::Error),
    /// Writing failed.
    #[error("cannot write")]
    Write(#[source] io::Error),
    /// This side is stopping.
    #[error("cut short, because this daemon is stopping")]
    Stopping,
    /// A frame that nobody may send.
    #[error(transparent)]
    Frame(#[from] FrameTooLong),
    /// Frames that make no message.
    #[error(transparent)]
    Message(#[from] MessageError),
    /// A message whose producer failed; only streams can fail.
    #[error("peer says that its message failed: {0}")]
    FailedMessage(String),
    /// A message that cannot be sent.
    #[error(transparent)]
    Unsendable(#[from] UnsendableMessage),
    /// An answer that says neither yes nor no.
    #[error(transparent)]
    NotAResponse(#[from] NotAResponse),
    /// A message that is not what its place demands.
    #[error("cannot decode the {what}")]
    Undecodable {
        /// Which message.
        what: &'static str,
        /// What protobuf says.
        source: prost::DecodeError,
    },
    /// The receiver confirmed what it cannot have.
    #[error("receiver answered before it had the whole stream")]
    AnsweredEarly,
}

impl ConnectionError {
    /// Whether the peer broke the protocol, so that another connection to it would end the same.
    pub fn is_protocol(&self) -> bool {
        matches!(
            self,
            Self::Frame(_)
                | Self::Message(_)
                | Self::FailedMessage(_)
                | Self::Unsendable(_)
                | Self::NotAResponse(_)
                | Self::Undecodable { .. }
                | Self::AnsweredEarly
        )
    }

    /// Whether the peer may still be listening, so that it makes sense to say goodbye.
    pub(super) fn leaves_writable(&self) -> bool {
        !matches!(
            self,
            Self::Stuck(_) | Self::NotTaken(_) | Self::Write(_) | Self::Read(_)
        )
    }

    /// As the endpoint's error, for an operation on it.
    pub fn into_endpoint_error(self, context: String) -> EndpointError {
        let is_protocol = self.is_protocol();
        let source = Box::new(self);
        if is_protocol {
            EndpointError::Protocol { context, source }
        } else {
            EndpointError::Unreachable { context, source }
        }
    }
}
