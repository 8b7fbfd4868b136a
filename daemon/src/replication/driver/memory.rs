//! What a job knows of its filesystems from one run to the next: tokens that were of no use, and snapshots that have arrived
//! without the sender knowing. It forgets filesystems that the sender does not have any more. And what the last attempt has listed
//! of filesystems to which it then did nothing, for whoever needs the same lists.

use std::collections::{HashMap, HashSet};

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

/// What both sides have listed of filesystems to which nothing has been done since: sender's versions, receiver's versions.
pub type Unchanged = HashMap<DatasetPath, (Vec<FilesystemVersion>, Vec<FilesystemVersion>)>;

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

    /// A filesystem of this attempt is as these lists say, and stays so.
    pub(super) fn keep_unchanged(
        &mut self,
        filesystem: &DatasetPath,
        listed: (Vec<FilesystemVersion>, Vec<FilesystemVersion>),
    ) {
        self.unchanged.insert(filesystem.clone(), listed);
    }

    /// What the last attempt has listed of filesystems to which it then did nothing. To be used soon: nobody knows what others do.
    pub fn take_unchanged(&mut self) -> Unchanged {
        std::mem::take(&mut self.unchanged)
    }

    /// Whether nothing is known that is worth it.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.filesystems.is_empty()
    }

    /// An attempt begins: forgets all but these filesystems.
    pub(super) fn retain<'a>(&mut self, filesystems: impl Iterator<Item = &'a DatasetPath>) {
        self.unchanged.clear();
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
