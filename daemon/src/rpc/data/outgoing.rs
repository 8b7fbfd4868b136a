//! A stream on its way into a connection: moving it, and asking its producer whether it was whole.

use std::io;
use std::sync::Arc;

use tokio::net::unix::pipe;

use super::pump::{self, Moved};
use super::{ConnectionError, Output};
use crate::bandwidth::Limit;
use crate::causes::chain;
use crate::endpoint::stream::{
    Counter, LocalStream, MoveError, Producer, RemoteStream, SendStream, Source,
};
use crate::transport::BoxFuture;
use zrepl_proto::chunk;

/// How a stream ended, and how the peer was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Whole.
    Complete,
    /// Its producer failed.
    Failed(String),
}

/// A stream that is being sent.
#[derive(Debug)]
pub(super) struct Outgoing(LocalStream);

/// Takes a stream apart. One that comes from another host is led through a pipe of its own.
pub(super) fn start(stream: SendStream) -> io::Result<(LocalStream, Counter, Vec<Arc<Limit>>)> {
    let SendStream {
        source,
        moved,
        limits,
    } = stream;
    let local = match source {
        Source::Local(local) => local,
        Source::Remote(remote) => relay(remote)?,
    };
    Ok((local, moved, limits))
}

fn relay(mut remote: Box<dyn RemoteStream>) -> io::Result<LocalStream> {
    let (mut sender, receiver) = pipe::pipe()?;
    let task = tokio::spawn(async move {
        remote
            .move_into(&mut sender, &Counter::default(), &[])
            .await
    });
    Ok(LocalStream::new(receiver, Box::new(Relay(task))))
}

/// Leads a stream of another host into a pipe.
#[derive(Debug)]
struct Relay(tokio::task::JoinHandle<Result<(), MoveError>>);

impl Producer for Relay {
    fn finish(self: Box<Self>, relay: io::Result<()>) -> BoxFuture<'static, Result<(), String>> {
        if relay.is_err() {
            self.0.abort();
        }
        Box::pin(async move {
            match self.0.await {
                Ok(Ok(())) => Ok(()),
                Ok(Err(error)) => Err(chain(&error)),
                Err(error) => Err(error.to_string()),
            }
        })
    }
}

impl Outgoing {
    pub(super) fn new(stream: LocalStream) -> Self {
        Self(stream)
    }

    /// Sends the stream and its end. After an error, or if it is cancelled, [`abandon`](Self::abandon) ends the producer.
    pub(super) async fn run(
        &mut self,
        output: &mut Output,
        moved: &Counter,
        limits: &[Arc<Limit>],
    ) -> Result<Outcome, ConnectionError> {
        let relayed = match self.0.pipe() {
            None => Err(io::Error::other("stream was sent before")),
            Some(pipe) => match pump::move_out(pipe, output, moved, limits).await? {
                Moved::All => Ok(()),
                Moved::LoneByte => Err(io::Error::other(chunk::LONE_BYTE)),
                Moved::PipeFailed(error) => Err(error),
            },
        };
        moved.end();
        let failure = relayed.as_ref().err().map(ToString::to_string);
        let verdict = output.while_waiting(self.0.finish(relayed)).await?;
        let outcome = match (verdict, failure) {
            (Ok(()), None) => Outcome::Complete,
            (Err(text), _) | (Ok(()), Some(text)) => Outcome::Failed(text),
        };
        match &outcome {
            Outcome::Complete => output.end().await?,
            Outcome::Failed(text) => output.failure(text).await?,
        }
        Ok(outcome)
    }

    /// Ends the producer of a stream that cannot be sent.
    pub(super) async fn abandon(mut self, because: io::Error) {
        if let Err(text) = self.0.finish(Err(because)).await {
            tracing::debug!(%text, "producer of a cut stream ended");
        }
    }
}
