//! What a scenario stands on: a pool of its own, one implementation, and a record of what was seen.

use std::fmt::{Debug, Display};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use zfs_safe::cli::Cli;
use zfs_safe::counters::Counts;
use zfs_safe::error::ZfsError;
use zfs_safe::name::{BookmarkName, DatasetPath, EntityName, HoldTag, PoolName, SnapshotName};
use zfs_safe::native::Native;
use zfs_safe::outcome::Outcome;
use zfs_safe::property::{PropertyName, ZfsVersion};
use zfs_safe::zfs::{HoldRequest, Zfs};

/// The pool of the running scenario.
pub(crate) const POOL: &str = "conf";

/// Where its device lies: a tmpfs.
const DEVICE: &str = "/tmp/conf.img";

/// An implementation under test.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Which {
    Native,
    Cli,
}

impl Which {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Cli => "cli",
        }
    }

    pub(crate) fn open(self) -> Result<Arc<dyn Zfs>, ZfsError> {
        Ok(match self {
            Self::Native => Arc::new(Native::open()?),
            Self::Cli => Arc::new(Cli::open()?),
        })
    }
}

pub(crate) struct Bed {
    pub(crate) which: Which,
    pub(crate) zfs: Arc<dyn Zfs>,
    observations: Vec<String>,
    scenario: &'static str,
    /// What even the native implementation needs zfs(8) for.
    pub(crate) meant_processes: u64,
}

impl Bed {
    /// Makes an empty pool `conf` whose datasets are not mounted by themselves.
    pub(crate) fn new(which: Which, scenario: &'static str) -> Self {
        clean_up();
        // Only what is asked for shall make a transaction group.
        set_parameter("zfs_txg_timeout", "3600");
        make_pool(POOL, DEVICE, "512M", &["-O", "mountpoint=none"]);
        let zfs = which
            .open()
            .unwrap_or_else(|error| panic!("cannot open: {error}"));
        Self {
            which,
            zfs,
            observations: Vec::new(),
            scenario,
            meant_processes: 0,
        }
    }

    /// Notes a fact. Both implementations must give the same facts in the same order. Names of things that differ from run
    /// to run (guids, times) do not belong here.
    pub(crate) fn saw(&mut self, what: &str, fact: impl Debug) {
        self.observations.push(format!("{what}: {fact:?}"));
    }

    /// Notes how a call ended: `Ok` with its value, or the operation, dataset, reason and class of its error.
    pub(crate) fn saw_result<T: Debug>(&mut self, what: &str, result: &Result<T, ZfsError>) {
        match result {
            Ok(value) => self.saw(what, value),
            Err(error) => self
                .observations
                .push(format!("{what}: {}", summary(error))),
        }
    }

    /// Demands that a call failed for a reason of this name, and notes how.
    pub(crate) fn saw_failure<T: Debug>(
        &mut self,
        what: &str,
        result: &Result<T, ZfsError>,
        reason: &str,
    ) {
        let found = result.as_ref().err().map(|error| error.reason.label());
        assert_eq!(found.as_deref(), Some(reason), "{what}: {result:?}");
        match result {
            // The wording of a property's problem is each implementation's own.
            Err(error) if reason == "InvalidProperty" => {
                self.saw(what, (error.operation, &error.dataset, reason));
            }
            other => self.saw_result(what, other),
        }
    }

    /// Notes the outcomes of a batch.
    pub(crate) fn saw_outcomes(&mut self, what: &str, outcomes: &[Outcome]) {
        let texts: Vec<_> = outcomes
            .iter()
            .map(|outcome| match outcome {
                Outcome::Failed(error) => summary(error),
                other => format!("{other:?}"),
            })
            .collect();
        self.observations
            .push(format!("{what}: [{}]", texts.join(", ")));
    }

    /// Prints what the kernel answered to a question of the design (docs/zfs-facts.md). Not compared with anything.
    #[expect(clippy::unused_self, reason = "reads like the other records")]
    pub(crate) fn fact(&self, question: &str, answer: impl Display) {
        println!("fact {question}: {answer}");
    }

    /// Is the kernel module at least this release?
    pub(crate) fn at_least(&self, major: u16, minor: u16) -> bool {
        let version = self
            .zfs
            .module_version()
            .unwrap_or_else(|error| panic!("{error}"));
        version.at_least(ZfsVersion::new(major, minor, 0))
    }

    pub(crate) fn is_native(&self) -> bool {
        self.which == Which::Native
    }

    /// Runs `work` and gives what it cost this handle.
    pub(crate) fn cost<T>(&self, work: impl FnOnce() -> T) -> (T, Counts) {
        let before = self.zfs.counters().now();
        let result = work();
        (result, self.zfs.counters().now() - before)
    }

    /// Ends the scenario: the native implementation has started no process that it was not meant to, and nothing is left of the pool.
    pub(crate) fn finish(self) -> Vec<String> {
        let counts = self.zfs.counters().now();
        match self.which {
            Which::Native => assert_eq!(
                counts.processes, self.meant_processes,
                "{}: the native implementation started processes",
                self.scenario
            ),
            Which::Cli => assert_eq!(counts.ioctls, 0, "{}: zfs(8) made ioctls", self.scenario),
        }
        clean_up();
        self.observations
    }
}

fn summary(error: &ZfsError) -> String {
    format!(
        "{} {}: {:?} {:?}",
        error.operation,
        error.dataset,
        error.reason,
        error.class()
    )
}

/// Makes a pool on a new file.
pub(crate) fn make_pool(pool: &str, device: &str, size: &str, options: &[&str]) {
    sh(&format!(
        "rm -f {device}; truncate -s {size} {device}; zpool create {} {pool} {device}",
        options.join(" ")
    ));
}

/// Destroys whatever pools a scenario has left.
pub(crate) fn clean_up() {
    let pools = Command::new("zpool")
        .args(["list", "-H", "-o", "name"])
        .output();
    let pools = pools
        .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
        .unwrap_or_default();
    for pool in pools.lines().filter(|pool| pool.starts_with(POOL)) {
        // What holds a pool busy is a scenario's failure, shown elsewhere.
        let _: bool = try_sh(&format!("zpool destroy -f {pool}")).is_ok();
    }
}

/// Runs a shell script as root, which must succeed; gives its standard output without the final line end.
pub(crate) fn sh(script: &str) -> String {
    try_sh(script).unwrap_or_else(|error| panic!("{error}"))
}

/// Runs a shell script; the error holds the script, its status and what it printed.
pub(crate) fn try_sh(script: &str) -> Result<String, String> {
    let output = Command::new("sh")
        .args(["-c", &format!("set -e; {script}")])
        .output();
    let output = output.map_err(|error| format!("sh: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout)
        .trim_end()
        .to_owned();
    if output.status.success() {
        Ok(text)
    } else {
        let errors = String::from_utf8_lossy(&output.stderr);
        Err(format!(
            "`{script}` ended with {}: {text} {errors}",
            output.status
        ))
    }
}

/// Sets a module parameter.
pub(crate) fn set_parameter(name: &str, value: &str) {
    sh(&format!("echo {value} > /sys/module/zfs/parameters/{name}"));
}

/// Transaction groups that the pool has finished, as the kernel itself counts them.
pub(crate) fn last_txg(pool: &str) -> u64 {
    let table = std::fs::read_to_string(format!("/proc/spl/kstat/zfs/{pool}/txgs")).expect("kstat");
    table
        .lines()
        .filter_map(|line| {
            let mut fields = line.split_whitespace();
            let txg: u64 = fields.next()?.parse().ok()?;
            let state = fields.nth(1)?;
            (state == "C").then_some(txg)
        })
        .max()
        .unwrap_or(0)
}

static CHILD: AtomicU32 = AtomicU32::new(0);

/// Runs this program again as a child that does one named thing, for scenarios that need a process of their own: without
/// privilege, or to be killed. Gives what it printed.
pub(crate) fn child(which: Which, action: &str, uid: Option<u32>) -> Result<String, String> {
    use std::os::unix::process::CommandExt;
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut command = Command::new(program);
    command.args(["--child", which.as_str(), action]);
    if let Some(uid) = uid {
        command.uid(uid).gid(uid);
    }
    CHILD.fetch_add(1, Ordering::Relaxed);
    let output = command.output().map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&output.stdout)
        .trim_end()
        .to_owned();
    if output.status.success() {
        Ok(text)
    } else {
        Err(format!(
            "child {action}: {} {text} {}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        ))
    }
}

/// A child that runs beside the scenario. It is killed at the latest when this is dropped.
#[derive(Debug)]
pub(crate) struct Running {
    process: std::process::Child,
    lines: mpsc::Receiver<String>,
}

/// Starts what [`child`] runs, without waiting for its end.
pub(crate) fn start_child(which: Which, action: &str) -> Running {
    let program = std::env::current_exe().expect("has a path");
    let mut command = Command::new(program);
    command
        .args(["--child", which.as_str(), action])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut process = command.spawn().expect("starts");
    let output = BufReader::new(process.stdout.take().expect("piped"));
    let (sender, lines) = mpsc::channel();
    // Ends with the child's output.
    std::thread::spawn(move || {
        output
            .lines()
            .map_while(Result::ok)
            .try_for_each(|line| sender.send(line))
    });
    Running { process, lines }
}

impl Running {
    /// The next line it prints; `None` if there is none for 20 seconds.
    pub(crate) fn line(&mut self) -> Option<String> {
        self.line_within(Duration::from_secs(20))
    }

    /// The next line it prints within this time.
    pub(crate) fn line_within(&mut self, time: Duration) -> Option<String> {
        self.lines.recv_timeout(time).ok()
    }

    /// Kills it with SIGKILL and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        self.process.kill().expect("can be killed");
        self.process.wait().expect("can be waited for");
    }

    /// Has it ended by now?
    pub(crate) fn has_ended(&mut self) -> bool {
        matches!(self.process.try_wait(), Ok(Some(_)))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // A child that hangs in the kernel would hang us too if we waited for it.
        drop(self.process.kill());
    }
}

/// If this process is such a child, does its action.
pub(crate) fn run_as_child(arguments: &[String]) -> Option<ExitCode> {
    let [flag, which, action] = arguments else {
        return None;
    };
    if flag != "--child" {
        return None;
    }
    let which = if which == "cli" {
        Which::Cli
    } else {
        Which::Native
    };
    crate::scenarios::child_action(which, action);
    Some(ExitCode::SUCCESS)
}

/// Shorthands for names in scenarios, which are all valid.
pub(crate) fn dataset(name: &str) -> DatasetPath {
    DatasetPath::new(name).unwrap_or_else(|error| panic!("{error}"))
}

pub(crate) fn snap(name: &str) -> SnapshotName {
    SnapshotName::new(name).unwrap_or_else(|error| panic!("{error}"))
}

pub(crate) fn snaps(names: &[&str]) -> Vec<SnapshotName> {
    names.iter().map(|name| snap(name)).collect()
}

pub(crate) fn mark(name: &str) -> BookmarkName {
    BookmarkName::new(name).unwrap_or_else(|error| panic!("{error}"))
}

pub(crate) fn entity(name: &str) -> EntityName {
    EntityName::new(name).unwrap_or_else(|error| panic!("{error}"))
}

pub(crate) fn pool(name: &str) -> PoolName {
    PoolName::new(name).unwrap_or_else(|error| panic!("{error}"))
}

pub(crate) fn tag(text: &str) -> HoldTag {
    HoldTag::new(text).unwrap_or_else(|error| panic!("{error}"))
}

pub(crate) fn holds(requests: &[(&str, &str)]) -> Vec<HoldRequest> {
    requests
        .iter()
        .map(|(name, text)| HoldRequest {
            snapshot: snap(name),
            tag: tag(text),
        })
        .collect()
}

pub(crate) fn property(name: &str) -> PropertyName {
    name.parse().unwrap_or_else(|error| panic!("{error}"))
}

pub(crate) fn settings(pairs: &[(&str, &str)]) -> Vec<(PropertyName, String)> {
    pairs
        .iter()
        .map(|(name, value)| (property(name), (*value).to_owned()))
        .collect()
}

/// Is there such a file?
pub(crate) fn is_there(path: &str) -> bool {
    Path::new(path).exists()
}
