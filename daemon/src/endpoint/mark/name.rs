//! How marks are named: kind, guid and job flow in, the tag of a hold or the name of a bookmark flows out, and back. The formats
//! are those of zrepl 0.7.0 (`internal/endpoint/endpoint_zfs_abstraction_*.go`), read by its rules, oddities included: what it
//! would not recognise, we do not touch.

use zfs_safe::guid::Guid;

use super::{JobId, MarkKind};

/// The name that a cursor had before zrepl 0.3, when there was one for all jobs.
pub const LEGACY_CURSOR: &str = "zrepl_replication_cursor";

const STEP_HOLD: &str = "zrepl_STEP_J_";
const LAST_RECEIVED_HOLD: &str = "zrepl_last_received_J_";
const CURSOR: &str = "zrepl_CURSOR";
/// Together with the `_` that follows every prefix this makes two.
const TENTATIVE_CURSOR: &str = "zrepl_CURSORTENTATIVE_";

const GUID: &str = "_G_";
const JOB: &str = "_J_";
const GUID_DIGITS: usize = 16;

/// What a hold tag says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagMeaning {
    /// [`MarkKind::StepHold`] or [`MarkKind::LastReceivedHold`].
    pub kind: MarkKind,
    /// Who made it.
    pub job: JobId,
}

/// What the name of a bookmark says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BookmarkMeaning {
    /// A cursor from before zrepl 0.3; `zrepl migrate replication-cursor:v1-v2` removes it.
    LegacyCursor,
    /// A cursor of some job.
    Mark {
        /// [`MarkKind::Cursor`] or [`MarkKind::TentativeCursor`].
        kind: MarkKind,
        /// The guid that the bookmark had when it was made.
        guid: Guid,
        /// Who made it.
        job: JobId,
    },
}

/// The name of a mark.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MarkName {
    /// The name of a bookmark: what follows `#`.
    Bookmark(String),
    /// The tag of a hold.
    Tag(String),
}

/// Names a mark. Whether ZFS and zrepl accept the name is not told here.
pub fn of_mark(kind: MarkKind, guid: Guid, job: &JobId) -> MarkName {
    let bookmark = |prefix: &str| {
        let guid = guid.get();
        MarkName::Bookmark(format!("{prefix}{GUID}{guid:0GUID_DIGITS$x}{JOB}{job}"))
    };
    match kind {
        MarkKind::StepHold => MarkName::Tag(format!("{STEP_HOLD}{job}")),
        MarkKind::LastReceivedHold => MarkName::Tag(format!("{LAST_RECEIVED_HOLD}{job}")),
        MarkKind::Cursor => bookmark(CURSOR),
        MarkKind::TentativeCursor => bookmark(TENTATIVE_CURSOR),
    }
}

/// Reads the tag of a hold; `None` if it is not zrepl's.
pub fn parse_tag(tag: &str) -> Option<TagMeaning> {
    let (kind, job) = match tag.strip_prefix(STEP_HOLD) {
        Some(job) => (MarkKind::StepHold, job),
        None => (
            MarkKind::LastReceivedHold,
            tag.strip_prefix(LAST_RECEIVED_HOLD)?,
        ),
    };
    let job = JobId::new(job).ok()?;
    Some(TagMeaning { kind, job })
}

/// Reads the name of a bookmark, without dataset and `#`; `None` if it is not zrepl's. Whether the guid is that of the bookmark is
/// left to the caller.
pub fn parse_bookmark(name: &str) -> Option<BookmarkMeaning> {
    if name == LEGACY_CURSOR {
        return Some(BookmarkMeaning::LegacyCursor);
    }
    let (prefix, guid, job) = split_bookmark(name)?;
    let kind = match prefix {
        CURSOR => MarkKind::Cursor,
        TENTATIVE_CURSOR => MarkKind::TentativeCursor,
        _ => return None,
    };
    let guid = Guid::new(u64::from_str_radix(guid, 16).ok()?);
    let job = JobId::new(job).ok()?;
    Some(BookmarkMeaning::Mark { kind, guid, job })
}

/// Splits where zrepl's regular expression `(.+)_G_([0-9a-f]{16})_J_(.+)$` does: its first part takes as much as it can, so the
/// last place that fits is the one. A job with such a text in its name is therefore never recognised.
fn split_bookmark(name: &str) -> Option<(&str, &str, &str)> {
    name.rmatch_indices(GUID).find_map(|(at, _)| {
        let (guid, rest) = name[at + GUID.len()..].split_at_checked(GUID_DIGITS)?;
        let job = rest.strip_prefix(JOB)?;
        let is_digit = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
        let fits = at > 0 && !job.is_empty() && guid.chars().all(is_digit);
        fits.then(|| (&name[..at], guid, job))
    })
}

#[cfg(test)]
mod tests;
