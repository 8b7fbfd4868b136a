//! HTTP requests of one connection flow in, HTTP responses out. What is no request to the service `Replication` gets the answer
//! that Go gives it (recorded); the others go to [`Answers`]. A handler that panics fails its request, nothing else.

use std::any::Any;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::http::header::CONTENT_TYPE;
use tonic::codegen::http::{Method, Request, Response, StatusCode};
use tonic::codegen::{self, BoxFuture, Bytes, Service, StdError};
use zrepl_proto::pdu::replication_server::ReplicationServer;

use super::InProgress;
use super::answer::Answers;
use crate::endpoint::Endpoint;
use crate::rpc::Client;
use crate::rpc::control::max_message_len;

const SERVICE: &str = "Replication";
const METHODS: [&str; 7] = [
    "Ping",
    "ListFilesystems",
    "ListFilesystemVersions",
    "DestroySnapshots",
    "ReplicationCursor",
    "SendDry",
    "SendCompleted",
];
/// Messages that are read at the same time; what handlers do with those that have been read is not counted.
const MAX_READING: usize = 8;
const GRPC: &str = "application/grpc";

/// Answers requests of one client.
#[derive(Clone, Debug)]
pub(super) struct Dispatch {
    client: Arc<Client>,
    in_progress: InProgress,
    reading: Arc<Semaphore>,
    replication: ReplicationServer<Answers>,
}

/// The right to read a message. tonic reserves memory for a message as soon as it knows the length.
#[derive(Clone, Debug)]
struct Turn(#[expect(dead_code, reason = "held until dropped")] Arc<OwnedSemaphorePermit>);

impl Dispatch {
    pub(super) fn new(endpoint: Arc<dyn Endpoint>, client: Arc<Client>) -> Self {
        let limit = max_message_len(&client.agreement);
        let answers = Answers::new(endpoint, limit);
        Self {
            client,
            in_progress: InProgress::default(),
            reading: Arc::new(Semaphore::new(MAX_READING)),
            replication: ReplicationServer::new(answers).max_decoding_message_size(limit),
        }
    }

    pub(super) fn client(&self) -> &Arc<Client> {
        &self.client
    }

    pub(super) fn in_progress(&self) -> &InProgress {
        &self.in_progress
    }
}

impl<B> Service<Request<B>> for Dispatch
where
    B: codegen::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<StdError> + Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        if let Err(refusal) = check(&request) {
            return Box::pin(std::future::ready(Ok(refusal.into_http())));
        }
        let begun = self.in_progress.begin();
        let client = Arc::clone(&self.client);
        let path = request.uri().path().to_owned();
        let turn = Arc::clone(&self.reading).acquire_owned();
        let mut replication = self.replication.clone();
        let answer = async move {
            let turn = turn.await.expect("nobody closes it");
            // Whoever takes the message out of its request, or drops both, ends the turn.
            request.extensions_mut().insert(Turn(Arc::new(turn)));
            replication.call(request).await
        };
        Box::pin(async move {
            let outcome = catch_panic(answer).await;
            drop(begun);
            outcome.unwrap_or_else(|panic| {
                let (identity, peer) = (&client.identity, &client.peer);
                tracing::error!(client = %identity, %peer, path, panic, "handler of a request panicked");
                let text = format!("internal error in the handler of {path}, see the daemon's log");
                Ok(Status::unknown(text).into_http())
            })
        })
    }
}

/// What Go's server says to a request that is none.
#[derive(Debug)]
struct Refusal {
    http: StatusCode,
    grpc: Status,
}

impl Refusal {
    fn into_http(self) -> Response<Body> {
        let mut response = self.grpc.into_http();
        *response.status_mut() = self.http;
        response
    }
}

/// Whether the service has an answer.
fn check<B>(request: &Request<B>) -> Result<(), Refusal> {
    if request.method() != Method::POST {
        let method = request.method().as_str();
        let text = format!("Received a HEADERS frame with :method {method:?} which should be POST");
        return Err(Refusal {
            http: StatusCode::METHOD_NOT_ALLOWED,
            grpc: Status::internal(text),
        });
    }
    let content_type = request.headers().get(CONTENT_TYPE);
    let content_type = content_type.map_or(&b""[..], |value| value.as_bytes());
    if !is_grpc(content_type) {
        let shown = String::from_utf8_lossy(content_type);
        let text = format!("invalid gRPC request content-type {shown:?}");
        return Err(Refusal {
            http: StatusCode::UNSUPPORTED_MEDIA_TYPE,
            grpc: Status::invalid_argument(text),
        });
    }
    let path = request.uri().path().trim_start_matches('/');
    let text = match path.rsplit_once('/') {
        Some((SERVICE, method)) if METHODS.contains(&method) => return Ok(()),
        Some((SERVICE, method)) => format!("unknown method {method} for service {SERVICE}"),
        Some((service, _)) => format!("unknown service {service}"),
        None => format!("malformed method name: {path:?}"),
    };
    Err(Refusal {
        http: StatusCode::OK,
        grpc: Status::unimplemented(text),
    })
}

fn is_grpc(content_type: &[u8]) -> bool {
    content_type
        .strip_prefix(GRPC.as_bytes())
        .is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

/// The future's result, or what it said when it panicked. Whatever it left half done is dropped with it.
async fn catch_panic<F: Future>(future: F) -> Result<F::Output, String> {
    let mut future = pin!(future);
    poll_fn(|cx| {
        let poll = AssertUnwindSafe(|| future.as_mut().poll(cx));
        match catch_unwind(poll) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
            Err(panic) => Poll::Ready(Err(panic_text(panic.as_ref()))),
        }
    })
    .await
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("without a text").to_owned()
}
