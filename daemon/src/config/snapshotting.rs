//! The section `snapshotting`, and its hooks.

use std::time::Duration;

use serde::Serialize;

use super::decode::declare::{kinds, notation, section};
use super::decode::node::Node;
use super::decode::schema::{self, Definitions, Json, Key};
use super::decode::{Fields, Reading, Section, Value, text};
use super::value::path::ProgramPath;
use crate::causes::chain;
use crate::filter::FilesystemFilter;
use crate::go_duration::PositiveDuration;
use crate::hook::dsn::{MysqlDsn, PostgresDsn};
use crate::interval::Interval;
use crate::snapshot::cron_spec::CronSpec;
use crate::snapshot::naming::{NamingKey, SnapshotNaming};

kinds! {
    /// When snapshots are taken, and how they are called.
    pub enum Snapshotting {
        /// At fixed intervals.
        Periodic(Periodic) = "periodic",
        /// At times of the clock.
        Cron(Cron) = "cron",
        /// Not by this job.
        Manual(Manual) = "manual",
    }
}

section! {
    /// No snapshots are taken by this job.
    pub struct Manual {}
}

/// Snapshots at fixed intervals.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(into = "WrittenPeriodic")]
pub struct Periodic {
    /// Time from one round of snapshots to the next.
    pub interval: Interval,
    /// How snapshots are called.
    pub naming: SnapshotNaming,
    /// What runs around each snapshot.
    pub hooks: Vec<Hook>,
}

/// Snapshots at times of the clock.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(into = "WrittenCron")]
pub struct Cron {
    /// When.
    pub cron: CronSpec,
    /// How snapshots are called.
    pub naming: SnapshotNaming,
    /// What runs around each snapshot.
    pub hooks: Vec<Hook>,
}

section! {
    /// Snapshots at fixed intervals.
    struct WrittenPeriodic {
        /// What the names of snapshots start with. Also tells which snapshots are this job's own.
        prefix: String = required,
        /// Time from one round of snapshots to the next.
        interval: Interval = required,
        /// How the time is written in names: dense, human, iso-8601, unix-seconds, or a layout as in Go.
        timestamp_format: TimestampFormat = default(TimestampFormat::dense()),
        /// The time zone of times in names. All formats but iso-8601 and layouts need UTC.
        timestamp_location: TimestampLocation = default(TimestampLocation::utc()),
        /// What runs around each snapshot.
        hooks: Vec<Hook> = default(Vec::new()),
    }
}

section! {
    /// Snapshots at times of the clock.
    struct WrittenCron {
        /// What the names of snapshots start with.
        prefix: String = required,
        /// Minute, hour, day of month, month, day of week; optionally seconds before them. `TZ=zone` in front sets the zone.
        cron: CronSpec = required,
        /// How the time is written in names: dense, human, iso-8601, unix-seconds, or a layout as in Go.
        timestamp_format: TimestampFormat = default(TimestampFormat::dense()),
        /// The time zone of times in names. All formats but iso-8601 and layouts need UTC.
        timestamp_location: TimestampLocation = default(TimestampLocation::utc()),
        /// What runs around each snapshot.
        hooks: Vec<Hook> = default(Vec::new()),
    }
}

impl Section for Periodic {
    const NAME: &'static str = "Periodic";
    const DOC: &'static str = WrittenPeriodic::DOC;
    const KEYS: &'static [&'static str] = WrittenPeriodic::KEYS;

    fn decode(fields: &Fields<'_>, cx: &mut Reading<'_>) -> Option<Self> {
        let written = WrittenPeriodic::decode(fields, cx)?;
        let naming = naming(
            fields,
            &written.prefix,
            &written.timestamp_format,
            &written.timestamp_location,
            Some(written.interval.duration()),
            cx,
        )?;
        Some(Self {
            interval: written.interval,
            naming,
            hooks: written.hooks,
        })
    }

    fn keys(definitions: &mut Definitions) -> Vec<Key> {
        WrittenPeriodic::keys(definitions)
    }
}

impl Section for Cron {
    const NAME: &'static str = "Cron";
    const DOC: &'static str = WrittenCron::DOC;
    const KEYS: &'static [&'static str] = WrittenCron::KEYS;

    fn decode(fields: &Fields<'_>, cx: &mut Reading<'_>) -> Option<Self> {
        let written = WrittenCron::decode(fields, cx)?;
        let naming = naming(
            fields,
            &written.prefix,
            &written.timestamp_format,
            &written.timestamp_location,
            None,
            cx,
        )?;
        Some(Self {
            cron: written.cron,
            naming,
            hooks: written.hooks,
        })
    }

    fn keys(definitions: &mut Definitions) -> Vec<Key> {
        WrittenCron::keys(definitions)
    }
}

impl From<Periodic> for WrittenPeriodic {
    fn from(periodic: Periodic) -> Self {
        let Periodic {
            interval,
            naming,
            hooks,
        } = periodic;
        Self {
            prefix: naming.prefix().to_owned(),
            interval,
            timestamp_format: TimestampFormat(naming.timestamp_format().to_owned()),
            timestamp_location: TimestampLocation(naming.timestamp_location().to_owned()),
            hooks,
        }
    }
}

impl From<Cron> for WrittenCron {
    fn from(cron: Cron) -> Self {
        let Cron {
            cron,
            naming,
            hooks,
        } = cron;
        Self {
            prefix: naming.prefix().to_owned(),
            cron,
            timestamp_format: TimestampFormat(naming.timestamp_format().to_owned()),
            timestamp_location: TimestampLocation(naming.timestamp_location().to_owned()),
            hooks,
        }
    }
}

/// Joins the three keys that make names, and points at the one that is wrong.
fn naming(
    fields: &Fields<'_>,
    prefix: &str,
    format: &TimestampFormat,
    location: &TimestampLocation,
    interval: Option<Duration>,
    cx: &mut Reading<'_>,
) -> Option<SnapshotNaming> {
    match SnapshotNaming::new(prefix, &format.0, &location.0) {
        Ok(naming) => {
            let repeats = match (naming.resolution(), interval) {
                (None, _) => true,
                (Some(_), Some(interval)) => !naming.distinguishes(interval),
                (Some(_), None) => false,
            };
            if repeats {
                let key = "timestamp_format";
                cx.under(key, |cx| {
                    cx.warn(
                        fields.at(key),
                        "names repeat: a snapshot may get the name of the one before it, and then cannot be taken",
                    );
                });
            }
            Some(naming)
        }
        Err(error) => {
            let key = match error.key() {
                NamingKey::Prefix => "prefix",
                NamingKey::TimestampFormat => "timestamp_format",
                NamingKey::TimestampLocation => "timestamp_location",
            };
            cx.under(key, |cx| cx.error(fields.at(key), chain(&error)));
            None
        }
    }
}

/// How the time is written in names, as written in the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
struct TimestampFormat(String);

impl TimestampFormat {
    fn dense() -> Self {
        Self("dense".to_owned())
    }
}

impl Value for TimestampFormat {
    fn read(node: &Node, cx: &mut Reading<'_>) -> Option<Self> {
        text(node, cx).map(Self)
    }

    fn null() -> Option<Self> {
        Some(Self(String::new()))
    }

    fn schema(_: &mut Definitions) -> Json {
        schema::name_or_empty(
            "dense, human, iso-8601, unix-seconds, or a layout as in Go.",
            &[
                "dense",
                "human",
                "iso-8601",
                "unix-seconds",
                "2006-01-02_15:04",
            ],
        )
    }
}

/// The zone of times in names, as written in the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
struct TimestampLocation(String);

impl TimestampLocation {
    fn utc() -> Self {
        Self("UTC".to_owned())
    }
}

impl Value for TimestampLocation {
    fn read(node: &Node, cx: &mut Reading<'_>) -> Option<Self> {
        let location = text(node, cx)?;
        // Go takes an empty name for UTC.
        Some(if location.is_empty() {
            Self::utc()
        } else {
            Self(location)
        })
    }

    fn null() -> Option<Self> {
        Some(Self::utc())
    }

    fn schema(_: &mut Definitions) -> Json {
        schema::name_or_empty(
            "UTC, Local, or a name from the time zone database.",
            &["UTC", "Local", "Europe/Berlin"],
        )
    }
}

notation!(
    Interval,
    "A number and one unit: s, m, h, d or w.",
    ["10m", "1h", "1d"]
);

notation!(
    CronSpec,
    "Minute, hour, day of month, month, day of week; optionally seconds before them.",
    ["0 * * * *", "TZ=Europe/Berlin 30 4 * * *"]
);

kinds! {
    /// Something that runs before and after each snapshot.
    pub enum Hook {
        /// A program.
        Command(CommandHook) = "command",
        /// A checkpoint in PostgreSQL before the snapshot.
        PostgresCheckpoint(PostgresHook) = "postgres-checkpoint",
        /// A global read lock in MySQL or MariaDB during the snapshot.
        MysqlLockTables(MysqlHook) = "mysql-lock-tables",
    }
}

impl Hook {
    /// How long each of its edges may take.
    pub fn timeout(&self) -> Duration {
        match self {
            Self::Command(hook) => hook.timeout.duration(),
            Self::PostgresCheckpoint(hook) => hook.timeout.duration(),
            Self::MysqlLockTables(hook) => hook.timeout.duration(),
        }
    }
}

section! {
    /// A program that runs before and after the snapshot of each filesystem.
    pub struct CommandHook {
        /// The program; it runs without arguments, with ZREPL_HOOKTYPE and others in its environment.
        path: ProgramPath = required,
        /// Time after which it is killed.
        timeout: PositiveDuration = default(thirty_seconds()),
        /// Whether its failure before the snapshot prevents the snapshot.
        err_is_fatal: bool = default(false),
        /// The filesystems around whose snapshots it runs.
        filesystems: FilesystemFilter = default(FilesystemFilter::everything()),
    }
}

section! {
    /// A checkpoint in PostgreSQL before the snapshot.
    pub struct PostgresHook {
        /// How to reach the database.
        dsn: PostgresDsn = required,
        /// Time after which it is given up.
        timeout: PositiveDuration = default(thirty_seconds()),
        /// Whether its failure prevents the snapshot.
        err_is_fatal: bool = default(false),
        /// The filesystems that hold the database.
        filesystems: FilesystemFilter = required,
    }
}

section! {
    /// A global read lock in MySQL or MariaDB during the snapshot.
    pub struct MysqlHook {
        /// How to reach the database.
        dsn: MysqlDsn = required,
        /// Time after which it is given up.
        timeout: PositiveDuration = default(thirty_seconds()),
        /// Whether its failure prevents the snapshot.
        err_is_fatal: bool = default(false),
        /// The filesystems that hold the database.
        filesystems: FilesystemFilter = required,
    }
}

notation!(
    PostgresDsn,
    "How to reach PostgreSQL: a URL, or key=value pairs.",
    ["host=/var/run/postgresql user=zrepl dbname=postgres"]
);
notation!(
    MysqlDsn,
    "How to reach MySQL: user:password@net(address)/database.",
    ["root@unix(/var/run/mysqld/mysqld.sock)/"]
);

fn thirty_seconds() -> PositiveDuration {
    PositiveDuration::from_secs(30).expect("thirty is positive")
}
