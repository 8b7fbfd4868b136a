//! Every way between two daemons with everything that can be sent over it: a table.

mod configuration;
mod rounds;

use std::fmt::Write as _;

use anyhow::{Result, bail};

use super::in_guest_with_zrepl;
use crate::certificates;
use crate::daemon::{self, Daemon};
use crate::guest::Guest;
use crate::link::{Pair, RECEIVER, SENDER};
use crate::machine::{Machine, Options};
use crate::recipe::ZfsVersion;
use crate::scenario::Bench;
use configuration::{Direction, Way};
use rounds::Rounds;

/// One job, what it replicates, and where that is to be found.
struct Route<'a> {
    /// The line of the table.
    title: String,
    /// Where the job runs.
    active: &'a Daemon<'a>,
    job: String,
    sender: &'a Guest,
    /// The sender's datasets are below this one.
    tree: String,
    receiver: &'a Guest,
    target: String,
    /// In whose name the sender and the receiver leave their marks.
    marks: (String, String),
    /// Whether it is the encrypted part of the line.
    raw: bool,
}

/// push, pull; tcp, tls, ssh, local; each with a filesystem, a volume and an encrypted filesystem.
pub(crate) fn replication_table(bench: &Bench<'_>) -> Result<()> {
    let mut files = vec![("secret.key".to_owned(), vec![7; 32])];
    files.extend(certificates::of_host("active")?);
    files.extend(certificates::of_host("passive")?);
    let options = Options {
        files,
        ..Options::default()
    };
    in_guest_with_zrepl(bench, options, |guest, program| {
        let ways: Vec<Way> = Way::all();
        prepare(guest, "tank", ways.iter().map(|way| way.name.as_str()))?;
        guest
            .script(
                "truncate -s 512M /tmp/backup.img
                 zpool create -O mountpoint=none -O volmode=none backup /tmp/backup.img
                 zfs create backup/pulled",
            )?
            .ok()?;
        let (active, passive) = configuration::both_daemons(&ways);
        guest.script(&configuration::ssh_script(program))?.ok()?;
        guest.script("chmod 600 /put/*.key")?.ok()?;
        let passive = Daemon::new(guest, program, "passive", &passive)?;
        passive.start()?;
        let active = Daemon::new(guest, program, "active", &active)?;
        active.start()?;
        let routes: Vec<Route<'_>> = ways
            .iter()
            .flat_map(|way| way.routes(&active, guest))
            .collect();
        show(bench, Rounds::run(&routes)?)
    })
}

/// From the oldest release to the newest, and back.
pub(crate) fn replication_between_releases(bench: &Bench<'_>) -> Result<()> {
    let options = Options {
        memory_mib: 1280,
        files: vec![
            daemon::tested_program()?,
            ("secret.key".to_owned(), vec![7; 32]),
        ],
        ..Options::default()
    };
    let pair = Pair::boot(
        bench.host,
        (ZfsVersion::V2_1, options.clone()),
        (ZfsVersion::V2_4, options),
    )?;
    let line = |machine: &Machine| machine.host_program(daemon::PROGRAM).join(" ");
    let old = (pair.sender(), line(&pair.sender), "old", SENDER);
    let new = (pair.receiver(), line(&pair.receiver), "new", RECEIVER);
    let mut daemons = Vec::new();
    for ((guest, program, name, _), (.., peer, address)) in [(&old, &new), (&new, &old)] {
        prepare(guest, "tank", ["forth"])?;
        guest
            .script(
                "truncate -s 512M /tmp/backup.img
                 zpool create -O mountpoint=none -O volmode=none backup /tmp/backup.img",
            )?
            .ok()?;
        let jobs = configuration::between_hosts(&address.to_string(), peer);
        daemons.push(Daemon::new(guest, program, name, &jobs)?);
    }
    for daemon in &daemons {
        daemon.start()?;
    }
    let mut routes = Vec::new();
    for (index, (from, to)) in [(&old, &new), (&new, &old)].into_iter().enumerate() {
        for raw in [false, true] {
            let suffix = if raw { "-raw" } else { "" };
            routes.push(Route {
                title: format!("{} → {}", from.0.fact("zfs"), to.0.fact("zfs")),
                active: &daemons[index],
                job: format!("forth{suffix}"),
                sender: from.0,
                tree: format!("tank/forth{suffix}"),
                receiver: to.0,
                target: format!("backup/{}/tank/forth{suffix}", from.2),
                marks: (format!("forth{suffix}"), "sink".to_owned()),
                raw,
            });
        }
    }
    show(bench, Rounds::run(&routes)?)
}

/// A filesystem and a volume in a tree, an encrypted filesystem in another, for each name.
fn prepare<'n>(guest: &Guest, pool: &str, names: impl IntoIterator<Item = &'n str>) -> Result<()> {
    let names: Vec<&str> = names.into_iter().collect();
    guest
        .script(&format!(
            "truncate -s 1G /tmp/{pool}.img
             zpool create -O mountpoint=/{pool} {pool} /tmp/{pool}.img
             for name in {}; do
                 zfs create {pool}/$name
                 zfs create {pool}/$name/f
                 zfs create -s -V 16M {pool}/$name/v
                 zfs create {pool}/$name-raw
                 zfs create -o encryption=aes-256-gcm -o keyformat=raw -o keylocation=file:///put/secret.key {pool}/$name-raw/e
                 head -c 1048576 /dev/urandom >/{pool}/$name/f/0
                 head -c 65536 /dev/urandom >/{pool}/$name-raw/e/0
             done
             for device in /dev/zd*; do head -c 65536 /dev/urandom >$device; done",
            names.join(" ")
        ))?
        .ok()?;
    Ok(())
}

/// Prints the table; an error if there is a cell that is not as it should be.
fn show(bench: &Bench<'_>, rounds: Rounds) -> Result<()> {
    let Rounds { lines, failures } = rounds;
    let mut text = String::new();
    write!(text, "{:<36}", "")?;
    for kind in rounds::KINDS {
        write!(text, " {kind:<12}")?;
    }
    for (title, cells) in lines {
        write!(text, "\n{title:<36}")?;
        for cell in cells {
            write!(text, " {cell:<12}")?;
        }
    }
    bench.say(&text);
    if failures.is_empty() {
        return Ok(());
    }
    bail!("{}", failures.join("\n"))
}

impl Way {
    /// The plain and the encrypted route of this way.
    fn routes<'a>(&self, active: &'a Daemon<'a>, guest: &'a Guest) -> [Route<'a>; 2] {
        [false, true].map(|raw| {
            let suffix = if raw { "-raw" } else { "" };
            let job = format!("{}{suffix}", self.name);
            let tree = format!("tank/{job}");
            let (target, marks) = match self.direction {
                Direction::Push => (
                    format!("backup/active/{tree}"),
                    (job.clone(), self.passive_job("")),
                ),
                Direction::Pull => {
                    let cursor = self.passive_job(suffix);
                    (format!("backup/pulled/{tree}"), (cursor, job.clone()))
                }
            };
            Route {
                title: self.name.replace('-', " over "),
                active,
                job,
                sender: guest,
                tree,
                receiver: guest,
                target,
                marks,
                raw,
            }
        })
    }
}
