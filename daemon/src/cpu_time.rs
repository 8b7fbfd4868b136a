//! For tests that something does not take time out of proportion: what a computation costs the processor, which does not
//! depend on how busy the machine is, as the time on the clock does. How fast things are is for benchmarks.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Runs `work` on this thread, and says what time of the processor it took.
pub(crate) fn of<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let before = now();
    let result = work();
    (result, now().saturating_sub(before))
}

fn now() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}
