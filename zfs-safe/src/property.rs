//! Dataset properties, between the text people read and write and the typed form of the kernel.
//!
//! In flow the kernel's numbers and strings (or the user's text), out flow what `zfs get -Hp`
//! prints (or the number or string to hand to the kernel). The promise: for the same facts the
//! text and the source equal those of zfs(8) of the same release, so that results do not depend on
//! the backend. Nothing here does I/O.
//!
//! One difference is meant: zfs(8) prints options of the current mount with source `temporary`;
//! we print the property itself ([`NativeProperty::is_mount_option`] marks them).

mod dialect;
mod index;
mod native;
mod read;
mod receive;
mod size;
mod table;
mod write;

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

pub use self::dialect::{Dialect, ParseVersionError, Platform, ZfsVersion};
pub use self::index::IndexValue;
pub use self::native::{DatasetType, NativeProperty, Provenance, all_native};
pub use self::read::{RawProperty, RawValue, Subject, default_of, derive, from_kernel, mountpoint};
pub use self::receive::{
    ReceiveProperties, ReceiveTarget, SkipReason, Skipped, receive_properties,
};
pub use self::write::{KernelValue, Purpose, check_inherit, create_properties, to_kernel};

/// One property of one dataset, snapshot or bookmark, as a row of `zfs get -Hp`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Property {
    /// Which property.
    pub name: PropertyName,
    /// The text zfs(8) prints; sizes in bytes.
    pub value: String,
    /// Where the value comes from.
    pub source: Source,
}

impl Property {
    /// The row zfs(8) prints for a property that was asked for by name and is not there or does
    /// not apply: `-` in both columns.
    pub fn absent(name: PropertyName) -> Self {
        Self {
            name,
            value: "-".to_owned(),
            source: Source::None,
        }
    }
}

/// The checked name of a property: native and known to us, or a user property.
#[derive(Clone)]
pub struct PropertyName(Name);

#[derive(Clone)]
enum Name {
    Native(&'static NativeProperty),
    User(Box<str>),
}

impl PropertyName {
    /// Longest name of a user property in bytes.
    pub const MAX_USER_LEN: usize = 255;

    /// The name as written.
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Name::Native(property) => property.name(),
            Name::User(name) => name,
        }
    }

    /// Whether it is a user property (`zrepl:placeholder`).
    pub fn is_user(&self) -> bool {
        matches!(self.0, Name::User(_))
    }

    /// What is known of a native property; `None` for user properties.
    pub fn native(&self) -> Option<&'static NativeProperty> {
        match self.0 {
            Name::Native(property) => Some(property),
            Name::User(_) => None,
        }
    }

    /// Whether the property means anything for objects of this type. User properties always do,
    /// except on bookmarks.
    pub fn applies_to(&self, dataset_type: DatasetType, dialect: Dialect) -> bool {
        match self.0 {
            Name::Native(property) => property.applies_to(dataset_type, dialect),
            Name::User(_) => dataset_type != DatasetType::Bookmark,
        }
    }

    /// Whether children take the value over from their parent.
    pub fn is_inheritable(&self) -> bool {
        self.native().is_none_or(NativeProperty::is_inheritable)
    }
}

impl FromStr for PropertyName {
    type Err = PropertyError;

    /// Accepts full native names and user properties: `[a-z0-9:._-]`, at least one colon, at most
    /// [`Self::MAX_USER_LEN`] bytes. Short column names and `userquota@…` are not accepted.
    fn from_str(name: &str) -> Result<Self, Self::Err> {
        if let Some(property) = NativeProperty::find(name) {
            return Ok(Self(Name::Native(property)));
        }
        let invalid = |reason| PropertyError::InvalidUserName {
            name: name.to_owned(),
            reason,
        };
        if !name.contains(':') {
            return Err(PropertyError::Unknown {
                name: name.to_owned(),
            });
        }
        if name.len() > Self::MAX_USER_LEN {
            return Err(invalid("longer than 255 bytes"));
        }
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b":._-".contains(&b);
        if !name.bytes().all(allowed) {
            return Err(invalid("only a-z 0-9 : . _ - are allowed"));
        }
        Ok(Self(Name::User(name.into())))
    }
}

impl From<&'static NativeProperty> for PropertyName {
    fn from(property: &'static NativeProperty) -> Self {
        Self(Name::Native(property))
    }
}

impl fmt::Debug for PropertyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PropertyName").field(&self.as_str()).finish()
    }
}

impl fmt::Display for PropertyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Borrow<str> for PropertyName {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

impl PartialEq for PropertyName {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for PropertyName {}

impl PartialOrd for PropertyName {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for PropertyName {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_str().cmp(other.as_str())
    }
}

impl Hash for PropertyName {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

/// Where the value of a property comes from; the source column of zfs(8).
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Source {
    /// Set on the dataset itself.
    Local,
    /// Nobody set it.
    Default,
    /// Set on an ancestor (for snapshots: on the dataset or an ancestor), whose name this is.
    Inherited(String),
    /// Came with a replication stream.
    Received,
    /// Option of the current mount. Only zfs(8) reports it.
    Temporary,
    /// Computed, or not there: printed `-`.
    None,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local => f.write_str("local"),
            Self::Default => f.write_str("default"),
            Self::Inherited(from) => write!(f, "inherited from {from}"),
            Self::Received => f.write_str("received"),
            Self::Temporary => f.write_str("temporary"),
            Self::None => f.write_str("-"),
        }
    }
}

impl FromStr for Source {
    type Err = ParseSourceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "local" => Self::Local,
            "default" => Self::Default,
            "received" => Self::Received,
            "temporary" => Self::Temporary,
            "-" => Self::None,
            _ => match text.strip_prefix("inherited from ") {
                Some(from) if !from.is_empty() => Self::Inherited(from.to_owned()),
                _ => return Err(ParseSourceError(text.to_owned())),
            },
        })
    }
}

/// The text is no property source.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{0}` is not a property source")]
pub struct ParseSourceError(String);

/// A property name or value that ZFS would refuse.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PropertyError {
    /// Neither a user property nor a native one of any release we know.
    #[error("unknown property `{name}`")]
    Unknown {
        /// As given.
        name: String,
    },
    /// It has a colon, but a user property may not be called so.
    #[error("invalid user property name `{name}`: {reason}")]
    InvalidUserName {
        /// As given.
        name: String,
        /// Which rule it breaks.
        reason: &'static str,
    },
    /// Another release or platform has it.
    #[error("property `{name}` does not exist in {dialect}")]
    Unsupported {
        /// The property.
        name: PropertyName,
        /// The ZFS at hand.
        dialect: Dialect,
    },
    /// The value is computed by ZFS.
    #[error("property `{name}` is read-only")]
    ReadOnly {
        /// The property.
        name: PropertyName,
    },
    /// The value can be chosen when the dataset is created and never again.
    #[error("property `{name}` can only be set at creation")]
    SetOnce {
        /// The property.
        name: PropertyName,
    },
    /// Meaningless for such a dataset.
    #[error("property `{name}` does not apply to a {}", dataset_type.as_str())]
    NotApplicable {
        /// The property.
        name: PropertyName,
        /// Type of the dataset.
        dataset_type: DatasetType,
    },
    /// The value is not one the property accepts.
    #[error("invalid value `{value}` for property `{name}`, allowed: {allowed}")]
    InvalidValue {
        /// The property.
        name: PropertyName,
        /// As given.
        value: String,
        /// What is accepted.
        allowed: String,
    },
    /// Children do not take it over, so there is nothing to reset it to.
    #[error("property `{name}` cannot be inherited")]
    NotInheritable {
        /// The property.
        name: PropertyName,
    },
    /// `zfs receive` does not accept the property with `-o` or `-x`.
    #[error("property `{name}` cannot be overridden or inherited at receive")]
    NotAtReceive {
        /// The property.
        name: PropertyName,
    },
    /// A raw stream brings its own encryption.
    #[error("encryption property `{name}` cannot be set or inherited for a raw stream")]
    EncryptionOfRawStream {
        /// The property.
        name: PropertyName,
    },
    /// The dataset exists, its encryption is settled.
    #[error("encryption property `{name}` cannot be set for an incremental stream")]
    EncryptionOfIncremental {
        /// The property.
        name: PropertyName,
    },
    /// The property is listed twice, in one list or in both.
    #[error("property `{name}` is given more than once")]
    Repeated {
        /// The property.
        name: PropertyName,
    },
}

impl PropertyError {
    /// The property that the error is about.
    pub fn property(&self) -> &str {
        match self {
            Self::Unknown { name } | Self::InvalidUserName { name, .. } => name,
            Self::Unsupported { name, .. }
            | Self::ReadOnly { name }
            | Self::SetOnce { name }
            | Self::NotApplicable { name, .. }
            | Self::InvalidValue { name, .. }
            | Self::NotAtReceive { name }
            | Self::EncryptionOfRawStream { name }
            | Self::EncryptionOfIncremental { name }
            | Self::NotInheritable { name }
            | Self::Repeated { name } => name.as_str(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_native_and_user_names() {
        for name in ["compression", "zoned", "jailed", "name", "guid"] {
            let parsed: PropertyName = name.parse().unwrap();
            assert!(!parsed.is_user(), "{name}");
            assert_eq!(parsed.as_str(), name);
        }
        let longest = format!("a:{}", "b".repeat(253));
        for name in ["zrepl:placeholder", ":", "a.b_c-9:x:y", longest.as_str()] {
            let parsed: PropertyName = name.parse().unwrap();
            assert!(parsed.is_user() && parsed.is_inheritable(), "{name}");
            assert_eq!(parsed.to_string(), name);
        }
    }

    #[test]
    fn refuses_other_names() {
        let too_long = format!("a:{}", "b".repeat(254));
        for name in ["A:b", "a b:c", "ä:b", "a@b:c", too_long.as_str()] {
            assert!(
                matches!(
                    name.parse::<PropertyName>(),
                    Err(PropertyError::InvalidUserName { .. })
                ),
                "{name}"
            );
        }
        for name in ["", "refer", "compress", "Compression", "userquota@joe"] {
            assert!(
                matches!(
                    name.parse::<PropertyName>(),
                    Err(PropertyError::Unknown { .. })
                ),
                "{name}"
            );
        }
    }

    #[test]
    fn sources_round_trip() {
        for text in [
            "local",
            "default",
            "inherited from tank/a b",
            "received",
            "temporary",
            "-",
        ] {
            let source: Source = text.parse().unwrap();
            assert_eq!(source.to_string(), text);
        }
        for text in ["", "Local", "inherited from ", "inherited"] {
            assert!(text.parse::<Source>().is_err(), "{text}");
        }
    }

    #[test]
    fn table_names_are_unique() {
        let mut names: Vec<_> = all_native().map(NativeProperty::name).collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
