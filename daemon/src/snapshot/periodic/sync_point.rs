//! Where a periodic snapshotter takes up the rhythm of an earlier run: the newest snapshot of each filesystem flows in, the time
//! of the first round flows out. zrepl 0.7.0's rule: filesystems that have snapshots decide, and among them the one that has
//! waited longest; those that have none go along.

use jiff::Timestamp;
use thiserror::Error;
use zfs_safe::name::{DatasetPath, VersionName};
use zfs_safe::version::FilesystemVersion;

use super::after;
use crate::interval::Interval;

/// What is known of a filesystem at the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Newest {
    /// The filesystem.
    pub filesystem: DatasetPath,
    /// The job's newest snapshot of it, or why that is not known.
    pub snapshot: Result<Option<NewestSnapshot>, String>,
}

/// The newest of a job's snapshots of a filesystem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewestSnapshot {
    /// Full name.
    pub name: String,
    /// When it was taken.
    pub creation: Timestamp,
}

impl NewestSnapshot {
    /// Picks it from a filesystem's versions, in any order: a job's snapshots are those with its prefix, and the newest is the
    /// one with the highest createtxg, whatever the clock showed at the time.
    pub fn among<'a>(
        versions: impl IntoIterator<Item = &'a FilesystemVersion>,
        prefix: &str,
    ) -> Option<Self> {
        let own = versions.into_iter().filter(|version| {
            matches!(&version.name, VersionName::Snapshot(name) if name.name().starts_with(prefix))
        });
        let newest = own.max_by_key(|version| version.history_order())?;
        // Beyond what calendars have is the future, too.
        let creation = i64::try_from(newest.creation)
            .ok()
            .and_then(|second| Timestamp::from_second(second).ok())
            .unwrap_or(Timestamp::MAX);
        Some(Self {
            name: newest.name.as_str().to_owned(),
            creation,
        })
    }
}

/// When the first round is, and what is worth telling about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncPoint {
    /// The time; past if it is late already.
    pub at: Timestamp,
    /// Since when the interval counts; nothing if there are no snapshots.
    pub since: Option<Timestamp>,
    /// Filesystems without snapshots that have to wait all the same.
    pub left_waiting: Vec<DatasetPath>,
    /// Filesystems that had no say.
    pub excluded: Vec<Excluded>,
}

/// A filesystem that has no say in when the first round is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excluded {
    /// Which.
    pub filesystem: DatasetPath,
    /// Why.
    pub problem: ExcludedProblem,
}

/// Why a filesystem has no say.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ExcludedProblem {
    /// The clock was ahead when the snapshot was taken, or is behind now.
    #[error("snapshot {snapshot:?} is from the future: creation={creation} now={now}")]
    FromTheFuture {
        /// Full name.
        snapshot: String,
        /// When it was taken.
        creation: Timestamp,
        /// What the clock shows.
        now: Timestamp,
    },
    /// Its snapshots are not known.
    #[error("list filesystem versions: {0}")]
    Listing(String),
}

/// No filesystem has a say. The text is that of zrepl 0.7.0.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("hard errors in determining sync point for every matching filesystem")]
pub struct NoSyncPoint {
    /// All of them.
    pub excluded: Vec<Excluded>,
}

/// Longer waits than this are worth a warning for filesystems without snapshots.
const WORTH_A_WARNING: jiff::SignedDuration = jiff::SignedDuration::from_secs(1);

/// Finds the time of the first round.
pub(super) fn sync_point(
    now: Timestamp,
    interval: Interval,
    filesystems: &[Newest],
) -> Result<SyncPoint, NoSyncPoint> {
    let mut since: Option<Timestamp> = None;
    let mut without = Vec::new();
    let mut excluded = Vec::new();
    for Newest {
        filesystem,
        snapshot,
    } in filesystems
    {
        let problem = match snapshot {
            Ok(None) => {
                without.push(filesystem.clone());
                continue;
            }
            Ok(Some(newest)) if newest.creation <= now => {
                since = Some(since.map_or(newest.creation, |since| since.min(newest.creation)));
                continue;
            }
            Ok(Some(newest)) => ExcludedProblem::FromTheFuture {
                snapshot: newest.name.clone(),
                creation: newest.creation,
                now,
            },
            Err(error) => ExcludedProblem::Listing(error.clone()),
        };
        excluded.push(Excluded {
            filesystem: filesystem.clone(),
            problem,
        });
    }
    if !filesystems.is_empty() && excluded.len() == filesystems.len() {
        return Err(NoSyncPoint { excluded });
    }
    let at = since.map_or(now, |since| after(since, interval));
    if at.duration_since(now) <= WORTH_A_WARNING {
        without.clear();
    }
    Ok(SyncPoint {
        at,
        since,
        left_waiting: without,
        excluded,
    })
}
