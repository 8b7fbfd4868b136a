//! Index properties: the numbers behind names such as `lz4` and `noauto`.
//!
//! The kernel stores and expects the number. In each table the first name of a number is the one
//! zfs(8) prints; later ones are spellings it accepts. The numbers are kernel interface
//! (`sys/fs/zfs.h`, `sys/zio.h`, `sys/zfs_acl.h`) and never change.

use super::dialect::{Dialect, Since, ZfsVersion};

/// One name of an index property and its number in the kernel.
#[derive(Clone, Copy, Debug)]
pub struct IndexValue {
    /// The text users write and read.
    pub name: &'static str,
    /// The number in the kernel interface.
    pub number: u64,
    since: Since,
}

impl IndexValue {
    /// Whether this ZFS accepts the value.
    pub const fn exists_in(&self, dialect: Dialect) -> bool {
        dialect.has(self.since)
    }
}

const fn v(name: &'static str, number: u64) -> IndexValue {
    since(Since::ALWAYS, name, number)
}

const fn since(since: Since, name: &'static str, number: u64) -> IndexValue {
    IndexValue {
        name,
        number,
        since,
    }
}

pub(super) type IndexTable = &'static [IndexValue];

pub(super) const BOOLEAN: IndexTable = &[v("off", 0), v("on", 1)];

/// `mounted` alone prints these.
pub(super) const YES_NO: IndexTable = &[v("no", 0), v("yes", 1)];

pub(super) const CHECKSUM: IndexTable = &[
    v("on", 1),
    v("off", 2),
    v("fletcher2", 6),
    v("fletcher4", 7),
    v("sha256", 8),
    v("noparity", 10),
    v("sha512", 11),
    v("skein", 12),
    since(Since::freebsd(2, 2, 0), "edonr", 13),
    since(Since::release(2, 2, 0), "blake3", 14),
];

/// A checksum whose matches are confirmed by comparing the blocks themselves.
const fn verified(checksum: u64) -> u64 {
    const VERIFY: u64 = 1 << 8;
    checksum | VERIFY
}

pub(super) const DEDUP: IndexTable = &[
    v("on", 1),
    v("off", 2),
    v("verify", verified(1)),
    v("sha256", 8),
    v("sha256,verify", verified(8)),
    v("sha512", 11),
    v("sha512,verify", verified(11)),
    v("skein", 12),
    v("skein,verify", verified(12)),
    // Edon-R is not trusted without comparing, so there is no plain `edonr`.
    since(Since::freebsd(2, 2, 0), "edonr,verify", verified(13)),
    since(Since::release(2, 2, 0), "blake3", 14),
    since(Since::release(2, 2, 0), "blake3,verify", verified(14)),
];

const ZSTD: u64 = 16;

/// The level sits above the seven bits of the algorithm.
const fn zstd(level: u64) -> u64 {
    ZSTD | (level << 7)
}

/// Fast levels count from 103 in the order of the table, not by their names.
const fn zstd_fast(position: u64) -> u64 {
    zstd(102 + position)
}

pub(super) const COMPRESSION: IndexTable = &[
    v("on", 1),
    v("off", 2),
    v("lzjb", 3),
    v("gzip", 10),
    v("gzip-1", 5),
    v("gzip-2", 6),
    v("gzip-3", 7),
    v("gzip-4", 8),
    v("gzip-5", 9),
    v("gzip-6", 10),
    v("gzip-7", 11),
    v("gzip-8", 12),
    v("gzip-9", 13),
    v("zle", 14),
    v("lz4", 15),
    v("zstd", ZSTD),
    v("zstd-1", zstd(1)),
    v("zstd-2", zstd(2)),
    v("zstd-3", zstd(3)),
    v("zstd-4", zstd(4)),
    v("zstd-5", zstd(5)),
    v("zstd-6", zstd(6)),
    v("zstd-7", zstd(7)),
    v("zstd-8", zstd(8)),
    v("zstd-9", zstd(9)),
    v("zstd-10", zstd(10)),
    v("zstd-11", zstd(11)),
    v("zstd-12", zstd(12)),
    v("zstd-13", zstd(13)),
    v("zstd-14", zstd(14)),
    v("zstd-15", zstd(15)),
    v("zstd-16", zstd(16)),
    v("zstd-17", zstd(17)),
    v("zstd-18", zstd(18)),
    v("zstd-19", zstd(19)),
    v("zstd-fast", zstd_fast(1)),
    v("zstd-fast-1", zstd_fast(1)),
    v("zstd-fast-2", zstd_fast(2)),
    v("zstd-fast-3", zstd_fast(3)),
    v("zstd-fast-4", zstd_fast(4)),
    v("zstd-fast-5", zstd_fast(5)),
    v("zstd-fast-6", zstd_fast(6)),
    v("zstd-fast-7", zstd_fast(7)),
    v("zstd-fast-8", zstd_fast(8)),
    v("zstd-fast-9", zstd_fast(9)),
    v("zstd-fast-10", zstd_fast(10)),
    v("zstd-fast-20", zstd_fast(11)),
    v("zstd-fast-30", zstd_fast(12)),
    v("zstd-fast-40", zstd_fast(13)),
    v("zstd-fast-50", zstd_fast(14)),
    v("zstd-fast-60", zstd_fast(15)),
    v("zstd-fast-70", zstd_fast(16)),
    v("zstd-fast-80", zstd_fast(17)),
    v("zstd-fast-90", zstd_fast(18)),
    v("zstd-fast-100", zstd_fast(19)),
    v("zstd-fast-500", zstd_fast(20)),
    v("zstd-fast-1000", zstd_fast(21)),
];

pub(super) const ENCRYPTION: IndexTable = &[
    v("on", 1),
    v("off", 2),
    v("aes-128-ccm", 3),
    v("aes-192-ccm", 4),
    v("aes-256-ccm", 5),
    v("aes-128-gcm", 6),
    v("aes-192-gcm", 7),
    v("aes-256-gcm", 8),
];

pub(super) const KEYFORMAT: IndexTable =
    &[v("none", 0), v("raw", 1), v("hex", 2), v("passphrase", 3)];

pub(super) const KEYSTATUS: IndexTable = &[v("none", 0), v("unavailable", 1), v("available", 2)];

pub(super) const SNAPDIR: IndexTable = &[
    v("hidden", 0),
    v("visible", 1),
    since(Since::release(2, 3, 0), "disabled", 2),
];

pub(super) const SNAPDEV: IndexTable = &[v("hidden", 0), v("visible", 1)];

pub(super) const ACLMODE: IndexTable = &[
    v("discard", 0),
    v("groupmask", 2),
    v("passthrough", 3),
    v("restricted", 4),
];

pub(super) const ACLTYPE: IndexTable = &[
    v("off", 0),
    v("posix", 1),
    v("nfsv4", 2),
    v("disabled", 0),
    v("noacl", 0),
    v("posixacl", 1),
];

pub(super) const ACLINHERIT: IndexTable = &[
    v("discard", 0),
    v("noallow", 1),
    v("passthrough", 3),
    v("restricted", 4),
    v("secure", 4),
    v("passthrough-x", 5),
];

pub(super) const CASE: IndexTable = &[v("sensitive", 0), v("insensitive", 1), v("mixed", 2)];

pub(super) const COPIES: IndexTable = &[v("1", 1), v("2", 2), v("3", 3)];

/// Numbers are flags of the kernel's Unicode code.
pub(super) const NORMALIZATION: IndexTable = &[
    v("none", 0),
    v("formD", 0x10),
    v("formKD", 0x20),
    v("formC", 0x50),
    v("formKC", 0x60),
];

pub(super) const VERSION: IndexTable = &[
    v("1", 1),
    v("2", 2),
    v("3", 3),
    v("4", 4),
    v("5", 5),
    v("current", 5),
];

pub(super) const LOGBIAS: IndexTable = &[v("latency", 0), v("throughput", 1)];

pub(super) const CANMOUNT: IndexTable = &[v("off", 0), v("on", 1), v("noauto", 2)];

/// Also for `prefetch`.
pub(super) const CACHE: IndexTable = &[v("none", 0), v("metadata", 1), v("all", 2)];

pub(super) const SYNC: IndexTable = &[v("standard", 0), v("always", 1), v("disabled", 2)];

pub(super) const DNODESIZE: IndexTable = &[
    v("legacy", 0),
    v("auto", 1),
    v("1k", 1024),
    v("2k", 2048),
    v("4k", 4096),
    v("8k", 8192),
    v("16k", 16384),
];

pub(super) const REDUNDANT_METADATA: IndexTable = &[
    v("all", 0),
    v("most", 1),
    since(Since::release(2, 1, 7), "some", 2),
    since(Since::release(2, 1, 7), "none", 3),
];

pub(super) const VOLMODE: IndexTable = &[
    v("default", 0),
    v("full", 1),
    v("geom", 1),
    v("dev", 2),
    v("none", 3),
];

pub(super) const DIRECT: IndexTable = &[v("disabled", 0), v("standard", 1), v("always", 2)];

/// `on` meant directories until 2.2 and means system attributes since 2.3, and 2.3 prints it as
/// `on` where 2.4 prints `sa`.
pub(super) const fn xattr(dialect: Dialect) -> IndexTable {
    const V2_1: IndexTable = &[v("off", 0), v("on", 1), v("sa", 2), v("dir", 1)];
    const V2_3: IndexTable = &[v("off", 0), v("on", 2), v("sa", 2), v("dir", 1)];
    const V2_4: IndexTable = &[v("off", 0), v("sa", 2), v("on", 2), v("dir", 1)];
    if dialect.version.at_least(ZfsVersion::new(2, 4, 0)) {
        V2_4
    } else if dialect.version.at_least(ZfsVersion::new(2, 3, 0)) {
        V2_3
    } else {
        V2_1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compression_numbers_carry_algorithm_and_level() {
        let number = |name| {
            COMPRESSION
                .iter()
                .find(|value| value.name == name)
                .map(|value| value.number)
        };
        // 16 | level << 7, as `sys/zio.h` builds them.
        assert_eq!(number("zstd-3"), Some(400));
        assert_eq!(number("zstd-19"), Some(2448));
        assert_eq!(number("zstd-fast"), Some(13200));
        assert_eq!(number("zstd-fast-10"), Some(14352));
        assert_eq!(number("zstd-fast-20"), Some(14480));
        assert_eq!(number("zstd-fast-1000"), Some(15760));
    }

    #[test]
    fn no_table_names_a_value_twice() {
        for table in [
            CHECKSUM,
            DEDUP,
            COMPRESSION,
            ENCRYPTION,
            ACLTYPE,
            ACLINHERIT,
            VOLMODE,
        ] {
            for (position, value) in table.iter().enumerate() {
                assert!(
                    table[..position].iter().all(|old| old.name != value.name),
                    "{}",
                    value.name
                );
            }
        }
    }
}
