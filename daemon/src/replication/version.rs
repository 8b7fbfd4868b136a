//! A snapshot or bookmark as either side lists it: messages of the wire flow in, checked values flow out, and the same
//! messages again when a step names them. A peer may list anything; what is no version is an error, never a panic.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::fmt;

use jiff::Timestamp;
use zfs_safe::guid::Guid;
use zfs_safe::version::Txg;
use zrepl_proto::pdu::{Check, Creation, FilesystemVersion, PduError, VersionType};

/// A snapshot or bookmark of one filesystem.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Version {
    kind: VersionType,
    name: String,
    guid: Guid,
    createtxg: Txg,
    /// As the producer wrote it, because requests repeat it.
    creation: Creation,
    created: i64,
}

/// Why a peer's listing cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VersionError {
    /// Some field is not what a version has.
    #[error("listed version {name:?} is not valid")]
    Invalid {
        /// The name as listed, shortened when it is very long.
        name: String,
        /// What is wrong.
        source: PduError,
    },
    /// A time, but at the end of the last year that has four digits.
    #[error("listed version {name:?} was created at {creation}, which is out of range")]
    OutOfRange {
        /// The name as listed, shortened when it is very long.
        name: String,
        /// The time as listed.
        creation: Creation,
    },
}

impl Version {
    /// Checks what the name of a version may look like, and that the time is one.
    pub fn new(
        kind: VersionType,
        name: impl Into<String>,
        guid: Guid,
        createtxg: Txg,
        creation: Creation,
    ) -> Result<Self, VersionError> {
        let (guid, txg) = (guid.get(), createtxg.get());
        let message = match kind {
            VersionType::Snapshot => FilesystemVersion::snapshot(name, guid, txg, creation),
            VersionType::Bookmark => FilesystemVersion::bookmark(name, guid, txg, creation),
        };
        Self::try_from(message)
    }

    /// Is this a snapshot? Otherwise it is a bookmark.
    pub fn is_snapshot(&self) -> bool {
        self.kind == VersionType::Snapshot
    }

    /// The name after `@` or `#`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Identity across pools.
    pub fn guid(&self) -> Guid {
        self.guid
    }

    /// Transaction group of its creation, in its own pool.
    pub fn createtxg(&self) -> Txg {
        self.createtxg
    }

    /// The same snapshot in another pool.
    #[must_use]
    pub fn with_createtxg(&self, createtxg: Txg) -> Self {
        Self {
            createtxg,
            ..self.clone()
        }
    }

    /// Unix time in seconds.
    pub fn created(&self) -> i64 {
        self.created
    }

    /// Order in the history of a filesystem: by createtxg, a bookmark before the snapshot of the same createtxg. Where these are
    /// equal the name decides, so that a plan never depends on the order of a listing; it also happens to put a tentative
    /// cursor of zrepl before the cursor of the same snapshot.
    pub fn history_order(&self, other: &Self) -> Ordering {
        let key = |version: &Self| (version.createtxg, version.is_snapshot());
        key(self)
            .cmp(&key(other))
            .then_with(|| self.name.cmp(&other.name))
            .then_with(|| self.guid.cmp(&other.guid))
    }
}

impl TryFrom<FilesystemVersion> for Version {
    type Error = VersionError;

    fn try_from(message: FilesystemVersion) -> Result<Self, VersionError> {
        let invalid = |source| VersionError::Invalid {
            name: excerpt(&message.name),
            source,
        };
        message.check().map_err(invalid)?;
        let kind = message.version_type().map_err(invalid)?;
        let creation = message.created().map_err(|error| invalid(error.into()))?;
        let Some(created) = seconds(&creation) else {
            return Err(VersionError::OutOfRange {
                name: excerpt(&message.name),
                creation,
            });
        };
        Ok(Self {
            kind,
            guid: Guid::new(message.guid),
            createtxg: Txg::new(message.create_txg),
            name: message.name,
            creation,
            created,
        })
    }
}

impl From<&Version> for FilesystemVersion {
    fn from(version: &Version) -> Self {
        Self {
            r#type: version.kind.into(),
            name: version.name.clone(),
            guid: version.guid.get(),
            create_txg: version.createtxg.get(),
            creation: version.creation.as_str().to_owned(),
        }
    }
}

impl fmt::Display for Version {
    /// The name with its `@` or `#`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let delimiter = if self.is_snapshot() { '@' } else { '#' };
        write!(f, "{delimiter}{}", self.name)
    }
}

/// The snapshots, in the order given. No pool lists a guid twice, but a peer may, and a step needs two different ends: what
/// was seen before is left out.
pub(super) fn distinct_snapshots(versions: &[Version], seen: &[Guid]) -> Vec<Version> {
    let mut seen: HashSet<Guid> = seen.iter().copied().collect();
    versions
        .iter()
        .filter(|version| version.is_snapshot() && seen.insert(version.guid))
        .cloned()
        .collect()
}

/// The fraction is cut off: ZFS counts seconds, and any number of digits is allowed on the wire.
fn seconds(creation: &Creation) -> Option<i64> {
    let text = creation.as_str();
    let (whole, rest) = text.split_at_checked("2024-01-02T03:04:05".len())?;
    let zone = rest.trim_start_matches(|c: char| c == '.' || c.is_ascii_digit());
    let time: Timestamp = format!("{whole}{zone}").parse().ok()?;
    Some(time.as_second())
}

fn excerpt(name: &str) -> String {
    const MAX_CHARS: usize = 64;
    let mut short: String = name.chars().take(MAX_CHARS).collect();
    if short.len() < name.len() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(kind: i32, name: &str, creation: &str) -> FilesystemVersion {
        FilesystemVersion {
            r#type: kind,
            name: name.to_owned(),
            guid: u64::MAX,
            create_txg: 7,
            creation: creation.to_owned(),
        }
    }

    #[test]
    fn a_message_comes_back_as_it_was() {
        for (kind, shown) in [(0, "@a b"), (1, "#a b")] {
            for (creation, seconds) in [
                ("1970-01-01T00:00:00Z", 0),
                ("1969-12-31T23:59:59Z", -1),
                ("2024-01-02T03:04:05+01:00", 1_704_161_045),
                ("2024-01-02T02:04:05.999999999999999Z", 1_704_161_045),
                ("2024-01-03T02:03:05+23:59", 1_704_161_045),
            ] {
                let message = message(kind, "a b", creation);
                let version = Version::try_from(message.clone()).expect(creation);
                assert_eq!(version.created(), seconds, "{creation}");
                assert_eq!(version.to_string(), shown);
                assert_eq!(FilesystemVersion::from(&version), message);
            }
        }
    }

    #[test]
    fn what_is_no_version_is_an_error_that_names_it() {
        let long = "x".repeat(300);
        for (kind, name, creation) in [
            (2, "a", "1970-01-01T00:00:00Z"),
            (0, "", "1970-01-01T00:00:00Z"),
            (0, "a@b", "1970-01-01T00:00:00Z"),
            (0, &long, "1970-01-01T00:00:00Z"),
            (0, "a", ""),
            (0, "a", "1970-01-01"),
        ] {
            let error = Version::try_from(message(kind, name, creation)).expect_err(name);
            let VersionError::Invalid { name: named, .. } = &error else {
                panic!("{error}");
            };
            assert!(name.starts_with(named.trim_end_matches('…')));
            assert!(error.to_string().len() < 200);
        }
    }

    #[test]
    fn history_goes_by_createtxg_then_bookmarks_then_names() {
        let version = |kind, name: &str, txg| {
            let creation = "1970-01-01T00:00:00Z".parse().expect("a time");
            Version::new(kind, name, Guid::new(1), Txg::new(txg), creation).expect(name)
        };
        let (snapshot, bookmark) = (VersionType::Snapshot, VersionType::Bookmark);
        let sorted = [
            version(snapshot, "z", 1),
            version(bookmark, "zrepl_CURSORTENTATIVE__G_0000000000000001_J_j", 2),
            version(bookmark, "zrepl_CURSOR_G_0000000000000001_J_j", 2),
            version(snapshot, "a", 2),
            version(bookmark, "a", 3),
        ];
        let mut shuffled = sorted.to_vec();
        shuffled.reverse();
        shuffled.sort_by(Version::history_order);
        assert_eq!(shuffled, sorted);
    }

    proptest! {
        #[test]
        fn no_message_panics(
            kind in -1i32..3,
            name in "[a-z@#]{0,4}",
            creation in "[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-6][0-9](\\.[0-9]{1,20})?(Z|[+-][0-2][0-9]:[0-5][0-9])|\\PC*",
        ) {
            let message = message(kind, &name, &creation);
            let is_fine = message.check().is_ok();
            let version = Version::try_from(message.clone());
            let is_out_of_range = matches!(version, Err(VersionError::OutOfRange { .. }));
            prop_assert_eq!(version.is_ok() || is_out_of_range, is_fine);
            if let Ok(version) = version {
                prop_assert_eq!(FilesystemVersion::from(&version), message);
            }
        }
    }
}
