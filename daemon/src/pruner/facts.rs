//! What both sides say about the filesystems that are replicated, asked once for the pruners of both: endpoints flow in, versions,
//! cursors and errors for each filesystem flow out.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::Instrument as _;
use zfs_safe::guid::Guid;
use zfs_safe::name::DatasetPath;
use zfs_safe::version::Txg;
use zrepl_proto::pdu::{
    Filesystem, FilesystemVersion, ListFilesystemReq, ListFilesystemVersionsReq,
    ReplicationCursorReq,
};

use super::judge;
use crate::causes::chain;
use crate::endpoint::mark::base::Base;
use crate::endpoint::{Endpoint, EndpointError, Held};
use crate::replication::driver::Unchanged;
use crate::replication::version::Version;

/// Why a filesystem is not looked at that exists only as the parent of others. The text is that of zrepl 0.7.0.
const PLACEHOLDER: &str = "filesystem is placeholder";

/// How many filesystems are asked about at the same time.
const AT_ONCE: usize = 32;

/// What is known of the two sides of a replication.
#[derive(Debug)]
pub struct Replicated {
    /// The sender's filesystems by path, or why they are not known.
    sender: Listing,
    /// The receiver's.
    receiver: Listing,
    /// What the sender says of its cursors; of all filesystems that were asked about.
    cursors: BTreeMap<String, Result<Option<Guid>, String>>,
}

/// The filesystems of one side, or why there is no list.
type Listing = Result<BTreeMap<String, Listed>, String>;

/// A filesystem on one side.
#[derive(Debug, Default)]
struct Listed {
    is_placeholder: bool,
    /// Snapshots and bookmarks, or why they are not known; nothing of a placeholder.
    versions: Option<Result<Vec<Version>, String>>,
    held: Vec<Held>,
}

/// What to judge, or why not, of one filesystem.
#[derive(Debug)]
pub enum Found {
    /// What is known of it.
    Facts(judge::Facts),
    /// It is not looked at, and that is no error.
    Skipped(&'static str),
    /// Something that is needed is not known.
    Unknown(String),
}

impl Replicated {
    /// Asks both sides, except for the versions of what is unchanged since the replication has listed them. A side that cannot be asked is no error here: what depends on it says so.
    pub async fn gather(
        sender: &Arc<dyn Endpoint>,
        receiver: &Arc<dyn Endpoint>,
        mut unchanged: Unchanged,
    ) -> Self {
        let (mut on_sender, mut on_receiver) = tokio::join!(list(sender), list(receiver));
        let mut asking = Asking::default();
        let paths: Vec<String> = match &on_sender {
            Ok(filesystems) => filesystems.keys().cloned().collect(),
            Err(_) => Vec::new(),
        };
        for path in &paths {
            let known = DatasetPath::new(path.as_str()).ok();
            let known = known.and_then(|path| unchanged.take(&path, Instant::now()));
            let (of_sender, of_receiver) = known.map_or((None, None), |(a, b)| (Some(a), Some(b)));
            let is_real = |side: &Listing| {
                side.as_ref()
                    .is_ok_and(|it| it.get(path).is_some_and(|it| !it.is_placeholder))
            };
            if is_real(&on_sender) {
                asking.versions(Of::Sender, sender, path, of_sender);
                asking.cursor(sender, path);
            }
            if is_real(&on_receiver) {
                asking.versions(Of::Receiver, receiver, path, of_receiver);
                if !is_real(&on_sender) {
                    asking.cursor(sender, path);
                }
            }
        }
        let mut cursors = BTreeMap::new();
        while let Some((path, answer)) = asking.next().await {
            match answer {
                Answer::Cursor(cursor) => {
                    cursors.insert(path, cursor);
                }
                Answer::Versions { of, versions, held } => {
                    let side = match of {
                        Of::Sender => &mut on_sender,
                        Of::Receiver => &mut on_receiver,
                    };
                    if let Ok(filesystems) = side
                        && let Some(listed) = filesystems.get_mut(&path)
                    {
                        listed.versions = Some(versions);
                        listed.held = held;
                    }
                }
            }
        }
        Self {
            sender: on_sender,
            receiver: on_receiver,
            cursors,
        }
    }

    /// What it would be if both sides knew that this snapshot has arrived: a job's cursor is there, or nowhere if it makes none, and what
    /// it held for its steps it holds no more. The last one received is held then, which is what the next step starts from anyway.
    pub fn assume_known(&mut self, path: &str, arrived: Guid, moves_cursor: bool) {
        let cursor = moves_cursor.then_some(arrived);
        self.cursors.insert(path.to_owned(), Ok(cursor));
        for side in [&mut self.sender, &mut self.receiver] {
            if let Ok(filesystems) = side
                && let Some(listed) = filesystems.get_mut(path)
            {
                listed.held.retain(|it| !it.is_own);
            }
        }
    }

    /// What it would be if these snapshots of the sender had arrived, oldest first, and both sides knew.
    pub fn assume_arrived(&mut self, path: &str, snapshots: &[Version], moves_cursor: bool) {
        let Some(last) = snapshots.last() else {
            return;
        };
        self.assume_known(path, last.guid(), moves_cursor);
        if let Ok(filesystems) = &mut self.receiver {
            let listed = filesystems.entry(path.to_owned()).or_default();
            // What was a placeholder gives way.
            listed.is_placeholder = false;
            let versions = listed.versions.get_or_insert_with(|| Ok(Vec::new()));
            if let Ok(versions) = versions {
                let newest = versions.iter().map(|it| it.createtxg().get()).max();
                let mut next = newest.unwrap_or(0);
                for snapshot in snapshots {
                    next += 1;
                    versions.push(snapshot.with_createtxg(Txg::new(next)));
                }
            }
        }
    }

    /// What is known of each filesystem of a side that is to be pruned, by path; or why that side or the sender cannot be asked.
    pub fn of(&self, side: judge::Side) -> Result<BTreeMap<&str, Found>, String> {
        let sender = self.sender.as_ref().map_err(Clone::clone)?;
        let target = match side {
            judge::Side::Sender | judge::Side::Local => sender,
            judge::Side::Receiver => self.receiver.as_ref().map_err(Clone::clone)?,
        };
        let found = target.iter().map(|(path, listed)| {
            let found = if listed.is_placeholder {
                Found::Skipped(PLACEHOLDER)
            } else if !sender.contains_key(path) {
                Found::Skipped("filesystem has no correspondence on sender")
            } else {
                self.facts(path, listed)
                    .map_or_else(Found::Unknown, Found::Facts)
            };
            (path.as_str(), found)
        });
        Ok(found.collect())
    }

    fn facts(&self, path: &str, target: &Listed) -> Result<judge::Facts, String> {
        let versions = match &target.versions {
            Some(versions) => versions
                .clone()
                .map_err(|error| format!("cannot list filesystem versions: {error}"))?,
            None => Vec::new(),
        };
        let cursor = match self.cursors.get(path) {
            Some(cursor) => cursor
                .clone()
                .map_err(|error| format!("cannot get replication cursor bookmark: {error}"))?,
            None => None,
        };
        Ok(judge::Facts {
            versions,
            base: Base::find(cursor, self.on_sender(path)?, self.on_receiver(path)?),
            held: guids(&target.held),
        })
    }

    fn on_sender(&self, path: &str) -> Result<Vec<(Guid, Txg)>, String> {
        let versions = versions(&self.sender, path)
            .map_err(|error| format!("cannot list filesystem versions of sender: {error}"))?;
        let versions = versions.iter();
        Ok(versions.map(|it| (it.guid(), it.createtxg())).collect())
    }

    /// Snapshots of the receiver. If it cannot be asked at all, the cursor must do.
    fn on_receiver(&self, path: &str) -> Result<Vec<(Guid, Txg)>, String> {
        let versions = versions(&self.receiver, path)
            .map_err(|error| format!("cannot list filesystem versions of receiver: {error}"))?;
        let snapshots = versions.iter().filter(|it| it.is_snapshot());
        Ok(snapshots.map(|it| (it.guid(), it.createtxg())).collect())
    }
}

fn guids(held: &[Held]) -> HashSet<Guid> {
    held.iter().map(|it| it.guid).collect()
}

/// What is listed of a filesystem; nothing if the side could not be asked for its filesystems.
fn versions<'a>(side: &'a Listing, path: &str) -> Result<&'a [Version], &'a String> {
    let listed = side.as_ref().ok().and_then(|it| it.get(path));
    match listed.and_then(|it| it.versions.as_ref()) {
        Some(Ok(versions)) => Ok(versions),
        Some(Err(error)) => Err(error),
        None => Ok(&[]),
    }
}

/// What is known of the filesystems of a job that replicates nothing, by path.
pub async fn local(endpoint: &Arc<dyn Endpoint>) -> Result<BTreeMap<String, Found>, String> {
    let filesystems = list(endpoint).await?;
    let mut asking = Asking::default();
    let mut found = BTreeMap::new();
    for (path, listed) in &filesystems {
        if listed.is_placeholder {
            found.insert(path.clone(), Found::Skipped(PLACEHOLDER));
        } else {
            asking.versions(Of::Sender, endpoint, path, None);
        }
    }
    while let Some((path, answer)) = asking.next().await {
        let Answer::Versions { versions, held, .. } = answer else {
            continue;
        };
        let facts = versions.map(|versions| judge::Facts {
            versions,
            base: Base::default(),
            held: guids(&held),
        });
        let facts = facts.map_err(|error| format!("cannot list filesystem versions: {error}"));
        found.insert(path, facts.map_or_else(Found::Unknown, Found::Facts));
    }
    Ok(found)
}

async fn list(side: &Arc<dyn Endpoint>) -> Listing {
    let listed = side.list_filesystems(ListFilesystemReq {}).await;
    let listed = listed.map_err(|error| chain(&error))?;
    let listed = listed.filesystems.into_iter();
    Ok(listed
        .map(
            |Filesystem {
                 path,
                 is_placeholder,
                 ..
             }| {
                let listed = Listed {
                    is_placeholder,
                    ..Listed::default()
                };
                (path, listed)
            },
        )
        .collect())
}

/// Questions about filesystems that are asked at the same time.
struct Asking {
    answers: JoinSet<(String, Answer)>,
    permits: Arc<Semaphore>,
}

#[derive(Clone, Copy)]
enum Of {
    Sender,
    Receiver,
}

enum Answer {
    Cursor(Result<Option<Guid>, String>),
    Versions {
        of: Of,
        versions: Result<Vec<Version>, String>,
        held: Vec<Held>,
    },
}

impl Default for Asking {
    fn default() -> Self {
        Self {
            answers: JoinSet::new(),
            permits: Arc::new(Semaphore::new(AT_ONCE)),
        }
    }
}

impl Asking {
    fn ask(&mut self, path: &str, question: impl Future<Output = Answer> + Send + 'static) {
        let (path, permits) = (path.to_owned(), Arc::clone(&self.permits));
        let asking = async move {
            // Nobody closes the semaphore.
            let _permit = permits.acquire_owned().await;
            (path, question.await)
        };
        self.answers.spawn(asking.in_current_span());
    }

    fn versions(
        &mut self,
        of: Of,
        side: &Arc<dyn Endpoint>,
        path: &str,
        known: Option<Vec<FilesystemVersion>>,
    ) {
        let (side, filesystem) = (Arc::clone(side), path.to_owned());
        self.ask(path, async move {
            let listed = match known {
                Some(known) => Ok(known),
                None => ask_for_versions(&*side, &filesystem).await,
            };
            let versions = listed.map_err(|error| chain(&error)).and_then(|versions| {
                let checked: Result<Vec<_>, _> =
                    versions.into_iter().map(Version::try_from).collect();
                checked.map_err(|error| chain(&error))
            });
            Answer::Versions {
                of,
                versions,
                held: side.held(&filesystem).await,
            }
        });
    }

    fn cursor(&mut self, sender: &Arc<dyn Endpoint>, path: &str) {
        let (sender, filesystem) = (Arc::clone(sender), path.to_owned());
        self.ask(path, async move {
            let request = ReplicationCursorReq { filesystem };
            let cursor = sender.replication_cursor(request).await;
            let cursor = cursor.map_err(|error| chain(&error));
            let cursor = cursor.and_then(|it| it.cursor().map_err(|error| chain(&error)));
            Answer::Cursor(cursor.map(|guid| guid.map(Guid::new)))
        });
    }

    async fn next(&mut self) -> Option<(String, Answer)> {
        loop {
            match self.answers.join_next().await? {
                Ok(answer) => return Some(answer),
                // Nobody aborts one.
                Err(error) => {
                    if let Ok(panic) = error.try_into_panic() {
                        std::panic::resume_unwind(panic);
                    }
                }
            }
        }
    }
}

async fn ask_for_versions(
    side: &dyn Endpoint,
    filesystem: &str,
) -> Result<Vec<FilesystemVersion>, EndpointError> {
    let request = ListFilesystemVersionsReq {
        filesystem: filesystem.to_owned(),
    };
    Ok(side.list_filesystem_versions(request).await?.versions)
}
