//! The sockets of the listener as files: a directory that only its owner can reach and a client's identity come in, a bound
//! socket of that name comes out. What is removed is a socket, and at the end only our own.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::task::{Context, Poll};

use tokio::net::{UnixListener, UnixStream};

use crate::config::value::path::SocketPath;
use crate::name::client_identity::ClientIdentity;

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// No directory, or it cannot be looked at.
    #[error(
        "cannot use {path} as directory of stdinserver sockets: create it with mode 0700, or change \
         global.serve.stdinserver.sockdir"
    )]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Something else.
    #[error(
        "{path} is not a directory: it must be one, or change global.serve.stdinserver.sockdir"
    )]
    NotADirectory {
        /// What should be one.
        path: PathBuf,
    },
    /// Who can connect to a socket there is believed to be the client.
    #[error(
        "directory {path} must not be accessible to others, but its mode is {mode:04o}: run chmod o= {path}"
    )]
    Accessible {
        /// The directory.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// The system has a limit for sockets, far below that for files.
    #[error(
        "a socket's path has at most {limit} bytes, but {path} has {length}: use a shorter \
         global.serve.stdinserver.sockdir or client identity",
        limit = SocketPath::MAX_LEN,
        length = .path.as_os_str().len()
    )]
    TooLong {
        /// The path.
        path: PathBuf,
    },
    /// Something there that we did not make.
    #[error("{path} is in the way: it is not a socket; move it elsewhere")]
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

/// The socket of one client.
#[derive(Debug)]
pub(super) struct ClientSocket {
    pub(super) identity: ClientIdentity,
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode, by which we know our own.
    file: (u64, u64),
}

/// Checks the directory: who can enter it is whoever they say they are.
pub(super) fn check_directory(path: &Path) -> Result<(), BindError> {
    let metadata = fs::metadata(path).map_err(|source| BindError::Directory {
        path: path.to_owned(),
        source,
    })?;
    if !metadata.is_dir() {
        return Err(BindError::NotADirectory {
            path: path.to_owned(),
        });
    }
    let mode = metadata.mode() & 0o7777;
    if mode & 0o007 != 0 {
        return Err(BindError::Accessible {
            path: path.to_owned(),
            mode,
        });
    }
    Ok(())
}

impl ClientSocket {
    /// Binds it. A socket that is there is a leftover and makes room: who serves a client twice is told by `configcheck`.
    pub(super) fn bind(directory: &Path, identity: ClientIdentity) -> Result<Self, BindError> {
        let path = directory.join(identity.as_str());
        if path.as_os_str().len() > SocketPath::MAX_LEN {
            return Err(BindError::TooLong { path });
        }
        remove_leftover(&path)?;
        let failed = |attempt| {
            let path = path.clone();
            move |source| BindError::System {
                attempt,
                path,
                source,
            }
        };
        let listener = UnixListener::bind(&path).map_err(failed("listen on"))?;
        let file = identify(&path).map_err(failed("look at our own socket"))?;
        Ok(Self {
            identity,
            listener,
            path,
            file,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<UnixStream>> {
        self.listener.poll_accept(cx).map_ok(|(stream, _)| stream)
    }
}

fn remove_leftover(path: &Path) -> Result<(), BindError> {
    let failed = |attempt| {
        move |source| BindError::System {
            attempt,
            path: path.to_owned(),
            source,
        }
    };
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.file_type().is_socket() => {
            fs::remove_file(path).map_err(failed("remove the old socket"))
        }
        Ok(_) => Err(BindError::InTheWay {
            path: path.to_owned(),
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed("look at")(error)),
    }
}

fn identify(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|metadata| (metadata.dev(), metadata.ino()))
}

impl Drop for ClientSocket {
    fn drop(&mut self) {
        // As long as the listener is open, no other file gets its inode.
        if identify(&self.path).is_ok_and(|file| file == self.file) {
            fs::remove_file(&self.path).ok();
        }
    }
}
