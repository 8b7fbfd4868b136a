//! What a case works with: its datasets, ZFS as it is tested, and ZFS as it really is. Names are relative to the case's root.

use std::error::Error;
use std::sync::Arc;

use zfs_safe::guid::Guid;
use zfs_safe::name::{DatasetPath, EntityName, SnapshotName, VersionName};
use zfs_safe::property::{Property, PropertyName};
use zfs_safe::resume_token::ResumeToken;
use zfs_safe::version::FilesystemVersion;
use zfs_safe::zfs::{VersionQuery, Zfs};
use zrepl_daemon::endpoint::local_zfs::LocalZfs;
use zrepl_daemon::endpoint::mark::{JobId, MarkKind, name};
use zrepl_daemon::replication::driver::Memory;

use crate::Verdict;
use crate::set_up::set_up;

pub(crate) struct Case {
    /// ZFS by the tested backend.
    pub(crate) zfs: Arc<dyn Zfs>,
    /// ZFS of a daemon, as both sides share it.
    pub(crate) shared: LocalZfs,
    /// What the job remembers.
    pub(crate) memory: Memory,
    tools: Arc<dyn Zfs>,
    root: String,
}

impl Case {
    pub(crate) fn new(
        zfs: Arc<dyn Zfs>,
        tools: Arc<dyn Zfs>,
        root: String,
    ) -> Result<Self, Box<dyn Error + Send + Sync>> {
        Ok(Self {
            shared: LocalZfs::new(Arc::clone(&zfs))?,
            memory: Memory::default(),
            zfs,
            tools,
            root,
        })
    }

    /// What a daemon knows after a restart: nothing.
    pub(crate) fn restart(&mut self) -> Verdict {
        self.shared = LocalZfs::new(Arc::clone(&self.zfs))?;
        self.memory = Memory::default();
        Ok(())
    }

    /// Sets up; see [`set_up`](mod@crate::set_up).
    pub(crate) fn set_up(&self, script: &str) -> Verdict {
        set_up(&*self.tools, &self.root, script)
    }

    /// The dataset of the case.
    pub(crate) fn root(&self) -> &str {
        &self.root
    }

    /// The pool of the backend.
    pub(crate) fn pool(&self) -> &str {
        self.root.split('/').next().unwrap_or_default()
    }

    pub(crate) fn is_native(&self) -> bool {
        self.zfs.backend() == zfs_safe::zfs::Backend::Native
    }

    /// The full name.
    pub(crate) fn full(&self, name: &str) -> String {
        format!("{}/{name}", self.root)
    }

    /// What the receiver calls a filesystem of the sender.
    pub(crate) fn received(&self, name: &str) -> String {
        format!("receiver/{}/{name}", self.root)
    }

    pub(crate) fn dataset(&self, name: &str) -> DatasetPath {
        DatasetPath::new(self.full(name)).expect("a valid name")
    }

    pub(crate) fn snapshot(&self, name: &str) -> SnapshotName {
        SnapshotName::new(self.full(name)).expect("a valid name")
    }

    pub(crate) fn version_name(&self, name: &str) -> VersionName {
        VersionName::new(self.full(name)).expect("a valid name")
    }

    pub(crate) fn entity(&self, name: &str) -> EntityName {
        EntityName::new(self.full(name)).expect("a valid name")
    }

    pub(crate) fn exists(&self, name: &str) -> bool {
        let answer = self.tools.exists(&self.entity(name));
        answer.unwrap_or_else(|error| panic!("{error}"))
    }

    /// Snapshots and bookmarks as they are now.
    pub(crate) fn versions(&self, name: &str) -> Vec<FilesystemVersion> {
        let versions = self.tools.versions(&self.dataset(name), &VersionQuery::ALL);
        versions.unwrap_or_else(|error| panic!("{error}"))
    }

    /// The version of this name, such as `fs@1`.
    pub(crate) fn version(&self, name: &str) -> FilesystemVersion {
        let full = self.version_name(name);
        let end = name.find(['@', '#']).expect("a version");
        let found = self
            .versions(&name[..end])
            .into_iter()
            .find(|it| it.name == full);
        found.unwrap_or_else(|| panic!("{full} does not exist"))
    }

    pub(crate) fn guid(&self, name: &str) -> Guid {
        self.version(name).guid
    }

    /// Names of snapshots, as `@1`, oldest first; none if the dataset does not exist.
    pub(crate) fn snapshots(&self, name: &str) -> Vec<String> {
        if !self.exists(name) {
            return Vec::new();
        }
        let snapshots = self
            .versions(name)
            .into_iter()
            .filter(FilesystemVersion::is_snapshot);
        snapshots.map(|it| format!("@{}", it.name.name())).collect()
    }

    /// Names of bookmarks, without `#`, sorted.
    pub(crate) fn bookmarks(&self, name: &str) -> Vec<String> {
        let bookmarks = self
            .versions(name)
            .into_iter()
            .filter(|it| !it.is_snapshot());
        let mut names: Vec<_> = bookmarks.map(|it| it.name.name().to_owned()).collect();
        names.sort();
        names
    }

    /// Tags of the holds of a snapshot, sorted.
    pub(crate) fn holds(&self, name: &str) -> Vec<String> {
        let holds = self.tools.holds(&self.snapshot(name));
        let holds = holds.unwrap_or_else(|error| panic!("{error}"));
        holds.iter().map(|hold| hold.tag.to_string()).collect()
    }

    /// The name that a job's mark of this version has: of a bookmark, or the tag of a hold.
    pub(crate) fn mark(&self, kind: MarkKind, job: &str, version: &str) -> String {
        let job = JobId::new(job).expect("a valid name");
        match name::of_mark(kind, self.guid(version), &job) {
            name::MarkName::Bookmark(name) | name::MarkName::Tag(name) => name,
        }
    }

    /// A property, if it is set or applies.
    pub(crate) fn property(&self, name: &str, property: &str) -> Option<Property> {
        let property: PropertyName = property.parse().expect("a valid name");
        let found = self.tools.properties(&self.entity(name), &[property]);
        found.unwrap_or_else(|error| panic!("{error}")).pop()
    }

    pub(crate) fn value(&self, name: &str, property: &str) -> String {
        self.property(name, property)
            .map(|it| it.value)
            .unwrap_or_default()
    }

    /// Where a receive was interrupted.
    pub(crate) fn token(&self, name: &str) -> Option<ResumeToken> {
        let text = self.property(name, "receive_resume_token")?.value;
        Some(ResumeToken::decode(&text).unwrap_or_else(|error| panic!("{text}: {error}")))
    }

    /// Tries to destroy a snapshot; the tags that hold it are the error.
    pub(crate) fn destroy_unless_held(&self, name: &str) -> Result<(), Vec<String>> {
        use zfs_safe::error::Reason;
        let outcomes = self.zfs.destroy_snapshots(&[self.snapshot(name)]);
        match outcomes[0].error().map(|error| &error.reason) {
            None if outcomes[0].is_done() => Ok(()),
            Some(Reason::Held(tags)) => Err(tags.iter().map(ToString::to_string).collect()),
            _ => panic!("{name}: {outcomes:?}"),
        }
    }
}
