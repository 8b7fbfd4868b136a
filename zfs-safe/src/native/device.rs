//! The ZFS device and the ioctls that libzfs_core does not offer: a request goes in, the kernel's basic facts and
//! property list come out.

#![expect(unsafe_code, reason = "calls ioctl(2)")]

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};
use zfs_sys::ioctl;
use zfs_sys::zfs_cmd::{BUFFER_SIZE, DMU_OST_ZVOL, Layout, zfs_cmd_t};

use crate::counters::Counters;
use crate::errno::{Errno, Symbol};
use crate::guid::Guid;
use crate::nvlist::{Encoding, NvList};
use crate::property::{DatasetType, ZfsVersion};
use crate::version::Txg;

/// First size of a reply buffer; the kernel says how much it wants if this is too little.
const REPLY_SIZE: usize = 128 << 10;

/// Largest reply that we make room for: far above any property list, far below what would hurt.
const REPLY_LIMIT: u64 = 256 << 20;

/// An open `/dev/zfs`.
#[derive(Debug)]
pub(super) struct Device {
    file: OwnedFd,
    layout: Layout,
    counters: Arc<Counters>,
}

/// Basic facts of a dataset or snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stats {
    pub(super) guid: Guid,
    pub(super) createtxg: Txg,
    /// Filesystem, volume or snapshot.
    pub(super) dataset_type: DatasetType,
    /// For a snapshot, what it is a snapshot of; else the same.
    pub(super) head_type: DatasetType,
    /// It is being received, or was when the receive broke off.
    pub(super) inconsistent: bool,
}

/// One dataset or snapshot.
#[derive(Debug)]
pub(super) struct Object {
    pub(super) name: String,
    pub(super) stats: Stats,
    /// Property → { value, source }. Empty if only basic facts were asked for.
    pub(super) properties: NvList,
}

/// A position in a listing.
#[derive(Debug)]
pub(super) struct Cursor {
    call: Call,
    parent: String,
    number: u32,
    simple: bool,
}

impl Device {
    pub(super) fn open(version: ZfsVersion, counters: Arc<Counters>) -> Result<Self, Errno> {
        let file = rustix::fs::open(ioctl::DEVICE, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
            .map_err(|error| Errno::new(error.raw_os_error()))?;
        let layout = Layout::of_release(
            version.major.into(),
            version.minor.into(),
            version.patch.into(),
        );
        Ok(Self {
            file,
            layout,
            counters,
        })
    }

    /// Basic facts without properties: the cheapest question there is.
    pub(super) fn stats(&self, name: &str) -> Result<Stats, Errno> {
        let mut call = Call::new(name)?;
        self.run(ioctl::OBJSET_STATS, &mut call)?;
        Ok(call.stats())
    }

    /// Facts and properties of one dataset or snapshot.
    pub(super) fn object(&self, name: &str) -> Result<Object, Errno> {
        let mut call = Call::new(name)?.with_reply();
        self.run_growing(ioctl::OBJSET_STATS, &mut call)?;
        Ok(Object {
            name: name.to_owned(),
            stats: call.stats(),
            properties: call.reply()?,
        })
    }

    /// Properties that a filesystem, or a snapshot of one, keeps in its master node: name → number. Empty for others.
    pub(super) fn zpl_properties(&self, name: &str) -> Result<NvList, Errno> {
        let mut call = Call::new(name)?.with_reply();
        match self.run_growing(ioctl::OBJSET_ZPLPROPS, &mut call) {
            Ok(()) => call.reply(),
            // The answer for a volume, and for what is being received.
            Err(errno) if errno.symbol() == Symbol::ENOENT => Ok(NvList::new()),
            Err(errno) => Err(errno),
        }
    }

    /// Starts listing the children of a dataset; with `simple` without their properties.
    ///
    /// A parent that vanishes looks like the end of the listing: check that it is still there afterwards.
    pub(super) fn children(&self, parent: &str, simple: bool) -> Result<Cursor, Errno> {
        self.cursor(ioctl::DATASET_LIST_NEXT, parent, simple)
    }

    /// Starts listing the snapshots of a dataset with at least this createtxg. See [`children`](Self::children).
    pub(super) fn snapshots(&self, dataset: &str, from: Option<Txg>) -> Result<Cursor, Errno> {
        let mut cursor = self.cursor(ioctl::SNAPSHOT_LIST_NEXT, dataset, false)?;
        if let Some(from) = from {
            let filter = NvList::from_iter([(ioctl::SNAP_ITER_MIN_TXG, from.get())]);
            cursor.call = cursor.call.with_source(&filter)?;
        }
        Ok(cursor)
    }

    fn cursor(&self, number: u32, parent: &str, simple: bool) -> Result<Cursor, Errno> {
        let mut call = Call::new(parent)?;
        if simple {
            // 2.1 ignores the request for basic facts when listing datasets, but not the absence of a reply buffer.
            call.set_byte(self.layout.simple(), 1);
        } else {
            call = call.with_reply();
        }
        Ok(Cursor {
            call,
            parent: parent.to_owned(),
            number,
            simple,
        })
    }

    /// The next object; `None` at the end.
    pub(super) fn next(&self, cursor: &mut Cursor) -> Result<Option<Object>, Errno> {
        cursor.call.set_name(&cursor.parent)?;
        match self.run_growing(cursor.number, &mut cursor.call) {
            Ok(()) => {}
            Err(errno) if errno.symbol() == Symbol::ESRCH => return Ok(None),
            Err(errno) => return Err(errno),
        }
        let name = cursor.call.name()?;
        let properties = if cursor.simple {
            NvList::new()
        } else {
            cursor.call.reply()?
        };
        Ok(Some(Object {
            name,
            stats: cursor.call.stats(),
            properties,
        }))
    }

    /// Pool name → configuration of all imported pools.
    pub(super) fn pool_configs(&self) -> Result<NvList, Errno> {
        let mut call = Call::new("")?.with_reply();
        self.run_growing(ioctl::POOL_CONFIGS, &mut call)?;
        call.reply()
    }

    /// Configuration of one pool with the state of its devices.
    pub(super) fn pool_stats(&self, pool: &str) -> Result<NvList, Errno> {
        let mut call = Call::new(pool)?.with_reply();
        self.run_growing(ioctl::POOL_STATS, &mut call)?;
        call.reply()
    }

    /// Sets local properties. On failure also gives property → error number, as far as the kernel tells.
    pub(super) fn set_properties(
        &self,
        name: &str,
        properties: &NvList,
    ) -> Result<(), (Errno, NvList)> {
        let early = |errno| (errno, NvList::new());
        let mut call = Call::new(name)
            .map_err(early)?
            .with_reply()
            .with_source(properties)
            .map_err(early)?;
        // Not run again with a larger buffer: the call changes the pool.
        self.run(ioctl::SET_PROP, &mut call)
            .map_err(|errno| (errno, call.reply().unwrap_or_default()))
    }

    /// Resets a property, to the received value if wanted.
    pub(super) fn inherit_property(
        &self,
        name: &str,
        property: &str,
        to_received: bool,
    ) -> Result<(), Errno> {
        let mut call = Call::new(name)?;
        call.set_value(property)?;
        call.block().zc_cookie = to_received.into();
        self.run(ioctl::INHERIT_PROP, &mut call)
    }

    /// How far the send of `snapshot` into this process' descriptor `output` is: (bytes written, bytes visited).
    pub(super) fn send_progress(&self, snapshot: &str, output: i32) -> Result<(u64, u64), Errno> {
        let mut call = Call::new(snapshot)?;
        call.block().zc_cookie = u64::try_from(output).map_err(|_| Symbol::EBADF.errno())?;
        self.run(ioctl::SEND_PROGRESS, &mut call)?;
        let block = call.block();
        Ok((block.zc_cookie, block.zc_objset_type))
    }

    /// Makes a call that has no effect, growing the reply buffer as often as the kernel asks for it.
    fn run_growing(&self, number: u32, call: &mut Call) -> Result<(), Errno> {
        let (cookie, name) = (call.block().zc_cookie, call.block().zc_name);
        loop {
            match self.run(number, call) {
                Err(errno) if errno.symbol() == Symbol::ENOMEM => {
                    let wanted = call.block().zc_nvlist_dst_size;
                    let have = call.reply.len() as u64 * 8;
                    if wanted <= have || wanted > REPLY_LIMIT {
                        return Err(errno);
                    }
                    // The failed call has moved on; go back.
                    call.block().zc_cookie = cookie;
                    call.block().zc_name = name;
                    // Some room beyond what was asked for: the list may grow in between.
                    call.grow_reply(wanted + wanted / 4);
                }
                // Listings give up when a signal is pending, and listing has no effect.
                Err(errno) if errno.symbol() == Symbol::EINTR => {
                    call.block().zc_cookie = cookie;
                    call.block().zc_name = name;
                }
                result => return result,
            }
        }
    }

    fn run(&self, number: u32, call: &mut Call) -> Result<(), Errno> {
        self.counters.add_ioctls(1);
        let request = ioctl::request(number);
        #[cfg(target_os = "freebsd")]
        let had = call.block().zc_nvlist_dst_size;
        #[cfg(target_os = "freebsd")]
        let mut argument = ioctl::zfs_iocparm_t {
            zfs_ioctl_version: ioctl::FREEBSD_IOCTL_VERSION,
            zfs_cmd: call.buffer.as_mut_ptr() as u64,
            zfs_cmd_size: size_of::<zfs_cmd_t>() as u64,
        };
        #[cfg(target_os = "freebsd")]
        let argument: *mut _ = &raw mut argument;
        #[cfg(not(target_os = "freebsd"))]
        let argument = call.buffer.as_mut_ptr();
        // SAFETY: the descriptor is open; the argument is the block that the device takes, in a buffer that has room for
        // the longest one of any release; the addresses in it are those of vectors that `call` owns, with their sizes.
        let result = unsafe { libc::ioctl(self.file.as_raw_fd(), request, argument) };
        if result != 0 {
            return Err(Errno::new(
                io::Error::last_os_error().raw_os_error().unwrap_or(0),
            ));
        }
        // FreeBSD does not copy the block back on failure, so its module reports a short buffer as success.
        #[cfg(target_os = "freebsd")]
        if had < call.block().zc_nvlist_dst_size {
            return Err(Symbol::ENOMEM.errno());
        }
        Ok(())
    }
}

/// The argument block of one call with the buffers that it points to.
#[derive(Debug)]
struct Call {
    buffer: Box<[u64; BUFFER_SIZE / 8]>,
    source: Vec<u8>,
    reply: Vec<u64>,
}

impl Call {
    fn new(name: &str) -> Result<Self, Errno> {
        let mut call = Self {
            buffer: Box::new([0; BUFFER_SIZE / 8]),
            source: Vec::new(),
            reply: Vec::new(),
        };
        call.set_name(name)?;
        Ok(call)
    }

    fn block(&mut self) -> &mut zfs_cmd_t {
        const {
            assert!(size_of::<zfs_cmd_t>() <= BUFFER_SIZE);
            assert!(align_of::<zfs_cmd_t>() <= align_of::<u64>());
        }
        // SAFETY: the buffer is large and aligned enough, as asserted; every member is an integer or an array of them,
        // for which any bits are a value; the reference borrows `self`.
        unsafe { &mut *self.buffer.as_mut_ptr().cast::<zfs_cmd_t>() }
    }

    fn set_byte(&mut self, offset: usize, value: u8) {
        let word = &mut self.buffer[offset / 8];
        let mut bytes = word.to_ne_bytes();
        bytes[offset % 8] = value;
        *word = u64::from_ne_bytes(bytes);
    }

    fn set_name(&mut self, name: &str) -> Result<(), Errno> {
        copy_text(&mut self.block().zc_name, name)
    }

    fn set_value(&mut self, value: &str) -> Result<(), Errno> {
        copy_text(&mut self.block().zc_value, value)
    }

    fn with_reply(mut self) -> Self {
        self.grow_reply(REPLY_SIZE as u64);
        self
    }

    fn grow_reply(&mut self, bytes: u64) {
        // Bounded by REPLY_LIMIT, which fits any address space.
        let words = usize::try_from(bytes.div_ceil(8)).unwrap_or(0);
        self.reply = vec![0; words];
        let (address, size) = (self.reply.as_mut_ptr() as u64, (words * 8) as u64);
        let block = self.block();
        block.zc_nvlist_dst = address;
        block.zc_nvlist_dst_size = size;
    }

    fn with_source(mut self, list: &NvList) -> Result<Self, Errno> {
        self.source = list
            .encode(Encoding::Native)
            .map_err(|_| Symbol::EINVAL.errno())?;
        let (address, size) = (self.source.as_ptr() as u64, self.source.len() as u64);
        let block = self.block();
        block.zc_nvlist_src = address;
        block.zc_nvlist_src_size = size;
        Ok(self)
    }

    fn name(&mut self) -> Result<String, Errno> {
        let name = &self.block().zc_name;
        let length = name
            .iter()
            .position(|&byte| byte == 0)
            .unwrap_or(name.len());
        // The kernel's names are ASCII; anything else is not the reply that we think it is.
        String::from_utf8(name[..length].to_vec()).map_err(|_| Symbol::IocArgBadType.errno())
    }

    fn stats(&mut self) -> Stats {
        let stats = self.block().zc_objset_stats;
        let head_type = if stats.dds_type == DMU_OST_ZVOL {
            DatasetType::Volume
        } else {
            DatasetType::Filesystem
        };
        let dataset_type = if stats.dds_is_snapshot == 0 {
            head_type
        } else {
            DatasetType::Snapshot
        };
        Stats {
            guid: Guid::new(stats.dds_guid),
            createtxg: Txg::new(stats.dds_creation_txg),
            dataset_type,
            head_type,
            inconsistent: stats.dds_inconsistent != 0,
        }
    }

    fn reply(&mut self) -> Result<NvList, Errno> {
        if self.block().zc_nvlist_dst_filled == 0 {
            return Ok(NvList::new());
        }
        let filled = usize::try_from(self.block().zc_nvlist_dst_size).unwrap_or(usize::MAX);
        let length = filled.min(self.reply.len() * 8);
        // SAFETY: the kernel has written into this vector, which is alive and at least this long; bytes have no alignment.
        let bytes = unsafe { std::slice::from_raw_parts(self.reply.as_ptr().cast::<u8>(), length) };
        let list = NvList::decode(bytes).map_err(|_| Symbol::IocArgBadType.errno());
        // A cursor uses the buffer again: give its full size back to the kernel.
        let size = (self.reply.len() * 8) as u64;
        let block = self.block();
        block.zc_nvlist_dst_size = size;
        block.zc_nvlist_dst_filled = 0;
        list
    }
}

/// Copies `text` and a NUL, zeroing what was behind it.
fn copy_text(target: &mut [u8], text: &str) -> Result<(), Errno> {
    if text.len() >= target.len() || text.contains('\0') {
        return Err(Symbol::ENAMETOOLONG.errno());
    }
    let (start, rest) = target.split_at_mut(text.len());
    start.copy_from_slice(text.as_bytes());
    // One NUL ends the name; the rest of the previous one need not be cleared byte by byte.
    rest[0] = 0;
    Ok(())
}
