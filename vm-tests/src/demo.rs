//! `cargo vm demo`: two hosts, two OpenZFS releases, one `zrepl daemon` each. A push over TLS whose cable is pulled in the
//! middle, what comes after, and the proof that both sides hold the same.

mod compare;
mod story;

use std::fs::File;
use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::certificates;
use crate::daemon::{self, Daemon};
use crate::guest::Guest;
use crate::host::Host;
use crate::link::{Pair, RECEIVER};
use crate::machine::{Machine, Options};
use crate::packages::Purpose;
use crate::recipe::ZfsVersion;
use crate::shell;
use crate::status::Run;
use story::{mib, print_steps};

/// Each guest holds two small pools' worth of files.
const MEMORY_MIB: u32 = 1280;

/// Twenty times what a round takes on a quiet host.
const ROUND_LIMIT: Duration = Duration::from_secs(180);

/// What is on the sender. The job `files` takes all but `secret`.
const SENDER_POOL: &str = "
chmod 600 /put/*.key
truncate -s 512M /tmp/tank.img
zpool create -O mountpoint=/tank tank /tmp/tank.img
zfs create tank/docs
zfs create tank/docs/letters
zfs create tank/photos
zfs create -s -V 32M tank/vm
zfs create -o encryption=aes-256-gcm -o keyformat=raw -o keylocation=file:///put/secret.key tank/secret
dd if=/dev/urandom of=/tank/docs/report bs=1M count=2 2>/dev/null
echo 'Dear friend,' >/tank/docs/letters/first
dd if=/dev/urandom of=/tank/photos/holiday bs=1M count=10 2>/dev/null
dd if=/dev/urandom of=/tank/secret/diary bs=1M count=1 2>/dev/null
dd if=/dev/urandom of=/dev/zd0 bs=1M count=2 2>/dev/null
zfs snapshot -r tank@monday";

/// A day's work. The base of the next increment is gone from the sender; its bookmark is not.
const CHANGES: &str = "
echo 'PS: all is well.' >>/tank/docs/letters/first
dd if=/dev/urandom of=/tank/photos/portrait bs=1M count=1 2>/dev/null
dd if=/dev/urandom of=/dev/zd0 bs=64k count=4 seek=8 2>/dev/null
echo 'a secret more' >>/tank/secret/diary
zfs snapshot -r tank@tuesday
zfs destroy tank/photos@monday";

const RECEIVER_POOL: &str = "
chmod 600 /put/*.key
truncate -s 512M /tmp/backup.img
zpool create -O mountpoint=none backup /tmp/backup.img";

fn sender_jobs() -> String {
    let job = |name: &str, filesystems: &str, send: &str| {
        format!(
            "- name: {name}
  type: push
  connect:
    type: tls
    address: {RECEIVER}:8888
    ca: /put/receiver.crt
    cert: /put/sender.crt
    key: /put/sender.key
    server_cn: receiver
  filesystems: {filesystems}
  send: {send}
  snapshotting: {{type: manual}}
  pruning:
    keep_sender: [{{type: regex, regex: '.*'}}]
    keep_receiver: [{{type: regex, regex: '.*'}}]
"
        )
    };
    // Slow, so that the cut comes in the middle on any host.
    let plain = job(
        "files",
        "{'tank<': true, tank: false, 'tank/secret<': false}",
        "{bandwidth_limit: {max: 2 MiB}}",
    );
    plain + &job("secrets", "{'tank/secret<': true}", "{encrypted: true}")
}

const RECEIVER_JOBS: &str = "- name: backups
  type: sink
  root_fs: backup
  serve:
    type: tls
    listen: 0.0.0.0:8888
    ca: /put/sender.crt
    cert: /put/receiver.crt
    key: /put/receiver.key
    client_cns: [sender]
  recv:
    placeholder: {encryption: inherit}
";

/// Boots, replicates, compares; `keep` leaves the guests to the user afterwards.
pub(crate) fn run(sender: ZfsVersion, receiver: ZfsVersion, keep: bool) -> Result<ExitCode> {
    if keep && !io::stdin().is_terminal() {
        bail!("--keep needs a terminal: the guests are left to whoever types there");
    }
    let started = Instant::now();
    let host = Host::prepare(Purpose::GuestsAndBuild, &[sender, receiver])?;
    println!("building zrepl …");
    let program = daemon::program("guest")?;
    let mut pair = boot(&host, sender, receiver, &program)?;
    let outcome = tell(&pair);
    match &outcome {
        Ok(()) => println!(
            "\neverything above took {:.0} s",
            started.elapsed().as_secs_f64()
        ),
        Err(error) => {
            for (name, machine) in [("sender", &pair.sender), ("receiver", &pair.receiver)] {
                let log = machine.console().keep(&format!("demo-{name}"));
                eprintln!("console log of the {name}: {}", log.display());
            }
            eprintln!("error: {error:#}");
        }
    }
    if keep {
        hand_over(&mut pair)?;
    }
    Ok(match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    })
}

fn boot(
    host: &Host,
    sender: ZfsVersion,
    receiver: ZfsVersion,
    program: &(String, Vec<u8>),
) -> Result<Pair> {
    let mut key = vec![0; 32];
    File::open("/dev/urandom")
        .and_then(|mut random| random.read_exact(&mut key))
        .context("cannot make a key")?;
    let [sender_certificate, sender_key] = certificates::of_host("sender")?;
    let [receiver_certificate, receiver_key] = certificates::of_host("receiver")?;
    let options = |own_key: (String, Vec<u8>)| Options {
        memory_mib: MEMORY_MIB,
        files: vec![
            program.clone(),
            ("secret.key".to_owned(), key.clone()),
            sender_certificate.clone(),
            receiver_certificate.clone(),
            own_key,
        ],
        ..Options::default()
    };
    let started = Instant::now();
    let pair = Pair::boot(
        host,
        (sender, options(sender_key)),
        (receiver, options(receiver_key)),
    )?;
    println!(
        "two machines, up after {:.0} s: the sender has OpenZFS {}, the receiver {}; a cable joins them",
        started.elapsed().as_secs_f64(),
        release(pair.sender()),
        release(pair.receiver()),
    );
    Ok(pair)
}

/// Without Debian's revision.
fn release(guest: &Guest) -> &str {
    let version = guest.fact("zfs");
    version.split('-').next().unwrap_or(version)
}

fn tell(pair: &Pair) -> Result<()> {
    thread::scope(|scope| {
        let sender = scope.spawn(|| pair.sender().script(SENDER_POOL)?.ok());
        pair.receiver().script(RECEIVER_POOL)?.ok()?;
        sender
            .join()
            .unwrap_or_else(|_| bail!("making the sender's pool panicked"))
    })?;
    println!(
        "the sender's pool tank: docs, docs/letters, photos (10 MiB), vm (a volume), secret (encrypted)"
    );
    let line = |machine: &Machine| machine.host_program(daemon::PROGRAM).join(" ");
    let receiver = Daemon::new(
        pair.receiver(),
        &line(&pair.receiver),
        "receiver",
        RECEIVER_JOBS,
    )?;
    receiver.start()?;
    let sender = Daemon::new(pair.sender(), &line(&pair.sender), "sender", &sender_jobs())?;
    sender.start()?;
    println!(
        "zrepl daemon runs on both: jobs `files` and `secrets` push to {RECEIVER} over TLS, job `backups` receives \
         below `backup`"
    );

    println!("\nMonday: the first replication, and somebody pulls the cable");
    interrupted_round(pair, &sender)?;
    println!("  job secrets, raw: the receiver never has the key");
    print_steps(&sender.replicate("secrets", ROUND_LIMIT)?);

    println!("\nTuesday: an increment");
    pair.sender().script(CHANGES)?.ok()?;
    println!(
        "  tank/photos@monday was destroyed on the sender; the replication cursor, a bookmark, stands in for it"
    );
    for job in ["files", "secrets"] {
        print_steps(&sender.replicate(job, ROUND_LIMIT)?);
    }

    println!("\nOnce more, with nothing to do");
    let run = sender.replicate("files", ROUND_LIMIT)?;
    ensure!(
        run.bytes() == 0,
        "a round with nothing to do sent {} bytes",
        run.bytes()
    );
    println!(
        "  {} filesystems compared on both sides in {:.2} s, nothing sent",
        run.filesystems().len(),
        run.seconds()?
    );

    println!("\nThe same on both sides?");
    compare::both_sides(pair.sender(), pair.receiver())
}

/// The first round of the job `files`: cut, noticed, resumed by itself.
fn interrupted_round(pair: &Pair, sender: &Daemon<'_>) -> Result<()> {
    const CUT_IN: &str = "tank/photos";
    let under_way = |run: &Run| {
        let filesystem = run.filesystem(CUT_IN)?;
        let step = filesystem.steps.into_iter().next()?;
        (step.replicated > 3 * 1024 * 1024 && step.replicated < step.expected).then_some(step)
    };
    let woken = sender.wake("files")?;
    let run = sender.wait_until(&woken, ROUND_LIMIT, |run| under_way(run).is_some())?;
    let step = under_way(&run).with_context(|| {
        format!(
            "there was nothing to cut: {:?}\n{}",
            run.steps(),
            run.problems()
        )
    })?;
    pair.cut()?;
    let cut = Instant::now();
    println!(
        "  cable pulled while {CUT_IN} was on its way: {} of {} sent",
        mib(step.replicated),
        mib(step.expected)
    );
    let run = sender.wait_until(&woken, ROUND_LIMIT, Run::is_interrupted)?;
    ensure!(!run.is_over(), "not interrupted: {}", run.problems());
    println!(
        "  {:.0} s later the sender's daemon has noticed and waits for the receiver:",
        cut.elapsed().as_secs_f64()
    );
    for line in run.problems().lines() {
        println!("    {line}");
    }
    pair.restore()?;
    println!("  cable put back; the same round goes on:");
    let run = sender.wait(&woken, ROUND_LIMIT)?;
    ensure!(run.is_done(), "{}\n{}", run.problems(), sender.log()?);
    print_steps(&run);
    let resumed = run
        .steps()
        .into_iter()
        .any(|(name, step)| name == CUT_IN && step.resumed);
    ensure!(resumed, "{CUT_IN} was not resumed\n{}", sender.log()?);
    Ok(())
}

/// A shell on either guest, as often as the user likes.
fn hand_over(pair: &mut Pair) -> Result<()> {
    println!(
        "\nthe guests are yours. zrepl is /put/zrepl; its configuration, log and socket are in /run/zrepl-sender and \
         /run/zrepl-receiver"
    );
    loop {
        print!("shell on `sender` or `receiver`, or `quit`? ");
        io::stdout().flush().ok();
        let mut line = String::new();
        if io::stdin()
            .lock()
            .read_line(&mut line)
            .context("cannot read your answer")?
            == 0
        {
            return Ok(());
        }
        match line.trim() {
            "s" | "sender" => shell::interact(&mut pair.sender)?,
            "r" | "receiver" => shell::interact(&mut pair.receiver)?,
            "q" | "quit" | "exit" => return Ok(()),
            _ => {}
        }
    }
}
