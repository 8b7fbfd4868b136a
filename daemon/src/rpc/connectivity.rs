//! Whether the other side can be asked again: the same ping on both planes, and an answer to both.
//!
//! Two pings flow in, `Ok` flows out once both came back. The ping on the control connection waits by itself until there is a
//! connection. That on the data plane opens a connection each time; it is repeated as long as it fails for a reason that can
//! pass. To Go only timeouts are such reasons. To us so are refused and reset connections, because a daemon that restarts
//! refuses for a moment, and giving up then would end the run just before it could go on.

use std::time::Duration;

use tokio::time::{sleep, timeout};
use uuid::Uuid;

use crate::endpoint::EndpointError;

/// Go's limit (`ZREPL_REPLICATION_RECONNECT_HARD_FAIL_TIMEOUT`).
pub const DEFAULT_LIMIT: Duration = Duration::from_secs(600);

/// Go's pause between two pings on the data plane (`ZREPL_RPC_DATACONN_PING_SLEEP`).
pub const DEFAULT_PAUSE: Duration = Duration::from_secs(1);

/// A way to reach the other side.
#[tonic::async_trait]
pub trait Ping: Send + Sync {
    /// Returns what comes back, or why nothing does. Cancel it to stop waiting.
    async fn ping(&self, message: &str, limit: Duration) -> Result<String, EndpointError>;
}

/// How long to try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// For everything.
    pub limit: Duration,
    /// Between two pings on the data plane.
    pub pause: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            limit: DEFAULT_LIMIT,
            pause: DEFAULT_PAUSE,
        }
    }
}

/// Waits until both planes answer. The first one to fail for good ends the wait for the other.
pub async fn wait_for_connectivity(
    control: &dyn Ping,
    data: &dyn Ping,
    limits: Limits,
) -> Result<(), EndpointError> {
    let message = Uuid::new_v4().to_string();
    let mut control = Plane::new("control", control);
    let mut data = Plane::new("data", data);
    let both =
        async { tokio::try_join!(control.wait(&message, limits), data.wait(&message, limits)) };
    match timeout(limits.limit, both).await {
        Ok(result) => result.map(|((), ())| ()),
        Err(_) => Err(out_of_time(control, data, limits.limit)),
    }
}

struct Plane<'a> {
    name: &'static str,
    ping: &'a dyn Ping,
    is_up: bool,
    last: Option<EndpointError>,
}

impl<'a> Plane<'a> {
    fn new(name: &'static str, ping: &'a dyn Ping) -> Self {
        Self {
            name,
            ping,
            is_up: false,
            last: None,
        }
    }

    async fn wait(&mut self, message: &str, limits: Limits) -> Result<(), EndpointError> {
        loop {
            match self.ping.ping(message, limits.limit).await {
                Ok(echo) if echo == message => {
                    self.is_up = true;
                    return Ok(());
                }
                Ok(echo) => return Err(self.failed(wrong_echo(message, &echo))),
                Err(error) if error.is_temporary() => self.last = Some(error),
                Err(error) => return Err(self.failed(error)),
            }
            sleep(limits.pause).await;
        }
    }

    fn failed(&self, error: EndpointError) -> EndpointError {
        EndpointError::Protocol {
            context: format!("no connectivity: ping on the {} plane failed", self.name),
            source: error.into(),
        }
    }
}

fn wrong_echo(message: &str, echo: &str) -> EndpointError {
    let echo: String = echo.chars().take(message.len()).collect();
    EndpointError::Failed(format!("sent {message:?}, got {echo:?} back"))
}

fn out_of_time(control: Plane<'_>, data: Plane<'_>, limit: Duration) -> EndpointError {
    let planes = match (control.is_up, data.is_up) {
        (false, true) => "control",
        (true, _) => "data",
        (false, false) => "control and data",
    };
    let last = if control.is_up {
        data.last
    } else {
        control.last.or(data.last)
    };
    EndpointError::Unreachable {
        context: format!("no connectivity: no answer to a ping on {planes} within {limit:?}"),
        source: last.map_or_else(|| "other side is silent".into(), Into::into),
    }
}

#[cfg(test)]
mod tests;
