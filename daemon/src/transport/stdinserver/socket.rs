//! The sockets of the listener as files: a directory that only its owner can reach and a client's identity come in, a bound
//! socket of that name comes out. What is removed is a socket, and at the end only our own.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::task::{Context, Poll};

use tokio::net::UnixStream;

use crate::config::value::path::SocketPath;
use crate::name::client_identity::ClientIdentity;
use crate::socket_file::{DirectoryProblem, Found, SocketFile, check_directory, look};

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
    file: SocketFile,
}

/// Checks the directory: who can enter it is whoever they say they are.
pub(super) fn check(directory: &Path) -> Result<(), BindError> {
    check_directory(directory).map_err(|problem| {
        let path = directory.to_owned();
        match problem {
            DirectoryProblem::Unknown(source) => BindError::Directory { path, source },
            DirectoryProblem::NotADirectory => BindError::NotADirectory { path },
            DirectoryProblem::Accessible { mode } => BindError::Accessible { path, mode },
        }
    })
}

impl ClientSocket {
    /// Binds it. A socket that is there is a leftover and makes room: who serves a client twice is told by `configcheck`.
    pub(super) fn bind(directory: &Path, identity: ClientIdentity) -> Result<Self, BindError> {
        let path = directory.join(identity.as_str());
        if path.as_os_str().len() > SocketPath::MAX_LEN {
            return Err(BindError::TooLong { path });
        }
        remove_leftover(&path)?;
        let file = SocketFile::bind(&path).map_err(|source| BindError::System {
            attempt: "listen on",
            path,
            source,
        })?;
        Ok(Self { identity, file })
    }

    pub(super) fn path(&self) -> &Path {
        &self.file.path
    }

    pub(super) fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<UnixStream>> {
        self.file
            .listener
            .poll_accept(cx)
            .map_ok(|(stream, _)| stream)
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
    match look(path).map_err(failed("look at"))? {
        Found::Nothing => Ok(()),
        Found::Socket => fs::remove_file(path).map_err(failed("remove the old socket")),
        Found::Other => Err(BindError::InTheWay {
            path: path.to_owned(),
        }),
    }
}
