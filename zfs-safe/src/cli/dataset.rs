//! Changes to single datasets.

use super::command::Finished;
use super::{Cli, list, stderr};
use crate::error::{Operation, Reason, Result, ZfsError};
use crate::name::{DatasetPath, EntityName, SnapshotName};
use crate::property::{DatasetType, PropertyName, ZfsVersion, create_properties};

/// First release whose `zfs set` has `-u`: neither mounts nor unmounts.
const SET_WITHOUT_MOUNTING: ZfsVersion = ZfsVersion::new(2, 2, 0);

pub(super) fn create_filesystem(
    cli: &Cli,
    path: &DatasetPath,
    properties: &[(PropertyName, String)],
) -> Result<()> {
    // The tools check too, but with other words for each release.
    create_properties(properties, DatasetType::Filesystem, cli.dialect)
        .map_err(|error| ZfsError::of_property(Operation::Create, path.as_str(), &error))?;
    cli.zfs("create")
        .args(["-u"])
        .options("-o", assignments(properties))
        .operands([path.as_str()])
        .success(Operation::Create, path.as_str())
        .map(drop)
        .map_err(|error| full_or_limited(cli, path, error))
}

/// zfs(8) has the same words for a full pool and for a limit on the number of filesystems.
fn full_or_limited(cli: &Cli, path: &DatasetPath, error: ZfsError) -> ZfsError {
    const WANTED: [&str; 3] = ["guid", "filesystem_limit", "filesystem_count"];
    if error.reason != Reason::NoSpace {
        return error;
    }
    let mut ancestor = path.parent();
    while let Some(dataset) = ancestor {
        let values =
            list::read(cli, error.operation, dataset.as_str(), &WANTED).unwrap_or_default();
        // 2.1 prints the largest number where later releases print `none`.
        let number = |name| {
            let number = values.get(name)?.value.parse::<u64>().ok()?;
            (number != u64::MAX).then_some(number)
        };
        if let (Some(limit), Some(count)) = (number("filesystem_limit"), number("filesystem_count"))
            && count >= limit
        {
            return ZfsError {
                reason: Reason::LimitReached,
                ..error
            };
        }
        ancestor = dataset.parent();
    }
    error
}

pub(super) fn set_properties(
    cli: &Cli,
    name: &EntityName,
    properties: &[(PropertyName, String)],
) -> Result<()> {
    let command = cli.zfs("set");
    let operands = assignments(properties)
        .into_iter()
        .chain([name.to_string()]);
    // Before 2.2 `zfs set` knows no options, not even `--`.
    let command = if cli.tool_version.at_least(SET_WITHOUT_MOUNTING) {
        command.args(["-u"]).operands(operands)
    } else {
        command.args(operands)
    };
    command
        .success(Operation::SetProperties, name.as_str())
        .map(drop)
}

pub(super) fn inherit_property(
    cli: &Cli,
    name: &EntityName,
    property: &PropertyName,
    to_received: bool,
) -> Result<()> {
    cli.zfs("inherit")
        .args(to_received.then_some("-S"))
        .operands([property.as_str(), name.as_str()])
        .success(Operation::InheritProperty, name.as_str())
        .map(drop)
}

pub(super) fn rename(cli: &Cli, from: &DatasetPath, to: &DatasetPath) -> Result<()> {
    const NOT_A_FILESYSTEM: &str = "operation not applicable to datasets of this type";
    let rename = |switches: &[&str]| {
        cli.zfs("rename")
            .args(switches)
            .operands([from.as_str(), to.as_str()])
            .run(Operation::Rename, from.as_str())
    };
    let mut finished = rename(&["-u"])?;
    // Volumes are not mounted, so `-u` is refused for them.
    let refused = format!("cannot open '{from}': {NOT_A_FILESYSTEM}");
    if stderr::messages(&finished.stderr).any(|line| line == refused) {
        finished = rename(&[])?;
    }
    let failure = finished.failure(Operation::Rename, from.as_str());
    failure.map_or(Ok(()), |error| Err(full_or_limited(cli, to, error)))
}

pub(super) fn rollback(cli: &Cli, snapshot: &SnapshotName) -> Result<()> {
    cli.zfs("rollback")
        .operands([snapshot.as_str()])
        .success(Operation::Rollback, snapshot.as_str())
        .map(drop)
}

/// Without `-r` and `-R` zfs(8) looks for what is below first, and destroys only the dataset itself.
pub(super) fn destroy(cli: &Cli, path: &DatasetPath) -> Result<()> {
    let finished = cli
        .zfs("destroy")
        .operands([path.as_str()])
        .run(Operation::DestroyDataset, path.as_str())?;
    match finished.failure(Operation::DestroyDataset, path.as_str()) {
        None => Ok(()),
        Some(error) => Err(match below(&finished, path) {
            Some(reason) => ZfsError { reason, ..error },
            None => error,
        }),
    }
}

/// What is below a dataset that was not destroyed for that: the message lists it, one name a line.
fn below(finished: &Finished, path: &DatasetPath) -> Option<Reason> {
    let mut lines = stderr::messages(&finished.stderr);
    let first = format!("cannot destroy '{path}': ");
    lines.find(|line| {
        line.strip_prefix(&first)
            .is_some_and(|rest| rest.ends_with("has children"))
    })?;
    let child = format!("{path}/");
    Some(if lines.any(|line| line.starts_with(&child)) {
        Reason::HasChildren
    } else {
        Reason::HasSnapshots
    })
}

pub(super) fn discard_partial_receive(cli: &Cli, path: &DatasetPath) -> Result<bool> {
    let operation = Operation::DiscardPartialReceive;
    let finished = cli
        .zfs("receive")
        .args(["-A"])
        .operands([path.as_str()])
        .run(operation, path.as_str())?;
    let none = format!("'{path}' does not have any resumable receive state to abort");
    if stderr::messages(&finished.stderr).any(|line| line == none) {
        return Ok(false);
    }
    finished
        .failure(operation, path.as_str())
        .map_or(Ok(true), Err)
}

/// `name=value` for each.
pub(super) fn assignments(properties: &[(PropertyName, String)]) -> Vec<String> {
    properties
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect()
}
