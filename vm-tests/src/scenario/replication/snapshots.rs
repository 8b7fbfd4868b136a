//! Snapshots, replication and pruning as one: what is taken at one instant, what hooks see, what is left on both sides after many
//! rounds, and what others who hold or clone snapshots keep from being destroyed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::{in_guest_with_zrepl, state};
use crate::daemon::Daemon;
use crate::guest::Guest;
use crate::machine::Options;
use crate::scenario::Bench;

const LIMIT: Duration = Duration::from_secs(120);

/// Below `tank/t`, without hooks.
const PLAIN: usize = 10;

const POOLS: &str = "
for pool in tank backup; do truncate -s 512M /tmp/$pool.img; done
zpool create -O mountpoint=none tank /tmp/tank.img
zpool create -O mountpoint=none backup /tmp/backup.img
for fs in t s s/a s/b t/hooked often; do zfs create tank/$fs; done
for i in $(seq 10); do zfs create tank/t/f$i; done
cat >/tmp/hook <<'END'
#!/bin/sh
echo \"$ZREPL_HOOKTYPE $ZREPL_FS $(zfs list -H -o name $ZREPL_FS@$ZREPL_SNAPNAME >/dev/null 2>&1 && echo there || echo missing)\" >>/tmp/hooked
[ ! -e /tmp/fail ] || exit 255
END
chmod +x /tmp/hook
";

const JOBS: &str = "- name: sink
  type: sink
  root_fs: backup
  serve: {type: local, listener_name: sink}
  recv: {placeholder: {encryption: inherit}}
- name: push
  type: push
  connect: {type: local, listener_name: sink, client_identity: host}
  filesystems: {'tank/t<': true}
  replication: {concurrency: {steps: 8}}
  snapshotting:
    type: periodic
    interval: 1h
    prefix: auto_
    hooks:
    - {type: command, path: /tmp/hook, err_is_fatal: true, filesystems: {tank/t/hooked: true}}
  pruning:
    keep_sender: [{type: not_replicated}, {type: last_n, count: 2}]
    keep_receiver: [{type: last_n, count: 3}]
- name: snap
  type: snap
  filesystems: {'tank/s<': true}
  snapshotting: {type: cron, cron: '0 0 1 1 *', prefix: yearly_}
  pruning: {keep: [{type: last_n, count: 1}]}
- name: often
  type: snap
  filesystems: {tank/often: true}
  snapshotting: {type: cron, cron: '*/10 * * * * *', prefix: often_}
  pruning: {keep: [{type: last_n, count: 2}]}
";

pub(crate) fn snapshots_and_pruning(bench: &Bench<'_>) -> Result<()> {
    in_guest_with_zrepl(bench, Options::default(), |guest, program| {
        guest.script(POOLS)?.ok()?;
        let daemon = Daemon::new(guest, program, "daemon", JOBS)?;
        let world = World {
            guest,
            daemon: &daemon,
        };
        daemon.start()?;
        world.first_round(bench)?;
        world.many_rounds(bench)?;
        world.what_others_need(bench)?;
        world.a_hook_that_fails(bench)?;
        world.without_replication(bench)?;
        world.started_again(bench)?;
        world.at_fixed_times(bench)?;
        daemon.kill("TERM")?;
        let held = guest.script(
            "zfs list -H -o name -t snapshot | xargs zfs holds -H | cut -f2 | sort | uniq -c",
        )?;
        let held = held.ok()?.text();
        ensure!(
            held.lines()
                .all(|line| line.ends_with("zrepl_last_received_J_sink")),
            "left behind:\n{held}"
        );
        Ok(())
    })
}

struct World<'a> {
    guest: &'a Guest,
    daemon: &'a Daemon<'a>,
}

/// Snapshots by dataset, oldest first, each with its createtxg.
type Snapshots = BTreeMap<String, Vec<(String, u64)>>;

impl World<'_> {
    fn snapshots(&self, root: &str) -> Result<Snapshots> {
        let listed = self.guest.script(&format!(
            "zfs list -H -p -t snapshot -s createtxg -o name,createtxg -r {root}"
        ))?;
        let mut found = Snapshots::new();
        for line in listed.ok()?.text().lines() {
            let (name, txg) = line.split_once('\t').context("two columns")?;
            let (dataset, snapshot) = name.split_once('@').context("a snapshot")?;
            let of = found.entry(dataset.to_owned()).or_default();
            of.push((snapshot.to_owned(), txg.parse()?));
        }
        Ok(found)
    }

    /// How many there are of each dataset.
    fn counts(&self, root: &str) -> Result<BTreeMap<String, usize>> {
        let snapshots = self.snapshots(root)?;
        Ok(snapshots
            .into_iter()
            .map(|(dataset, of)| (dataset, of.len()))
            .collect())
    }

    /// Waits for an invocation that was asked for.
    fn round(&self) -> Result<()> {
        let run = self.daemon.wait(&self.daemon.snapshot("push")?, LIMIT)?;
        ensure!(run.is_done(), "{}\n{}", run.problems(), self.daemon.log()?);
        self.daemon.wait_for_pruning("push", LIMIT)
    }

    /// A job that has no snapshots takes some at once.
    fn first_round(&self, bench: &Bench<'_>) -> Result<()> {
        self.daemon.wait_for_pruning("push", LIMIT)?;
        let snapshots = self.snapshots("tank/t")?;
        ensure!(snapshots.len() == PLAIN + 2, "{snapshots:?}");
        let plain = snapshots
            .iter()
            .filter(|(dataset, _)| *dataset != "tank/t/hooked");
        let instants: BTreeSet<_> = plain.flat_map(|(_, of)| of).collect();
        ensure!(
            instants.len() == 1,
            "not one name and createtxg: {instants:?}"
        );
        let hooked = self.guest.script("cat /tmp/hooked")?.ok()?.text();
        ensure!(
            hooked.trim_end()
                == "pre_snapshot tank/t/hooked missing\npost_snapshot tank/t/hooked there",
            "{hooked}"
        );
        let there = self.counts("backup/host/tank/t")?;
        ensure!(there.len() == PLAIN + 2, "{there:?}");
        bench.say(
            "first round   one name and createtxg for all without hooks; hooks before and after",
        );
        Ok(())
    }

    fn many_rounds(&self, bench: &Bench<'_>) -> Result<()> {
        for _ in 0..4 {
            self.round()?;
        }
        let (ours, theirs) = (self.counts("tank/t")?, self.counts("backup/host/tank/t")?);
        ensure!(ours.values().all(|count| *count == 2), "sender: {ours:?}");
        ensure!(
            theirs.values().all(|count| *count == 3),
            "receiver: {theirs:?}"
        );
        bench.say("five rounds   2 snapshots are left on the sender and 3 on the receiver");
        Ok(())
    }

    /// Holds and clones of others: an error that names the snapshot, and all else goes.
    fn what_others_need(&self, bench: &Bench<'_>) -> Result<()> {
        let oldest = |dataset: &str| -> Result<String> {
            let snapshots = self.snapshots(dataset)?;
            let (name, _) = snapshots[dataset].first().context("no snapshot")?;
            Ok(format!("{dataset}@{name}"))
        };
        let (held, cloned) = (oldest("tank/t/f1")?, oldest("tank/t/f2")?);
        self.guest
            .script(&format!(
                "zfs hold mine {held}; zfs clone {cloned} tank/clone"
            ))?
            .ok()?;
        self.round()?;
        let pruning = self.daemon.status()?.pruning("push", "PruningSender");
        ensure!(pruning.state == "ExecErr", "{pruning:?}");
        let named: Vec<_> = pruning.errors.keys().map(String::as_str).collect();
        ensure!(named == ["tank/t/f1", "tank/t/f2"], "{pruning:?}");
        ensure!(pruning.errors["tank/t/f1"].contains("mine"), "{pruning:?}");
        ensure!(
            pruning.errors["tank/t/f2"].contains("tank/clone"),
            "{pruning:?}"
        );
        for (dataset, error) in &pruning.errors {
            bench.say(&format!("{dataset}: {error}"));
        }
        let counts = self.counts("tank/t")?;
        let expected = |dataset: &str| {
            if pruning.errors.contains_key(dataset) {
                3
            } else {
                2
            }
        };
        ensure!(
            counts
                .iter()
                .all(|(dataset, count)| *count == expected(dataset)),
            "{counts:?}"
        );
        self.guest
            .script(&format!("zfs release mine {held}; zfs destroy tank/clone"))?
            .ok()?;
        self.daemon.zrepl("signal prune push")?.ok()?;
        state::settles(|| {
            let counts = self.counts("tank/t")?;
            ensure!(counts.values().all(|count| *count == 2), "{counts:?}");
            Ok(())
        })?;
        bench.say(
            "others        hold and clone are named; without them the rest goes by `signal prune`",
        );
        Ok(())
    }

    fn a_hook_that_fails(&self, bench: &Bench<'_>) -> Result<()> {
        let before = self.snapshots("tank/t/hooked")?;
        self.guest.script("touch /tmp/fail")?.ok()?;
        self.round()?;
        ensure!(
            self.snapshots("tank/t/hooked")? == before,
            "a snapshot in spite of its hook"
        );
        let newest = self.snapshots("tank/t")?;
        let newest: BTreeSet<_> = newest
            .iter()
            .filter(|(dataset, _)| *dataset != "tank/t/hooked")
            .filter_map(|(_, of)| of.last())
            .collect();
        ensure!(newest.len() == 1, "the others: {newest:?}");
        let error = self.daemon.status()?.snapshotting_error("push");
        ensure!(
            error.contains("one or more snapshots could not be created"),
            "{error}"
        );
        self.guest.script("rm /tmp/fail")?.ok()?;
        bench.say("failing hook  its filesystem has no snapshot, all others have");
        Ok(())
    }

    fn without_replication(&self, bench: &Bench<'_>) -> Result<()> {
        for _ in 0..3 {
            self.daemon.zrepl("signal snapshot snap")?.ok()?;
            self.guest.script("sleep 3")?.ok()?;
        }
        state::settles(|| {
            let counts = self.counts("tank/s")?;
            ensure!(
                counts.len() == 3 && counts.values().all(|count| *count == 1),
                "{counts:?}"
            );
            Ok(())
        })?;
        bench.say("snap job      one snapshot each is left of three");
        Ok(())
    }

    /// It goes on from the snapshots that there are.
    fn started_again(&self, bench: &Bench<'_>) -> Result<()> {
        let before = self.snapshots("tank/t")?;
        self.daemon.kill("TERM")?;
        self.daemon.start()?;
        self.guest.script("sleep 5")?.ok()?;
        let after = self.snapshots("tank/t")?;
        ensure!(after == before, "snapshots before their time: {after:?}");
        bench.say("started again waits for an hour after the newest snapshot that it finds");
        Ok(())
    }

    /// Snapshots at the full ten seconds, a little late where processors are slow; by their names, `often_DATE_TIME_MILLISECONDS`.
    fn at_fixed_times(&self, bench: &Bench<'_>) -> Result<()> {
        let newest = || -> Result<String> {
            let mut of_it = self.snapshots("tank/often")?;
            let of_it = of_it.remove("tank/often").unwrap_or_default();
            let seconds: Vec<u32> = of_it
                .iter()
                .map(|(name, _)| {
                    let clock = name.split('_').nth(2).context("no time of day")?;
                    Ok(clock.get(4..).context("no seconds")?.parse()?)
                })
                .collect::<Result<_>>()?;
            ensure!(
                !seconds.is_empty() && seconds.iter().all(|second| second % 10 <= 3),
                "not at full ten seconds: {of_it:?}"
            );
            // One more between a snapshot and its pruning.
            ensure!((2..=3).contains(&of_it.len()), "{of_it:?}");
            Ok(of_it.last().context("none")?.0.clone())
        };
        let first = newest()?;
        self.guest.script("sleep 11")?.ok()?;
        ensure!(newest()? > first, "none for 11 s after {first}");
        bench.say("cron          snapshots every ten seconds, of which two are left");
        Ok(())
    }
}
