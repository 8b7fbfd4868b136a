//! The harness inside the guest: the same binary, started by the guest's init. It reads commands from a virtio-serial port,
//! runs them as root and streams back what they print. When the harness goes away it ends, and init ends the machine.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};

use crate::frame::{self, Frame, Kind};

/// The name of the port on QEMU's command line.
pub(crate) const PORT: &str = "zrepl.agent";

/// How long output is awaited after a command ended: daemons that it left behind may keep its pipes open.
const OUTPUT_GRACE: Duration = Duration::from_secs(2);

pub(crate) fn serve() -> Result<()> {
    let path = port_device().context("the guest has no virtio-serial port for its agent")?;
    let port = OpenOptions::new()
        .read(true)
        .write(true)
        .open(&path)
        .with_context(|| format!("cannot open {}", path.display()))?;
    let mut input = port.try_clone().context("cannot duplicate the port")?;
    let out = Port(Arc::new(Mutex::new(port)));
    let facts = json!({
        "kernel": read_trimmed("/proc/sys/kernel/osrelease"),
        "zfs": read_trimmed("/sys/module/zfs/version"),
        "uptime": read_trimmed("/proc/uptime"),
    });
    out.send(Kind::Ready, 0, facts.to_string().as_bytes())?;

    let running = Table::default();
    while let Some(Frame {
        kind,
        command,
        payload,
    }) = frame::read(&mut input).context("cannot read from the port")?
    {
        match kind {
            Kind::Start => {
                if let Err(error) = start(&payload, command, &out, &running) {
                    let status = json!({ "error": format!("{error:#}") });
                    out.send(Kind::Exit, command, status.to_string().as_bytes())?;
                }
            }
            Kind::Stdin => {
                // A command that is over has no use for its input.
                if let Some(running) = lock(&running).get(&command) {
                    running.stdin.send(payload).ok();
                }
            }
            Kind::Kill => {
                if let Some(running) = lock(&running).get(&command) {
                    kill_process_group(running.pid, Signal::KILL).ok();
                }
            }
            Kind::Ready | Kind::Stdout | Kind::Stderr | Kind::Exit => {
                bail!("the harness sent a frame of the agent")
            }
        }
    }
    Ok(())
}

type Table = Arc<Mutex<HashMap<u32, Running>>>;

struct Running {
    pid: Pid,
    stdin: Sender<Vec<u8>>,
}

#[derive(Clone)]
struct Port(Arc<Mutex<File>>);

impl Port {
    fn send(&self, kind: Kind, command: u32, payload: &[u8]) -> io::Result<()> {
        frame::write(&mut *lock(&self.0), kind, command, payload)
    }
}

fn start(request: &[u8], command: u32, out: &Port, running: &Table) -> Result<()> {
    let request: Value = serde_json::from_slice(request).context("the request is not JSON")?;
    let words: Vec<&str> = request["argv"]
        .as_array()
        .map(|words| words.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default();
    let [program, arguments @ ..] = words.as_slice() else {
        bail!("the request has no command");
    };
    let mut child = Command::new(program);
    child
        .args(arguments)
        .current_dir(request["directory"].as_str().unwrap_or("/root"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    for (name, value) in request["env"].as_object().into_iter().flatten() {
        child.env(name, value.as_str().unwrap_or_default());
    }
    let mut child = child
        .spawn()
        .with_context(|| format!("cannot start {program}"))?;
    let pid = Pid::from_child(&child);
    let (stdin, input) = mpsc::channel();
    if let Some(pipe) = child.stdin.take() {
        thread::spawn(move || feed(pipe, &input));
    }
    lock(running).insert(command, Running { pid, stdin });
    let out = out.clone();
    let running = Arc::clone(running);
    thread::spawn(move || {
        let status = finish(&mut child, command, &out);
        // Its process number may be another's from here on.
        lock(&running).remove(&command);
        let status = match status {
            Ok(status) => json!({ "code": status.code(), "signal": status.signal() }),
            Err(error) => json!({ "error": error.to_string() }),
        };
        // Without the harness there is nobody to tell.
        out.send(Kind::Exit, command, status.to_string().as_bytes())
            .ok();
    });
    Ok(())
}

fn feed(mut pipe: impl Write, input: &Receiver<Vec<u8>>) {
    for bytes in input {
        // The empty frame closes the pipe; so does a command that does not read on.
        if bytes.is_empty() || pipe.write_all(&bytes).is_err() {
            return;
        }
    }
}

fn finish(child: &mut Child, command: u32, out: &Port) -> io::Result<ExitStatus> {
    let (done, all_read) = mpsc::channel::<()>();
    if let Some(pipe) = child.stdout.take() {
        forward(pipe, Kind::Stdout, command, out.clone(), done.clone());
    }
    if let Some(pipe) = child.stderr.take() {
        forward(pipe, Kind::Stderr, command, out.clone(), done.clone());
    }
    drop(done);
    let status = child.wait()?;
    // Ends early with an error once both readers have dropped their sender.
    all_read.recv_timeout(OUTPUT_GRACE).ok();
    Ok(status)
}

fn forward(
    mut pipe: impl Read + Send + 'static,
    kind: Kind,
    command: u32,
    out: Port,
    done: Sender<()>,
) {
    thread::spawn(move || {
        let _done = done;
        let mut buffer = vec![0; frame::MAX_PAYLOAD];
        while let Ok(length) = pipe.read(&mut buffer) {
            if length == 0 || out.send(kind, command, &buffer[..length]).is_err() {
                return;
            }
        }
    });
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn port_device() -> Option<PathBuf> {
    let ports = fs::read_dir("/sys/class/virtio-ports").ok()?;
    ports
        .flatten()
        .find(|port| read_trimmed(port.path().join("name")) == PORT)
        .map(|port| Path::new("/dev").join(port.file_name()))
}

fn read_trimmed(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path)
        .map(|text| text.trim().to_owned())
        .unwrap_or_default()
}
