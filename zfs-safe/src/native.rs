//! ZFS without processes: libzfs_core for everything it offers, and listing and property ioctls for what it lacks.

mod batch;
mod core;
mod dataset;
#[cfg(target_os = "linux")]
mod descriptors;
mod device;
mod list;
mod mount;
mod program;
mod signals;
mod stream;
mod submission;

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};

use zfs_sys::optional::Optional;

use crate::cli::Cli;
use crate::counters::Counters;
use crate::errno::{Errno, Symbol};
use crate::error::{Operation, Reason, Result, ZfsError};
use crate::name::{BookmarkName, DatasetPath, EntityName, PoolName, SnapshotName};
use crate::outcome::Outcome;
use crate::program::{Program, ProgramError, ProgramValue};
use crate::property::{Dialect, Property, PropertyName, ZfsVersion};
use crate::stream::{ReceiveStream, SendStream};
use crate::version::FilesystemVersion;
use crate::zfs::{
    Backend, BookmarkRequest, Dataset, DatasetQuery, Hold, HoldRequest, PackageArgs, Pool,
    ReceiveArgs, SendArgs, VersionQuery, Zfs,
};

use self::core::Core;
use self::device::Device;

/// The kernel module, reached directly.
#[derive(Clone, Debug)]
pub struct Native {
    // Streams and their progress sources outlive the handle that started them.
    core: Arc<Core>,
    device: Arc<Device>,
    counters: Arc<Counters>,
    dialect: Dialect,
    /// zfs(8), once something was asked for that only it can do.
    tools: Arc<Mutex<Option<Cli>>>,
}

impl Native {
    /// Opens the ZFS device. Fails with [`Reason::DeviceMissing`] if the module is not loaded; never loads it.
    pub fn open() -> Result<Self> {
        let failed = |errno| ZfsError::from_errno(Operation::Open, zfs_sys::ioctl::DEVICE, errno);
        let core = Core::open().map_err(failed)?;
        let version = loaded_version()?;
        let counters = Arc::new(Counters::default());
        let device = Device::open(version, Arc::clone(&counters)).map_err(failed)?;
        Ok(Self {
            core: Arc::new(core),
            device: Arc::new(device),
            counters,
            dialect: Dialect::local(version),
            tools: Arc::default(),
        })
    }

    /// zfs(8), for what libzfs_core does not offer. Its processes are counted here.
    fn tools(&self, what: &str) -> Result<Cli> {
        // A panic of another caller leaves it open or not.
        let mut tools = self.tools.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tools) = &*tools {
            return Ok(tools.clone());
        }
        let opened = Cli::with_counters(Arc::clone(&self.counters)).map_err(|error| {
            let found = error.detail.as_deref().unwrap_or("it does not answer");
            let detail = format!("{what} needs zfs(8): {found}");
            error.with_detail(detail)
        })?;
        Ok(tools.insert(opened).clone())
    }

    /// Holds snapshots until `lease` is dropped or the process ends, however it ends: the kernel releases them with the
    /// last reference to the lease. Otherwise like [`Zfs::hold`]. After a power failure they go at the next import.
    pub fn hold_temporarily(&self, requests: &[HoldRequest], lease: &HoldLease) -> Vec<Outcome> {
        batch::hold(self, requests, Some(lease))
    }

    /// Does the installed libzfs_core offer receives that repair damaged blocks (`zfs receive -c`, OpenZFS 2.2)? Newer
    /// functions are looked up when they are wanted, so that this program also starts with the library of 2.1.
    pub fn can_heal(&self) -> bool {
        Optional::find().lzc_receive_with_heal.is_some()
    }

    /// Release and platform of the kernel module.
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// Counts a call that changes the pool through libzfs_core.
    fn count_mutation(&self, operation: Operation, errno: Option<Errno>) {
        self.counters.add_ioctls(1);
        self.count_txg(operation, errno);
    }

    /// Counts the transaction group that a changing call has waited for: each successful one, and failures that the
    /// kernel finds only while it writes the group.
    fn count_txg(&self, operation: Operation, errno: Option<Errno>) {
        use Operation as O;
        let late = matches!(
            (operation, errno.map(Errno::symbol)),
            (O::Hold | O::Snapshot, Some(Symbol::EEXIST))
                | (O::DestroySnapshots, Some(Symbol::EBUSY | Symbol::EEXIST))
        );
        if errno.is_none() || late {
            self.counters.add_txg_wait();
        }
    }
}

/// What keeps temporary holds alive: a descriptor of `/dev/zfs` of its own. Dropping it waits for a transaction group.
#[derive(Debug)]
pub struct HoldLease(OwnedFd);

impl HoldLease {
    /// Opens the descriptor, closed on exec so that no child keeps the holds alive.
    pub fn open() -> Result<Self> {
        use rustix::fs::{Mode, OFlags};
        rustix::fs::open(
            zfs_sys::ioctl::DEVICE,
            OFlags::RDWR | OFlags::EXCL | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .map(Self)
        .map_err(|error| {
            let errno = Errno::new(error.raw_os_error());
            ZfsError::from_errno(Operation::Open, zfs_sys::ioctl::DEVICE, errno)
        })
    }
}

impl Zfs for Native {
    fn backend(&self) -> Backend {
        Backend::Native
    }

    fn counters(&self) -> &Counters {
        &self.counters
    }

    fn module_version(&self) -> Result<ZfsVersion> {
        Ok(self.dialect.version)
    }

    fn pools(&self) -> Result<Vec<Pool>> {
        list::pools(self)
    }

    fn exists(&self, name: &EntityName) -> Result<bool> {
        list::exists(self, name)
    }

    fn datasets(&self, roots: &[DatasetPath], query: &DatasetQuery) -> Result<Vec<Dataset>> {
        list::datasets(self, roots, query)
    }

    fn versions(
        &self,
        dataset: &DatasetPath,
        query: &VersionQuery,
    ) -> Result<Vec<FilesystemVersion>> {
        list::versions(self, dataset, query)
    }

    fn holds(&self, snapshot: &SnapshotName) -> Result<Vec<Hold>> {
        list::holds(self, snapshot)
    }

    fn properties(&self, name: &EntityName, properties: &[PropertyName]) -> Result<Vec<Property>> {
        list::properties(self, name, properties)
    }

    fn create_filesystem(
        &self,
        path: &DatasetPath,
        properties: &[(PropertyName, String)],
    ) -> Result<()> {
        dataset::create_filesystem(self, path, properties)
    }

    fn set_properties(
        &self,
        name: &EntityName,
        properties: &[(PropertyName, String)],
    ) -> Result<()> {
        dataset::set_properties(self, name, properties)
    }

    fn inherit_property(
        &self,
        name: &EntityName,
        property: &PropertyName,
        to_received: bool,
    ) -> Result<()> {
        dataset::inherit_property(self, name, property, to_received)
    }

    fn rename(&self, from: &DatasetPath, to: &DatasetPath) -> Result<()> {
        dataset::rename(self, from, to)
    }

    fn rollback(&self, snapshot: &SnapshotName) -> Result<()> {
        dataset::rollback(self, snapshot)
    }

    fn destroy_dataset(&self, path: &DatasetPath) -> Result<()> {
        dataset::destroy(self, path)
    }

    fn discard_partial_receive(&self, path: &DatasetPath) -> Result<bool> {
        dataset::discard_partial_receive(self, path)
    }

    fn snapshot(
        &self,
        snapshots: &[SnapshotName],
        properties: &[(PropertyName, String)],
    ) -> Vec<Outcome> {
        batch::snapshot(self, snapshots, properties)
    }

    fn bookmark(&self, requests: &[BookmarkRequest]) -> Vec<Outcome> {
        batch::bookmark(self, requests)
    }

    fn hold(&self, requests: &[HoldRequest]) -> Vec<Outcome> {
        batch::hold(self, requests, None)
    }

    fn release(&self, requests: &[HoldRequest]) -> Vec<Outcome> {
        batch::release(self, requests)
    }

    fn destroy_snapshots(&self, snapshots: &[SnapshotName]) -> Vec<Outcome> {
        batch::destroy_snapshots(self, snapshots)
    }

    fn destroy_bookmarks(&self, bookmarks: &[BookmarkName]) -> Vec<Outcome> {
        batch::destroy_bookmarks(self, bookmarks)
    }

    fn run_program(
        &self,
        pool: &PoolName,
        program: &Program,
    ) -> Result<ProgramValue, ProgramError> {
        program::run(self, pool, program)
    }

    fn estimate(&self, send: &SendArgs) -> Result<u64> {
        stream::estimate(self, send)
    }

    fn send(&self, send: &SendArgs) -> Result<SendStream> {
        stream::send(self, send)
    }

    fn receive(&self, receive: &ReceiveArgs) -> Result<ReceiveStream> {
        stream::receive(self, receive)
    }

    fn receive_package(&self, package: &PackageArgs) -> Result<ReceiveStream> {
        self.tools("receiving properties")?.receive_package(package)
    }
}

/// Release of the loaded module, which need not be that of the installed tools.
fn loaded_version() -> Result<ZfsVersion> {
    let failed = |detail: String| {
        ZfsError::new(Operation::Open, "kernel module", Reason::DeviceMissing).with_detail(detail)
    };
    #[cfg(not(target_os = "freebsd"))]
    let text = {
        const PATH: &str = "/sys/module/zfs/version";
        std::fs::read_to_string(PATH).map_err(|error| failed(format!("{PATH}: {error}")))?
    };
    #[cfg(target_os = "freebsd")]
    let text = signals::sysctl_text(c"vfs.zfs.version.module")
        .map_err(|error| failed(error.to_string()))?;
    text.parse()
        .map_err(|error: crate::property::ParseVersionError| failed(error.to_string()))
}
