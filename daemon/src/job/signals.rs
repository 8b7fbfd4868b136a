//! The two signals that a job can be sent: `wakeup` begins an invocation, `reset` ends the one that runs. As in zrepl 0.7.0,
//! a signal that finds nobody who waits for it is refused, not kept.
//!
//! ```text
//!            wakeup               invocation begins
//!   Idle ─────────────► Woken ─────────────────────► Running ── reset ──► Stopping
//!    ▲                                                  │ invocation ends    │
//!    └──────────────────────────────────────────────────┴────────────────────┘
//! ```

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Why a signal was refused. The texts are those of zrepl 0.7.0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignalError {
    /// No invocation runs, or it has been told already.
    #[error("already reset")]
    AlreadyReset,
    /// The job does not wait for it: an invocation runs, or there are never any.
    #[error("already woken up")]
    AlreadyWokenUp,
    /// It is not the job's business.
    #[error("this job takes no snapshots")]
    NoSnapshots,
}

/// How much of its work a job is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// All of it.
    All,
    /// Destroy what no rule keeps, and nothing else.
    Pruning,
}

/// Where a job's signals arrive. A job that never waits for any refuses all of them.
#[derive(Debug, Default)]
pub struct Signals {
    state: Mutex<State>,
    woken: Notify,
    retry: Notify,
}

#[derive(Debug, Default)]
enum State {
    /// Signals have no meaning now.
    #[default]
    Deaf,
    /// Waits for a wakeup.
    Idle,
    /// Has got it.
    Woken(Part),
    /// Can be reset.
    Running {
        reset: CancellationToken,
        /// How many wait for the other side to come back; a wakeup makes them try at once.
        reconnecting: usize,
    },
}

impl Signals {
    /// Begins an invocation; or, if that waits for the other side to come back, makes it try at once. zrepl 0.7.0 means to do the
    /// second as well, and refuses it.
    pub fn wakeup(&self) -> Result<(), SignalError> {
        self.wake(Part::All)
    }

    /// Begins an invocation that only prunes.
    pub fn prune(&self) -> Result<(), SignalError> {
        self.wake(Part::Pruning)
    }

    fn wake(&self, part: Part) -> Result<(), SignalError> {
        let mut state = self.state();
        match &mut *state {
            State::Idle => {
                *state = State::Woken(part);
                self.woken.notify_one();
                Ok(())
            }
            State::Running { reconnecting, .. } if *reconnecting > 0 && part == Part::All => {
                self.retry.notify_waiters();
                Ok(())
            }
            State::Deaf | State::Woken(_) | State::Running { .. } => {
                Err(SignalError::AlreadyWokenUp)
            }
        }
    }

    /// Ends the invocation that runs.
    pub fn reset(&self) -> Result<(), SignalError> {
        match &*self.state() {
            State::Running { reset, .. } if !reset.is_cancelled() => {
                reset.cancel();
                Ok(())
            }
            _ => Err(SignalError::AlreadyReset),
        }
    }

    /// Waits for a wakeup. Cancelling it makes the job deaf again; a wakeup that came before that is not lost.
    pub(crate) async fn woken(&self) -> Part {
        let waiting = Waiting(self);
        {
            let mut state = self.state();
            if !matches!(*state, State::Woken(_)) {
                *state = State::Idle;
            }
        }
        let part = loop {
            let woken = self.woken.notified();
            if let State::Woken(part) = *self.state() {
                break part;
            }
            woken.await;
        };
        *self.state() = State::Deaf;
        drop(waiting);
        part
    }

    /// Begins an invocation that can be reset until what is returned is dropped.
    pub(super) fn begin(&self, stop: &CancellationToken) -> Invocation<'_> {
        let reset = stop.child_token();
        *self.state() = State::Running {
            reset: reset.clone(),
            reconnecting: 0,
        };
        Invocation {
            signals: self,
            stop: reset,
        }
    }

    /// Runs `wait`, which waits for the other side to come back; a wakeup makes it begin anew.
    pub(super) async fn reconnecting<T, F: Future<Output = T>>(&self, wait: impl Fn() -> F) -> T {
        let _counted = Reconnecting::count(self);
        loop {
            let retry = self.retry.notified();
            tokio::select! {
                result = wait() => return result,
                () = retry => tracing::info!("woken up while waiting for the other side: trying to connect at once"),
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A state is whole at any time, also where somebody panicked.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes deaf whom nobody polls any more.
struct Waiting<'a>(&'a Signals);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        if matches!(*state, State::Idle) {
            *state = State::Deaf;
        }
    }
}

/// An invocation while it runs.
#[derive(Debug)]
pub(super) struct Invocation<'a> {
    signals: &'a Signals,
    /// Cancelled by a reset, and when the job is to stop.
    pub(super) stop: CancellationToken,
}

impl Drop for Invocation<'_> {
    fn drop(&mut self) {
        *self.signals.state() = State::Deaf;
    }
}

struct Reconnecting<'a>(&'a Signals);

impl<'a> Reconnecting<'a> {
    fn count(signals: &'a Signals) -> Self {
        if let State::Running { reconnecting, .. } = &mut *signals.state() {
            *reconnecting += 1;
        }
        Self(signals)
    }
}

impl Drop for Reconnecting<'_> {
    fn drop(&mut self) {
        if let State::Running { reconnecting, .. } = &mut *self.0.state() {
            *reconnecting = reconnecting.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use tokio::time::{sleep, timeout};

    use super::*;

    const SOON: Duration = Duration::from_secs(1);

    #[test]
    fn a_job_that_waits_for_nothing_refuses_both() {
        let signals = Signals::default();
        assert_eq!(signals.wakeup(), Err(SignalError::AlreadyWokenUp));
        assert_eq!(signals.reset(), Err(SignalError::AlreadyReset));
    }

    #[tokio::test(start_paused = true)]
    async fn a_wakeup_is_taken_once_by_a_job_that_waits() {
        let signals = Arc::new(Signals::default());
        let waiting = tokio::spawn({
            let signals = Arc::clone(&signals);
            async move { signals.woken().await }
        });
        sleep(SOON).await;
        assert_eq!(signals.reset(), Err(SignalError::AlreadyReset));
        assert_eq!(signals.wakeup(), Ok(()));
        assert_eq!(signals.wakeup(), Err(SignalError::AlreadyWokenUp));
        waiting.await.expect("did not panic");
        assert_eq!(signals.wakeup(), Err(SignalError::AlreadyWokenUp));
    }

    #[tokio::test(start_paused = true)]
    async fn a_wakeup_that_was_taken_is_not_lost_with_the_wait() {
        let signals = Signals::default();
        assert!(timeout(SOON, signals.woken()).await.is_err());
        assert_eq!(signals.wakeup(), Err(SignalError::AlreadyWokenUp));
        let mut waiting = Box::pin(signals.woken());
        assert!(timeout(SOON, &mut waiting).await.is_err());
        assert_eq!(signals.wakeup(), Ok(()));
        drop(waiting);
        assert!(timeout(SOON, signals.woken()).await.is_ok());
        assert!(timeout(SOON, signals.woken()).await.is_err());
    }

    #[tokio::test]
    async fn an_invocation_is_reset_once_and_stops_with_its_job() {
        let signals = Signals::default();
        let job = CancellationToken::new();
        let invocation = signals.begin(&job);
        assert_eq!(signals.wakeup(), Err(SignalError::AlreadyWokenUp));
        assert_eq!(signals.reset(), Ok(()));
        assert!(invocation.stop.is_cancelled() && !job.is_cancelled());
        assert_eq!(signals.reset(), Err(SignalError::AlreadyReset));
        drop(invocation);
        assert_eq!(signals.reset(), Err(SignalError::AlreadyReset));
        let invocation = signals.begin(&job);
        assert!(!invocation.stop.is_cancelled());
        job.cancel();
        assert!(invocation.stop.is_cancelled());
    }

    #[tokio::test(start_paused = true)]
    async fn a_wakeup_while_reconnecting_tries_at_once() {
        let signals = Arc::new(Signals::default());
        let job = CancellationToken::new();
        let invocation = signals.begin(&job);
        let tries = Arc::new(AtomicUsize::new(0));
        let waiting = tokio::spawn({
            let (signals, tries) = (Arc::clone(&signals), Arc::clone(&tries));
            async move {
                let wait = || {
                    let number = tries.fetch_add(1, Ordering::Relaxed);
                    async move {
                        let hour = Duration::from_secs(3600);
                        sleep(if number == 0 { hour } else { SOON }).await;
                    }
                };
                signals.reconnecting(wait).await;
            }
        });
        sleep(SOON).await;
        assert_eq!(signals.wakeup(), Ok(()));
        timeout(2 * SOON, waiting)
            .await
            .expect("tried again")
            .expect("did not panic");
        assert_eq!(tries.load(Ordering::Relaxed), 2);
        assert_eq!(signals.wakeup(), Err(SignalError::AlreadyWokenUp));
        drop(invocation);
    }
}
