//! Numbers of the ioctls that libzfs_core does not offer. They never moved in OpenZFS 2.1 to 2.4 (`enum zfs_ioc` in
//! `include/sys/fs/zfs.h`); new ones are appended.

/// Path of the control device.
pub const DEVICE: &str = "/dev/zfs";

/// First number: `'Z' << 8`.
const FIRST: u32 = 0x5a00;

/// Configurations of all imported pools.
pub const POOL_CONFIGS: u32 = FIRST + 0x04;
/// Configuration and health of one pool.
pub const POOL_STATS: u32 = FIRST + 0x05;
/// Existence, basic facts and properties of one dataset or snapshot.
pub const OBJSET_STATS: u32 = FIRST + 0x12;
/// What a filesystem keeps in its master node: version, case, Unicode, default quotas.
pub const OBJSET_ZPLPROPS: u32 = FIRST + 0x13;
/// Next child of a dataset.
pub const DATASET_LIST_NEXT: u32 = FIRST + 0x14;
/// Next snapshot of a dataset.
pub const SNAPSHOT_LIST_NEXT: u32 = FIRST + 0x15;
/// Set properties of a dataset or snapshot.
pub const SET_PROP: u32 = FIRST + 0x16;
/// Inherit a property.
pub const INHERIT_PROP: u32 = FIRST + 0x2b;
/// How far a running send is.
pub const SEND_PROGRESS: u32 = FIRST + 0x3e;

/// Key of [`SNAPSHOT_LIST_NEXT`]'s input list: only snapshots with at least this createtxg (`SNAP_ITER_MIN_TXG`).
pub const SNAP_ITER_MIN_TXG: &str = "snap_iter_min_txg";

/// Version of the argument block on FreeBSD (`ZFS_IOCVER_OZFS` in `zfs_ioctl_compat.h`).
pub const FREEBSD_IOCTL_VERSION: u32 = 15;

/// FreeBSD passes this block instead of the `zfs_cmd_t` itself.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct zfs_iocparm_t {
    /// [`FREEBSD_IOCTL_VERSION`].
    pub zfs_ioctl_version: u32,
    /// Address of the `zfs_cmd_t`.
    pub zfs_cmd: u64,
    /// Its size.
    pub zfs_cmd_size: u64,
}

const _: () = assert!(size_of::<zfs_iocparm_t>() == 24);

/// The request number that ioctl(2) takes on this system: Linux takes the bare number, FreeBSD
/// `_IOWR('Z', number, zfs_iocparm_t)`.
pub const fn request(number: u32) -> libc::c_ulong {
    if cfg!(target_os = "freebsd") {
        0xc018_5a00 | (number & 0xff) as libc::c_ulong
    } else {
        number as libc::c_ulong
    }
}
