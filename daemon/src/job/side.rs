//! An endpoint as a job uses it: what it logs carries the job's name, and while it waits for the other side to come back, the job
//! can be woken up to try at once.

use std::sync::Arc;

use tracing::{Instrument as _, Span};
use zrepl_proto::pdu::{
    DestroySnapshotsReq, DestroySnapshotsRes, ListFilesystemReq, ListFilesystemRes,
    ListFilesystemVersionsReq, ListFilesystemVersionsRes, ReceiveReq, ReceiveRes,
    ReplicationCursorReq, ReplicationCursorRes, SendCompletedReq, SendCompletedRes, SendReq,
    SendRes,
};

use super::signals::Signals;
use crate::endpoint::stream::SendStream;
use crate::endpoint::{Endpoint, EndpointError, Held};

/// An endpoint in the service of a job.
#[derive(Debug)]
pub(super) struct Side {
    endpoint: Arc<dyn Endpoint>,
    /// Around everything that it does, whatever task that is done in.
    span: Span,
    signals: Option<Arc<Signals>>,
}

impl Side {
    /// An endpoint that works for whoever the span names.
    pub(super) fn new(endpoint: Arc<dyn Endpoint>, span: Span) -> Self {
        Self {
            endpoint,
            span,
            signals: None,
        }
    }

    /// The same, for a job that can be woken up while it waits for connectivity.
    pub(super) fn with_signals(self, signals: Arc<Signals>) -> Self {
        Self {
            signals: Some(signals),
            ..self
        }
    }
}

/// Passes requests on.
macro_rules! in_span {
    ($($method:ident: $request:ty => $answer:ty;)*) => {
        #[tonic::async_trait]
        impl Endpoint for Side {
            async fn wait_for_connectivity(&self) -> Result<(), EndpointError> {
                let wait = || self.endpoint.wait_for_connectivity();
                let waiting = async {
                    match &self.signals {
                        Some(signals) => signals.reconnecting(wait).await,
                        None => wait().await,
                    }
                };
                waiting.instrument(self.span.clone()).await
            }

            async fn held(&self, filesystem: &str) -> Vec<Held> {
                self.endpoint.held(filesystem).instrument(self.span.clone()).await
            }

            async fn receive(
                &self,
                request: ReceiveReq,
                stream: SendStream,
            ) -> Result<ReceiveRes, EndpointError> {
                let receiving = self.endpoint.receive(request, stream);
                receiving.instrument(self.span.clone()).await
            }

            $(async fn $method(&self, request: $request) -> Result<$answer, EndpointError> {
                let asking = self.endpoint.$method(request);
                asking.instrument(self.span.clone()).await
            })*
        }
    };
}

in_span! {
    list_filesystems: ListFilesystemReq => ListFilesystemRes;
    list_filesystem_versions: ListFilesystemVersionsReq => ListFilesystemVersionsRes;
    destroy_snapshots: DestroySnapshotsReq => DestroySnapshotsRes;
    replication_cursor: ReplicationCursorReq => ReplicationCursorRes;
    send_dry: SendReq => SendRes;
    send: SendReq => (SendRes, SendStream);
    send_completed: SendCompletedReq => SendCompletedRes;
}
