//! What a job will do, in words, for people who see zrepl for the first time.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::Config;
use super::job::JobConfig;

/// What the explanation needs to know of the machine it is for.
#[derive(Debug)]
pub struct Surroundings {
    /// The filesystems and volumes there are, or why they are not known.
    pub datasets: Result<Vec<String>, String>,
    /// The time.
    pub now: Timestamp,
    /// The machine's time zone.
    pub zone: TimeZone,
}

/// Says in words what a job will do.
pub fn explain(_config: &Config, job: &JobConfig, _surroundings: &Surroundings) -> String {
    format!("{} job {}\n", job.type_name(), job.name().as_str())
}
