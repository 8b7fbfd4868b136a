//! What is marked on one filesystem: its versions with the tags of their holds flow in, the marks of all jobs flow out, oldest
//! first and each once. A listing that names a hold twice, as zrepl 0.7.0's own memory does after a failed step, changes nothing.

use zfs_safe::name::{BookmarkName, HoldTag, VersionName};
use zfs_safe::version::FilesystemVersion;

use super::name::{LEGACY_CURSOR, parse_bookmark};
use super::{JobId, Mark};

/// The marks of one filesystem.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inventory {
    marks: Vec<Mark>,
    legacy_cursor: Option<BookmarkName>,
    mislabelled: Vec<BookmarkName>,
}

impl Inventory {
    /// Reads the versions of a filesystem and the tags of the holds of each.
    pub fn new<'a, T>(versions: impl IntoIterator<Item = (&'a FilesystemVersion, T)>) -> Self
    where
        T: IntoIterator<Item = &'a HoldTag>,
    {
        let mut inventory = Self::default();
        for (version, tags) in versions {
            let holds = tags
                .into_iter()
                .filter_map(|tag| Mark::of_hold(version, tag));
            inventory.marks.extend(holds);
            if let VersionName::Bookmark(name) = &version.name {
                inventory.add_bookmark(name, version);
            }
        }
        inventory.marks.sort();
        inventory.marks.dedup();
        inventory
    }

    /// The same with what these bookmarks are, for whoever knows the holds already.
    #[must_use]
    pub fn with_bookmarks(mut self, bookmarks: &[FilesystemVersion]) -> Self {
        for version in bookmarks {
            if let VersionName::Bookmark(name) = &version.name {
                self.add_bookmark(name, version);
            }
        }
        self.marks.sort();
        self.marks.dedup();
        self
    }

    /// All marks, oldest first.
    pub fn marks(&self) -> &[Mark] {
        &self.marks
    }

    /// The marks of one job, oldest first.
    pub fn of_job<'a>(&'a self, job: &'a JobId) -> impl DoubleEndedIterator<Item = &'a Mark> {
        self.marks.iter().filter(move |mark| mark.job() == job)
    }

    /// The cursor from before zrepl 0.3, which belongs to no job. A sender warns of it.
    pub fn legacy_cursor(&self) -> Option<&BookmarkName> {
        self.legacy_cursor.as_ref()
    }

    /// Bookmarks that are named like marks but have another guid than their name says. They are nobody's.
    pub fn mislabelled(&self) -> &[BookmarkName] {
        &self.mislabelled
    }

    fn add_bookmark(&mut self, name: &BookmarkName, version: &FilesystemVersion) {
        match Mark::of_bookmark(version) {
            Some(mark) => self.marks.push(mark),
            None if name.name() == LEGACY_CURSOR => self.legacy_cursor = Some(name.clone()),
            None if parse_bookmark(name.name()).is_some() => self.mislabelled.push(name.clone()),
            None => {}
        }
    }
}
