//! Signals kept away from kernel calls that a pending one would end: sends, receives and channel programs.

#![expect(unsafe_code, reason = "calls pthread_sigmask(3)")]

use std::mem::MaybeUninit;
use std::ptr;

/// While this lives, the calling thread takes no signals (but SIGKILL and SIGSTOP, which cannot be kept away).
#[derive(Debug)]
pub(super) struct SignalsBlocked {
    previous: libc::sigset_t,
    /// The mask belongs to one thread.
    _not_send: std::marker::PhantomData<*const ()>,
}

impl SignalsBlocked {
    pub(super) fn new() -> Self {
        let mut all = MaybeUninit::uninit();
        let mut previous = MaybeUninit::uninit();
        // SAFETY: `sigfillset` initialises the set, which is then read; the previous mask is written into a valid place.
        // Both calls cannot fail with these arguments.
        let previous = unsafe {
            libc::sigfillset(all.as_mut_ptr());
            libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), previous.as_mut_ptr());
            previous.assume_init()
        };
        Self {
            previous,
            _not_send: std::marker::PhantomData,
        }
    }
}

impl Drop for SignalsBlocked {
    fn drop(&mut self) {
        // SAFETY: `previous` is a mask that this thread has had.
        unsafe {
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.previous, ptr::null_mut())
        };
    }
}

/// Reads a string from the kernel's tables.
#[cfg(target_os = "freebsd")]
pub(super) fn sysctl_text(name: &std::ffi::CStr) -> std::io::Result<String> {
    let mut buffer = [0_u8; 256];
    let mut length = buffer.len();
    // SAFETY: a C string, and a buffer with its length.
    let result = unsafe {
        libc::sysctlbyname(
            name.as_ptr(),
            buffer.as_mut_ptr().cast(),
            &raw mut length,
            ptr::null(),
            0,
        )
    };
    if result != 0 {
        return Err(std::io::Error::last_os_error());
    }
    let text = String::from_utf8_lossy(&buffer[..length.min(buffer.len())]);
    Ok(text.trim_end_matches('\0').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mask() -> Vec<i32> {
        let mut now = MaybeUninit::uninit();
        // SAFETY: with a null new set only the current one is written.
        let now = unsafe {
            libc::pthread_sigmask(libc::SIG_SETMASK, ptr::null(), now.as_mut_ptr());
            now.assume_init()
        };
        // SAFETY: a valid set.
        (1..=31)
            .filter(|&signal| unsafe { libc::sigismember(&raw const now, signal) } == 1)
            .collect()
    }

    #[test]
    fn all_signals_are_blocked_and_then_as_before() {
        let before = mask();
        let blocked = SignalsBlocked::new();
        assert!(
            mask().contains(&libc::SIGTERM)
                && mask().contains(&libc::SIGINT)
                && mask().contains(&libc::SIGURG)
        );
        drop(blocked);
        assert_eq!(mask(), before);
    }
}
