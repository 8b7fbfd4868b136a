//! What a side of a replication can be asked, the same whether it is in this process or behind a connection.
//!
//! Messages are those of the wire ([`zrepl_proto::pdu`]): they are the vocabulary that both sides share. Streams are not
//! messages; see [`stream`].

pub mod access;
pub mod destroy;
#[cfg(test)]
pub(crate) mod fake_zfs;
pub mod listing;
pub mod local_zfs;
pub mod mark;
pub mod placeholder;
pub mod receiver;
pub mod sender;
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
use zfs_safe::guid::Guid;

/// A snapshot that is held for a replication.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Held {
    /// Which.
    pub guid: Guid,
    /// By the job that the endpoint works for, whose holds move on with its steps.
    pub is_own: bool,
}

/// One side of a replication: a sender, a receiver, or a client of either on another host. What a side does not do it
/// answers with an error, which is what an endpoint that does not say otherwise does with everything.
#[tonic::async_trait]
pub trait Endpoint: fmt::Debug + Send + Sync {
    /// Returns once the side can be asked, or with the reason why it cannot for good. Cancel it to stop waiting. In this process
    /// there is nothing to wait for.
    async fn wait_for_connectivity(&self) -> Result<(), EndpointError> {
        Ok(())
    }

    /// All filesystems that take part.
    async fn list_filesystems(
        &self,
        _: ListFilesystemReq,
    ) -> Result<ListFilesystemRes, EndpointError> {
        Err(EndpointError::not_done_here("ListFilesystems"))
    }

    /// Snapshots and bookmarks of one filesystem.
    async fn list_filesystem_versions(
        &self,
        _: ListFilesystemVersionsReq,
    ) -> Result<ListFilesystemVersionsRes, EndpointError> {
        Err(EndpointError::not_done_here("ListFilesystemVersions"))
    }

    /// Destroys snapshots of one filesystem, each with its own result.
    async fn destroy_snapshots(
        &self,
        _: DestroySnapshotsReq,
    ) -> Result<DestroySnapshotsRes, EndpointError> {
        Err(EndpointError::not_done_here("DestroySnapshots"))
    }

    /// Snapshots of a filesystem that this side holds for replications of any job, as far as it knows: destroying them would fail, or
    /// cost the next step its beginning. Another host does not tell.
    async fn held(&self, _filesystem: &str) -> Vec<Held> {
        Vec::new()
    }

    /// Senders only: how far the filesystem has been replicated.
    async fn replication_cursor(
        &self,
        _: ReplicationCursorReq,
    ) -> Result<ReplicationCursorRes, EndpointError> {
        Err(EndpointError::not_done_here("ReplicationCursor"))
    }

    /// Senders only: what [`send`](Self::send) would send. Changes nothing.
    async fn send_dry(&self, _: SendReq) -> Result<SendRes, EndpointError> {
        Err(EndpointError::not_done_here("SendDry"))
    }

    /// Senders only: starts a stream.
    async fn send(&self, _: SendReq) -> Result<(SendRes, SendStream), EndpointError> {
        Err(EndpointError::not_done_here("Send"))
    }

    /// Senders, after the receiver has confirmed a step; a receiver does nothing.
    async fn send_completed(&self, _: SendCompletedReq) -> Result<SendCompletedRes, EndpointError> {
        Err(EndpointError::not_done_here("SendCompleted"))
    }

    /// Receivers only: takes a stream to its end.
    async fn receive(&self, _: ReceiveReq, _: SendStream) -> Result<ReceiveRes, EndpointError> {
        Err(EndpointError::not_done_here("Receive"))
    }
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
    /// This side is not the one that does it.
    fn not_done_here(method: &str) -> Self {
        Self::Failed(format!("this side of the replication does not do {method}"))
    }

    /// Whether asking again later can help.
    pub fn is_temporary(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
    }
}
