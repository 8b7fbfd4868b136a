//! The marks that zrepl leaves in ZFS so that a replication can go on after anything has died: holds and bookmarks whose names
//! carry the job's name and, for bookmarks, the guid. Hold tags and versions as ZFS lists them flow in, typed marks flow out, and
//! back. What is recognised is exactly what zrepl 0.7.0 recognises, so the two can take over from each other at any time.
//!
//! Which marks a step needs is in [`guarantee`], which of those found are of no use any more in [`stale`], and what pruners go by
//! in [`base`].

use std::fmt;

use zfs_safe::guid::Guid;
use zfs_safe::name::{
    BookmarkName, DatasetPath, HoldTag, NameError, PoolName, SnapshotName, VersionName,
};
use zfs_safe::version::{FilesystemVersion, Txg};
use zfs_safe::zfs::{BookmarkRequest, HoldRequest};

pub mod base;
pub mod guarantee;
mod inventory;
mod job_id;
pub mod memory;
pub mod name;
pub(in crate::endpoint) mod removal;
pub mod stale;

pub use inventory::Inventory;
pub use job_id::JobId;

use name::{BookmarkMeaning, TagMeaning};

/// What a mark is for. The texts are those of `zrepl zfs-abstraction`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MarkKind {
    /// On a sender: a snapshot is being sent, or is what a running step starts from.
    StepHold,
    /// On a sender, instead of step holds: what remains to go on from if the snapshot goes.
    TentativeCursor,
    /// On a sender: the receiver has confirmed that it has this.
    Cursor,
    /// On a receiver: the newest snapshot received.
    LastReceivedHold,
}

/// A hold or bookmark of some job. Only names that zrepl recognises make one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mark {
    createtxg: Txg,
    guid: Guid,
    kind: MarkKind,
    job: JobId,
    place: Place,
}

/// Where a mark is in ZFS.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Place {
    /// A hold on a snapshot.
    Hold(HoldRequest),
    /// A bookmark.
    Bookmark(BookmarkName),
}

/// One change to a pool. All of them can be repeated: what is there already, or gone already, is no error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Make a bookmark.
    Bookmark(BookmarkRequest),
    /// Destroy a bookmark.
    DestroyBookmark(BookmarkName),
    /// Hold a snapshot.
    Hold(HoldRequest),
    /// Release a hold.
    Release(HoldRequest),
}

/// Why a mark cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MarkError {
    /// zrepl would take it for something else when it finds it again, and never remove it.
    #[error("cannot make a {kind} for job \"{job}\": zrepl would not recognise {name:?}")]
    Ambiguous {
        /// What was to be made.
        kind: MarkKind,
        /// For which job.
        job: JobId,
        /// The name that would not be read back.
        name: String,
    },
    /// ZFS would refuse the name: with the dataset's name before it, a bookmark's can become too long.
    #[error("cannot make a {kind} for job \"{job}\"")]
    Name {
        /// What was to be made.
        kind: MarkKind,
        /// For which job.
        job: JobId,
        /// What is wrong with the name.
        source: NameError,
    },
    /// Only snapshots can be marked.
    #[error("cannot make a {kind} of {version}: version must be a snapshot")]
    NotASnapshot {
        /// What was to be made.
        kind: MarkKind,
        /// The bookmark.
        version: VersionName,
    },
}

impl Change {
    /// The mark that is made or removed.
    pub fn place(&self) -> Place {
        match self {
            Self::Bookmark(BookmarkRequest { bookmark, .. }) | Self::DestroyBookmark(bookmark) => {
                Place::Bookmark(bookmark.clone())
            }
            Self::Hold(hold) | Self::Release(hold) => Place::Hold(hold.clone()),
        }
    }

    /// The full name of the snapshot or bookmark that is changed.
    pub fn subject(&self) -> String {
        match self {
            Self::Bookmark(request) => request.bookmark.to_string(),
            Self::DestroyBookmark(bookmark) => bookmark.to_string(),
            Self::Hold(hold) | Self::Release(hold) => hold.snapshot.to_string(),
        }
    }
}

impl Place {
    /// The pool that it is in.
    pub fn pool(&self) -> PoolName {
        match self {
            Self::Hold(hold) => hold.snapshot.pool(),
            Self::Bookmark(bookmark) => bookmark.pool(),
        }
    }

    /// How the mark is removed.
    pub fn removal(self) -> Change {
        match self {
            Self::Hold(hold) => Change::Release(hold),
            Self::Bookmark(bookmark) => Change::DestroyBookmark(bookmark),
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bookmark(request) => write!(f, "bookmark {}", request.bookmark),
            Self::DestroyBookmark(bookmark) => write!(f, "bookmark {bookmark}"),
            Self::Hold(hold) | Self::Release(hold) => {
                write!(f, "hold \"{}\" on {}", hold.tag, hold.snapshot)
            }
        }
    }
}

impl MarkKind {
    /// All kinds.
    pub const ALL: [Self; 4] = [
        Self::StepHold,
        Self::TentativeCursor,
        Self::Cursor,
        Self::LastReceivedHold,
    ];

    /// Is it left where snapshots are sent from? Otherwise it is left where they are received.
    pub const fn is_of_sender(self) -> bool {
        !matches!(self, Self::LastReceivedHold)
    }

    /// Is it of use only for the step for which it was made?
    pub const fn is_of_step(self) -> bool {
        matches!(self, Self::StepHold | Self::TentativeCursor)
    }
}

impl fmt::Display for MarkKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::StepHold => "step-hold",
            Self::TentativeCursor => "tentative-replication-cursor-bookmark-v2",
            Self::Cursor => "replication-cursor-bookmark-v2",
            Self::LastReceivedHold => "last-received-hold",
        })
    }
}

impl Mark {
    /// The mark of this kind that `job` makes of `version`. It need not exist.
    pub fn new(
        kind: MarkKind,
        job: &JobId,
        version: &FilesystemVersion,
    ) -> Result<Self, MarkError> {
        let named = |source| MarkError::Name {
            kind,
            job: job.clone(),
            source,
        };
        let place = match (name::of_mark(kind, version.guid, job), &version.name) {
            (name::MarkName::Tag(tag), VersionName::Snapshot(snapshot)) => {
                Place::Hold(HoldRequest {
                    snapshot: snapshot.clone(),
                    tag: HoldTag::new(tag).map_err(named)?,
                })
            }
            (name::MarkName::Tag(_), VersionName::Bookmark(_)) => {
                return Err(MarkError::NotASnapshot {
                    kind,
                    version: version.name.clone(),
                });
            }
            (name::MarkName::Bookmark(text), _) => {
                let dataset = version.name.dataset();
                Place::Bookmark(dataset.bookmark(&text).map_err(named)?)
            }
        };
        let mark = Self {
            createtxg: version.createtxg,
            guid: version.guid,
            kind,
            job: job.clone(),
            place,
        };
        mark.check_recognised()?;
        Ok(mark)
    }

    /// The mark that a hold is, if it is one of zrepl's.
    pub fn of_hold(snapshot: &FilesystemVersion, tag: &HoldTag) -> Option<Self> {
        let VersionName::Snapshot(held) = &snapshot.name else {
            return None;
        };
        let TagMeaning { kind, job } = name::parse_tag(tag.as_str())?;
        Some(Self {
            createtxg: snapshot.createtxg,
            guid: snapshot.guid,
            kind,
            job,
            place: Place::Hold(HoldRequest {
                snapshot: held.clone(),
                tag: tag.clone(),
            }),
        })
    }

    /// The mark that a bookmark is, if it is one of zrepl's: the guid in its name must be its own.
    pub fn of_bookmark(bookmark: &FilesystemVersion) -> Option<Self> {
        let VersionName::Bookmark(full) = &bookmark.name else {
            return None;
        };
        match name::parse_bookmark(full.name())? {
            BookmarkMeaning::Mark { kind, guid, job } if guid == bookmark.guid => Some(Self {
                createtxg: bookmark.createtxg,
                guid,
                kind,
                job,
                place: Place::Bookmark(full.clone()),
            }),
            BookmarkMeaning::Mark { .. } | BookmarkMeaning::LegacyCursor => None,
        }
    }

    /// Transaction group of the snapshot that is marked.
    pub const fn createtxg(&self) -> Txg {
        self.createtxg
    }

    /// The guid of the snapshot that is marked.
    pub const fn guid(&self) -> Guid {
        self.guid
    }

    /// What it is for.
    pub const fn kind(&self) -> MarkKind {
        self.kind
    }

    /// The job that made it.
    pub const fn job(&self) -> &JobId {
        &self.job
    }

    /// Where it is.
    pub const fn place(&self) -> &Place {
        &self.place
    }

    /// Its filesystem.
    pub fn dataset(&self) -> DatasetPath {
        match &self.place {
            Place::Hold(hold) => hold.snapshot.dataset(),
            Place::Bookmark(bookmark) => bookmark.dataset(),
        }
    }

    /// Is it this bookmark?
    pub fn is_bookmark(&self, version: &VersionName) -> bool {
        matches!((&self.place, version), (Place::Bookmark(own), VersionName::Bookmark(other)) if own == other)
    }

    /// How it is removed.
    pub fn removal(&self) -> Change {
        self.place.clone().removal()
    }

    /// How it is made; a bookmark is one of `snapshot`.
    pub fn creation(&self, snapshot: &SnapshotName) -> Change {
        match &self.place {
            Place::Hold(hold) => Change::Hold(hold.clone()),
            Place::Bookmark(bookmark) => Change::Bookmark(BookmarkRequest {
                bookmark: bookmark.clone(),
                source: VersionName::Snapshot(snapshot.clone()),
            }),
        }
    }

    fn check_recognised(&self) -> Result<(), MarkError> {
        let (name, is_recognised) = match &self.place {
            Place::Hold(hold) => {
                let tag = hold.tag.as_str();
                let meaning = name::parse_tag(tag);
                let is_ours = |found: TagMeaning| found.kind == self.kind && found.job == self.job;
                (tag, meaning.is_some_and(is_ours))
            }
            Place::Bookmark(bookmark) => {
                let wanted = BookmarkMeaning::Mark {
                    kind: self.kind,
                    guid: self.guid,
                    job: self.job.clone(),
                };
                let meaning = name::parse_bookmark(bookmark.name());
                (bookmark.name(), meaning == Some(wanted))
            }
        };
        if is_recognised {
            Ok(())
        } else {
            Err(MarkError::Ambiguous {
                kind: self.kind,
                job: self.job.clone(),
                name: name.to_owned(),
            })
        }
    }
}

impl fmt::Display for Mark {
    /// As `zrepl zfs-abstraction list` shows it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Hold(HoldRequest { snapshot, tag }) => {
                write!(f, "{} \"{tag}\" on {snapshot}", self.kind)
            }
            Place::Bookmark(bookmark) => write!(f, "{} {bookmark}", self.kind),
        }
    }
}

#[cfg(test)]
mod tests;
