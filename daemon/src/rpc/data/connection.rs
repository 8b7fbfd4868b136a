//! A data connection: both directions together, and how it ends.
//!
//! Open → closing. Closing is sticky and orderly: announce it (RST), say that no more bytes come (half close), then read and
//! forget what the peer still sends until it has closed as well, for at most [`CLOSE_LIMIT`]. A connection that is closed with
//! unread input would be reset by the kernel, and the reset can overtake the answer that explains everything.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::output::Liveness;
use super::{CLOSE_LIMIT, ConnectionError, Input, Output, Patience};
use crate::rpc::metrics::{CloseStep, Metrics};
use crate::transport::Wire;

/// How long to wait for a peer to close its side that has been silent, or has broken the protocol.
const SHORT_CLOSE_LIMIT: Duration = Duration::from_secs(1);

/// Both directions.
#[derive(Debug)]
pub struct Connection {
    /// From the peer.
    pub input: Input,
    /// To the peer.
    pub output: Output,
    pub(super) metrics: Metrics,
}

impl Connection {
    /// On a wire on which everything before the first frame has been said.
    pub fn new(wire: Wire, patience: &Patience, metrics: Metrics) -> Self {
        let liveness = Liveness::new();
        Self {
            input: Input::new(wire.reader, Arc::clone(&liveness)),
            output: Output::new(wire.writer, liveness, patience.stream),
            metrics,
        }
    }

    /// Closes in order, after everything that was to be said has been said.
    pub async fn close(self) {
        self.close_within(CLOSE_LIMIT).await;
    }

    /// Closes after a failure, as far as the failure leaves a connection to close.
    pub fn close_after(self, error: &ConnectionError) -> impl Future<Output = ()> + Send + use<> {
        let limit = match error {
            _ if self.output.is_torn() || !error.leaves_writable() => None,
            // The peer is closing as well, or still sends what it should hear the end of.
            ConnectionError::Rst | ConnectionError::Stopping => Some(CLOSE_LIMIT),
            _ => Some(SHORT_CLOSE_LIMIT),
        };
        async move {
            match limit {
                Some(limit) => self.close_within(limit).await,
                None => self.metrics.hard_close(CloseStep::WriteFrame),
            }
        }
    }

    async fn close_within(mut self, limit: Duration) {
        let begun = Instant::now();
        let deadline = begun + limit;
        // Within a frame an announcement would be payload. That no more bytes come is announcement enough.
        let announced = if self.output.is_torn() {
            Ok(Ok(()))
        } else {
            timeout_at(deadline, self.output.rst()).await
        };
        let failed = match announced {
            Ok(Ok(())) => match timeout_at(deadline, self.output.half_close()).await {
                Ok(Ok(())) => None,
                Ok(Err(_)) | Err(_) => Some(CloseStep::CloseWrite),
            },
            Ok(Err(_)) | Err(_) => Some(CloseStep::WriteFrame),
        };
        if let Some(step) = failed {
            self.metrics.hard_close(step);
        } else {
            let draining = Instant::now();
            let drained = self.input.drain(deadline).await;
            self.metrics.drained(drained, draining.elapsed());
        }
        self.metrics.closed(begun.elapsed());
    }
}
