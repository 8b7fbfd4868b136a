//! A timer of Linux that follows the clock on the wall and tells when it was set. Waking up from sleep counts as setting it.

use std::io;
use std::os::fd::OwnedFd;

use jiff::Timestamp;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::io::unix::AsyncFd;

/// Returns when the clock shows this time, or has been set. The time is not past.
pub(super) async fn sleep_until(at: Timestamp) -> io::Result<()> {
    let timer = timerfd_create(
        TimerfdClockId::Realtime,
        TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK,
    )?;
    let once = Itimerspec {
        it_interval: Timespec::default(),
        it_value: Timespec {
            tv_sec: at.as_second(),
            tv_nsec: at.subsec_nanosecond().into(),
        },
    };
    timerfd_settime(
        &timer,
        TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET,
        &once,
    )?;
    #[expect(
        deprecated,
        reason = "what replaces it is unsafe for the sake of other types; this descriptor is ours and stays open"
    )]
    let timer = AsyncFd::<OwnedFd>::new(timer)?;
    // Readable in both cases; a read would tell which, and nobody has to know.
    timer.readable().await?.retain_ready();
    Ok(())
}
