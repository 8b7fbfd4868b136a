//! `zrepl plan` of three jobs: it changes nothing, what it says is what then happens, and it is what docs/plan.md shows.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::{in_guest_with_zrepl, state};
use crate::daemon::Daemon;
use crate::guest::Guest;
use crate::machine::Options;
use crate::scenario::Bench;
use crate::status::Run;

const LIMIT: Duration = Duration::from_secs(120);

const SHOWN: &str = include_str!("../../../../docs/plan.md");

/// The guest's clock is set, so that snapshots are days apart.
const POOLS: &str = "
for pool in tank backup; do truncate -s 256M /tmp/$pool.img; zpool create -O mountpoint=none $pool /tmp/$pool.img; done
for fs in data data/db data/home logs; do zfs create tank/$fs; done
zfs set mountpoint=/tmp/db tank/data/db
day() {
    date -u -s \"2026-11-$1 00:00:00\" >/dev/null
    head -c $(($1 * 10000)) /dev/urandom >/tmp/db/file
    zfs snapshot -r tank/data@zrepl_202611${1}_000000_000
}
for number in 01 02 03 04; do day $number; done
zfs snapshot tank/data/home@before_upgrade
for hour in 01 02 03 04 05 06; do
    for minute in 00 30; do
        date -u -s \"2026-11-04 $hour:$minute:00\" >/dev/null
        zfs snapshot tank/logs@half_$hour$minute
    done
done
";

const JOBS: &str = "- name: sink
  type: sink
  root_fs: backup
  serve: {type: local, listener_name: sink}
  recv: {placeholder: {encryption: inherit}}
- name: push
  type: push
  connect: {type: local, listener_name: sink, client_identity: host}
  filesystems: {'tank/data<': true, tank/data: false}
  conflict_resolution: {initial_replication: all}
  snapshotting: {type: periodic, interval: 1d, prefix: zrepl_}
  pruning:
    keep_sender:
    - {type: not_replicated}
    - {type: last_n, count: 2, regex: '^zrepl_'}
    - {type: regex, regex: '^zrepl_', negate: true}
    keep_receiver:
    - {type: grid, grid: 1x1h(keep=all) | 4x1d, regex: '^zrepl_'}
    - {type: regex, regex: '^zrepl_', negate: true}
- name: snap
  type: snap
  filesystems: {tank/logs: true}
  snapshotting: {type: cron, cron: '*/30 * * * *', prefix: half_}
  pruning: {keep: [{type: grid, grid: 1x50m(keep=all) | 2x2h, regex: '^half_'}]}
";

pub(crate) fn plan_is_what_happens(bench: &Bench<'_>) -> Result<()> {
    in_guest_with_zrepl(bench, Options::default(), |guest, program| {
        guest.script(POOLS)?.ok()?;
        let daemon = Daemon::new(guest, program, "daemon", JOBS)?;
        let world = World {
            bench,
            guest,
            daemon: &daemon,
            not_shown: RefCell::default(),
        };
        world.the_first_round()?;
        world.a_round_of_every_day()?;
        world.diverged()?;
        world.without_replication()?;
        let not_shown = world.not_shown.into_inner();
        ensure!(
            not_shown.is_empty(),
            "docs/plan.md does not show what is printed: {}",
            not_shown.join("\n")
        );
        Ok(())
    })
}

struct World<'a> {
    bench: &'a Bench<'a>,
    guest: &'a Guest,
    daemon: &'a Daemon<'a>,
    /// Plans of which the documentation says something else.
    not_shown: RefCell<Vec<String>>,
}

/// Names of snapshots by dataset, oldest first.
type Snapshots = BTreeMap<String, Vec<String>>;

impl World<'_> {
    /// Nothing is there yet, not even a daemon.
    fn the_first_round(&self) -> Result<()> {
        let plan = self.plan("push")?;
        self.round(true)?;
        self.happened(&plan)?;
        self.bench
            .say("first round   planned without a daemon, and it is what happened");
        Ok(())
    }

    fn a_round_of_every_day(&self) -> Result<()> {
        self.guest
            .script(
                "for number in 05 06; do
                     date -u -s \"2026-11-$number 00:00:00\" >/dev/null
                     head -c 20000 /dev/urandom >/tmp/db/file
                     zfs snapshot -r tank/data@zrepl_202611${number}_000000_000
                 done",
            )?
            .ok()?;
        let plan = self.plan("push")?;
        self.shown("every-day", "push")?;
        self.round(true)?;
        self.happened(&plan)?;
        self.bench
            .say("every day     as planned: sent, kept and destroyed on both sides");
        Ok(())
    }

    /// Somebody has taken a snapshot of the copy.
    fn diverged(&self) -> Result<()> {
        self.guest
            .script(
                "zfs snapshot backup/host/tank/data/db@by_hand
                 date -u -s '2026-11-07 00:00:00' >/dev/null
                 zfs snapshot -r tank/data@zrepl_20261107_000000_000",
            )?
            .ok()?;
        let plan = self.plan("push")?;
        self.shown("diverged", "push")?;
        let run = self.round(false)?;
        self.happened(&plan)?;
        let planned = error(&plan, "tank/data/db")?;
        ensure!(
            run.problems().contains(planned),
            "{planned}\nis not in\n{}",
            run.problems()
        );
        self.bench
            .say("diverged      the same error, and everything else as planned");
        Ok(())
    }

    fn without_replication(&self) -> Result<()> {
        let plan = self.plan("snap")?;
        self.shown("snap", "snap")?;
        self.daemon.start()?;
        self.daemon.zrepl("signal prune snap")?.ok()?;
        state::settles(|| self.happened(&plan))?;
        self.daemon.kill("TERM")?;
        self.bench.say("snap job      as planned");
        Ok(())
    }

    /// One round, in a daemon of its own: it would take snapshots itself if it saw a day go by.
    fn round(&self, is_well: bool) -> Result<Run> {
        self.daemon.start()?;
        let run = self.daemon.wait(&self.daemon.wake("push")?, LIMIT)?;
        ensure!(
            run.is_done() == is_well,
            "{}\n{}",
            run.problems(),
            self.daemon.log()?
        );
        self.daemon.wait_for_pruning("push", LIMIT)?;
        self.daemon.kill("TERM")?;
        Ok(run)
    }

    /// Plans, and makes sure that nothing is another one afterwards.
    fn plan(&self, job: &str) -> Result<Value> {
        let before = self.everything()?;
        let answer = self.daemon.zrepl(&format!("plan {job} --json"))?.ok()?;
        ensure!(self.everything()? == before, "planning changed something");
        serde_json::from_slice(&answer.stdout)
            .with_context(|| format!("no plan: {}", answer.text()))
    }

    /// All that a plan could change.
    fn everything(&self) -> Result<String> {
        let listed = self.guest.script(
            "zfs list -Hp -t all -o name,guid,createtxg,userrefs
             zfs get -Hp -s local,received -o name,property,value,source all
             zfs list -H -o name -t snapshot | xargs zfs holds -Hp",
        )?;
        Ok(listed.ok()?.text())
    }

    /// What the documentation shows is what is printed, but for amounts and the time of day.
    fn shown(&self, mark: &str, job: &str) -> Result<()> {
        let printed = self.daemon.zrepl(&format!("plan {job}"))?.ok()?.text();
        let begin = format!("<!-- {mark} -->\n```text\n");
        let shown = SHOWN
            .split_once(&begin)
            .and_then(|it| it.1.split_once("```"));
        let shown = shown.map(|(shown, _)| masked(shown));
        if shown != Some(masked(&printed)) {
            let mut not_shown = self.not_shown.borrow_mut();
            not_shown.push(format!("{mark}\n{printed}"));
        }
        Ok(())
    }

    /// Each filesystem that is pruned has exactly those snapshots that were to be kept, on the sides that the plan names. What was to
    /// be sent is among them or was to be destroyed at once.
    fn happened(&self, plan: &Value) -> Result<()> {
        let there = self.snapshots()?;
        let mut compared = 0;
        for pruning in array(&plan["pruning"])? {
            let root = match pruning["side"].as_str() {
                Some("receiver") => "backup/host/",
                Some("sender" | "local") => "",
                side => bail!("of whom: {side:?}"),
            };
            for filesystem in array(&pruning["filesystems"])? {
                let path = filesystem["filesystem"].as_str().context("no path")?;
                let of_it: Vec<_> = array(&filesystem["snapshots"])?.collect();
                if of_it.is_empty() {
                    continue;
                }
                let kept = of_it
                    .iter()
                    .filter(|it| it["destroyed"] == false)
                    .map(|it| it["name"].as_str().unwrap_or_default().to_owned());
                let kept: Vec<String> = kept.collect();
                let found = &there[&format!("{root}{path}")];
                ensure!(*found == kept, "{root}{path}: {found:?}, planned {kept:?}");
                compared += 1;
            }
        }
        ensure!(compared > 0, "nothing to compare: {plan}");
        Ok(())
    }

    fn snapshots(&self) -> Result<Snapshots> {
        let listed = self
            .guest
            .script("zfs list -H -t snapshot -s createtxg -o name")?
            .ok()?;
        let mut found = Snapshots::new();
        for name in listed.text().lines() {
            let (dataset, snapshot) = name.split_once('@').context("a snapshot")?;
            let of = found.entry(dataset.to_owned()).or_default();
            of.push(snapshot.to_owned());
        }
        Ok(found)
    }
}

fn array(value: &Value) -> Result<impl Iterator<Item = &Value>> {
    let array = value
        .as_array()
        .with_context(|| format!("no list: {value}"))?;
    Ok(array.iter())
}

/// What is planned to go wrong with the replication of a filesystem.
fn error<'a>(plan: &'a Value, path: &str) -> Result<&'a str> {
    array(&plan["replication"]["filesystems"])?
        .find(|it| it["filesystem"] == path)
        .and_then(|it| it["error"].as_str())
        .with_context(|| format!("no error of {path}: {plan}"))
}

/// Without amounts of bytes, and without the time of a round that is due now.
fn masked(text: &str) -> String {
    let mask = |line: &str| {
        if let Some((what, _)) = line.split_once("due now: @") {
            return what.to_owned();
        }
        match line.find(" bytes") {
            Some(end) => {
                let amount = line[..end].trim_end_matches(|it: char| it.is_ascii_digit());
                format!("{amount}{}", &line[end..])
            }
            None => line.to_owned(),
        }
    };
    let lines: Vec<_> = text.lines().map(mask).collect();
    lines.join("\n")
}
