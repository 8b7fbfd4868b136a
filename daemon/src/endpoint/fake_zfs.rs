//! ZFS in memory, for tests of what stands above it: datasets with properties, snapshots, bookmarks and holds, in transaction
//! groups that are counted one by one. Every call is written down; calls can be made to fail, and something can happen just before one.
//! Streams are a begin record that is right and a text of any length.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::File;
use std::io::{Read, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use zfs_safe::begin_record::BeginRecord;
use zfs_safe::counters::Counters;
use zfs_safe::error::{Operation, Reason};
use zfs_safe::guid::Guid;
use zfs_safe::name::{
    BookmarkName, DatasetPath, EntityName, HoldTag, PoolName, SnapshotName, VersionName,
};
use zfs_safe::program::{Program, ProgramError, ProgramFailure, ProgramValue};
use zfs_safe::property::{DatasetType, Property, PropertyName, Source, ZfsVersion};
use zfs_safe::stream::{ReceiveReport, ReceiveStream, SendStream};
use zfs_safe::version::{FilesystemVersion, Txg};
use zfs_safe::zfs::{
    Backend, BookmarkRequest, Dataset, DatasetQuery, Hold, HoldRequest, PackageArgs, Pool,
    PoolHealth, ReceiveArgs, SendArgs, VersionQuery, Zfs,
};
use zfs_safe::{Outcome, Result, ZfsError};

/// The fake.
#[derive(Debug, Default)]
pub(crate) struct FakeZfs {
    state: Mutex<State>,
    calls: Mutex<Vec<String>>,
    failures: Mutex<Vec<(Operation, String, Reason)>>,
    refusal: Mutex<Option<Refusal>>,
    surprise: Mutex<Option<Surprise>>,
    counters: Counters,
}

/// Happens once, before a call.
struct Surprise {
    before: String,
    what: Box<dyn FnOnce(&FakeZfs) + Send>,
}

/// Judges calls for snapshots as wholes.
trait Judge: FnMut(&[String]) -> Option<Reason> + Send {}

impl<T: FnMut(&[String]) -> Option<Reason> + Send> Judge for T {}

struct Refusal(Box<dyn Judge>);

#[derive(Debug, Default)]
struct State {
    txg: u64,
    datasets: BTreeMap<DatasetPath, Filesystem>,
    /// Bytes that a stream has after its begin record.
    stream_len: usize,
}

#[derive(Debug)]
struct Filesystem {
    guid: u64,
    createtxg: u64,
    changed: Option<u64>,
    properties: BTreeMap<String, String>,
    snapshots: BTreeMap<String, Version>,
    bookmarks: BTreeMap<String, Version>,
}

#[derive(Clone, Debug)]
struct Version {
    guid: u64,
    createtxg: u64,
    holds: BTreeSet<HoldTag>,
}

impl FakeZfs {
    /// Datasets, snapshots and bookmarks, made in this order: `p/a`, `p/a@1`, `p/a#1=p/a@1`. Parents need not be named.
    pub(crate) fn with(names: &[&str]) -> Self {
        let zfs = Self::default();
        for name in names {
            zfs.make(name);
        }
        zfs
    }

    /// One of those.
    pub(crate) fn make(&self, name: &str) {
        let mut state = lock(&self.state);
        if let Some((bookmark, snapshot)) = name.split_once('=') {
            let source = state.find(snapshot).expect(snapshot).clone();
            let (dataset, bookmark) = bookmark.split_once('#').expect(name);
            let version = Version {
                holds: BTreeSet::new(),
                ..source
            };
            state
                .dataset(dataset)
                .bookmarks
                .insert(bookmark.to_owned(), version);
        } else if let Some((dataset, snapshot)) = name.split_once('@') {
            state.create(dataset);
            state.snapshot(dataset, snapshot, None);
        } else {
            state.create(name);
        }
    }

    /// Destroys anything, held or not, with everything below it.
    pub(crate) fn destroy(&self, name: &str) {
        let mut state = lock(&self.state);
        if let Some((dataset, snapshot)) = name.split_once('@') {
            let txg = state.next_txg();
            let dataset = state.dataset(dataset);
            dataset.snapshots.remove(snapshot).expect(name);
            dataset.changed = Some(txg);
        } else if let Some((dataset, bookmark)) = name.split_once('#') {
            state
                .dataset(dataset)
                .bookmarks
                .remove(bookmark)
                .expect(name);
        } else {
            let root = DatasetPath::new(name).expect(name);
            state.datasets.retain(|path, _| !path.is_within(&root));
        }
    }

    /// Sets a property of a dataset, which those below inherit.
    pub(crate) fn set(&self, dataset: &str, property: &str, value: &str) {
        let mut state = lock(&self.state);
        let properties = &mut state.dataset(dataset).properties;
        properties.insert(property.to_owned(), value.to_owned());
    }

    /// Holds a snapshot, as others do.
    pub(crate) fn hold_by_hand(&self, snapshot: &str, tag: &str) {
        let (dataset, name) = snapshot.split_once('@').expect(snapshot);
        let mut state = lock(&self.state);
        let version = state
            .dataset(dataset)
            .snapshots
            .get_mut(name)
            .expect(snapshot);
        version.holds.insert(HoldTag::new(tag).expect(tag));
    }

    /// Releases it again.
    pub(crate) fn release_by_hand(&self, snapshot: &str, tag: &str) {
        let (dataset, name) = snapshot.split_once('@').expect(snapshot);
        let mut state = lock(&self.state);
        let of_dataset = &mut state.dataset(dataset).snapshots;
        let version = of_dataset.get_mut(name).expect(snapshot);
        assert!(version.holds.remove(&HoldTag::new(tag).expect(tag)));
    }

    /// Gives streams so many bytes after their begin record.
    pub(crate) fn stream_len(&self, bytes: usize) {
        lock(&self.state).stream_len = bytes;
    }

    /// From now on this fails: an operation on what has this name, or on anything whose name it begins.
    pub(crate) fn fail(&self, operation: Operation, name: &str, reason: Reason) {
        lock(&self.failures).push((operation, name.to_owned(), reason));
    }

    /// From now on calls for snapshots of one pool fail without naming anybody, if this finds a reason. It is asked only if nothing
    /// else is wrong, and what it lets pass is taken.
    pub(crate) fn refuse_snapshots(
        &self,
        judge: impl FnMut(&[String]) -> Option<Reason> + Send + 'static,
    ) {
        *lock(&self.refusal) = Some(Refusal(Box::new(judge)));
    }

    /// From now on nothing fails.
    pub(crate) fn mend(&self) {
        lock(&self.failures).clear();
        *lock(&self.refusal) = None;
    }

    /// Does something just before the next call that is written down with this beginning.
    pub(crate) fn before(&self, call: &str, what: impl FnOnce(&Self) + Send + 'static) {
        *lock(&self.surprise) = Some(Surprise {
            before: call.to_owned(),
            what: Box::new(what),
        });
    }

    /// The calls since the last time, in their order; those of a batch in one line.
    pub(crate) fn calls(&self) -> Vec<String> {
        std::mem::take(&mut *lock(&self.calls))
    }

    /// All snapshots, with their holds, and bookmarks of a dataset, in history order.
    pub(crate) fn contents(&self, dataset: &str) -> Vec<String> {
        let path = DatasetPath::new(dataset).expect(dataset);
        let mut state = lock(&self.state);
        let filesystem = state.dataset(dataset);
        let versions = filesystem.versions(&path, &VersionQuery::ALL);
        let text = |version: FilesystemVersion| {
            let name = version.name.as_str()[dataset.len()..].to_owned();
            let tags = filesystem
                .snapshots
                .get(&name[1..])
                .filter(|_| version.is_snapshot());
            tags.into_iter()
                .flat_map(|snapshot| &snapshot.holds)
                .fold(name, |text, tag| format!("{text} {tag}"))
        };
        versions.into_iter().map(text).collect()
    }

    /// The guid of a snapshot or bookmark.
    pub(crate) fn guid(&self, name: &str) -> u64 {
        lock(&self.state).find(name).expect(name).guid
    }

    /// The createtxg of a snapshot or bookmark.
    pub(crate) fn createtxg(&self, name: &str) -> u64 {
        lock(&self.state).find(name).expect(name).createtxg
    }

    fn called(&self, call: String) {
        let surprise = {
            let mut surprise = lock(&self.surprise);
            let is_now = |it: &mut Surprise| call.starts_with(&it.before);
            surprise.take_if(is_now)
        };
        if let Some(surprise) = surprise {
            (surprise.what)(self);
        }
        lock(&self.calls).push(call);
    }

    fn check(&self, operation: Operation, name: &str) -> Result<()> {
        let failures = lock(&self.failures);
        let failure = failures
            .iter()
            .find(|(failing, prefix, _)| *failing == operation && name.starts_with(prefix));
        match failure {
            Some((_, _, reason)) => Err(ZfsError::new(operation, name, reason.clone())),
            None => Ok(()),
        }
    }

    /// All of them or none, as the kernel does it.
    fn snapshot_pool(&self, snapshots: &[&SnapshotName]) -> Vec<Outcome> {
        let operation = Operation::Snapshot;
        let mut state = lock(&self.state);
        let mut problem = |name: &SnapshotName| {
            let problem = |reason| ZfsError::new(operation, name.as_str(), reason);
            if let Err(error) = self.check(operation, name.as_str()) {
                Some(error)
            } else if !state.datasets.contains_key(&name.dataset()) {
                Some(problem(Reason::NotFound))
            } else {
                let there = state.find(name.as_str());
                there.map(|_| problem(Reason::AlreadyExists))
            }
        };
        let problems: Vec<_> = snapshots.iter().map(|name| problem(name)).collect();
        if problems.iter().any(Option::is_some) {
            let outcome = |problem: Option<_>| problem.map_or(Outcome::NotTried, Outcome::Failed);
            return problems.into_iter().map(outcome).collect();
        }
        let names: Vec<_> = snapshots.iter().map(ToString::to_string).collect();
        let refused = lock(&self.refusal).as_mut().and_then(|it| (it.0)(&names));
        if let Some(reason) = refused {
            let failed = |name| Outcome::Failed(ZfsError::new(operation, name, reason.clone()));
            return names.into_iter().map(failed).collect();
        }
        let txg = state.next_txg();
        for (name, thousand) in snapshots.iter().zip(1..) {
            let guid = Some(1000 * thousand + txg);
            state.snapshot_within(txg, name.dataset().as_str(), name.name(), guid);
        }
        vec![Outcome::Done; snapshots.len()]
    }

    fn each<T: fmt::Display>(
        &self,
        (operation, call): (Operation, &str),
        items: &[T],
        mut change: impl FnMut(&mut State, &T) -> Outcome,
    ) -> Vec<Outcome> {
        let names: Vec<_> = items.iter().map(ToString::to_string).collect();
        self.called(format!("{call} {}", names.join(" ")));
        let mut state = lock(&self.state);
        state.next_txg();
        // Without tag or source.
        let subject = |name: &str| name.split([':', '=']).next().unwrap_or_default().to_owned();
        let outcome = |(item, name): (&T, &String)| match self.check(operation, &subject(name)) {
            Ok(()) => change(&mut state, item),
            Err(error) => Outcome::Failed(error),
        };
        items.iter().zip(&names).map(outcome).collect()
    }
}

impl State {
    fn next_txg(&mut self) -> u64 {
        self.txg += 1;
        self.txg
    }

    fn create(&mut self, name: &str) {
        let path = DatasetPath::new(name).expect(name);
        let parents: Vec<_> = std::iter::successors(Some(path), DatasetPath::parent).collect();
        for path in parents.into_iter().rev() {
            let txg = self.next_txg();
            self.datasets.entry(path).or_insert_with(|| Filesystem {
                guid: 10_000 + txg,
                createtxg: txg,
                changed: None,
                properties: BTreeMap::new(),
                snapshots: BTreeMap::new(),
                bookmarks: BTreeMap::new(),
            });
        }
    }

    fn dataset(&mut self, name: &str) -> &mut Filesystem {
        let path = DatasetPath::new(name).expect(name);
        self.datasets.get_mut(&path).expect(name)
    }

    fn snapshot(&mut self, dataset: &str, snapshot: &str, guid: Option<u64>) {
        let txg = self.next_txg();
        self.snapshot_within(txg, dataset, snapshot, guid);
    }

    /// What is of one transaction group is of one instant.
    fn snapshot_within(&mut self, txg: u64, dataset: &str, snapshot: &str, guid: Option<u64>) {
        let version = Version {
            guid: guid.unwrap_or(1000 + txg),
            createtxg: txg,
            holds: BTreeSet::new(),
        };
        let dataset = self.dataset(dataset);
        dataset.changed = Some(txg);
        dataset.snapshots.insert(snapshot.to_owned(), version);
    }

    fn find(&mut self, name: &str) -> Option<&mut Version> {
        let (dataset, version) = name.split_once(['@', '#'])?;
        let path = DatasetPath::new(dataset).ok()?;
        let filesystem = self.datasets.get_mut(&path)?;
        if name.contains('@') {
            filesystem.snapshots.get_mut(version)
        } else {
            filesystem.bookmarks.get_mut(version)
        }
    }

    fn properties(&self, name: &EntityName, wanted: &[PropertyName]) -> Option<Vec<Property>> {
        let path = name.as_str().split(['@', '#']).next()?;
        let path = DatasetPath::new(path).ok()?;
        let filesystem = self.datasets.get(&path)?;
        let version = match name {
            EntityName::Dataset(_) => None,
            EntityName::Snapshot(name) => Some(filesystem.snapshots.get(name.name())?),
            EntityName::Bookmark(name) => Some(filesystem.bookmarks.get(name.name())?),
        };
        let of = |wanted: &PropertyName| {
            let (value, source) = match (wanted.as_str(), version) {
                ("guid", _) => (
                    version.map_or(filesystem.guid, |it| it.guid).to_string(),
                    Source::None,
                ),
                ("createtxg", _) => {
                    let txg = version.map_or(filesystem.createtxg, |it| it.createtxg);
                    (txg.to_string(), Source::None)
                }
                ("creation", Some(version)) => (version.createtxg.to_string(), Source::None),
                ("snapshots_changed", None) => (filesystem.changed?.to_string(), Source::None),
                (name, _) => self.inherited(&path, name)?,
            };
            Some(Property {
                name: wanted.clone(),
                value,
                source,
            })
        };
        Some(wanted.iter().filter_map(of).collect())
    }

    fn inherited(&self, path: &DatasetPath, name: &str) -> Option<(String, Source)> {
        let set = std::iter::successors(Some(path.clone()), DatasetPath::parent)
            .find_map(|at| Some((self.datasets.get(&at)?.properties.get(name)?.clone(), at)));
        match set {
            Some((value, at)) if &at == path => Some((value, Source::Local)),
            Some((value, at)) => Some((value, Source::Inherited(at.to_string()))),
            None if name == "encryption" => Some(("off".to_owned(), Source::Default)),
            None => None,
        }
    }
}

impl Filesystem {
    fn versions(&self, path: &DatasetPath, query: &VersionQuery) -> Vec<FilesystemVersion> {
        let version = |name: VersionName, version: &Version| FilesystemVersion {
            userrefs: (query.userrefs && matches!(name, VersionName::Snapshot(_)))
                .then_some(version.holds.len() as u64),
            name,
            guid: Guid::new(version.guid),
            createtxg: Txg::new(version.createtxg),
            creation: version.createtxg,
        };
        let snapshots = self.snapshots.iter().filter(|_| query.snapshots);
        let bookmarks = self.bookmarks.iter().filter(|_| query.bookmarks);
        let snapshots =
            snapshots.map(|(name, it)| version(path.snapshot(name).expect(name).into(), it));
        let bookmarks =
            bookmarks.map(|(name, it)| version(path.bookmark(name).expect(name).into(), it));
        let mut versions: Vec<_> = snapshots.chain(bookmarks).collect();
        versions.retain(|version| {
            query
                .from_createtxg
                .is_none_or(|from| version.createtxg >= from)
        });
        versions.sort_by(|a, b| a.history_order().cmp(&b.history_order()));
        versions
    }
}

/// What a batch writes down of its items.
struct Held<'a>(&'a HoldRequest);

impl fmt::Display for Held<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.0.snapshot, self.0.tag)
    }
}

struct Marked<'a>(&'a BookmarkRequest);

impl fmt::Display for Marked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.0.bookmark, self.0.source)
    }
}

fn done_if(is_changed: bool) -> Outcome {
    if is_changed {
        Outcome::Done
    } else {
        Outcome::AlreadyDone
    }
}

fn not_found<T>(operation: Operation, name: &str) -> Result<T> {
    Err(ZfsError::new(operation, name, Reason::NotFound))
}

fn unsupported(operation: Operation, name: &str) -> ZfsError {
    ZfsError::new(operation, name, Reason::Unsupported).with_detail("the fake cannot do it")
}

impl Zfs for FakeZfs {
    fn backend(&self) -> Backend {
        Backend::Native
    }

    fn counters(&self) -> &Counters {
        &self.counters
    }

    fn module_version(&self) -> Result<ZfsVersion> {
        Ok(ZfsVersion::new(2, 3, 9))
    }

    fn pools(&self) -> Result<Vec<Pool>> {
        self.called("pools".to_owned());
        let state = lock(&self.state);
        let roots = state
            .datasets
            .iter()
            .filter(|(path, _)| path.parent().is_none());
        let pool = |(path, filesystem): (&DatasetPath, &Filesystem)| Pool {
            name: path.pool(),
            guid: Guid::new(filesystem.guid),
            health: PoolHealth::Online,
        };
        Ok(roots.map(pool).collect())
    }

    fn exists(&self, name: &EntityName) -> Result<bool> {
        self.called(format!("exists {name}"));
        Ok(lock(&self.state).properties(name, &[]).is_some())
    }

    fn datasets(&self, roots: &[DatasetPath], query: &DatasetQuery) -> Result<Vec<Dataset>> {
        let names: Vec<_> = roots.iter().map(DatasetPath::as_str).collect();
        let depth = query
            .depth
            .map_or("-r".to_owned(), |depth| format!("-d{depth}"));
        self.called(format!("datasets {depth} {}", names.join(" ")));
        let state = lock(&self.state);
        let mut found = BTreeMap::new();
        for root in roots {
            self.check(Operation::ListDatasets, root.as_str())?;
            if !state.datasets.contains_key(root) {
                return not_found(Operation::ListDatasets, root.as_str());
            }
            let depth = |path: &DatasetPath| path.components().count() - root.components().count();
            for (path, filesystem) in &state.datasets {
                let is_wanted = path.is_within(root)
                    && query
                        .depth
                        .is_none_or(|limit| depth(path) <= limit as usize);
                if is_wanted {
                    let name = EntityName::from(path.clone());
                    let dataset = Dataset {
                        path: path.clone(),
                        dataset_type: DatasetType::Filesystem,
                        guid: Guid::new(filesystem.guid),
                        createtxg: Txg::new(filesystem.createtxg),
                        properties: state
                            .properties(&name, &query.properties)
                            .unwrap_or_default(),
                    };
                    found.insert(path.clone(), dataset);
                }
            }
        }
        Ok(found.into_values().collect())
    }

    fn versions(
        &self,
        dataset: &DatasetPath,
        query: &VersionQuery,
    ) -> Result<Vec<FilesystemVersion>> {
        let what = match (query.snapshots, query.bookmarks) {
            (true, true) => "all",
            (true, false) => "snapshots",
            (false, _) => "bookmarks",
        };
        self.called(format!("versions {dataset} {what}"));
        self.check(Operation::ListVersions, dataset.as_str())?;
        match lock(&self.state).datasets.get(dataset) {
            Some(filesystem) => Ok(filesystem.versions(dataset, query)),
            None => not_found(Operation::ListVersions, dataset.as_str()),
        }
    }

    fn holds(&self, snapshot: &SnapshotName) -> Result<Vec<Hold>> {
        self.called(format!("holds {snapshot}"));
        self.check(Operation::ListHolds, snapshot.as_str())?;
        let mut state = lock(&self.state);
        let Some(version) = state.find(snapshot.as_str()) else {
            return not_found(Operation::ListHolds, snapshot.as_str());
        };
        let hold = |tag: &HoldTag| Hold {
            tag: tag.clone(),
            created: 0,
        };
        Ok(version.holds.iter().map(hold).collect())
    }

    fn properties(&self, name: &EntityName, properties: &[PropertyName]) -> Result<Vec<Property>> {
        let names: Vec<_> = properties.iter().map(PropertyName::as_str).collect();
        self.called(format!("properties {name} {}", names.join(",")));
        self.check(Operation::ReadProperties, name.as_str())?;
        let found = lock(&self.state).properties(name, properties);
        found.map_or_else(|| not_found(Operation::ReadProperties, name.as_str()), Ok)
    }

    fn create_filesystem(
        &self,
        path: &DatasetPath,
        properties: &[(PropertyName, String)],
    ) -> Result<()> {
        self.called(format!("create {path}"));
        self.check(Operation::Create, path.as_str())?;
        let mut state = lock(&self.state);
        if state.datasets.contains_key(path) {
            return Err(ZfsError::new(
                Operation::Create,
                path.as_str(),
                Reason::AlreadyExists,
            ));
        }
        if path
            .parent()
            .is_some_and(|parent| !state.datasets.contains_key(&parent))
        {
            return not_found(Operation::Create, path.as_str());
        }
        state.create(path.as_str());
        let set = &mut state.dataset(path.as_str()).properties;
        set.extend(
            properties
                .iter()
                .map(|(name, value)| (name.to_string(), value.clone())),
        );
        Ok(())
    }

    fn set_properties(
        &self,
        name: &EntityName,
        properties: &[(PropertyName, String)],
    ) -> Result<()> {
        let texts: Vec<_> = properties
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        self.called(format!("set {name} {}", texts.join(",")));
        self.check(Operation::SetProperties, name.as_str())?;
        let mut state = lock(&self.state);
        let path = DatasetPath::new(name.as_str())
            .map_err(|_| unsupported(Operation::SetProperties, name.as_str()))?;
        let Some(filesystem) = state.datasets.get_mut(&path) else {
            return not_found(Operation::SetProperties, name.as_str());
        };
        let set = &mut filesystem.properties;
        set.extend(
            properties
                .iter()
                .map(|(name, value)| (name.to_string(), value.clone())),
        );
        Ok(())
    }

    fn inherit_property(&self, name: &EntityName, property: &PropertyName, _: bool) -> Result<()> {
        self.called(format!("inherit {name} {property}"));
        self.check(Operation::InheritProperty, name.as_str())?;
        lock(&self.state)
            .dataset(name.as_str())
            .properties
            .remove(property.as_str());
        Ok(())
    }

    fn rename(&self, from: &DatasetPath, _: &DatasetPath) -> Result<()> {
        Err(unsupported(Operation::Rename, from.as_str()))
    }

    fn rollback(&self, snapshot: &SnapshotName) -> Result<()> {
        self.called(format!("rollback {snapshot}"));
        self.check(Operation::Rollback, snapshot.as_str())
    }

    fn destroy_dataset(&self, path: &DatasetPath) -> Result<()> {
        self.called(format!("destroy {path}"));
        self.check(Operation::DestroyDataset, path.as_str())?;
        match lock(&self.state).datasets.remove(path) {
            Some(_) => Ok(()),
            None => not_found(Operation::DestroyDataset, path.as_str()),
        }
    }

    fn discard_partial_receive(&self, path: &DatasetPath) -> Result<bool> {
        self.called(format!("discard {path}"));
        self.check(Operation::DiscardPartialReceive, path.as_str())?;
        let mut state = lock(&self.state);
        let Some(filesystem) = state.datasets.get_mut(path) else {
            return not_found(Operation::DiscardPartialReceive, path.as_str());
        };
        Ok(filesystem
            .properties
            .remove("receive_resume_token")
            .is_some())
    }

    fn snapshot(&self, snapshots: &[SnapshotName], _: &[(PropertyName, String)]) -> Vec<Outcome> {
        let names: Vec<_> = snapshots.iter().map(ToString::to_string).collect();
        self.called(format!("snapshot {}", names.join(" ")));
        let mut pools: BTreeMap<PoolName, Vec<usize>> = BTreeMap::new();
        for (index, name) in snapshots.iter().enumerate() {
            pools.entry(name.pool()).or_default().push(index);
        }
        let mut outcomes = vec![Outcome::NotTried; snapshots.len()];
        for indices in pools.into_values() {
            let of_pool: Vec<_> = indices.iter().map(|&index| &snapshots[index]).collect();
            let of_pool = self.snapshot_pool(&of_pool);
            for (index, outcome) in indices.into_iter().zip(of_pool) {
                outcomes[index] = outcome;
            }
        }
        outcomes
    }

    fn bookmark(&self, requests: &[BookmarkRequest]) -> Vec<Outcome> {
        let items: Vec<_> = requests.iter().map(Marked).collect();
        let operation = Operation::Bookmark;
        self.each((operation, "bookmark"), &items, |state, Marked(request)| {
            let Some(source) = state.find(request.source.as_str()).cloned() else {
                return Outcome::Missing;
            };
            let name = &request.bookmark;
            match state.find(name.as_str()) {
                Some(there) if there.guid == source.guid => return Outcome::AlreadyDone,
                Some(_) => {
                    let error = ZfsError::new(operation, name.as_str(), Reason::AlreadyExists);
                    return Outcome::Failed(error);
                }
                None => {}
            }
            let version = Version {
                holds: BTreeSet::new(),
                ..source
            };
            let dataset = state.dataset(name.dataset().as_str());
            dataset.bookmarks.insert(name.name().to_owned(), version);
            Outcome::Done
        })
    }

    fn hold(&self, requests: &[HoldRequest]) -> Vec<Outcome> {
        let items: Vec<_> = requests.iter().map(Held).collect();
        self.each(
            (Operation::Hold, "hold"),
            &items,
            |state, Held(request)| match state.find(request.snapshot.as_str()) {
                None => Outcome::Missing,
                Some(version) => done_if(version.holds.insert(request.tag.clone())),
            },
        )
    }

    fn release(&self, requests: &[HoldRequest]) -> Vec<Outcome> {
        let items: Vec<_> = requests.iter().map(Held).collect();
        self.each(
            (Operation::Release, "release"),
            &items,
            |state, Held(request)| match state.find(request.snapshot.as_str()) {
                None => Outcome::Missing,
                Some(version) => done_if(version.holds.remove(&request.tag)),
            },
        )
    }

    fn destroy_snapshots(&self, snapshots: &[SnapshotName]) -> Vec<Outcome> {
        let operation = Operation::DestroySnapshots;
        self.each((operation, "destroy"), snapshots, |state, name| {
            let holds = match state.find(name.as_str()) {
                None => return Outcome::Missing,
                Some(version) => version.holds.iter().cloned().collect::<Vec<_>>(),
            };
            if !holds.is_empty() {
                let held = Reason::Held(holds);
                return Outcome::Failed(ZfsError::new(operation, name.as_str(), held));
            }
            let txg = state.txg;
            let dataset = state.dataset(name.dataset().as_str());
            dataset.snapshots.remove(name.name());
            dataset.changed = Some(txg);
            Outcome::Done
        })
    }

    fn destroy_bookmarks(&self, bookmarks: &[BookmarkName]) -> Vec<Outcome> {
        self.each(
            (Operation::DestroyBookmarks, "destroy"),
            bookmarks,
            |state, name| {
                let dataset = state.dataset(name.dataset().as_str());
                match dataset.bookmarks.remove(name.name()) {
                    Some(_) => Outcome::Done,
                    None => Outcome::Missing,
                }
            },
        )
    }

    fn run_program(&self, pool: &PoolName, _: &Program) -> Result<ProgramValue, ProgramError> {
        Err(ProgramError {
            pool: pool.clone(),
            failure: ProgramFailure::Refused(Reason::Unsupported),
        })
    }

    fn estimate(&self, send: &SendArgs) -> Result<u64> {
        self.called(format!("estimate {}", told(send)));
        self.check(Operation::EstimateSend, send.snapshot.as_str())?;
        Ok(lock(&self.state).stream_len as u64 + 312)
    }

    fn send(&self, send: &SendArgs) -> Result<SendStream> {
        self.called(format!("send {}", told(send)));
        self.check(Operation::Send, send.snapshot.as_str())?;
        let mut state = lock(&self.state);
        let guid = |state: &mut State, name: &str| state.find(name).map(|version| version.guid);
        let Some(to) = guid(&mut state, send.snapshot.as_str()) else {
            return not_found(Operation::Send, send.snapshot.as_str());
        };
        let base = send
            .base
            .as_ref()
            .map(|base| guid(&mut state, base.as_str()));
        if base == Some(None) {
            return not_found(Operation::Send, send.snapshot.as_str());
        }
        let record = begin(send.snapshot.as_str(), to, base.flatten());
        let len = state.stream_len;
        let name = send.snapshot.clone();
        SendStream::by(&send.snapshot, move |writer| {
            let mut writer = File::from(writer);
            let written = writer
                .write_all(&record)
                .and_then(|()| writer.write_all(&vec![b'z'; len]));
            written.map_err(|_| ZfsError::new(Operation::Send, name.as_str(), Reason::ReaderGone))
        })
    }

    fn receive(&self, receive: &ReceiveArgs) -> Result<ReceiveStream> {
        let force = if receive.force { "-F " } else { "" };
        self.called(format!("receive {force}{}", receive.snapshot));
        self.check(Operation::Receive, receive.snapshot.as_str())?;
        let dataset = receive.snapshot.dataset();
        let mut state = lock(&self.state);
        state.create(dataset.as_str());
        // Not in one piece with the stream: who needs that waits for the end and looks then.
        let guid = receive.begin.to_guid.get();
        state.snapshot(dataset.as_str(), receive.snapshot.name(), Some(guid));
        let name = receive.snapshot.clone();
        ReceiveStream::by(&receive.snapshot, move |reader| {
            let mut rest = Vec::new();
            let read = File::from(reader).read_to_end(&mut rest);
            read.map_err(|_| ZfsError::new(Operation::Receive, name.as_str(), Reason::Io))?;
            Ok(ReceiveReport {
                bytes: Some(rest.len() as u64),
                ..ReceiveReport::default()
            })
        })
    }

    fn receive_package(&self, package: &PackageArgs) -> Result<ReceiveStream> {
        let snapshot = package.snapshot.as_str();
        self.called(format!("receive package {snapshot}"));
        Err(unsupported(Operation::Receive, snapshot))
    }
}

/// As zfs(8) is told to send.
fn told(send: &SendArgs) -> String {
    let flags = &send.flags;
    let switches = [
        (flags.raw, "-w "),
        (flags.properties, "-p "),
        (flags.backup, "-b "),
        (flags.large_blocks, "-L "),
        (flags.compressed, "-c "),
        (flags.embedded, "-e "),
        (flags.saved, "-S "),
        (send.resume.is_some(), "-t "),
    ];
    let mut text: String = switches.iter().filter(|it| it.0).map(|it| it.1).collect();
    if let Some(base) = &send.base {
        text.extend(["-i ", base.as_str(), " "]);
    }
    text + send.snapshot.as_str()
}

/// The first record of a stream.
fn begin(name: &str, to: u64, from: Option<u64>) -> [u8; BeginRecord::LEN] {
    const MAGIC: u64 = 0x0002_f5ba_cbac;
    const FILESYSTEM: u32 = 2;
    let mut record = [0; BeginRecord::LEN];
    let mut at = 8;
    for number in [MAGIC, 1, 0, u64::from(FILESYSTEM), to, from.unwrap_or(0)] {
        record[at..at + 8].copy_from_slice(&number.to_le_bytes());
        at += 8;
    }
    record[at..at + name.len()].copy_from_slice(name.as_bytes());
    record
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Surprise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "before {:?}", self.before)
    }
}

impl fmt::Debug for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Refusal")
    }
}
