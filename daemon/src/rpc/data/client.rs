//! The active side of a data connection: asks one thing, and sees to the end of the connection.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::time::Duration;

use prost::Message as _;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use zrepl_proto::message::Kind;
use zrepl_proto::pdu::{Check, PingReq, PingRes, ReceiveReq, ReceiveRes, SendReq, SendRes};
use zrepl_proto::response::{Endpoint, ResponseHeader};

use super::connection::Connection;
use super::keeper::Keeper;
use super::outgoing::{self, Outcome};
use super::remote_stream::{ArrivingStream, Owner};
use super::{CLOSE_LIMIT, ConnectionError, Input, Output, Patience};
use crate::endpoint::EndpointError;
use crate::endpoint::stream::SendStream;
use crate::rpc::metrics::Direction;

/// Whom a connection leads to, and what is borne with.
#[derive(Clone, Debug)]
pub struct Dialled {
    /// For messages.
    pub peer: String,
    /// How long to wait.
    pub patience: Patience,
    /// Cuts the streams on the connection.
    pub stop: CancellationToken,
}

/// What a request came to, before it is known for certain that the connection is in order.
enum Answer<T> {
    Ok(T),
    /// The server has done nothing, or not all, and says why.
    Failed(String),
}

/// Asks the server to echo a message.
pub async fn ping(
    mut connection: Connection,
    request: &PingReq,
    dialled: &Dialled,
) -> Result<PingRes, EndpointError> {
    let (input, output) = (&mut connection.input, &mut connection.output);
    let answer = async {
        send_request(output, Endpoint::Ping, &request.encode_to_vec()).await?;
        output
            .while_waiting(read_answer::<PingRes>(input, &dialled.patience))
            .await?
    }
    .await;
    conclude(connection, answer, "ping", dialled)
}

/// Asks the server for a stream.
pub async fn send(
    mut connection: Connection,
    request: &SendReq,
    dialled: Dialled,
) -> Result<(SendRes, SendStream), EndpointError> {
    check(request)?;
    let (input, output) = (&mut connection.input, &mut connection.output);
    let answer = async {
        send_request(output, Endpoint::Send, &request.encode_to_vec()).await?;
        output
            .while_waiting(read_answer::<SendRes>(input, &dialled.patience))
            .await?
    }
    .await;
    match answer {
        Ok(Answer::Ok(response)) => {
            let Connection {
                mut input,
                output,
                metrics,
            } = connection;
            let position = input.begin_stream(dialled.patience.stream);
            let owner = Owner::Nobody(Keeper::start(output));
            let stream =
                ArrivingStream::new(input, position, dialled.peer, dialled.stop, owner, metrics);
            Ok((response, SendStream::remote(Box::new(stream))))
        }
        other => Err(conclude(connection, other, "send", &dialled)
            .err()
            .unwrap_or_else(|| EndpointError::Failed("no answer".to_owned()))),
    }
}

/// Gives the server a stream to receive.
pub async fn receive(
    mut connection: Connection,
    request: &ReceiveReq,
    stream: SendStream,
    dialled: &Dialled,
) -> Result<ReceiveRes, EndpointError> {
    check(request)?;
    let (source, moved, limits) = outgoing::start(stream).map_err(|error| {
        EndpointError::Failed(format!("cannot open a pipe for the stream: {error}"))
    })?;
    let (input, output) = (&mut connection.input, &mut connection.output);
    let mut outgoing = outgoing::Outgoing::new(source);
    let mut sent = None;
    let answer = {
        let sending = async {
            send_request(output, Endpoint::Recv, &request.encode_to_vec()).await?;
            let outcome = outgoing.run(output, &moved, &limits).await?;
            sent = Some(outcome);
            // From now on only heartbeats, until the answer is there. The time for it begins here, however long the stream was.
            let patience = dialled.patience.answer;
            output.while_waiting(sleep(patience)).await?;
            Err(ConnectionError::NoProgress(patience))
        };
        let patience = Patience {
            answer: Duration::MAX,
            ..dialled.patience
        };
        let answering = read_answer::<ReceiveRes>(input, &patience);
        race(sending, answering, &dialled.stop).await
    };
    let answer = match (answer, &sent) {
        (Ok(Answer::Ok(_)), None) => Err(ConnectionError::AnsweredEarly),
        (answer, _) => answer,
    };
    let failure = match &answer {
        Ok(Answer::Ok(_)) => None,
        Ok(Answer::Failed(text)) => Some(io::Error::other(format!("receiver failed: {text}"))),
        Err(error) => Some(io::Error::other(crate::causes::chain(error))),
    };
    let whole = failure.is_none() && matches!(sent, Some(Outcome::Complete));
    connection
        .metrics
        .stream(Direction::Sent, moved.get(), whole);
    // A producer that failed is the cause of whatever the receiver says.
    let producer = match sent {
        Some(Outcome::Complete) => Ok(()),
        Some(Outcome::Failed(text)) => Err(text),
        None => {
            let error = failure.unwrap_or_else(|| io::Error::other("not sent"));
            outgoing.abandon(error).await;
            Ok(())
        }
    };
    let result = conclude(connection, answer, "receive", dialled);
    match producer {
        Ok(()) => result,
        Err(text) => Err(EndpointError::Failed(text)),
    }
}

/// Sends while it waits for the answer. An answer that says no ends the sending; when the peer takes no more, because it closes
/// the connection, the answer that says why may still be on its way.
async fn race<T>(
    sending: impl Future<Output = Result<Infallible, ConnectionError>>,
    answering: impl Future<Output = Result<Answer<T>, ConnectionError>>,
    stop: &CancellationToken,
) -> Result<Answer<T>, ConnectionError> {
    let mut answering = std::pin::pin!(answering);
    let failed = tokio::select! {
        biased;
        () = stop.cancelled() => return Err(ConnectionError::Stopping),
        result = sending => match result {
            Ok(never) => match never {},
            Err(error) => error,
        },
        answer = &mut answering => return answer,
    };
    if !matches!(failed, ConnectionError::Write(_)) {
        return Err(failed);
    }
    match timeout(CLOSE_LIMIT, answering).await {
        Ok(Ok(Answer::Failed(text))) => Ok(Answer::Failed(text)),
        _ => Err(failed),
    }
}

async fn send_request(
    output: &mut Output,
    endpoint: Endpoint,
    request: &[u8],
) -> Result<(), ConnectionError> {
    output
        .message(Kind::ReqHeader, endpoint.path().as_bytes())
        .await?;
    output.message(Kind::ReqStructured, request).await
}

async fn read_answer<T: prost::Message + Default>(
    input: &mut Input,
    patience: &Patience,
) -> Result<Answer<T>, ConnectionError> {
    let header = input.message(Kind::ResHeader, patience.answer).await?;
    match ResponseHeader::decode(&header)? {
        ResponseHeader::HandlerError(text) => Ok(Answer::Failed(text)),
        ResponseHeader::Ok => {
            let body = input.message(Kind::ResStructured, patience.request).await?;
            T::decode(&*body)
                .map(Answer::Ok)
                .map_err(|source| ConnectionError::Undecodable {
                    what: "answer",
                    source,
                })
        }
    }
}

/// Closes the connection, without making the caller wait for it.
fn conclude<T>(
    connection: Connection,
    answer: Result<Answer<T>, ConnectionError>,
    operation: &str,
    dialled: &Dialled,
) -> Result<T, EndpointError> {
    match answer {
        Ok(answer) => {
            tokio::spawn(connection.close());
            match answer {
                Answer::Ok(response) => Ok(response),
                Answer::Failed(text) => Err(EndpointError::Failed(text)),
            }
        }
        Err(error) => {
            let context = format!("{operation} on {}", dialled.peer);
            tokio::spawn(connection.close_after(&error));
            Err(error.into_endpoint_error(context))
        }
    }
}

fn check(request: &impl Check) -> Result<(), EndpointError> {
    request.check().map_err(|error| EndpointError::Protocol {
        context: "request is not sent".to_owned(),
        source: Box::new(error),
    })
}
