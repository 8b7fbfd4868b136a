//! Listings and properties.

use std::collections::BTreeMap;

use super::command::{fitting, process_error};
use super::parse::{self, Values};
use super::{Cli, stderr};
use crate::error::{Operation, Reason, Result, ZfsError};
use crate::guid::Guid;
use crate::name::{DatasetPath, EntityName, SnapshotName};
use crate::property::{DatasetType, Property, PropertyName, ZfsVersion};
use crate::version::{FilesystemVersion, Txg};
use crate::zfs::{Dataset, DatasetQuery, Hold, Pool, VersionQuery};

/// First release whose `zfs holds` has `-p`.
const PARSABLE_HOLDS: ZfsVersion = ZfsVersion::new(2, 2, 0);

/// What every dataset is listed with.
const IDENTITY: [&str; 3] = ["guid", "createtxg", "type"];

pub(super) fn pools(cli: &Cli) -> Result<Vec<Pool>> {
    let output = cli
        .zpool("list")
        .args(["-Hp", "-o", "name,guid,health"])
        .success(Operation::ListPools, "")?;
    let mut pools = parse::pools(&output)?;
    pools.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(pools)
}

pub(super) fn exists(cli: &Cli, name: &EntityName) -> Result<bool> {
    let kind = match name {
        EntityName::Bookmark(_) => "bookmark",
        EntityName::Dataset(_) | EntityName::Snapshot(_) => "filesystem,volume,snapshot",
    };
    let listed = cli
        .zfs("list")
        .args(["-Hp", "-o", "name", "-t", kind])
        .operands([name.as_str()])
        .success(Operation::ReadProperties, name.as_str());
    match listed {
        Ok(_) => Ok(true),
        Err(error) if error.is_not_found() => Ok(false),
        Err(error) => Err(error),
    }
}

pub(super) fn datasets(
    cli: &Cli,
    roots: &[DatasetPath],
    query: &DatasetQuery,
) -> Result<Vec<Dataset>> {
    let operation = Operation::ListDatasets;
    let depth = query.depth.map(|depth| depth.to_string());
    let wanted = known(cli, &IDENTITY, &query.properties);
    let mut found = BTreeMap::new();
    for roots in fitting(roots, |root| root.as_str().len()) {
        let names: Vec<_> = roots.iter().map(DatasetPath::as_str).collect();
        let finished = cli
            .zfs("get")
            .args([
                "-Hp",
                "-o",
                "name,property,value,source",
                "-t",
                "filesystem,volume",
            ])
            .args(depth.iter().flat_map(|depth| ["-d", depth]))
            .args(depth.is_none().then_some("-r"))
            .operands(
                [wanted.join(",").as_str()]
                    .into_iter()
                    .chain(names.iter().copied()),
            )
            .run(operation, names[0])?;
        if let Some(error) = finished.failure(operation, names[0]) {
            // All roots are looked at; the first message is about the first that failed.
            let named = stderr::messages(&finished.stderr).find_map(stderr::quoted);
            return Err(match named.filter(|name| names.contains(name)) {
                Some(name) => error.on(name),
                None => error,
            });
        }
        for (name, values) in parse::values(operation, &finished.stdout, &wanted)? {
            let path = DatasetPath::new(name.as_str())
                .map_err(|error| ZfsError::new(operation, name.as_str(), Reason::from(error)))?;
            let dataset = dataset(path.clone(), &values, &query.properties)?;
            found.insert(path, dataset);
        }
    }
    Ok(found.into_values().collect())
}

fn dataset(path: DatasetPath, values: &Values, wanted: &[PropertyName]) -> Result<Dataset> {
    let malformed = |what: &str| {
        process_error(
            Operation::ListDatasets,
            path.as_str(),
            format!("zfs get printed no usable {what}"),
        )
    };
    let number = |name| {
        values
            .get(name)
            .and_then(|value| value.value.parse().ok())
            .ok_or_else(|| malformed(name))
    };
    let dataset_type = match values.get("type").map(|value| value.value.as_str()) {
        Some("filesystem") => DatasetType::Filesystem,
        Some("volume") => DatasetType::Volume,
        _ => return Err(malformed("type")),
    };
    Ok(Dataset {
        dataset_type,
        guid: Guid::new(number("guid")?),
        createtxg: Txg::new(number("createtxg")?),
        properties: chosen(values, wanted),
        path,
    })
}

pub(super) fn properties(
    cli: &Cli,
    name: &EntityName,
    properties: &[PropertyName],
) -> Result<Vec<Property>> {
    let values = read(
        cli,
        Operation::ReadProperties,
        name.as_str(),
        &known(cli, &["guid"], properties),
    )?;
    Ok(chosen(&values, properties))
}

/// Reads properties of one object. `wanted` starts with one that every object has, and holds each once.
pub(super) fn read(cli: &Cli, operation: Operation, name: &str, wanted: &[&str]) -> Result<Values> {
    let output = cli
        .zfs("get")
        .args(["-Hp", "-o", "name,property,value,source"])
        .operands([wanted.join(",").as_str(), name])
        .success(operation, name)?;
    let mut objects = parse::values(operation, &output, wanted)?.into_iter();
    match (objects.next(), objects.next()) {
        (Some((printed, values)), None) if printed == name => Ok(values),
        _ => Err(process_error(
            operation,
            name,
            "zfs get printed something else than this object",
        )),
    }
}

/// The identity of a dataset, snapshot or bookmark.
pub(super) fn guid(cli: &Cli, operation: Operation, name: &str) -> Result<Guid> {
    let values = read(cli, operation, name, &["guid"])?;
    let number = values
        .get("guid")
        .and_then(|value| value.value.parse().ok());
    number
        .map(Guid::new)
        .ok_or_else(|| process_error(operation, name, "zfs get printed no guid"))
}

/// `always` and what is asked for, each once. What this release does not have is left out: the tools refuse a whole list
/// for it.
fn known<'a>(cli: &Cli, always: &[&'a str], properties: &'a [PropertyName]) -> Vec<&'a str> {
    let mut wanted = always.to_vec();
    for property in properties {
        let exists = property
            .native()
            .is_none_or(|native| native.exists_in(cli.dialect));
        if exists && !wanted.contains(&property.as_str()) {
            wanted.push(property.as_str());
        }
    }
    wanted
}

/// The properties asked for that were printed with a value, in the order asked for.
fn chosen(values: &Values, wanted: &[PropertyName]) -> Vec<Property> {
    let property = |name: &PropertyName| {
        let value = values.get(name.as_str())?;
        Some(Property {
            name: name.clone(),
            value: value.value.clone(),
            source: value.source.clone(),
        })
    };
    wanted.iter().filter_map(property).collect()
}

pub(super) fn versions(
    cli: &Cli,
    dataset: &DatasetPath,
    query: &VersionQuery,
) -> Result<Vec<FilesystemVersion>> {
    let kinds = match (query.snapshots, query.bookmarks) {
        (true, true) => "snapshot,bookmark",
        (true, false) => "snapshot",
        (false, true) => "bookmark",
        (false, false) => return Ok(Vec::new()),
    };
    let columns = if query.userrefs {
        "name,guid,createtxg,creation,userrefs"
    } else {
        "name,guid,createtxg,creation"
    };
    let output = cli
        .zfs("list")
        .args(["-Hp", "-t", kinds, "-d", "1", "-o", columns])
        .operands([dataset.as_str()])
        .success(Operation::ListVersions, dataset.as_str())?;
    let mut versions = parse::versions(&output, query.userrefs)?;
    versions.retain(|version| {
        query
            .from_createtxg
            .is_none_or(|from| version.createtxg >= from)
    });
    versions.sort_by(|a, b| a.history_order().cmp(&b.history_order()));
    Ok(versions)
}

pub(super) fn holds(cli: &Cli, snapshot: &SnapshotName) -> Result<Vec<Hold>> {
    let switches = if cli.tool_version.at_least(PARSABLE_HOLDS) {
        "-Hp"
    } else {
        "-H"
    };
    let output = cli
        .zfs("holds")
        .args([switches])
        .operands([snapshot.as_str()])
        .success(Operation::ListHolds, snapshot.as_str())?;
    let mut holds = parse::holds(&output, snapshot.as_str())?;
    holds.sort_by(|a, b| a.tag.cmp(&b.tag));
    Ok(holds)
}
