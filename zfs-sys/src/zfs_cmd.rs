//! The argument block of the older ioctls. Its header (`sys/zfs_ioctl.h`) is in no package, so it is declared here and
//! checked at compile time against the layouts measured for OpenZFS 2.1.0 to 2.4.4.
//!
//! One layout holds for all of them but 2.3.1, which had 16 bytes more in `zc_inject_record`. Whatever follows that
//! member must therefore be reached through [`Layout`], and the block must lie in a buffer of [`BUFFER_SIZE`] bytes,
//! since a 2.3.1 kernel copies its longer block back.

use std::mem::offset_of;

/// Bytes to allocate for a [`zfs_cmd_t`] whatever the kernel's idea of its size.
pub const BUFFER_SIZE: usize = 16 << 10;

/// Longest path on this system (`MAXPATHLEN`).
#[cfg(target_os = "freebsd")]
pub const MAXPATHLEN: usize = 1024;
/// Longest path on this system (`MAXPATHLEN`).
#[cfg(not(target_os = "freebsd"))]
pub const MAXPATHLEN: usize = 4096;

/// The block on this system.
#[expect(non_camel_case_types, reason = "the header's name")]
pub type zfs_cmd_t = ZfsCmd<MAXPATHLEN, { 2 * MAXPATHLEN }, INJECT_RECORD>;

/// Bytes of `zc_inject_record` in every release but one.
const INJECT_RECORD: usize = 352;
/// Bytes of `zc_inject_record` in 2.3.1.
const INJECT_RECORD_2_3_1: usize = 368;

/// The block for one system and release; use [`zfs_cmd_t`].
#[repr(C)]
#[derive(Debug)]

pub struct ZfsCmd<const PATH: usize, const VALUE: usize, const INJECT: usize> {
    pub zc_name: [u8; PATH],
    pub zc_nvlist_src: u64,
    pub zc_nvlist_src_size: u64,
    pub zc_nvlist_dst: u64,
    pub zc_nvlist_dst_size: u64,
    pub zc_nvlist_dst_filled: i32,
    zc_pad2: i32,
    pub zc_history: u64,
    pub zc_value: [u8; VALUE],
    pub zc_string: [u8; 256],
    pub zc_guid: u64,
    pub zc_nvlist_conf: u64,
    pub zc_nvlist_conf_size: u64,
    pub zc_cookie: u64,
    pub zc_objset_type: u64,
    pub zc_perm_action: u64,
    pub zc_history_len: u64,
    pub zc_history_offset: u64,
    pub zc_obj: u64,
    pub zc_iflags: u64,
    pub zc_share: [u64; 4],
    pub zc_objset_stats: dmu_objset_stats_t,
    pub zc_begin_record: [u64; 38],
    zc_inject_record: [u8; INJECT],
    zc_defer_destroy: u32,
    zc_flags: u32,
    zc_action_handle: u64,
    zc_cleanup_fd: i32,
    zc_simple: u8,
    zc_pad: [u8; 3],
    zc_sendobj: u64,
    zc_fromobj: u64,
    zc_createtxg: u64,
    zc_stat: [u64; 5],
    zc_zoneid: u64,
}

/// Basic facts of a dataset or snapshot.
#[repr(C)]
#[derive(Clone, Copy, Debug)]

pub struct dmu_objset_stats_t {
    pub dds_num_clones: u64,
    pub dds_creation_txg: u64,
    pub dds_guid: u64,
    /// `DMU_OST_ZFS` or `DMU_OST_ZVOL`.
    pub dds_type: u32,
    pub dds_is_snapshot: u8,
    pub dds_inconsistent: u8,
    pub dds_redacted: u8,
    pub dds_origin: [u8; 256],
    pub dds_flags: u8,
}

/// Value of `dds_type`: a filesystem.
pub const DMU_OST_ZFS: u32 = 2;
/// Value of `dds_type`: a volume.
pub const DMU_OST_ZVOL: u32 = 3;

/// Where the members behind `zc_inject_record` are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Every release but 2.3.1.
    Usual,
    /// OpenZFS 2.3.1.
    Release231,
}

impl Layout {
    /// The layout of an OpenZFS release.
    pub const fn of_release(major: u32, minor: u32, patch: u32) -> Self {
        if major == 2 && minor == 3 && patch == 1 {
            Self::Release231
        } else {
            Self::Usual
        }
    }

    /// Offset of `zc_simple`, the request for basic facts only.
    pub const fn simple(self) -> usize {
        match self {
            Self::Usual => offset_of!(zfs_cmd_t, zc_simple),
            Self::Release231 => {
                offset_of!(ZfsCmd<MAXPATHLEN, { 2 * MAXPATHLEN }, INJECT_RECORD_2_3_1>, zc_simple)
            }
        }
    }
}

/// Checks one instance: size, and offsets that follow from the length of a path and of the inject record.
macro_rules! assert_layout {
    ($path:literal, $inject:expr, size $size:literal, $($member:ident $offset:literal),* $(,)?) => {
        const _: () = {
            type Block = ZfsCmd<$path, { 2 * $path }, { $inject }>;
            assert!(size_of::<Block>() == $size);
            assert!(size_of::<Block>() <= BUFFER_SIZE);
            $(assert!(offset_of!(Block, $member) == $offset);)*
        };
    };
}

// Linux, measured for every tag from 2.1.0 to 2.4.4 except 2.3.1.
assert_layout!(4096, INJECT_RECORD, size 13744,
    zc_name 0, zc_nvlist_src 4096, zc_nvlist_dst 4112, zc_nvlist_dst_filled 4128, zc_history 4136, zc_value 4144,
    zc_string 12336, zc_guid 12592, zc_nvlist_conf 12600, zc_cookie 12616, zc_objset_type 12624, zc_perm_action 12632,
    zc_obj 12656, zc_iflags 12664, zc_share 12672, zc_objset_stats 12704, zc_begin_record 12992,
    zc_inject_record 13296, zc_defer_destroy 13648, zc_flags 13652, zc_action_handle 13656, zc_cleanup_fd 13664,
    zc_simple 13668, zc_sendobj 13672, zc_fromobj 13680, zc_createtxg 13688, zc_stat 13696, zc_zoneid 13736);
// Linux, 2.3.1.
assert_layout!(4096, INJECT_RECORD_2_3_1, size 13760,
    zc_objset_stats 12704, zc_inject_record 13296, zc_defer_destroy 13664, zc_cleanup_fd 13680, zc_simple 13684,
    zc_sendobj 13688, zc_zoneid 13752);
// FreeBSD: the same with MAXPATHLEN 1024; 3 * MAXPATHLEN + MAXNAMELEN + 1200 bytes.
assert_layout!(1024, INJECT_RECORD, size 4528,
    zc_nvlist_src 1024, zc_value 1072, zc_string 3120, zc_guid 3376, zc_cookie 3400, zc_objset_stats 3488,
    zc_inject_record 4080, zc_simple 4452, zc_zoneid 4520);

const _: () = {
    assert!(size_of::<dmu_objset_stats_t>() == 288);
    assert!(offset_of!(dmu_objset_stats_t, dds_guid) == 16);
    assert!(offset_of!(dmu_objset_stats_t, dds_type) == 24);
    assert!(offset_of!(dmu_objset_stats_t, dds_is_snapshot) == 28);
    assert!(offset_of!(dmu_objset_stats_t, dds_inconsistent) == 29);
    assert!(offset_of!(dmu_objset_stats_t, dds_origin) == 31);
    assert!(offset_of!(dmu_objset_stats_t, dds_flags) == 287);
};
