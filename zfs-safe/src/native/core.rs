//! libzfs_core, made safe: names and nvlists in, an error number and nvlists out. Nothing is decided here.

#![expect(unsafe_code, reason = "calls libzfs_core")]
#![expect(
    clippy::unused_self,
    reason = "having a Core is what proves that the library is initialised"
)]

use std::ffi::{CString, c_char, c_int};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::ptr;
use std::sync::{Mutex, PoisonError};

use zfs_sys::libzfs_core as lzc;
use zfs_sys::nvpair_sys::{self as nvpair, nvlist_t};

use crate::begin_record::BeginRecord;
use crate::errno::{Errno, Symbol};
use crate::nvlist::{Encoding, NvList};

/// `NV_ENCODE_NATIVE` of `libnvpair.h`.
const NV_ENCODE_NATIVE: c_int = 0;

/// libzfs_core, initialised. One process-wide descriptor of `/dev/zfs` is shared by all of these.
#[derive(Debug)]
pub(super) struct Core {
    descriptors: Vec<RawFd>,
}

/// Who uses the library's descriptor, which it does not tell.
static LIBRARY: Mutex<Library> = Mutex::new(Library {
    users: 0,
    descriptors: Vec::new(),
});

struct Library {
    users: usize,
    descriptors: Vec<RawFd>,
}

/// What a call with a reply list gave.
pub(super) struct Reply {
    /// `None` for success.
    pub(super) errno: Option<Errno>,
    /// The reply: per-item errors, or results.
    pub(super) list: NvList,
}

/// A send, as libzfs_core takes it.
pub(super) struct SendCall<'a> {
    pub(super) snapshot: &'a str,
    pub(super) base: Option<&'a str>,
    pub(super) flags: u32,
    pub(super) resume_object: u64,
    pub(super) resume_offset: u64,
}

/// A receive, as libzfs_core takes it.
pub(super) struct ReceiveCall<'a> {
    pub(super) snapshot: &'a str,
    /// Local properties: a value to set, or a valueless boolean to inherit.
    pub(super) properties: &'a NvList,
    pub(super) origin: Option<&'a str>,
    pub(super) force: bool,
    pub(super) resumable: bool,
    pub(super) begin: &'a BeginRecord,
}

/// What a successful receive reports.
pub(super) struct Received {
    pub(super) bytes: u64,
    /// Property → error number.
    pub(super) errors: NvList,
}

impl Core {
    /// Opens `/dev/zfs`.
    pub(super) fn open() -> Result<Self, Errno> {
        let mut library = LIBRARY.lock().unwrap_or_else(PoisonError::into_inner);
        let before = of_device();
        // SAFETY: no requirements; counts its callers under a mutex of its own.
        check(unsafe { lzc::libzfs_core_init() })?;
        if library.users == 0 {
            let mut opened = of_device();
            opened.retain(|number| !before.contains(number));
            library.descriptors = opened;
        }
        library.users += 1;
        Ok(Self {
            descriptors: library.descriptors.clone(),
        })
    }

    /// What the library talks to the kernel through: one descriptor of `/dev/zfs`. None where that cannot be seen, and more than one if
    /// another thread has opened the device at the same time.
    pub(super) fn descriptors(&self) -> &[RawFd] {
        &self.descriptors
    }

    pub(super) fn snapshot(&self, snapshots: &NvList, properties: &NvList) -> Reply {
        self.with_list(snapshots, |list, reply| {
            let properties = RawList::from(properties)?;
            // SAFETY: both lists are valid for the call; `reply` is a valid place holding null.
            check(unsafe { lzc::lzc_snapshot(list, properties.0, reply) })
        })
    }

    pub(super) fn destroy_snapshots(&self, snapshots: &NvList) -> Reply {
        self.with_list(snapshots, |list, reply| {
            // SAFETY: as in `snapshot`. `defer` is false.
            check(unsafe { lzc::lzc_destroy_snaps(list, boolean(false), reply) })
        })
    }

    pub(super) fn bookmark(&self, bookmarks: &NvList) -> Reply {
        self.with_list(bookmarks, |list, reply| {
            // SAFETY: as in `snapshot`.
            check(unsafe { lzc::lzc_bookmark(list, reply) })
        })
    }

    pub(super) fn destroy_bookmarks(&self, bookmarks: &NvList) -> Reply {
        self.with_list(bookmarks, |list, reply| {
            // SAFETY: as in `snapshot`.
            check(unsafe { lzc::lzc_destroy_bookmarks(list, reply) })
        })
    }

    pub(super) fn hold(&self, holds: &NvList) -> Reply {
        self.with_list(holds, |list, reply| {
            // SAFETY: as in `snapshot`. A cleanup descriptor of -1 makes the holds lasting.
            check(unsafe { lzc::lzc_hold(list, -1, reply) })
        })
    }

    /// Like [`hold`](Self::hold), but the holds go away with the last reference to `cleanup`, a separate descriptor of
    /// `/dev/zfs`, even if the process is killed.
    pub(super) fn hold_temporarily(&self, holds: &NvList, cleanup: BorrowedFd<'_>) -> Reply {
        self.with_list(holds, |list, reply| {
            // SAFETY: as in `snapshot`; the descriptor is open.
            check(unsafe { lzc::lzc_hold(list, cleanup.as_raw_fd(), reply) })
        })
    }

    pub(super) fn release(&self, holds: &NvList) -> Reply {
        self.with_list(holds, |list, reply| {
            // SAFETY: as in `snapshot`.
            check(unsafe { lzc::lzc_release(list, reply) })
        })
    }

    pub(super) fn holds(&self, snapshot: &str) -> Reply {
        self.with_name(snapshot, |name, reply| {
            // SAFETY: `name` is a C string; `reply` is a valid place holding null.
            check(unsafe { lzc::lzc_get_holds(name, reply) })
        })
    }

    /// Bookmarks of a dataset with the properties that `properties` names.
    pub(super) fn bookmarks(&self, dataset: &str, properties: &NvList) -> Reply {
        self.with_name(dataset, |name, reply| {
            let properties = RawList::from(properties)?;
            // SAFETY: as in `holds`; the property list is valid for the call.
            check(unsafe { lzc::lzc_get_bookmarks(name, properties.0, reply) })
        })
    }

    pub(super) fn bookmark_properties(&self, bookmark: &str) -> Reply {
        self.with_name(bookmark, |name, reply| {
            // SAFETY: as in `holds`.
            check(unsafe { lzc::lzc_get_bookmark_props(name, reply) })
        })
    }

    pub(super) fn create_filesystem(&self, path: &str, properties: &NvList) -> Result<(), Errno> {
        let path = c_string(path)?;
        let properties = RawList::from(properties)?;
        // SAFETY: `path` is a C string, the list is valid for the call; there is no key.
        check(unsafe {
            lzc::lzc_create(
                path.as_ptr(),
                lzc::LZC_DATSET_TYPE_ZFS,
                properties.0,
                ptr::null_mut(),
                0,
            )
        })
    }

    pub(super) fn destroy(&self, name: &str) -> Result<(), Errno> {
        let name = c_string(name)?;
        // SAFETY: `name` is a C string.
        check(unsafe { lzc::lzc_destroy(name.as_ptr()) })
    }

    pub(super) fn rename(&self, from: &str, to: &str) -> Result<(), Errno> {
        let (from, to) = (c_string(from)?, c_string(to)?);
        // SAFETY: both are C strings.
        check(unsafe { lzc::lzc_rename(from.as_ptr(), to.as_ptr()) })
    }

    /// `snapshot` is the full name.
    pub(super) fn rollback_to(&self, dataset: &str, snapshot: &str) -> Result<(), Errno> {
        let (dataset, snapshot) = (c_string(dataset)?, c_string(snapshot)?);
        // SAFETY: both are C strings.
        check(unsafe { lzc::lzc_rollback_to(dataset.as_ptr(), snapshot.as_ptr()) })
    }

    /// Runs a channel program; with `sync` in syncing context.
    pub(super) fn channel_program(
        &self,
        pool: &str,
        text: &str,
        sync: bool,
        (instructions, memory): (u64, u64),
        arguments: &NvList,
    ) -> Reply {
        self.with_name(pool, |pool, reply| {
            let text = c_string(text)?;
            let arguments = RawList::from(arguments)?;
            let call = if sync {
                lzc::lzc_channel_program
            } else {
                lzc::lzc_channel_program_nosync
            };
            // SAFETY: C strings, a list valid for the call, and a valid place holding null.
            check(unsafe {
                call(
                    pool,
                    text.as_ptr(),
                    instructions,
                    memory,
                    arguments.0,
                    reply,
                )
            })
        })
    }

    /// Sends into `output`, which must be a pipe: for anything else newer libraries insert one of their own.
    pub(super) fn send(&self, call: &SendCall<'_>, output: BorrowedFd<'_>) -> Result<(), Errno> {
        let snapshot = c_string(call.snapshot)?;
        let base = call.base.map(c_string).transpose()?;
        // SAFETY: C strings or null; the descriptor stays open during the call; no redaction bookmark.
        check(unsafe {
            lzc::lzc_send_resume_redacted(
                snapshot.as_ptr(),
                base.as_ref().map_or(ptr::null(), |base| base.as_ptr()),
                output.as_fd().as_raw_fd(),
                call.flags,
                call.resume_object,
                call.resume_offset,
                ptr::null(),
            )
        })
    }

    /// Estimated size of a stream, of which `resume_bytes` have been transferred.
    pub(super) fn send_space(&self, call: &SendCall<'_>, resume_bytes: u64) -> Result<u64, Errno> {
        let snapshot = c_string(call.snapshot)?;
        let base = call.base.map(c_string).transpose()?;
        let mut space = 0;
        // SAFETY: C strings or null; -1 as the descriptor means that nobody asks for progress; `space` is a valid place.
        check(unsafe {
            lzc::lzc_send_space_resume_redacted(
                snapshot.as_ptr(),
                base.as_ref().map_or(ptr::null(), |base| base.as_ptr()),
                call.flags,
                call.resume_object,
                call.resume_offset,
                resume_bytes,
                ptr::null(),
                -1,
                &raw mut space,
            )
        })?;
        Ok(space)
    }

    /// Receives from `input`, from which the begin record has been read.
    pub(super) fn receive(
        &self,
        call: &ReceiveCall<'_>,
        input: BorrowedFd<'_>,
    ) -> Result<Received, Errno> {
        let snapshot = c_string(call.snapshot)?;
        let origin = call.origin.map(c_string).transpose()?;
        let properties = RawList::from(call.properties)?;
        let (mut bytes, mut flags, mut action) = (0, 0, 0);
        let mut errors: *mut nvlist_t = ptr::null_mut();
        // `raw` is not passed on to the kernel: it only makes the library take the newer ioctl, which takes the begin
        // record as it is, where the older one zeroes its payload length.
        let raw = true;
        // SAFETY: C strings or null; lists valid for the call; no received properties and no key; the begin record is
        // 312 bytes, the size of the kernel's record, and the library copies it without alignment needs of its own:
        // `BeginRecord` is copied into an aligned buffer first; all result places are valid, `errors` holding null.
        let result = check(unsafe {
            let begin = AlignedRecord(call.begin.bytes);
            lzc::lzc_receive_with_cmdprops(
                snapshot.as_ptr(),
                ptr::null_mut(),
                properties.0,
                ptr::null_mut(),
                0,
                origin
                    .as_ref()
                    .map_or(ptr::null(), |origin| origin.as_ptr()),
                boolean(call.force),
                boolean(call.resumable),
                boolean(raw),
                input.as_fd().as_raw_fd(),
                (&raw const begin).cast(),
                -1,
                &raw mut bytes,
                &raw mut flags,
                &raw mut action,
                &raw mut errors,
            )
        });
        let errors = RawList(errors);
        result?;
        Ok(Received {
            bytes,
            errors: errors.read()?,
        })
    }

    fn with_list(
        &self,
        list: &NvList,
        call: impl FnOnce(*mut nvlist_t, *mut *mut nvlist_t) -> Result<(), Errno>,
    ) -> Reply {
        match RawList::from(list) {
            Ok(list) => collect(|reply| call(list.0, reply)),
            Err(errno) => Reply {
                errno: Some(errno),
                list: NvList::new(),
            },
        }
    }

    fn with_name(
        &self,
        name: &str,
        call: impl FnOnce(*const c_char, *mut *mut nvlist_t) -> Result<(), Errno>,
    ) -> Reply {
        match c_string(name) {
            Ok(name) => collect(|reply| call(name.as_ptr(), reply)),
            Err(errno) => Reply {
                errno: Some(errno),
                list: NvList::new(),
            },
        }
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        let mut library = LIBRARY.lock().unwrap_or_else(PoisonError::into_inner);
        library.users -= 1;
        // SAFETY: paired with the successful `libzfs_core_init` of `open`.
        unsafe { lzc::libzfs_core_fini() };
    }
}

/// This process' descriptors of `/dev/zfs`.
fn of_device() -> Vec<RawFd> {
    #[cfg(target_os = "linux")]
    {
        super::descriptors::of_file(zfs_sys::ioctl::DEVICE)
    }
    #[cfg(not(target_os = "linux"))]
    {
        Vec::new()
    }
}

/// A begin record where a C compiler would put it.
#[repr(align(8))]
struct AlignedRecord(#[expect(dead_code, reason = "read by the kernel")] [u8; BeginRecord::LEN]);

/// An nvlist of libnvpair, or null.
struct RawList(*mut nvlist_t);

impl RawList {
    fn from(list: &NvList) -> Result<Self, Errno> {
        // Names are checked before they come here; what cannot be encoded is a caller's mistake, and says so.
        let mut packed = list
            .encode(Encoding::Native)
            .map_err(|_| Symbol::EINVAL.errno())?;
        let mut raw = ptr::null_mut();
        // SAFETY: `packed` is a buffer of that length, which is copied from; `raw` is a valid place.
        check(unsafe {
            nvpair::nvlist_unpack(
                packed.as_mut_ptr().cast(),
                packed.len() as u64,
                &raw mut raw,
                0,
            )
        })?;
        Ok(Self(raw))
    }

    /// Reads the list through its packed form, so that only our own reader interprets it.
    fn read(&self) -> Result<NvList, Errno> {
        if self.0.is_null() {
            return Ok(NvList::new());
        }
        let mut size = 0;
        // SAFETY: `self.0` is a valid list, `size` a valid place.
        check(unsafe { nvpair::nvlist_size(self.0, &raw mut size, NV_ENCODE_NATIVE) })?;
        let mut packed = vec![0_u8; usize::try_from(size).map_err(|_| Symbol::ENOMEM.errno())?];
        let mut start = packed.as_mut_ptr().cast::<c_char>();
        // SAFETY: with `*start` not null the list is packed into that buffer, whose length is in `size`.
        check(unsafe {
            nvpair::nvlist_pack(self.0, &raw mut start, &raw mut size, NV_ENCODE_NATIVE, 0)
        })?;
        NvList::decode(&packed).map_err(|_| Symbol::IocArgBadType.errno())
    }
}

impl Drop for RawList {
    fn drop(&mut self) {
        // SAFETY: the list is owned by this value alone; null is allowed.
        unsafe { nvpair::nvlist_free(self.0) };
    }
}

fn collect(call: impl FnOnce(*mut *mut nvlist_t) -> Result<(), Errno>) -> Reply {
    let mut reply = ptr::null_mut();
    let result = call(&raw mut reply);
    let list = RawList(reply).read();
    match (result, list) {
        (Ok(()), Ok(list)) => Reply { errno: None, list },
        (Ok(()), Err(errno)) => Reply {
            errno: Some(errno),
            list: NvList::new(),
        },
        (Err(errno), list) => Reply {
            errno: Some(errno),
            list: list.unwrap_or_default(),
        },
    }
}

fn check(result: c_int) -> Result<(), Errno> {
    if result == 0 {
        Ok(())
    } else {
        Err(Errno::new(result))
    }
}

fn c_string(text: &str) -> Result<CString, Errno> {
    CString::new(text).map_err(|_| Symbol::EINVAL.errno())
}

fn boolean(value: bool) -> nvpair::boolean_t::Type {
    if value {
        nvpair::boolean_t::B_TRUE
    } else {
        nvpair::boolean_t::B_FALSE
    }
}
