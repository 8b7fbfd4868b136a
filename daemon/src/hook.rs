//! What runs around a snapshot: programs, a checkpoint in PostgreSQL, a read lock in MySQL. A job's configuration flows in, and for
//! each filesystem either nothing, or the hooks that enclose its snapshot.
//!
//! ```text
//! Hooks ─ partition ─► filesystems without hooks: one atomic snapshot of all
//!                  └─► FilesystemHooks, one filesystem at a time
//!                        └─ around(name) ─► Around ─ run(stop, take) ─► Outcome
//!                                             └─ progress() ─► what the status shows, meanwhile and afterwards
//! ```
//!
//! What runs next is decided in [`plan`], without running anything; `around` carries it out. Every hook is bounded by its
//! `timeout`, and a post edge runs wherever a pre edge has succeeded: after failures, and when the job is stopped. [`due`] tells the
//! daemon for how long that may be.

mod around;
mod command;
pub mod dsn;
pub mod due;
#[cfg(feature = "hook-mysql")]
mod mysql;
mod patience;
pub mod plan;
#[cfg(feature = "hook-postgres")]
mod postgres;
mod report;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use zfs_safe::name::{DatasetPath, SnapshotName};

#[cfg(any(feature = "hook-mysql", feature = "hook-postgres"))]
use crate::causes::chain;
use crate::config::snapshotting::{self, Snapshotting};
use crate::environment::{self, EnvironmentError, Variables};
use crate::filter::FilesystemFilter;

pub use around::{Around, Outcome, Progress};
pub use due::DuePostEdges;

/// The hooks of a job, in the order of its configuration.
#[derive(Clone, Debug, Default)]
pub struct Hooks {
    hooks: Vec<Arc<Hook>>,
    due: DuePostEdges,
}

/// The hooks that run around snapshots of one filesystem: at least one.
#[derive(Clone, Debug)]
pub struct FilesystemHooks {
    filesystem: DatasetPath,
    hooks: Vec<Arc<Hook>>,
    due: DuePostEdges,
}

/// Filesystems by whether hooks run around their snapshots.
#[derive(Clone, Debug)]
pub struct Partition {
    /// Those without: they can all be snapshotted at once.
    pub without: Vec<DatasetPath>,
    /// Those with, one by one.
    pub with: Vec<FilesystemHooks>,
    /// Hooks that are for none of the filesystems.
    pub unused: Vec<Unused>,
}

/// A hook that is for none of the filesystems.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unused {
    /// Its place in the configuration, from 1.
    pub number: usize,
    /// What it is called in the log.
    pub name: String,
}

/// A hook that fails whenever it is run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unusable {
    /// Its place in the configuration, from 1.
    pub number: usize,
    /// What it is called in the log.
    pub name: String,
    /// Why.
    pub error: String,
}

/// Why a job cannot have its hooks.
#[derive(Debug, thiserror::Error)]
pub enum HooksError {
    /// A setting of the environment cannot be read.
    #[error(transparent)]
    Environment(#[from] EnvironmentError),
    /// One of them.
    #[error("create hook #{number}")]
    Hook {
        /// Its place in the configuration, from 1.
        number: usize,
        /// What is wrong with it.
        source: HookError,
    },
}

/// Why a hook cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum HookError {
    /// It was left out when zrepl was compiled.
    #[error(
        "this zrepl has no hooks of type {kind}: it was compiled without the feature {feature}; install one that has it, or remove the hook"
    )]
    NotCompiled {
        /// The `type` of the hook.
        kind: &'static str,
        /// The feature of cargo.
        feature: &'static str,
    },
}

/// One hook of a job.
#[derive(Debug)]
struct Hook {
    action: Action,
    filter: FilesystemFilter,
    fatal: bool,
    timeout: Duration,
}

#[derive(Debug)]
enum Action {
    Command(command::Command),
    #[cfg(feature = "hook-mysql")]
    Mysql(mysql::LockTables),
    #[cfg(feature = "hook-postgres")]
    Postgres(Box<postgres::Checkpoint>),
    /// A database that we cannot use as it is configured. Like one that does not answer, it concerns only the filesystems that it is
    /// for, and only if that is fatal; zrepl 0.7.0 notices it no earlier.
    #[cfg(any(feature = "hook-mysql", feature = "hook-postgres"))]
    Unusable {
        /// What it is called in the log.
        name: &'static str,
        /// What the status shows of it when it has run.
        report: String,
        /// Why.
        error: String,
    },
}

impl Hooks {
    /// Prepares the hooks of a section `snapshotting`. Reads the files that data source names mention, but connects to nothing. Their
    /// runs announce themselves in `due`.
    pub fn new(
        config: &Snapshotting,
        variables: Variables<'_>,
        due: DuePostEdges,
    ) -> Result<Self, HooksError> {
        let hooks = match config {
            Snapshotting::Periodic(periodic) => periodic.hooks.as_slice(),
            Snapshotting::Cron(cron) => cron.hooks.as_slice(),
            Snapshotting::Manual(_) => &[],
        };
        let logged = environment::hook_log_size(variables)?;
        let edges = hooks.iter().map(|hook| hook.timeout().saturating_mul(2));
        let all_edges = edges.fold(Duration::ZERO, Duration::saturating_add);
        let hooks = hooks.iter().zip(1..).map(|(config, number)| {
            Hook::new(config, logged, all_edges, variables)
                .map(Arc::new)
                .map_err(|source| HooksError::Hook { number, source })
        });
        let hooks = hooks.collect::<Result<_, _>>()?;
        Ok(Self { hooks, due })
    }

    /// Those that cannot work as they are configured.
    pub fn unusable(&self) -> impl Iterator<Item = Unusable> {
        self.hooks.iter().zip(1..).filter_map(|(hook, number)| {
            let error = hook.unusable()?.to_owned();
            let name = hook.to_string();
            Some(Unusable {
                number,
                name,
                error,
            })
        })
    }

    /// The hooks that run around snapshots of this filesystem, if there are any.
    pub fn for_filesystem(&self, filesystem: &DatasetPath) -> Option<FilesystemHooks> {
        let hooks = self.hooks.iter().filter(|hook| hook.is_for(filesystem));
        let hooks: Vec<_> = hooks.map(Arc::clone).collect();
        (!hooks.is_empty()).then(|| FilesystemHooks {
            filesystem: filesystem.clone(),
            hooks,
            due: self.due.clone(),
        })
    }

    /// Divides filesystems, whose order is kept.
    pub fn partition(&self, filesystems: impl IntoIterator<Item = DatasetPath>) -> Partition {
        let mut partition = Partition {
            without: Vec::new(),
            with: Vec::new(),
            unused: Vec::new(),
        };
        for filesystem in filesystems {
            match self.for_filesystem(&filesystem) {
                Some(hooks) => partition.with.push(hooks),
                None => partition.without.push(filesystem),
            }
        }
        for (hook, number) in self.hooks.iter().zip(1..) {
            let is_used = |with: &FilesystemHooks| with.hooks.iter().any(|h| Arc::ptr_eq(h, hook));
            if !partition.with.iter().any(is_used) {
                let name = hook.to_string();
                partition.unused.push(Unused { number, name });
            }
        }
        partition
    }
}

impl Unused {
    /// Says so in the log: most likely its filter is not what was meant.
    pub fn warn(&self) {
        let Self { number, name } = self;
        tracing::warn!(
            hook = name.as_str(),
            hook_number = number,
            "hook did not match any snapshotted filesystems"
        );
    }
}

impl Unusable {
    /// Says so in the log.
    pub fn log(&self) {
        let Self {
            number,
            name,
            error,
        } = self;
        tracing::error!(
            hook = name.as_str(),
            hook_number = number,
            err = error.as_str(),
            "this hook cannot work as it is configured, it will fail whenever it is run"
        );
    }
}

impl FilesystemHooks {
    /// The filesystem.
    pub fn filesystem(&self) -> &DatasetPath {
        &self.filesystem
    }

    /// Prepares their run around this snapshot, which is one of the filesystem.
    pub fn around(&self, snapshot: SnapshotName) -> Around {
        Around::new(self.hooks.clone(), snapshot, self.due.clone())
    }
}

impl Hook {
    #[cfg_attr(
        all(feature = "hook-mysql", feature = "hook-postgres"),
        expect(
            clippy::unnecessary_wraps,
            reason = "without one of the features it may fail"
        )
    )]
    fn new(
        config: &snapshotting::Hook,
        logged: usize,
        all_edges: Duration,
        variables: Variables<'_>,
    ) -> Result<Self, HookError> {
        // Which of them are asked for anything depends on features.
        let _ = (all_edges, variables);
        let timeout = config.timeout();
        Ok(match config {
            snapshotting::Hook::Command(config) => Self {
                action: Action::Command(command::Command::new(config, logged)),
                filter: config.filesystems.clone(),
                fatal: config.err_is_fatal,
                timeout,
            },
            #[cfg(feature = "hook-mysql")]
            snapshotting::Hook::MysqlLockTables(config) => Self {
                action: match mysql::LockTables::new(config, all_edges) {
                    Ok(tables) => Action::Mysql(tables),
                    Err(error) => {
                        let error = chain(&error);
                        Action::Unusable {
                            name: mysql::NAME,
                            report: mysql::report_failed(&error),
                            error,
                        }
                    }
                },
                filter: config.filesystems.clone(),
                fatal: config.err_is_fatal,
                timeout,
            },
            #[cfg(feature = "hook-postgres")]
            snapshotting::Hook::PostgresCheckpoint(config) => Self {
                action: match postgres::Checkpoint::new(config, variables) {
                    Ok(checkpoint) => Action::Postgres(Box::new(checkpoint)),
                    Err(error) => {
                        let error = chain(&error);
                        Action::Unusable {
                            name: postgres::NAME,
                            report: postgres::report_failed(&error),
                            error,
                        }
                    }
                },
                filter: config.filesystems.clone(),
                fatal: config.err_is_fatal,
                timeout,
            },
            #[cfg(not(feature = "hook-mysql"))]
            snapshotting::Hook::MysqlLockTables(_) => {
                return Err(HookError::NotCompiled {
                    kind: "mysql-lock-tables",
                    feature: "hook-mysql",
                });
            }
            #[cfg(not(feature = "hook-postgres"))]
            snapshotting::Hook::PostgresCheckpoint(_) => {
                return Err(HookError::NotCompiled {
                    kind: "postgres-checkpoint",
                    feature: "hook-postgres",
                });
            }
        })
    }

    /// Is there anything to undo after the snapshot?
    fn has_post_edge(&self) -> bool {
        match &self.action {
            Action::Command(_) => true,
            #[cfg(feature = "hook-mysql")]
            Action::Mysql(_) => true,
            #[cfg(feature = "hook-postgres")]
            Action::Postgres(_) => false,
            #[cfg(any(feature = "hook-mysql", feature = "hook-postgres"))]
            Action::Unusable { .. } => false,
        }
    }

    fn unusable(&self) -> Option<&str> {
        match &self.action {
            #[cfg(any(feature = "hook-mysql", feature = "hook-postgres"))]
            Action::Unusable { error, .. } => Some(error),
            _ => None,
        }
    }

    fn is_for(&self, filesystem: &DatasetPath) -> bool {
        self.filter.accepts(filesystem.as_str())
    }
}

/// As zrepl 0.7.0 calls hooks in its log.
impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.action {
            Action::Command(command) => command.path().display().fmt(f),
            #[cfg(feature = "hook-mysql")]
            Action::Mysql(_) => f.write_str(mysql::NAME),
            #[cfg(feature = "hook-postgres")]
            Action::Postgres(_) => f.write_str(postgres::NAME),
            #[cfg(any(feature = "hook-mysql", feature = "hook-postgres"))]
            Action::Unusable { name, .. } => f.write_str(name),
        }
    }
}
