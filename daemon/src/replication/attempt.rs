//! What follows an attempt that did not do everything: how its filesystems failed flows in, whether and when to try again
//! flows out. Trying again is bounded in number, and it never leaves out a step that the attempt before had planned.

use std::collections::HashSet;
use std::num::NonZeroU32;

use zfs_safe::guid::Guid;

use super::resume::RefusedToken;
use super::step::Step;
use crate::endpoint::EndpointError;

/// How many attempts a run has, unless the environment says otherwise.
pub const DEFAULT_MAX_ATTEMPTS: NonZeroU32 = NonZeroU32::new(3).expect("not zero");

/// What can be done about a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// Trying again can help once both sides can be reached.
    Temporary,
    /// A side does not go on with a token. Without it the filesystem can be planned anew, at once.
    TokenRefused,
    /// Trying again changes nothing.
    Permanent,
}

/// How an attempt ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ending {
    /// The run was stopped from outside.
    pub is_cancelled: bool,
    /// The filesystems could not even be listed.
    pub global: Option<Class>,
    /// One for each filesystem that failed, be it in planning or in a step. Those that only failed because a parent did are not
    /// counted: they are planned again together with it.
    pub filesystems: Vec<Class>,
}

/// What follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Everything is done.
    Done,
    /// Wait until both sides can be reached, then try again.
    Reconnect,
    /// Try again at once.
    Retry,
    /// Leave it until the next run.
    GiveUp(GiveUp),
}

/// Why nothing more is tried. The words are zrepl's, where it has some.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GiveUp {
    /// The run was stopped.
    #[error("run was cancelled")]
    Cancelled,
    /// All errors will stay.
    #[error("most recent error cannot be solved by reconnecting, aborting run")]
    Permanent,
    /// It was tried often enough.
    #[error("maximum number of attempts ({0}) reached")]
    Exhausted(NonZeroU32),
}

/// Decides after attempt number `attempt`, counted from 1.
///
/// zrepl 0.7.0 looks at the most recent error only, and at those of planning never. Here one failure that can pass is enough to
/// try again, so that a filesystem in conflict does not keep the others from being completed.
pub fn after(attempt: u32, max: NonZeroU32, ending: &Ending) -> Next {
    let classes = || ending.global.iter().chain(&ending.filesystems);
    let has = |wanted| classes().any(|&class| class == wanted);
    if ending.is_cancelled {
        Next::GiveUp(GiveUp::Cancelled)
    } else if classes().next().is_none() {
        Next::Done
    } else if !has(Class::Temporary) && !has(Class::TokenRefused) {
        Next::GiveUp(GiveUp::Permanent)
    } else if attempt >= max.get() {
        Next::GiveUp(GiveUp::Exhausted(max))
    } else if has(Class::Temporary) {
        Next::Reconnect
    } else {
        Next::Retry
    }
}

/// The part of a step in which it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// The sender was asked what it would send.
    Estimate,
    /// The sender was asked for the stream.
    Send,
    /// The stream was under way.
    Receive,
    /// The snapshot has arrived, and the sender was told so.
    Complete,
}

/// What became of a token that a step used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TokenProgress<'a> {
    /// The one that the receiver shows after the failure. A new one: some of the stream was taken.
    pub token_after: Option<&'a str>,
    /// How many steps before this one failed with the same token, and left it as it was.
    pub fruitless: u32,
}

/// So many steps may leave a token as it was, and it is tried once more: what is in the way, say a full disk, may be gone
/// by then, and there may be days of transfer in it.
const PATIENCE: u32 = 2;

/// The class of a step's failure, and the token that is not to be used again.
///
/// If the sender refuses before there is anything to send, it is the token that it refuses. Later on it may be anything; then
/// the token goes only after it was of no use several times.
pub fn classify(
    step: &Step,
    stage: Stage,
    error: &EndpointError,
    progress: TokenProgress<'_>,
) -> (Class, Option<RefusedToken>) {
    if error.is_temporary() {
        return (Class::Temporary, None);
    }
    let is_refused = |token: &String| match stage {
        Stage::Estimate => true,
        Stage::Send | Stage::Receive => {
            progress.token_after == Some(token.as_str()) && progress.fruitless >= PATIENCE
        }
        Stage::Complete => false,
    };
    let token = step.resume_token.as_ref().filter(|&it| is_refused(it));
    match (error, token) {
        (EndpointError::Failed(reason), Some(token)) => (
            Class::TokenRefused,
            Some(RefusedToken {
                token: token.clone(),
                reason: reason.clone(),
            }),
        ),
        _ => (Class::Permanent, None),
    }
}

impl From<&EndpointError> for Class {
    /// For whatever is asked outside of steps.
    fn from(error: &EndpointError) -> Self {
        if error.is_temporary() {
            Self::Temporary
        } else {
            Self::Permanent
        }
    }
}

/// Bounds a new plan by what the attempt before did not complete, so that a run does not chase snapshots that are taken while
/// it lasts. All up to and including the last target of that attempt stays; if none of its targets is left, everything does.
pub fn continue_plan(uncompleted: &[Step], mut plan: Vec<Step>) -> Vec<Step> {
    let targets: HashSet<Guid> = uncompleted.iter().map(|step| step.to.guid()).collect();
    let last = plan
        .iter()
        .rposition(|step| targets.contains(&step.to.guid()));
    if let Some(last) = last {
        plan.truncate(last + 1);
    }
    plan
}

#[cfg(test)]
mod tests;
