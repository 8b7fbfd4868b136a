//! ZFS through zfs(8) and zpool(8), one process for each call and each kind of work in it.
//!
//! In go the same checked names and typed arguments as into the native implementation, out come the same values and
//! reasons: what the tools print is parsed, and their messages are turned back into the kernel's reasons. Works with any
//! user that may run the tools, and on systems where libzfs_core cannot be linked. Nothing is remembered between calls
//! but the release of ZFS and the counters.

mod batch;
mod command;
mod dataset;
mod destroy;
#[cfg(test)]
mod fake;
mod list;
mod lua;
mod parse;
mod phrases;
mod program;
mod receive;
mod send;
mod stderr;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::counters::Counters;
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

use self::command::Command;

/// What both tools open; the same on Linux and FreeBSD.
const DEVICE: &str = "/dev/zfs";

/// zfs(8) and zpool(8), found through `PATH`.
#[derive(Clone, Debug)]
pub struct Cli {
    tools: Tools,
    // Streams outlive the handle that started them.
    counters: Arc<Counters>,
    /// Release of the tools, which decides what options they have.
    tool_version: ZfsVersion,
    /// Release of the module, which decides what properties there are.
    dialect: Dialect,
}

/// The programs to run.
#[derive(Clone, Debug)]
struct Tools {
    zfs: PathBuf,
    zpool: PathBuf,
}

impl Cli {
    /// Finds the ZFS device and the tools. Fails with [`Reason::DeviceMissing`] if the module is not loaded, and with
    /// [`Reason::Process`] if there is no zfs(8); never loads the module.
    pub fn open() -> Result<Self> {
        // Before any command is run: without the device the tools load the module, since 2.2 whatever the environment says.
        if !Path::new(DEVICE).exists() {
            return Err(ZfsError::new(
                Operation::Open,
                DEVICE,
                Reason::DeviceMissing,
            ));
        }
        Self::with_counters(Arc::default())
    }

    /// The tools in `PATH`, for whoever counts what they cost elsewhere.
    pub(crate) fn with_counters(counters: Arc<Counters>) -> Result<Self> {
        let tools = Tools {
            zfs: "zfs".into(),
            zpool: "zpool".into(),
        };
        let output = Command::new(&tools.zfs, &counters)
            .args(["version"])
            .success(Operation::Open, "")?;
        let (tool_version, module_version) = parse::versions_of_zfs(&output)?;
        Ok(Self {
            tools,
            counters,
            tool_version,
            dialect: Dialect::local(module_version),
        })
    }

    /// A zfs(8) command.
    fn zfs(&self, subcommand: &str) -> Command<'_> {
        Command::new(&self.tools.zfs, &self.counters).args([subcommand])
    }

    /// A zpool(8) command.
    fn zpool(&self, subcommand: &str) -> Command<'_> {
        Command::new(&self.tools.zpool, &self.counters).args([subcommand])
    }
}

impl Zfs for Cli {
    fn backend(&self) -> Backend {
        Backend::Cli
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
        batch::hold(self, requests)
    }

    fn release(&self, requests: &[HoldRequest]) -> Vec<Outcome> {
        batch::release(self, requests)
    }

    fn destroy_snapshots(&self, snapshots: &[SnapshotName]) -> Vec<Outcome> {
        destroy::snapshots(self, snapshots)
    }

    fn destroy_bookmarks(&self, bookmarks: &[BookmarkName]) -> Vec<Outcome> {
        destroy::bookmarks(self, bookmarks)
    }

    fn run_program(
        &self,
        pool: &PoolName,
        program: &Program,
    ) -> Result<ProgramValue, ProgramError> {
        program::run(self, pool, program)
    }

    fn estimate(&self, send: &SendArgs) -> Result<u64> {
        send::estimate(self, send)
    }

    fn send(&self, send: &SendArgs) -> Result<SendStream> {
        send::send(self, send)
    }

    fn receive(&self, receive: &ReceiveArgs) -> Result<ReceiveStream> {
        receive::receive(self, receive)
    }

    fn receive_package(&self, package: &PackageArgs) -> Result<ReceiveStream> {
        receive::receive_package(self, package)
    }
}
