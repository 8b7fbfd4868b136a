//! What ZFS lists, as both kinds of endpoints tell it: versions flow in, the answer of ListFilesystemVersions flows out. And what a
//! listing of filesystems has found out that makes the listings of versions after it cheaper.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use zfs_safe::name::{DatasetPath, VersionName};
use zfs_safe::version::FilesystemVersion;
use zfs_safe::version_memory::Evidence;
use zrepl_proto::pdu::{self, ListFilesystemVersionsRes, VersionType};

/// The answer of ListFilesystemVersions, in the order given.
pub fn answer<'a>(
    versions: impl IntoIterator<Item = &'a FilesystemVersion>,
) -> ListFilesystemVersionsRes {
    ListFilesystemVersionsRes {
        versions: versions.into_iter().map(message).collect(),
    }
}

/// A version as the other side is told of it.
fn message(version: &FilesystemVersion) -> pdu::FilesystemVersion {
    let (kind, name) = match &version.name {
        VersionName::Snapshot(snapshot) => (VersionType::Snapshot, snapshot.name()),
        VersionName::Bookmark(bookmark) => (VersionType::Bookmark, bookmark.name()),
    };
    pdu::FilesystemVersion {
        r#type: kind.into(),
        name: name.to_owned(),
        guid: version.guid.get(),
        create_txg: version.createtxg.get(),
        creation: creation(version.creation),
    }
}

/// In the form of RFC 3339. A pool can claim years of five digits, which that does not have: the end of time is as good.
fn creation(seconds: u64) -> String {
    let time = i64::try_from(seconds)
        .ok()
        .and_then(|seconds| Timestamp::from_second(seconds).ok());
    time.unwrap_or(Timestamp::MAX).to_string()
}

/// How long what a listing has read is good enough for the listings after it. A round lists its filesystems' versions soon.
const GOOD_FOR: Duration = Duration::from_secs(60);

/// What the latest listing of filesystems has read of each of them: by which listings of versions know that nothing has
/// changed without asking again. Whoever lists filesystems wants to see them as they are then, so it serves once.
#[derive(Debug, Default)]
pub struct Listing(Mutex<Latest>);

#[derive(Debug, Default)]
struct Latest {
    listed: HashSet<DatasetPath>,
    read: Option<Read>,
}

#[derive(Debug)]
struct Read {
    at: Instant,
    evidence: HashMap<DatasetPath, Evidence>,
}

impl Listing {
    /// Keeps what was read of all filesystems, from the time `at` on, instead of anything before.
    pub fn keep(&self, at: Instant, evidence: impl IntoIterator<Item = (DatasetPath, Evidence)>) {
        let evidence = evidence.into_iter().collect();
        lock(&self.0).read = Some(Read { at, evidence });
    }

    /// These are there. Returns those of the listing before that are not any more.
    pub fn gone<'a>(
        &self,
        there: impl IntoIterator<Item = &'a DatasetPath>,
    ) -> HashSet<DatasetPath> {
        let there: HashSet<_> = there.into_iter().cloned().collect();
        let mut latest = lock(&self.0);
        let mut gone = std::mem::replace(&mut latest.listed, there);
        gone.retain(|dataset| !latest.listed.contains(dataset));
        gone
    }

    /// What was read of a filesystem: the first time, and if that was not long before `now`.
    pub fn take(&self, dataset: &DatasetPath, now: Instant) -> Option<Evidence> {
        let read = &mut lock(&self.0).read;
        let is_old = |read: &Read| now.saturating_duration_since(read.at) > GOOD_FOR;
        if read.as_ref().is_some_and(is_old) {
            *read = None;
        }
        read.as_mut()?.evidence.remove(dataset)
    }

    /// Forgets a filesystem, because it was changed.
    pub fn forget(&self, dataset: &DatasetPath) {
        if let Some(read) = &mut lock(&self.0).read {
            read.evidence.remove(dataset);
        }
    }
}

/// No code that holds this lock leaves anything half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use zrepl_proto::pdu::Check as _;

    use super::*;

    #[test]
    fn what_is_listed_no_more_is_told_once() {
        let path = |name| DatasetPath::new(name).expect("valid");
        let (one, two) = (path("p/one"), path("p/two"));
        let listing = Listing::default();
        assert_eq!(listing.gone([&one, &two]), HashSet::new());
        assert_eq!(listing.gone([&two]), HashSet::from([one.clone()]));
        assert_eq!(listing.gone([&one, &two]), HashSet::new());
    }

    #[test]
    fn times_of_creation_are_those_that_every_peer_reads() {
        assert_eq!(creation(0), "1970-01-01T00:00:00Z");
        assert_eq!(creation(1_704_161_045), "2024-01-02T02:04:05Z");
        for insane in [253_402_300_800, u64::MAX] {
            let message = pdu::FilesystemVersion {
                name: "s".into(),
                creation: creation(insane),
                ..Default::default()
            };
            assert_eq!(message.check(), Ok(()));
        }
    }
}
