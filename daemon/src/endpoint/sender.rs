//! The side of a replication that has the filesystems: everything that is asked of a push job by itself, and of a source job by its
//! clients. Requests flow in, answers and streams flow out; and in ZFS the marks that a step needs are there before its stream starts,
//! and go when the step is complete, or at the next round.

use std::collections::{BTreeSet, HashSet};
use std::io;
use std::sync::Arc;
use std::time::Instant;

use zfs_safe::ZfsError;
use zfs_safe::name::{BookmarkName, DatasetPath, VersionName};
use zfs_safe::property::PropertyName;
use zfs_safe::version::FilesystemVersion;
use zfs_safe::zfs::{VersionQuery, Zfs};
use zrepl_proto::pdu::{
    DestroySnapshotsReq, DestroySnapshotsRes, Filesystem, GuaranteeError, GuaranteeKind,
    ListFilesystemReq, ListFilesystemRes, ListFilesystemVersionsReq, ListFilesystemVersionsRes,
    Protection, ReceiveReq, ReceiveRes, ReplicationConfig, ReplicationCursorReq,
    ReplicationCursorRes, SendCompletedReq, SendCompletedRes, SendReq, SendRes,
};

use super::access::send::SendPolicy;
use super::access::{AccessError, on_sender};
use super::destroy::{DestroyError, destroy};
use super::listing::{self, Listing};
use super::local_zfs::LocalZfs;
use super::mark::guarantee::{self, Plan};
use super::mark::{Change, Inventory, JobId, MarkError, MarkKind, Place, stale};
use super::stream::SendStream;
use super::{Endpoint, EndpointError, Held, placeholder, zfs_stream};
use crate::bandwidth::Limit;
use crate::causes::chain;
use crate::config::transfer::SendOptions;
use crate::filter::FilesystemFilter;

mod filesystems;
mod running;
mod step;

use running::{Filesystems, Running};
use step::{ArgumentError, Step, VersionError, find_snapshot};

/// What a sender is made from. All of it comes from the job's configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    /// In whose name marks are made.
    pub job: JobId,
    /// Whose cursor is told where this job has none: another job's that has replicated the same filesystems before.
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
    job: Arc<Job>,
}

/// What clones share, and blocking work takes along.
#[derive(Debug)]
struct Job {
    settings: Settings,
    listing: Listing,
    filesystems: Filesystems,
    /// Even if they are stale.
    leaves_marks: bool,
}

/// The filesystems of this host that a job's filter accepts, by path, placeholders included. Blocks.
pub fn local_filesystems(
    zfs: &dyn Zfs,
    filter: &FilesystemFilter,
) -> zfs_safe::Result<Vec<DatasetPath>> {
    let found = filesystems::list(zfs, filter, Vec::new())?;
    Ok(found.into_iter().map(|dataset| dataset.path).collect())
}

/// Why a sender did not do what it was asked.
#[derive(Debug, thiserror::Error)]
enum SenderError {
    #[error(transparent)]
    Access(#[from] AccessError),
    #[error("validate send arguments")]
    Arguments(#[from] ArgumentError),
    #[error("validate `to` exists")]
    Completed(#[source] VersionError),
    #[error("cannot move replication cursor, keeping hold on `to` until successful")]
    Cursor(#[source] ZfsError),
    #[error(transparent)]
    Destroy(#[from] DestroyError),
    #[error("zfs send dry failed")]
    Estimate(#[source] ZfsError),
    #[error(transparent)]
    Guarantee(#[from] GuaranteeError),
    #[error(transparent)]
    Mark(#[from] MarkError),
    #[error("zfs send failed")]
    Send(#[source] ZfsError),
    #[error("cannot read the stream of zfs send")]
    Pipe(#[source] io::Error),
    #[error(transparent)]
    Zfs(#[from] ZfsError),
}

impl Sender {
    /// A sender over `zfs`.
    pub fn new(zfs: LocalZfs, settings: Settings) -> Self {
        Self {
            zfs,
            job: Arc::new(Job {
                settings,
                listing: Listing::default(),
                filesystems: Filesystems::default(),
                leaves_marks: false,
            }),
        }
    }

    /// The same, but one that leaves stale marks alone when it lists, for whoever only wants to know.
    #[must_use]
    pub fn that_changes_nothing(self) -> Self {
        let Job { settings, .. } = &*self.job;
        let job = Job {
            settings: settings.clone(),
            listing: Listing::default(),
            filesystems: Filesystems::default(),
            leaves_marks: true,
        };
        Self {
            zfs: self.zfs,
            job: Arc::new(job),
        }
    }

    /// Waits until all is done that was put off. To be called before the process ends.
    pub async fn settle(&self) {
        let pools = self.job.filesystems.pools();
        self.zfs.finish_removals(pools).await;
    }

    /// Does what blocks. It runs to its end even if nobody waits for it any more.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Job, &LocalZfs) -> Result<T, SenderError> + Send + 'static,
    ) -> Result<T, EndpointError> {
        let job = Arc::clone(&self.job);
        Ok(self.zfs.run(move |zfs| work(&job, zfs)).await?)
    }
}

#[tonic::async_trait]
impl Endpoint for Sender {
    async fn list_filesystems(
        &self,
        _: ListFilesystemReq,
    ) -> Result<ListFilesystemRes, EndpointError> {
        self.run(Job::list_filesystems).await
    }

    async fn list_filesystem_versions(
        &self,
        request: ListFilesystemVersionsReq,
    ) -> Result<ListFilesystemVersionsRes, EndpointError> {
        self.run(move |job, zfs| job.list_versions(zfs, &request.filesystem))
            .await
    }

    async fn destroy_snapshots(
        &self,
        request: DestroySnapshotsReq,
    ) -> Result<DestroySnapshotsRes, EndpointError> {
        self.run(|job, zfs| job.destroy_snapshots(zfs, request))
            .await
    }

    async fn held(&self, filesystem: &str) -> Vec<Held> {
        let Ok(dataset) = self.job.dataset(filesystem) else {
            return Vec::new();
        };
        let job = Arc::clone(&self.job);
        let held = move |zfs: &LocalZfs| zfs.held(&dataset, &job.settings.job);
        self.zfs.run(held).await
    }

    async fn replication_cursor(
        &self,
        request: ReplicationCursorReq,
    ) -> Result<ReplicationCursorRes, EndpointError> {
        self.run(move |job, zfs| job.replication_cursor(zfs, &request.filesystem))
            .await
    }

    async fn send_dry(&self, request: SendReq) -> Result<SendRes, EndpointError> {
        self.run(move |job, zfs| job.send_dry(zfs, &request)).await
    }

    async fn send(&self, request: SendReq) -> Result<(SendRes, SendStream), EndpointError> {
        let answer = SendRes {
            used_resume_token: !request.resume_token.is_empty(),
            expected_size: 0,
        };
        let start = self.run(move |job, zfs| job.send(zfs, &request));
        let (send, running) = start.await?;
        let mut stream = zfs_stream::sending_with(send, running).map_err(SenderError::Pipe)?;
        stream.limits.extend(self.job.settings.limit.clone());
        Ok((answer, stream))
    }

    async fn send_completed(
        &self,
        request: SendCompletedReq,
    ) -> Result<SendCompletedRes, EndpointError> {
        self.run(move |job, zfs| job.send_completed(zfs, &request.original_req.unwrap_or_default()))
            .await
    }

    async fn receive(&self, _: ReceiveReq, _: SendStream) -> Result<ReceiveRes, EndpointError> {
        Err(EndpointError::Failed(
            "sender does not implement Receive()".to_owned(),
        ))
    }
}

impl Job {
    fn dataset(&self, filesystem: &str) -> Result<DatasetPath, AccessError> {
        on_sender(&self.settings.filesystems, filesystem)
    }

    fn list_filesystems(&self, zfs: &LocalZfs) -> Result<ListFilesystemRes, SenderError> {
        let begun = Instant::now();
        let wanted = placeholder::PROPERTY.parse().into_iter();
        let properties: Vec<PropertyName> =
            wanted.chain(zfs.memory().evidence().to_vec()).collect();
        let found = filesystems::list(zfs.zfs(), &self.settings.filesystems, properties)?;
        // A round begins, and is not to be told of what will be gone by the time of its first step.
        let pools: BTreeSet<_> = found.iter().map(|dataset| dataset.path.pool()).collect();
        for pool in &pools {
            zfs.finish_removals_blocking(pool);
        }
        let evidence = found.iter().filter_map(|dataset| {
            let evidence = zfs.memory().evidence_of(&dataset.properties)?;
            Some((dataset.path.clone(), evidence))
        });
        self.listing.keep(begun, evidence);
        zfs.forget(&self.listing.gone(found.iter().map(|dataset| &dataset.path)));
        let is_there: HashSet<_> = found.iter().map(|dataset| &dataset.path).collect();
        self.filesystems
            .retain(|dataset| is_there.contains(dataset));
        let filesystems = found.iter().map(|dataset| {
            let path = dataset.path.as_str();
            let value = placeholder::local_value(&dataset.properties);
            Filesystem {
                path: path.to_owned(),
                resume_token: String::new(),
                is_placeholder: placeholder::is_placeholder(path, value),
            }
        });
        Ok(ListFilesystemRes {
            filesystems: filesystems.collect(),
        })
    }

    fn list_versions(
        &self,
        zfs: &LocalZfs,
        filesystem: &str,
    ) -> Result<ListFilesystemVersionsRes, SenderError> {
        let dataset = self.dataset(filesystem)?;
        let versions = match self.listing.take(&dataset, Instant::now()) {
            Some(evidence) => zfs.versions_by(&dataset, evidence)?,
            None => zfs.versions(&dataset)?,
        };
        let gone = self.remove_stale_marks(zfs, &dataset, &versions);
        let is_gone = |version: &&FilesystemVersion| match &version.name {
            VersionName::Bookmark(bookmark) => gone.contains(bookmark),
            VersionName::Snapshot(_) => false,
        };
        Ok(listing::answer(
            versions.iter().filter(|version| !is_gone(version)),
        ))
    }

    /// A round begins for this filesystem: what earlier ones left and nobody needs goes. Returns the bookmarks among it. Fails
    /// for nobody but the log; the next round finds the rest.
    fn remove_stale_marks(
        &self,
        zfs: &LocalZfs,
        dataset: &DatasetPath,
        versions: &[FilesystemVersion],
    ) -> HashSet<BookmarkName> {
        if self.leaves_marks {
            return HashSet::new();
        }
        let filesystem = self.filesystems.of(dataset);
        let Some(_marks) = filesystem.marks_if_idle() else {
            return HashSet::new();
        };
        let inventory = match zfs.inventory(dataset, versions) {
            Ok(inventory) => inventory,
            Err(error) => {
                tracing::warn!(fs = %dataset, err = %error, "cannot look for stale abstractions");
                return HashSet::new();
            }
        };
        let verdicts = stale::judge(&inventory, &self.settings.job);
        if let Some(cursor) = verdicts.legacy_cursor()
            && filesystem.is_first_warning()
        {
            tracing::warn!(
                fs = %dataset,
                bookmark = %cursor,
                "found a replication cursor of an old version of zrepl, which is not used; \
                 `zrepl migrate replication-cursor:v1-v2` removes it"
            );
        }
        let changes: Vec<_> = verdicts.changes().collect();
        if changes.is_empty() {
            return HashSet::new();
        }
        let bookmarks = changes.iter().filter_map(|change| match change {
            Change::DestroyBookmark(bookmark) => Some(bookmark.clone()),
            Change::Bookmark(_) | Change::Hold(_) | Change::Release(_) => None,
        });
        let bookmarks = bookmarks.collect();
        zfs.remove_marks_now(changes);
        bookmarks
    }

    fn destroy_snapshots(
        &self,
        zfs: &LocalZfs,
        request: DestroySnapshotsReq,
    ) -> Result<DestroySnapshotsRes, SenderError> {
        let dataset = self.dataset(&request.filesystem)?;
        let answer = destroy(zfs, &dataset, request.snapshots);
        self.listing.forget(&dataset);
        Ok(answer?)
    }

    fn replication_cursor(
        &self,
        zfs: &LocalZfs,
        filesystem: &str,
    ) -> Result<ReplicationCursorRes, SenderError> {
        let dataset = self.dataset(filesystem)?;
        let bookmarks = zfs.zfs().versions(&dataset, &VersionQuery::BOOKMARKS)?;
        let inventory = Inventory::default().with_bookmarks(&bookmarks);
        let newest = |job| {
            inventory
                .of_job(job)
                .filter(|mark| mark.kind() == MarkKind::Cursor)
                .max_by_key(|mark| mark.createtxg())
                .map(|mark| mark.guid().get())
        };
        let own = newest(&self.settings.job);
        let cursor = own.or_else(|| newest(self.settings.fallback_job.as_ref()?));
        Ok(ReplicationCursorRes::new(cursor))
    }

    fn check(&self, zfs: &LocalZfs, request: &SendReq) -> Result<(DatasetPath, Step), SenderError> {
        let dataset = self.dataset(&request.filesystem)?;
        let policy = SendPolicy::from(&self.settings.send);
        let step = Step::check(zfs, policy, &dataset, request)?;
        Ok((dataset, step))
    }

    fn send_dry(&self, zfs: &LocalZfs, request: &SendReq) -> Result<SendRes, SenderError> {
        let (_, step) = self.check(zfs, request)?;
        let expected_size = if step.starts_from_bookmark() {
            0
        } else {
            let args = step.args(&self.settings.send);
            zfs.zfs().estimate(&args).map_err(SenderError::Estimate)?
        };
        Ok(SendRes {
            used_resume_token: step.token.is_some(),
            expected_size,
        })
    }

    fn send(
        &self,
        zfs: &LocalZfs,
        request: &SendReq,
    ) -> Result<(zfs_safe::stream::SendStream, Running), SenderError> {
        let (dataset, step) = self.check(zfs, request)?;
        let promise = promise(request.replication_config, step.from.is_some())?;
        let running = self.mark_step(zfs, &dataset, &step, promise)?;
        let options = &self.settings.send;
        let args = step.args(options);
        if (options.send_properties || options.backup_properties) && !args.flags.is_package() {
            tracing::info!(
                fs = %dataset,
                to = %step.to.name,
                "properties are not sent with a step that is resumed"
            );
        }
        let send = zfs.zfs().send(&args).map_err(SenderError::Send)?;
        Ok((send, running))
    }

    /// Makes the marks that keep the step's ends, then removes those of other steps. The step is under way from here on. If
    /// nothing comes of it, the next one cleans up.
    fn mark_step(
        &self,
        zfs: &LocalZfs,
        dataset: &DatasetPath,
        step: &Step,
        promise: GuaranteeKind,
    ) -> Result<Running, SenderError> {
        let filesystem = self.filesystems.of(dataset);
        let _marks = filesystem.marks();
        // With two at a time, neither knows what the other needs.
        let is_alone = filesystem.is_idle();
        let running = filesystem.begin();
        let ends = guarantee::Step {
            from: step.from.as_ref(),
            to: &step.to,
        };
        let inventory = inventory(zfs, dataset)?;
        if let Some(VersionName::Bookmark(base)) = step.from.as_ref().map(|from| &from.name) {
            zfs.keep_mark(Place::Bookmark(base.clone()));
        }
        let plan = guarantee::before_send(ends, promise, &self.settings.job, &inventory)?;
        if let Some(from) = plan.unprotected() {
            tracing::debug!(fs = %dataset, %from, "cannot keep the bookmark that the step starts from");
        }
        zfs.make_marks(creations(&plan))?;
        for end in step.from.iter().chain([&step.to]) {
            zfs.remember_held(end);
        }
        if is_alone {
            zfs.remove_marks(&removals(&plan));
        }
        Ok(running)
    }

    fn send_completed(
        &self,
        zfs: &LocalZfs,
        request: &SendReq,
    ) -> Result<SendCompletedRes, SenderError> {
        let dataset = self.dataset(&request.filesystem)?;
        let to = request.to.as_ref().ok_or(VersionError::Nothing);
        let (_, to) = to
            .and_then(|to| find_snapshot(zfs, &dataset, to))
            .map_err(SenderError::Completed)?;
        let promise = promise(request.replication_config, request.from.is_some())?;
        let filesystem = self.filesystems.of(&dataset);
        let _marks = filesystem.marks();
        let ends = guarantee::Step {
            from: None,
            to: &to,
        };
        let inventory = inventory(zfs, &dataset)?;
        let plan = guarantee::after_send(ends, promise, &self.settings.job, &inventory)?;
        zfs.make_marks(creations(&plan))
            .map_err(SenderError::Cursor)?;
        // What another step needs stays until that one is complete, or the next round begins.
        if filesystem.is_idle() {
            zfs.remove_marks(&removals(&plan));
        }
        Ok(SendCompletedRes {})
    }
}

fn promise(
    config: Option<ReplicationConfig>,
    is_incremental: bool,
) -> Result<GuaranteeKind, GuaranteeError> {
    let config = config.ok_or(GuaranteeError::Missing)?;
    Ok(Protection::try_from(&config)?.of_step(is_incremental))
}

/// All marks of a dataset: bookmarks as they are now, holds as they are known.
fn inventory(zfs: &LocalZfs, dataset: &DatasetPath) -> zfs_safe::Result<Inventory> {
    let bookmarks = zfs.zfs().versions(dataset, &VersionQuery::BOOKMARKS)?;
    Ok(zfs.holds(dataset)?.with_bookmarks(&bookmarks))
}

fn creations(plan: &Plan) -> Vec<Change> {
    let create = plan.create().iter();
    create.map(|it| it.mark.creation(&it.snapshot)).collect()
}

fn removals(plan: &Plan) -> Vec<Change> {
    plan.remove().iter().map(|it| it.mark.removal()).collect()
}

impl From<SenderError> for EndpointError {
    fn from(error: SenderError) -> Self {
        Self::Failed(chain(&error))
    }
}

#[cfg(test)]
mod tests;
