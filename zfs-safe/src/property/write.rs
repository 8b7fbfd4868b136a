//! From what users write to the kernel's typed values.

use super::dialect::{Dialect, ZfsVersion};
use super::native::{DatasetType, Form, NativeProperty};
use super::size::parse_size;
use super::{PropertyError, PropertyName};

/// A property value as the kernel takes it: uint64 for numbers and index properties, string for
/// the rest. A name where the kernel wants the number is refused with `EINVAL`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum KernelValue {
    /// uint64.
    Number(u64),
    /// string.
    Text(String),
}

/// What a value is set for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Purpose {
    /// A dataset about to be created: set-once properties may be chosen.
    Create,
    /// `zfs receive -o`: neither set-once properties, except those of encryption, nor `version`
    /// and `volsize`, which come with the stream.
    Receive,
    /// An existing dataset or snapshot.
    Set,
}

/// Turns the text of a property into the kernel's value.
///
/// Accepts what zfs(8) accepts for a dataset of this type in this ZFS. Not checked, because only
/// the pool or the dataset can tell: enabled pool features, `volsize` against the block size, the
/// pool's largest record size, and the options in `sharenfs` and `sharesmb` (which the kernel
/// stores unread). `refreservation=auto` is refused, since computing it needs the volume.
pub fn to_kernel(
    name: &PropertyName,
    text: &str,
    dataset_type: DatasetType,
    purpose: Purpose,
    dialect: Dialect,
) -> Result<KernelValue, PropertyError> {
    let native = check_settable(name, dataset_type, purpose, dialect)?;
    let invalid = |allowed: String| PropertyError::InvalidValue {
        name: name.clone(),
        value: text.to_owned(),
        allowed,
    };
    let Some(property) = native else {
        check_text(text, MAX_USER_VALUE).map_err(invalid)?;
        return Ok(KernelValue::Text(text.to_owned()));
    };
    let value = match property.form {
        Form::Text => {
            check_text(text, longest_text(dialect)).map_err(invalid)?;
            check_text_rules(property, text).map_err(invalid)?;
            KernelValue::Text(text.to_owned())
        }
        Form::Number | Form::Ratio | Form::Limit => {
            KernelValue::Number(parse_number(property, text, dialect).map_err(invalid)?)
        }
        Form::Index(table) => table(dialect)
            .iter()
            .find(|value| value.name == text && value.exists_in(dialect))
            .map(|value| KernelValue::Number(value.number))
            .ok_or_else(|| invalid(allowed_names(property, dialect)))?,
    };
    Ok(value)
}

/// Turns the properties of a dataset about to be created into the kernel's values.
///
/// Adds what zfs(8) adds: choosing a `normalization` turns `utf8only` on, and since 2.2 turning
/// `utf8only` off turns an inherited normalization off.
pub fn create_properties(
    properties: &[(PropertyName, String)],
    dataset_type: DatasetType,
    dialect: Dialect,
) -> Result<Vec<(String, KernelValue)>, PropertyError> {
    let mut typed: Vec<(String, KernelValue)> = Vec::with_capacity(properties.len());
    for (name, text) in properties {
        if typed.iter().any(|(known, _)| known == name.as_str()) {
            return Err(PropertyError::Repeated { name: name.clone() });
        }
        let value = to_kernel(name, text, dataset_type, Purpose::Create, dialect)?;
        typed.push((name.to_string(), value));
    }
    reconcile_unicode(properties, &mut typed, dialect)?;
    Ok(typed)
}

/// Checks that a property can be reset with `zfs inherit`, or `zfs inherit -S` if `to_received`.
///
/// Properties that are not inherited (`quota`) can go back to a received value only.
pub fn check_inherit(
    name: &PropertyName,
    dataset_type: DatasetType,
    to_received: bool,
    dialect: Dialect,
) -> Result<(), PropertyError> {
    let property = check_known(name, dataset_type, dialect)?;
    let Some(property) = property else {
        return Ok(());
    };
    if property.is_set_once() {
        return Err(PropertyError::SetOnce { name: name.clone() });
    }
    let possible = if to_received {
        !comes_with_stream(property)
    } else {
        property.is_inheritable()
    };
    if possible {
        Ok(())
    } else {
        Err(PropertyError::NotInheritable { name: name.clone() })
    }
}

fn reconcile_unicode(
    properties: &[(PropertyName, String)],
    typed: &mut Vec<(String, KernelValue)>,
    dialect: Dialect,
) -> Result<(), PropertyError> {
    let chosen = |name| {
        typed
            .iter()
            .find_map(|(known, value)| (known == name).then_some(value))
    };
    let off = &KernelValue::Number(0);
    let normalization = chosen("normalization");
    let utf8only = chosen("utf8only");
    let normalizes = normalization.is_some_and(|value| value != off);
    if normalizes && utf8only.is_none() {
        typed.push(("utf8only".to_owned(), KernelValue::Number(1)));
    } else if normalizes && utf8only == Some(off) {
        let given = properties
            .iter()
            .find(|(name, _)| name.as_str() == "utf8only");
        if let Some((name, value)) = given {
            return Err(PropertyError::InvalidValue {
                name: name.clone(),
                value: value.clone(),
                allowed: "on, because a normalization is chosen".to_owned(),
            });
        }
    } else if normalization.is_none()
        && utf8only == Some(off)
        && dialect.version.at_least(ZfsVersion::new(2, 2, 0))
    {
        typed.push(("normalization".to_owned(), KernelValue::Number(0)));
    }
    Ok(())
}

/// Longest value of a user property in bytes; the kernel counts a terminating NUL.
const MAX_USER_VALUE: usize = 8191;

/// Longest value of a native string property in bytes.
fn longest_text(dialect: Dialect) -> usize {
    if dialect.version.at_least(ZfsVersion::new(2, 3, 0)) {
        8191
    } else {
        4095
    }
}

/// Whether the property can be set there at all; the property, if native.
fn check_settable(
    name: &PropertyName,
    dataset_type: DatasetType,
    purpose: Purpose,
    dialect: Dialect,
) -> Result<Option<&'static NativeProperty>, PropertyError> {
    let Some(property) = check_known(name, dataset_type, dialect)? else {
        return Ok(None);
    };
    // Snapshots have native properties, but only user properties of theirs can be set.
    if dataset_type == DatasetType::Snapshot {
        let name = name.clone();
        return Err(PropertyError::NotApplicable { name, dataset_type });
    }
    match purpose {
        Purpose::Set if property.is_set_once() => {
            Err(PropertyError::SetOnce { name: name.clone() })
        }
        Purpose::Receive if !property.is_encryption_parameter() && comes_with_stream(property) => {
            Err(PropertyError::NotAtReceive { name: name.clone() })
        }
        Purpose::Create | Purpose::Receive | Purpose::Set => Ok(Some(property)),
    }
}

/// Whether this ZFS has the property, for objects of this type, in the user's hands.
fn check_known(
    name: &PropertyName,
    dataset_type: DatasetType,
    dialect: Dialect,
) -> Result<Option<&'static NativeProperty>, PropertyError> {
    let property = name.native();
    let name = || name.clone();
    if let Some(property) = property {
        if !property.exists_in(dialect) {
            let name = name();
            return Err(PropertyError::Unsupported { name, dialect });
        }
        if property.is_read_only() {
            return Err(PropertyError::ReadOnly { name: name() });
        }
    }
    if !name().applies_to(dataset_type, dialect) {
        let name = name();
        return Err(PropertyError::NotApplicable { name, dataset_type });
    }
    Ok(property)
}

/// What a receive takes from the stream, whatever the user wants.
pub(super) fn comes_with_stream(property: &NativeProperty) -> bool {
    property.is_read_only()
        || property.is_set_once()
        || matches!(property.name(), "version" | "volsize")
}

fn check_text(text: &str, longest: usize) -> Result<(), String> {
    if text.len() > longest || text.contains('\0') {
        return Err(format!("up to {longest} bytes without NUL"));
    }
    Ok(())
}

fn check_text_rules(property: &NativeProperty, text: &str) -> Result<(), String> {
    let allowed = match property.name() {
        "mountpoint" if !is_mountpoint(text) => {
            "none, legacy, or an absolute path with components of up to 255 bytes"
        }
        "keylocation" if !is_key_location(text) => {
            "none, prompt, file:///path, https://address, http://address"
        }
        // No libzfs outside Solaris has labels.
        "mlslabel" => "nothing, labels are not supported",
        _ => return Ok(()),
    };
    Err(allowed.to_owned())
}

fn is_mountpoint(text: &str) -> bool {
    const MAX_COMPONENT: usize = 255;
    let fits = |path: &str| path.split('/').all(|part| part.len() <= MAX_COMPONENT);
    matches!(text, "none" | "legacy") || (text.starts_with('/') && fits(text))
}

fn is_key_location(text: &str) -> bool {
    matches!(text, "none" | "prompt")
        || ["file:///", "https://", "http://"]
            .iter()
            .any(|scheme| text.len() > scheme.len() && text.starts_with(scheme))
}

const MIN_BLOCK: u64 = 512;
const MAX_BLOCK: u64 = 16 << 20;
const MIN_PBKDF2_ITERATIONS: u64 = 100_000;

/// The number, or what is allowed instead.
fn parse_number(property: &NativeProperty, text: &str, dialect: Dialect) -> Result<u64, String> {
    let number = match text {
        "none" if matches!(property.form, Form::Limit) => return Ok(u64::MAX),
        "none" => 0,
        _ => parse_size(text).map_err(|error| format!("{} ({error})", numbers(property)))?,
    };
    let fits = match property.name() {
        // zfs(8) insists on the word, so that a slip is not the end of a quota.
        "quota" | "refquota" => text == "none" || number != 0,
        "recordsize" | "volblocksize" => is_block_size(number),
        "volsize" => number != 0,
        "special_small_blocks" if dialect.version.at_least(ZfsVersion::new(2, 4, 0)) => {
            number <= MAX_BLOCK
        }
        "special_small_blocks" => number == 0 || is_block_size(number),
        "pbkdf2iters" => number >= MIN_PBKDF2_ITERATIONS,
        _ => true,
    };
    if fits {
        Ok(number)
    } else {
        Err(numbers(property).to_owned())
    }
}

fn is_block_size(number: u64) -> bool {
    (MIN_BLOCK..=MAX_BLOCK).contains(&number) && number.is_power_of_two()
}

/// What the number property accepts, for messages.
fn numbers(property: &NativeProperty) -> &'static str {
    match property.name() {
        "quota" | "refquota" => "a size above zero, or none",
        "recordsize" | "volblocksize" => "a power of two from 512 to 16M",
        "special_small_blocks" => "0, or a size up to 16M (until 2.3 a power of two from 512)",
        "pbkdf2iters" => "at least 100000",
        "filesystem_limit" | "snapshot_limit" => "a count, or none",
        "volsize" => "a size above zero",
        _ => "a size, or none",
    }
}

fn allowed_names(property: &NativeProperty, dialect: Dialect) -> String {
    let names: Vec<_> = property
        .values(dialect)
        .into_iter()
        .flatten()
        .map(|value| value.name)
        .collect();
    names.join(", ")
}

#[cfg(test)]
mod tests;
