//! From the kernel's values to the rows of `zfs get -Hp`.

use super::dialect::{Dialect, ZfsVersion};
use super::native::{DatasetType, Fallback, Form, NativeProperty, Provenance};
use super::{Property, PropertyName, Source};

/// The source string of received values.
const RECEIVED: &str = "$recvd";

/// What is known of the object whose properties are read.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// Full name, with `@snapshot` or `#bookmark`.
    pub name: &'a str,
    /// Its type.
    pub dataset_type: DatasetType,
    /// For snapshots, the type of the dataset they belong to; otherwise not looked at.
    pub head_type: DatasetType,
    /// The alternate root of the pool (`zpool get altroot`), which mountpoints are printed with.
    pub altroot: Option<&'a str>,
    /// The ZFS at hand.
    pub dialect: Dialect,
}

/// One entry of the kernel's property nvlist.
#[derive(Clone, Copy, Debug)]
pub struct RawProperty<'a> {
    /// The value.
    pub value: RawValue<'a>,
    /// The source: absent for computed values, empty for defaults, `$recvd`, or a dataset.
    pub source: Option<&'a str>,
}

/// A value in the kernel's form.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RawValue<'a> {
    /// uint64.
    Number(u64),
    /// string.
    Text(&'a str),
    /// uint64 array, of `redact_snaps`.
    Numbers(&'a [u64]),
    /// Names in a nested nvlist, of `clones`.
    Names(&'a [&'a str]),
}

/// The row zfs(8) prints for a property.
///
/// `raw` is the kernel's entry, if there is one; properties whose [`Provenance`] is not
/// [`Provenance::Stats`] need their value from elsewhere, with no source. `None` is what zfs(8)
/// leaves out with `get all` and prints as [`Property::absent`] when asked by name: the property
/// does not apply or has no value.
pub fn derive(
    subject: &Subject<'_>,
    name: &PropertyName,
    raw: Option<RawProperty<'_>>,
) -> Option<Property> {
    let (value, source) = match name.native() {
        Some(property) => derive_native(subject, property, raw)?,
        None => match raw? {
            RawProperty {
                value: RawValue::Text(text),
                source,
            } => (text.to_owned(), source_of(subject, source)),
            _ => return None,
        },
    };
    Some(Property {
        name: name.clone(),
        value,
        source,
    })
}

fn derive_native(
    subject: &Subject<'_>,
    property: &NativeProperty,
    raw: Option<RawProperty<'_>>,
) -> Option<(String, Source)> {
    let Subject {
        dataset_type,
        head_type,
        dialect,
        ..
    } = *subject;
    let applies = match dataset_type {
        DatasetType::Snapshot => property.applies_to_snapshot_of(head_type, dialect),
        other => property.applies_to(other, dialect),
    };
    if !applies {
        return None;
    }
    match (property.name(), raw) {
        ("name", _) => Some((subject.name.to_owned(), Source::None)),
        // The kernel's own `type` is the object set type, which snapshots share.
        ("type", _) => Some((dataset_type.as_str().to_owned(), Source::None)),
        // Zero is "never recorded".
        (
            "snapshots_changed",
            Some(RawProperty {
                value: RawValue::Number(0),
                ..
            }),
        ) => None,
        ("mountpoint", raw) => {
            let (value, source) = match raw {
                Some(RawProperty {
                    value: RawValue::Text(text),
                    source,
                }) => (text, source),
                Some(_) => return None,
                None => ("/", Some("")),
            };
            let path = mountpoint(value, source, subject.name, subject.altroot);
            Some((path, source_of(subject, source)))
        }
        (_, None) => Some((absent_text(property, dialect)?, Source::Default)),
        (name, Some(RawProperty { value, source })) => {
            let text = from_kernel(name, value, dialect)?;
            let source = match source {
                None if is_local_without_source(name) => Source::Local,
                source => source_of(subject, source),
            };
            Some((text, source))
        }
    }
}

/// The text of a kernel value, as `zfs get -Hp` prints it.
///
/// `None` if the value has no text: the type is wrong, the number is none of the index property's,
/// or the list is empty. Properties unknown to us print as they are. `mountpoint` is the stored
/// value here, see [`mountpoint`], and `type` cannot be told for snapshots, see [`derive`].
pub fn from_kernel(name: &str, value: RawValue<'_>, dialect: Dialect) -> Option<String> {
    let form = NativeProperty::find(name).map(|property| property.form);
    match (value, form) {
        (RawValue::Number(number), Some(form)) => match (name, number) {
            ("type", 2) => Some(DatasetType::Filesystem.as_str().to_owned()),
            ("type", 3) => Some(DatasetType::Volume.as_str().to_owned()),
            _ => number_text(form, number, dialect),
        },
        (RawValue::Number(number), None) => Some(number.to_string()),
        (RawValue::Text(text), Some(Form::Text) | None) => Some(text.to_owned()),
        // An empty list means: redacted with respect to no snapshot.
        (RawValue::Numbers([]), _) => Some("none".to_owned()),
        (RawValue::Numbers(numbers), _) => {
            let texts: Vec<_> = numbers.iter().map(u64::to_string).collect();
            Some(texts.join(","))
        }
        (RawValue::Text(_), Some(_)) | (RawValue::Names([]), _) => None,
        (RawValue::Names(names), _) => Some(names.join(",")),
    }
}

fn number_text(form: Form, number: u64, dialect: Dialect) -> Option<String> {
    match form {
        Form::Ratio => Some(format!("{}.{:02}", number / 100, number % 100)),
        // Until 2.1 `-p` printed the number, since 2.2 the word.
        Form::Limit if number == u64::MAX && dialect.version.at_least(ZfsVersion::new(2, 2, 0)) => {
            Some("none".to_owned())
        }
        Form::Number | Form::Limit => Some(number.to_string()),
        Form::Index(table) => table(dialect)
            .iter()
            .find(|value| value.number == number && value.exists_in(dialect))
            .map(|value| value.name.to_owned()),
        Form::Text => None,
    }
}

/// The value zfs(8) prints with source `default` when nobody set the property.
///
/// `None` if there is none: the property is computed, user-defined or always stored, or it does not
/// apply to the type. For `mountpoint` this is the default of the pool's root, `/`; see
/// [`mountpoint`] for what a dataset makes of it.
pub fn default_of(
    name: &PropertyName,
    dataset_type: DatasetType,
    dialect: Dialect,
) -> Option<String> {
    let property = name.native()?;
    if !property.applies_to(dataset_type, dialect) {
        return None;
    }
    absent_text(property, dialect)
}

fn absent_text(property: &NativeProperty, dialect: Dialect) -> Option<String> {
    if property.provenance() != Provenance::Stats {
        return None;
    }
    match property.fallback {
        Fallback::Nothing => None,
        Fallback::Number(number) => number_text(property.form, number, dialect),
        Fallback::Varying(number) => number_text(property.form, number(dialect), dialect),
        Fallback::Text(text) => Some(text.to_owned()),
    }
}

/// The mountpoint zfs(8) prints for a filesystem.
///
/// `value` and `source` are the kernel's: the value is stored where `source` says, and an
/// inheriting child mounts below it at its relative name. `none` and `legacy` stay as they are,
/// paths are prefixed with the alternate root.
pub fn mountpoint(
    value: &str,
    source: Option<&str>,
    dataset: &str,
    altroot: Option<&str>,
) -> String {
    if !value.starts_with('/') {
        return value.to_owned();
    }
    // The default belongs to no dataset: its empty source leaves the whole name as the rest.
    let below = match source {
        None | Some(RECEIVED) => "",
        Some(source) => dataset
            .strip_prefix(source)
            .map_or("", |rest| rest.strip_prefix('/').unwrap_or(rest)),
    };
    let root = match altroot {
        None | Some("/" | "-") => "",
        Some(root) => root,
    };
    let base = match value {
        "/" if !root.is_empty() || !below.is_empty() => "",
        value => value,
    };
    match below {
        "" => format!("{root}{base}"),
        below => format!("{root}{base}/{below}"),
    }
}

/// These have no source entry when they are set, because the kernel keeps them outside the
/// property list.
fn is_local_without_source(name: &str) -> bool {
    matches!(
        name,
        "canmount"
            | "volsize"
            | "quota"
            | "refquota"
            | "reservation"
            | "refreservation"
            | "filesystem_limit"
            | "snapshot_limit"
            | "filesystem_count"
            | "snapshot_count"
    )
}

fn source_of(subject: &Subject<'_>, raw: Option<&str>) -> Source {
    match raw {
        None => Source::None,
        Some("") => Source::Default,
        Some(source) if source.contains(RECEIVED) => Source::Received,
        Some(source) if source == subject.name => Source::Local,
        Some(source) => Source::Inherited(source.to_owned()),
    }
}

#[cfg(test)]
mod tests;
