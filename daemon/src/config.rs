//! What users write: the configuration file of zrepl 0.7.0, read strictly, with every mistake in it named in one run.
//!
//! Text becomes a tree with places, and the tree typed values (`decode`, by the declarations in `global`, `job` and their
//! neighbours); files are combined (`load`), and what is allowed but surprising is pointed out (`warnings`).
//! What comes out, a [`Config`], can hold no wrong value: nothing after it looks at YAML again.

mod certificates;
pub mod connection;
mod decode;
pub mod explain;
pub mod global;
mod hooks;
pub mod job;
mod load;
mod problem;
pub mod pruning;
pub mod snapshotting;
pub mod transfer;
pub mod value;
mod warnings;

pub use certificates::check_certificates;
pub use decode::node::Position;
pub use hooks::check_hooks;
pub use load::{ConfigError, Loaded, load, parse};
pub use problem::{Problem, Problems, Severity};

use serde::Serialize;

use global::Global;
use job::JobConfig;

/// A whole configuration: main file and included ones.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Config {
    /// Settings of the daemon as a whole.
    pub global: Global,
    /// The jobs: those of the main file, then those of included files in the order of inclusion. Their names differ.
    pub jobs: Vec<JobConfig>,
}

impl Config {
    /// The job of this name.
    pub fn job(&self, name: &str) -> Option<&JobConfig> {
        self.jobs.iter().find(|job| job.name().as_str() == name)
    }

    /// The JSON Schema of a configuration file, as text.
    pub fn schema() -> String {
        format!("{:#}", decode::schema::document::<load::File>())
    }
}
