//! `zrepl daemon` in a guest: started with a configuration, woken, watched, killed. Its configuration, log and sockets are in
//! `/run/zrepl-NAME`, so that several daemons can live in one guest.

use std::cell::Cell;
use std::fmt::Write as _;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::guest::{Guest, Output};
use crate::shipping;
use crate::status::{Pruning, Run, Status};
use crate::workspace::{Workspace, ZREPL_AND_EXAMPLES};

/// How long a daemon may take until its control socket answers.
const START_LIMIT: Duration = Duration::from_secs(60);

/// How often a daemon is asked how it is doing. Each question is a process in the guest.
const POLL: Duration = Duration::from_millis(300);

/// What the program is called in `/put`.
pub(crate) const PROGRAM: &str = "zrepl";

/// Builds zrepl for guests, ready for [`crate::machine::Options::files`].
pub(crate) fn program(profile: &str) -> Result<(String, Vec<u8>)> {
    let build = [
        "build",
        "--profile",
        profile,
        "-p",
        "zrepl",
        "--bin",
        "zrepl",
    ];
    built(&build)
}

/// The same for scenarios, together with the other programs that they need.
pub(crate) fn tested_program() -> Result<(String, Vec<u8>)> {
    built(&ZREPL_AND_EXAMPLES)
}

fn built(build: &[&str]) -> Result<(String, Vec<u8>)> {
    let path = Workspace::find()?.executable(build, PROGRAM)?;
    Ok((PROGRAM.to_owned(), shipping::stripped(&path)?))
}

/// A daemon, and what it takes to start it again after it was killed.
#[derive(Debug)]
pub(crate) struct Daemon<'g> {
    guest: &'g Guest,
    /// The command line of the program.
    program: String,
    name: String,
    pid: Cell<Option<u32>>,
}

impl<'g> Daemon<'g> {
    /// Writes the configuration; `jobs` is what follows `jobs:`. Nothing runs yet.
    pub(crate) fn new(guest: &'g Guest, program: &str, name: &str, jobs: &str) -> Result<Self> {
        let daemon = Self {
            guest,
            program: program.to_owned(),
            name: name.to_owned(),
            pid: Cell::new(None),
        };
        daemon.configure(jobs)?;
        Ok(daemon)
    }

    /// Replaces the configuration. It holds from the next start.
    pub(crate) fn configure(&self, jobs: &str) -> Result<()> {
        let place = self.place();
        let text = format!(
            "global:
  control: {{sockpath: {place}/control}}
  serve: {{stdinserver: {{sockdir: {place}/stdinserver}}}}
  logging: [{{type: stdout, level: debug, format: human}}]
jobs:
{jobs}"
        );
        self.guest
            .command([
                "sh",
                "-euc",
                &format!("mkdir -p -m 700 {place} {place}/stdinserver; cat >{place}/zrepl.yml"),
            ])
            .stdin(text)
            .run()?
            .ok()?;
        Ok(())
    }

    /// Starts the program and waits until it answers.
    pub(crate) fn start(&self) -> Result<()> {
        let place = self.place();
        let output = self
            .guest
            .script(&format!(
                "setsid {program} --config {place}/zrepl.yml daemon \
                 >>{place}/log 2>&1 </dev/null & echo $!",
                program = self.program,
            ))?
            .ok()?;
        let pid = output
            .text()
            .trim()
            .parse()
            .with_context(|| format!("no process number: {output}"))?;
        self.pid.set(Some(pid));
        let deadline = Instant::now() + START_LIMIT;
        loop {
            let answer = self.zrepl("status --mode raw")?;
            if answer.status() == 0 {
                return Ok(());
            }
            if !self.runs()? {
                bail!("{} ended when it was started\n{}", self.name, self.log()?);
            }
            if Instant::now() > deadline {
                bail!(
                    "{} does not answer after {} s: {answer}{}",
                    self.name,
                    START_LIMIT.as_secs(),
                    self.log()?
                );
            }
            thread::sleep(POLL);
        }
    }

    /// Runs another command of the program with the daemon's configuration.
    pub(crate) fn zrepl(&self, arguments: &str) -> Result<Output> {
        let Self { program, .. } = self;
        let place = self.place();
        self.guest
            .script(&format!("{program} --config {place}/zrepl.yml {arguments}"))
    }

    pub(crate) fn pid(&self) -> Result<u32> {
        self.pid
            .get()
            .with_context(|| format!("{} was not started", self.name))
    }

    pub(crate) fn runs(&self) -> Result<bool> {
        let alive = self.guest.script(&format!("kill -0 {}", self.pid()?))?;
        Ok(alive.status() == 0)
    }

    /// Sends a signal and waits until the process is gone. If it stays, the error tells where in the kernel its threads are.
    pub(crate) fn kill(&self, signal: &str) -> Result<()> {
        let pid = self.pid()?;
        self.guest
            .script(&format!(
                "kill -{signal} {pid}
                 gone() {{
                     for try in $(seq $1); do
                         kill -0 {pid} 2>/dev/null || return 0
                         sleep 0.1
                     done
                     return 1
                 }}
                 gone 100 && exit 0
                 echo 'still there 10 s after SIG{signal}'
                 for task in /proc/{pid}/task/*; do
                     cat $task/comm $task/wchan $task/stack || true; grep State $task/status || true
                 done
                 echo; for task in /proc/[0-9]*; do echo $(cat $task/comm; cut -d' ' -f3 $task/stat); done | grep ' [RD]$' || true
                 if gone 600; then echo 'gone within another minute'; else echo 'there after another minute'; fi
                 exit 1"
            ))?
            .ok()
            .with_context(|| self.log().unwrap_or_default())?;
        self.pid.set(None);
        Ok(())
    }

    /// Wakes a job, and kills this process and another one at once, without further ado, as soon as its run has succeeded.
    pub(crate) fn kill_with_after(&self, other: &Self, job: &str) -> Result<()> {
        let (own, others) = (self.pid()?, other.pid()?);
        let log = format!("{}/log", self.place());
        let runs = format!("$(grep -c 'replication finished' {log} || true)");
        let before = self.guest.script(&format!("echo {runs}"))?.ok()?.text();
        self.wake(job)?;
        self.guest
            .script(&format!(
                "for try in $(seq 500); do
                     if [ {runs} -gt {before} ]; then
                         kill -KILL {own} {others}
                         exit 0
                     fi
                     sleep 0.05
                 done
                 echo 'the run did not succeed'; exit 1",
                before = before.trim()
            ))?
            .ok()
            .with_context(|| self.log().unwrap_or_default())?;
        self.pid.set(None);
        other.pid.set(None);
        Ok(())
    }

    pub(crate) fn status(&self) -> Result<Status> {
        let answer = self.zrepl("status --mode raw")?;
        if answer.status() != 0 {
            bail!("{} has no status: {answer}{}", self.name, self.log()?);
        }
        Status::parse(&answer.stdout)
    }

    /// The latest run of a job, if it had one.
    pub(crate) fn run(&self, job: &str) -> Result<Option<Run>> {
        Ok(self.status()?.run(job))
    }

    /// Wakes a job. What is returned is the run that it had before, to tell the new one from.
    pub(crate) fn wake(&self, job: &str) -> Result<Woken> {
        let before = self.run(job)?.map(|run| run.started().to_owned());
        let deadline = Instant::now() + START_LIMIT;
        loop {
            let answer = self.zrepl(&format!("signal wakeup {job}"))?;
            if answer.status() == 0 {
                return Ok(Woken {
                    job: job.to_owned(),
                    before,
                });
            }
            // A job is busy for a moment after its report says that the run is over.
            let busy = String::from_utf8_lossy(&answer.stderr).contains("already woken up");
            if !busy || Instant::now() > deadline {
                bail!("cannot wake {job}: {answer}{}", self.log()?);
            }
            thread::sleep(POLL);
        }
    }

    /// Has a job take snapshots, after which it replicates.
    pub(crate) fn snapshot(&self, job: &str) -> Result<Woken> {
        let before = self.run(job)?.map(|run| run.started().to_owned());
        self.zrepl(&format!("signal snapshot {job}"))?.ok()?;
        Ok(Woken {
            job: job.to_owned(),
            before,
        })
    }

    /// Waits until the last pruner of a push or snap job has ended, however it ended.
    pub(crate) fn wait_for_pruning(&self, job: &str, limit: Duration) -> Result<()> {
        let deadline = Instant::now() + limit;
        loop {
            let status = self.status()?;
            let last = ["PruningReceiver", "Pruning"].map(|pruner| status.pruning(job, pruner));
            if last.iter().any(Pruning::is_over) {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!(
                    "{job} has not pruned after {} s: {last:?}\n{}",
                    limit.as_secs(),
                    self.log()?
                );
            }
            thread::sleep(POLL);
        }
    }

    /// Waits for the end of the run, however it ended.
    pub(crate) fn wait(&self, woken: &Woken, limit: Duration) -> Result<Run> {
        self.wait_until(woken, limit, Run::is_over)
    }

    /// Waits until the run is as the caller wants it. An end that is not what is waited for ends the wait, too.
    pub(crate) fn wait_until(
        &self,
        woken: &Woken,
        limit: Duration,
        mut enough: impl FnMut(&Run) -> bool,
    ) -> Result<Run> {
        let deadline = Instant::now() + limit;
        loop {
            let run = self
                .run(&woken.job)?
                .filter(|run| Some(run.started()) != woken.before.as_deref());
            if let Some(run) = &run
                && (enough(run) || run.is_over())
            {
                return Ok(run.clone());
            }
            if Instant::now() > deadline {
                bail!(
                    "{} is not over after {} s: {run:?}\n{}",
                    woken.job,
                    limit.as_secs(),
                    self.log()?
                );
            }
            thread::sleep(POLL);
        }
    }

    /// One round that must succeed.
    pub(crate) fn replicate(&self, job: &str, limit: Duration) -> Result<Run> {
        let run = self.wait(&self.wake(job)?, limit)?;
        ensure!(
            run.is_done(),
            "{job} failed: {}\n{}",
            run.problems(),
            self.log()?
        );
        Ok(run)
    }

    /// The end of the daemon's log, for failure messages.
    pub(crate) fn log(&self) -> Result<String> {
        let place = self.place();
        self.marked(&format!("tail -n 60 {place}/log"))
    }

    /// The last lines of the log that have this in them.
    pub(crate) fn log_about(&self, words: &str) -> Result<String> {
        let place = self.place();
        self.marked(&format!("grep -F {words} {place}/log | tail -n 30"))
    }

    fn marked(&self, script: &str) -> Result<String> {
        let log = self.guest.script(script)?;
        let mut marked = String::new();
        for line in log.text().lines() {
            // Writing to a string does not fail.
            writeln!(marked, "{}| {line}", self.name).ok();
        }
        Ok(marked)
    }

    fn place(&self) -> String {
        format!("/run/zrepl-{}", self.name)
    }
}

/// A run that was asked for.
#[derive(Clone, Debug)]
pub(crate) struct Woken {
    job: String,
    before: Option<String>,
}
