//! A job's name as it is found in a mark: the part of a hold tag or bookmark name flows in, a name that can be compared flows
//! out. Everything that zrepl 0.7.0 takes for one is one, also names that no configuration can have.

use std::fmt;

use crate::name::JobName;
use crate::name::job::JobNameError;

/// The name of the job that made a mark. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct JobId(std::sync::Arc<str>);

impl JobId {
    /// Checks `text`. Unlike a [`JobName`] it may start with `_`: zrepl 0.7.0 keeps such names for itself in its configuration,
    /// but not when it reads marks.
    pub fn new(text: &str) -> Result<Self, JobNameError> {
        let checked = match text.strip_prefix('_') {
            // As long, so that all limits apply.
            Some(rest) => JobName::new(&format!("x{rest}")),
            None => JobName::new(text),
        };
        checked.map(|_| Self(text.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&JobName> for JobId {
    fn from(name: &JobName) -> Self {
        Self(name.as_str().into())
    }
}

impl PartialEq<JobName> for JobId {
    fn eq(&self, name: &JobName) -> bool {
        self.as_str() == name.as_str()
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_a_job_name_that_may_start_with_an_underscore() {
        let longest = "x".repeat(203);
        for text in ["push_job", "a b", "...", "J_x", longest.as_str()] {
            let name = JobName::new(text).expect(text);
            assert_eq!(JobId::new(text), Ok(JobId::from(&name)));
            assert_eq!(JobId::from(&name), name);
        }
        for text in ["_", "_internal", &format!("_{}", "x".repeat(202))] {
            assert!(JobName::new(text).is_err());
            assert_eq!(JobId::new(text).expect(text).to_string(), text);
        }
        let too_long = format!("_{}", "x".repeat(203));
        for text in ["", ".", "..", "a/b", "_a#", "a\nb", "ü", too_long.as_str()] {
            assert!(JobId::new(text).is_err(), "{text:?}");
        }
    }
}
