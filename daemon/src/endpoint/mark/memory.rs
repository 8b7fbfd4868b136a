//! Which holds are on the snapshots of a dataset. ZFS tells it only snapshot by snapshot, so it is asked once for each dataset; after
//! that this process knows, because nobody else makes marks for its jobs while it runs. Bookmarks are in every listing and need no
//! memory. What others release meanwhile is noticed when the snapshots are listed; until then it is released again, which is no error.
//! What is made is made whether it is known or not.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use zfs_safe::error::{Operation, Reason};
use zfs_safe::group_commit::GroupCommit;
use zfs_safe::guid::Guid;
use zfs_safe::name::{DatasetPath, EntityName, HoldTag, SnapshotName, VersionName};
use zfs_safe::property::PropertyName;
use zfs_safe::version::{FilesystemVersion, Txg};
use zfs_safe::zfs::{HoldRequest, VersionQuery, Zfs};
use zfs_safe::{Outcome, ZfsError};

use super::name::parse_tag;
use super::{Change, Inventory};

/// zrepl's holds, by snapshot.
type Holds = BTreeMap<SnapshotName, Held>;

/// The holds of one snapshot.
#[derive(Clone, Debug, Default)]
struct Held {
    /// What the snapshot is, as soon as somebody has needed it.
    version: Option<FilesystemVersion>,
    tags: BTreeSet<HoldTag>,
}

impl Held {
    /// Is there a snapshot with holds that has this name and is this one?
    fn is_among(&self, name: &SnapshotName, held: &HashMap<&str, Guid>) -> bool {
        let expected = self.version.as_ref().map(|version| version.guid);
        let found = held.get(name.as_str()).copied();
        found.is_some_and(|found| expected.is_none_or(|expected| expected == found))
    }
}

/// What is known of datasets that were asked for.
#[derive(Debug, Default)]
pub struct MarkMemory {
    datasets: Mutex<HashMap<DatasetPath, Holds>>,
    /// Counts changes, so that a reading that a change overtook is not remembered.
    changes: AtomicU64,
}

impl MarkMemory {
    /// Lists the versions of a dataset, and learns from it what is held there. If that is not known, the listing says of which snapshots
    /// to ask, and they need not be listed again to find out. If it is, the listing says which of it others have released.
    pub fn listing<V: AsRef<[FilesystemVersion]>>(
        &self,
        zfs: &dyn Zfs,
        dataset: &DatasetPath,
        list: impl FnOnce() -> zfs_safe::Result<V>,
    ) -> zfs_safe::Result<V> {
        let before = self.changes.load(Ordering::SeqCst);
        let versions = list()?;
        let snapshots = versions.as_ref().iter().filter(|it| it.is_snapshot());
        if !snapshots.clone().all(|it| it.userrefs.is_some()) {
            // Not listed just now.
            return Ok(versions);
        }
        let mut datasets = lock(&self.datasets);
        if let Some(known) = datasets.get_mut(dataset) {
            if self.changes.load(Ordering::SeqCst) == before && !known.is_empty() {
                let held: HashMap<_, _> = snapshots
                    .filter(|it| it.userrefs != Some(0))
                    .map(|it| (it.name.as_str(), it.guid))
                    .collect();
                known.retain(|name, it| it.is_among(name, &held));
            }
            return Ok(versions);
        }
        drop(datasets);
        // Whoever needs to know asks again, and hears of the error.
        if let Ok(holds) = read(zfs, snapshots) {
            self.insert(dataset, holds, before);
        }
        Ok(versions)
    }

    /// What is marked on a dataset whose versions are these.
    pub fn inventory(
        &self,
        zfs: &dyn Zfs,
        dataset: &DatasetPath,
        versions: &[FilesystemVersion],
    ) -> zfs_safe::Result<Inventory> {
        if let Some(holds) = lock(&self.datasets).get(dataset) {
            return Ok(inventory(versions, holds));
        }
        let before = self.changes.load(Ordering::SeqCst);
        let holds = load(zfs, dataset)?;
        let inventory = inventory(versions, &holds);
        self.insert(dataset, holds, before);
        Ok(inventory)
    }

    /// Remembers what was read, if nothing has changed since `before`.
    fn insert(&self, dataset: &DatasetPath, holds: Holds, before: u64) {
        let mut datasets = lock(&self.datasets);
        if self.changes.load(Ordering::SeqCst) == before {
            datasets.insert(dataset.clone(), holds);
        }
    }

    /// What is held on a dataset, without its bookmarks. Asks ZFS for nothing that it has told before.
    pub fn holds(&self, zfs: &dyn Zfs, dataset: &DatasetPath) -> zfs_safe::Result<Inventory> {
        let known = lock(&self.datasets).get(dataset).cloned();
        let mut holds = if let Some(holds) = known {
            holds
        } else {
            self.inventory(zfs, dataset, &[])?;
            let loaded = lock(&self.datasets).get(dataset).cloned();
            // Unless somebody was changing marks meanwhile, it has been remembered.
            loaded.map_or_else(|| load(zfs, dataset), Ok)?
        };
        let mut versions = Vec::new();
        for (snapshot, held) in &mut holds {
            if held.version.is_none() {
                match version(zfs, &VersionName::from(snapshot.clone())) {
                    Ok(version) => {
                        self.remember(&version);
                        held.version = Some(version);
                    }
                    // Somebody has released and destroyed it.
                    Err(error) if error.is_not_found() => continue,
                    Err(error) => return Err(error),
                }
            }
            versions.extend(held.version.clone());
        }
        Ok(inventory(&versions, &holds))
    }

    /// Remembers what a held snapshot is, to spare asking.
    pub fn remember(&self, version: &FilesystemVersion) {
        let VersionName::Snapshot(snapshot) = &version.name else {
            return;
        };
        if let Some(held) = lock(&self.datasets)
            .get_mut(&snapshot.dataset())
            .and_then(|holds| holds.get_mut(snapshot))
        {
            held.version = Some(version.clone());
        }
    }

    /// Makes these changes: first everything that makes marks, then everything that removes them, each kind in one call
    /// that is shared with whoever else is changing marks of the same pool.
    pub fn apply(&self, commit: &GroupCommit, changes: Vec<Change>) -> Vec<(Change, Outcome)> {
        let mut batch = Batch::default();
        for change in changes {
            match change {
                Change::Hold(it) => batch.hold.push(it),
                Change::Bookmark(it) => batch.bookmark.push(it),
                Change::Release(it) => batch.release.push(it),
                Change::DestroyBookmark(it) => batch.destroy.push(it),
            }
        }
        let mut done = Vec::new();
        let (holds, bookmarks) = both(
            (!batch.hold.is_empty()).then_some(|| commit.hold(&batch.hold)),
            (!batch.bookmark.is_empty()).then_some(|| commit.bookmark(&batch.bookmark)),
        );
        done.extend(batch.hold.into_iter().map(Change::Hold).zip(holds));
        done.extend(
            batch
                .bookmark
                .into_iter()
                .map(Change::Bookmark)
                .zip(bookmarks),
        );
        let (releases, destroyed) = both(
            (!batch.release.is_empty()).then_some(|| commit.release(&batch.release)),
            (!batch.destroy.is_empty()).then_some(|| commit.destroy_bookmarks(&batch.destroy)),
        );
        done.extend(batch.release.into_iter().map(Change::Release).zip(releases));
        done.extend(
            batch
                .destroy
                .into_iter()
                .map(Change::DestroyBookmark)
                .zip(destroyed),
        );
        for (change, outcome) in &done {
            self.learn(change, outcome);
        }
        done
    }

    /// These marks are as good as gone: whoever asks from now on is not told of them.
    pub(in crate::endpoint) fn expect_gone(&self, changes: &[Change]) {
        for change in changes {
            self.learn(change, &Outcome::Done);
        }
    }

    /// Forgets a dataset.
    pub fn forget(&self, dataset: &DatasetPath) {
        lock(&self.datasets).remove(dataset);
    }

    fn learn(&self, change: &Change, outcome: &Outcome) {
        let (hold, is_made) = match change {
            Change::Hold(hold) => (hold, true),
            Change::Release(hold) => (hold, false),
            Change::Bookmark(_) | Change::DestroyBookmark(_) => return,
        };
        let HoldRequest { snapshot, tag } = hold;
        let mut datasets = lock(&self.datasets);
        self.changes.fetch_add(1, Ordering::SeqCst);
        match (is_made, outcome) {
            (true, Outcome::Done | Outcome::AlreadyDone) => {
                if let Some(holds) = datasets.get_mut(&snapshot.dataset()) {
                    holds
                        .entry(snapshot.clone())
                        .or_default()
                        .tags
                        .insert(tag.clone());
                }
            }
            (false, Outcome::Done | Outcome::AlreadyDone | Outcome::Missing) => {
                if let Some(holds) = datasets.get_mut(&snapshot.dataset())
                    && let Some(held) = holds.get_mut(snapshot)
                {
                    held.tags.remove(tag);
                    if held.tags.is_empty() {
                        holds.remove(snapshot);
                    }
                }
            }
            // Whatever is there now, it is not what was thought.
            (_, Outcome::Failed(_) | Outcome::Missing | Outcome::NotTried) => {
                datasets.remove(&snapshot.dataset());
            }
        }
    }
}

#[derive(Default)]
struct Batch {
    hold: Vec<HoldRequest>,
    bookmark: Vec<zfs_safe::zfs::BookmarkRequest>,
    release: Vec<HoldRequest>,
    destroy: Vec<zfs_safe::name::BookmarkName>,
}

/// Does both at the same time, so that they share a transaction group.
fn both(
    one: Option<impl FnOnce() -> Vec<Outcome> + Send>,
    other: Option<impl FnOnce() -> Vec<Outcome>>,
) -> (Vec<Outcome>, Vec<Outcome>) {
    match (one, other) {
        (Some(one), Some(other)) => std::thread::scope(|scope| {
            let one = scope.spawn(one);
            let other = other();
            match one.join() {
                Ok(one) => (one, other),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }),
        (one, other) => (
            one.map(|one| one()).unwrap_or_default(),
            other.map(|other| other()).unwrap_or_default(),
        ),
    }
}

fn inventory(versions: &[FilesystemVersion], holds: &Holds) -> Inventory {
    Inventory::new(versions.iter().map(|version| {
        let tags = match &version.name {
            VersionName::Snapshot(snapshot) => holds.get(snapshot),
            VersionName::Bookmark(_) => None,
        };
        (version, tags.into_iter().flat_map(|held| &held.tags))
    }))
}

fn load(zfs: &dyn Zfs, dataset: &DatasetPath) -> zfs_safe::Result<Holds> {
    let snapshots = zfs.versions(dataset, &VersionQuery::SNAPSHOTS.with_userrefs())?;
    read(zfs, &snapshots)
}

/// Reads the holds of snapshots that have some.
fn read<'a>(
    zfs: &dyn Zfs,
    versions: impl IntoIterator<Item = &'a FilesystemVersion>,
) -> zfs_safe::Result<Holds> {
    let mut found = Holds::new();
    for version in versions {
        let VersionName::Snapshot(snapshot) = version.name.clone() else {
            continue;
        };
        if version.userrefs == Some(0) {
            continue;
        }
        let holds = match zfs.holds(&snapshot) {
            Ok(holds) => holds,
            Err(error) if error.is_not_found() => continue,
            Err(error) => return Err(error),
        };
        let tags: BTreeSet<_> = holds
            .into_iter()
            .map(|hold| hold.tag)
            .filter(|tag| parse_tag(tag.as_str()).is_some())
            .collect();
        if !tags.is_empty() {
            let version = Some(FilesystemVersion {
                userrefs: None,
                ..version.clone()
            });
            found.insert(snapshot, Held { version, tags });
        }
    }
    Ok(found)
}

/// Reads what a snapshot or bookmark is.
pub(in crate::endpoint) fn version(
    zfs: &dyn Zfs,
    name: &VersionName,
) -> zfs_safe::Result<FilesystemVersion> {
    let wanted: Vec<PropertyName> = ["guid", "createtxg", "creation"]
        .iter()
        .filter_map(|name| name.parse().ok())
        .collect();
    let found = zfs.properties(&EntityName::from(name.clone()), &wanted)?;
    let number = |name: &str| {
        found
            .iter()
            .find(|property| property.name.as_str() == name)
            .and_then(|property| property.value.parse::<u64>().ok())
            .ok_or_else(|| {
                ZfsError::new(Operation::ReadProperties, name, Reason::Other)
                    .with_detail(format!("no usable value of `{name}`"))
            })
    };
    Ok(FilesystemVersion {
        name: name.clone(),
        guid: Guid::new(number("guid")?),
        createtxg: Txg::new(number("createtxg")?),
        creation: number("creation")?,
        userrefs: None,
    })
}

/// No code that holds this lock leaves anything half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::endpoint::fake_zfs::FakeZfs;

    /// Something happens between a listing and the reading of holds that follows from it.
    #[test]
    fn what_a_change_has_overtaken_is_not_remembered() {
        const TAG: &str = "zrepl_STEP_J_job";
        let fake = Arc::new(FakeZfs::with(&["p/a@1", "p/a@2"]));
        let commit = GroupCommit::new(Arc::clone(&fake) as _);
        let dataset = DatasetPath::new("p/a").expect("valid");
        let list = || fake.versions(&dataset, &VersionQuery::SNAPSHOTS.with_userrefs());
        let request = |name: &str| HoldRequest {
            snapshot: dataset.snapshot(name).expect("valid"),
            tag: HoldTag::new(TAG).expect("valid"),
        };
        let held = |memory: &MarkMemory| -> Vec<String> {
            let inventory = memory.holds(&*fake, &dataset).expect("asks");
            inventory.marks().iter().map(ToString::to_string).collect()
        };
        let memory = MarkMemory::default();
        for (change, expected) in [
            (Change::Hold(request("1")), 1),
            (Change::Hold(request("2")), 2),
            (Change::Release(request("1")), 1),
        ] {
            // Known from the second time on, and not before.
            let listed = memory.listing(&*fake, &dataset, || {
                let listed = list()?;
                memory.apply(&commit, vec![change]);
                Ok(listed)
            });
            listed.expect("lists");
            assert_eq!(held(&memory).len(), expected);
            if expected == 1 {
                memory.forget(&dataset);
            }
        }
    }
}
