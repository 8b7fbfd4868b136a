//! Listings and properties by ioctl.

use std::collections::BTreeMap;

use super::device::{Object, Stats};
use super::{Native, mount};
use crate::errno::{Errno, Symbol};
use crate::error::{Operation, Reason, Result, ZfsError};
use crate::guid::Guid;
use crate::name::{
    BookmarkName, DatasetPath, EntityName, HoldTag, PoolName, SnapshotName, VersionName,
};
use crate::nvlist::{NvList, Value};
use crate::property::{
    self, DatasetType, NativeProperty, Property, PropertyName, Provenance, RawProperty, RawValue,
    Subject,
};
use crate::version::{FilesystemVersion, Txg};
use crate::zfs::{Dataset, DatasetQuery, Hold, Pool, PoolHealth, VersionQuery};

pub(super) fn pools(native: &Native) -> Result<Vec<Pool>> {
    let failed = |name: &str, errno| ZfsError::from_errno(Operation::ListPools, name, errno);
    let configs = native
        .device
        .pool_configs()
        .map_err(|errno| failed("", errno))?;
    let mut pools = Vec::with_capacity(configs.len());
    for (name, _) in configs.iter() {
        let config = match native.device.pool_stats(name) {
            Ok(config) => config,
            // Exported since.
            Err(errno) if errno.symbol() == Symbol::ENOENT => continue,
            Err(errno) => return Err(failed(name, errno)),
        };
        let malformed = || ZfsError::new(Operation::ListPools, name, Reason::ModuleMismatch);
        let guid = config.u64("pool_guid").ok_or_else(malformed)?;
        pools.push(Pool {
            name: PoolName::new(name).map_err(|_| malformed())?,
            guid: Guid::new(guid),
            health: pool_health(&config).ok_or_else(malformed)?,
        });
    }
    pools.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(pools)
}

/// Health from a pool's configuration: `suspended` is there only when it is; else the root vdev's state, the second
/// number of its `vdev_stats` (`vdev_stat_t` and `vdev_state_t` in `include/sys/fs/zfs.h`).
fn pool_health(config: &NvList) -> Option<PoolHealth> {
    const VDEV_STATE_DEGRADED: u64 = 6;
    const VDEV_STATE_HEALTHY: u64 = 7;
    if config.get("suspended").is_some() {
        return Some(PoolHealth::Suspended);
    }
    let stats = config.list("vdev_tree")?.u64s("vdev_stats")?;
    Some(match *stats.get(1)? {
        VDEV_STATE_HEALTHY => PoolHealth::Online,
        VDEV_STATE_DEGRADED => PoolHealth::Degraded,
        _ => PoolHealth::Faulted,
    })
}

pub(super) fn exists(native: &Native, name: &EntityName) -> Result<bool> {
    let answer = match name {
        EntityName::Bookmark(bookmark) => bookmark_stats(native, bookmark).map(drop),
        other => native.device.stats(other.as_str()).map(drop),
    };
    match answer {
        Ok(()) => Ok(true),
        Err(errno) if is_absence(errno) => Ok(false),
        Err(errno) => Err(ZfsError::from_errno(
            Operation::ReadProperties,
            name.as_str(),
            errno,
        )),
    }
}

fn is_absence(errno: Errno) -> bool {
    matches!(errno.symbol(), Symbol::ENOENT | Symbol::ESRCH)
}

pub(super) fn datasets(
    native: &Native,
    roots: &[DatasetPath],
    query: &DatasetQuery,
) -> Result<Vec<Dataset>> {
    let simple = query.properties.is_empty();
    let mut found = BTreeMap::new();
    for root in roots {
        let failed = |errno| ZfsError::from_errno(Operation::ListDatasets, root.as_str(), errno);
        let object = if simple {
            let stats = native.device.stats(root.as_str()).map_err(failed)?;
            Object {
                name: root.to_string(),
                stats,
                properties: NvList::new(),
            }
        } else {
            native.device.object(root.as_str()).map_err(failed)?
        };
        let mut pending = vec![(object, query.depth)];
        while let Some((object, depth)) = pending.pop() {
            let path = DatasetPath::new(object.name.as_str()).map_err(|error| {
                ZfsError::new(
                    Operation::ListDatasets,
                    object.name.as_str(),
                    Reason::from(error),
                )
            })?;
            // Volumes have no children. A root below another root has been listed, unless that listing was shallow.
            if object.stats.head_type == DatasetType::Filesystem && depth != Some(0) {
                let below = depth.map(|levels| levels - 1);
                pending.extend(
                    children(native, &path, simple)?
                        .into_iter()
                        .map(|child| (child, below)),
                );
            }
            let properties = derive_all(
                native,
                &object.name,
                &object.stats,
                &object.properties,
                &query.properties,
            )?;
            let dataset = Dataset {
                path: path.clone(),
                dataset_type: object.stats.dataset_type,
                guid: object.stats.guid,
                createtxg: object.stats.createtxg,
                properties,
            };
            found.insert(path, dataset);
        }
    }
    Ok(found.into_values().collect())
}

fn children(native: &Native, parent: &DatasetPath, simple: bool) -> Result<Vec<Object>> {
    let failed = |errno| ZfsError::from_errno(Operation::ListDatasets, parent.as_str(), errno);
    let mut cursor = native
        .device
        .children(parent.as_str(), simple)
        .map_err(failed)?;
    let mut children = Vec::new();
    while let Some(child) = native.device.next(&mut cursor).map_err(failed)? {
        children.push(child);
    }
    Ok(children)
}

pub(super) fn versions(
    native: &Native,
    dataset: &DatasetPath,
    query: &VersionQuery,
) -> Result<Vec<FilesystemVersion>> {
    let failed = |errno| ZfsError::from_errno(Operation::ListVersions, dataset.as_str(), errno);
    let mut versions = Vec::new();
    if query.snapshots {
        // A dataset that vanishes looks like the end of its list. A short list of versions would be believed, so make
        // sure that it is the same dataset before and after.
        let before = native.device.stats(dataset.as_str()).map_err(failed)?;
        let mut cursor = native
            .device
            .snapshots(dataset.as_str(), query.from_createtxg)
            .map_err(failed)?;
        while let Some(object) = native.device.next(&mut cursor).map_err(failed)? {
            versions.push(snapshot_version(&object, query.userrefs)?);
        }
        let after = native.device.stats(dataset.as_str()).map_err(failed)?;
        if before.guid != after.guid {
            return Err(failed(Symbol::ENOENT.errno())
                .with_detail("it was replaced while it was being listed"));
        }
    }
    if query.bookmarks {
        versions.extend(bookmarks(native, dataset, query.from_createtxg)?);
    }
    versions.sort_by(|a, b| a.history_order().cmp(&b.history_order()));
    Ok(versions)
}

fn snapshot_version(object: &Object, userrefs: bool) -> Result<FilesystemVersion> {
    let malformed = |what: &str| {
        ZfsError::new(
            Operation::ListVersions,
            object.name.as_str(),
            Reason::ModuleMismatch,
        )
        .with_detail(format!("the kernel's reply lacks {what}"))
    };
    let number = |name| {
        object
            .properties
            .list(name)
            .and_then(|entry| entry.u64("value"))
    };
    let name = SnapshotName::new(object.name.as_str()).map_err(|error| {
        ZfsError::new(
            Operation::ListVersions,
            object.name.as_str(),
            Reason::from(error),
        )
    })?;
    Ok(FilesystemVersion {
        name: VersionName::Snapshot(name),
        guid: object.stats.guid,
        createtxg: object.stats.createtxg,
        creation: number("creation").ok_or_else(|| malformed("creation"))?,
        userrefs: if userrefs {
            Some(number("userrefs").ok_or_else(|| malformed("userrefs"))?)
        } else {
            None
        },
    })
}

fn bookmarks(
    native: &Native,
    dataset: &DatasetPath,
    from: Option<Txg>,
) -> Result<Vec<FilesystemVersion>> {
    let wanted =
        NvList::from_iter(["guid", "createtxg", "creation"].map(|name| (name, Value::Boolean)));
    native.counters.add_ioctls(1);
    let reply = native.core.bookmarks(dataset.as_str(), &wanted);
    if let Some(errno) = reply.errno {
        return Err(ZfsError::from_errno(
            Operation::ListVersions,
            dataset.as_str(),
            errno,
        ));
    }
    let mut versions = Vec::with_capacity(reply.list.len());
    for (name, value) in reply.list.iter() {
        let Value::List(properties) = value else {
            continue;
        };
        let malformed = || {
            ZfsError::new(
                Operation::ListVersions,
                format!("{dataset}#{name}"),
                Reason::ModuleMismatch,
            )
            .with_detail("the kernel's reply lacks guid, createtxg or creation")
        };
        let number = |name| {
            properties
                .list(name)
                .and_then(|entry| entry.u64("value"))
                .ok_or_else(malformed)
        };
        let bookmark = dataset.bookmark(name).map_err(|error| {
            ZfsError::new(
                Operation::ListVersions,
                dataset.as_str(),
                Reason::from(error),
            )
        })?;
        let version = FilesystemVersion {
            name: VersionName::Bookmark(bookmark),
            guid: Guid::new(number("guid")?),
            createtxg: Txg::new(number("createtxg")?),
            creation: number("creation")?,
            userrefs: None,
        };
        if from.is_none_or(|from| version.createtxg >= from) {
            versions.push(version);
        }
    }
    Ok(versions)
}

pub(super) fn holds(native: &Native, snapshot: &SnapshotName) -> Result<Vec<Hold>> {
    native.counters.add_ioctls(1);
    let reply = native.core.holds(snapshot.as_str());
    if let Some(errno) = reply.errno {
        return Err(ZfsError::from_errno(
            Operation::ListHolds,
            snapshot.as_str(),
            errno,
        ));
    }
    let mut holds: Vec<_> = reply
        .list
        .iter()
        .filter_map(|(tag, value)| match value {
            Value::UInt64(created) => Some(Hold {
                tag: HoldTag::from_kernel(tag),
                created: *created,
            }),
            _ => None,
        })
        .collect();
    holds.sort_by(|a, b| a.tag.cmp(&b.tag));
    Ok(holds)
}

pub(super) fn properties(
    native: &Native,
    name: &EntityName,
    properties: &[PropertyName],
) -> Result<Vec<Property>> {
    let failed = |errno| ZfsError::from_errno(Operation::ReadProperties, name.as_str(), errno);
    if let EntityName::Bookmark(bookmark) = name {
        let list = bookmark_stats(native, bookmark).map_err(failed)?;
        // A bookmark has the properties that its reply has, so no more needs to be known of its dataset.
        let stats = Stats {
            guid: Guid::new(0),
            createtxg: Txg::new(0),
            dataset_type: DatasetType::Bookmark,
            head_type: DatasetType::Bookmark,
            inconsistent: false,
        };
        return derive_all(native, bookmark.as_str(), &stats, &list, properties);
    }
    let object = native.device.object(name.as_str()).map_err(failed)?;
    derive_all(
        native,
        name.as_str(),
        &object.stats,
        &object.properties,
        properties,
    )
}

/// guid and what else the kernel tells of a bookmark: property → { value }.
pub(super) fn bookmark_stats(native: &Native, bookmark: &BookmarkName) -> Result<NvList, Errno> {
    native.counters.add_ioctls(1);
    let reply = native.core.bookmark_properties(bookmark.as_str());
    reply.errno.map_or(Ok(reply.list), Err)
}

fn derive_all(
    native: &Native,
    name: &str,
    stats: &Stats,
    list: &NvList,
    wanted: &[PropertyName],
) -> Result<Vec<Property>> {
    let subject = Subject {
        name,
        dataset_type: stats.dataset_type,
        head_type: stats.head_type,
        altroot: None,
        dialect: native.dialect,
    };
    let mut properties = Vec::with_capacity(wanted.len());
    // Another call, so only if somebody asks for what it gives.
    let mut zpl: Option<NvList> = None;
    for wanted in wanted {
        let provenance = wanted
            .native()
            .map_or(Provenance::Stats, NativeProperty::provenance);
        let derived = match provenance {
            Provenance::MountTable => {
                let mounted = mount::mount_point_of(name)
                    .map_err(|error| {
                        ZfsError::new(Operation::ReadProperties, name, Reason::Io)
                            .with_detail(error.to_string())
                    })?
                    .is_some();
                let raw = RawProperty {
                    value: RawValue::Number(mounted.into()),
                    source: None,
                };
                property::derive(&subject, wanted, Some(raw))
            }
            Provenance::ZplProps if stats.head_type == DatasetType::Filesystem => {
                if zpl.is_none() {
                    let read = native.device.zpl_properties(name);
                    zpl = Some(read.map_err(|errno| {
                        ZfsError::from_errno(Operation::ReadProperties, name, errno)
                    })?);
                }
                let number = zpl.as_ref().and_then(|list| list.u64(wanted.as_str()));
                let raw = number.map(|number| RawProperty {
                    value: RawValue::Number(number),
                    source: None,
                });
                raw.and_then(|raw| property::derive(&subject, wanted, Some(raw)))
            }
            _ => derive_one(&subject, wanted, list, stats),
        };
        properties.extend(derived);
    }
    Ok(properties)
}

fn derive_one(
    subject: &Subject<'_>,
    wanted: &PropertyName,
    list: &NvList,
    stats: &Stats,
) -> Option<Property> {
    // Facts that 2.1 to 2.4 give as basic facts only.
    if wanted.as_str() == "inconsistent" && subject.dataset_type != DatasetType::Bookmark {
        let raw = RawProperty {
            value: RawValue::Number(stats.inconsistent.into()),
            source: None,
        };
        return property::derive(subject, wanted, Some(raw));
    }
    let Some(entry) = list.list(wanted.as_str()) else {
        return property::derive(subject, wanted, None);
    };
    let source = entry
        .string("source")
        .map(|source| source.to_string_lossy());
    let source = source.as_deref();
    match entry.get("value") {
        Some(Value::UInt64(number)) => property::derive(
            subject,
            wanted,
            Some(RawProperty {
                value: RawValue::Number(*number),
                source,
            }),
        ),
        Some(Value::String(text)) => {
            let text = text.to_string_lossy();
            property::derive(
                subject,
                wanted,
                Some(RawProperty {
                    value: RawValue::Text(&text),
                    source,
                }),
            )
        }
        Some(Value::UInt64Array(numbers)) => property::derive(
            subject,
            wanted,
            Some(RawProperty {
                value: RawValue::Numbers(numbers),
                source,
            }),
        ),
        Some(Value::List(names)) => {
            let mut names: Vec<_> = names.iter().map(|(name, _)| name).collect();
            names.sort_unstable();
            property::derive(
                subject,
                wanted,
                Some(RawProperty {
                    value: RawValue::Names(&names),
                    source,
                }),
            )
        }
        _ => None,
    }
}
