//! Where commands get the configuration from: the one place that reads the file.

use std::path::{Path, PathBuf};

/// The configuration, as far as commands of this program need it.
#[derive(Debug)]
pub(crate) struct Configuration {
    sockpath: PathBuf,
}

/// Reads the configuration: `path`, or the first of the usual places.
pub(crate) fn load(path: Option<&Path>) -> anyhow::Result<Configuration> {
    // TO BE WIRED by the merge of zrepl_daemon::config; nothing else in this crate reads a configuration.
    match path {
        Some(path) => anyhow::bail!("cannot read {}: not yet", path.display()),
        None => anyhow::bail!("cannot read the configuration: not yet"),
    }
}

impl Configuration {
    /// Path of the daemon's control socket.
    pub(crate) fn sockpath(&self) -> &Path {
        &self.sockpath
    }

    /// The filter of a push, source or snap job.
    #[expect(clippy::unused_self, reason = "TO BE WIRED")]
    pub(crate) fn filesystem_filter(&self, job: &str) -> anyhow::Result<JobFilter> {
        // TO BE WIRED: `job "…" not defined in config`, `job type … does not have filesystems filter`, `filter invalid: …`.
        anyhow::bail!("job {job:?} not defined in config")
    }
}

/// TO BE WIRED: this is zrepl_daemon::filter::FilesystemFilter.
#[derive(Debug)]
pub(crate) struct JobFilter;

impl JobFilter {
    /// Whether the job works on the dataset of this name.
    #[expect(clippy::unused_self, reason = "TO BE WIRED")]
    pub(crate) fn accepts(&self, _name: &str) -> bool {
        false
    }
}
