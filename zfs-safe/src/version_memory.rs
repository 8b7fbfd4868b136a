//! Remembers the versions of datasets, so that listing what has not changed costs next to nothing.
//!
//! guid, createtxg and creation of a version never change; versions only appear and disappear. Since 2.2 the kernel tells
//! when the snapshots of a dataset last changed (`snapshots_changed`). As long as that stays, the remembered snapshots are
//! those of the pool: one ioctl to ask, and one for the bookmarks, whose changes it does not cover.
//!
//! `snapshots_changed` counts whole seconds. A listing made within the second of a change may lack another change of that
//! same second, so it is not relied upon later: only what was listed after that second had passed is.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::error::Result;
use crate::name::{DatasetPath, EntityName};
use crate::property::{Property, PropertyName, ZfsVersion};
use crate::version::FilesystemVersion;
use crate::zfs::{VersionQuery, Zfs};

/// Seconds that must have passed since the last change before a listing is relied upon: the rest of the second of the
/// change, and one more for the time between a transaction group's time stamp and its end.
const SETTLED_AFTER: u64 = 2;

/// When the snapshots of a dataset last changed.
const CHANGE_TIME: &str = "snapshots_changed";

/// The first release that has [`CHANGE_TIME`].
const FIRST_WITH_CHANGE_TIME: ZfsVersion = ZfsVersion::new(2, 2, 0);

/// Versions of datasets as last listed. Memory: one [`FilesystemVersion`] for each snapshot of each dataset asked for.
#[derive(Debug)]
pub struct VersionMemory {
    zfs: Arc<dyn Zfs>,
    /// What tells that a dataset's snapshots are the same; empty where the kernel does not tell.
    evidence: Vec<PropertyName>,
    datasets: Mutex<HashMap<DatasetPath, Remembered>>,
}

#[derive(Clone, Debug)]
struct Remembered {
    evidence: Evidence,
    snapshots: Arc<[FilesystemVersion]>,
}

/// What tells whether a dataset's snapshots are those of another time: equal evidence, equal snapshots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence(
    /// The values, as text.
    Box<[String]>,
);

impl VersionMemory {
    /// An empty memory in front of `zfs`.
    pub fn new(zfs: Arc<dyn Zfs>) -> Result<Self> {
        let knows = zfs.module_version()?.at_least(FIRST_WITH_CHANGE_TIME);
        // Identity of the dataset and time of the last change. Sums such as `written` or `usedbysnapshots` would not do:
        // they also change when files do.
        let names: &[&str] = if knows {
            &["guid", "createtxg", CHANGE_TIME]
        } else {
            &[]
        };
        let evidence = names.iter().filter_map(|name| name.parse().ok()).collect();
        Ok(Self {
            zfs,
            evidence,
            datasets: Mutex::default(),
        })
    }

    /// The properties that are evidence. Whoever lists datasets with them spares the memory an ioctl for each: see
    /// [`evidence_of`](Self::evidence_of). None where the kernel does not tell.
    pub fn evidence(&self) -> &[PropertyName] {
        &self.evidence
    }

    /// The evidence among the properties that a listing has read of a dataset; `None` where the kernel does not tell.
    pub fn evidence_of(&self, properties: &[Property]) -> Option<Evidence> {
        if self.evidence.is_empty() {
            return None;
        }
        let mut texts = Vec::with_capacity(self.evidence.len());
        for wanted in &self.evidence {
            let name = wanted.as_str();
            match properties.iter().find(|p| p.name.as_str() == name) {
                Some(property) => texts.push(format!("{name}={}", property.value)),
                // Not there if they have never changed.
                None if name == CHANGE_TIME => {}
                None => return None,
            }
        }
        Some(Evidence(texts.into()))
    }

    /// Snapshots and bookmarks of a dataset, in [history order](FilesystemVersion::history_order). `now` is the time before the
    /// call. How many holds there are on snapshots is told if this call has listed them; it changes without a trace, so it is not
    /// remembered.
    pub fn versions(
        &self,
        dataset: &DatasetPath,
        now: SystemTime,
    ) -> Result<Vec<FilesystemVersion>> {
        let bookmarks = self.zfs.versions(dataset, &VersionQuery::BOOKMARKS)?;
        let snapshots = self.snapshots(dataset, now)?;
        Ok(joined(bookmarks, &snapshots))
    }

    /// The same, by evidence that was read a moment ago and is not read again. Snapshots that have come or gone since then
    /// may be missed; bookmarks are not.
    pub fn versions_by(
        &self,
        dataset: &DatasetPath,
        evidence: Evidence,
        now: SystemTime,
    ) -> Result<Vec<FilesystemVersion>> {
        let bookmarks = self.zfs.versions(dataset, &VersionQuery::BOOKMARKS)?;
        let snapshots = self.snapshots_by(dataset, evidence, now)?;
        Ok(joined(bookmarks, &snapshots))
    }

    /// Snapshots of a dataset, oldest first. `now` is the time before the call. Their holds are counted as in
    /// [`versions`](Self::versions).
    pub fn snapshots(
        &self,
        dataset: &DatasetPath,
        now: SystemTime,
    ) -> Result<Arc<[FilesystemVersion]>> {
        if self.evidence.is_empty() {
            return self.list(dataset);
        }
        let properties = self
            .zfs
            .properties(&EntityName::from(dataset.clone()), &self.evidence);
        let evidence = match properties {
            Ok(properties) => self.evidence_of(&properties),
            Err(error) => {
                lock(&self.datasets).remove(dataset);
                return Err(error);
            }
        };
        match evidence {
            Some(evidence) => self.snapshots_by(dataset, evidence, now),
            None => self.list(dataset),
        }
    }

    /// The kernel tells how many holds there are with everything else, so that costs nothing.
    fn list(&self, dataset: &DatasetPath) -> Result<Arc<[FilesystemVersion]>> {
        let query = VersionQuery::SNAPSHOTS.with_userrefs();
        Ok(self.zfs.versions(dataset, &query)?.into())
    }

    /// The same, by evidence that was read a moment ago and is not read again. Snapshots that have come or gone since then may
    /// be missed.
    pub fn snapshots_by(
        &self,
        dataset: &DatasetPath,
        evidence: Evidence,
        now: SystemTime,
    ) -> Result<Arc<[FilesystemVersion]>> {
        if let Some(known) = lock(&self.datasets)
            .get(dataset)
            .filter(|known| known.evidence == evidence)
        {
            return Ok(Arc::clone(&known.snapshots));
        }
        // Evidence is read before the snapshots are listed: a change in between makes the next reading another one.
        let snapshots = self.list(dataset)?;
        let mut datasets = lock(&self.datasets);
        if evidence.is_settled(now) && (evidence.tells_changes() || snapshots.is_empty()) {
            datasets.insert(
                dataset.clone(),
                Remembered {
                    evidence,
                    snapshots: snapshots.iter().map(without_holds).collect(),
                },
            );
        } else {
            datasets.remove(dataset);
        }
        Ok(snapshots)
    }

    /// Forgets a dataset, so that memory does not grow with datasets that come and go.
    pub fn forget(&self, dataset: &DatasetPath) {
        lock(&self.datasets).remove(dataset);
    }
}

impl Evidence {
    /// Is there a time of the last change? A dataset without snapshots need not have one. One with snapshots that has none is of a
    /// pool without the feature that keeps it (`extensible_dataset`): there it is forgotten with every import.
    fn tells_changes(&self) -> bool {
        self.0.iter().any(|text| text.starts_with(CHANGE_TIME))
    }

    /// Had the second of the last change passed at `now`? A dataset whose snapshots never changed has no such time, and gets
    /// one with the first change.
    fn is_settled(&self, now: SystemTime) -> bool {
        let changed = self
            .0
            .iter()
            .find_map(|text| text.strip_prefix(CHANGE_TIME)?.strip_prefix('='));
        let Some(changed) = changed else { return true };
        let now = now
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        changed
            .parse::<u64>()
            .is_ok_and(|changed| changed.saturating_add(SETTLED_AFTER) <= now)
    }
}

fn without_holds(version: &FilesystemVersion) -> FilesystemVersion {
    FilesystemVersion {
        userrefs: None,
        ..version.clone()
    }
}

fn joined(
    bookmarks: Vec<FilesystemVersion>,
    snapshots: &[FilesystemVersion],
) -> Vec<FilesystemVersion> {
    let mut versions = bookmarks;
    versions.extend(snapshots.iter().cloned());
    versions.sort_by(|a, b| a.history_order().cmp(&b.history_order()));
    versions
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_listing_within_the_second_of_a_change_is_not_relied_upon() {
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        let evidence = |texts: &[&str]| Evidence(texts.iter().map(|&text| text.into()).collect());
        let changed = evidence(&["guid=1", "snapshots_changed=100"]);
        assert!(!changed.is_settled(at(100)));
        assert!(!changed.is_settled(at(101)));
        assert!(changed.is_settled(at(102)));
        assert!(evidence(&["guid=1"]).is_settled(at(100)), "never changed");
        assert!(!changed.is_settled(at(50)), "clock was set back");
    }
}
