//! A job that decides itself when it works: when it is told to, when snapshots have been taken, and a pull job at its interval, first
//! after one interval.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::preview;
use super::signals::{Part, Signals};
use super::snapper::Snapping;
use crate::snapshot::schedule::Snapper;

/// What a job does when it is its turn.
#[tonic::async_trait]
pub(super) trait Invoke: fmt::Debug + Send + Sync {
    /// Does it once, all or only a part. Cancelling `stop` ends it soon.
    async fn invoke(&mut self, part: Part, stop: &CancellationToken);

    /// What it would do, without doing it.
    async fn preview(
        &mut self,
        stop: &CancellationToken,
    ) -> (Option<preview::Replication>, Vec<preview::Pruning>);

    /// Waits for what may still be going on after an invocation was cancelled.
    async fn settle(&mut self);
}

/// The job.
#[derive(Debug)]
pub(super) struct Active {
    pub(super) signals: Arc<Signals>,
    pub(super) interval: Option<Duration>,
    pub(super) invocation: Box<dyn Invoke>,
    /// A pull job has none.
    pub(super) snapping: Option<Snapping>,
}

impl Active {
    /// Runs until `stop` is cancelled.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        match self.snapping.take() {
            Some(snapping) => {
                let snapper = Arc::clone(&snapping.snapper);
                tokio::join!(snapping.run(&stop), self.work(Some(&snapper), &stop));
            }
            None => self.work(None, &stop).await,
        }
    }

    async fn work(&mut self, snapper: Option<&Snapper>, stop: &CancellationToken) {
        let mut clock = self.interval.map(Clock::start);
        while !stop.is_cancelled() {
            tracing::info!("wait for wakeups");
            let part = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                part = self.signals.woken() => part,
                () = round_ended(snapper) => Part::All,
                () = tick(clock.as_mut()) => Part::All,
            };
            self.invoke(part, stop).await;
            if clock.as_ref().is_some_and(Clock::is_late) && !stop.is_cancelled() {
                // As in zrepl 0.7.0: the tick that was missed comes now.
                tracing::warn!("pull job took longer than pull interval");
            }
        }
        self.invocation.settle().await;
    }

    async fn invoke(&mut self, part: Part, stop: &CancellationToken) {
        let invocation = self.signals.begin(stop);
        let running = self.invocation.invoke(part, &invocation.stop);
        tokio::pin!(running);
        tokio::select! {
            () = &mut running => return,
            () = invocation.stop.cancelled() => {}
        }
        if !stop.is_cancelled() {
            tracing::info!("reset received, cancelling current invocation");
        }
        running.await;
    }
}

/// Snapshots have been taken; never, if there is nobody to take them.
async fn round_ended(snapper: Option<&Snapper>) {
    match snapper {
        Some(snapper) => snapper.round_ended().await,
        None => std::future::pending().await,
    }
}

/// The next tick; never, if there is no clock.
async fn tick(clock: Option<&mut Clock>) {
    match clock {
        Some(clock) => clock.tick().await,
        None => std::future::pending().await,
    }
}

/// Ticks at a fixed interval. Ticks that nobody waited for are one.
#[derive(Debug)]
struct Clock {
    interval: Duration,
    next: Instant,
}

impl Clock {
    fn start(interval: Duration) -> Self {
        let next = later(Instant::now(), interval);
        Self { interval, next }
    }

    fn is_late(&self) -> bool {
        self.next <= Instant::now()
    }

    /// Waits for it. Cancelling it loses nothing.
    async fn tick(&mut self) {
        sleep_until(self.next).await;
        let now = Instant::now();
        while self.next <= now {
            self.next = later(self.next, self.interval);
        }
    }
}

/// Intervals may be as long as a Go duration, which is longer than some clocks can count.
fn later(from: Instant, by: Duration) -> Instant {
    const YEARS: Duration = Duration::from_secs(30 * 365 * 24 * 3600);
    from + by.min(YEARS)
}

/// Does nothing, and takes its time to stop.
#[cfg(test)]
#[derive(Debug)]
pub(super) struct Stubborn(pub(super) Duration);

#[cfg(test)]
#[tonic::async_trait]
impl Invoke for Stubborn {
    async fn invoke(&mut self, _: Part, stop: &CancellationToken) {
        stop.cancelled().await;
        tokio::time::sleep(self.0).await;
    }

    async fn preview(
        &mut self,
        _: &CancellationToken,
    ) -> (Option<preview::Replication>, Vec<preview::Pruning>) {
        (None, Vec::new())
    }

    async fn settle(&mut self) {}
}

#[cfg(test)]
mod tests;
