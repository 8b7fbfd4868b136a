//! What can go wrong, kept as facts: operation, dataset, reason, number, and what a caller should do about it.

use std::fmt;

pub use crate::reason::{Reason, RejectedProperty};

use crate::errno::Errno;
use crate::property::PropertyError;

/// The result of an operation on one thing.
pub type Result<T, E = ZfsError> = std::result::Result<T, E>;

/// A failed operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZfsError {
    /// What was attempted.
    pub operation: Operation,
    /// On which dataset, snapshot, bookmark or pool; empty when it concerns the system as a whole.
    pub dataset: String,
    /// Why it failed.
    pub reason: Reason,
    /// The kernel's number, where there was one.
    pub errno: Option<Errno>,
    /// What zfs(8) printed, or another text that helps.
    pub detail: Option<String>,
}

/// What a caller does about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// Transient: the same call may succeed later.
    Retry,
    /// The wanted state is there already.
    Idempotent,
    /// Repeating the call changes nothing: plan anew or tell the user.
    Permanent,
    /// The administrator must change privileges, keys, limits or the configuration.
    Configuration,
    /// Our request was malformed or the module is of another version.
    Defect,
}

macro_rules! operations {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// What was attempted.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Operation {
            $($(#[$doc])* $name,)*
        }

        impl Operation {
            /// The operation as a verb phrase.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

operations! {
    /// Opening the ZFS device or finding zfs(8).
    Open = "open ZFS",
    /// Listing pools.
    ListPools = "list pools",
    /// Listing datasets below a root.
    ListDatasets = "list datasets",
    /// Listing snapshots and bookmarks.
    ListVersions = "list versions",
    /// Reading the holds of a snapshot.
    ListHolds = "list holds",
    /// Reading properties, or asking whether something exists.
    ReadProperties = "read properties",
    /// Setting properties.
    SetProperties = "set properties",
    /// Resetting a property to its inherited or received value.
    InheritProperty = "inherit property",
    /// Creating a filesystem.
    Create = "create filesystem",
    /// Renaming.
    Rename = "rename",
    /// Rolling back.
    Rollback = "roll back",
    /// Destroying a filesystem or volume.
    DestroyDataset = "destroy dataset",
    /// Discarding the state of an interrupted receive.
    DiscardPartialReceive = "discard partial receive",
    /// Taking snapshots.
    Snapshot = "snapshot",
    /// Destroying snapshots.
    DestroySnapshots = "destroy snapshot",
    /// Creating bookmarks.
    Bookmark = "bookmark",
    /// Destroying bookmarks.
    DestroyBookmarks = "destroy bookmark",
    /// Holding snapshots.
    Hold = "hold",
    /// Releasing holds.
    Release = "release hold",
    /// Sending.
    Send = "send",
    /// Estimating the size of a send.
    EstimateSend = "estimate send",
    /// Asking a running send how far it is.
    SendProgress = "read send progress",
    /// Receiving.
    Receive = "receive",
    /// Running a channel program.
    Program = "run channel program",
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl ZfsError {
    /// An error whose reason is known without a number.
    pub fn new(operation: Operation, dataset: impl Into<String>, reason: Reason) -> Self {
        Self {
            operation,
            dataset: dataset.into(),
            reason,
            errno: None,
            detail: None,
        }
    }

    /// An error by number, classified for `operation`.
    pub fn from_errno(operation: Operation, dataset: impl Into<String>, errno: Errno) -> Self {
        let reason = Reason::of(operation, errno.symbol());
        Self {
            operation,
            dataset: dataset.into(),
            reason,
            errno: Some(errno),
            detail: None,
        }
    }

    /// An error of our own check of a property, before anything is asked of the kernel.
    pub fn of_property(operation: Operation, dataset: &str, error: &PropertyError) -> Self {
        let rejected = RejectedProperty {
            name: error.property().to_owned(),
            problem: error.to_string(),
        };
        Self::new(operation, dataset, Reason::InvalidProperty(vec![rejected]))
    }

    /// Adds a text.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        if !detail.is_empty() {
            self.detail = Some(detail);
        }
        self
    }

    /// The same failure, named for another dataset of the same call.
    #[must_use]
    pub fn on(mut self, dataset: impl Into<String>) -> Self {
        self.dataset = dataset.into();
        self
    }

    /// What the caller should do.
    pub fn class(&self) -> Class {
        self.reason.class()
    }

    /// Is the thing itself not there?
    pub fn is_not_found(&self) -> bool {
        self.reason == Reason::NotFound
    }
}

impl fmt::Display for ZfsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {}", self.operation)?;
        if !self.dataset.is_empty() {
            write!(f, " {}", self.dataset)?;
        }
        write!(f, ": {}", self.reason)?;
        match (&self.errno, &self.detail) {
            (Some(errno), Some(detail)) => write!(f, " ({errno}: {detail})"),
            (Some(errno), None) => write!(f, " ({errno})"),
            (None, Some(detail)) => write!(f, " ({detail})"),
            (None, None) => Ok(()),
        }?;
        match self.reason.advice() {
            Some(advice) => write!(f, "; {advice}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for ZfsError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::errno::Symbol;
    use crate::name::HoldTag;

    #[test]
    fn same_number_means_different_things_for_different_operations() {
        use Operation as O;
        let cases = [
            (
                O::Rollback,
                Symbol::EEXIST,
                Reason::NewerVersionsExist,
                Class::Permanent,
            ),
            (
                O::Hold,
                Symbol::EEXIST,
                Reason::AlreadyExists,
                Class::Idempotent,
            ),
            (
                O::DestroySnapshots,
                Symbol::EEXIST,
                Reason::HasClones(vec![]),
                Class::Permanent,
            ),
            (
                O::Send,
                Symbol::EACCES,
                Reason::KeyNotLoaded,
                Class::Configuration,
            ),
            (
                O::Hold,
                Symbol::EACCES,
                Reason::PermissionDenied,
                Class::Configuration,
            ),
            (
                O::Send,
                Symbol::EXDEV,
                Reason::NotAncestor,
                Class::Permanent,
            ),
            (O::Snapshot, Symbol::EXDEV, Reason::CrossPool, Class::Defect),
            (O::Receive, Symbol::ENODEV, Reason::NoBase, Class::Permanent),
            (
                O::Open,
                Symbol::ENOENT,
                Reason::DeviceMissing,
                Class::Configuration,
            ),
            (
                O::Receive,
                Symbol::StreamTruncated,
                Reason::StreamTruncated,
                Class::Retry,
            ),
            (
                O::Receive,
                Symbol::EINVAL,
                Reason::BadStream,
                Class::Permanent,
            ),
            (
                O::Snapshot,
                Symbol::EAGAIN,
                Reason::PoolSuspended,
                Class::Retry,
            ),
            (
                O::Hold,
                Symbol::IocArgUnavail,
                Reason::ModuleMismatch,
                Class::Defect,
            ),
            (O::Send, Symbol::EINTR, Reason::Interrupted, Class::Retry),
            (
                O::Bookmark,
                Symbol::BookmarkSourceNotAncestor,
                Reason::NotAncestor,
                Class::Permanent,
            ),
            (
                O::Snapshot,
                Symbol::EDQUOT,
                Reason::LimitReached,
                Class::Configuration,
            ),
        ];
        for (operation, symbol, reason, class) in cases {
            let error = ZfsError::from_errno(operation, "p/a", symbol.errno());
            assert_eq!(
                (&error.reason, error.class()),
                (&reason, class),
                "{operation} {symbol:?}"
            );
        }
    }

    #[test]
    fn message_says_what_on_which_dataset_why_and_what_to_do() {
        let error = ZfsError::from_errno(Operation::Send, "tank/a@s", Symbol::EACCES.errno());
        assert_eq!(
            error.to_string(),
            "cannot send tank/a@s: its encryption key is not loaded (EACCES, errno 13); load the key (zfs load-key) or \
             send raw"
        );
        let tags = vec![
            HoldTag::new("a").expect("valid"),
            HoldTag::new("b").expect("valid"),
        ];
        let error = ZfsError::new(Operation::DestroySnapshots, "tank/a@s", Reason::Held(tags));
        assert_eq!(
            error.to_string(),
            "cannot destroy snapshot tank/a@s: it is held by a, b"
        );
        assert_eq!(error.reason.label(), "Held");
    }
}
