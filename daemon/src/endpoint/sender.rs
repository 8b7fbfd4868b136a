//! The side of a replication that has the filesystems: everything that is asked of a push job by itself, and of a source job by its
//! clients.

use std::sync::Arc;

use super::Endpoint;
use super::access::send::SendPolicy;
use super::local_zfs::LocalZfs;
use super::mark::JobId;
use crate::bandwidth::Limit;
use crate::config::transfer::SendOptions;
use crate::filter::FilesystemFilter;

/// What a sender is made from. All of it comes from the job's configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    /// In whose name marks are made.
    pub job: JobId,
    /// In whose name marks were made before, if that was another one: its cursors count where there are none of `job`.
    pub fallback_job: Option<JobId>,
    /// The filesystems that exist for whoever asks.
    pub filesystems: FilesystemFilter,
    /// How streams are made.
    pub send: SendOptions,
    /// Shared by all streams of the job.
    pub limit: Option<Arc<Limit>>,
}

/// A sender. Clones are the same sender: they know of each other's running steps.
#[derive(Clone, Debug)]
pub struct Sender {
    zfs: LocalZfs,
    settings: Arc<Settings>,
}

impl Sender {
    /// A sender over `zfs`.
    pub fn new(zfs: LocalZfs, settings: Settings) -> Self {
        Self {
            zfs,
            settings: Arc::new(settings),
        }
    }
}

#[tonic::async_trait]
impl Endpoint for Sender {}
