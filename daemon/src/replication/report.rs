//! How a replication stands: the one value that status, metrics and logs are views of. Its JSON is that of zrepl 0.7.0
//! (`R` and `A` of the status).

use std::sync::{Arc, Mutex};

/// The report of one run.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Report {}

/// A report while it is being written. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct LiveReport(Arc<Mutex<Report>>);

impl LiveReport {
    /// The report as it is now.
    pub fn now(&self) -> Report {
        match self.0.lock() {
            Ok(report) => report.clone(),
            Err(poisoned) => poisoned.into_inner().clone(),
        }
    }
}
