//! PostgreSQL and MariaDB on this host, for hooks of daemons in guests: real servers in directories of their own, as a user without
//! privileges, on the loopback interface. They end with the value, and with the harness (see [`crate::leash`]).

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

/// nobody and nogroup: both servers refuse to run as root.
const NOBODY: u32 = 65_534;

/// How long a server may take until it answers.
const START_LIMIT: Duration = Duration::from_secs(120);

/// Where guests that reach their host find its loopback interface: QEMU's user network.
pub(crate) const HOST: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);

/// A running server.
#[derive(Debug)]
pub(crate) struct Database {
    leash: Child,
    directory: PathBuf,
    port: u16,
    /// The client, up to the statement.
    client: Vec<String>,
}

impl Database {
    /// PostgreSQL that lets everybody in as `postgres`.
    pub(crate) fn postgres() -> Result<Self> {
        let programs = newest("/usr/lib/postgresql")?.join("bin");
        let (directory, port) = (directory()?, free_port()?);
        let data = directory.join("data").display().to_string();
        let initdb = programs.join("initdb").display().to_string();
        let arguments = [
            &*initdb,
            "-D",
            &data,
            "-A",
            "trust",
            "-U",
            "postgres",
            "--no-sync",
        ];
        run(as_nobody(&directory, &arguments))?;
        let program = programs.join("postgres").display().to_string();
        let port_text = format!("port={port}");
        let sockets = format!("unix_socket_directories={}", directory.display());
        let mut arguments = vec![&*program, "-D", &data];
        for setting in [
            "listen_addresses=127.0.0.1",
            &port_text,
            &sockets,
            "fsync=off",
            "autovacuum=off",
        ] {
            arguments.extend(["-c", setting]);
        }
        let client = format!("psql --host 127.0.0.1 --port {port} --user postgres -Atqc");
        Self::start(directory, port, &arguments, &client)
    }

    /// MariaDB that lets everybody in as `root`.
    pub(crate) fn mariadb() -> Result<Self> {
        let (directory, port) = (directory()?, free_port()?);
        let data = format!("--datadir={}", directory.join("data").display());
        let arguments = [
            "mariadb-install-db",
            "--no-defaults",
            &data,
            "--auth-root-authentication-method=normal",
            "--skip-name-resolve",
        ];
        run(as_nobody(&directory, &arguments))?;
        let port_text = format!("--port={port}");
        let socket = format!("--socket={}", directory.join("socket").display());
        let process = format!("--pid-file={}", directory.join("pid").display());
        let arguments = [
            "/usr/sbin/mariadbd",
            "--no-defaults",
            &data,
            "--bind-address=127.0.0.1",
            &port_text,
            &socket,
            &process,
            "--skip-name-resolve",
            "--innodb-buffer-pool-size=8M",
        ];
        let client =
            format!("mariadb --no-defaults --host=127.0.0.1 --port={port} --user=root -Ne");
        Self::start(directory, port, &arguments, &client)
    }

    fn start(directory: PathBuf, port: u16, command: &[&str], client: &str) -> Result<Self> {
        let log = File::create(directory.join("log")).context("cannot create a log")?;
        let server = as_nobody(&directory, command);
        let leash = Command::new("/proc/self/exe")
            .args(["leash", "--remove"])
            .arg(&directory)
            .arg("--")
            .arg(server.get_program())
            .args(server.get_args())
            .current_dir(&directory)
            .env("TMPDIR", &directory)
            .stdin(Stdio::piped())
            .stdout(log.try_clone().context("cannot share a log")?)
            .stderr(log)
            .process_group(0)
            .spawn()
            .context("cannot start a database")?;
        let mut server = Self {
            leash,
            directory,
            port,
            client: client.split(' ').map(str::to_owned).collect(),
        };
        let deadline = Instant::now() + START_LIMIT;
        while let Err(error) = server.ask("SELECT 1") {
            let ended = server.leash.try_wait().context("cannot wait")?.is_some();
            if ended || Instant::now() > deadline {
                let log = fs::read_to_string(server.directory.join("log")).unwrap_or_default();
                bail!("the database does not answer: {error:#}\n{log}");
            }
            thread::sleep(Duration::from_millis(100));
        }
        Ok(server)
    }

    /// Of the loopback interface.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Runs statements, and returns what they give.
    pub(crate) fn ask(&self, statements: &str) -> Result<String> {
        let (program, arguments) = self.client.split_first().context("no client")?;
        let mut command = Command::new(program);
        command.args(arguments).arg(statements);
        run(command)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        drop(self.leash.stdin.take());
        self.leash.wait().ok();
        fs::remove_dir_all(&self.directory).ok();
    }
}

fn directory() -> Result<PathBuf> {
    let directory = tempfile::Builder::new()
        .prefix("zrepl-db-")
        .tempdir_in("/tmp")
        .context("cannot create a temporary directory")?
        .keep();
    std::os::unix::fs::chown(&directory, Some(NOBODY), Some(NOBODY))
        .context("cannot give a directory away; databases are started by root only")?;
    Ok(directory)
}

/// Nobody else takes it in the next moment, or the server says so.
fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port")?;
    Ok(listener.local_addr()?.port())
}

fn newest(versions: &str) -> Result<PathBuf> {
    let entries = fs::read_dir(Path::new(versions))
        .with_context(|| format!("cannot list {versions}: PostgreSQL is not installed"))?;
    let newest = entries.flatten().map(|entry| entry.path()).max();
    newest.with_context(|| format!("{versions} is empty"))
}

fn as_nobody(directory: &Path, command: &[&str]) -> Command {
    let mut nobody = Command::new("setpriv");
    nobody
        .args([
            &format!("--reuid={NOBODY}"),
            &format!("--regid={NOBODY}"),
            "--clear-groups",
        ])
        .args(command)
        .current_dir(directory)
        // A MariaDB that starts removes the temporary tables of all others from /tmp.
        .env("TMPDIR", directory);
    nobody
}

fn run(mut command: Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .env("LC_ALL", "C")
        .output()
        .with_context(|| format!("cannot start {command:?}"))?;
    ensure!(
        output.status.success(),
        "{command:?} failed: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
