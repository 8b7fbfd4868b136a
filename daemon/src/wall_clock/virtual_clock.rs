//! A clock that somebody else holds: tests set it, and it runs with tokio's paused time.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::Clock;

/// Shows a given time when it is made, and goes on from there. Clones are the same clock.
#[derive(Clone, Debug)]
pub(crate) struct VirtualClock {
    began: Instant,
    /// What it shows more than time has passed since then.
    shift: watch::Sender<(Timestamp, SignedDuration)>,
}

impl VirtualClock {
    pub(crate) fn showing(time: Timestamp) -> Self {
        Self {
            began: Instant::now(),
            shift: watch::Sender::new((time, SignedDuration::ZERO)),
        }
    }

    /// Sets it forward or back; or, for time that does not pass for the timers of the machine, lets the machine sleep.
    pub(crate) fn step(&self, by: SignedDuration) {
        self.shift.send_modify(|(_, shift)| *shift += by);
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Timestamp {
        let (start, shift) = *self.shift.borrow();
        start + shift + self.began.elapsed()
    }

    async fn sleep_until(&self, at: Timestamp) {
        let mut shift = self.shift.subscribe();
        // A timer of tokio counts milliseconds; it is not early.
        let left = Duration::try_from(at.duration_since(self.now())).unwrap_or_default();
        tokio::select! {
            () = sleep(left.min(Duration::from_secs(365 * 24 * 3600))) => {}
            changed = shift.changed() => changed.expect("the sender is here"),
        }
    }
}
