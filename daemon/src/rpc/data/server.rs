//! The passive side of a data connection: reads one request, has it done, answers, and sees to the end of the connection.
//!
//! What a request does runs in a task of its own, so that it is never dropped halfway because of the connection, and so that
//! a panic is an answer instead of the end of the daemon.

use std::io;
use std::sync::Arc;

use prost::Message;
use tokio::sync::oneshot;
use tokio::task::JoinError;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use zrepl_proto::message::Kind;
use zrepl_proto::pdu::{PingReq, PingRes, ReceiveReq, SendReq};
use zrepl_proto::response::{self, ResponseHeader};

use super::connection::Connection;
use super::input::{StreamPiece, StreamPosition};
use super::outgoing::{self, Outcome, Outgoing};
use super::remote_stream::{ArrivingStream, Owner, Rest, Returned};
use super::{ConnectionError, Input, Output, Patience};
use crate::causes::chain;
use crate::endpoint::stream::SendStream;
use crate::endpoint::{Endpoint, EndpointError};
use crate::rpc::metrics::{Direction, Metrics};

/// What a connection came to, for the log.
#[derive(Debug)]
pub struct Served {
    /// What was asked, if it was said.
    pub request: Option<response::Endpoint>,
    /// How it ended.
    pub result: Result<(), ServeError>,
}

/// Why a request was not fulfilled.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The connection failed.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    /// The client was told why not.
    #[error("request failed: {0}")]
    Answered(String),
    /// The client asks for what there is not.
    #[error("client asks for {:?}", .0.requested())]
    UnknownEndpoint(#[from] response::UnknownEndpoint),
}

/// How to serve connections.
#[derive(Clone, Debug)]
pub struct Serving {
    /// How long to wait for clients.
    pub patience: Patience,
    /// Cuts the streams of connections.
    pub stop: CancellationToken,
}

/// Serves one connection to its end. `peer` is for messages.
pub async fn serve(
    connection: Connection,
    peer: &str,
    endpoint: Arc<dyn Endpoint>,
    serving: &Serving,
) -> Served {
    let Connection {
        input,
        output,
        metrics,
    } = connection;
    let mut exchange = Exchange {
        input: Some(input),
        output,
        metrics,
        peer,
        serving,
        request: None,
    };
    let result = exchange.run(endpoint).await;
    let request = exchange.request;
    if let Some(connection) = exchange.into_connection() {
        match &result {
            Err(ServeError::Connection(error)) => connection.close_after(error).await,
            _ => connection.close().await,
        }
    }
    Served { request, result }
}

/// A connection during its request.
struct Exchange<'a> {
    /// Absent while a stream is lent to the endpoint.
    input: Option<Input>,
    output: Output,
    metrics: Metrics,
    peer: &'a str,
    serving: &'a Serving,
    request: Option<response::Endpoint>,
}

impl Exchange<'_> {
    async fn run(&mut self, endpoint: Arc<dyn Endpoint>) -> Result<(), ServeError> {
        let (header, body) = self.read_request().await?;
        let requested = match response::Endpoint::decode(&header) {
            Ok(requested) => requested,
            Err(error) => {
                self.answer_no("requested endpoint does not exist").await?;
                return Err(error.into());
            }
        };
        self.request = Some(requested);
        match requested {
            response::Endpoint::Ping => {
                let request: PingReq = decode(&body)?;
                Ok(self.answer_yes(&PingRes::from(request)).await?)
            }
            response::Endpoint::Send => self.send(decode(&body)?, endpoint).await,
            response::Endpoint::Recv => self.receive(decode(&body)?, endpoint).await,
        }
    }

    async fn read_request(&mut self) -> Result<(Vec<u8>, Vec<u8>), ConnectionError> {
        let input = self.input.as_mut().expect("not lent yet");
        let patience = self.serving.patience.request;
        // One allowance for both, however slowly they come.
        let request = timeout(patience, async {
            let header = input.message(Kind::ReqHeader, patience).await?;
            let body = input.message(Kind::ReqStructured, patience).await?;
            Ok((header, body))
        });
        tokio::select! {
            biased;
            () = self.serving.stop.cancelled() => Err(ConnectionError::Stopping),
            request = self.output.while_waiting(request) => match request? {
                Ok(request) => request,
                Err(_) => Err(ConnectionError::NoProgress(patience)),
            },
        }
    }

    async fn send(
        &mut self,
        request: SendReq,
        endpoint: Arc<dyn Endpoint>,
    ) -> Result<(), ServeError> {
        let task = tokio::spawn(async move { endpoint.send(request).await });
        let started = match flatten(self.output.while_waiting(task).await?) {
            Ok((answer, stream)) => outgoing::start(stream)
                .map(|stream| (answer, stream))
                .map_err(|error| format!("cannot open a pipe for the stream: {error}")),
            Err(text) => Err(text),
        };
        let (answer, (local, moved, limits)) = match started {
            Ok(started) => started,
            Err(text) => return self.refuse(text).await,
        };
        let mut outgoing = Outgoing::new(local);
        let input = self.input.as_mut().expect("not lent");
        let output = &mut self.output;
        let sending = async {
            answer_yes(output, &answer).await?;
            outgoing.run(output, &moved, &limits).await
        };
        let sent = tokio::select! {
            biased;
            () = self.serving.stop.cancelled() => Err(ConnectionError::Stopping),
            error = input.watch() => Err(error),
            sent = sending => sent,
        };
        let whole = matches!(sent, Ok(Outcome::Complete));
        self.metrics.stream(Direction::Sent, moved.get(), whole);
        match sent {
            Ok(Outcome::Complete) => Ok(()),
            Ok(Outcome::Failed(text)) => Err(ServeError::Answered(text)),
            Err(error) => {
                outgoing.abandon(io::Error::other(chain(&error))).await;
                Err(error.into())
            }
        }
    }

    async fn receive(
        &mut self,
        request: ReceiveReq,
        endpoint: Arc<dyn Endpoint>,
    ) -> Result<(), ServeError> {
        let mut input = self.input.take().expect("not lent yet");
        let position = input.begin_stream(self.serving.patience.stream);
        let (lender, returned) = oneshot::channel();
        let cut = self.serving.stop.child_token();
        let stream = ArrivingStream::new(
            input,
            position,
            self.peer.to_owned(),
            cut.clone(),
            Owner::Lender(lender),
            self.metrics.clone(),
        );
        let stream = SendStream::remote(Box::new(stream));
        let task = tokio::spawn(async move { endpoint.receive(request, stream).await });
        // If the connection fails below, nobody will ever take the stream back.
        let _cut = cut.drop_guard();
        let answer = flatten(self.output.while_waiting(task).await?);
        let Ok(Returned { input, rest }) = self.output.while_waiting(returned).await? else {
            return Err(ServeError::Answered("stream was lost".to_owned()));
        };
        self.input = Some(input);
        match (answer, rest) {
            (Ok(answer), Rest::Complete) => Ok(self.answer_yes(&answer).await?),
            (Ok(answer), Rest::Open(position)) => {
                // The client has to get rid of all of it before it believes the answer.
                self.skip(position).await?;
                Ok(self.answer_yes(&answer).await?)
            }
            (Ok(_), Rest::Broken) => self.refuse("the stream was not complete".to_owned()).await,
            (Err(text), _) => self.refuse(text).await,
        }
    }

    async fn skip(&mut self, mut position: StreamPosition) -> Result<(), ServeError> {
        let input = self.input.as_mut().expect("given back");
        let skipping = async {
            loop {
                match input.stream_piece(&mut position, usize::MAX).await? {
                    StreamPiece::Bytes(_) => {}
                    StreamPiece::End => return Ok(Ok(())),
                    StreamPiece::Failed(text) => return Ok(Err(text)),
                }
            }
        };
        match self.output.while_waiting(skipping).await? {
            Ok(Ok(())) => Ok(()),
            Ok(Err(text)) => self.refuse(format!("sender failed: {text}")).await,
            Err(error) => Err(ServeError::Connection(error)),
        }
    }

    async fn answer_yes(&mut self, answer: &impl Message) -> Result<(), ConnectionError> {
        answer_yes(&mut self.output, answer).await
    }

    async fn answer_no(&mut self, text: &str) -> Result<(), ConnectionError> {
        let header = ResponseHeader::HandlerError(text.to_owned()).encode();
        self.output.message(Kind::ResHeader, &header).await
    }

    /// Tells the client, and the log.
    async fn refuse(&mut self, text: String) -> Result<(), ServeError> {
        self.answer_no(&text).await?;
        Err(ServeError::Answered(text))
    }

    fn into_connection(self) -> Option<Connection> {
        Some(Connection {
            input: self.input?,
            output: self.output,
            metrics: self.metrics,
        })
    }
}

async fn answer_yes(output: &mut Output, answer: &impl Message) -> Result<(), ConnectionError> {
    output
        .message(Kind::ResHeader, &ResponseHeader::Ok.encode())
        .await?;
    output
        .message(Kind::ResStructured, &answer.encode_to_vec())
        .await
}

fn decode<T: Message + Default>(body: &[u8]) -> Result<T, ConnectionError> {
    T::decode(body).map_err(|source| ConnectionError::Undecodable {
        what: "request",
        source,
    })
}

/// The answer of an endpoint that ran in a task; a panic is an answer, too.
fn flatten<T>(joined: Result<Result<T, EndpointError>, JoinError>) -> Result<T, String> {
    match joined {
        Ok(answer) => answer.map_err(|error| chain(&error)),
        Err(error) => {
            tracing::error!(%error, "a request handler failed");
            Err("internal error, see the log of this host".to_owned())
        }
    }
}
