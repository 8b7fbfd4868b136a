//! Chooses how ZFS is reached: natively if the kernel module answers, else through zfs(8), unless the environment says
//! otherwise.

use std::sync::Arc;

use zfs_safe::ZfsError;
use zfs_safe::cli::Cli;
use zfs_safe::zfs::{Backend, Zfs};

/// The environment variable that forces a choice: `native` or `cli`.
pub const VARIABLE: &str = "ZREPL_ZFS_BACKEND";

/// What the environment asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// Native if possible, else zfs(8) with a warning.
    Automatic,
    /// This one or an error.
    Forced(Backend),
}

/// Why there is no ZFS to work with.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// The variable holds something else.
    #[error("{VARIABLE} is {0:?}; it may be \"native\" or \"cli\"")]
    Unknown(String),
    /// This program was built without the native implementation.
    #[error(
        "{VARIABLE} asks for \"native\", but this program was built without it (cargo feature `native`)"
    )]
    NotBuilt,
    /// ZFS does not answer.
    #[error(transparent)]
    Zfs(#[from] ZfsError),
}

impl Choice {
    /// Reads the variable's value; an empty one counts as not set.
    pub fn parse(value: Option<&str>) -> Result<Self, BackendError> {
        match value {
            None | Some("") => Ok(Self::Automatic),
            Some("native") => Ok(Self::Forced(Backend::Native)),
            Some("cli") => Ok(Self::Forced(Backend::Cli)),
            Some(other) => Err(BackendError::Unknown(other.to_owned())),
        }
    }
}

/// A way to ZFS.
#[derive(Clone)]
pub struct Opened {
    /// ZFS.
    pub zfs: Arc<dyn Zfs>,
    /// Why it is reached through zfs(8) although nobody asked for that: worth a warning.
    pub fallback: Option<Arc<BackendError>>,
}

impl std::fmt::Debug for Opened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opened")
            .field("zfs", &self.zfs.backend())
            .field("fallback", &self.fallback)
            .finish()
    }
}

/// Opens ZFS as chosen.
pub fn open(choice: Choice) -> Result<Opened, BackendError> {
    let wanted = |zfs| Opened {
        zfs,
        fallback: None,
    };
    match choice {
        Choice::Forced(Backend::Native) => native().map(wanted),
        Choice::Forced(Backend::Cli) => Ok(wanted(Arc::new(Cli::open()?))),
        Choice::Automatic => match native() {
            Ok(zfs) => Ok(wanted(zfs)),
            // Then zfs(8) is what this program is built for, and nothing to warn about.
            Err(BackendError::NotBuilt) => Ok(wanted(Arc::new(Cli::open()?))),
            Err(reason) => match Cli::open() {
                Ok(zfs) => Ok(Opened {
                    zfs: Arc::new(zfs),
                    fallback: Some(Arc::new(reason)),
                }),
                // If there is no zfs(8) either, the native reason says more.
                Err(_) => Err(reason),
            },
        },
    }
}

#[cfg(feature = "native")]
fn native() -> Result<Arc<dyn Zfs>, BackendError> {
    Ok(Arc::new(zfs_safe::native::Native::open()?))
}

#[cfg(not(feature = "native"))]
fn native() -> Result<Arc<dyn Zfs>, BackendError> {
    Err(BackendError::NotBuilt)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_takes_two_words() {
        assert_eq!(Choice::parse(None).expect("valid"), Choice::Automatic);
        assert_eq!(Choice::parse(Some("")).expect("valid"), Choice::Automatic);
        assert_eq!(
            Choice::parse(Some("cli")).expect("valid"),
            Choice::Forced(Backend::Cli)
        );
        let error = Choice::parse(Some("libzfs")).expect_err("unknown");
        assert_eq!(
            error.to_string(),
            "ZREPL_ZFS_BACKEND is \"libzfs\"; it may be \"native\" or \"cli\""
        );
    }
}
