//! What a side of a replication can be asked, the same whether it is in this process or behind a connection.
//!
//! Messages are those of the wire ([`zrepl_proto::pdu`]): they are the vocabulary that both sides share. Streams are not
//! messages; see [`stream`].

pub mod stream;
pub mod zfs_stream;

use std::error::Error;
use std::fmt;

use zrepl_proto::pdu::{
    DestroySnapshotsReq, DestroySnapshotsRes, ListFilesystemReq, ListFilesystemRes,
    ListFilesystemVersionsReq, ListFilesystemVersionsRes, ReceiveReq, ReceiveRes,
    ReplicationCursorReq, ReplicationCursorRes, SendCompletedReq, SendCompletedRes, SendReq,
    SendRes,
};

use stream::SendStream;

/// One side of a replication: a sender, a receiver, or a client of either on another host. What a side does not do it
/// answers with an error.
#[tonic::async_trait]
pub trait Endpoint: fmt::Debug + Send + Sync {
    /// Returns once the side can be asked, or with the reason why it cannot for good. Cancel it to stop waiting.
    async fn wait_for_connectivity(&self) -> Result<(), EndpointError>;

    /// All filesystems that take part.
    async fn list_filesystems(
        &self,
        request: ListFilesystemReq,
    ) -> Result<ListFilesystemRes, EndpointError>;

    /// Snapshots and bookmarks of one filesystem.
    async fn list_filesystem_versions(
        &self,
        request: ListFilesystemVersionsReq,
    ) -> Result<ListFilesystemVersionsRes, EndpointError>;

    /// Destroys snapshots of one filesystem, each with its own result.
    async fn destroy_snapshots(
        &self,
        request: DestroySnapshotsReq,
    ) -> Result<DestroySnapshotsRes, EndpointError>;

    /// Senders only: how far the filesystem has been replicated.
    async fn replication_cursor(
        &self,
        request: ReplicationCursorReq,
    ) -> Result<ReplicationCursorRes, EndpointError>;

    /// Senders only: what [`send`](Self::send) would send. Changes nothing.
    async fn send_dry(&self, request: SendReq) -> Result<SendRes, EndpointError>;

    /// Senders only: starts a stream.
    async fn send(&self, request: SendReq) -> Result<(SendRes, SendStream), EndpointError>;

    /// Senders, after the receiver has confirmed a step; a receiver does nothing.
    async fn send_completed(
        &self,
        request: SendCompletedReq,
    ) -> Result<SendCompletedRes, EndpointError>;

    /// Receivers only: takes a stream to its end.
    async fn receive(
        &self,
        request: ReceiveReq,
        stream: SendStream,
    ) -> Result<ReceiveRes, EndpointError>;
}

/// Why an endpoint did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// The endpoint could not do it, and says why. Asking again changes nothing.
    #[error("{0}")]
    Failed(String),
    /// The endpoint could not be asked, or its answer got lost. Asking again later can help; what was asked may have been done.
    #[error("{context}")]
    Unreachable {
        /// What was attempted, and with whom.
        context: String,
        /// Why it failed.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The endpoint does not keep to the protocol, or would not understand what we want to say. Asking again changes nothing.
    #[error("{context}")]
    Protocol {
        /// What was attempted, and with whom.
        context: String,
        /// Why it failed.
        source: Box<dyn Error + Send + Sync>,
    },
}

impl EndpointError {
    /// Whether asking again later can help.
    pub fn is_temporary(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
    }
}

/// An error with its causes, in one line.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
