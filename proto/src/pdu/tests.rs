use prost::Message as _;

use super::*;

fn creation() -> Creation {
    "2026-11-21T03:37:55+01:00".parse().expect("a time")
}

fn snapshot() -> FilesystemVersion {
    FilesystemVersion::snapshot("p1", 1, 2, creation())
}

fn bookmark() -> FilesystemVersion {
    FilesystemVersion::bookmark("p1", 1, 2, creation())
}

fn with(change: impl FnOnce(&mut FilesystemVersion)) -> FilesystemVersion {
    let mut version = snapshot();
    change(&mut version);
    version
}

fn config() -> ReplicationConfig {
    Protection {
        initial: GuaranteeKind::Resumability,
        incremental: GuaranteeKind::IncrementalReplication,
    }
    .into()
}

fn send() -> SendReq {
    SendReq {
        filesystem: "src/q/a".to_owned(),
        from: None,
        to: Some(snapshot()),
        resume_token: String::new(),
        replication_config: Some(config()),
    }
}

fn receive() -> ReceiveReq {
    ReceiveReq {
        filesystem: "src/q/a".to_owned(),
        to: Some(snapshot()),
        clear_resume_token: true,
        replication_config: Some(config()),
    }
}

fn missing(message: &'static str, field: &'static str) -> PduError {
    PduError::Missing { message, field }
}

/// Versions that a Go peer panics on, and why.
fn bad_versions() -> Vec<(FilesystemVersion, PduError)> {
    let name = |name: &str| {
        let error = PduError::VersionName(name.to_owned());
        (with(|version| version.name = name.to_owned()), error)
    };
    let long = "x".repeat(256);
    let mut bad = vec![
        (with(|v| v.r#type = 2), PduError::VersionType(2)),
        (with(|v| v.r#type = -1), PduError::VersionType(-1)),
        (
            with(|v| v.name.clone_from(&long)),
            PduError::VersionName(format!("{}…", &long[..64])),
        ),
        (
            with(|v| v.creation = "1700000000".to_owned()),
            "1700000000"
                .parse::<Creation>()
                .expect_err("no time")
                .into(),
        ),
        (
            with(|v| v.creation.clear()),
            "".parse::<Creation>().expect_err("no time").into(),
        ),
    ];
    bad.extend(
        [
            "", ".", "..", "a@b", "@a", "#a", "a/b", "a%b", "ä", "a\n", "a\0",
        ]
        .map(name),
    );
    bad
}

#[test]
fn versions_are_encoded_as_on_the_wire() {
    // By hand from the table of field numbers; a snapshot has type 0, which is not sent.
    let text = b"2026-11-21T03:37:55+01:00";
    let rest = [b"\x12\x02p1\x18\x01\x20\x02\x2a\x19".as_slice(), text].concat();
    assert_eq!(snapshot().encode_to_vec(), rest);
    assert_eq!(
        bookmark().encode_to_vec(),
        [b"\x08\x01".as_slice(), &rest].concat()
    );
}

#[test]
fn fields_have_the_numbers_of_the_schema() {
    let mut request = send();
    request.to = None;
    request.from = Some(FilesystemVersion::default());
    request.resume_token = "1-a".to_owned();
    assert_eq!(
        request.encode_to_vec(),
        b"\x0a\x07src/q/a\x12\x00\x22\x031-a\x32\x06\x0a\x04\x08\x01\x10\x02"
    );
    assert_eq!(
        SendCompletedReq::new(SendReq::default()).encode_to_vec(),
        b"\x12\x00"
    );
    let mut request = receive();
    request.to = Some(FilesystemVersion::default());
    assert_eq!(
        request.encode_to_vec(),
        b"\x0a\x07src/q/a\x12\x00\x18\x01\x22\x06\x0a\x04\x08\x01\x10\x02"
    );
    let answer = SendRes {
        used_resume_token: true,
        expected_size: 5,
    };
    assert_eq!(answer.encode_to_vec(), b"\x08\x01\x10\x05");
    let filesystem = Filesystem {
        path: "p".to_owned(),
        resume_token: "t".to_owned(),
        is_placeholder: true,
    };
    assert_eq!(filesystem.encode_to_vec(), b"\x0a\x01p\x12\x01t\x18\x01");
}

#[test]
fn unknown_types_are_errors_and_not_snapshots() {
    assert_eq!(snapshot().version_type(), Ok(VersionType::Snapshot));
    assert_eq!(bookmark().version_type(), Ok(VersionType::Bookmark));
    let unknown = with(|version| version.r#type = 7);
    assert_eq!(unknown.r#type(), VersionType::Snapshot); // what the generated code makes of it
    assert_eq!(unknown.version_type(), Err(PduError::VersionType(7)));
}

#[test]
fn what_go_accepts_may_be_sent() {
    let versions = ListFilesystemVersionsRes {
        versions: vec![snapshot(), bookmark(), with(|v| v.name = "x".repeat(255))],
    };
    assert_eq!(versions.check(), Ok(()));
    assert_eq!(with(|v| v.name = "a-_.: Z9".to_owned()).check(), Ok(()));
    assert_eq!(send().check(), Ok(()));
    let mut incremental = send();
    incremental.from = Some(bookmark());
    assert_eq!(incremental.check(), Ok(()));
    assert_eq!(SendCompletedReq::new(incremental).check(), Ok(()));
    assert_eq!(receive().check(), Ok(()));
    assert_eq!(DestroySnapshotsReq::default().check(), Ok(()));
    assert_eq!(DestroySnapshotsRes::default().check(), Ok(()));
    assert_eq!(PingReq::default().check(), Ok(()));
}

#[test]
fn bad_versions_are_refused_wherever_they_are() {
    for (version, error) in bad_versions() {
        let error = Err(error);
        assert_eq!(version.check(), error);
        let versions = vec![snapshot(), version.clone()];
        assert_eq!(ListFilesystemVersionsRes { versions }.check(), error);
        let snapshots = vec![snapshot(), version.clone()];
        let filesystem = String::new();
        let request = DestroySnapshotsReq {
            filesystem,
            snapshots,
        };
        assert_eq!(request.check(), error);
        let mut request = send();
        request.from = Some(version.clone());
        assert_eq!(request.check(), error);
        let mut request = send();
        request.to = Some(version.clone());
        assert_eq!(request.check(), error);
        assert_eq!(SendCompletedReq::new(request).check(), error);
        let mut request = receive();
        request.to = Some(version);
        assert_eq!(request.check(), error);
    }
}

#[test]
fn requests_need_a_replication_config() {
    let mut request = send();
    request.replication_config = None;
    let error = Err(missing("SendReq", "ReplicationConfig"));
    assert_eq!(request.check(), error);
    assert_eq!(SendCompletedReq::new(request).check(), error);
    let mut request = receive();
    request.replication_config = None;
    assert_eq!(
        request.check(),
        Err(missing("ReceiveReq", "ReplicationConfig"))
    );
    let mut request = receive();
    request.replication_config = Some(ReplicationConfig::default());
    assert_eq!(request.check(), Err(GuaranteeError::Missing.into()));
}

#[test]
fn a_step_ends_at_a_snapshot() {
    let mut request = send();
    request.to = None;
    assert_eq!(request.check(), Err(missing("SendReq", "To")));
    request.to = Some(bookmark());
    let error = request.check().expect_err("a bookmark");
    assert_eq!(
        error.to_string(),
        "SendReq names bookmark \"p1\", expected a snapshot"
    );
    let mut request = receive();
    request.to = None;
    assert_eq!(request.check(), Err(missing("ReceiveReq", "To")));
    request.to = Some(bookmark());
    assert!(matches!(
        request.check(),
        Err(PduError::Bookmark {
            message: "ReceiveReq",
            ..
        })
    ));
    let request = DestroySnapshotsReq {
        filesystem: String::new(),
        snapshots: vec![bookmark()],
    };
    assert!(matches!(request.check(), Err(PduError::Bookmark { .. })));
}

#[test]
fn nothing_is_left_out_that_a_peer_reads() {
    assert_eq!(
        SendCompletedReq::default().check(),
        Err(missing("SendCompletedReq", "OriginalReq"))
    );
    let results = vec![DestroySnapshotRes::default()];
    assert_eq!(
        DestroySnapshotsRes { results }.check(),
        Err(missing("DestroySnapshotRes", "Snapshot"))
    );
    assert_eq!(
        ReplicationCursorRes::default().check(),
        Err(missing("ReplicationCursorRes", "Result"))
    );
}

#[test]
fn results_of_destroying_always_name_their_snapshot() {
    let results = vec![
        DestroySnapshotRes::destroyed(snapshot()),
        DestroySnapshotRes::failed(snapshot(), "dataset is busy"),
        DestroySnapshotRes::failed(snapshot(), ""),
    ];
    let errors = results.iter().map(|result| result.error.as_str());
    assert_eq!(
        errors.collect::<Vec<_>>(),
        ["", "dataset is busy", "unknown error"]
    );
    assert_eq!(DestroySnapshotsRes { results }.check(), Ok(()));
}

#[test]
fn cursors_read_back_and_guid_zero_is_one() {
    for cursor in [None, Some(0), Some(u64::MAX)] {
        let answer = ReplicationCursorRes::new(cursor);
        let bytes = answer.encode_to_vec();
        assert!(!bytes.is_empty());
        let received = ReplicationCursorRes::decode(bytes.as_slice()).expect("own bytes");
        assert_eq!(received.cursor(), Ok(cursor));
    }
    let result = Some(CursorResult::Notexist(false));
    assert!(ReplicationCursorRes { result }.cursor().is_err());
}

#[test]
fn an_echo_is_what_was_asked() {
    let message = "599991m ✓".to_owned();
    let answer = PingRes::from(PingReq { message });
    assert_eq!(answer.echo, "599991m ✓");
}

#[test]
fn four_mebibytes_fit_a_go_peer_and_no_more() {
    // one byte of tag, four of length
    let message = "x".repeat(MAX_GO_MESSAGE_LEN - 5);
    let mut request = PingReq { message };
    assert!(fits_go_peer(&request));
    request.message.push('x');
    assert!(!fits_go_peer(&request));
}
