//! kill -9 of either daemon at ten points of an initial and of an incremental round. After the next start and wake-up both
//! sides are equal and nothing is left over.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};

use super::in_guest_with_zrepl;
use super::state::{self, Tree};
use crate::daemon::{Daemon, Woken};
use crate::guest::Guest;
use crate::machine::Options;
use crate::scenario::Bench;

/// How many kills there are for each daemon and each round.
const POINTS: u32 = 10;

const LIMIT: Duration = Duration::from_secs(120);

/// The first one may find the receiver busy with the end of its predecessor.
const MOST_WAKEUPS: u32 = 2;

/// What each tree replicates.
const PATHS: [&str; 3] = ["a", "b", "b/c"];

/// The daemon that is killed names its trees, which are also the names of their jobs.
const VICTIMS: [&str; 2] = ["sender", "receiver"];

const REFERENCE: &str = "reference";

pub(crate) fn replication_survives_kills(bench: &Bench<'_>) -> Result<()> {
    in_guest_with_zrepl(bench, Options::default(), |guest, program| {
        let trees: Vec<String> = VICTIMS
            .iter()
            .flat_map(|victim| (0..POINTS).map(move |point| format!("{victim}{point}")))
            .chain([REFERENCE.to_owned()])
            .collect();
        prepare(guest, &trees)?;
        let receiver = Daemon::new(guest, program, "receiver", RECEIVER_JOBS)?;
        receiver.start()?;
        let sender = Daemon::new(guest, program, "sender", &sender_jobs(&trees))?;
        sender.start()?;
        let hosts = Hosts {
            guest,
            sender: &sender,
            receiver: &receiver,
        };

        let mut whole = Vec::new();
        for round in Round::ALL {
            round.snapshot(guest, REFERENCE)?;
            let run = sender.replicate(REFERENCE, LIMIT)?;
            hosts.ensure_converged(REFERENCE)?;
            whole.push(run.seconds()?);
        }
        bench.say(&format!(
            "without a kill the rounds take {:.1} s and {:.1} s",
            whole[0], whole[1]
        ));
        hosts.kill_while_marks_linger(bench)?;
        let mut failures = String::new();
        for victim in VICTIMS {
            for point in 0..POINTS {
                let tree = format!("{victim}{point}");
                for (round, whole) in Round::ALL.into_iter().zip(&whole) {
                    round.snapshot(guest, &tree)?;
                    let after = whole * (f64::from(point) + 0.5) / f64::from(POINTS);
                    let what = format!(
                        "{:<11} round, {victim:<8} killed after {after:>4.1} s",
                        round.name()
                    );
                    match hosts.kill_and_converge(&tree, victim, after) {
                        Ok(how) => bench.say(&format!("{what}: {how}")),
                        Err(error) => {
                            bench.say(&format!("{what}: FAILED\n{error:#}"));
                            writeln!(failures, "{what}: {error:#}")?;
                        }
                    }
                }
            }
        }
        ensure!(failures.is_empty(), "{failures}");
        Ok(())
    })
}

#[derive(Clone, Copy)]
enum Round {
    Initial,
    /// Two steps for each filesystem.
    Incremental,
}

impl Round {
    const ALL: [Self; 2] = [Self::Initial, Self::Incremental];

    fn name(self) -> &'static str {
        match self {
            Self::Initial => "initial",
            Self::Incremental => "incremental",
        }
    }

    /// Makes what the round is to replicate.
    fn snapshot(self, guest: &Guest, tree: &str) -> Result<()> {
        let script = match self {
            Self::Initial => format!("zfs snapshot -r tank/{tree}@1"),
            Self::Incremental => ["2", "3"].map(|name| {
                let files = PATHS.map(|path| format!("/tank/{tree}/{path}/{name}"));
                format!("for file in {}; do head -c 131072 /tmp/noise >$file; done; zfs snapshot -r tank/{tree}@{name}\n", files.join(" "))
            }).concat(),
        };
        guest.script(&script)?.ok()?;
        Ok(())
    }
}

fn prepare(guest: &Guest, trees: &[String]) -> Result<()> {
    guest
        .script(&format!(
            "head -c 393216 /dev/urandom >/tmp/noise
             for pool in tank backup; do truncate -s 512M /tmp/$pool.img; done
             zpool create -O mountpoint=/tank tank /tmp/tank.img
             zpool create -O mountpoint=none backup /tmp/backup.img
             for tree in {}; do
                 zfs create tank/$tree
                 for path in {}; do
                     zfs create tank/$tree/$path
                     cp /tmp/noise /tank/$tree/$path/0
                 done
             done",
            trees.join(" "),
            PATHS.join(" ")
        ))?
        .ok()?;
    Ok(())
}

const RECEIVER_JOBS: &str = "- name: sink
  type: sink
  root_fs: backup
  serve: {type: tcp, listen: '127.0.0.1:7000', clients: {127.0.0.1: host}}
  recv: {placeholder: {encryption: inherit}}
";

fn sender_jobs(trees: &[String]) -> String {
    let mut jobs = String::new();
    for tree in trees {
        writeln!(
            jobs,
            "- name: {tree}
  type: push
  connect: {{type: tcp, address: '127.0.0.1:7000'}}
  filesystems: {{'tank/{tree}<': true, 'tank/{tree}': false}}
  send: {{bandwidth_limit: {{max: 768 KiB, bucket_capacity: 32 KiB}}}}
  snapshotting: {{type: manual}}
  pruning:
    keep_sender: [{{type: regex, regex: '.*'}}]
    keep_receiver: [{{type: regex, regex: '.*'}}]"
        )
        // Writing to a string does not fail.
        .ok();
    }
    jobs
}

/// Two daemons that could be on two hosts.
struct Hosts<'a> {
    guest: &'a Guest,
    sender: &'a Daemon<'a>,
    receiver: &'a Daemon<'a>,
}

impl Hosts<'_> {
    /// Both at once, in the second after a round in which old marks gather that are to go. They are left on both sides, and the next
    /// round, which has nothing to send, takes them away.
    fn kill_while_marks_linger(&self, bench: &Bench<'_>) -> Result<()> {
        let Self {
            guest,
            sender,
            receiver,
        } = self;
        // Where the host is so slow that the second has passed, there is another try.
        for number in 4..14 {
            guest
                .script(&format!("zfs snapshot tank/{REFERENCE}/a@{number}"))?
                .ok()?;
            sender.kill_with_after(receiver, REFERENCE)?;
            let ours = Tree::read(guest, &format!("tank/{REFERENCE}"))?;
            let theirs = Tree::read(guest, &format!("backup/host/tank/{REFERENCE}"))?;
            let (ours, theirs) = (ours.dataset("a")?, theirs.dataset("a")?);
            let left = [
                ours.bookmarks.len().saturating_sub(1),
                ours.holds.len(),
                theirs.holds.len().saturating_sub(1),
            ];
            receiver.start()?;
            sender.start()?;
            let run = sender.replicate(REFERENCE, LIMIT)?;
            self.ensure_converged(REFERENCE)?;
            ensure!(run.steps().is_empty(), "sent again: {:?}", run.steps());
            let [cursors, held, last_received] = left;
            bench.say(&format!(
                "both killed right after a round: {cursors} cursors and {held} step holds too many on the sender, {last_received} \
                 holds on the receiver; none after the next round"
            ));
            if left.iter().all(|count| *count > 0) {
                return Ok(());
            }
        }
        bail!("no kill came while marks were still there: the host is too slow for this")
    }

    fn kill_and_converge(&self, tree: &str, victim: &str, after: f64) -> Result<String> {
        let Self {
            sender, receiver, ..
        } = self;
        let killed = if victim == "sender" { sender } else { receiver };
        let woken = sender.wake(tree)?;
        self.guest.script(&format!("sleep {after:.2}"))?.ok()?;
        killed.kill("KILL")?;
        let (arrived, partial) =
            Tree::read(self.guest, &format!("backup/host/tank/{tree}"))?.arrived();
        killed.start()?;
        let started = Instant::now();
        // A sender that was killed knows nothing of the run; a receiver's peer may still be at it.
        let under_way = (victim == "receiver").then_some(&woken);
        let mut wakeups = self.converge(tree, under_way)?;
        if let Err(error) = self.ensure_converged(tree) {
            // The run had ended when its side was killed, with marks that were still to go: the next round finds them.
            ensure!(wakeups == 0, "{error:#}");
            self.sender.replicate(tree, LIMIT)?;
            wakeups += 1;
            self.ensure_converged(tree)?;
        }
        Ok(format!(
            "{arrived} snapshots and {partial} partial ones were there; converged {:.1} s later, {wakeups} wake-ups",
            started.elapsed().as_secs_f64()
        ))
    }

    /// Waits for the run that is under way, if there is one, and wakes the job until a run succeeds. How often it did.
    fn converge(&self, tree: &str, under_way: Option<&Woken>) -> Result<u32> {
        let mut run = under_way
            .map(|woken| self.sender.wait(woken, LIMIT))
            .transpose()?;
        let mut wakeups = 0;
        loop {
            if let Some(run) = &run {
                if run.is_done() {
                    return Ok(wakeups);
                }
                ensure!(
                    wakeups < MOST_WAKEUPS,
                    "not converged: {}\n{}{}",
                    run.problems(),
                    self.sender.log_about(tree)?,
                    self.receiver.log_about(tree)?
                );
            }
            run = Some(self.sender.wait(&self.sender.wake(tree)?, LIMIT)?);
            wakeups += 1;
        }
    }

    fn ensure_converged(&self, tree: &str) -> Result<()> {
        let check = || {
            let ours = Tree::read(self.guest, &format!("tank/{tree}"))?;
            let theirs = Tree::read(self.guest, &format!("backup/host/tank/{tree}"))?;
            state::ensure_converged(&ours, &theirs, &PATHS, tree, "sink")
        };
        state::settles(check).or_else(|error| bail!("{error:#}\n{}", self.sender.log_about(tree)?))
    }
}
