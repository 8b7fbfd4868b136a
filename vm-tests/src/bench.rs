//! `cargo vm bench replicate`: how long a daemon takes for a round of N small filesystems to a sink in the same daemon, what it
//! costs, and what a shell loop of `zfs send | zfs receive` needs for the same.

mod measure;
mod table;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::daemon::{self, Daemon};
use crate::guest::Guest;
use crate::host::Host;
use crate::machine::Options;
use crate::packages::Purpose;
use crate::recipe::ZfsVersion;
use measure::{Meter, Trace};
use table::{Row, Table};

/// A slow peer with many filesystems takes minutes.
const ROUND_LIMIT: Duration = Duration::from_secs(1200);

#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// OpenZFS version of the guest
    #[arg(long, default_value = "2.3")]
    zfs: ZfsVersion,
    /// How many filesystems
    #[arg(long, value_name = "N", default_value_t = 8)]
    filesystems: u32,
    /// Measure this program, which takes zrepl's commands and configuration, instead of ours
    #[arg(long, value_name = "PATH")]
    peer: Option<PathBuf>,
    /// Build with full optimisation (slow), instead of as for tests
    #[arg(long)]
    release: bool,
}

/// What is measured together: a tree of filesystems of its own, and the job that replicates it.
struct Variant {
    name: &'static str,
    steps: u32,
}

const SERIAL: Variant = Variant {
    name: "serial",
    steps: 1,
};
const CONCURRENT: Variant = Variant {
    name: "concurrent",
    steps: 8,
};
/// Its rounds run under strace, which is why nobody looks at their time.
const TRACED: Variant = Variant {
    name: "traced",
    steps: 8,
};
/// The shell's.
const FLOOR: &str = "floor";

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let host = Host::prepare(Purpose::GuestsAndBuild, &[arguments.zfs])?;
    let program = match &arguments.peer {
        Some(path) => {
            let content =
                fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
            (daemon::PROGRAM.to_owned(), content)
        }
        None => daemon::program(if arguments.release {
            "release"
        } else {
            "guest"
        })?,
    };
    let options = Options {
        files: vec![program],
        ..Options::default()
    };
    let machine = host.boot(arguments.zfs, &options)?;
    let guest = machine.guest();
    let line = match arguments.peer {
        Some(_) => format!("/put/{}", daemon::PROGRAM),
        None => machine.host_program(daemon::PROGRAM).join(" "),
    };
    println!(
        "{} filesystems with 64 KiB each, OpenZFS {}, {}",
        arguments.filesystems,
        guest.fact("zfs"),
        match &arguments.peer {
            Some(path) => format!("{}", path.display()),
            None if arguments.release => "zrepl, profile release".to_owned(),
            None => "zrepl, profile guest (little optimisation, with assertions)".to_owned(),
        }
    );
    let table = measure_all(guest, &line, arguments.filesystems);
    match table {
        Ok(table) => {
            print!("{table}");
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            let log = machine.console().keep("bench-replicate");
            Err(error.context(format!("console log: {}", log.display())))
        }
    }
}

fn measure_all(guest: &Guest, program: &str, filesystems: u32) -> Result<Table> {
    prepare(guest, filesystems)?;
    let mut table = Table::new(filesystems);
    table.push(Row::floor(
        "initial",
        floor(guest, filesystems, Floor::Initial)?,
    ));
    table.push(Row::floor(
        "no-op",
        floor(guest, filesystems, Floor::Nothing)?,
    ));
    for variant in [SERIAL, CONCURRENT, TRACED] {
        let daemon = Daemon::new(guest, program, variant.name, &jobs(&variant))?;
        daemon.start()?;
        let rounds = Rounds {
            guest,
            daemon: &daemon,
            variant: &variant,
        };
        table.push(rounds.one("initial")?);
        rounds.one("warming up")?;
        table.push(rounds.one("no-op")?);
        touch(guest, variant.name, filesystems)?;
        table.push(rounds.one("one snapshot each")?);
        daemon.kill("TERM")?;
    }
    touch(guest, FLOOR, filesystems)?;
    table.push(Row::floor(
        "one snapshot each",
        floor(guest, filesystems, Floor::Increment)?,
    ));
    Ok(table)
}

/// Pools whose transaction groups end only when somebody waits for them, and a tree for each variant.
fn prepare(guest: &Guest, filesystems: u32) -> Result<()> {
    guest
        .script(&format!(
            "echo 3600 >/sys/module/zfs/parameters/zfs_txg_timeout
             for pool in tank backup; do
                 truncate -s 1G /tmp/$pool.img
                 zpool create -O mountpoint=/$pool $pool /tmp/$pool.img
             done
             zfs set mountpoint=none backup
             for tree in {} {} {} {FLOOR}; do
                 zfs create tank/$tree
                 for number in $(seq {filesystems}); do
                     zfs create tank/$tree/fs$number
                     head -c 65536 /dev/urandom >/tank/$tree/fs$number/file
                 done
                 zfs snapshot -r tank/$tree@1
             done
             zfs create backup/{FLOOR}",
            SERIAL.name, CONCURRENT.name, TRACED.name
        ))?
        .ok()?;
    Ok(())
}

/// A little is written to each filesystem of a tree, and kept in a snapshot.
fn touch(guest: &Guest, tree: &str, filesystems: u32) -> Result<()> {
    guest
        .script(&format!(
            "for number in $(seq {filesystems}); do echo more >>/tank/{tree}/fs$number/file; done
             zfs snapshot -r tank/{tree}@2"
        ))?
        .ok()?;
    Ok(())
}

fn jobs(variant: &Variant) -> String {
    let Variant { name, steps } = variant;
    format!(
        "- name: sink
  type: sink
  root_fs: backup
  serve: {{type: local, listener_name: here}}
  recv: {{placeholder: {{encryption: inherit}}}}
- name: {name}
  type: push
  connect: {{type: local, listener_name: here, client_identity: {name}}}
  filesystems: {{'tank/{name}<': true, 'tank/{name}': false}}
  replication: {{concurrency: {{steps: {steps}}}}}
  snapshotting: {{type: manual}}
  pruning:
    keep_sender: [{{type: regex, regex: '.*'}}]
    keep_receiver: [{{type: regex, regex: '.*'}}]
"
    )
}

/// The rounds of one variant.
struct Rounds<'a> {
    guest: &'a Guest,
    daemon: &'a Daemon<'a>,
    variant: &'a Variant,
}

impl Rounds<'_> {
    fn one(&self, what: &'static str) -> Result<Row> {
        let pid = self.daemon.pid()?;
        let trace = (self.variant.name == TRACED.name)
            .then(|| Trace::start(self.guest, pid))
            .transpose()?;
        let before = Meter::read(self.guest, Some(pid))?;
        let run = self.daemon.replicate(self.variant.name, ROUND_LIMIT)?;
        let used = Meter::read(self.guest, Some(pid))?.since(&before);
        let sent = run.steps().len();
        ensure!(
            (sent == 0) == (what != "initial" && what != "one snapshot each"),
            "{what}: {sent} steps"
        );
        Ok(match trace {
            Some(trace) => Row::traced(what, trace.stop()?),
            None => Row::timed(what, self.variant.steps, run.seconds()?, used),
        })
    }
}

#[derive(Clone, Copy)]
enum Floor {
    Initial,
    Nothing,
    Increment,
}

/// The least that a script has to do.
fn floor(guest: &Guest, filesystems: u32, what: Floor) -> Result<(f64, measure::Used)> {
    let each = |command: &str| format!("for number in $(seq {filesystems}); do {command}; done");
    let from = format!("tank/{FLOOR}/fs$number");
    let to = format!("backup/{FLOOR}/fs$number");
    let script = match what {
        Floor::Initial => each(&format!("zfs send {from}@1 | zfs receive -u {to}")),
        Floor::Increment => each(&format!("zfs send -i @1 {from}@2 | zfs receive -u {to}")),
        Floor::Nothing => format!(
            "zfs list -Hr -t snapshot -o name,guid tank/{FLOOR} >/tmp/a
             zfs list -Hr -t snapshot -o name,guid backup/{FLOOR} >/tmp/b"
        ),
    };
    let before = Meter::read(guest, None)?;
    let times = guest
        .script(&format!(
            "read before rest </proc/uptime; {script}; read after rest </proc/uptime; echo $before $after; times"
        ))?
        .ok()?;
    let mut used = Meter::read(guest, None)?.since(&before);
    let (wall, cpu) = measure::shell_times(&times.text())?;
    used.cpu = cpu;
    Ok((wall, used))
}
