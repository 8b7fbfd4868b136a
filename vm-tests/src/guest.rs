//! A running guest, seen from the harness: start a command, feed it, read it, know how it ended.
//!
//! `guest.run(["zpool", "create", …])?.ok()?` is what a scenario reads like.

use std::collections::HashMap;
use std::fmt;
use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use serde_json::{Value, json};

use crate::console::Console;
use crate::frame::{self, Frame, Kind};

/// For commands that set no limit of their own.
pub(crate) const COMMAND_LIMIT: Duration = Duration::from_secs(300);

/// How long the guest may take to report the end of a command that was killed.
const KILL_GRACE: Duration = Duration::from_secs(10);

/// How often a waiting caller is asked whether it still wants to.
const POLL: Duration = Duration::from_millis(100);

/// Shared by scenarios: commands may run at the same time.
#[derive(Debug)]
pub(crate) struct Guest {
    port: Mutex<UnixStream>,
    routes: Routes,
    next: AtomicU32,
    console: Console,
    /// What the agent said when it started.
    facts: Value,
}

type Routes = Arc<Mutex<HashMap<u32, Sender<Frame>>>>;

impl Guest {
    /// Waits for the agent's first words.
    pub(crate) fn connect(port: UnixStream, console: Console, deadline: Instant) -> Result<Self> {
        let mut input = port
            .try_clone()
            .context("cannot duplicate the agent's socket")?;
        let remaining = deadline.saturating_duration_since(Instant::now());
        input
            .set_read_timeout(Some(remaining.max(Duration::from_secs(1))))
            .context("cannot set a limit on the agent's socket")?;
        let ready = frame::read(&mut input)
            .context("no word from the agent")?
            .context("the guest ended before its agent started")?;
        if ready.kind != Kind::Ready {
            bail!("the agent opened with {:?}", ready.kind);
        }
        input
            .set_read_timeout(None)
            .context("cannot lift the limit on the agent's socket")?;
        let facts = serde_json::from_slice(&ready.payload)
            .context("the agent's first words are not JSON")?;
        let routes = Routes::default();
        let table = Arc::clone(&routes);
        thread::spawn(move || {
            while let Ok(Some(frame)) = frame::read(&mut input) {
                if let Some(route) = lock(&table).get(&frame.command) {
                    // Nobody waits any more for a command that was given up.
                    route.send(frame).ok();
                }
            }
            // Dropping the senders tells everybody who waits that the guest is gone.
            lock(&table).clear();
        });
        Ok(Self {
            port: Mutex::new(port),
            routes,
            next: AtomicU32::new(1),
            console,
            facts,
        })
    }

    /// A fact from the agent: `zfs`, `kernel` or `uptime`.
    pub(crate) fn fact(&self, name: &str) -> &str {
        self.facts[name].as_str().unwrap_or_default()
    }

    /// Runs a command and collects what it prints. A status other than 0 is no error here; see [`Output::ok`].
    pub(crate) fn run<S: Into<String>>(&self, argv: impl IntoIterator<Item = S>) -> Result<Output> {
        self.command(argv).run()
    }

    /// Runs a shell script (busybox `sh`), stopping at its first failing command.
    pub(crate) fn script(&self, script: &str) -> Result<Output> {
        self.run(["sh", "-euc", script])
    }

    pub(crate) fn command<S: Into<String>>(
        &self,
        argv: impl IntoIterator<Item = S>,
    ) -> Command<'_> {
        Command {
            guest: self,
            argv: argv.into_iter().map(Into::into).collect(),
            env: serde_json::Map::new(),
            stdin: Vec::new(),
            limit: COMMAND_LIMIT,
            silence: None,
        }
    }

    fn send(&self, kind: Kind, command: u32, payload: &[u8]) -> Result<()> {
        frame::write(&mut *lock(&self.port), kind, command, payload)
            .map_err(|error| self.gone(&error.to_string()))
    }

    fn gone(&self, why: &str) -> anyhow::Error {
        anyhow!("the guest is gone ({why})\n{}", self.console.tail(100))
    }
}

/// A command on its way into the guest.
#[derive(Debug)]
pub(crate) struct Command<'a> {
    guest: &'a Guest,
    argv: Vec<String>,
    env: serde_json::Map<String, Value>,
    stdin: Vec<u8>,
    limit: Duration,
    silence: Option<Duration>,
}

impl<'a> Command<'a> {
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.env.insert(name.to_owned(), value.into());
        self
    }

    pub(crate) fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = bytes.into();
        self
    }

    pub(crate) fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// How long the command may print nothing.
    pub(crate) fn silence(mut self, limit: Duration) -> Self {
        self.silence = Some(limit);
        self
    }

    pub(crate) fn run(self) -> Result<Output> {
        self.run_with(|_, _| ())
    }

    /// Runs the command; `observe` sees its output as it comes.
    pub(crate) fn run_with(self, observe: impl FnMut(Stream, &[u8])) -> Result<Output> {
        self.start()?.wait_with(observe)
    }

    /// Starts the command and returns at once.
    pub(crate) fn start(self) -> Result<Running<'a>> {
        let id = self.guest.next.fetch_add(1, Ordering::Relaxed);
        let (route, frames) = mpsc::channel();
        lock(&self.guest.routes).insert(id, route);
        let request = json!({ "argv": self.argv, "env": self.env });
        let running = Running {
            guest: self.guest,
            id,
            frames,
            words: self.argv.join(" "),
            deadline: Instant::now() + self.limit,
            limit: self.limit,
            silence: self.silence,
            over: false,
        };
        self.guest
            .send(Kind::Start, id, request.to_string().as_bytes())?;
        for chunk in self.stdin.chunks(frame::MAX_PAYLOAD) {
            self.guest.send(Kind::Stdin, id, chunk)?;
        }
        self.guest.send(Kind::Stdin, id, &[])?;
        Ok(running)
    }
}

/// Which of a command's two outputs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

/// A command that has been started. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Running<'a> {
    guest: &'a Guest,
    id: u32,
    frames: Receiver<Frame>,
    words: String,
    deadline: Instant,
    limit: Duration,
    silence: Option<Duration>,
    over: bool,
}

impl Running<'_> {
    pub(crate) fn wait(self) -> Result<Output> {
        self.wait_with(|_, _| ())
    }

    pub(crate) fn wait_with(self, observe: impl FnMut(Stream, &[u8])) -> Result<Output> {
        self.drive(observe, || false)?
            .context("a command that nobody left was left")
    }

    /// Waits until the command ends, or until the caller has had enough: then there is no output, and it is killed.
    pub(crate) fn wait_until(self, enough: impl FnMut() -> bool) -> Result<Option<Output>> {
        self.drive(|_, _| (), enough)
    }

    /// Lets the command run on unobserved.
    pub(crate) fn leave(mut self) {
        self.over = true;
    }

    fn drive(
        mut self,
        mut observe: impl FnMut(Stream, &[u8]),
        mut enough: impl FnMut() -> bool,
    ) -> Result<Option<Output>> {
        let mut output = Output {
            words: self.words.clone(),
            stdout: Vec::new(),
            stderr: Vec::new(),
            end: End::Code(0),
        };
        let mut heard = Instant::now();
        // When it was killed, and why.
        let mut killed: Option<(Instant, String)> = None;
        loop {
            if enough() {
                return Ok(None);
            }
            if let Some((when, _)) = &killed {
                if when.elapsed() > KILL_GRACE {
                    break;
                }
            } else if let Some(reason) = self.exceeded(heard) {
                self.guest.send(Kind::Kill, self.id, &[])?;
                killed = Some((Instant::now(), reason));
            }
            let frame = match self.frames.recv_timeout(POLL) {
                Ok(frame) => frame,
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(self.guest.gone(&format!("while it ran this:\n{output}")));
                }
            };
            heard = Instant::now();
            match frame.kind {
                Kind::Stdout => {
                    observe(Stream::Stdout, &frame.payload);
                    output.stdout.extend_from_slice(&frame.payload);
                }
                Kind::Stderr => {
                    observe(Stream::Stderr, &frame.payload);
                    output.stderr.extend_from_slice(&frame.payload);
                }
                Kind::Exit => {
                    self.over = true;
                    output.end = End::parse(&frame.payload)?;
                    break;
                }
                Kind::Ready | Kind::Start | Kind::Stdin | Kind::Kill => {}
            }
        }
        if let Some((_, reason)) = killed {
            bail!("killed {reason}: {output}{}", self.guest.console.tail(100));
        }
        Ok(Some(output))
    }

    /// Which limit the command has run into.
    fn exceeded(&self, heard: Instant) -> Option<String> {
        if Instant::now() > self.deadline {
            return Some(format!("after its limit of {} s", self.limit.as_secs()));
        }
        let silence = self.silence.filter(|silence| heard.elapsed() > *silence)?;
        Some(format!(
            "after it had printed nothing for {} s",
            silence.as_secs()
        ))
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let known = lock(&self.guest.routes).remove(&self.id).is_some();
        // What a finished command left in the background may live on. A guest that is gone runs nothing.
        if known && !self.over {
            self.guest.send(Kind::Kill, self.id, &[]).ok();
        }
    }
}

/// How a command ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum End {
    Code(i32),
    Signal(i32),
}

impl End {
    fn parse(payload: &[u8]) -> Result<Self> {
        let status: Value =
            serde_json::from_slice(payload).context("the agent's report is not JSON")?;
        if let Some(error) = status["error"].as_str() {
            bail!("{error}");
        }
        let number = |name: &str| {
            status[name]
                .as_i64()
                .and_then(|number| i32::try_from(number).ok())
        };
        match (number("code"), number("signal")) {
            (Some(code), _) => Ok(Self::Code(code)),
            (None, Some(signal)) => Ok(Self::Signal(signal)),
            (None, None) => bail!("the agent's report has no status"),
        }
    }
}

/// What a finished command printed and how it ended.
#[derive(Clone, Debug)]
pub(crate) struct Output {
    words: String,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
    pub(crate) end: End,
}

impl Output {
    /// Turns any end but status 0 into an error that shows everything the command printed.
    pub(crate) fn ok(self) -> Result<Self> {
        if self.end == End::Code(0) {
            Ok(self)
        } else {
            bail!("{self}")
        }
    }

    /// Standard output as text without its last newline.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout)
            .trim_end_matches('\n')
            .to_owned()
    }

    /// What a shell would have in `$?`.
    pub(crate) fn status(&self) -> u8 {
        let code = match self.end {
            End::Code(code) => code,
            End::Signal(signal) => 128 + signal,
        };
        u8::try_from(code).unwrap_or(255)
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.end {
            End::Code(code) => writeln!(f, "status {code}: {}", self.words)?,
            End::Signal(signal) => writeln!(f, "signal {signal}: {}", self.words)?,
        }
        for (name, bytes) in [("stdout", &self.stdout), ("stderr", &self.stderr)] {
            for line in String::from_utf8_lossy(bytes).lines() {
                writeln!(f, "{name}| {line}")?;
            }
        }
        Ok(())
    }
}

/// Prints a stream of bytes to the harness' own outputs as they come.
pub(crate) fn print_through(stream: Stream, bytes: &[u8]) {
    // A closed terminal is no reason to fail a test.
    match stream {
        Stream::Stdout => io::stdout()
            .write_all(bytes)
            .and_then(|()| io::stdout().flush())
            .ok(),
        Stream::Stderr => io::stderr().write_all(bytes).ok(),
    };
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
