//! Why operations fail: one vocabulary for the kernel's numbers and the texts of zfs(8).

use std::fmt;

use crate::errno::Symbol;
use crate::error::{Class, Operation};
use crate::name::{DatasetPath, HoldTag, NameError};

/// Why an operation failed. Both implementations give the same reason for the same situation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The name is taken.
    AlreadyExists,
    /// The stream or its combination with the target is not acceptable (compound stream, resume state that does not
    /// match, raw onto plain, malformed record).
    BadStream,
    /// In use: mounted and busy, being received, or in use by a send.
    Busy,
    /// Names of different pools, or two snapshots of one filesystem, in one atomic call.
    CrossPool,
    /// There is no ZFS device: the module is not loaded.
    DeviceMissing,
    /// Delegation is switched off on the pool.
    DelegationOff,
    /// Datasets exist below.
    HasChildren,
    /// Snapshots exist.
    HasSnapshots,
    /// Clones exist: these, as far as they could be read.
    HasClones(Vec<DatasetPath>),
    /// User holds exist: these tags, as far as they could be read.
    Held(Vec<HoldTag>),
    /// The call was interrupted. For a send also: nobody reads the stream any more.
    Interrupted,
    /// The kernel refuses the arguments.
    InvalidArgument,
    /// A name that the kernel would refuse.
    InvalidName(Box<NameError>),
    /// A property that does not exist, cannot be set, or cannot have this value. For a receive: what the kernel
    /// refused after the data had arrived.
    InvalidProperty(Vec<RejectedProperty>),
    /// Input or output error.
    Io,
    /// The encryption key is not loaded, or is the wrong one.
    KeyNotLoaded,
    /// A quota, snapshot limit or filesystem limit.
    LimitReached,
    /// The module does not know a call or one of its arguments, or replies in an unknown form.
    ModuleMismatch,
    /// Newer snapshots or bookmarks than the one to roll back to.
    NewerVersionsExist,
    /// The target has no snapshot that the incremental stream starts from.
    NoBase,
    /// No space.
    NoSpace,
    /// The base is not an ancestor of the snapshot.
    NotAncestor,
    /// It does not exist (or is invisible from this jail or zone).
    NotFound,
    /// The kernel had no memory for the call.
    OutOfMemory,
    /// The target holds the state of an interrupted receive, or is being received right now.
    PartialReceive,
    /// The process may not do this.
    PermissionDenied,
    /// The pool is being exported.
    PoolExporting,
    /// The pool is imported read-only.
    PoolReadOnly,
    /// The pool is suspended after I/O errors.
    PoolSuspended,
    /// zfs(8) could not be started, or said something unknown.
    Process,
    /// A raw stream that does not fit the target's encryption history.
    RawMismatch,
    /// Whatever read the stream has gone away.
    ReaderGone,
    /// The target was modified since the base, or has newer snapshots.
    ReceiverModified,
    /// The stream is corrupt.
    StreamCorrupt,
    /// The stream needs a flag: large blocks.
    StreamNeedsLargeBlocks,
    /// The stream ended before its end record.
    StreamTruncated,
    /// A pool feature is off, or this OpenZFS lacks the ability.
    Unsupported,
    /// The stream uses features that the module does not know.
    UnsupportedStream,
    /// The parent is a volume.
    WrongParent,
    /// None of the above: see the number and the detail.
    Other,
}

/// One property that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RejectedProperty {
    /// Its name.
    pub name: String,
    /// Why.
    pub problem: String,
}

impl From<NameError> for Reason {
    fn from(error: NameError) -> Self {
        Self::InvalidName(Box::new(error))
    }
}

impl Reason {
    /// What a number means for an operation: the table of spec/libzfs-core.md §9.3.
    pub fn of(operation: Operation, symbol: Symbol) -> Self {
        use Operation as O;
        use Symbol as S;
        match (operation, symbol) {
            // Meanings that hold for one operation only.
            (O::Open, S::ENOENT | S::ECHRNG | S::ENODEV | S::Other(libc::ENXIO)) => {
                Self::DeviceMissing
            }
            (O::Rollback, S::EEXIST) => Self::NewerVersionsExist,
            (O::Send | O::EstimateSend, S::EXDEV) | (_, S::BookmarkSourceNotAncestor) => {
                Self::NotAncestor
            }
            (O::Send | O::EstimateSend | O::Receive | O::Create, S::EACCES) => Self::KeyNotLoaded,
            (O::Send, S::EPIPE | S::ECONNRESET) => Self::ReaderGone,
            (O::DestroySnapshots, S::EEXIST) => Self::HasClones(Vec::new()),
            (O::DestroyDataset | O::DiscardPartialReceive, S::EEXIST) => Self::HasChildren,
            (
                O::SetProperties | O::InheritProperty,
                S::EINVAL | S::ENOTSUP | S::ERANGE | S::E2BIG | S::ENAMETOOLONG,
            )
            | (_, S::BadProp) => Self::InvalidProperty(Vec::new()),
            (O::Receive, S::EINVAL | S::ERANGE) => Self::BadStream,
            // The rest means the same everywhere.
            (_, S::ENOENT | S::ESRCH) => Self::NotFound,
            (_, S::EEXIST) => Self::AlreadyExists,
            (_, S::EBUSY) => Self::Busy,
            (_, S::EPERM | S::EACCES) => Self::PermissionDenied,
            (_, S::EAGAIN) => Self::PoolSuspended,
            (_, S::EROFS) => Self::PoolReadOnly,
            (_, S::ENOSPC) => Self::NoSpace,
            (_, S::EDQUOT) => Self::LimitReached,
            (_, S::EXDEV) => Self::CrossPool,
            (_, S::ECANCELED) => Self::DelegationOff,
            (_, S::EINTR | S::ERESTARTSYS) => Self::Interrupted,
            (_, S::EIO) => Self::Io,
            (_, S::ENOMEM) => Self::OutOfMemory,
            (_, S::ENODEV) => Self::NoBase,
            (_, S::ETXTBSY) => Self::ReceiverModified,
            (_, S::ENOTSUP) => Self::Unsupported,
            (_, S::ECKSUM) => Self::StreamCorrupt,
            (_, S::EINVAL | S::E2BIG | S::ENAMETOOLONG | S::ERANGE) => Self::InvalidArgument,
            (_, S::IocCmdUnavail | S::IocArgUnavail | S::IocArgRequired | S::IocArgBadType) => {
                Self::ModuleMismatch
            }
            (_, S::WrongParent) => Self::WrongParent,
            (
                _,
                S::FromIvsetGuidMissing
                | S::FromIvsetGuidMismatch
                | S::SpillBlockFlagMissing
                | S::CryptoNotSup,
            ) => Self::RawMismatch,
            (_, S::UnknownSendStreamFeature) => Self::UnsupportedStream,
            (_, S::ExportInProgress) => Self::PoolExporting,
            (_, S::StreamTruncated) => Self::StreamTruncated,
            (_, S::StreamLargeBlockMismatch | S::StreamLargeMicrozap) => {
                Self::StreamNeedsLargeBlocks
            }
            (_, S::ResumeExists) => Self::PartialReceive,
            (
                _,
                S::ECHRNG
                | S::ETIME
                | S::EBADF
                | S::EFAULT
                | S::EPIPE
                | S::ECONNRESET
                | S::Other(_),
            ) => Self::Other,
        }
    }

    /// What a caller should do.
    pub fn class(&self) -> Class {
        match self {
            Self::Busy
            | Self::Held(_)
            | Self::Interrupted
            | Self::NoSpace
            | Self::OutOfMemory
            | Self::PartialReceive
            | Self::PoolExporting
            | Self::PoolSuspended
            | Self::ReaderGone
            | Self::StreamCorrupt
            | Self::StreamTruncated => Class::Retry,
            Self::AlreadyExists => Class::Idempotent,
            Self::BadStream
            | Self::HasChildren
            | Self::HasClones(_)
            | Self::HasSnapshots
            | Self::Io
            | Self::NewerVersionsExist
            | Self::NoBase
            | Self::NotAncestor
            | Self::NotFound
            | Self::Other
            | Self::Process
            | Self::RawMismatch
            | Self::ReceiverModified
            | Self::StreamNeedsLargeBlocks
            | Self::UnsupportedStream
            | Self::WrongParent => Class::Permanent,
            Self::DelegationOff
            | Self::DeviceMissing
            | Self::InvalidName(_)
            | Self::InvalidProperty(_)
            | Self::KeyNotLoaded
            | Self::LimitReached
            | Self::PermissionDenied
            | Self::PoolReadOnly
            | Self::Unsupported => Class::Configuration,
            Self::CrossPool | Self::InvalidArgument | Self::ModuleMismatch => Class::Defect,
        }
    }

    /// What the user can do, where that is known.
    pub fn advice(&self) -> Option<&'static str> {
        Some(match self {
            Self::DeviceMissing => {
                "load the ZFS module (modprobe zfs) and check that /dev/zfs exists"
            }
            Self::KeyNotLoaded => "load the key (zfs load-key) or send raw",
            Self::LimitReached => "raise the quota or limit, or free space below it",
            Self::ModuleMismatch => {
                "the ZFS kernel module and this program do not fit; compare `zfs version` with the supported 2.1 to 2.4"
            }
            Self::NoBase => {
                "the target lacks the base snapshot; replicate from another common snapshot or start over"
            }
            Self::NoSpace => "free space in the pool",
            Self::PartialReceive => {
                "resume the interrupted receive, or discard it (zfs receive -A)"
            }
            Self::PermissionDenied => "run as root or delegate the permission (zfs allow)",
            Self::PoolReadOnly => "import the pool read-write",
            Self::PoolSuspended => "repair the devices and run zpool clear",
            Self::ReceiverModified => "roll the target back to the last common snapshot",
            Self::StreamNeedsLargeBlocks => "send with large blocks (-L)",
            Self::UnsupportedStream => "upgrade OpenZFS on the receiving side",
            Self::DelegationOff => "set the pool property delegation=on, or run as root",
            _ => return None,
        })
    }

    /// A name for the reason, without its data: what tests and metrics compare.
    pub fn label(&self) -> String {
        let debug = format!("{self:?}");
        debug
            .split(['(', ' '])
            .next()
            .unwrap_or_default()
            .to_owned()
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::AlreadyExists => "it exists already",
            Self::BadStream => "the stream is not acceptable for this target",
            Self::Busy => "it is busy",
            Self::CrossPool => "the names are of different pools or twice of one filesystem",
            Self::DeviceMissing => "there is no ZFS device",
            Self::DelegationOff => "delegation is off",
            Self::HasChildren => "datasets exist below it",
            Self::HasSnapshots => "it has snapshots",
            Self::HasClones(clones) if clones.is_empty() => "it has clones",
            Self::HasClones(clones) => {
                return write!(
                    f,
                    "it has clones: {}",
                    join(clones.iter().map(DatasetPath::as_str))
                );
            }
            Self::Held(tags) if tags.is_empty() => "it is held",
            Self::Held(tags) => {
                return write!(
                    f,
                    "it is held by {}",
                    join(tags.iter().map(HoldTag::as_str))
                );
            }
            Self::Interrupted => "it was interrupted",
            Self::InvalidArgument => "the kernel does not accept the arguments",
            Self::InvalidName(error) => return error.fmt(f),
            Self::InvalidProperty(list) if list.is_empty() => "a property is not valid",
            Self::InvalidProperty(list) => {
                let texts: Vec<_> = list
                    .iter()
                    .map(|p| format!("{}: {}", p.name, p.problem))
                    .collect();
                return write!(f, "property {}", join(texts.iter().map(String::as_str)));
            }
            Self::Io => "input/output error",
            Self::KeyNotLoaded => "its encryption key is not loaded",
            Self::LimitReached => "a quota or limit is reached",
            Self::ModuleMismatch => "the kernel module does not know this request",
            Self::NewerVersionsExist => "newer snapshots or bookmarks exist",
            Self::NoBase => "the base of the incremental stream is not there",
            Self::NoSpace => "no space is left",
            Self::NotAncestor => "the base is not an ancestor",
            Self::NotFound => "it does not exist",
            Self::OutOfMemory => "out of memory",
            Self::PartialReceive => "a receive was interrupted or is running",
            Self::PermissionDenied => "permission denied",
            Self::PoolExporting => "the pool is being exported",
            Self::PoolReadOnly => "the pool is imported read-only",
            Self::PoolSuspended => "the pool is suspended",
            Self::Process => "zfs(8) failed",
            Self::RawMismatch => "the raw stream does not fit the target's encryption",
            Self::ReaderGone => "nobody reads the stream any more",
            Self::ReceiverModified => "the target was modified since the base snapshot",
            Self::StreamCorrupt => "the stream is corrupt",
            Self::StreamNeedsLargeBlocks => "the stream must be sent with large blocks",
            Self::StreamTruncated => "the stream ended early",
            Self::Unsupported => "not supported by this pool or OpenZFS",
            Self::UnsupportedStream => "the stream uses features that this OpenZFS does not know",
            Self::WrongParent => "the parent is a volume",
            Self::Other => "it failed",
        };
        f.write_str(text)
    }
}

fn join<'a>(texts: impl Iterator<Item = &'a str>) -> String {
    texts.collect::<Vec<_>>().join(", ")
}
