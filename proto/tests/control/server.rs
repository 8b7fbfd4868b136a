//! A tonic server in this process, driven with the bytes of a client.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use prost::Message;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service, http, tokio_stream};
use tonic::server::NamedService;
use tonic::{Response, Status, transport};
use zrepl_proto::pdu::replication_server::{Replication, ReplicationServer};
use zrepl_proto::pdu::{
    DestroySnapshotsReq, DestroySnapshotsRes, ListFilesystemReq, ListFilesystemRes,
    ListFilesystemVersionsReq, ListFilesystemVersionsRes, PingReq, PingRes, ReplicationCursorReq,
    ReplicationCursorRes, SendCompletedReq, SendCompletedRes, SendReq, SendRes,
};

const PREFACE_LEN: usize = 24;
const PATIENCE: Duration = Duration::from_secs(30);

/// What a handler was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) path: String,
    pub(crate) authority: Option<String>,
    pub(crate) message: Vec<u8>,
}

/// What came of a connection.
pub(crate) struct Outcome {
    pub(crate) requests: Vec<Request>,
    answers: Vec<Frame>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    pub(crate) const HEADERS: u8 = 0x1;
    const RST_STREAM: u8 = 0x3;
    pub(crate) const GOAWAY: u8 = 0x7;

    pub(crate) fn encode(&self) -> Vec<u8> {
        let len = u32::try_from(self.payload.len()).expect("short");
        let mut bytes = len.to_be_bytes()[1..].to_vec();
        bytes.extend([self.kind, self.flags]);
        bytes.extend(self.stream.to_be_bytes());
        bytes.extend(&self.payload);
        bytes
    }

    /// Whether nothing follows on this stream.
    fn is_last(&self) -> bool {
        self.kind == Self::RST_STREAM || self.kind <= Self::HEADERS && self.flags & 0x1 != 0
    }

    fn number(&self, at: usize) -> u32 {
        let bytes = self.payload[at..].first_chunk().expect("four bytes");
        u32::from_be_bytes(*bytes)
    }
}

/// The complete frames in these bytes.
pub(crate) fn frames(bytes: &[u8]) -> Vec<Frame> {
    let mut frames = Vec::new();
    let mut rest = bytes;
    while let [l0, l1, l2, kind, flags, s0, s1, s2, s3, after @ ..] = rest {
        let len = u32::from_be_bytes([0, *l0, *l1, *l2]);
        let Some((payload, next)) = after.split_at_checked(len.try_into().expect("24 bits")) else {
            break;
        };
        frames.push(Frame {
            kind: *kind,
            flags: *flags,
            stream: u32::from_be_bytes([*s0, *s1, *s2, *s3]),
            payload: payload.to_vec(),
        });
        rest = next;
    }
    frames
}

impl Outcome {
    /// Stream and error code of each stream that the server reset.
    pub(crate) fn resets(&self) -> Vec<(u32, u32)> {
        self.answers
            .iter()
            .filter(|frame| frame.kind == Frame::RST_STREAM)
            .map(|frame| (frame.stream, frame.number(0)))
            .collect()
    }

    /// Error code with which the server ended the connection, if it did on its own.
    pub(crate) fn goaway(&self) -> Option<u32> {
        self.answers
            .iter()
            .filter(|frame| frame.kind == Frame::GOAWAY)
            .map(|frame| frame.number(4))
            .find(|&code| code != 0)
    }
}

/// Serves one connection on which the client sends these bytes.
///
/// The client's farewell, and resets of its own, wait until all is answered: a recording does not.
pub(crate) async fn serve(client: &[u8]) -> Outcome {
    let (preface, rest) = client.split_at(PREFACE_LEN);
    let is_end = |frame: &Frame| [Frame::GOAWAY, Frame::RST_STREAM].contains(&frame.kind);
    let (end, questions): (Vec<_>, Vec<_>) = frames(rest).into_iter().partition(is_end);
    let bytes = |frames: &[Frame]| frames.iter().flat_map(Frame::encode).collect::<Vec<u8>>();
    let streams = questions
        .iter()
        .filter(|frame| frame.kind == Frame::HEADERS)
        .count();

    let requests = Requests::default();
    let service = Tap(ReplicationServer::new(requests.clone()));
    let (near, far) = tokio::io::duplex(1 << 20);
    let incoming = tokio_stream::once(Ok::<_, std::io::Error>(far));
    let server = tokio::spawn(
        transport::Server::builder()
            .add_service(service)
            .serve_with_incoming(incoming),
    );
    let (mut reader, mut writer) = tokio::io::split(near);
    let mut answers = Vec::new();
    timeout(PATIENCE, async {
        writer.write_all(preface).await.expect("room");
        writer.write_all(&bytes(&questions)).await.expect("room");
        loop {
            let frames = frames(&answers);
            let answered = frames.iter().filter(|frame| frame.is_last()).count();
            if answered >= streams || reader.read_buf(&mut answers).await.expect("answer") == 0 {
                break;
            }
        }
        // an error: the server may have hung up
        let _ = writer.write_all(&bytes(&end)).await;
        let _ = writer.shutdown().await;
        reader.read_to_end(&mut answers).await.expect("end");
    })
    .await
    .expect("answers in time");
    server.await.expect("server task").expect("server");
    Outcome {
        requests: requests.take(),
        answers: frames(&answers),
    }
}

/// Passes requests on with their target.
#[derive(Clone)]
struct Tap(ReplicationServer<Requests>);

/// Where a request was sent to; handlers do not see it otherwise.
#[derive(Clone)]
struct Target(http::Uri);

impl NamedService for Tap {
    const NAME: &'static str = ReplicationServer::<Requests>::NAME;
}

impl Service<http::Request<Body>> for Tap {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        let target = Target(request.uri().clone());
        request.extensions_mut().insert(target);
        self.0.call(request)
    }
}

/// Remembers what was asked and answers with nothing.
#[derive(Clone, Default)]
struct Requests(Arc<Mutex<Vec<Request>>>);

impl Requests {
    fn take(&self) -> Vec<Request> {
        std::mem::take(&mut self.0.lock().expect("no panic"))
    }

    fn answer<Q: Message, A: Default>(&self, request: &tonic::Request<Q>) -> Response<A> {
        let Target(uri) = request.extensions().get().expect("set by Tap");
        self.0.lock().expect("no panic").push(Request {
            path: uri.path().to_owned(),
            authority: uri.authority().map(ToString::to_string),
            message: request.get_ref().encode_to_vec(),
        });
        Response::new(A::default())
    }
}

#[tonic::async_trait]
impl Replication for Requests {
    async fn ping(&self, request: tonic::Request<PingReq>) -> Result<Response<PingRes>, Status> {
        Ok(self.answer(&request))
    }

    async fn list_filesystems(
        &self,
        request: tonic::Request<ListFilesystemReq>,
    ) -> Result<Response<ListFilesystemRes>, Status> {
        Ok(self.answer(&request))
    }

    async fn list_filesystem_versions(
        &self,
        request: tonic::Request<ListFilesystemVersionsReq>,
    ) -> Result<Response<ListFilesystemVersionsRes>, Status> {
        Ok(self.answer(&request))
    }

    async fn destroy_snapshots(
        &self,
        request: tonic::Request<DestroySnapshotsReq>,
    ) -> Result<Response<DestroySnapshotsRes>, Status> {
        Ok(self.answer(&request))
    }

    async fn replication_cursor(
        &self,
        request: tonic::Request<ReplicationCursorReq>,
    ) -> Result<Response<ReplicationCursorRes>, Status> {
        Ok(self.answer(&request))
    }

    async fn send_dry(
        &self,
        request: tonic::Request<SendReq>,
    ) -> Result<Response<SendRes>, Status> {
        Ok(self.answer(&request))
    }

    async fn send_completed(
        &self,
        request: tonic::Request<SendCompletedReq>,
    ) -> Result<Response<SendCompletedRes>, Status> {
        Ok(self.answer(&request))
    }
}
