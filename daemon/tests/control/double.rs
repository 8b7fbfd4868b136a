//! An endpoint and a network that do as they are told.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use prost::Message;
use tokio::io::DuplexStream;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use zrepl_daemon::endpoint::stream::SendStream;
use zrepl_daemon::endpoint::{Endpoint, EndpointError};
use zrepl_daemon::rpc::control::client::ControlClient;
use zrepl_daemon::rpc::control::server::{ControlServer, serve};
use zrepl_daemon::rpc::handshake::{self, Settings};
use zrepl_daemon::rpc::{Client, Endpoints};
use zrepl_daemon::transport::{BoxFuture, Connect, ConnectError, Wire};
use zrepl_proto::pdu::{
    DestroySnapshotsReq, DestroySnapshotsRes, ListFilesystemReq, ListFilesystemRes,
    ListFilesystemVersionsReq, ListFilesystemVersionsRes, ReceiveReq, ReceiveRes,
    ReplicationCursorReq, ReplicationCursorRes, SendCompletedReq, SendCompletedRes, SendReq,
    SendRes,
};

use crate::recording::Asked;

pub(crate) type Answer = Result<Vec<u8>, EndpointError>;
type Answers = dyn Fn(Asked) -> BoxFuture<'static, Answer> + Send + Sync;

/// Answers as a function says, in bytes.
#[derive(Clone)]
pub(crate) struct Double(Arc<Answers>);

impl Double {
    pub(crate) fn new(answer: impl Fn(Asked) -> Answer + Send + Sync + 'static) -> Self {
        Self(Arc::new(move |asked| {
            let answer = answer(asked);
            Box::pin(async { answer })
        }))
    }

    pub(crate) fn waiting(
        answer: impl Fn(Asked) -> BoxFuture<'static, Answer> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(answer))
    }

    /// Says what it was asked with an error.
    pub(crate) fn failing() -> Self {
        Self::new(|asked| Err(EndpointError::Failed(format!("no {}", asked.method))))
    }

    async fn answer<A: Message + Default>(
        &self,
        method: &str,
        request: impl Message,
    ) -> Result<A, EndpointError> {
        let asked = Asked {
            method: method.to_owned(),
            message: request.encode_to_vec(),
        };
        let answer = (self.0)(asked).await?;
        Ok(A::decode(&answer[..]).expect("answer of the right kind"))
    }
}

impl fmt::Debug for Double {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Double")
    }
}

#[tonic::async_trait]
impl Endpoint for Double {
    async fn wait_for_connectivity(&self) -> Result<(), EndpointError> {
        Ok(())
    }

    async fn list_filesystems(
        &self,
        request: ListFilesystemReq,
    ) -> Result<ListFilesystemRes, EndpointError> {
        self.answer("ListFilesystems", request).await
    }

    async fn list_filesystem_versions(
        &self,
        request: ListFilesystemVersionsReq,
    ) -> Result<ListFilesystemVersionsRes, EndpointError> {
        self.answer("ListFilesystemVersions", request).await
    }

    async fn destroy_snapshots(
        &self,
        request: DestroySnapshotsReq,
    ) -> Result<DestroySnapshotsRes, EndpointError> {
        self.answer("DestroySnapshots", request).await
    }

    async fn replication_cursor(
        &self,
        request: ReplicationCursorReq,
    ) -> Result<ReplicationCursorRes, EndpointError> {
        self.answer("ReplicationCursor", request).await
    }

    async fn send_dry(&self, request: SendReq) -> Result<SendRes, EndpointError> {
        self.answer("SendDry", request).await
    }

    async fn send(&self, _: SendReq) -> Result<(SendRes, SendStream), EndpointError> {
        unreachable!("not on a control connection")
    }

    async fn send_completed(
        &self,
        request: SendCompletedReq,
    ) -> Result<SendCompletedRes, EndpointError> {
        self.answer("SendCompleted", request).await
    }

    async fn receive(&self, _: ReceiveReq, _: SendStream) -> Result<ReceiveRes, EndpointError> {
        unreachable!("not on a control connection")
    }
}

/// The same endpoint for all clients; remembers them.
pub(crate) struct OneForAll {
    double: Double,
    clients: Mutex<Vec<Client>>,
}

impl Endpoints for OneForAll {
    fn endpoint(&self, client: &Client) -> Arc<dyn Endpoint> {
        self.clients.lock().unwrap().push(client.clone());
        Arc::new(self.double.clone())
    }
}

/// A passive side in this process.
#[derive(Clone)]
pub(crate) struct Host {
    pub(crate) server: Arc<ControlServer>,
    pub(crate) stop: CancellationToken,
    pub(crate) settings: Settings,
    endpoints: Arc<OneForAll>,
}

impl Host {
    pub(crate) fn new(double: Double) -> Self {
        Self::announcing(double, Settings::default())
    }

    pub(crate) fn announcing(double: Double, settings: Settings) -> Self {
        let stop = CancellationToken::new();
        let endpoints = Arc::new(OneForAll {
            double,
            clients: Mutex::default(),
        });
        let server = serve(Arc::clone(&endpoints) as Arc<dyn Endpoints>, stop.clone());
        Self {
            server: Arc::new(server),
            stop,
            settings,
            endpoints,
        }
    }

    pub(crate) fn clients(&self) -> Vec<Client> {
        self.endpoints.clients.lock().unwrap().clone()
    }

    /// Serves this connection from its first byte on.
    pub(crate) async fn greet(&self, pipe: impl Into<Wire>) {
        let mut wire = pipe.into();
        let Ok(greeting) = handshake::accept(&mut wire, &self.settings).await else {
            return;
        };
        let client = Client {
            identity: "client1".parse().unwrap(),
            peer: "192.0.2.7:41234".to_owned(),
            agreement: greeting.agreement,
        };
        self.server.accept(wire, client);
    }

    /// A network that leads here.
    pub(crate) fn network(&self) -> Network {
        let (network, mut pipes) = Network::new();
        let host = self.clone();
        tokio::spawn(async move {
            while let Some(pipe) = pipes.recv().await {
                host.greet(pipe).await;
            }
        });
        network
    }

    pub(crate) fn client(&self) -> ControlClient {
        ControlClient::new(Arc::new(self.network()), self.settings.clone())
    }
}

/// Hands the far end of each connection to whoever plays the passive side; refuses if there is nobody.
#[derive(Clone, Debug)]
pub(crate) struct Network {
    pipes: mpsc::UnboundedSender<DuplexStream>,
    dials: Arc<AtomicUsize>,
}

impl Network {
    pub(crate) fn new() -> (Self, mpsc::UnboundedReceiver<DuplexStream>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let network = Self {
            pipes: sender,
            dials: Arc::default(),
        };
        (network, receiver)
    }

    pub(crate) fn dials(&self) -> usize {
        self.dials.load(Ordering::Relaxed)
    }
}

impl Connect for Network {
    fn connect(&self) -> BoxFuture<'_, Result<Wire, ConnectError>> {
        Box::pin(async {
            self.dials.fetch_add(1, Ordering::Relaxed);
            let (near, far) = tokio::io::duplex(1 << 20);
            self.pipes
                .send(far)
                .map_err(|_| ConnectError::Unreachable {
                    target: self.target().to_owned(),
                    step: "TCP connection",
                    source: Box::new(std::io::Error::from(std::io::ErrorKind::ConnectionRefused)),
                })?;
            Ok(Wire::from(near))
        })
    }

    fn target(&self) -> &'static str {
        "tcp://backup:8888"
    }
}
