//! Time limits as the configuration has them: a future and perhaps a limit flow in, what came of it flows out.

use std::future::Future;
use std::time::Duration;

/// The limit is over, and the future was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Expired(pub(super) Duration);

/// Runs the future for at most this time; without a limit, for as long as it takes.
pub(super) async fn within<F: Future>(
    limit: Option<Duration>,
    future: F,
) -> Result<F::Output, Expired> {
    match limit {
        None => Ok(future.await),
        Some(limit) => tokio::time::timeout(limit, future)
            .await
            .map_err(|_| Expired(limit)),
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn nothing_outlasts_its_limit_and_without_one_nothing_expires() {
        let minute = Duration::from_secs(60);
        let expired = within(Some(minute), pending::<()>()).await;
        assert_eq!(expired, Err(Expired(minute)));
        let year = tokio::time::sleep(365 * 24 * 60 * minute);
        assert_eq!(within(None, year).await, Ok(()));
    }
}
