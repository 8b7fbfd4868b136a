//! Sends and receives on threads that share no descriptors with the rest of the process.
//!
//! A receive sleeps until its pipe has something to read, and the other end of that pipe is open in this very process. If the process
//! is killed at the wrong moment, that is for ever: OpenZFS on Linux forgets a signal that comes while it starts a kernel thread
//! (`spl_kthread_create` of all releases to 2.4 clears `TIF_SIGPENDING`), as every send and receive does. The other threads die, the
//! one in the kernel sleeps on, holds the pipe's other end open itself, and its dataset stays busy until the host is started again.
//! With a table of descriptors of its own, in which there is only its end, the other end closes when the others die.

#![expect(unsafe_code, reason = "calls close_range(2) and unshare(2)")]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::mpsc;
use std::thread;

use rustix::io::Errno as OsError;

use crate::errno::Errno;

/// Runs `work` with `stream` on a thread whose descriptors are its own: `stream`, `device`, and those of standard input, output and
/// error. Where the system does not allow that, they are shared. `stream` is closed when this returns, in this thread's table as soon
/// as `work` has begun, although its number is not used again before the end.
///
/// `work` must not use any other descriptor, not even to wake a thread.
pub(super) fn with_own<T: Send>(
    stream: OwnedFd,
    device: &[RawFd],
    work: impl FnOnce(BorrowedFd<'_>) -> T + Send,
) -> Result<T, Errno> {
    let number = stream.as_raw_fd();
    let (tell, told) = mpsc::channel();
    thread::scope(|scope| {
        let name = thread::current().name().unwrap_or("zfs-stream").to_owned();
        let inner = thread::Builder::new().name(name).spawn_scoped(scope, || {
            // Dropped on return and on panic, so that nobody waits for an answer that will not come.
            let tell = tell;
            let own = detach(number, device)?;
            // Nobody listens once the other thread has gone, and then there is nobody to tell.
            tell.send(own).ok();
            if own {
                // SAFETY: in this thread's table nobody else owns this descriptor.
                let stream = unsafe { OwnedFd::from_raw_fd(number) };
                Ok(work(stream.as_fd()))
            } else {
                // SAFETY: the table is shared, and `stream` lives until this thread has been joined.
                Ok(work(unsafe { BorrowedFd::borrow_raw(number) }))
            }
        });
        let inner = inner.map_err(|error| errno(&error))?;
        let stream = match told.recv() {
            Ok(true) => stand_in(stream),
            Ok(false) | Err(mpsc::RecvError) => Some(stream),
        };
        let result = match inner.join() {
            Ok(result) => result.map_err(|error| errno(&error)),
            Err(panic) => std::panic::resume_unwind(panic),
        };
        drop(stream);
        result
    })
}

/// Closes a descriptor, but keeps its number taken for as long as the result lives: the kernel knows a send by it.
fn stand_in(mut stream: OwnedFd) -> Option<OwnedFd> {
    let nothing = rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC).ok()?;
    // Atomic: the number is never free in between. If it fails, the number is given up.
    rustix::io::dup3(&nothing, &mut stream, rustix::io::DupFlags::CLOEXEC).ok()?;
    Some(stream)
}

/// Gives the calling thread a table of its own with nothing but these descriptors and the three standard ones. `false` if it shares
/// its table as before; after an error it has one of its own that is of no use.
fn detach(stream: RawFd, device: &[RawFd]) -> io::Result<bool> {
    if device.is_empty() {
        return Ok(false);
    }
    let mut keep: Vec<RawFd> = device.iter().copied().chain([0, 1, 2, stream]).collect();
    keep.sort_unstable();
    keep.dedup();
    let above = keep.last().map_or(0, |last| last + 1);
    match close_range(above, RawFd::MAX, libc::CLOSE_RANGE_UNSHARE) {
        Ok(()) => {
            for pair in keep.windows(2) {
                if pair[0] + 1 < pair[1] {
                    close_range(pair[0] + 1, pair[1] - 1, 0)?;
                }
            }
            Ok(true)
        }
        // Linux before 5.9 has no such call.
        Err(OsError::NOSYS) => detach_slowly(&keep),
        // What confines this process does not allow it.
        Err(_) => Ok(false),
    }
}

/// As [`detach`], descriptor by descriptor.
fn detach_slowly(keep: &[RawFd]) -> io::Result<bool> {
    // SAFETY: a table of its own has the same descriptors under the same numbers; the callers see to it that this thread owns none of
    // those that are closed below.
    if unsafe { libc::unshare(libc::CLONE_FILES) } != 0 {
        return Ok(false);
    }
    for number in open_descriptors("/proc/thread-self/fd")? {
        if !keep.contains(&number) {
            // The directory that has just been read is among them, and closed already.
            // SAFETY: as above.
            unsafe { libc::close(number) };
        }
    }
    Ok(true)
}

/// Closes all descriptors from `first` to `last`.
fn close_range(first: RawFd, last: RawFd, flags: libc::c_uint) -> Result<(), OsError> {
    // SAFETY: closes descriptors in a table that is this thread's alone, by `CLOSE_RANGE_UNSHARE` in this call or in one before, and
    // this thread owns none of them. The numbers are not negative. As a system call, because glibc has a function only since 2.34.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) };
    if result == 0 {
        Ok(())
    } else {
        Err(OsError::from_io_error(&io::Error::last_os_error()).unwrap_or(OsError::IO))
    }
}

/// Numbers of this process' descriptors of a device. Empty if that cannot be seen.
pub(super) fn of_file(path: &str) -> Vec<RawFd> {
    let (Ok(device), Ok(mut numbers)) = (rustix::fs::stat(path), open_descriptors("/proc/self/fd"))
    else {
        return Vec::new();
    };
    numbers.retain(|&number| {
        // SAFETY: another thread may close it at any time; then this is an error, or the answer is about another file, and a caller who
        // wants to know about that one waits for nobody else.
        let file = unsafe { BorrowedFd::borrow_raw(number) };
        rustix::fs::fstat(file)
            .is_ok_and(|found| found.st_rdev == device.st_rdev && found.st_mode == device.st_mode)
    });
    numbers
}

/// Numbers of open descriptors, by a directory of proc(5). One more is open while it is read, and may be among them.
fn open_descriptors(directory: &str) -> io::Result<Vec<RawFd>> {
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        numbers.extend(
            entry?
                .file_name()
                .to_str()
                .and_then(|name| name.parse::<RawFd>().ok()),
        );
    }
    Ok(numbers)
}

fn errno(error: &io::Error) -> Errno {
    Errno::new(error.raw_os_error().unwrap_or(libc::EIO))
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Read, Write};

    use rustix::pipe::{PipeFlags, pipe_with};

    use super::*;

    fn pipe() -> (OwnedFd, OwnedFd) {
        pipe_with(PipeFlags::CLOEXEC).expect("a pipe")
    }

    /// Any file can stand for the device.
    fn device() -> (File, Vec<RawFd>) {
        let file = File::open("/dev/zero").expect("opened");
        let number = vec![file.as_raw_fd()];
        (file, number)
    }

    fn open_here() -> Vec<RawFd> {
        let mut open = open_descriptors("/proc/thread-self/fd").expect("listed");
        // The directory itself is closed again.
        open.retain(|number| std::fs::read_link(format!("/proc/thread-self/fd/{number}")).is_ok());
        open
    }

    fn has_all(open: &[RawFd], wanted: &[RawFd]) -> bool {
        wanted.iter().all(|number| open.contains(number))
    }

    #[test]
    fn there_is_nothing_but_the_stream_and_the_device() {
        let (zero, device) = device();
        let (reader, writer) = pipe();
        let number = reader.as_raw_fd();
        let open = with_own(reader, &device, |stream| {
            assert_eq!(stream.as_raw_fd(), number);
            open_here()
        });
        let open = open.expect("runs");
        let mut others = open.clone();
        others.retain(|&fd| fd > 2 && fd != number && fd != zero.as_raw_fd());
        assert!(others.is_empty(), "{others:?}");
        assert!(has_all(&open, &[number, zero.as_raw_fd()]), "{open:?}");
        drop(writer);
    }

    /// What the kernel does to whoever sleeps in it: nobody else has the other end, although it was open when the thread began.
    #[test]
    fn the_other_end_closes_when_the_others_close_it() {
        let (_zero, device) = device();
        let (reader, writer) = pipe();
        thread::scope(|scope| {
            let (begin, begun) = mpsc::channel();
            let reading = scope.spawn(move || {
                with_own(reader, &device, |stream| {
                    begin.send(()).expect("somebody waits");
                    let mut got = Vec::new();
                    let mut file = File::from(stream.try_clone_to_owned().expect("cloned"));
                    file.read_to_end(&mut got).map(|_| got)
                })
            });
            begun.recv().expect("begins");
            // A later one must not keep it open either.
            let (_zero, device) = self::device();
            let (later, hold) = pipe();
            let waiting = scope.spawn(move || {
                with_own(later, &device, |stream| {
                    rustix::io::read(stream, &mut [0_u8; 1])
                })
            });
            File::from(writer).write_all(b"all").expect("written");
            let got = reading.join().expect("no panic").expect("runs");
            assert_eq!(got.expect("read"), b"all");
            drop(hold);
            let end = waiting.join().expect("no panic").expect("runs");
            assert_eq!(end, Ok(0));
        });
    }

    #[test]
    fn the_shared_table_lets_go_of_the_stream_and_keeps_its_number() {
        let (_zero, device) = device();
        let (reader, writer) = pipe();
        let here = format!("/proc/self/fd/{}", reader.as_raw_fd());
        let (go_on, goes_on) = mpsc::channel::<()>();
        thread::scope(|scope| {
            let reading = scope.spawn(|| with_own(reader, &device, move |_| goes_on.recv()));
            let stand_in = |_: &u32| {
                thread::sleep(std::time::Duration::from_millis(10));
                std::fs::read_link(&here).is_ok_and(|to| to.ends_with("anon_inode:[eventfd]"))
            };
            assert!((0..1000).any(|number| stand_in(&number)));
            drop(go_on);
            let end = reading.join().expect("no panic").expect("runs");
            end.expect_err("nobody tells it anything");
        });
        drop(writer);
    }

    #[test]
    fn without_a_known_device_the_table_is_shared() {
        let (reader, writer) = pipe();
        let number = writer.as_raw_fd();
        let open = with_own(reader, &[], |_| open_here()).expect("runs");
        assert!(open.contains(&number), "{open:?}");
        drop(writer);
    }

    #[test]
    fn descriptor_by_descriptor_it_is_the_same() {
        let (zero, _) = device();
        let (reader, writer) = pipe();
        let mut keep = vec![0, 1, 2, reader.as_raw_fd(), zero.as_raw_fd()];
        keep.sort_unstable();
        let open = thread::scope(|scope| {
            let detached = scope.spawn(|| {
                assert!(detach_slowly(&keep).expect("detached"));
                open_here()
            });
            detached.join().expect("no panic")
        });
        assert!(!open.contains(&writer.as_raw_fd()), "{open:?}");
        assert!(has_all(&open, &[reader.as_raw_fd(), zero.as_raw_fd()]));
        // Here nothing has changed.
        assert!(has_all(
            &open_here(),
            &[reader.as_raw_fd(), writer.as_raw_fd()]
        ));
    }

    #[test]
    fn a_panic_goes_on_and_leaves_nothing_open() {
        let (_zero, device) = device();
        let (reader, writer) = pipe();
        let panicked = thread::scope(|scope| {
            scope
                .spawn(|| with_own(reader, &device, |_| panic!("as told")))
                .join()
        });
        panicked.expect_err("goes on");
        let broken = File::from(writer)
            .write_all(b"x")
            .expect_err("nobody reads");
        assert_eq!(broken.kind(), io::ErrorKind::BrokenPipe);
    }
}
