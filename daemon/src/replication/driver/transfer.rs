//! One step: the sender's stream goes to the receiver, as long as it moves.

use std::future::pending;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use zfs_safe::name::DatasetPath;
use zrepl_proto::pdu::{ListFilesystemReq, Protection, SendCompletedReq};

use super::Sides;
use crate::endpoint::EndpointError;
use crate::endpoint::stream::Counter;
use crate::replication::attempt::Stage;
use crate::replication::report::LiveStep;
use crate::replication::step::Step;

/// How steps are carried out, all of one attempt.
#[derive(Debug)]
pub(super) struct Transfer {
    pub(super) sides: Sides,
    pub(super) protection: Protection,
    pub(super) stall_limit: Duration,
}

/// Why a step failed.
#[derive(Debug)]
pub(super) struct StepFailure {
    /// Where.
    pub(super) stage: Stage,
    /// What the side said.
    pub(super) error: EndpointError,
    /// The token that the receiver shows afterwards, if the step used one and may not have been its fault.
    pub(super) token_after: Option<String>,
}

/// A stream that was cut because it did not move.
#[derive(Debug, thiserror::Error)]
#[error("no byte was moved for {0:?}")]
struct Stalled(Duration);

impl Transfer {
    /// Has the sender send and the receiver receive. How much has been moved shows in `live` meanwhile.
    pub(super) async fn run(
        &self,
        filesystem: &DatasetPath,
        step: &Step,
        live: &LiveStep,
    ) -> Result<(), StepFailure> {
        let moving = self.send_and_receive(filesystem, step, live).await;
        let (stage, error) = match moving {
            Ok(()) => return Ok(()),
            Err(failure) => failure,
        };
        let token_after = if step.resume_token.is_some() && !error.is_temporary() {
            self.token_of(filesystem).await
        } else {
            None
        };
        Err(StepFailure {
            stage,
            error,
            token_after,
        })
    }

    async fn send_and_receive(
        &self,
        filesystem: &DatasetPath,
        step: &Step,
        live: &LiveStep,
    ) -> Result<(), (Stage, EndpointError)> {
        let Sides { sender, receiver } = &self.sides;
        let name = filesystem.as_str();
        let request = step.send_request(name, self.protection);
        let sending = sender.send(request).await;
        let (answer, stream) = sending.map_err(|error| (Stage::Send, error))?;
        let moved = stream.moved.clone();
        live.begin(&moved);
        let request = step.receive_request(name, self.protection, &answer);
        // Whoever loses is dropped, and the stream with it.
        let error = tokio::select! {
            biased;
            received = receiver.receive(request, stream) => match received {
                Ok(_) => return Ok(()),
                Err(error) => error,
            },
            () = stalled(&moved, self.stall_limit) => EndpointError::Unreachable {
                context: format!("stream of {filesystem}{} was cut after {} bytes, to be resumed", step.to, moved.get()),
                source: Stalled(self.stall_limit).into(),
            },
        };
        Err((Stage::Receive, error))
    }

    /// Tells the sender that a step has arrived.
    pub(super) async fn complete(
        &self,
        filesystem: &DatasetPath,
        step: &Step,
    ) -> Result<(), EndpointError> {
        let request = step.send_request(filesystem.as_str(), self.protection);
        let told = self
            .sides
            .sender
            .send_completed(SendCompletedReq::new(request));
        told.await.map(drop)
    }

    /// The receiver's token of a filesystem, if it can be asked.
    async fn token_of(&self, filesystem: &DatasetPath) -> Option<String> {
        let listing = self.sides.receiver.list_filesystems(ListFilesystemReq {});
        let listed = listing.await.ok()?.filesystems;
        let this = listed
            .into_iter()
            .find(|it| it.path == filesystem.as_str())?;
        Some(this.resume_token)
    }
}

/// Returns when a stream that has not ended did not move for so long, or up to a tenth longer.
async fn stalled(moved: &Counter, limit: Duration) {
    const LOOKS: u32 = 10;
    let mut seen = moved.get();
    let mut since = Instant::now();
    while since.elapsed() < limit {
        sleep((limit / LOOKS).max(Duration::from_millis(1))).await;
        if moved.has_ended() {
            // Now the sides have their own limits.
            return pending().await;
        }
        let now = moved.get();
        if now != seen {
            (seen, since) = (now, Instant::now());
        }
    }
}
