//! A process that is killed leaves nothing in the kernel: whenever SIGKILL comes during a send and a receive, both end and the process
//! is gone. OpenZFS on Linux forgets a signal that comes while it starts a kernel thread; therefore the kernel's thread for starting
//! threads gets next to no time here, so that most of the signals come just then.
//!
//! Needs root, renice(1) and a machine of its own: it makes and destroys the pool `killed` and keeps all processors busy.

use std::error::Error;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitCode, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, getpid, kill_process};
use zfs_safe::Zfs;
use zfs_safe::begin_record::BeginRecord;
use zfs_safe::name::SnapshotName;
use zfs_safe::native::Native;
use zfs_safe::zfs::{ReceiveArgs, SendArgs, SendFlags};

type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

const POOL: &str = "killed";

/// Kills at multiples of this after the receive has begun; the last ones come when everything sleeps.
const STEP: Duration = Duration::from_millis(100);

const KILLS: u32 = 12;

/// What a killed process may take until it is gone. Transaction groups have to be written by then.
const PATIENCE: Duration = Duration::from_secs(30);

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let done = match &arguments[..] {
        [] => run(),
        [source, target, milliseconds] => begin_and_die(source, target, milliseconds),
        _ => Err("arguments: none, or SNAPSHOT TARGET MILLISECONDS".into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("killed: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Starts a send and a receive that never get any further, and is killed meanwhile.
fn begin_and_die(source: &str, target: &str, milliseconds: &str) -> Result<()> {
    let after = Duration::from_millis(milliseconds.parse()?);
    let zfs = Native::open()?;
    let mut sending = zfs.send(&SendArgs {
        snapshot: SnapshotName::new(source)?,
        base: None,
        flags: SendFlags::default(),
        resume: None,
    })?;
    let begin = BeginRecord::read(&mut sending)?;
    let receiving = zfs.receive(&ReceiveArgs::new(SnapshotName::new(target)?, begin))?;
    thread::sleep(after);
    kill_process(getpid(), Signal::KILL)?;
    // Not before the signal has come.
    thread::sleep(PATIENCE);
    drop((sending, receiving));
    Err("survived SIGKILL".into())
}

fn run() -> Result<()> {
    shell(&format!(
        "truncate -s 512M /tmp/{POOL}.img
         zpool create -O mountpoint=/{POOL} {POOL} /tmp/{POOL}.img
         zfs create {POOL}/source
         head -c 8388608 /dev/urandom >/{POOL}/source/data
         zfs snapshot {POOL}/source@1"
    ))?;
    let busy = Busy::begin()?;
    for number in 1..=KILLS {
        let target = format!("{POOL}/target{number}");
        let after = STEP * number;
        let mut child = Command::new(std::env::current_exe()?)
            .args([format!("{POOL}/source@1"), format!("{target}@1")])
            .arg(after.as_millis().to_string())
            .spawn()?;
        let began = Instant::now();
        let status = ended(&mut child, after + PATIENCE)?;
        if status.signal() != Some(Signal::KILL.as_raw()) {
            return Err(format!("the process ended with {status}").into());
        }
        println!(
            "killed after {:.1} s: gone {:.1} s after its start",
            after.as_secs_f32(),
            began.elapsed().as_secs_f32()
        );
    }
    drop(busy);
    // Nothing is busy.
    shell(&format!("zpool destroy {POOL}; rm /tmp/{POOL}.img"))
}

fn ended(child: &mut Child, limit: Duration) -> Result<ExitStatus> {
    let until = Instant::now() + limit;
    while Instant::now() < until {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        thread::sleep(Duration::from_millis(20));
    }
    let mut threads = String::new();
    for task in fs::read_dir(format!("/proc/{}/task", child.id()))? {
        threads.push('\n');
        // One that ends just now has none.
        threads += &fs::read_to_string(task?.path().join("stack")).unwrap_or_default();
    }
    Err(format!("still there {limit:?} after it was to be killed; its threads:{threads}").into())
}

/// All processors are busy, and what starts kernel threads comes last.
struct Busy(Vec<Child>);

/// kthreadd(8): all kernel threads are started by process 2.
const STARTS_THREADS: &str = "2";

impl Busy {
    fn begin() -> Result<Self> {
        let mut children = Vec::new();
        for _ in 0..thread::available_parallelism()?.get() {
            children.push(
                Command::new("sh")
                    .args(["-c", "while :; do :; done"])
                    .spawn()?,
            );
        }
        let busy = Self(children);
        shell(&format!("renice -n 19 -p {STARTS_THREADS}"))?;
        Ok(busy)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // It has not ended by itself.
            let killed =
                Pid::from_raw(child.id().cast_signed()).map(|pid| kill_process(pid, Signal::KILL));
            let waited = child.wait();
            debug_assert!(matches!((killed, waited), (Some(Ok(())), Ok(_))));
        }
        if let Err(error) = shell(&format!("renice -n 0 -p {STARTS_THREADS}")) {
            eprintln!("killed: {error}");
        }
    }
}

fn shell(script: &str) -> Result<()> {
    let status = Command::new("sh").args(["-euc", script]).status()?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("{status}: {script}").into())
    }
}
