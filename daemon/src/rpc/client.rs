//! The endpoint behind a connection: control requests on one connection that is kept, each stream on one of its own.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use zrepl_proto::label::Label;
use zrepl_proto::pdu::{
    DestroySnapshotsReq, DestroySnapshotsRes, ListFilesystemReq, ListFilesystemRes,
    ListFilesystemVersionsReq, ListFilesystemVersionsRes, PingReq, ReceiveReq, ReceiveRes,
    ReplicationCursorReq, ReplicationCursorRes, SendCompletedReq, SendCompletedRes, SendReq,
    SendRes,
};

use super::connectivity::{self, Ping};
use super::control::client::ControlClient;
use super::data::Patience;
use super::data::client::{self as data, Dialled};
use super::data::connection::Connection;
use super::handshake;
use super::metrics::Metrics;
use crate::endpoint::stream::SendStream;
use crate::endpoint::{Endpoint, EndpointError};
use crate::transport::{Connect, ConnectError};

/// How a client behaves.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// What it announces, and how long it waits for the answer.
    pub handshake: handshake::Settings,
    /// How long it waits for streams and answers.
    pub patience: Patience,
    /// How long it tries when it waits for connectivity.
    pub connectivity: connectivity::Limits,
    /// Where it counts.
    pub metrics: Metrics,
}

/// Asks the endpoint of one passive side. It connects when it is asked something; dropping it says goodbye.
pub struct RemoteEndpoint {
    connect: Arc<dyn Connect>,
    control: ControlClient,
    settings: Settings,
    /// Cuts all streams.
    stop: CancellationToken,
}

impl RemoteEndpoint {
    /// Does not connect yet. Cancelling `stop` cuts its streams.
    pub fn new(connect: Arc<dyn Connect>, settings: Settings, stop: CancellationToken) -> Self {
        Self {
            control: ControlClient::new(Arc::clone(&connect), settings.handshake.clone()),
            connect,
            settings,
            stop,
        }
    }

    /// Opens a data connection.
    async fn dial(&self) -> Result<Connection, EndpointError> {
        let mut wire = self.connect.connect().await.map_err(from_connect)?;
        handshake::open(&mut wire, Label::Data, &self.settings.handshake)
            .await
            .map_err(|error| {
                let context = format!("no data connection to {}", self.connect.target());
                let is_permanent = error.is_permanent();
                let source = Box::new(error);
                if is_permanent {
                    EndpointError::Protocol { context, source }
                } else {
                    EndpointError::Unreachable { context, source }
                }
            })?;
        Ok(Connection::new(
            wire,
            &self.settings.patience,
            self.settings.metrics.clone(),
        ))
    }

    fn dialled(&self) -> Dialled {
        Dialled {
            peer: self.connect.target().to_owned(),
            patience: self.settings.patience,
            stop: self.stop.clone(),
        }
    }
}

/// With the classes of [`ConnectError`].
fn from_connect(error: ConnectError) -> EndpointError {
    let is_permanent = matches!(error, ConnectError::Refused { .. });
    let context = "no data connection".to_owned();
    let source = Box::new(error);
    if is_permanent {
        EndpointError::Protocol { context, source }
    } else {
        EndpointError::Unreachable { context, source }
    }
}

impl fmt::Debug for RemoteEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteEndpoint")
            .field("target", &self.connect.target())
            .finish_non_exhaustive()
    }
}

/// Pings on the control connection, waiting for it.
struct ControlPing<'a>(&'a RemoteEndpoint);

#[tonic::async_trait]
impl Ping for ControlPing<'_> {
    async fn ping(&self, message: &str, limit: Duration) -> Result<String, EndpointError> {
        self.0.control.ping_when_ready(message, limit).await
    }
}

/// Pings on a data connection.
struct DataPing<'a>(&'a RemoteEndpoint);

#[tonic::async_trait]
impl Ping for DataPing<'_> {
    async fn ping(&self, message: &str, _: Duration) -> Result<String, EndpointError> {
        let request = PingReq {
            message: message.to_owned(),
        };
        let connection = self.0.dial().await?;
        let answer = data::ping(connection, &request, &self.0.dialled()).await?;
        Ok(answer.echo)
    }
}

#[tonic::async_trait]
impl Endpoint for RemoteEndpoint {
    async fn wait_for_connectivity(&self) -> Result<(), EndpointError> {
        let limits = self.settings.connectivity;
        connectivity::wait_for_connectivity(&ControlPing(self), &DataPing(self), limits).await
    }

    async fn list_filesystems(
        &self,
        request: ListFilesystemReq,
    ) -> Result<ListFilesystemRes, EndpointError> {
        self.control.list_filesystems(request).await
    }

    async fn list_filesystem_versions(
        &self,
        request: ListFilesystemVersionsReq,
    ) -> Result<ListFilesystemVersionsRes, EndpointError> {
        self.control.list_filesystem_versions(request).await
    }

    async fn destroy_snapshots(
        &self,
        request: DestroySnapshotsReq,
    ) -> Result<DestroySnapshotsRes, EndpointError> {
        self.control.destroy_snapshots(request).await
    }

    async fn replication_cursor(
        &self,
        request: ReplicationCursorReq,
    ) -> Result<ReplicationCursorRes, EndpointError> {
        self.control.replication_cursor(request).await
    }

    async fn send_dry(&self, request: SendReq) -> Result<SendRes, EndpointError> {
        self.control.send_dry(request).await
    }

    async fn send(&self, request: SendReq) -> Result<(SendRes, SendStream), EndpointError> {
        let connection = self.dial().await?;
        data::send(connection, &request, self.dialled()).await
    }

    async fn send_completed(
        &self,
        request: SendCompletedReq,
    ) -> Result<SendCompletedRes, EndpointError> {
        self.control.send_completed(request).await
    }

    async fn receive(
        &self,
        request: ReceiveReq,
        stream: SendStream,
    ) -> Result<ReceiveRes, EndpointError> {
        let connection = self.dial().await?;
        data::receive(connection, &request, stream, &self.dialled()).await
    }
}
