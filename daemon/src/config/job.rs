//! The five kinds of job.

use serde::Serialize;
use zfs_safe::name::DatasetPath;

use super::connection::{Connect, Serve};
use super::decode::declare::{kinds, notation, section};
use super::decode::node::{Node, shortened};
use super::decode::schema::{self, Definitions, Json};
use super::decode::{Reading, Value, map_entries, text};
use super::pruning::{LocalPruning, ReplicatedPruning};
use super::snapshotting::Snapshotting;
use super::transfer::{ConflictResolution, ReceiveOptions, Replication, SendOptions};
use crate::filter::{FilesystemFilter, Pattern};
use crate::interval::Interval;
use crate::interval::IntervalError;
use crate::name::job::JobName;

kinds! {
    /// A job.
    pub enum JobConfig {
        /// Sends local filesystems to a sink, and decides when.
        Push(PushJob) = "push",
        /// Fetches filesystems from a source, and decides when.
        Pull(PullJob) = "pull",
        /// Receives what push jobs send.
        Sink(SinkJob) = "sink",
        /// Sends what pull jobs ask for.
        Source(SourceJob) = "source",
        /// Takes snapshots and destroys old ones, without replication.
        Snap(SnapJob) = "snap",
    }
}

section! {
    /// Sends local filesystems to a sink, and decides when.
    pub struct PushJob {
        /// The job's name. It is part of holds and bookmarks: do not change it.
        name: JobName = required,
        /// How the sink is reached.
        connect: Connect = required,
        /// Which filesystems.
        filesystems: FilesystemFilter = required,
        /// When snapshots are taken, and how they are called.
        snapshotting: Snapshotting = required,
        /// Which snapshots are kept on the two sides.
        pruning: ReplicatedPruning = required,
        /// How snapshots are sent.
        send: SendOptions = section,
        /// What is done for safety, and how much at a time.
        replication: Replication = section,
        /// What is done where the two sides do not fit.
        conflict_resolution: ConflictResolution = section,
    }
}

section! {
    /// Fetches filesystems from a source, and decides when.
    pub struct PullJob {
        /// The job's name. It is part of holds and bookmarks: do not change it.
        name: JobName = required,
        /// How the source is reached.
        connect: Connect = required,
        /// The dataset below which filesystems are received.
        root_fs: RootDataset = required,
        /// Time from one replication to the next, or `manual`.
        interval: PullInterval = required,
        /// Which snapshots are kept on the two sides.
        pruning: ReplicatedPruning = required,
        /// How streams are received.
        recv: ReceiveOptions = section,
        /// What is done for safety, and how much at a time.
        replication: Replication = section,
        /// What is done where the two sides do not fit.
        conflict_resolution: ConflictResolution = section,
    }
}

section! {
    /// Receives what push jobs send.
    pub struct SinkJob {
        /// The job's name. It is part of holds: do not change it.
        name: JobName = required,
        /// How push jobs reach us.
        serve: Serve = required,
        /// The dataset below which filesystems are received, one child per client.
        root_fs: RootDataset = required,
        /// How streams are received.
        recv: ReceiveOptions = section,
    }
}

section! {
    /// Sends what pull jobs ask for.
    pub struct SourceJob {
        /// The job's name. It is part of holds and bookmarks: do not change it.
        name: JobName = required,
        /// How pull jobs reach us.
        serve: Serve = required,
        /// Which filesystems.
        filesystems: FilesystemFilter = required,
        /// When snapshots are taken, and how they are called.
        snapshotting: Snapshotting = required,
        /// How snapshots are sent.
        send: SendOptions = section,
    }
}

section! {
    /// Takes snapshots and destroys old ones, without replication.
    pub struct SnapJob {
        /// The job's name.
        name: JobName = required,
        /// Which filesystems.
        filesystems: FilesystemFilter = required,
        /// When snapshots are taken, and how they are called.
        snapshotting: Snapshotting = required,
        /// Which snapshots are kept.
        pruning: LocalPruning = required,
    }
}

impl JobConfig {
    /// The job's name.
    pub fn name(&self) -> &JobName {
        match self {
            Self::Push(job) => &job.name,
            Self::Pull(job) => &job.name,
            Self::Sink(job) => &job.name,
            Self::Source(job) => &job.name,
            Self::Snap(job) => &job.name,
        }
    }

    /// Which local filesystems it sends or snapshots; `None` for jobs that receive.
    pub fn filesystems(&self) -> Option<&FilesystemFilter> {
        match self {
            Self::Push(job) => Some(&job.filesystems),
            Self::Source(job) => Some(&job.filesystems),
            Self::Snap(job) => Some(&job.filesystems),
            Self::Pull(_) | Self::Sink(_) => None,
        }
    }

    /// When it takes snapshots; `None` for jobs that receive.
    pub fn snapshotting(&self) -> Option<&Snapshotting> {
        match self {
            Self::Push(job) => Some(&job.snapshotting),
            Self::Source(job) => Some(&job.snapshotting),
            Self::Snap(job) => Some(&job.snapshotting),
            Self::Pull(_) | Self::Sink(_) => None,
        }
    }

    /// Below which dataset it receives; `None` for jobs that send.
    pub fn root_fs(&self) -> Option<&DatasetPath> {
        match self {
            Self::Pull(job) => Some(job.root_fs.as_path()),
            Self::Sink(job) => Some(job.root_fs.as_path()),
            Self::Push(_) | Self::Source(_) | Self::Snap(_) => None,
        }
    }

    /// How it reaches the other side, if it is the one that connects.
    pub fn connect(&self) -> Option<&Connect> {
        match self {
            Self::Push(job) => Some(&job.connect),
            Self::Pull(job) => Some(&job.connect),
            Self::Sink(_) | Self::Source(_) | Self::Snap(_) => None,
        }
    }

    /// How it is reached, if the other side is the one that connects.
    pub fn serve(&self) -> Option<&Serve> {
        match self {
            Self::Sink(job) => Some(&job.serve),
            Self::Source(job) => Some(&job.serve),
            Self::Push(_) | Self::Pull(_) | Self::Snap(_) => None,
        }
    }
}

notation!(
    JobName,
    "Letters, digits, and any of `-_.: `; at most 203 bytes.",
    ["backup_to_nas"] as name
);

/// The dataset below which a job receives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RootDataset(DatasetPath);

impl RootDataset {
    /// Its name.
    pub fn as_path(&self) -> &DatasetPath {
        &self.0
    }
}

impl Value for RootDataset {
    fn read(node: &Node, cx: &mut Reading<'_>) -> Option<Self> {
        cx.mark(node.at);
        let path = text(node, cx)?;
        match DatasetPath::new(path) {
            Ok(path) => Some(Self(path)),
            Err(error) => {
                cx.error(
                    node.at,
                    format!("root_fs is not a valid zfs filesystem path: {error}"),
                );
                None
            }
        }
    }

    fn schema(_: &mut Definitions) -> Json {
        schema::name("Name of a filesystem.", &["tank/backups"])
    }
}

impl Serialize for RootDataset {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// When a pull job replicates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PullInterval {
    /// Only when told to.
    Manual,
    /// At this interval.
    Every(Interval),
}

impl Value for PullInterval {
    fn read(node: &Node, cx: &mut Reading<'_>) -> Option<Self> {
        match node.text() {
            Some("manual") => Some(Self::Manual),
            _ => match text(node, cx)?.parse() {
                Ok(interval) => Some(Self::Every(interval)),
                Err(error) => {
                    let error: IntervalError = error;
                    let hint = "or write `manual` to replicate only when told to".to_owned();
                    cx.error_with_hint(node.at, error.to_string(), Some(hint));
                    None
                }
            },
        }
    }

    fn schema(_: &mut Definitions) -> Json {
        schema::text(
            "A number and one unit (s, m, h, d or w), or `manual`.",
            &["10m", "1h", "manual"],
        )
    }
}

impl Serialize for PullInterval {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Manual => serializer.serialize_str("manual"),
            Self::Every(interval) => serializer.collect_str(interval),
        }
    }
}

impl Value for FilesystemFilter {
    fn read(node: &Node, cx: &mut Reading<'_>) -> Option<Self> {
        cx.mark(node.at);
        let mut filter = Self::default();
        map_entries(node, cx, |written, entry, cx| {
            let accepted = cx.under(written, |cx| {
                if entry.value.is_null() {
                    cx.warn(entry.value.at, "without a value this means false: excluded");
                    return Some(false);
                }
                bool::read(&entry.value, cx)
            });
            let pattern: Option<Pattern> = match written.parse() {
                Ok(pattern) => Some(pattern),
                Err(problem) => {
                    let sign = if accepted == Some(true) { "ok" } else { "!" };
                    let written = shortened(written);
                    cx.error(
                        entry.key.at,
                        format!("invalid mapping entry ['{written}':'{sign}']: {problem}"),
                    );
                    None
                }
            };
            // A pattern cannot be there twice: the key would be.
            filter.add(pattern?, accepted?).ok()
        })?;
        Some(filter)
    }

    fn null() -> Option<Self> {
        Some(Self::default())
    }

    fn schema(_: &mut Definitions) -> Json {
        // Without a value a pattern excludes.
        let accepted = serde_json::json!({ "anyOf": [schema::boolean(), { "type": "null" }] });
        schema::map(
            &accepted,
            "From a filesystem, or one with all below it (`tank/home<`; `<` is everything), to whether it is included. The longest match decides.",
        )
    }
}

impl Serialize for FilesystemFilter {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(
            self.entries()
                .map(|(pattern, accepted)| (pattern.to_string(), accepted)),
        )
    }
}
