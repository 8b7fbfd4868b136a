//! What goes wrong in the world: each time the filesystem concerned has an error that names it and the cause, its neighbour in the
//! same job is replicated, and once the cause is gone the next round brings both sides together without further help.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::in_guest_with_zrepl;
use super::state::{self, Tree};
use crate::daemon::{Daemon, Woken};
use crate::guest::Guest;
use crate::machine::Options;
use crate::scenario::Bench;
use crate::status::Run;

const LIMIT: Duration = Duration::from_secs(180);

/// The filesystems of each job.
const PATHS: [&str; 2] = ["bad", "good"];

/// Something that is wrong with a filesystem `bad` when its second snapshot is to be sent.
struct Case {
    /// The job's name and its tree's.
    name: &'static str,
    /// Where the sink files its trees.
    root: &'static str,
    /// Breaks it, with the dataset on the sender as `$bad` and on the receiver as `$copy`.
    breaks: &'static str,
    /// What the error must have in it, besides the dataset.
    says: &'static str,
    repairs: &'static str,
}

const CASES: [Case; 7] = [
    Case {
        name: "diverged",
        root: "backup",
        breaks: "zfs snapshot $copy@own",
        says: "the receiver's latest snapshot is not present on sender",
        repairs: "zfs destroy $copy@own",
    },
    Case {
        name: "modified",
        root: "backup",
        breaks: "mkdir -p /tmp/look; mount -t zfs -o zfsutil $copy /tmp/look; echo mine >/tmp/look/mine; umount /tmp/look",
        says: "modified",
        repairs: "zfs rollback $copy@1",
    },
    Case {
        name: "quota",
        root: "backup",
        breaks: "zfs set quota=1M $copy",
        says: "quota",
        repairs: "zfs set quota=none $copy",
    },
    Case {
        name: "full",
        root: "tiny",
        breaks: "free=$(zfs get -Hp -o value available tiny)
                 zfs create -o mountpoint=none -o refreservation=$((free - 2500000)) tiny/filler",
        says: "space",
        repairs: "zfs destroy tiny/filler",
    },
    Case {
        name: "busy",
        root: "backup",
        breaks: "(zfs send -i @1 $bad@2 | (head -c 70000; exec tail -f /dev/null) | zfs receive $copy) >/dev/null 2>&1 </dev/null &
                 until pidof tail >/dev/null; do sleep 0.2; done; sleep 1",
        says: "busy",
        repairs: "killall tail; sleep 1",
    },
    Case {
        name: "key",
        root: "backup",
        breaks: "zfs unmount $bad; zfs unload-key $bad",
        says: "key",
        repairs: "zfs load-key $bad; zfs mount $bad",
    },
    Case {
        name: "noroot",
        root: "backup/noroot",
        breaks: "zfs rename backup/noroot backup/elsewhere",
        says: "root_fs",
        repairs: "zfs rename backup/elsewhere backup/noroot",
    },
];

/// Jobs of their own, whose trees are slow to send.
const SLOW: [&str; 3] = ["gone", "renamed", "exported"];

pub(crate) fn bad_input(bench: &Bench<'_>) -> Result<()> {
    let files = vec![("secret.key".to_owned(), vec![7; 32])];
    let options = Options {
        files,
        ..Options::default()
    };
    in_guest_with_zrepl(bench, options, |guest, program| {
        prepare(guest)?;
        let daemon = Daemon::new(guest, program, "host", &jobs())?;
        daemon.start()?;
        let world = World {
            bench,
            guest,
            daemon: &daemon,
        };
        world.steady_causes()?;
        world.gone_between_plan_and_send()?;
        world.exported_meanwhile()?;
        world.second_daemon(program)?;
        world.clock_goes_backwards()
    })
}

fn prepare(guest: &Guest) -> Result<()> {
    let cases = CASES.map(|case| case.name);
    guest
        .script(&format!(
            "head -c 65536 /dev/urandom >/tmp/noise
             for pool in tank backup side; do truncate -s 512M /tmp/$pool.img; done
             truncate -s 96M /tmp/tiny.img
             zpool create -O mountpoint=/tank tank /tmp/tank.img
             for pool in backup tiny side; do zpool create -O mountpoint=none $pool /tmp/$pool.img; done
             zfs create backup/noroot
             for name in {} {}; do
                 zfs create tank/$name
                 options=
                 [ $name != key ] || options='-o encryption=aes-256-gcm -o keyformat=raw -o keylocation=file:///put/secret.key'
                 zfs create $options tank/$name/bad
                 zfs create tank/$name/good
                 cp /tmp/noise /tank/$name/bad/0
                 cp /tmp/noise /tank/$name/good/0
             done",
            cases.join(" "),
            SLOW.join(" ")
        ))?
        .ok()?;
    Ok(())
}

fn jobs() -> String {
    let mut jobs = String::new();
    let mut roots: Vec<&str> = CASES.iter().map(|case| case.root).collect();
    roots.push("side");
    roots.sort_unstable();
    roots.dedup();
    for root in roots {
        writeln!(
            jobs,
            "- name: {sink}
  type: sink
  root_fs: {root}
  serve: {{type: local, listener_name: '{sink}'}}
  recv: {{placeholder: {{encryption: inherit}}}}",
            sink = sink(root)
        )
        // Writing to a string does not fail.
        .ok();
    }
    let steady = CASES.iter().map(|case| (case.name, case.root, "{}"));
    let slow = SLOW.map(|name| {
        let root = if name == "exported" { "side" } else { "backup" };
        (
            name,
            root,
            "{bandwidth_limit: {max: 256 KiB, bucket_capacity: 32 KiB}}",
        )
    });
    for (name, root, send) in steady.chain(slow) {
        writeln!(
            jobs,
            "- name: {name}
  type: push
  connect: {{type: local, listener_name: '{sink}', client_identity: host}}
  filesystems: {{'tank/{name}<': true, 'tank/{name}': false}}
  send: {send}
  snapshotting: {{type: manual}}
  pruning:
    keep_sender: [{{type: regex, regex: '.*'}}]
    keep_receiver: [{{type: regex, regex: '.*'}}]",
            sink = sink(root)
        )
        .ok();
    }
    jobs
}

fn sink(root: &str) -> String {
    format!("sink-{}", root.replace('/', "-"))
}

struct World<'a> {
    bench: &'a Bench<'a>,
    guest: &'a Guest,
    daemon: &'a Daemon<'a>,
}

impl World<'_> {
    /// All at the same time: what is wrong stays wrong until it is repaired.
    fn steady_causes(&self) -> Result<()> {
        let names = CASES.map(|case| case.name).join(" ");
        self.guest
            .script(&format!(
                "for name in {names}; do zfs snapshot -r tank/$name@1; done"
            ))?
            .ok()?;
        self.rounds(|case, run| {
            ensure!(run.is_done(), "the first round failed: {}", run.problems());
            self.ensure_converged(case.name, case.root)
        })?;
        // The neighbour's snapshot is older, so it goes first and cannot suffer from what the other does.
        self.guest
            .script(&format!(
                "for name in {names}; do
                     cp /tmp/noise /tank/$name/good/1; zfs snapshot tank/$name/good@2
                     head -c 6000000 /dev/urandom >/tank/$name/bad/1; zfs snapshot tank/$name/bad@2
                 done"
            ))?
            .ok()?;
        for case in &CASES {
            self.on(case, case.breaks)?;
        }
        self.rounds(|case, run| self.ensure_only_bad_failed(case, run))?;
        for case in &CASES {
            self.on(case, case.repairs)?;
        }
        self.rounds(|case, run| {
            ensure!(
                run.is_done(),
                "not after the repair either: {}",
                run.problems()
            );
            self.ensure_converged(case.name, case.root)
        })?;
        for case in &CASES {
            self.bench.say(&format!("{:<10} ok", case.name));
        }
        Ok(())
    }

    /// A round of all cases; all failures together.
    fn rounds(&self, check: impl Fn(&Case, &Run) -> Result<()>) -> Result<()> {
        let woken: Vec<Woken> = CASES
            .iter()
            .map(|case| self.daemon.wake(case.name))
            .collect::<Result<_>>()?;
        let mut failures = String::new();
        for (case, woken) in CASES.iter().zip(&woken) {
            let run = self.daemon.wait(woken, LIMIT)?;
            if let Err(error) = check(case, &run) {
                writeln!(failures, "{}: {error:#}", case.name)?;
            }
        }
        ensure!(failures.is_empty(), "{failures}{}", self.daemon.log()?);
        Ok(())
    }

    fn on(&self, case: &Case, script: &str) -> Result<()> {
        let Case { name, root, .. } = case;
        self.guest
            .script(&format!(
                "bad=tank/{name}/bad copy={root}/host/tank/{name}/bad\n{script}"
            ))?
            .ok()
            .with_context(|| (*name).to_owned())?;
        Ok(())
    }

    fn ensure_only_bad_failed(&self, case: &Case, run: &Run) -> Result<()> {
        ensure!(!run.is_done(), "nothing was wrong");
        let problems = run.problems();
        self.bench.say(&format!(
            "{:<10} {}",
            case.name,
            problems.trim_end().replace('\n', "\n           ")
        ));
        let whole_root = case.name == "noroot";
        ensure!(
            problems.contains(case.says)
                && (whole_root || problems.contains(&format!("tank/{}/bad", case.name))),
            "the error does not say {:?}: {problems}",
            case.says
        );
        if whole_root {
            return Ok(());
        }
        let good = format!("tank/{}/good", case.name);
        ensure!(!problems.contains(&good), "{good} suffers: {problems}");
        let copy = Tree::read(self.guest, &format!("{}/host/{good}", case.root))?;
        ensure!(
            copy.dataset("")?.snapshots.len() == 2,
            "{good} was not replicated: {copy:?}"
        );
        Ok(())
    }

    /// The base and the target of a step vanish after they were planned, because a neighbour is still on its way.
    fn gone_between_plan_and_send(&self) -> Result<()> {
        let cases = [
            (
                "gone",
                "zfs destroy tank/gone/bad@1",
                "zfs snapshot tank/gone/bad@2",
            ),
            (
                "renamed",
                "zfs rename tank/renamed/bad tank/moved",
                "zfs rename tank/moved tank/renamed/bad",
            ),
        ];
        for (name, breaks, repairs) in cases {
            self.guest
                .script(&format!(
                    "head -c 1000000 /dev/urandom >/tank/{name}/good/1
                     zfs snapshot tank/{name}/good@1; sleep 1; zfs snapshot tank/{name}/bad@1"
                ))?
                .ok()?;
            let woken = self.daemon.wake(name)?;
            let good = format!("tank/{name}/good");
            let run = self
                .daemon
                .wait_until(&woken, LIMIT, |run| sending(run, &good))?;
            ensure!(sending(&run, &good), "too late: {}", run.problems());
            self.guest.script(breaks)?.ok()?;
            let run = self.daemon.wait(&woken, LIMIT)?;
            let problems = run.problems();
            self.bench
                .say(&format!("{name:<10} {}", problems.trim_end()));
            ensure!(
                !run.is_done()
                    && problems.contains(&format!("tank/{name}/bad"))
                    && !problems.contains(&good),
                "{name}: {problems}\n{}",
                self.daemon.log()?
            );
            self.guest.script(repairs)?.ok()?;
            self.daemon.replicate(name, LIMIT)?;
            self.ensure_converged(name, "backup")?;
            self.bench.say(&format!("{name:<10} ok"));
        }
        Ok(())
    }

    /// The kernel does not let go of a pool into which it receives. One that is not there fails its job only.
    fn exported_meanwhile(&self) -> Result<()> {
        let name = "exported";
        self.guest
            .script(&format!(
                "head -c 1000000 /dev/urandom >/tank/{name}/good/1; zfs snapshot -r tank/{name}@1"
            ))?
            .ok()?;
        let woken = self.daemon.wake(name)?;
        let good = format!("tank/{name}/good");
        let run = self
            .daemon
            .wait_until(&woken, LIMIT, |run| sending(run, &good))?;
        ensure!(sending(&run, &good), "too late: {}", run.problems());
        let export = self.guest.run(["zpool", "export", "-f", "side"])?;
        let run = self.daemon.wait(&woken, LIMIT)?;
        self.bench.say(&format!(
            "{name:<10} export in the middle: status {}, then {}",
            export.status(),
            if run.is_done() {
                "replicated".to_owned()
            } else {
                run.problems()
            }
        ));
        ensure!(run.is_done() || export.status() == 0, "{}", run.problems());
        if export.status() != 0 {
            self.guest.run(["zpool", "export", "side"])?.ok()?;
        }
        self.guest
            .script(&format!("zfs snapshot -r tank/{name}@2"))?
            .ok()?;
        let run = self.daemon.wait(&self.daemon.wake(name)?, LIMIT)?;
        let problems = run.problems();
        self.bench
            .say(&format!("{name:<10} {}", problems.trim_end()));
        ensure!(!run.is_done() && problems.contains("side"), "{problems}");
        self.daemon.replicate("diverged", LIMIT)?;
        self.guest
            .run(["zpool", "import", "-d", "/tmp", "side"])?
            .ok()?;
        self.daemon.replicate(name, LIMIT)?;
        self.ensure_converged(name, "side")?;
        self.bench.say(&format!("{name:<10} ok"));
        Ok(())
    }

    /// The second one says what is the matter and ends; the first one goes on.
    fn second_daemon(&self, program: &str) -> Result<()> {
        let second = self.guest.script(&format!(
            "timeout 30 {program} --config /run/zrepl-host/zrepl.yml daemon"
        ))?;
        ensure!(second.status() == 1, "a second daemon: {second}");
        let words = format!(
            "{}{}",
            second.text(),
            String::from_utf8_lossy(&second.stderr)
        );
        ensure!(words.contains("/run/zrepl-host/control"), "{second}");
        self.bench.say(&format!(
            "two daemons: {}",
            words.lines().next_back().unwrap_or_default()
        ));
        self.daemon.replicate("diverged", LIMIT)?;
        Ok(())
    }

    /// Snapshots are in the order in which they were taken, whatever their dates say.
    fn clock_goes_backwards(&self) -> Result<()> {
        let name = "diverged";
        self.guest
            .script(&format!(
                "date -s @$(($(date +%s) - 90000)) >/dev/null
                 echo yesterday >/tank/{name}/bad/yesterday; zfs snapshot -r tank/{name}@yesterday"
            ))?
            .ok()?;
        let run = self.daemon.replicate(name, LIMIT)?;
        ensure!(run.steps().len() == 2, "{:?}", run.steps());
        self.ensure_converged(name, "backup")?;
        let run = self.daemon.replicate(name, LIMIT)?;
        ensure!(run.steps().is_empty(), "{:?}", run.steps());
        self.guest
            .script("date -s @$(($(date +%s) + 90000)) >/dev/null")?
            .ok()?;
        self.bench.say("clock      ok");
        Ok(())
    }

    fn ensure_converged(&self, name: &str, root: &str) -> Result<()> {
        state::settles(|| {
            let ours = Tree::read(self.guest, &format!("tank/{name}"))?;
            let theirs = Tree::read(self.guest, &format!("{root}/host/tank/{name}"))?;
            state::ensure_converged(&ours, &theirs, &PATHS, name, &sink(root))
        })
        .with_context(|| name.to_owned())
    }
}

/// Whether a stream of this filesystem is under way.
fn sending(run: &Run, name: &str) -> bool {
    let filesystem = run.filesystem(name);
    filesystem
        .and_then(|filesystem| filesystem.steps.into_iter().next())
        .is_some_and(|step| step.replicated > 100_000 && step.replicated < 800_000)
}
