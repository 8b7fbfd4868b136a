//! What went wrong with one filesystem or with all of them, in the words in which it is shown and logged.

use crate::causes::chain;
use crate::endpoint::EndpointError;
use crate::replication::attempt::{Class, Stage};
use crate::replication::plan::{PlanningError, Side};
use crate::replication::step::Step;

/// A failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    /// What can be done about it by this run.
    pub(super) class: Class,
    /// What failed and why.
    pub(super) text: String,
    /// What an administrator can do about it, where that is known.
    pub(super) advice: Option<&'static str>,
}

/// What zrepl shows of whatever was not done because the run was stopped.
pub(super) const CANCELLED: &str = "context canceled";

impl Failure {
    /// A side was asked for something that no step does.
    pub(super) fn asking(side: Side, what: &str, error: &EndpointError) -> Self {
        Self {
            class: error.into(),
            text: format!("{side} cannot {what}: {}", chain(error)),
            advice: None,
        }
    }

    /// Where we ourselves are at fault.
    pub(super) fn internal(what: &str) -> Self {
        Self {
            class: Class::Permanent,
            text: format!("internal error: {what}"),
            advice: Some("please report this, with the log of this daemon"),
        }
    }

    /// A step failed.
    pub(super) fn step(stage: Stage, step: &Step, class: Class, error: &EndpointError) -> Self {
        let cause = chain(error);
        let text = match stage {
            Stage::Estimate => format!("sender cannot estimate the size of {step}: {cause}"),
            Stage::Send => format!("sender cannot send {step}: {cause}"),
            Stage::Receive => cause,
            Stage::Complete => {
                format!(
                    "{} has arrived, but the sender cannot note it: {cause}",
                    step.to
                )
            }
        };
        Self {
            class,
            text,
            advice: None,
        }
    }
}

impl From<&PlanningError> for Failure {
    fn from(error: &PlanningError) -> Self {
        let advice = match error {
            PlanningError::Conflict(unresolved) => Some(unresolved.conflict().advice()),
            PlanningError::NoSenderVersions => {
                Some("take a snapshot of the filesystem on the sender")
            }
            PlanningError::SenderIsPlaceholder => Some(
                "rename or destroy the receiver's filesystem, or exclude the sender's placeholder from `filesystems`",
            ),
            PlanningError::Listing { .. } => None,
        };
        // Of a conflict that the policy leaves alone zrepl shows the policy only.
        let text = match error {
            PlanningError::Listing { .. } => chain(error),
            _ => error.to_string(),
        };
        Self {
            class: Class::Permanent,
            text,
            advice,
        }
    }
}
