//! Database servers of a test's own: in a temporary directory, as a user without privileges, gone with the test. Test programs for
//! several kinds of server share it.
//!
//! A host without the programs skips such tests and says so; `cargo vm test` installs them, and sets [`REQUIRED`], with which their
//! absence is a failure.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use tempfile::TempDir;

/// Whoever sets it has installed all servers.
const REQUIRED: &str = "ZREPL_TEST_SERVERS_REQUIRED";

/// nobody and nogroup, as far as it matters: neither root nor ours.
const NOBODY: u32 = 65_534;

/// Servers that a killed test leaves behind end after this many seconds.
const LIFE: &str = "900";

/// The last of the places where the program exists; a test without it is over, well or badly.
pub(crate) fn find(what: &str, places: &[&str]) -> Option<PathBuf> {
    let mut candidates = places.iter().flat_map(|place| with_any_version(place));
    let newest = candidates.rfind(|path| path.exists());
    if newest.is_none() {
        assert!(
            std::env::var_os(REQUIRED).is_none(),
            "{what} is not installed; looked for {places:?}, because {REQUIRED} is set"
        );
        eprintln!("SKIPPED: {what} is not installed; `cargo vm setup` does that");
    }
    newest
}

/// Replaces `*`, which stands for one folder, by what there is.
fn with_any_version(place: &str) -> Vec<PathBuf> {
    let Some((before, after)) = place.split_once("/*/") else {
        return vec![place.into()];
    };
    let entries = fs::read_dir(before).into_iter().flatten().flatten();
    let mut found: Vec<_> = entries.map(|entry| entry.path().join(after)).collect();
    found.sort();
    found
}

/// A directory that servers may write to.
pub(crate) struct Home(TempDir);

impl Home {
    pub(crate) fn new() -> Self {
        // Sockets are in it, whose paths must be short.
        let home = TempDir::with_prefix_in("zrepl-db-", "/tmp").expect("a directory");
        fs::set_permissions(home.path(), fs::Permissions::from_mode(0o755)).expect("mode");
        give_away(home.path());
        Self(home)
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Runs a program to its end, as the server's user.
    pub(crate) fn run(&self, program: &Path, arguments: &[impl AsRef<OsStr>]) {
        let output = self.command(program).args(arguments).output();
        let output = output.unwrap_or_else(|e| panic!("{}: {e}", program.display()));
        assert!(
            output.status.success(),
            "{} failed: {}\n{}{}",
            program.display(),
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }

    /// Starts a server; what it says goes to the file `log`. `stop` is the signal that ends it in an orderly way, clients or not.
    pub(crate) fn start(
        self,
        program: &Path,
        arguments: &[impl AsRef<OsStr>],
        stop: Signal,
    ) -> Server {
        let log = self.path().join("log");
        let file = fs::File::create(&log).expect("created");
        let child = self
            .command(Path::new("timeout"))
            .args(["--signal=KILL", LIFE])
            .arg(program)
            .args(arguments)
            .process_group(0)
            .stdout(file.try_clone().expect("cloned"))
            .stderr(file)
            .spawn()
            .unwrap_or_else(|e| panic!("{}: {e}", program.display()));
        Server {
            child,
            stop,
            log,
            home: self,
        }
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.path()).stdin(Stdio::null());
        // Messages are compared.
        command.env("LC_ALL", "C").env("HOME", self.path());
        // A MariaDB that starts removes the temporary tables of all others from /tmp.
        command.env("TMPDIR", self.path());
        if rustix::process::geteuid().is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        command
    }
}

/// Makes a file the server's.
pub(crate) fn give_away(path: &Path) {
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(path, Some(NOBODY), Some(NOBODY)).expect("root may");
    }
}

/// A running server. It ends with the value, and the directory goes.
pub(crate) struct Server {
    child: Child,
    stop: Signal,
    log: PathBuf,
    home: Home,
}

impl Server {
    pub(crate) fn directory(&self) -> &Path {
        self.home.path()
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Tries something until it works, while the server runs.
    pub(crate) async fn until<T, E: std::fmt::Debug>(
        &mut self,
        mut attempt: impl AsyncFnMut() -> Result<T, E>,
    ) -> T {
        let deadline = Instant::now() + Duration::from_secs(120);
        loop {
            match attempt().await {
                Ok(done) => return done,
                Err(error) => assert!(
                    Instant::now() < deadline && matches!(self.child.try_wait(), Ok(None)),
                    "the server is not there: {error:?}\n{}",
                    self.log()
                ),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let Some(group) = pid else { return };
        rustix::process::kill_process_group(group, self.stop).ok();
        let deadline = Instant::now() + Duration::from_secs(10);
        while let Ok(None) = self.child.try_wait() {
            if Instant::now() > deadline {
                rustix::process::kill_process_group(group, Signal::KILL).ok();
                self.child.wait().ok();
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
