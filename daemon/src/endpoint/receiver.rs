//! The side of a replication that filesystems go to: everything that is asked of a pull job by itself, and of a sink job by its
//! clients.

use std::sync::Arc;

use super::Endpoint;
use super::access::ReceiveRoot;
use super::local_zfs::LocalZfs;
use super::mark::JobId;
use crate::bandwidth::Limit;
use crate::config::transfer::ReceiveOptions;

/// What a receiver is made from. All of it comes from the job's configuration, and the root of a sink's client from its identity.
#[derive(Clone, Debug)]
pub struct Settings {
    /// In whose name marks are made.
    pub job: JobId,
    /// Below which everything is received.
    pub root: ReceiveRoot,
    /// How streams are received.
    pub receive: ReceiveOptions,
    /// Shared by all streams of the job.
    pub limit: Option<Arc<Limit>>,
}

/// A receiver. Clones are the same receiver.
#[derive(Clone, Debug)]
pub struct Receiver {
    zfs: LocalZfs,
    settings: Arc<Settings>,
}

impl Receiver {
    /// A receiver over `zfs`.
    pub fn new(zfs: LocalZfs, settings: Settings) -> Self {
        Self {
            zfs,
            settings: Arc::new(settings),
        }
    }

    /// Waits until everything that was being received has come to its end. To be called once nobody asks any more, before the process
    /// ends; streams must have been cut before.
    pub async fn settle(&self) {}
}

#[tonic::async_trait]
impl Endpoint for Receiver {}
