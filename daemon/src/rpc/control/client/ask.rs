//! One request on one connection, and what may come instead of its answer.

use std::error::Error;
use std::marker::PhantomData;
use std::time::Duration;

use prost::Message;
use prost::bytes::{Buf as _, Bytes};
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::{Code, Status, TimeoutExpired};

use super::dial::{Connection, Spent};
use super::{Answer, Request};
use crate::causes::chain;
use crate::rpc::control::MAX_MESSAGE_LEN;

/// One of the seven.
#[derive(Clone, Copy, Debug)]
pub(super) struct Method {
    path: &'static str,
    limit: Option<Duration>,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum NoAnswer {
    /// The endpoint says so.
    Failed(String),
    /// The server says that it has no time now.
    Unavailable(String),
    /// The method's limit has passed.
    TimedOut(String),
    /// The connection had ended before.
    NotSent(String),
    /// The connection ended meanwhile.
    Lost(String),
    /// What came is no answer, or what we want to say is no question.
    Protocol(Box<dyn Error + Send + Sync>),
}

impl Method {
    pub(super) const PING: Self = Self::new("/Replication/Ping");
    pub(super) const LIST_FILESYSTEMS: Self = Self::new("/Replication/ListFilesystems");
    pub(super) const LIST_FILESYSTEM_VERSIONS: Self =
        Self::new("/Replication/ListFilesystemVersions");
    pub(super) const DESTROY_SNAPSHOTS: Self = Self::new("/Replication/DestroySnapshots");
    pub(super) const REPLICATION_CURSOR: Self = Self::new("/Replication/ReplicationCursor");
    pub(super) const SEND_DRY: Self = Self::new("/Replication/SendDry");
    pub(super) const SEND_COMPLETED: Self = Self::new("/Replication/SendCompleted");

    /// Without a limit: some take minutes, and Go sets none either.
    const fn new(path: &'static str) -> Self {
        Self { path, limit: None }
    }

    /// Tells the server, too, how long we wait.
    pub(super) fn within(self, limit: Duration) -> Self {
        let limit = Some(limit);
        Self { limit, ..self }
    }

    pub(super) fn name(self) -> &'static str {
        self.path.rsplit('/').next().unwrap_or(self.path)
    }
}

impl NoAnswer {
    /// Whether the connection is of no more use.
    pub(super) fn is_loss(&self) -> bool {
        matches!(self, Self::NotSent(_) | Self::Lost(_))
    }
}

impl Connection {
    pub(super) async fn ask<Q: Request, A: Answer>(
        &self,
        method: Method,
        request: &Q,
    ) -> Result<A, NoAnswer> {
        let len = request.encoded_len();
        if len > self.limit {
            let limit = self.limit;
            let text = format!("request has {len} bytes, the server takes at most {limit}");
            return Err(NoAnswer::Protocol(text.into()));
        }
        let mut request = tonic::Request::new(request.clone());
        if let Some(limit) = method.limit {
            request.set_timeout(limit);
        }
        let mut client = Grpc::new(self.channel.clone()).max_decoding_message_size(MAX_MESSAGE_LEN);
        client.ready().await.map_err(|error| self.lost(&error))?;
        let path = PathAndQuery::from_static(method.path);
        let answer = client
            .unary(request, path, Raw(PhantomData))
            .await
            .map_err(|status| self.explain(&status))?
            .into_inner();
        let protocol = |error: Box<dyn Error + Send + Sync>| NoAnswer::Protocol(error);
        let answer = A::decode(answer).map_err(|error| protocol(error.into()))?;
        answer.check().map_err(|error| protocol(error.into()))?;
        Ok(answer)
    }

    fn explain(&self, status: &Status) -> NoAnswer {
        if let Some(source) = status.source() {
            return self.broken(status.code(), source);
        }
        let text = status.message().to_owned();
        match status.code() {
            Code::Unknown => NoAnswer::Failed(text),
            Code::Unavailable => NoAnswer::Unavailable(text),
            // tonic uses these for what it cannot read; no zrepl sends them.
            Code::Internal | Code::OutOfRange => NoAnswer::Protocol(text.into()),
            code => NoAnswer::Failed(format!("{code:?}: {text}")),
        }
    }

    /// There was no status from the server.
    fn broken(&self, code: Code, source: &(dyn Error + 'static)) -> NoAnswer {
        let text = chain(source);
        if find::<TimeoutExpired>(source).is_some() {
            return NoAnswer::TimedOut(text);
        }
        // What hyper cancels it has not handed to HTTP/2 yet; what it has, fails in other words.
        let is_canceled = code == Code::Cancelled && text.contains("operation was canceled");
        if is_canceled || find::<Spent>(source).is_some() {
            return NoAnswer::NotSent(self.reason(&text));
        }
        // h2's words; its errors cannot be told apart otherwise. A stream that was reset while its connection goes on: the
        // server does not like the request. An error that we detected: the server does not speak HTTP/2 as we know it.
        let is_reset = text.contains("stream error received") && !self.is_over();
        let is_violation = text.contains("error detected");
        if code != Code::Unavailable && (is_reset || is_violation) {
            return NoAnswer::Protocol(text.into());
        }
        NoAnswer::Lost(self.reason(&text))
    }

    fn lost(&self, error: &(dyn Error + 'static)) -> NoAnswer {
        NoAnswer::NotSent(self.reason(&chain(error)))
    }

    /// What happened to the wire tells more than what HTTP/2 makes of it.
    fn reason(&self, text: &str) -> String {
        match self.ending.by_peer() {
            Some(end) => end.to_string(),
            None => text.trim_start_matches("transport error: ").to_owned(),
        }
    }
}

fn find<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

/// Writes messages and leaves reading them to the caller, who can then tell an unreadable answer from what the server says.
struct Raw<Q>(PhantomData<Q>);

impl<Q: Message + 'static> Codec for Raw<Q> {
    type Encode = Q;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Raw<()>;

    fn encoder(&mut self) -> Self {
        Self(PhantomData)
    }

    fn decoder(&mut self) -> Raw<()> {
        Raw(PhantomData)
    }
}

impl<Q: Message> Encoder for Raw<Q> {
    type Item = Q;
    type Error = Status;

    fn encode(&mut self, message: Q, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        message
            .encode(buffer)
            .map_err(|error| Status::internal(error.to_string()))
    }
}

impl Decoder for Raw<()> {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}
