//! The seven methods: a request flows in, is checked, and goes to the endpoint; its answer is checked and flows out, or else
//! the whole chain of its error as text.
//!
//! Every error is UNKNOWN, as with Go, except an answer that is too long. Nothing here says UNAVAILABLE: it makes Go's active
//! side try again and again.

use std::future::Future;
use std::sync::Arc;

use tonic::{Request, Response, Status};
use zrepl_proto::pdu::replication_server::Replication;
use zrepl_proto::pdu::{
    Check, DestroySnapshotsReq, DestroySnapshotsRes, ListFilesystemReq, ListFilesystemRes,
    ListFilesystemVersionsReq, ListFilesystemVersionsRes, PduError, PingReq, PingRes,
    ReplicationCursorReq, ReplicationCursorRes, SendCompletedReq, SendCompletedRes, SendReq,
    SendRes,
};

use crate::causes::chain;
use crate::endpoint::{Endpoint, EndpointError};

/// The longest text of an error. On the wire every byte can take three, in a header: our clients take 1 MiB, Go's 16.
const MAX_ERROR_LEN: usize = 32 << 10;

/// What the endpoint of one client answers.
#[derive(Debug)]
pub(super) struct Answers {
    endpoint: Arc<dyn Endpoint>,
    /// The longest message that the client takes.
    limit: usize,
}

impl Answers {
    pub(super) fn new(endpoint: Arc<dyn Endpoint>, limit: usize) -> Self {
        Self { endpoint, limit }
    }

    async fn answer<A: Check>(
        &self,
        checked: Result<(), String>,
        answer: impl Future<Output = Result<A, EndpointError>>,
    ) -> Result<Response<A>, Status> {
        checked.map_err(failed)?;
        let answer = answer.await.map_err(|error| failed(chain(&error)))?;
        answer
            .check()
            .map_err(|error| failed(format!("answer is not sent: {}", chain(&error))))?;
        let len = answer.encoded_len();
        if len > self.limit {
            return Err(Status::resource_exhausted(format!(
                "answer has {len} bytes, the client takes at most {}",
                self.limit
            )));
        }
        Ok(Response::new(answer))
    }
}

#[tonic::async_trait]
impl Replication for Answers {
    async fn ping(&self, request: Request<PingReq>) -> Result<Response<PingRes>, Status> {
        let echo = async { Ok(PingRes::from(request.into_inner())) };
        self.answer(Ok(()), echo).await
    }

    async fn list_filesystems(
        &self,
        request: Request<ListFilesystemReq>,
    ) -> Result<Response<ListFilesystemRes>, Status> {
        let request = request.into_inner();
        let checked = request.check().map_err(refused);
        let answer = self.endpoint.list_filesystems(request);
        self.answer(checked, answer).await
    }

    async fn list_filesystem_versions(
        &self,
        request: Request<ListFilesystemVersionsReq>,
    ) -> Result<Response<ListFilesystemVersionsRes>, Status> {
        let request = request.into_inner();
        let checked = request.check().map_err(refused);
        let answer = self.endpoint.list_filesystem_versions(request);
        self.answer(checked, answer).await
    }

    async fn destroy_snapshots(
        &self,
        request: Request<DestroySnapshotsReq>,
    ) -> Result<Response<DestroySnapshotsRes>, Status> {
        let request = request.into_inner();
        let checked = request.check().map_err(refused);
        let answer = self.endpoint.destroy_snapshots(request);
        self.answer(checked, answer).await
    }

    async fn replication_cursor(
        &self,
        request: Request<ReplicationCursorReq>,
    ) -> Result<Response<ReplicationCursorRes>, Status> {
        let request = request.into_inner();
        let checked = request.check().map_err(refused);
        let answer = self.endpoint.replication_cursor(request);
        self.answer(checked, answer).await
    }

    async fn send_dry(&self, request: Request<SendReq>) -> Result<Response<SendRes>, Status> {
        let request = request.into_inner();
        let checked = check_versions(&request);
        let answer = self.endpoint.send_dry(request);
        self.answer(checked, answer).await
    }

    async fn send_completed(
        &self,
        request: Request<SendCompletedReq>,
    ) -> Result<Response<SendCompletedRes>, Status> {
        let request = request.into_inner();
        let checked = match &request.original_req {
            Some(original) => check_versions(original),
            None => Err("empty filesystem not allowed".to_owned()),
        };
        let answer = self.endpoint.send_completed(request);
        self.answer(checked, answer).await
    }
}

/// What a Go server can tell a version from. The rest is for the endpoint to judge: Go's asks neither for a config nor for the
/// kind of `To` when nothing is sent.
fn check_versions(request: &SendReq) -> Result<(), String> {
    let versions = [&request.from, &request.to];
    versions
        .into_iter()
        .flatten()
        .try_for_each(Check::check)
        .map_err(refused)
}

/// Why a request is refused, in Go's words where it has some.
fn refused(error: PduError) -> String {
    match error {
        PduError::Bookmark { name, .. } => format!("version {name:?} is not a snapshot"),
        error => chain(&error),
    }
}

fn failed(text: String) -> Status {
    Status::unknown(shortened(text))
}

/// Cut between two characters.
fn shortened(mut text: String) -> String {
    if text.len() > MAX_ERROR_LEN {
        let boundary = (0..=MAX_ERROR_LEN)
            .rev()
            .find(|&len| text.is_char_boundary(len));
        text.truncate(boundary.unwrap_or_default());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_cut_between_characters() {
        let text = "a".to_owned() + &"\u{e4}".repeat(MAX_ERROR_LEN);
        let short = shortened(text.clone());
        assert_eq!(short.len(), MAX_ERROR_LEN - 1);
        assert!(text.starts_with(&short));
        assert_eq!(shortened("ok".to_owned()), "ok");
    }
}
