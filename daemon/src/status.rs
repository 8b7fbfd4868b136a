//! What the daemon does, as `/status` on its control socket tells it: the JSON of zrepl 0.7.0, in its order of keys. The
//! command line, monitoring scripts and zrepl 0.7.0's own command line read it.
//!
//! Reports are `null` until there is something to report.

use std::collections::BTreeMap;

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use crate::pruner;
use crate::replication::report::Report;
use crate::snapshot::report::Report as SnapshotReport;

/// Everything.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Status {
    /// All jobs by name, those of the daemon itself included.
    pub jobs: BTreeMap<String, JobStatus>,
    /// What concerns no job.
    pub global: Global,
}

/// What a job does.
#[derive(Clone, Debug)]
pub enum JobStatus {
    /// One of the daemon's own, whose names start with `_`.
    Internal,
    /// A push job.
    Push(Active),
    /// A pull job.
    Pull(Active),
    /// A sink job.
    Sink(Passive),
    /// A source job.
    Source(Passive),
    /// A snap job.
    Snap(Snap),
}

/// What a job does that replicates when it wants to.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Active {
    /// The replication that runs, or ran last.
    pub replication: Option<Report>,
    /// The pruning of the side that sends that runs, or ran last.
    pub pruning_sender: Option<pruner::report::Report>,
    /// The pruning of the side that receives that runs, or ran last.
    pub pruning_receiver: Option<pruner::report::Report>,
    /// When snapshots are taken, and how the last round stands.
    pub snapshotting: Option<SnapshotReport>,
}

/// What a job does that is asked by others.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Passive {
    /// When snapshots are taken, and how the last round stands.
    pub snapper: Option<SnapshotReport>,
}

/// What a job does that replicates nothing.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Snap {
    /// The pruning that runs, or ran last.
    pub pruning: Option<pruner::report::Report>,
    /// When snapshots are taken, and how the last round stands.
    pub snapshotting: Option<SnapshotReport>,
}

impl JobStatus {
    /// The kind of job, as configurations call it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Internal => "internal",
            Self::Push(_) => "push",
            Self::Pull(_) => "pull",
            Self::Sink(_) => "sink",
            Self::Source(_) => "source",
            Self::Snap(_) => "snap",
        }
    }
}

/// Two keys: the kind with what only this kind has, and `type` with the kind.
impl Serialize for JobStatus {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let kind = self.kind();
        let mut map = serializer.serialize_map(Some(2))?;
        match self {
            Self::Internal => map.serialize_entry(kind, &())?,
            Self::Push(active) | Self::Pull(active) => map.serialize_entry(kind, active)?,
            Self::Sink(passive) | Self::Source(passive) => map.serialize_entry(kind, passive)?,
            Self::Snap(snap) => map.serialize_entry(kind, snap)?,
        }
        map.serialize_entry("type", kind)?;
        map.end()
    }
}

/// What concerns no job.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Global {
    /// Running zfs(8) processes.
    #[serde(rename = "ZFSCmds")]
    pub zfs_commands: ZfsCommands,
    /// Settings from the environment.
    #[serde(rename = "Envconst")]
    pub settings: Settings,
    /// The environment, as `NAME=value`, as far as it may be shown.
    #[serde(rename = "OsEnviron")]
    pub environment: Vec<String>,
}

/// Running zfs(8) processes: none that replications would start.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ZfsCommands {
    /// Always `null`.
    pub active: (),
}

/// Settings from the environment.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Settings {
    /// By name.
    pub entries: Vec<Setting>,
}

/// A setting that the environment can change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Setting {
    /// The variable.
    pub var: String,
    /// What holds, changed or not.
    pub value: String,
    /// What zrepl 0.7.0 calls its type.
    pub value_go_type: String,
}

/// What of an environment is nobody's secret: zrepl's own variables, and those that say where and how a process runs. zrepl
/// 0.7.0 shows all of them, and what is in them, to whoever may ask for the status.
pub fn harmless(environment: impl IntoIterator<Item = (String, String)>) -> Vec<String> {
    const KNOWN: [&str; 16] = [
        "GODEBUG",
        "GOTRACEBACK",
        "HOME",
        "INVOCATION_ID",
        "LANG",
        "LOGNAME",
        "NO_COLOR",
        "PATH",
        "PWD",
        "RUNTIME_DIRECTORY",
        "SHELL",
        "SHLVL",
        "TERM",
        "TZ",
        "USER",
        "ZFS_RECV_PIPE_CAPACITY_HINT",
    ];
    let is_shown = |name: &str| {
        KNOWN.contains(&name)
            || ["LC_", "ZREPL_"]
                .iter()
                .any(|prefix| name.starts_with(prefix))
    };
    environment
        .into_iter()
        .filter(|(name, _)| is_shown(name))
        .map(|(name, value)| format!("{name}={value}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_json_is_that_of_zrepl() {
        let jobs = [
            ("_control", JobStatus::Internal),
            ("e", JobStatus::Snap(Snap::default())),
            ("a", JobStatus::Push(Active::default())),
            ("b", JobStatus::Pull(Active::default())),
            ("c", JobStatus::Sink(Passive::default())),
            ("d", JobStatus::Source(Passive::default())),
        ];
        let status = Status {
            jobs: jobs
                .into_iter()
                .map(|(name, job)| (name.to_owned(), job))
                .collect(),
            global: Global {
                settings: Settings {
                    entries: vec![Setting {
                        var: "ZREPL_X".to_owned(),
                        value: "1s".to_owned(),
                        value_go_type: "time.Duration".to_owned(),
                    }],
                },
                environment: vec!["A=b".to_owned()],
                ..Global::default()
            },
        };
        let active = r#"{"Replication":null,"PruningSender":null,"PruningReceiver":null,"Snapshotting":null}"#;
        let expected = r#"{"Jobs":{"_control":{"internal":null,"type":"internal"},"#.to_owned()
            + &format!(
                r#""a":{{"push":{active},"type":"push"}},"b":{{"pull":{active},"type":"pull"}},"#
            )
            + r#""c":{"sink":{"Snapper":null},"type":"sink"},"#
            + r#""d":{"source":{"Snapper":null},"type":"source"},"#
            + r#""e":{"snap":{"Pruning":null,"Snapshotting":null},"type":"snap"}},"#
            + r#""Global":{"ZFSCmds":{"Active":null},"#
            + r#""Envconst":{"Entries":[{"Var":"ZREPL_X","Value":"1s","ValueGoType":"time.Duration"}]},"#
            + r#""OsEnviron":["A=b"]}}"#;
        assert_eq!(
            serde_json::to_string(&status).expect("plain data"),
            expected
        );
    }

    #[test]
    fn secrets_of_the_environment_stay_there() {
        let environment = [
            ("AWS_SECRET_ACCESS_KEY", "x"),
            ("ZREPL_ZFS_BACKEND", "cli"),
            ("PATH", "/bin"),
            ("LC_ALL", "C"),
            ("PGPASSWORD", "x"),
            ("PATHS", "x"),
        ];
        let owned = environment.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(
            harmless(owned),
            ["ZREPL_ZFS_BACKEND=cli", "PATH=/bin", "LC_ALL=C"]
        );
    }
}
