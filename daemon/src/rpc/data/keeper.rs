//! Sends heartbeats on a connection that is lent to somebody who only reads, and perhaps rarely.

use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::{ConnectionError, Output};

/// Has the output until it is asked for it. Dropping it closes that direction of the connection.
#[derive(Debug)]
pub(super) struct Keeper {
    stop: oneshot::Sender<()>,
    task: JoinHandle<(Output, Result<(), ConnectionError>)>,
}

impl Keeper {
    pub(super) fn start(mut output: Output) -> Self {
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(async move {
            // Whether it is told or its owner vanished, it ends.
            let result = output.while_waiting(stopped).await.map(drop);
            (output, result)
        });
        Self { stop, task }
    }

    /// Gives the output back; none if the runtime is ending.
    pub(super) async fn stop(self) -> Option<Output> {
        // It may have ended by itself, because the connection is lost.
        let _ = self.stop.send(());
        let (output, result) = self.task.await.ok()?;
        if let Err(error) = result {
            tracing::debug!(error = %crate::causes::chain(&error), "heartbeats ended");
        }
        Some(output)
    }
}
