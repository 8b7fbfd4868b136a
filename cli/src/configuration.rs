//! Where commands get the configuration from: the one place that reads the file.

use std::path::Path;

use anyhow::{anyhow, bail};
use zrepl_daemon::config::{self, Config, ConfigError, Loaded, Severity};
use zrepl_daemon::filter::FilesystemFilter;

use crate::output::complain;

/// The configuration, as far as commands other than `configcheck` need it.
#[derive(Debug)]
pub(crate) struct Configuration(Config);

/// Reads the configuration: `path`, or the first of the usual places. Warnings are for `configcheck`.
pub(crate) fn load(path: Option<&Path>) -> anyhow::Result<Configuration> {
    Ok(Configuration(config::load(path)?.config))
}

/// For commands that need all of it: prints what is wrong, a line for each error, and fails with their number.
pub(crate) fn checked(loaded: Result<Loaded, ConfigError>) -> anyhow::Result<Loaded> {
    loaded.map_err(|ConfigError { problems }| {
        complain(&problems);
        let count = problems.count(Severity::Error);
        let errors = if count == 1 { "error" } else { "errors" };
        anyhow!("could not parse config: {count} {errors}")
    })
}

impl Configuration {
    /// Path of the daemon's control socket.
    pub(crate) fn sockpath(&self) -> &Path {
        self.0.global.control.sockpath.as_path()
    }

    /// The directory of the daemon's sockets for `stdinserver`.
    pub(crate) fn stdinserver_sockdir(&self) -> &Path {
        self.0.global.serve.stdinserver.sockdir.as_path()
    }

    /// The filter of a push, source or snap job.
    pub(crate) fn filesystem_filter(&self, job: &str) -> anyhow::Result<&FilesystemFilter> {
        let Some(config) = self.0.job(job) else {
            bail!("job {job:?} not defined in config");
        };
        config.filesystems().ok_or_else(|| {
            let kind = config.type_name();
            anyhow!("job type {kind} does not have filesystems filter: it receives")
        })
    }
}
