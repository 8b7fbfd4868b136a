//! How long an edge may take: its timeout, and for a pre edge also until the job is told to stop. Post edges are not cut short by
//! that: they undo what pre edges did.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::go_duration::GoDuration;

/// When to give up. A timeout counts from the call of [`Patience::within`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience<'a> {
    pub(super) timeout: Duration,
    pub(super) stop: Option<&'a CancellationToken>,
}

/// Why it was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum GivenUp {
    /// The job is being stopped.
    #[error("cut short because the job is being stopped")]
    Stopped,
    /// The hook's `timeout`.
    #[error("timed out after {}", GoDuration::from_nanoseconds(i64::try_from(.0.as_nanos()).unwrap_or(i64::MAX)))]
    TimedOut(Duration),
}

impl Patience<'_> {
    /// What `work` results in, if it ends in time; otherwise it is dropped.
    pub(super) async fn within<T>(&self, work: impl Future<Output = T>) -> Result<T, GivenUp> {
        let stopped = async {
            match self.stop {
                Some(stop) => stop.cancelled().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = stopped => Err(GivenUp::Stopped),
            result = tokio::time::timeout(self.timeout, work) => {
                result.map_err(|_| GivenUp::TimedOut(self.timeout))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn work_ends_or_is_given_up() {
        let stop = CancellationToken::new();
        let timeout = Duration::from_millis(1500);
        let patience = Patience {
            timeout,
            stop: Some(&stop),
        };
        assert_eq!(patience.within(ready(1)).await, Ok(1));
        let given_up = patience
            .within(pending::<()>())
            .await
            .expect_err("for ever");
        assert_eq!(given_up, GivenUp::TimedOut(timeout));
        assert_eq!(given_up.to_string(), "timed out after 1.5s");
        stop.cancel();
        assert_eq!(patience.within(ready(1)).await, Err(GivenUp::Stopped));
        let without = Patience {
            timeout,
            stop: None,
        };
        assert_eq!(without.within(ready(1)).await, Ok(1));
    }
}
