//! The one interface to ZFS. Everything above it, the daemon and the tests alike, asks a [`Zfs`] and never a kernel or a
//! process.
//!
//! All calls block: mutations wait for a transaction group, listings for disk reads. Names arrive checked, so a call
//! fails for what the pool says, not for what its caller mistyped. A failed call leaves the pool as it was, unless its
//! documentation says otherwise.

use std::fmt;

use crate::begin_record::BeginRecord;
use crate::counters::Counters;
use crate::error::Result;
use crate::guid::Guid;
use crate::name::{
    BookmarkName, DatasetPath, EntityName, HoldTag, PoolName, SnapshotName, VersionName,
};
use crate::outcome::Outcome;
use crate::program::{Program, ProgramError, ProgramValue};
use crate::property::{DatasetType, Property, PropertyName, ZfsVersion};
use crate::resume_token::ResumeToken;
use crate::stream::{ReceiveStream, SendStream};
use crate::version::{FilesystemVersion, Txg};

/// How ZFS is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Backend {
    /// libzfs_core and listing ioctls.
    Native,
    /// zfs(8) and zpool(8).
    Cli,
}

/// ZFS, as the daemon sees it. See the [module documentation](self).
///
/// Privileges: reading needs none. Each mutation needs root or the `zfs allow` permissions named with it.
pub trait Zfs: Send + Sync + fmt::Debug {
    /// Which implementation this is.
    fn backend(&self) -> Backend;

    /// What this handle has cost so far.
    fn counters(&self) -> &Counters;

    /// Version of the loaded kernel module.
    fn module_version(&self) -> Result<ZfsVersion>;

    /// Imported pools, sorted by name.
    fn pools(&self) -> Result<Vec<Pool>>;

    /// Does it exist? Only a definite "no such thing" is `false`; anything else that prevents an answer is an error.
    fn exists(&self, name: &EntityName) -> Result<bool>;

    /// Filesystems and volumes under `roots`, the roots included, sorted by name and without repetition. A missing root
    /// is an error; a dataset that is destroyed or renamed meanwhile may be left out, with all below it.
    fn datasets(&self, roots: &[DatasetPath], query: &DatasetQuery) -> Result<Vec<Dataset>>;

    /// Snapshots and bookmarks of one dataset, in [history order](FilesystemVersion::history_order).
    fn versions(
        &self,
        dataset: &DatasetPath,
        query: &VersionQuery,
    ) -> Result<Vec<FilesystemVersion>>;

    /// User holds of a snapshot, sorted by tag.
    fn holds(&self, snapshot: &SnapshotName) -> Result<Vec<Hold>>;

    /// Chosen properties of a dataset, snapshot or bookmark, in the order asked for. A property that does not apply,
    /// or a user property that is not set, is left out.
    fn properties(&self, name: &EntityName, properties: &[PropertyName]) -> Result<Vec<Property>>;

    /// Creates a filesystem with its properties and without mounting it. The parent must exist.
    ///
    /// The kernel creates and then sets properties: a power failure in between leaves the filesystem without them.
    /// Permissions: `create`, `mount`, and each property's.
    fn create_filesystem(
        &self,
        path: &DatasetPath,
        properties: &[(PropertyName, String)],
    ) -> Result<()>;

    /// Sets properties of a dataset, or user properties of a snapshot, in one call. If one is refused by the kernel,
    /// others may have been set.
    fn set_properties(
        &self,
        name: &EntityName,
        properties: &[(PropertyName, String)],
    ) -> Result<()>;

    /// Resets one property: to the received value if there is one and `to_received` is true, else to the inherited one.
    fn inherit_property(
        &self,
        name: &EntityName,
        property: &PropertyName,
        to_received: bool,
    ) -> Result<()>;

    /// Renames a filesystem or volume within its pool. Mounted filesystems stay mounted where they are.
    fn rename(&self, from: &DatasetPath, to: &DatasetPath) -> Result<()>;

    /// Rolls a dataset back to its newest snapshot. Newer snapshots or bookmarks are an error.
    fn rollback(&self, snapshot: &SnapshotName) -> Result<()>;

    /// Destroys a filesystem or volume that has neither children nor snapshots, unmounting it first.
    fn destroy_dataset(&self, path: &DatasetPath) -> Result<()>;

    /// Discards the state of an interrupted receive into `path`. `false` if there was none. A filesystem that consists of
    /// nothing but that state is destroyed with it; any other is left as it was before the receive.
    fn discard_partial_receive(&self, path: &DatasetPath) -> Result<bool>;

    /// Takes snapshots with common user properties. All snapshots of one pool are taken at one instant (the same
    /// createtxg) or none of that pool: then at least one outcome is `Failed` and the others are `NotTried`.
    fn snapshot(
        &self,
        snapshots: &[SnapshotName],
        properties: &[(PropertyName, String)],
    ) -> Vec<Outcome>;

    /// Creates bookmarks. An existing bookmark with the source's guid is `AlreadyDone`, one with another guid fails.
    fn bookmark(&self, requests: &[BookmarkRequest]) -> Vec<Outcome>;

    /// Holds snapshots.
    fn hold(&self, requests: &[HoldRequest]) -> Vec<Outcome>;

    /// Releases holds. A hold that is not there is `AlreadyDone`.
    fn release(&self, requests: &[HoldRequest]) -> Vec<Outcome>;

    /// Destroys snapshots. One that is held, cloned or in use fails with that reason and stays; the others go.
    fn destroy_snapshots(&self, snapshots: &[SnapshotName]) -> Vec<Outcome>;

    /// Destroys bookmarks.
    fn destroy_bookmarks(&self, bookmarks: &[BookmarkName]) -> Vec<Outcome>;

    /// Runs a channel program. Needs root; every run writes the program into the pool's history.
    fn run_program(&self, pool: &PoolName, program: &Program)
    -> Result<ProgramValue, ProgramError>;

    /// Estimated size of a stream in bytes.
    fn estimate(&self, send: &SendArgs) -> Result<u64>;

    /// Starts sending. Errors that the kernel finds at once may also come from [`SendStream::finish`]. No process is
    /// started, except for a [package](SendFlags::is_package).
    fn send(&self, send: &SendArgs) -> Result<SendStream>;

    /// Starts receiving. The caller has read the begin record and writes what follows it. The new dataset, if any, is
    /// not mounted.
    fn receive(&self, receive: &ReceiveArgs) -> Result<ReceiveStream>;

    /// Starts receiving a package of streams with properties, as `zfs send -p` makes it. The kernel knows no packages: this
    /// always runs zfs(8). The caller has read the begin record and writes what follows it.
    fn receive_package(&self, package: &PackageArgs) -> Result<ReceiveStream>;
}

/// An imported pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// Its name.
    pub name: PoolName,
    /// Its identity.
    pub guid: Guid,
    /// How it is.
    pub health: PoolHealth,
}

/// How a pool is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolHealth {
    /// All devices work.
    Online,
    /// It works with devices missing or faulted.
    Degraded,
    /// It does not work.
    Faulted,
    /// It stopped after I/O errors and waits for `zpool clear`.
    Suspended,
}

/// What [`Zfs::datasets`] lists.
#[derive(Clone, Debug, Default)]
pub struct DatasetQuery {
    /// Properties to read with each dataset.
    pub properties: Vec<PropertyName>,
    /// How many levels below each root; `None` for all, `Some(0)` for the roots alone.
    pub depth: Option<u32>,
}

/// A filesystem or volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dataset {
    /// Its name.
    pub path: DatasetPath,
    /// Which of the two it is.
    pub dataset_type: DatasetType,
    /// Its identity in the pool.
    pub guid: Guid,
    /// The transaction group that created it.
    pub createtxg: Txg,
    /// The properties asked for that apply to it.
    pub properties: Vec<Property>,
}

/// What [`Zfs::versions`] lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VersionQuery {
    /// List snapshots.
    pub snapshots: bool,
    /// List bookmarks.
    pub bookmarks: bool,
    /// Only versions with at least this createtxg.
    pub from_createtxg: Option<Txg>,
    /// Read the number of holds of each snapshot.
    pub userrefs: bool,
}

impl VersionQuery {
    /// Snapshots and bookmarks, all of them, without holds.
    pub const ALL: Self = Self {
        snapshots: true,
        bookmarks: true,
        from_createtxg: None,
        userrefs: false,
    };
    /// Snapshots only.
    pub const SNAPSHOTS: Self = Self {
        snapshots: true,
        bookmarks: false,
        from_createtxg: None,
        userrefs: false,
    };
    /// Bookmarks only.
    pub const BOOKMARKS: Self = Self {
        snapshots: false,
        bookmarks: true,
        from_createtxg: None,
        userrefs: false,
    };

    /// The same, with the number of holds.
    #[must_use]
    pub const fn with_userrefs(mut self) -> Self {
        self.userrefs = true;
        self
    }

    /// The same, from this createtxg on.
    #[must_use]
    pub const fn from(mut self, createtxg: Txg) -> Self {
        self.from_createtxg = Some(createtxg);
        self
    }
}

/// A user hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// Its tag.
    pub tag: HoldTag,
    /// When it was made: Unix time in seconds. zfs(8) shows minutes at best, so it gives 0 where it cannot tell.
    pub created: u64,
}

/// A bookmark to create.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BookmarkRequest {
    /// The bookmark's name: of the same dataset as its source.
    pub bookmark: BookmarkName,
    /// What it marks: a snapshot, or a bookmark to copy.
    pub source: VersionName,
}

/// A hold to make or to release.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HoldRequest {
    /// The snapshot.
    pub snapshot: SnapshotName,
    /// The tag.
    pub tag: HoldTag,
}

/// What to send.
#[derive(Clone, Debug)]
pub struct SendArgs {
    /// The snapshot at the end.
    pub snapshot: SnapshotName,
    /// Where an incremental stream starts; `None` for a full one.
    pub base: Option<VersionName>,
    /// Form of the stream.
    pub flags: SendFlags,
    /// Continue an interrupted transfer. `snapshot` and `base` must be those of the token, by guid; the token's flags are
    /// added to `flags`. Properties cannot be continued and are then not sent.
    pub resume: Option<ResumeToken>,
}

/// Form of a stream. All off is what `zfs send` does without options.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent switches of zfs send"
)]
pub struct SendFlags {
    /// Blocks as they are on disk, encrypted ones without their key (`-w`). Implies large blocks and compressed.
    pub raw: bool,
    /// Compressed blocks stay compressed (`-c`).
    pub compressed: bool,
    /// Embedded blocks stay embedded (`-e`).
    pub embedded: bool,
    /// Blocks above 128 KiB are allowed (`-L`).
    pub large_blocks: bool,
    /// Allow sending what an interrupted receive has left (`-S`).
    pub saved: bool,
    /// Send properties along (`-p`). The stream is then a package, whose first record is
    /// [`Compound`](crate::begin_record::BeginRecordError::Compound). Only zfs(8) can make it, so both implementations run
    /// it; [`Zfs::receive_package`] takes it. Estimates do not count properties.
    pub properties: bool,
    /// Send properties as they were received (`-b`), in a package as well.
    pub backup: bool,
}

impl SendFlags {
    /// Is the stream a package, which only zfs(8) can make?
    pub const fn is_package(self) -> bool {
        self.properties || self.backup
    }
}

/// Where and how to receive.
#[derive(Clone, Debug)]
pub struct ReceiveArgs {
    /// Full name of the snapshot to create. Its dataset need not exist, that dataset's parent must.
    pub snapshot: SnapshotName,
    /// The first record of the stream, already read by the caller.
    pub begin: BeginRecord,
    /// Roll the target back to the stream's base first, destroying what is newer (`-F`). A full stream replaces a target
    /// without snapshots only: one that has any is refused.
    pub force: bool,
    /// Keep what has arrived if the stream breaks, and offer a resume token (`-s`).
    pub resumable: bool,
    /// The snapshot that a clone stream is a clone of.
    pub origin: Option<SnapshotName>,
    /// Properties to set on the dataset (`-o`), in the user's form. Those that do not apply to the stream's kind of dataset
    /// are left out.
    pub set: Vec<(PropertyName, String)>,
    /// Properties to inherit instead of what the stream says (`-x`).
    pub inherit: Vec<PropertyName>,
    /// Report properties that the kernel refused after a successful receive in the [`ReceiveReport`]
    /// (crate::stream::ReceiveReport) instead of failing.
    pub tolerate_property_errors: bool,
}

/// Where and how to receive a package of streams. The fields mean what those of [`ReceiveArgs`] do.
#[derive(Clone, Debug)]
pub struct PackageArgs {
    /// Full name of the snapshot to create.
    pub snapshot: SnapshotName,
    /// The first record of the package, already read by the caller: see
    /// [`BeginRecordError::Compound`](crate::begin_record::BeginRecordError::Compound).
    pub begin: Box<[u8; BeginRecord::LEN]>,
    /// Roll the target back to the stream's base first (`-F`).
    pub force: bool,
    /// Keep what has arrived if the stream breaks (`-s`).
    pub resumable: bool,
    /// Properties to set on the dataset (`-o`).
    pub set: Vec<(PropertyName, String)>,
    /// Properties to inherit instead of what the package says (`-x`).
    pub inherit: Vec<PropertyName>,
    /// Report properties that were refused after a successful receive instead of failing.
    pub tolerate_property_errors: bool,
}

impl ReceiveArgs {
    /// A resumable receive without force, origin or properties.
    pub fn new(snapshot: SnapshotName, begin: BeginRecord) -> Self {
        Self {
            snapshot,
            begin,
            force: false,
            resumable: true,
            origin: None,
            set: Vec::new(),
            inherit: Vec::new(),
            tolerate_property_errors: false,
        }
    }
}
