//! The control socket as a file, and the rule that it has one daemon.
//!
//! Beside the socket is a file that the daemon holds a lock on (flock) as long as it lives; the lock goes with the process, however
//! that ends. A daemon of zrepl 0.7.0 holds no lock, so a socket that somebody answers is left alone as well. What nobody answers is
//! a leftover and is removed.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, OFlags, flock};
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::socket_file::{DirectoryProblem, Found, SocketFile, check_directory, look};

/// How long to wait for a daemon that may be there. One that does not even accept is there.
const ANSWER: Duration = Duration::from_secs(1);

/// The bound socket of the only daemon. The file vanishes with it.
#[derive(Debug)]
pub struct ControlSocket {
    pub(super) file: SocketFile,
    /// Locked until it is closed.
    _lock: File,
}

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// A daemon has the lock.
    #[error("{lock} is locked{}: stop that daemon first, or give each its own global.control.sockpath", by(.process.as_deref()))]
    Locked {
        /// The locked file.
        lock: PathBuf,
        /// Which process says that it has it.
        process: Option<String>,
    },
    /// A daemon answers, one without a lock.
    #[error(
        "somebody answers on {path}: stop that daemon first, or give each its own global.control.sockpath"
    )]
    Answered {
        /// The socket.
        path: PathBuf,
    },
    /// No directory, or it cannot be looked at.
    #[error("cannot stat(2) '{path}'")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Something else.
    #[error("not a directory: {path}")]
    NotADirectory {
        /// What should be one.
        path: PathBuf,
    },
    /// Whoever can open the socket may control the daemon.
    #[error(
        "socket directory must not be world-accessible: {path} (permissions are {mode:04o}): run chmod o= {path}"
    )]
    Accessible {
        /// The directory.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// Something that we did not make.
    #[error("unexpected file type at path '{path}': it is no socket; move it elsewhere")]
    InTheWay {
        /// The path.
        path: PathBuf,
    },
    /// A call of the system failed.
    #[error("cannot {attempt} {path}")]
    System {
        /// What was attempted.
        attempt: &'static str,
        /// The path.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

fn by(process: Option<&str>) -> String {
    process
        .map(|process| format!(" by process {process}"))
        .unwrap_or_default()
}

impl SocketError {
    /// Whether there is a daemon that this one must not disturb.
    pub fn is_another_daemon(&self) -> bool {
        matches!(self, Self::Locked { .. } | Self::Answered { .. })
    }

    fn system(attempt: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::System {
            attempt,
            path,
            source,
        }
    }
}

impl ControlSocket {
    /// Takes the lock and binds the socket. The directory must exist and be closed to others.
    pub async fn bind(path: &Path) -> Result<Self, SocketError> {
        let directory = match path.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        check(directory)?;
        let lock = lock(path)?;
        make_room(path).await?;
        let file = SocketFile::bind(path).map_err(SocketError::system("listen on", path))?;
        Ok(Self { file, _lock: lock })
    }
}

fn check(directory: &Path) -> Result<(), SocketError> {
    check_directory(directory).map_err(|problem| {
        let path = directory.to_owned();
        match problem {
            DirectoryProblem::Unknown(source) => SocketError::Directory { path, source },
            DirectoryProblem::NotADirectory => SocketError::NotADirectory { path },
            DirectoryProblem::Accessible { mode } => SocketError::Accessible { path, mode },
        }
    })
}

/// The lock file stays when the daemon ends: whoever removes it could remove the one that another daemon has just locked.
fn lock(socket: &Path) -> Result<File, SocketError> {
    let mut path = socket.as_os_str().to_owned();
    path.push(".lock");
    let path = PathBuf::from(path);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(no_follow())
        .open(&path)
        .map_err(SocketError::system("open the lock file", &path))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let process = process_in(&mut file);
            return Err(SocketError::Locked {
                lock: path,
                process,
            });
        }
        Err(error) => return Err(SocketError::system("lock", &path)(error.into())),
    }
    // For whoever looks; the lock does not depend on it.
    let id = format!("{}\n", std::process::id());
    file.set_len(0)
        .and_then(|()| file.write_all(id.as_bytes()))
        .map_err(SocketError::system("write the lock file", &path))?;
    Ok(file)
}

fn no_follow() -> i32 {
    i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or(0)
}

fn process_in(file: &mut File) -> Option<String> {
    let mut text = String::new();
    file.take(32).read_to_string(&mut text).ok()?;
    let id: u32 = text.trim().parse().ok()?;
    Some(id.to_string())
}

/// Removes a socket that nobody answers.
async fn make_room(path: &Path) -> Result<(), SocketError> {
    match look(path).map_err(SocketError::system("look at", path))? {
        Found::Socket => {}
        Found::Nothing => return Ok(()),
        Found::Other => {
            return Err(SocketError::InTheWay {
                path: path.to_owned(),
            });
        }
    }
    match timeout(ANSWER, UnixStream::connect(path)).await {
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(SocketError::system("remove the old socket", path))
        }
        // It went away by itself.
        Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        // Too many wait for an answer, or it takes long: somebody is there.
        Ok(Err(error)) if error.kind() != io::ErrorKind::WouldBlock => {
            Err(SocketError::system("see who listens on", path)(error))
        }
        Ok(_) | Err(_) => Err(SocketError::Answered {
            path: path.to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests;
