//! The kernel below zfs-safe: one ioctl goes in, its bare number and its reply come out. What zfs-safe and libzfs_core
//! make of an answer cannot get in between.

#![expect(unsafe_code, reason = "asks the kernel directly")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};
use std::{mem, ptr};

use rustix::fs::{Mode, OFlags};
use zfs_safe::begin_record::BeginRecord;
use zfs_safe::nvlist::{Encoding, NvList, Value};
use zfs_sys::ioctl;
use zfs_sys::zfs_cmd::{BUFFER_SIZE, zfs_cmd_t};

/// `enum zfs_ioc` of `include/sys/fs/zfs.h`.
const FIRST: u32 = 0x5a00;
pub(super) const SNAPSHOT: u32 = FIRST + 0x23;
pub(super) const HOLD: u32 = FIRST + 0x30;
pub(super) const RELEASE: u32 = FIRST + 0x31;
pub(super) const DESTROY_SNAPS: u32 = FIRST + 0x3b;
pub(super) const SEND_NEW: u32 = FIRST + 0x40;
pub(super) const RECV_NEW: u32 = FIRST + 0x46;
pub(super) const CHANNEL_PROGRAM: u32 = FIRST + 0x48;
/// No release has as many.
pub(super) const UNKNOWN: u32 = FIRST + 0x7e;

/// Room for the reply of a call that does not say otherwise: what libzfs_core gives.
pub(super) const REPLY: usize = 128 << 10;

/// An open `/dev/zfs`.
pub(super) struct Kernel(OwnedFd);

/// What the kernel said.
#[derive(Debug)]
pub(super) struct Answer {
    /// 0 for success.
    pub(super) errno: i32,
    pub(super) list: NvList,
}

/// The argument block of a call, longer than any kernel's.
pub(super) struct Block {
    words: Vec<u64>,
    reply: Vec<u64>,
}

impl Block {
    /// A block of zeros with a name, whose unused end is filled with `canary`.
    pub(super) fn new(name: &str, reply_bytes: usize, canary: u8) -> Self {
        let mut words = vec![0; BUFFER_SIZE / 8];
        words[size_of::<zfs_cmd_t>() / 8..].fill(u64::from_ne_bytes([canary; 8]));
        let mut block = Self {
            words,
            reply: vec![0; reply_bytes / 8],
        };
        block.parts().zc_name[..name.len()].copy_from_slice(name.as_bytes());
        let (address, size) = (
            block.reply.as_mut_ptr() as u64,
            (block.reply.len() * 8) as u64,
        );
        if reply_bytes > 0 {
            block.parts().zc_nvlist_dst = address;
            block.parts().zc_nvlist_dst_size = size;
        }
        block
    }

    pub(super) fn parts(&mut self) -> &mut zfs_cmd_t {
        const {
            assert!(
                size_of::<zfs_cmd_t>() <= BUFFER_SIZE
                    && align_of::<zfs_cmd_t>() <= align_of::<u64>()
            );
        };
        // SAFETY: the buffer is long and aligned enough, as asserted; all members are integers and arrays of them; the
        // reference borrows `self`.
        unsafe { &mut *self.words.as_mut_ptr().cast::<zfs_cmd_t>() }
    }

    pub(super) fn set_byte(&mut self, offset: usize, value: u8) {
        let mut bytes = self.words[offset / 8].to_ne_bytes();
        bytes[offset % 8] = value;
        self.words[offset / 8] = u64::from_ne_bytes(bytes);
    }

    /// The bytes from `offset` on.
    pub(super) fn tail(&self, offset: usize) -> Vec<u8> {
        self.words
            .iter()
            .flat_map(|word| word.to_ne_bytes())
            .skip(offset)
            .collect()
    }

    pub(super) fn name(&mut self) -> String {
        let name = &self.parts().zc_name;
        let end = name
            .iter()
            .position(|&byte| byte == 0)
            .unwrap_or(name.len());
        String::from_utf8_lossy(&name[..end]).into_owned()
    }

    /// The reply list; empty if the kernel did not fill one in.
    pub(super) fn reply(&mut self) -> NvList {
        if self.parts().zc_nvlist_dst_filled == 0 {
            return NvList::new();
        }
        let bytes: Vec<u8> = self
            .reply
            .iter()
            .flat_map(|word| word.to_ne_bytes())
            .collect();
        NvList::decode(&bytes).unwrap_or_else(|error| panic!("reply: {error}"))
    }
}

impl Kernel {
    pub(super) fn open() -> Self {
        Self::try_open().unwrap_or_else(|error| panic!("/dev/zfs: {error}"))
    }

    pub(super) fn try_open() -> rustix::io::Result<Self> {
        rustix::fs::open(ioctl::DEVICE, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).map(Self)
    }

    /// Makes a call; gives its number.
    pub(super) fn run(&self, number: u32, block: &mut Block) -> i32 {
        // SAFETY: the descriptor is open; the block is longer than that of any release; the addresses in it are those
        // of vectors that are alive, with their sizes.
        let result = unsafe {
            libc::ioctl(
                self.0.as_raw_fd(),
                ioctl::request(number),
                block.words.as_mut_ptr(),
            )
        };
        if result == 0 {
            0
        } else {
            io::Error::last_os_error().raw_os_error().unwrap_or(-1)
        }
    }

    /// Makes a call of the newer kind, which takes and gives lists.
    pub(super) fn call(&self, number: u32, name: &str, arguments: &NvList) -> Answer {
        self.call_with(number, name, arguments, REPLY)
    }

    /// The same with room for so many bytes of reply.
    pub(super) fn call_with(
        &self,
        number: u32,
        name: &str,
        arguments: &NvList,
        reply_bytes: usize,
    ) -> Answer {
        let source = arguments
            .encode(Encoding::Native)
            .unwrap_or_else(|error| panic!("{error}"));
        let mut block = Block::new(name, reply_bytes, 0);
        block.parts().zc_nvlist_src = source.as_ptr() as u64;
        block.parts().zc_nvlist_src_size = source.len() as u64;
        let errno = self.run(number, &mut block);
        drop(source);
        Answer {
            errno,
            list: block.reply(),
        }
    }

    pub(super) fn send(&self, snapshot: &str, output: BorrowedFd<'_>) -> i32 {
        let arguments = NvList::from_iter([("fd", Value::Int32(output.as_raw_fd()))]);
        self.call(SEND_NEW, snapshot, &arguments).errno
    }

    /// Receives what follows `begin` into a dataset, which becomes a child of an existing one.
    pub(super) fn receive(
        &self,
        target: &str,
        begin: &BeginRecord,
        input: BorrowedFd<'_>,
    ) -> Answer {
        let (dataset, _) = target.split_once('@').expect("a snapshot");
        let (parent, _) = dataset.rsplit_once('/').expect("a child");
        let arguments = NvList::from_iter([
            ("snapname", Value::from(target)),
            ("begin_record", Value::ByteArray(begin.bytes.to_vec())),
            ("input_fd", Value::Int32(input.as_raw_fd())),
            ("resumable", Value::Boolean),
        ]);
        self.call(RECV_NEW, parent, &arguments)
    }

    pub(super) fn destroy_snapshots(&self, names: &[&str], defer: bool) -> Answer {
        let names_list: NvList = names.iter().map(|name| (*name, Value::Boolean)).collect();
        let mut arguments = NvList::from_iter([("snaps", Value::List(names_list))]);
        if defer {
            arguments.insert("defer", Value::Boolean);
        }
        self.call(
            DESTROY_SNAPS,
            names[0].split(['/', '@']).next().unwrap_or_default(),
            &arguments,
        )
    }
}

static SIGNALS: AtomicU32 = AtomicU32::new(0);

/// How many SIGUSR1 this process has handled.
pub(super) fn signals_handled() -> u32 {
    SIGNALS.load(Ordering::Relaxed)
}

/// Handles SIGUSR1 by counting it, with these flags for sigaction(2).
pub(super) fn handle_signal(flags: i32) {
    extern "C" fn count(_: i32) {
        SIGNALS.fetch_add(1, Ordering::Relaxed);
    }
    // SAFETY: the action is valid: zeros, a handler that only adds to an atomic number, and flags of sigaction(2).
    let result = unsafe {
        let mut action: libc::sigaction = mem::zeroed();
        action.sa_sigaction = count as extern "C" fn(i32) as libc::sighandler_t;
        action.sa_flags = flags;
        libc::sigaction(libc::SIGUSR1, &raw const action, ptr::null_mut())
    };
    assert_eq!(result, 0, "sigaction: {}", io::Error::last_os_error());
}

/// Blocks all signals of this thread.
pub(super) fn block_signals() {
    // SAFETY: the set is initialised by sigfillset(3) before it is used.
    unsafe {
        let mut all = mem::zeroed();
        libc::sigfillset(&raw mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, ptr::null_mut());
    }
}

/// Sends SIGUSR1 to a thread that has not been joined.
pub(super) fn signal_thread<T>(thread: &std::thread::JoinHandle<T>) {
    use std::os::unix::thread::JoinHandleExt;
    // SAFETY: a thread that is not joined keeps its number, also after its end.
    unsafe { libc::pthread_kill(thread.as_pthread_t(), libc::SIGUSR1) };
}
