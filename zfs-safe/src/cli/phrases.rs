//! The descriptions that libzfs prints, and what each means.
//!
//! Facts of libzfs_util.c, libzfs_dataset.c, libzfs_sendrecv.c and zfs_main.c of OpenZFS 2.1 to 2.4. Where libzfs gives a
//! description for an error number, the number stands here, so that [`Reason::of`] decides as it does for libzfs_core.

use crate::errno::Symbol as S;
use crate::error::Operation as O;
use crate::error::{Operation, Reason};

/// What a description stands for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Meaning {
    /// The kernel's error number.
    Number(S),
    /// A check of libzfs that has no number of its own.
    Reason(fn() -> Reason),
    /// A property or its value was refused; the description names it.
    Property,
}

use Meaning::{Number, Property};

/// How a description is recognized.
#[derive(Clone, Copy, Debug)]
enum Text {
    /// It is this.
    Is(&'static str),
    /// It starts with this.
    Starts(&'static str),
    /// It starts with the one and ends with the other, a name in between.
    Around(&'static str, &'static str),
}

use Text::{Around, Is, Starts};

impl Text {
    fn matches(self, description: &str) -> bool {
        match self {
            Is(text) => description == text,
            Starts(text) => description.starts_with(text),
            Around(start, end) => description
                .strip_prefix(start)
                .is_some_and(|rest| rest.ends_with(end)),
        }
    }
}

/// What `description` means to `operation`, if it is known.
pub(super) fn meaning(operation: Operation, description: &str) -> Option<Meaning> {
    let special: &[(Text, Meaning)] = match operation {
        O::Send | O::EstimateSend => SEND,
        O::Receive => RECEIVE,
        O::Create | O::SetProperties | O::InheritProperty => PROPERTIES,
        O::Rollback => ROLLBACK,
        O::DestroyDataset | O::DestroySnapshots => DESTROY,
        _ => &[],
    };
    let find = |table: &[(Text, Meaning)]| {
        table
            .iter()
            .find(|(text, _)| text.matches(description))
            .map(|(_, meaning)| *meaning)
    };
    find(special).or_else(|| find(COMMON)).or_else(|| {
        NUMBERS
            .iter()
            .find(|(text, _)| *text == description)
            .map(|(_, symbol)| Number(*symbol))
    })
}

const fn known(reason: fn() -> Reason) -> Meaning {
    Meaning::Reason(reason)
}

const COMMON: &[(Text, Meaning)] = &[
    (Is("dataset does not exist"), Number(S::ENOENT)),
    (Is("no such pool or dataset"), Number(S::ENOENT)),
    (Starts("no such pool"), Number(S::ENOENT)),
    (Starts("no such parent '"), Number(S::ENOENT)),
    (Is("parent does not exist"), Number(S::ENOENT)),
    (Is("permission denied"), Number(S::EPERM)),
    (
        Is("delegated administration is disabled on pool"),
        Number(S::ECANCELED),
    ),
    (Is("I/O error"), Number(S::EIO)),
    (Is("bad address"), Number(S::EFAULT)),
    (Is("signal received"), Number(S::EINTR)),
    (Is("insufficient replicas"), Number(S::ECKSUM)),
    (Is("out of space"), Number(S::ENOSPC)),
    (Is("out of memory"), Number(S::ENOMEM)),
    (
        Is("dataset already exists"),
        known(|| Reason::AlreadyExists),
    ),
    (
        Is("pool or dataset exists"),
        known(|| Reason::AlreadyExists),
    ),
    (Is("bookmark exists"), known(|| Reason::AlreadyExists)),
    (Is("dataset is busy"), Number(S::EBUSY)),
    (Is("pool or dataset is busy"), Number(S::EBUSY)),
    (Is("target is busy"), Number(S::EBUSY)),
    (Is("unmount failed"), Number(S::EBUSY)),
    (Is("pool is read-only"), Number(S::EROFS)),
    (Is("dataset is read-only"), Number(S::EROFS)),
    (Is("dataset name is too long"), Number(S::ENAMETOOLONG)),
    (Is("unsupported version or feature"), Number(S::ENOTSUP)),
    (Is("bookmark feature not enabled"), Number(S::ENOTSUP)),
    (Is("Encryption feature not enabled."), Number(S::ENOTSUP)),
    (Starts("pool must be upgraded"), Number(S::ENOTSUP)),
    (
        Starts("pool and or dataset must be upgraded"),
        Number(S::ENOTSUP),
    ),
    (Is("pool I/O is currently suspended"), Number(S::EAGAIN)),
    (Is("pool is unavailable"), Number(S::EAGAIN)),
    (
        Starts("the loaded zfs module does not support this operation"),
        Number(S::IocCmdUnavail),
    ),
    (
        Starts("the loaded zfs module does not support an option"),
        Number(S::IocArgUnavail),
    ),
    (
        Is("operation not supported by zfs kernel module"),
        Number(S::IocArgRequired),
    ),
    (Is("invalid parent dataset"), Number(S::WrongParent)),
    (Is("parent is not a filesystem"), Number(S::WrongParent)),
    (Is("pool export in progress"), Number(S::ExportInProgress)),
    (
        Is("operation not applicable to datasets of this type"),
        Number(S::EINVAL),
    ),
    (Is("invalid argument"), Number(S::EINVAL)),
    (Is("invalid name"), Number(S::EINVAL)),
    (Is("missing dataset name"), Number(S::EINVAL)),
    (
        Starts("bookmark delimiter '#' is not expected here"),
        Number(S::EINVAL),
    ),
    (
        Starts("New dataset name cannot be a descendant"),
        Number(S::EINVAL),
    ),
    (
        Starts("operation does not apply to pools"),
        Number(S::EBUSY),
    ),
    (
        Is("this property can not be modified for snapshots"),
        Number(S::EINVAL),
    ),
    (Is("property value too long"), Number(S::E2BIG)),
    (Is("tag too long"), Number(S::E2BIG)),
    (
        Is("tag already exists on this dataset"),
        known(|| Reason::AlreadyExists),
    ),
    (Is("no such tag on this dataset"), Number(S::ENOENT)),
    (Is("datasets must be within same pool"), Number(S::EXDEV)),
    (Is("bookmark is in a different pool"), Number(S::EXDEV)),
    (
        Starts("multiple snapshots of same fs not allowed"),
        Number(S::EXDEV),
    ),
    (
        Starts("source is not an ancestor of the new bookmark"),
        Number(S::BookmarkSourceNotAncestor),
    ),
    (
        Starts("cannot move encrypted child outside of its encryption root"),
        Number(S::EACCES),
    ),
    (Starts("The ZFS modules "), known(|| Reason::DeviceMissing)),
    (Starts("/dev/zfs and "), known(|| Reason::DeviceMissing)),
    (
        Starts("Failed to load zfs module"),
        known(|| Reason::DeviceMissing),
    ),
    (
        Starts("Failed to load openzfs module"),
        known(|| Reason::DeviceMissing),
    ),
    (
        Starts("zfs_version_kernel() failed"),
        known(|| Reason::DeviceMissing),
    ),
    (
        Starts("Permission denied the ZFS utilities must be run as root"),
        Number(S::EPERM),
    ),
];

const PROPERTIES: &[(Text, Meaning)] = &[
    (
        Starts("encryption root's key is not loaded"),
        known(|| Reason::KeyNotLoaded),
    ),
    (
        Starts("Parent key must be loaded"),
        known(|| Reason::KeyNotLoaded),
    ),
    // The kernel says that there is no space, be it there and only the limit in the way.
    (Starts("size is less than current used"), Number(S::ENOSPC)),
    (
        Starts("size is greater than available space"),
        Number(S::ENOSPC),
    ),
    (Starts("'"), Property),
    (Starts("invalid property"), Property),
    (Starts("property "), Property),
    (Starts("bad numeric value"), Property),
    (Is("read-only property"), Property),
    (Is("invalid quota or reservation"), Property),
];

const ROLLBACK: &[(Text, Meaning)] = &[
    (
        Is("more recent snapshots or bookmarks exist"),
        known(|| Reason::NewerVersionsExist),
    ),
    (
        Starts("there is a snapshot or bookmark more recent than"),
        known(|| Reason::NewerVersionsExist),
    ),
    (
        Around("'", "' is not found among snapshots of"),
        Number(S::ESRCH),
    ),
];

const DESTROY: &[(Text, Meaning)] = &[
    (
        Is("snapshot is cloned"),
        known(|| Reason::HasClones(Vec::new())),
    ),
    (
        Is("snapshot has dependent clones"),
        known(|| Reason::HasClones(Vec::new())),
    ),
    (
        Starts("it's being held."),
        known(|| Reason::Held(Vec::new())),
    ),
];

const SEND: &[(Text, Meaning)] = &[
    (
        Is("dataset key must be loaded"),
        known(|| Reason::KeyNotLoaded),
    ),
    (
        Is("source key must be loaded"),
        known(|| Reason::KeyNotLoaded),
    ),
    (
        Is("not an earlier snapshot from the same fs"),
        known(|| Reason::NotAncestor),
    ),
    (
        Around("incremental source (", ") does not exist"),
        Number(S::ENOENT),
    ),
    (
        Is("incremental source could not be found"),
        Number(S::ENOENT),
    ),
    (
        Around("incremental source ", " no longer exists"),
        Number(S::ENOENT),
    ),
    (
        Around("'", "' used in the initial send no longer exists"),
        Number(S::ENOENT),
    ),
    (
        Around(
            "'",
            "' is no longer the same snapshot used in the initial send",
        ),
        Number(S::ENOENT),
    ),
    (
        Starts("source snapshot contains large microzaps"),
        Number(S::StreamLargeMicrozap),
    ),
    (Starts("target is busy"), Number(S::EBUSY)),
    (Starts("resume token is corrupt"), Number(S::EINVAL)),
];

const RECEIVE: &[(Text, Meaning)] = &[
    (
        Around("most recent snapshot of ", " does not"),
        Number(S::ENODEV),
    ),
    (
        Around("local origin for clone ", " does not exist"),
        Number(S::ENODEV),
    ),
    (
        Around("destination ", " has been modified"),
        Number(S::ETXTBSY),
    ),
    (
        Around("destination '", "' does not exist"),
        Number(S::ENOENT),
    ),
    (
        Around("specified origin fs (", ") does not exist"),
        Number(S::ENOENT),
    ),
    (
        Around("destination '", "' exists"),
        known(|| Reason::AlreadyExists),
    ),
    (
        Starts("destination has snapshots (eg. "),
        known(|| Reason::AlreadyExists),
    ),
    (
        Starts("destination has children (eg. "),
        known(|| Reason::AlreadyExists),
    ),
    (
        Around("destination '", "' is a clone"),
        known(|| Reason::AlreadyExists),
    ),
    (
        Around("destination ", " is the root dataset"),
        known(|| Reason::AlreadyExists),
    ),
    (
        Is("destination already exists"),
        known(|| Reason::AlreadyExists),
    ),
    (
        Starts("Resuming recv on existing d"),
        Number(S::ResumeExists),
    ),
    (
        Around(
            "destination ",
            " contains partially-complete state from \"zfs receive -s\".",
        ),
        known(|| Reason::PartialReceive),
    ),
    (
        Around("parent '", "' is not a filesystem"),
        Number(S::WrongParent),
    ),
    (
        Around("destination ", " space quota exceeded."),
        Number(S::EDQUOT),
    ),
    // Checks of libzfs for what the kernel answers with EINVAL.
    (
        Starts("cannot perform raw receive on top of"),
        known(|| Reason::BadStream),
    ),
    (
        Starts("zfs receive -F cannot be used to destroy an encrypted"),
        known(|| Reason::BadStream),
    ),
    (
        Starts("incompatible embedded data stream feature"),
        known(|| Reason::BadStream),
    ),
    (
        Starts("kernel modules must be upgraded to receive"),
        known(|| Reason::BadStream),
    ),
    (
        Starts("cannot specify snapshot name for multi-snapshot stream"),
        known(|| Reason::BadStream),
    ),
    (Starts("invalid stream (bad "), known(|| Reason::BadStream)),
    (Starts("invalid record type"), known(|| Reason::BadStream)),
    (Is("invalid backup stream"), known(|| Reason::BadStream)),
    (Starts("failed to create encryption key"), Number(S::EACCES)),
    (Starts("encryption key does not match"), Number(S::EACCES)),
    (Starts("inherited key must be loaded"), Number(S::EACCES)),
    // Both of these may also be printed as the third, which tells them apart by nothing.
    (Is("checksum mismatch"), Number(S::ECKSUM)),
    (Is("incomplete stream"), Number(S::StreamTruncated)),
    (
        Is("checksum mismatch or incomplete stream."),
        Number(S::StreamTruncated),
    ),
    (Is("failed to read from stream"), Number(S::StreamTruncated)),
    (
        Starts("incremental send stream requires -L"),
        Number(S::StreamLargeBlockMismatch),
    ),
    (
        Starts("pool must be upgraded to receive"),
        Number(S::ENOTSUP),
    ),
    (
        Starts("stream uses crypto parameters"),
        Number(S::CryptoNotSup),
    ),
    (
        Starts("IV set guid missing"),
        Number(S::FromIvsetGuidMissing),
    ),
    (
        Starts("IV set guid mismatch"),
        Number(S::FromIvsetGuidMismatch),
    ),
    (
        Starts("Spill block flag missing"),
        Number(S::SpillBlockFlagMissing),
    ),
    (
        Starts("stream has unsupported feature"),
        Number(S::UnknownSendStreamFeature),
    ),
    (
        Starts("stream has deprecated feature"),
        Number(S::UnknownSendStreamFeature),
    ),
    (
        Starts("ERROR: \"zfs receive\" no longer supports deduplicated"),
        Number(S::UnknownSendStreamFeature),
    ),
    (
        Starts("the loaded zfs module does not support this operation"),
        Number(S::UnknownSendStreamFeature),
    ),
    (
        Starts("zfs receive required kernel memory allocation larger"),
        Number(S::E2BIG),
    ),
    (Starts("encryption property '"), Property),
    (Starts("invalid property"), Property),
    (Starts("property '"), Property),
    (Starts("bad numeric value"), Property),
    (Starts("'"), Property),
];

/// What `strerror` says in the C locale, on Linux and FreeBSD: libzfs falls back to it.
const NUMBERS: &[(&str, S)] = &[
    ("Operation not permitted", S::EPERM),
    ("No such file or directory", S::ENOENT),
    ("No such process", S::ESRCH),
    ("Interrupted system call", S::EINTR),
    ("Input/output error", S::EIO),
    ("Argument list too long", S::E2BIG),
    ("Bad file descriptor", S::EBADF),
    ("Cannot allocate memory", S::ENOMEM),
    ("Permission denied", S::EACCES),
    ("Bad address", S::EFAULT),
    ("Device or resource busy", S::EBUSY),
    ("Device busy", S::EBUSY),
    ("File exists", S::EEXIST),
    ("Invalid cross-device link", S::EXDEV),
    ("Cross-device link", S::EXDEV),
    ("No such device", S::ENODEV),
    ("Operation not supported by device", S::ENODEV),
    ("Invalid argument", S::EINVAL),
    ("Text file busy", S::ETXTBSY),
    ("No space left on device", S::ENOSPC),
    ("Read-only file system", S::EROFS),
    ("Broken pipe", S::EPIPE),
    ("Numerical result out of range", S::ERANGE),
    ("Result too large", S::ERANGE),
    ("Resource temporarily unavailable", S::EAGAIN),
    ("File name too long", S::ENAMETOOLONG),
    ("Operation not supported", S::ENOTSUP),
    ("Disk quota exceeded", S::EDQUOT),
    ("Disc quota exceeded", S::EDQUOT),
    ("Operation canceled", S::ECANCELED),
    ("Connection reset by peer", S::ECONNRESET),
    ("Timer expired", S::ETIME),
    ("Channel number out of range", S::ECHRNG),
    ("Invalid exchange", S::ECKSUM),
    ("Integrity check failed", S::ECKSUM),
];
