//! The side of a replication that filesystems go to: everything that is asked of a pull job by itself, and of a sink job by its
//! clients. Nothing outside the root can be named, and nothing that was received is ever destroyed to make a stream fit.
//!
//! ```text
//! receiver ─► receive ─► parents, target
//!          └► running
//! ```

mod parents;
mod receive;
mod running;
mod target;

use std::sync::Arc;
use std::time::Instant;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;
use zfs_safe::ZfsError;
use zfs_safe::name::{DatasetPath, EntityName};
use zfs_safe::zfs::{Dataset, DatasetQuery};
use zrepl_proto::pdu::{
    Check as _, DestroySnapshotsReq, DestroySnapshotsRes, Filesystem, ListFilesystemReq,
    ListFilesystemRes, ListFilesystemVersionsReq, ListFilesystemVersionsRes, ReceiveReq,
    ReceiveRes, SendCompletedReq, SendCompletedRes,
};

use self::running::Running;
use self::target::{RESUME_TOKEN, property};
use super::access::{AccessError, ReceiveRoot};
use super::destroy::destroy;
use super::listing::{self, Listing};
use super::local_zfs::LocalZfs;
use super::mark::JobId;
use super::mark::stale::judge;
use super::placeholder::{PROPERTY, is_placeholder, local_value};
use super::stream::SendStream;
use super::{Endpoint, EndpointError, Held};
use crate::bandwidth::Limit;
use crate::causes::chain;
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

/// A receiver. Clones are the same receiver: they know of each other's streams.
#[derive(Clone, Debug)]
pub struct Receiver {
    zfs: LocalZfs,
    settings: Arc<Settings>,
    listing: Arc<Listing>,
    running: Running,
    tasks: TaskTracker,
    /// Even if they are stale.
    leaves_marks: bool,
}

impl Receiver {
    /// A receiver over `zfs`.
    pub fn new(zfs: LocalZfs, settings: Settings) -> Self {
        Self {
            zfs,
            settings: Arc::new(settings),
            listing: Arc::default(),
            running: Running::default(),
            tasks: TaskTracker::new(),
            leaves_marks: false,
        }
    }

    /// The same, but one that leaves stale marks alone when it lists, for whoever only wants to know.
    #[must_use]
    pub fn that_changes_nothing(self) -> Self {
        Self {
            leaves_marks: true,
            ..self
        }
    }

    /// Waits until everything that was being received has come to its end, and what was put off is done. To be called once nobody asks
    /// any more, before the process ends: whoever was waiting for an answer has gone, and that cuts a stream.
    pub async fn settle(&self) {
        self.tasks.close();
        self.tasks.wait().await;
        let pool = self.settings.root.root_fs().pool();
        self.zfs.finish_removals([pool]).await;
    }

    fn local(&self, filesystem: &str) -> Result<DatasetPath, EndpointError> {
        self.settings
            .root
            .to_local(filesystem)
            .map_err(|error: AccessError| failed(format!("`Filesystem` invalid: {error}")))
    }
}

fn failed(text: impl Into<String>) -> EndpointError {
    EndpointError::Failed(text.into())
}

#[tonic::async_trait]
impl Endpoint for Receiver {
    async fn list_filesystems(
        &self,
        _: ListFilesystemReq,
    ) -> Result<ListFilesystemRes, EndpointError> {
        let (settings, begun) = (Arc::clone(&self.settings), Instant::now());
        let listed = self.zfs.run(move |zfs| list(zfs, &settings.root)).await?;
        let memory = self.zfs.memory();
        let evidence = listed.iter().filter_map(|dataset| {
            let evidence = memory.evidence_of(&dataset.properties)?;
            Some((dataset.path.clone(), evidence))
        });
        self.listing.keep(begun, evidence);
        let paths = listed.iter().map(|dataset| &dataset.path);
        self.zfs.forget(&self.listing.gone(paths));
        let filesystems = listed
            .iter()
            .filter_map(|dataset| as_filesystem(&self.settings.root, dataset))
            .collect();
        Ok(ListFilesystemRes { filesystems })
    }

    async fn list_filesystem_versions(
        &self,
        request: ListFilesystemVersionsReq,
    ) -> Result<ListFilesystemVersionsRes, EndpointError> {
        let dataset = self.local(&request.filesystem)?;
        let is_idle = !self.running.contains(&dataset) && !self.leaves_marks;
        let job = self.settings.job.clone();
        let evidence = self.listing.take(&dataset, Instant::now());
        let listed = self.zfs.run(move |zfs| {
            let snapshots = match evidence {
                Some(evidence) => zfs.snapshots_by(&dataset, evidence)?,
                None => zfs.snapshots(&dataset)?,
            };
            if is_idle && let Err(error) = reconcile(zfs, &dataset, &job) {
                tracing::error!(fs = %dataset, err = %error, "cannot look for stale holds");
            }
            Ok::<_, ZfsError>(snapshots)
        });
        let listed = listed.await.map_err(|error| failed(error.to_string()))?;
        Ok(listing::answer(listed.iter()))
    }

    async fn destroy_snapshots(
        &self,
        request: DestroySnapshotsReq,
    ) -> Result<DestroySnapshotsRes, EndpointError> {
        request.check().map_err(|error| failed(chain(&error)))?;
        let dataset = self.local(&request.filesystem)?;
        let listing = Arc::clone(&self.listing);
        let destroyed = self.zfs.run(move |zfs| {
            let destroyed = destroy(zfs, &dataset, request.snapshots);
            listing.forget(&dataset);
            destroyed
        });
        destroyed.await.map_err(|error| failed(error.to_string()))
    }

    async fn held(&self, filesystem: &str) -> Vec<Held> {
        let Ok(dataset) = self.local(filesystem) else {
            return Vec::new();
        };
        let job = self.settings.job.clone();
        let held = move |zfs: &LocalZfs| zfs.held(&dataset, &job);
        self.zfs.run(held).await
    }

    /// The marks of a receiver are made when something has arrived, so mostly nothing is to be done. But a receiver that was killed
    /// between the two has none, and a driver of ours that finds a sender without cursor tells both sides.
    async fn send_completed(
        &self,
        request: SendCompletedReq,
    ) -> Result<SendCompletedRes, EndpointError> {
        let Some(original) = request.original_req else {
            return Ok(SendCompletedRes {});
        };
        let dataset = self.local(&original.filesystem)?;
        if self.running.contains(&dataset) {
            return Ok(SendCompletedRes {});
        }
        let settings = Arc::clone(&self.settings);
        let confirmed = self
            .zfs
            .run(move |zfs| receive::confirm(zfs, &settings, &dataset, &original));
        confirmed.await?;
        Ok(SendCompletedRes {})
    }

    async fn receive(
        &self,
        request: ReceiveReq,
        stream: SendStream,
    ) -> Result<ReceiveRes, EndpointError> {
        // If nobody waits for the answer any more, the stream is cut, and all that has to follow is still done.
        let stop = CancellationToken::new();
        let _cut = stop.clone().drop_guard();
        let this = self.clone();
        let task = async move {
            let received = receive::receive(&this, &request, stream, &stop).await;
            if let Ok(dataset) = this.settings.root.to_local(&request.filesystem) {
                this.listing.forget(&dataset);
            }
            if let Err(error) = &received {
                tracing::error!(filesystem = request.filesystem, err = %chain(error), "cannot receive");
            }
            received
        };
        match self.tasks.spawn(task.in_current_span()).await {
            Ok(received) => received.map(|()| ReceiveRes {}).map_err(Into::into),
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(error) => Err(failed(error.to_string())),
            },
        }
    }
}

/// Everything below the client's root, and that root. Blocks.
fn list(zfs: &LocalZfs, root: &ReceiveRoot) -> Result<Vec<Dataset>, EndpointError> {
    let mut properties = [PROPERTY, RESUME_TOKEN].map(property).to_vec();
    properties.extend_from_slice(zfs.memory().evidence());
    let query = DatasetQuery {
        properties,
        depth: None,
    };
    let roots = std::slice::from_ref(root.client_root());
    match zfs.zfs().datasets(roots, &query) {
        Ok(datasets) => Ok(datasets),
        Err(error) if error.is_not_found() => {
            let root_fs = root.root_fs();
            match zfs.zfs().exists(&EntityName::from(root_fs.clone())) {
                // The client has never sent anything.
                Ok(true) => Ok(Vec::new()),
                Ok(false) => Err(failed(format!(
                    "root_fs {:?} does not exist; create it, or import its pool",
                    root_fs.as_str()
                ))),
                Err(error) => Err(failed(error.to_string())),
            }
        }
        Err(error) => Err(failed(error.to_string())),
    }
}

fn as_filesystem(root: &ReceiveRoot, dataset: &Dataset) -> Option<Filesystem> {
    let path = root.to_remote(&dataset.path)?;
    let token = dataset
        .properties
        .iter()
        .find(|property| property.name.as_str() == RESUME_TOKEN)
        .map_or("", |property| &property.value);
    Some(Filesystem {
        path: path.to_string(),
        resume_token: if token == "-" { "" } else { token }.to_owned(),
        is_placeholder: is_placeholder(dataset.path.as_str(), local_value(&dataset.properties)),
    })
}

/// Releases holds that a receive has left which did not come to its end. Blocks.
fn reconcile(zfs: &LocalZfs, dataset: &DatasetPath, job: &JobId) -> Result<(), ZfsError> {
    let held = zfs.holds(dataset)?;
    let stale: Vec<_> = judge(&held, job).changes().collect();
    if !stale.is_empty() {
        zfs.remove_marks_now(stale);
    }
    Ok(())
}
