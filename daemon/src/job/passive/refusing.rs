//! The endpoint of a client that cannot be served: whatever it asks, it learns why.

use zrepl_proto::pdu::{
    DestroySnapshotsReq, DestroySnapshotsRes, ListFilesystemReq, ListFilesystemRes,
    ListFilesystemVersionsReq, ListFilesystemVersionsRes, ReceiveReq, ReceiveRes,
    ReplicationCursorReq, ReplicationCursorRes, SendCompletedReq, SendCompletedRes, SendReq,
    SendRes,
};

use crate::endpoint::stream::SendStream;
use crate::endpoint::{Endpoint, EndpointError};

/// Refuses everything for one reason.
#[derive(Debug)]
pub(super) struct Refusing(String);

impl Refusing {
    /// For this reason.
    pub(super) fn new(reason: String) -> Self {
        Self(reason)
    }

    fn refuse<T>(&self) -> Result<T, EndpointError> {
        Err(EndpointError::Failed(self.0.clone()))
    }
}

/// The same answer to each request.
macro_rules! refuse {
    ($($method:ident: $request:ty => $answer:ty;)*) => {
        #[tonic::async_trait]
        impl Endpoint for Refusing {
            async fn receive(&self, _: ReceiveReq, _: SendStream) -> Result<ReceiveRes, EndpointError> {
                self.refuse()
            }

            $(async fn $method(&self, _: $request) -> Result<$answer, EndpointError> {
                self.refuse()
            })*
        }
    };
}

refuse! {
    list_filesystems: ListFilesystemReq => ListFilesystemRes;
    list_filesystem_versions: ListFilesystemVersionsReq => ListFilesystemVersionsRes;
    destroy_snapshots: DestroySnapshotsReq => DestroySnapshotsRes;
    replication_cursor: ReplicationCursorReq => ReplicationCursorRes;
    send_dry: SendReq => SendRes;
    send: SendReq => (SendRes, SendStream);
    send_completed: SendCompletedReq => SendCompletedRes;
}
