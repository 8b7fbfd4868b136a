//! Unix sockets as files: a path comes in, a bound socket comes out whose file vanishes with it; and before that, whether the directory
//! is closed to others, who would otherwise be believed to be somebody, and what is at the path already.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use tokio::net::UnixListener;

/// A bound socket. Its file is removed when it is dropped, unless somebody has put another one there.
#[derive(Debug)]
pub(crate) struct SocketFile {
    pub(crate) listener: UnixListener,
    pub(crate) path: PathBuf,
    /// Device and inode, by which we know our own.
    file: (u64, u64),
}

/// What is at a path.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Found {
    Nothing,
    Socket,
    /// Nothing that we made.
    Other,
}

/// Why a directory is none for sockets that say who somebody is.
#[derive(Debug)]
pub(crate) enum DirectoryProblem {
    /// It cannot be looked at.
    Unknown(io::Error),
    NotADirectory,
    /// Others may enter it.
    Accessible {
        mode: u32,
    },
}

impl SocketFile {
    /// Binds a socket. Nothing may be at the path.
    pub(crate) fn bind(path: &Path) -> io::Result<Self> {
        let listener = UnixListener::bind(path)?;
        Ok(Self {
            listener,
            path: path.to_owned(),
            file: identify(path)?,
        })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // As long as the listener is open, no other file gets its inode. One that stays makes room for the next.
        if identify(&self.path).is_ok_and(|file| file == self.file) {
            fs::remove_file(&self.path).ok();
        }
    }
}

fn identify(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|metadata| (metadata.dev(), metadata.ino()))
}

/// Looks what is at a path.
pub(crate) fn look(path: &Path) -> io::Result<Found> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.file_type().is_socket() => Ok(Found::Socket),
        Ok(_) => Ok(Found::Other),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Found::Nothing),
        Err(error) => Err(error),
    }
}

/// Checks that only owner and group can reach what is in a directory.
pub(crate) fn check_directory(path: &Path) -> Result<(), DirectoryProblem> {
    let metadata = fs::metadata(path).map_err(DirectoryProblem::Unknown)?;
    if !metadata.is_dir() {
        return Err(DirectoryProblem::NotADirectory);
    }
    let mode = metadata.mode() & 0o7777;
    if mode & 0o007 != 0 {
        return Err(DirectoryProblem::Accessible { mode });
    }
    Ok(())
}
