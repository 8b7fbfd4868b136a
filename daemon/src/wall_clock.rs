//! The clock on the wall, and waiting for a time that it shows. Snapshots are taken at times of this clock, so who waits must
//! wake up when a machine has slept past the time, and when somebody has set the clock. A time flows in; the wait is over when
//! it has come, or when it is worth looking at the clock again: whoever waits asks for the time and decides anew.
//!
//! tokio's own timers know neither: they stand still while the machine sleeps.

#[cfg(target_os = "linux")]
mod timer;
#[cfg(test)]
pub(crate) mod virtual_clock;

use std::time::Duration;

use jiff::Timestamp;

/// A clock to wait for.
pub trait Clock: Send + Sync {
    /// The time.
    fn now(&self) -> Timestamp;

    /// Returns at this time, and any number of times before: soon after the clock has been set, and now and then.
    fn sleep_until(&self, at: Timestamp) -> impl Future<Output = ()> + Send;
}

/// The clock of this machine.
///
/// Linux tells when it was set or the machine woke up; so does no FreeBSD before 14, so there, and where Linux has no timer to give,
/// it is looked at every few seconds.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    async fn sleep_until(&self, at: Timestamp) {
        let left = Duration::try_from(at.duration_since(self.now())).unwrap_or_default();
        if left.is_zero() {
            return;
        }
        #[cfg(target_os = "linux")]
        match tokio::time::timeout(LONGEST, timer::sleep_until(sooner(at, self.now()))).await {
            Ok(Ok(())) | Err(_) => return,
            Ok(Err(error)) => {
                tracing::debug!(%error, "no timer: looking at the clock now and then");
            }
        }
        tokio::time::sleep(left.min(PAUSE)).await;
    }
}

/// Between two looks at a clock that does not tell when it is set. As in zrepl 0.7.0 (`ZREPL_WALLCLOCKTIMER_MAX_DELAY`).
const PAUSE: Duration = Duration::from_secs(10);

/// A clock that is set between the look at it and the moment at which the timer runs tells nobody. That shall not cost more than
/// this, by the clock if it was set forward, and by tokio's, which goes on whatever happens to that one, if it was set back.
#[cfg(target_os = "linux")]
const LONGEST: Duration = Duration::from_secs(3600);

#[cfg(target_os = "linux")]
fn sooner(at: Timestamp, now: Timestamp) -> Timestamp {
    now.checked_add(LONGEST).map_or(at, |limit| at.min(limit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_system_clock_shows_the_time_when_the_wait_is_over() {
        let clock = SystemClock;
        let at = clock.now() + Duration::from_millis(3);
        while clock.now() < at {
            clock.sleep_until(at).await;
        }
        for past in [at, Timestamp::UNIX_EPOCH, Timestamp::MIN] {
            clock.sleep_until(past).await;
        }
    }

    #[tokio::test(start_paused = true)]
    #[cfg(not(target_os = "linux"))]
    async fn a_clock_that_may_be_set_is_looked_at_again() {
        SystemClock.sleep_until(Timestamp::MAX).await;
    }

    /// As if the clock had been set back just before the timer was started: what has passed here is tokio's time only.
    #[tokio::test(start_paused = true)]
    #[cfg(target_os = "linux")]
    async fn a_clock_that_does_not_advance_is_looked_at_after_an_hour() {
        let begun = tokio::time::Instant::now();
        let at = SystemClock.now() + 10 * LONGEST;
        let waiting = SystemClock.sleep_until(at);
        let ended = tokio::time::timeout(2 * LONGEST, waiting).await;
        ended.expect("somebody looks");
        assert_eq!(begun.elapsed(), LONGEST);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn no_wait_is_longer_than_an_hour() {
        let now = Timestamp::UNIX_EPOCH;
        let minute = now + Duration::from_secs(60);
        assert_eq!(sooner(minute, now), minute);
        assert_eq!(sooner(Timestamp::MAX, now), now + LONGEST);
        assert_eq!(sooner(Timestamp::MAX, Timestamp::MAX), Timestamp::MAX);
    }
}
