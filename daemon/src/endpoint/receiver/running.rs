//! Which targets are being received. A client that lost its connection comes back before we notice that the old one is dead; its new
//! stream then takes the place of the old, whose end is waited for. A stream that moves is never pushed aside.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use zfs_safe::name::DatasetPath;

use crate::endpoint::stream::Counter;

/// A stream that stood still for so long gives way. Longer than the heartbeats of zrepl's connections (5 s) are apart.
const STANDSTILL: Duration = Duration::from_secs(6);

/// The targets that are being received.
#[derive(Clone, Debug, Default)]
pub(super) struct Running(Arc<Mutex<HashMap<DatasetPath, Entry>>>);

#[derive(Clone, Debug)]
struct Entry {
    moved: Counter,
    stop: CancellationToken,
    ended: CancellationToken,
}

/// A turn at receiving a target. It ends when it is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    running: Running,
    dataset: DatasetPath,
    ended: CancellationToken,
}

impl Running {
    /// Waits for a turn; none if somebody else's stream goes on, or if `stop` is cancelled meanwhile.
    pub(super) async fn enter(
        &self,
        dataset: &DatasetPath,
        moved: &Counter,
        stop: &CancellationToken,
    ) -> Option<Turn> {
        loop {
            let other = match self.try_enter(dataset, moved, stop) {
                Ok(turn) => return Some(turn),
                Err(other) => other,
            };
            let before = other.moved.get();
            let ended = tokio::select! {
                ended = timeout(STANDSTILL, other.ended.cancelled()) => ended.is_ok(),
                () = stop.cancelled() => return None,
            };
            if ended {
                continue;
            }
            if other.moved.get() != before {
                return None;
            }
            if other.moved.has_ended() {
                // ZFS is busy with what has arrived.
                continue;
            }
            tracing::warn!(fs = %dataset, "stream stands still, and a new one takes its place");
            other.stop.cancel();
            tokio::select! {
                () = other.ended.cancelled() => {}
                () = stop.cancelled() => return None,
            }
        }
    }

    fn try_enter(
        &self,
        dataset: &DatasetPath,
        moved: &Counter,
        stop: &CancellationToken,
    ) -> Result<Turn, Entry> {
        let mut running = self.lock();
        if let Some(other) = running.get(dataset) {
            return Err(other.clone());
        }
        let ended = CancellationToken::new();
        running.insert(
            dataset.clone(),
            Entry {
                moved: moved.clone(),
                stop: stop.clone(),
                ended: ended.clone(),
            },
        );
        Ok(Turn {
            running: self.clone(),
            dataset: dataset.clone(),
            ended,
        })
    }

    /// Is it being received?
    pub(super) fn contains(&self, dataset: &DatasetPath) -> bool {
        self.lock().contains_key(dataset)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<DatasetPath, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.running.lock().remove(&self.dataset);
        self.ended.cancel();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dataset() -> DatasetPath {
        DatasetPath::new("p/a").expect("valid")
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_stands_still_gives_way_and_is_waited_for() {
        let running = Running::default();
        let stop = CancellationToken::new();
        let moved = Counter::default();
        let turn = running.enter(&dataset(), &moved, &stop).await;
        let first = turn.expect("nobody else");
        let old = tokio::spawn({
            let stop = stop.clone();
            async move {
                stop.cancelled().await;
                drop(first);
            }
        });
        let second = running
            .enter(&dataset(), &Counter::default(), &CancellationToken::new())
            .await;
        assert!(second.is_some() && stop.is_cancelled());
        old.await.expect("ends");
        assert!(running.contains(&dataset()));
        drop(second);
        assert!(!running.contains(&dataset()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_moves_stays() {
        let running = Running::default();
        let (stop, moved) = (CancellationToken::new(), Counter::default());
        let turn = running.enter(&dataset(), &moved, &stop).await;
        let moving = tokio::spawn({
            let moved = moved.clone();
            async move {
                tokio::time::sleep(Duration::from_secs(1)).await;
                moved.add(1);
            }
        });
        let other = CancellationToken::new();
        let second = running.enter(&dataset(), &Counter::default(), &other).await;
        assert!(second.is_none() && !stop.is_cancelled());
        moving.await.expect("ends");
        drop(turn);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_ends_meanwhile_is_followed_at_once() {
        let running = Running::default();
        let (stop, moved) = (CancellationToken::new(), Counter::default());
        let turn = running.enter(&dataset(), &moved, &stop).await;
        let ending = tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            drop(turn);
        });
        let started = tokio::time::Instant::now();
        let second = running.enter(&dataset(), &moved, &stop).await;
        assert!(second.is_some());
        assert_eq!(started.elapsed(), Duration::from_secs(1));
        ending.await.expect("ends");
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_can_be_stopped() {
        let running = Running::default();
        let (stop, moved) = (CancellationToken::new(), Counter::default());
        let _turn = running.enter(&dataset(), &moved, &stop).await;
        let waiting = CancellationToken::new();
        waiting.cancel();
        assert!(running.enter(&dataset(), &moved, &waiting).await.is_none());
        assert!(!stop.is_cancelled());
    }
}
