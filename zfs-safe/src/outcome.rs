//! What became of one item of a batch.

use crate::error::ZfsError;

/// What became of one item of a batch. A batch gives one outcome for each item, in the order of the items.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The wanted state holds, and this call brought it about. For a destroy: the thing does not exist any more, be it
    /// that it did not exist before.
    Done,
    /// The wanted state was there before: the hold with this tag, the bookmark with this guid, the released hold's
    /// absence.
    AlreadyDone,
    /// The snapshot (or bookmark) to act on does not exist.
    Missing,
    /// Not done, because the kernel call is all-or-nothing and another item of it failed.
    NotTried,
    /// Not done, for this reason.
    Failed(ZfsError),
}

impl Outcome {
    /// Does the wanted state hold?
    pub fn is_done(&self) -> bool {
        matches!(self, Self::Done | Self::AlreadyDone)
    }

    /// The error, if this item failed.
    pub fn error(&self) -> Option<&ZfsError> {
        match self {
            Self::Failed(error) => Some(error),
            _ => None,
        }
    }
}
