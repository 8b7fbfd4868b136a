//! Job names. They end up in bookmark names and hold tags, so they are checked against everything that ZFS would refuse
//! there, long before a replication would fail on it.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use zfs_safe::name::{MAX_NAME_LEN, MAX_TAG_LEN};

use crate::name::component::{self, ComponentError};

/// Bytes of the shortest useful bookmark name around a job's name: `pool/ds#zrepl_CURSORTENTATIVE__G_`, sixteen digits and
/// `_J_`.
const CURSOR_OVERHEAD: usize = "pool/ds#zrepl_CURSORTENTATIVE__G_".len() + 16 + "_J_".len();

const STEP_HOLD_PREFIX: &str = "zrepl_STEP_J_";
const LAST_RECEIVED_PREFIX: &str = "zrepl_last_received_J_";

/// The name of a job. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct JobName(Arc<str>);

/// Why a text cannot name a job.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JobNameError {
    /// Not a component of a dataset's path.
    #[error("invalid job name: must be usable as a dataset path component: {0}")]
    Component(ComponentError),
    /// The cursor's name would be too long.
    #[error(
        "invalid job name: must be usable for a tentative replication cursor bookmark: it has {length} bytes, at most \
         {limit} leave room for the rest of the bookmark's name"
    )]
    Cursor {
        /// Bytes found.
        length: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// Nothing there.
    #[error("invalid job name: must not be empty string")]
    Empty,
    /// The tag would be too long.
    #[error(
        "invalid job name: must be usable as a last-received-hold tag: the tag would have {length} bytes, at most \
         {limit} are allowed"
    )]
    LastReceivedHold {
        /// Bytes found.
        length: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// Names of the daemon's own jobs start so.
    #[error("job name {0:?} is reserved for internal use (starts with _)")]
    Reserved(String),
    /// The tag would be too long.
    #[error(
        "invalid job name: must be usable for a step hold tag: the tag would have {length} bytes, at most {limit} are \
         allowed"
    )]
    StepHold {
        /// Bytes found.
        length: usize,
        /// Bytes allowed.
        limit: usize,
    },
}

impl JobName {
    /// Checks `text` where hold tags may have [`MAX_TAG_LEN`] bytes.
    pub fn new(text: &str) -> Result<Self, JobNameError> {
        Self::with_max_tag_len(text, MAX_TAG_LEN)
    }

    /// Checks `text` where hold tags may have `max_tag_len` bytes.
    pub fn with_max_tag_len(text: &str, max_tag_len: usize) -> Result<Self, JobNameError> {
        if text.is_empty() {
            return Err(JobNameError::Empty);
        }
        component::check(text).map_err(JobNameError::Component)?;
        if text.starts_with('_') {
            return Err(JobNameError::Reserved(text.to_owned()));
        }
        let limit = MAX_NAME_LEN - CURSOR_OVERHEAD;
        let length = text.len();
        if length > limit {
            return Err(JobNameError::Cursor { length, limit });
        }
        let limit = max_tag_len;
        let length = STEP_HOLD_PREFIX.len() + text.len();
        if length > limit {
            return Err(JobNameError::StepHold { length, limit });
        }
        let length = LAST_RECEIVED_PREFIX.len() + text.len();
        if length > limit {
            return Err(JobNameError::LastReceivedHold { length, limit });
        }
        Ok(Self(text.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for JobName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for JobName {
    type Err = JobNameError;

    fn from_str(text: &str) -> Result<Self, JobNameError> {
        Self::new(text)
    }
}

#[cfg(test)]
mod tests {
    use zfs_safe::name::{BookmarkName, HoldTag};

    use super::*;

    #[test]
    fn accepted_names_fit_wherever_they_go() {
        let longest = "x".repeat(203);
        for text in ["validjobname", "valid with spaces", "a:b.c-d_e", &longest] {
            let name = JobName::new(text).expect(text);
            assert_eq!(name.to_string().parse(), Ok(name.clone()));
            let cursor = format!("pool/ds#zrepl_CURSORTENTATIVE__G_{:016x}_J_{name}", 1);
            assert!(BookmarkName::new(cursor).is_ok(), "{text}");
            for prefix in [STEP_HOLD_PREFIX, LAST_RECEIVED_PREFIX] {
                assert!(HoldTag::new(format!("{prefix}{name}")).is_ok(), "{text}");
            }
        }
    }

    #[test]
    fn refused_names_say_where_they_would_not_fit() {
        let component = "invalid job name: must be usable as a dataset path component: ";
        let cases: &[(&str, &str)] = &[
            ("", "invalid job name: must not be empty string"),
            ("with\ttab", component),
            ("with\nnewline", component),
            ("#a", component),
            ("a@b", component),
            ("a/b", component),
            ("a+b", component),
            ("ü", component),
            (".", component),
            ("..", component),
            (&"x".repeat(256), component),
            (
                &"x".repeat(204),
                "invalid job name: must be usable for a tentative replication cursor bookmark: it has 204 bytes, at most \
                 203 ",
            ),
            (
                "_internal",
                "job name \"_internal\" is reserved for internal use (starts with _)",
            ),
        ];
        for (text, expected) in cases {
            let error = JobName::new(text).expect_err(text).to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }

    #[test]
    fn a_lower_limit_of_tags_applies_to_both_tags() {
        assert!(JobName::with_max_tag_len("abc", 25).is_ok());
        let error = JobName::with_max_tag_len("abc", 24).expect_err("tag has 25 bytes");
        assert!(
            error
                .to_string()
                .contains("last-received-hold tag: the tag would have 25")
        );
        let error = JobName::with_max_tag_len("abc", 15).expect_err("tag has 16 bytes");
        assert!(
            error
                .to_string()
                .contains("step hold tag: the tag would have 16")
        );
    }
}
