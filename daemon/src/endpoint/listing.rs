//! Versions of ZFS as messages of the wire, and versions that a message names as names of ZFS.

use zfs_safe::name::{DatasetPath, NameError, VersionName};
use zfs_safe::version::FilesystemVersion;
use zrepl_proto::pdu::{self, Creation, PduError, VersionType};

/// A version as both sides speak of it.
pub(super) fn message(version: &FilesystemVersion) -> pdu::FilesystemVersion {
    let (guid, txg) = (version.guid.get(), version.createtxg.get());
    match &version.name {
        VersionName::Snapshot(name) => {
            pdu::FilesystemVersion::snapshot(name.name(), guid, txg, creation(version.creation))
        }
        VersionName::Bookmark(name) => {
            pdu::FilesystemVersion::bookmark(name.name(), guid, txg, creation(version.creation))
        }
    }
}

/// Unix time in seconds, as RFC 3339 in UTC. A time that no calendar has, which a damaged pool may tell, becomes the first one.
fn creation(seconds: u64) -> Creation {
    let time = i64::try_from(seconds)
        .ok()
        .and_then(|seconds| jiff::Timestamp::from_second(seconds).ok())
        .unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    time.to_string()
        .parse()
        .expect("a timestamp is printed as RFC 3339")
}

/// Why a message names no version of a dataset.
#[derive(Debug, thiserror::Error)]
pub(super) enum VersionNameError {
    /// It names neither a snapshot nor a bookmark.
    #[error(transparent)]
    Message(#[from] PduError),
    /// The name is none that ZFS allows there.
    #[error(transparent)]
    Name(#[from] NameError),
}

/// The version of `dataset` that a message names. Whether it exists is not asked.
pub(super) fn name(
    dataset: &DatasetPath,
    version: &pdu::FilesystemVersion,
) -> Result<VersionName, VersionNameError> {
    Ok(match version.version_type()? {
        VersionType::Snapshot => VersionName::Snapshot(dataset.snapshot(&version.name)?),
        VersionType::Bookmark => VersionName::Bookmark(dataset.bookmark(&version.name)?),
    })
}

#[cfg(test)]
mod tests {
    use zfs_safe::guid::Guid;
    use zfs_safe::version::Txg;

    use super::*;

    #[test]
    fn a_version_is_named_as_it_was_listed() {
        let dataset = DatasetPath::new("p/a b").expect("valid");
        for text in ["p/a b@s 1", "p/a b#m"] {
            let listed = FilesystemVersion {
                name: VersionName::new(text).expect("valid"),
                guid: Guid::new(u64::MAX),
                createtxg: Txg::new(7),
                creation: 1_600_000_000,
                userrefs: Some(1),
            };
            let message = message(&listed);
            assert_eq!(message.creation, "2020-09-13T12:26:40Z");
            assert_eq!((message.guid, message.create_txg), (u64::MAX, 7));
            assert_eq!(name(&dataset, &message).expect("valid"), listed.name);
        }
    }

    #[test]
    fn a_time_beyond_the_calendar_is_still_listed() {
        assert_eq!(creation(u64::MAX).as_str(), "1970-01-01T00:00:00Z");
        assert_eq!(creation(u64::MAX >> 2).as_str(), "1970-01-01T00:00:00Z");
    }

    #[test]
    fn what_zfs_would_refuse_is_no_name() {
        let dataset = DatasetPath::new("p").expect("valid");
        let named = |kind: i32, text: &str| pdu::FilesystemVersion {
            r#type: kind,
            name: text.to_owned(),
            ..pdu::FilesystemVersion::default()
        };
        for (kind, text) in [(0, ""), (0, "a@b"), (1, "a/b"), (2, "a")] {
            assert!(
                name(&dataset, &named(kind, text)).is_err(),
                "{kind} {text:?}"
            );
        }
    }
}
