//! The file that the secrets of connections go to, for those who want to look into what they have recorded: lines in the
//! format of NSS, which Wireshark reads. It is named by an environment variable, and only its owner may read it.

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustls::{KeyLog, NoKeyLog};

/// Names the file, as for zrepl 0.7.0.
pub const VARIABLE: &str = "ZREPL_KEYLOG_FILE";

/// The file cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot open {}, which {VARIABLE} names", path.display())]
pub struct KeyLogError {
    /// The file.
    pub path: PathBuf,
    /// Why not.
    pub source: io::Error,
}

/// The key log of this process, made once: that of the file which the environment names, or none.
pub fn from_environment() -> Result<Arc<dyn KeyLog>, KeyLogError> {
    match std::env::var_os(VARIABLE) {
        Some(path) if !path.is_empty() => Ok(Arc::new(KeyLogFile::open(path.into())?)),
        _ => Ok(Arc::new(NoKeyLog {})),
    }
}

/// A file that starts empty with each process, as for zrepl 0.7.0, and that lines are appended to.
#[derive(Debug)]
pub struct KeyLogFile {
    path: PathBuf,
    file: File,
    has_failed: AtomicBool,
}

const OWNER_ONLY: u32 = 0o600;

impl KeyLogFile {
    /// Empties the file, or makes it. One that others may read is taken away from them.
    pub fn open(path: PathBuf) -> Result<Self, KeyLogError> {
        match open(&path) {
            Ok(file) => Ok(Self {
                path,
                file,
                has_failed: AtomicBool::new(false),
            }),
            Err(source) => Err(KeyLogError { path, source }),
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    // Look before opening: to open a FIFO is to wait for its other end, and the mode of a device is not ours to change.
    match fs::metadata(path) {
        Ok(metadata) if !metadata.is_file() => {
            return Err(io::Error::other("it is not a regular file"));
        }
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(OWNER_ONLY)
        .open(path)?;
    if file.metadata()?.permissions().mode() & 0o777 != OWNER_ONLY {
        file.set_permissions(Permissions::from_mode(OWNER_ONLY))?;
    }
    file.set_len(0)?;
    Ok(file)
}

impl KeyLog for KeyLogFile {
    fn log(&self, label: &str, client_random: &[u8], secret: &[u8]) {
        let line = format!("{label} {} {}\n", hex(client_random), hex(secret));
        // In one piece, so that those of several connections do not mix.
        let written = (&self.file).write_all(line.as_bytes());
        if let Err(error) = written
            && !self.has_failed.swap(true, Ordering::Relaxed)
        {
            tracing::warn!(path = %self.path.display(), %error, "cannot write to the TLS key log; no more is said about it");
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes all");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("is there").permissions().mode() & 0o777
    }

    #[test]
    fn it_starts_empty_and_nobody_else_may_read_it() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("keys");
        let log = KeyLogFile::open(path.clone()).expect("can be made");
        log.log("CLIENT_RANDOM", &[0, 0xab], &[1, 2]);
        log.log("EXPORTER_SECRET", &[1], &[2]);
        let text = fs::read_to_string(&path).expect("readable");
        assert_eq!(text, "CLIENT_RANDOM 00ab 0102\nEXPORTER_SECRET 01 02\n");
        assert_eq!(mode(&path), 0o600);
        drop(log);
        fs::set_permissions(&path, Permissions::from_mode(0o644)).expect("ours");
        let log = KeyLogFile::open(path.clone()).expect("can be opened");
        assert_eq!(mode(&path), 0o600);
        log.log("EXPORTER_SECRET", &[255], &[]);
        let text = fs::read_to_string(&path).expect("readable");
        assert_eq!(text, "EXPORTER_SECRET ff \n");
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_named() {
        let directory = tempfile::tempdir().expect("a directory");
        for path in [
            directory.path().to_owned(),
            directory.path().join("none/keys"),
            "/dev/null".into(),
        ] {
            let error = KeyLogFile::open(path.clone()).expect_err("no file");
            assert_eq!(error.path, path);
            let expected = format!(
                "cannot open {}, which ZREPL_KEYLOG_FILE names",
                path.display()
            );
            assert_eq!(error.to_string(), expected);
        }
        assert_eq!(mode(Path::new("/dev/null")), 0o666);
    }
}
