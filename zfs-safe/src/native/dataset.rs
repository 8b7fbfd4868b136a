//! Changes to single datasets.

use super::{Native, list, mount};
use crate::errno::{Errno, Symbol};
use crate::error::{Operation, Reason, RejectedProperty, Result, ZfsError};
use crate::name::{DatasetPath, EntityName, SnapshotName};
use crate::nvlist::{NvList, Value};
use crate::property::{self, DatasetType, KernelValue, PropertyName, Purpose};

pub(super) fn create_filesystem(
    native: &Native,
    path: &DatasetPath,
    properties: &[(PropertyName, String)],
) -> Result<()> {
    let list = property::create_properties(properties, DatasetType::Filesystem, native.dialect)
        .map_err(|error| ZfsError::of_property(Operation::Create, path.as_str(), &error))?;
    let result = native
        .core
        .create_filesystem(path.as_str(), &kernel_list(&list));
    native.count_mutation(Operation::Create, result.err());
    let Err(errno) = result else { return Ok(()) };
    let error = ZfsError::from_errno(Operation::Create, path.as_str(), errno);
    // The kernel does not say which property; it also says this for a bad name, but ours are good.
    Err(match errno.symbol() {
        Symbol::EINVAL if !properties.is_empty() => ZfsError {
            reason: Reason::InvalidProperty(Vec::new()),
            ..error
        },
        _ => error,
    })
}

pub(super) fn set_properties(
    native: &Native,
    name: &EntityName,
    properties: &[(PropertyName, String)],
) -> Result<()> {
    let operation = Operation::SetProperties;
    let stats = native
        .device
        .stats(name.as_str())
        .map_err(|errno| ZfsError::from_errno(operation, name.as_str(), errno))?;
    let mut list = NvList::new();
    for (property, text) in properties {
        let value = property::to_kernel(
            property,
            text,
            stats.dataset_type,
            Purpose::Set,
            native.dialect,
        )
        .map_err(|error| ZfsError::of_property(operation, name.as_str(), &error))?;
        list.insert(property.as_str(), kernel_value(&value));
    }
    let result = native.device.set_properties(name.as_str(), &list);
    native.count_txg(operation, result.as_ref().err().map(|(errno, _)| *errno));
    result.map_err(|(errno, errors)| {
        let error = ZfsError::from_errno(operation, name.as_str(), errno);
        // The kernel lists what it refused even if the cause is no property's: privilege, space, a suspended pool.
        match error.reason {
            Reason::InvalidProperty(_) => ZfsError {
                reason: Reason::InvalidProperty(rejected(operation, &errors)),
                ..error
            },
            _ => error,
        }
    })
}

/// Properties that the kernel named with an error of their own.
pub(super) fn rejected(operation: Operation, errors: &NvList) -> Vec<RejectedProperty> {
    errors
        .iter()
        .filter_map(|(name, value)| match value {
            Value::Int32(number) if *number != 0 && name != "N_MORE_ERRORS" => {
                Some(RejectedProperty {
                    name: name.to_owned(),
                    problem: match Reason::of(operation, Errno::new(*number).symbol()) {
                        Reason::InvalidProperty(_) | Reason::BadStream => {
                            "the value is not accepted".to_owned()
                        }
                        reason => reason.to_string(),
                    },
                })
            }
            _ => None,
        })
        .collect()
}

pub(super) fn inherit_property(
    native: &Native,
    name: &EntityName,
    property: &PropertyName,
    to_received: bool,
) -> Result<()> {
    let operation = Operation::InheritProperty;
    if !to_received && !property.is_inheritable() {
        return Err(ZfsError::new(
            operation,
            name.as_str(),
            Reason::InvalidProperty(vec![RejectedProperty {
                name: property.to_string(),
                problem: "it cannot be inherited".to_owned(),
            }]),
        ));
    }
    let result = native
        .device
        .inherit_property(name.as_str(), property.as_str(), to_received);
    native.count_txg(operation, result.err());
    result.map_err(|errno| ZfsError::from_errno(operation, name.as_str(), errno))
}

pub(super) fn rename(native: &Native, from: &DatasetPath, to: &DatasetPath) -> Result<()> {
    let result = native.core.rename(from.as_str(), to.as_str());
    native.count_mutation(Operation::Rename, result.err());
    result.map_err(|errno| {
        ZfsError::from_errno(Operation::Rename, from.as_str(), errno)
            .with_detail(format!("to {to}"))
    })
}

pub(super) fn rollback(native: &Native, snapshot: &SnapshotName) -> Result<()> {
    let result = native
        .core
        .rollback_to(snapshot.dataset().as_str(), snapshot.as_str());
    native.count_mutation(Operation::Rollback, result.err());
    result.map_err(|errno| ZfsError::from_errno(Operation::Rollback, snapshot.as_str(), errno))
}

pub(super) fn destroy(native: &Native, path: &DatasetPath) -> Result<()> {
    let operation = Operation::DestroyDataset;
    let failed = |errno| ZfsError::from_errno(operation, path.as_str(), errno);
    // Look before unmounting: a destroy that must fail shall leave the filesystem mounted.
    let stats = native.device.stats(path.as_str()).map_err(failed)?;
    if stats.dataset_type == DatasetType::Filesystem {
        let mut cursor = native
            .device
            .children(path.as_str(), true)
            .map_err(failed)?;
        if native.device.next(&mut cursor).map_err(failed)?.is_some() {
            return Err(ZfsError::new(operation, path.as_str(), Reason::HasChildren));
        }
    }
    let mut cursor = native
        .device
        .snapshots(path.as_str(), None)
        .map_err(failed)?;
    if native.device.next(&mut cursor).map_err(failed)?.is_some() {
        return Err(ZfsError::new(
            operation,
            path.as_str(),
            Reason::HasSnapshots,
        ));
    }
    mount::unmount(path.as_str()).map_err(|error| unmount_failed(operation, path, &error))?;
    let result = native.core.destroy(path.as_str());
    native.count_mutation(operation, result.err());
    result.map_err(failed)
}

fn unmount_failed(operation: Operation, path: &DatasetPath, error: &std::io::Error) -> ZfsError {
    let errno = Errno::new(error.raw_os_error().unwrap_or(0));
    ZfsError::from_errno(operation, path.as_str(), errno).with_detail(format!("unmount: {error}"))
}

pub(super) fn discard_partial_receive(native: &Native, path: &DatasetPath) -> Result<bool> {
    let operation = Operation::DiscardPartialReceive;
    let failed = |errno| ZfsError::from_errno(operation, path.as_str(), errno);
    let Some(target) = partial_receive(native, path).map_err(failed)? else {
        return Ok(false);
    };
    if target == path.as_str() {
        mount::unmount(path.as_str()).map_err(|error| unmount_failed(operation, path, &error))?;
    }
    let result = native.core.destroy(&target);
    native.count_mutation(operation, result.err());
    result.map(|()| true).map_err(failed)
}

/// The dataset that holds the state of an interrupted receive into `path`, if there is one: a hidden child when the target
/// existed before, else the target itself. `%` is not for users, so no name type holds the former.
fn partial_receive(native: &Native, path: &DatasetPath) -> Result<Option<String>, Errno> {
    let object = native.device.object(path.as_str())?;
    let hidden = format!("{path}/%recv");
    match native.device.stats(&hidden) {
        Ok(_) => Ok(Some(hidden)),
        Err(errno) if errno.symbol() == Symbol::ENOENT => {
            let has_token = object.properties.list("receive_resume_token").is_some();
            Ok((object.stats.inconsistent && has_token).then(|| path.to_string()))
        }
        Err(errno) => Err(errno),
    }
}

/// Does the state of an interrupted receive, or of one under way, lie in `path`?
pub(super) fn has_partial_receive(native: &Native, path: &DatasetPath) -> bool {
    matches!(partial_receive(native, path), Ok(Some(_)))
}

/// The error of a snapshot that cannot be destroyed, with who holds it or what was cloned from it.
pub(super) fn undestroyable(native: &Native, snapshot: &SnapshotName, errno: Errno) -> ZfsError {
    let error = ZfsError::from_errno(Operation::DestroySnapshots, snapshot.as_str(), errno);
    let reason = match errno.symbol() {
        Symbol::EBUSY => match list::holds(native, snapshot) {
            Ok(holds) if !holds.is_empty() => {
                Reason::Held(holds.into_iter().map(|hold| hold.tag).collect())
            }
            _ => Reason::Busy,
        },
        Symbol::EEXIST => Reason::HasClones(clones(native, snapshot)),
        _ => return error,
    };
    ZfsError { reason, ..error }
}

fn clones(native: &Native, snapshot: &SnapshotName) -> Vec<DatasetPath> {
    let Ok(object) = native.device.object(snapshot.as_str()) else {
        return Vec::new();
    };
    let Some(names) = object
        .properties
        .list("clones")
        .and_then(|entry| entry.list("value"))
    else {
        return Vec::new();
    };
    let mut clones: Vec<_> = names
        .iter()
        .filter_map(|(name, _)| DatasetPath::new(name).ok())
        .collect();
    clones.sort();
    clones
}

pub(super) fn kernel_list(properties: &[(String, KernelValue)]) -> NvList {
    properties
        .iter()
        .map(|(name, value)| (name.as_str(), kernel_value(value)))
        .collect()
}

fn kernel_value(value: &KernelValue) -> Value {
    match value {
        KernelValue::Number(number) => Value::UInt64(*number),
        KernelValue::Text(text) => Value::from(text.as_str()),
    }
}
