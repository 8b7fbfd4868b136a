//! What a job knows of its filesystems from one run to the next: tokens that were of no use, and snapshots that have arrived
//! without the sender knowing. It forgets filesystems that the sender does not have any more. And what the last attempt has listed
//! of filesystems to which it then did nothing, for whoever needs the same lists soon.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use tokio::time::Instant;
use zfs_safe::name::DatasetPath;
use zrepl_proto::pdu::FilesystemVersion;

use crate::replication::attempt::TokenProgress;
use crate::replication::resume::RefusedToken;
use crate::replication::step::Step;

/// What a job knows from one run to the next.
#[derive(Debug, Default)]
pub struct Memory {
    filesystems: HashMap<DatasetPath, Remembered>,
    unchanged: Unchanged,
}

/// What both sides have listed of filesystems to which nothing has been done since by the job. Others may do what they like, so
/// lists are given out only while they are fresh: who destroys snapshots by an old list may destroy the last that both sides have.
#[derive(Debug, Default)]
pub struct Unchanged(HashMap<DatasetPath, Listed>);

#[derive(Debug)]
struct Listed {
    at: Instant,
    both: BothVersions,
}

/// The sender's versions and the receiver's.
pub type BothVersions = (Vec<FilesystemVersion>, Vec<FilesystemVersion>);

/// How old a list may be that pruners go by. A round that has nothing to transfer is over by then; after a long one they ask again.
const FRESH_FOR: Duration = Duration::from_secs(60);

impl Unchanged {
    /// A filesystem was listed so at this time.
    pub(crate) fn keep(&mut self, filesystem: DatasetPath, at: Instant, both: BothVersions) {
        self.0.insert(filesystem, Listed { at, both });
    }

    /// What was listed of a filesystem, if that was not long before `now`.
    pub fn take(&mut self, filesystem: &DatasetPath, now: Instant) -> Option<BothVersions> {
        let listed = self.0.remove(filesystem)?;
        let age = now.saturating_duration_since(listed.at);
        (age <= FRESH_FOR).then_some(listed.both)
    }
}

/// What is known of one filesystem.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Remembered {
    /// A token that is not to be used again.
    pub(super) refused: Option<RefusedToken>,
    /// A token with which steps failed that left it as it was, and how many did.
    fruitless: Option<(String, u32)>,
    /// A step whose snapshot has arrived, and whose sender has not confirmed that it knows.
    pub(super) arrived: Option<Step>,
}

impl Memory {
    /// What is known of a filesystem.
    pub(super) fn of(&self, filesystem: &DatasetPath) -> Remembered {
        self.filesystems
            .get(filesystem)
            .cloned()
            .unwrap_or_default()
    }

    /// Changes what is known of a filesystem.
    pub(super) fn change(
        &mut self,
        filesystem: &DatasetPath,
        change: impl FnOnce(&mut Remembered),
    ) {
        let mut remembered = self.filesystems.remove(filesystem).unwrap_or_default();
        change(&mut remembered);
        if remembered != Remembered::default() {
            self.filesystems.insert(filesystem.clone(), remembered);
        }
    }

    /// A filesystem of this attempt was listed so at this time, and nothing will be done to it.
    pub(super) fn keep_unchanged(
        &mut self,
        filesystem: &DatasetPath,
        at: Instant,
        both: BothVersions,
    ) {
        self.unchanged.keep(filesystem.clone(), at, both);
    }

    /// What the last attempt has listed of filesystems to which it then did nothing. To be used soon: nobody knows what others do.
    pub fn take_unchanged(&mut self) -> Unchanged {
        std::mem::take(&mut self.unchanged)
    }

    /// A run begins, or an attempt: what was listed before is not what is there now.
    pub(super) fn forget_unchanged(&mut self) {
        self.unchanged = Unchanged::default();
    }

    /// Whether nothing is known that is worth it.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.filesystems.is_empty()
    }

    /// An attempt begins: forgets all but these filesystems.
    pub(super) fn retain<'a>(&mut self, filesystems: impl Iterator<Item = &'a DatasetPath>) {
        if !self.filesystems.is_empty() {
            let there: HashSet<_> = filesystems.collect();
            self.filesystems
                .retain(|filesystem, _| there.contains(filesystem));
        }
    }
}

impl Remembered {
    /// How many steps failed with this token before, and left it as it was.
    pub(super) fn progress<'a>(
        &self,
        token: Option<&str>,
        token_after: Option<&'a str>,
    ) -> TokenProgress<'a> {
        let fruitless = match &self.fruitless {
            Some((of, count)) if Some(of.as_str()) == token => *count,
            _ => 0,
        };
        TokenProgress {
            token_after,
            fruitless,
        }
    }

    /// A step with this token failed for good, and the receiver shows that one now.
    pub(super) fn token_failed(&mut self, token: &str, token_after: Option<&str>) {
        let before = self.progress(Some(token), None).fruitless;
        self.fruitless = (token_after == Some(token)).then(|| (token.to_owned(), before + 1));
    }
}
