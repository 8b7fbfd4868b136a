//! The table of native properties, by class and name.
//!
//! Compared with `zfs_prop.c` of every release from 2.1.0 to 2.4.4. Properties that only exist in
//! other releases than the one at hand say so with `since`.

use super::dialect::{Dialect, Platform, Since, ZfsVersion};
use super::index;
use super::native::Class::{Inherited, Once, OnceOwn, Own, ReadOnly};
use super::native::NativeProperty as P;
use super::native::Provenance::{Identity, MountTable, ObjsetStats, ZplProps};
use super::native::kinds::{B, F, FS, FV, FVS, FVSB, S, V, VS};

pub(super) static TABLE: &[P] = &[
    // Settable, inherited.
    P::index("aclinherit", Inherited, F, |_| index::ACLINHERIT).default(4),
    P::index("aclmode", Inherited, F, |_| index::ACLMODE).default(0),
    P::index("acltype", Inherited, FS, |_| index::ACLTYPE).default_varies(acltype),
    P::index("atime", Inherited, F, |_| index::BOOLEAN)
        .default(1)
        .mount_option(),
    P::index("checksum", Inherited, FV, |_| index::CHECKSUM).default(1),
    P::index("compression", Inherited, FV, |_| index::COMPRESSION).default_varies(compression),
    P::index("copies", Inherited, FV, |_| index::COPIES).default(1),
    P::index("dedup", Inherited, FV, |_| index::DEDUP).default(2),
    P::index("devices", Inherited, FS, |_| index::BOOLEAN)
        .default(1)
        .mount_option(),
    P::index("direct", Inherited, F, |_| index::DIRECT)
        .default(1)
        .since(V2_3),
    P::index("dnodesize", Inherited, F, |_| index::DNODESIZE).default(0),
    P::index("exec", Inherited, FS, |_| index::BOOLEAN)
        .default(1)
        .mount_option(),
    P::index("jailed", Inherited, F, |_| index::BOOLEAN)
        .default(0)
        .since(Since::FREEBSD_ONLY),
    P::index("logbias", Inherited, FV, |_| index::LOGBIAS).default(0),
    P::index("longname", Inherited, F, |_| index::BOOLEAN)
        .default(0)
        .since(V2_3),
    P::text("mlslabel", Inherited, FVS).default_text("none"),
    P::text("mountpoint", Inherited, F).default_text("/"),
    P::index("nbmand", Inherited, FS, |_| index::BOOLEAN)
        .default(0)
        .mount_option(),
    P::index("overlay", Inherited, F, |_| index::BOOLEAN).default(1),
    P::index("prefetch", Inherited, FVS, |_| index::CACHE)
        .default(2)
        .since(Since::release(2, 2, 4)),
    P::index("primarycache", Inherited, FVS, |_| index::CACHE).default(2),
    P::index("readonly", Inherited, FV, |_| index::BOOLEAN)
        .default(0)
        .mount_option(),
    P::number("recordsize", Inherited, F).default(128 << 10),
    P::index("redundant_metadata", Inherited, FV, |_| {
        index::REDUNDANT_METADATA
    })
    .default(0),
    P::index("relatime", Inherited, F, |_| index::BOOLEAN)
        .default_varies(relatime)
        .mount_option(),
    P::index("secondarycache", Inherited, FVS, |_| index::CACHE).default(2),
    P::index("setuid", Inherited, FS, |_| index::BOOLEAN)
        .default(1)
        .mount_option(),
    P::text("sharenfs", Inherited, F).default_text("off"),
    P::text("sharesmb", Inherited, F).default_text("off"),
    P::index("snapdev", Inherited, FV, |_| index::SNAPDEV).default(0),
    P::index("snapdir", Inherited, F, |_| index::SNAPDIR).default(0),
    P::number("special_small_blocks", Inherited, F)
        .default(0)
        .and_since(V, 2, 4, 0),
    P::index("sync", Inherited, FV, |_| index::SYNC).default(0),
    P::index("volmode", Inherited, FV, |_| index::VOLMODE).default(0),
    P::index("vscan", Inherited, F, |_| index::BOOLEAN).default(0),
    P::index("xattr", Inherited, FS, index::xattr)
        .default_varies(xattr)
        .mount_option(),
    P::index("zoned", Inherited, F, |_| index::BOOLEAN)
        .default(0)
        .since(Since::LINUX_ONLY),
    P::text("iscsioptions", Inherited, V).hidden(),
    P::text("stmf_sbd_lu", Inherited, V).hidden(),
    // Settable, not inherited.
    P::index("canmount", Own, F, |_| index::CANMOUNT).default(1),
    P::text("context", Own, FVS).default_text("none"),
    P::text("defcontext", Own, FVS).default_text("none"),
    P::number("defaultgroupobjquota", Own, FS)
        .since(V2_4)
        .from(ZplProps),
    P::number("defaultgroupquota", Own, FS)
        .since(V2_4)
        .from(ZplProps),
    P::number("defaultprojectobjquota", Own, FS)
        .since(V2_4)
        .from(ZplProps),
    P::number("defaultprojectquota", Own, FS)
        .since(V2_4)
        .from(ZplProps),
    P::number("defaultuserobjquota", Own, FS)
        .since(V2_4)
        .from(ZplProps),
    P::number("defaultuserquota", Own, FS)
        .since(V2_4)
        .from(ZplProps),
    P::limit("filesystem_limit", Own, F),
    P::text("fscontext", Own, FVS).default_text("none"),
    P::text("keylocation", Own, FV).default_text("none"),
    P::number("quota", Own, F).default(0),
    P::number("refquota", Own, F).default(0),
    P::number("refreservation", Own, FV).default(0),
    P::number("reservation", Own, FV).default(0),
    P::text("rootcontext", Own, FVS).default_text("none"),
    P::limit("snapshot_limit", Own, FV),
    P::index("version", Own, FS, |_| index::VERSION).from(ZplProps),
    P::number("volsize", Own, VS).default(0),
    P::index("volthreading", Own, V, |_| index::BOOLEAN)
        .default(1)
        .since(V2_3),
    // Chosen at creation.
    P::index("casesensitivity", Once, FS, |_| index::CASE).from(ZplProps),
    P::index("encryption", Once, FVS, |_| index::ENCRYPTION).default(2),
    P::index("keyformat", OnceOwn, FV, |_| index::KEYFORMAT).default(0),
    P::index("normalization", Once, FS, |_| index::NORMALIZATION).from(ZplProps),
    P::number("pbkdf2iters", OnceOwn, FV).default(0),
    P::number("pbkdf2salt", OnceOwn, FV).default(0).hidden(),
    P::index("utf8only", Once, FS, |_| index::BOOLEAN).from(ZplProps),
    P::number("volblocksize", Once, V).default_varies(volblocksize),
    // Computed.
    P::number("available", ReadOnly, FV),
    P::text("clones", ReadOnly, S),
    P::ratio("compressratio", FVSB),
    P::number("createtxg", ReadOnly, FVSB),
    P::number("creation", ReadOnly, FVSB),
    P::index("defer_destroy", ReadOnly, S, |_| index::BOOLEAN),
    P::text("encryptionroot", ReadOnly, FVS),
    P::limit("filesystem_count", ReadOnly, F),
    P::number("guid", ReadOnly, FVSB),
    P::index("keystatus", ReadOnly, FVS, |_| index::KEYSTATUS),
    P::number("logicalreferenced", ReadOnly, FVSB),
    P::number("logicalused", ReadOnly, FV),
    P::index("mounted", ReadOnly, F, |_| index::YES_NO).from(MountTable),
    P::number("objsetid", ReadOnly, FVS),
    P::text("origin", ReadOnly, FV),
    P::text("receive_resume_token", ReadOnly, FV),
    P::text("redact_snaps", ReadOnly, FVSB),
    P::ratio("refcompressratio", FVS),
    P::number("referenced", ReadOnly, FVSB),
    P::limit("snapshot_count", ReadOnly, FV),
    P::number("snapshots_changed", ReadOnly, FV).since(Since::release(2, 2, 0)),
    P::text("type", ReadOnly, FVSB).from(Identity),
    P::number("used", ReadOnly, FVS),
    P::number("usedbychildren", ReadOnly, FV),
    P::number("usedbydataset", ReadOnly, FV),
    P::number("usedbyrefreservation", ReadOnly, FV),
    P::number("usedbysnapshots", ReadOnly, FV),
    P::number("userrefs", ReadOnly, S),
    P::number("written", ReadOnly, FVS),
    P::number("inconsistent", ReadOnly, FVS)
        .from(ObjsetStats)
        .hidden(),
    P::number("ivsetguid", ReadOnly, FVSB).hidden(),
    P::number("keyguid", ReadOnly, FVS).hidden(),
    P::text("name", ReadOnly, FVS | B).from(Identity).hidden(),
    P::number("numclones", ReadOnly, S)
        .from(ObjsetStats)
        .hidden(),
    P::text("prevsnap", ReadOnly, FV).hidden(),
    P::number("redacted", ReadOnly, FVS)
        .from(ObjsetStats)
        .hidden(),
    P::number("remaptxg", ReadOnly, FVS).hidden(),
    P::number("unique", ReadOnly, FVS).hidden(),
    P::number("useraccounting", ReadOnly, FVS).hidden(),
];

const V2_3: Since = Since::release(2, 3, 0);
const V2_4: Since = Since::release(2, 4, 0);

/// Linux has no NFSv4 access lists of its own.
fn acltype(dialect: Dialect) -> u64 {
    match dialect.platform {
        Platform::Linux => 0,
        Platform::FreeBsd => 2,
    }
}

/// `off`, and `on` since 2.2.
fn compression(dialect: Dialect) -> u64 {
    before_or_since(dialect, ZfsVersion::new(2, 2, 0), 2, 1)
}

/// `off`, and `on` since 2.2.
fn relatime(dialect: Dialect) -> u64 {
    before_or_since(dialect, ZfsVersion::new(2, 2, 0), 0, 1)
}

/// Directories, and system attributes since 2.3.
fn xattr(dialect: Dialect) -> u64 {
    before_or_since(dialect, ZfsVersion::new(2, 3, 0), 1, 2)
}

/// 8 KiB, and 16 KiB since 2.2.
fn volblocksize(dialect: Dialect) -> u64 {
    before_or_since(dialect, ZfsVersion::new(2, 2, 0), 8 << 10, 16 << 10)
}

fn before_or_since(dialect: Dialect, change: ZfsVersion, before: u64, since: u64) -> u64 {
    if dialect.version.at_least(change) {
        since
    } else {
        before
    }
}
