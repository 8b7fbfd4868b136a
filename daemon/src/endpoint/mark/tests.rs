//! Marks as recorded from zrepl 0.7.0, and what others of these tests make versions and marks with.

use super::*;

mod timeline;

pub(super) fn job(name: &str) -> JobId {
    JobId::new(name).expect(name)
}

pub(super) fn tag(text: &str) -> HoldTag {
    HoldTag::new(text).expect(text)
}

/// A snapshot or bookmark, `guid` also being its txg.
pub(super) fn version(name: &str, guid: u64) -> FilesystemVersion {
    version_at(name, guid, guid)
}

pub(super) fn version_at(name: &str, guid: u64, createtxg: u64) -> FilesystemVersion {
    FilesystemVersion {
        name: VersionName::new(name).expect(name),
        guid: Guid::new(guid),
        createtxg: Txg::new(createtxg),
        creation: 1_795_228_592 + createtxg,
        userrefs: None,
    }
}

/// The marks of `p/a` from short forms, a letter and the guid: `S4` is a step hold on `@4`, `L` a last-received hold, `C` a cursor, `T`
/// a tentative one, all of `job`; in small letters they are of `other`.
pub(super) fn inventory(marks: &str) -> Inventory {
    let mut versions: Vec<(FilesystemVersion, Vec<HoldTag>)> = Vec::new();
    for word in marks.split_whitespace() {
        let (kind, number) = word.split_at(1);
        let guid: u64 = number.parse().expect(word);
        let owner = if "SLCT".contains(kind) {
            "job"
        } else {
            "other"
        };
        let prefix = match kind.to_uppercase().as_str() {
            "S" => "zrepl_STEP_J_",
            "L" => "zrepl_last_received_J_",
            "C" => "zrepl_CURSOR_G_",
            "T" => "zrepl_CURSORTENTATIVE__G_",
            _ => panic!("{word}"),
        };
        if "SLsl".contains(kind) {
            let held = version(&format!("p/a@{guid}"), guid);
            versions.push((held, vec![tag(&format!("{prefix}{owner}"))]));
        } else {
            let name = format!("p/a#{prefix}{guid:016x}_J_{owner}");
            versions.push((version(&name, guid), Vec::new()));
        }
    }
    let inventory = Inventory::new(versions.iter().map(|(version, tags)| (version, tags)));
    assert_eq!(
        inventory.marks().len(),
        marks.split_whitespace().count(),
        "{marks}"
    );
    inventory
}

/// Marks in the short form that [`inventory`] reads.
pub(super) fn short(mark: &Mark) -> String {
    let kind = match mark.kind() {
        MarkKind::StepHold => "S",
        MarkKind::LastReceivedHold => "L",
        MarkKind::Cursor => "C",
        MarkKind::TentativeCursor => "T",
    };
    let kind = if mark.job().as_str() == "job" {
        kind.to_owned()
    } else {
        kind.to_lowercase()
    };
    format!("{kind}{}", mark.guid())
}

#[test]
fn bookmarks_as_recorded_are_marks_and_the_same_come_back() {
    use MarkKind::{Cursor, TentativeCursor};
    // From truth-after.txt of 01, 02, 05b, 06c0, 08b, and from the commands of 04b.
    for (name, guid, createtxg, kind, owner) in [
        (
            "src/p/a#zrepl_CURSOR_G_8f14f311d4660c9d_J_push_job",
            10_310_132_704_861_359_261,
            11,
            Cursor,
            "push_job",
        ),
        (
            "src/p/b#zrepl_CURSOR_G_130bb640f203751a_J_push_job",
            1_372_390_901_518_923_034,
            11,
            Cursor,
            "push_job",
        ),
        (
            "src/p/a#zrepl_CURSOR_G_4b4a6fd87261e720_J_push_job",
            5_425_271_676_543_821_600,
            34,
            Cursor,
            "push_job",
        ),
        (
            "src/big#zrepl_CURSOR_G_6466b4ed14ff5133_J_source_job",
            7_234_668_781_769_806_131,
            9,
            Cursor,
            "source_job",
        ),
        // A guid with a leading zero, of a later run.
        (
            "src/a#zrepl_CURSOR_G_03e9e59e6487ebcb_J_push_job",
            282_008_920_141_589_451,
            38,
            Cursor,
            "push_job",
        ),
        (
            "src/enc#zrepl_CURSOR_G_a39177403d222c38_J_push_job",
            11_786_332_817_592_560_696,
            14,
            Cursor,
            "push_job",
        ),
        (
            "src/q/v#zrepl_CURSORTENTATIVE__G_c7440c98c29044d9_J_source_job",
            14_358_615_362_202_780_889,
            97,
            TentativeCursor,
            "source_job",
        ),
    ] {
        let bookmark = version_at(name, guid, createtxg);
        let mark = Mark::of_bookmark(&bookmark).expect(name);
        assert_eq!(
            (mark.kind(), mark.job(), mark.guid(), mark.createtxg()),
            (kind, &job(owner), Guid::new(guid), Txg::new(createtxg)),
            "{name}"
        );
        assert!(mark.is_bookmark(&bookmark.name));
        assert_eq!(mark.to_string(), format!("{kind} {name}"));
        let snapshot = version_at(&format!("{}@s", mark.dataset()), guid, createtxg);
        assert_eq!(
            Mark::new(kind, &job(owner), &snapshot).as_ref(),
            Ok(&mark),
            "{name}"
        );
        let wrong_guid = version_at(name, guid + 1, createtxg);
        assert_eq!(Mark::of_bookmark(&wrong_guid), None);
    }
}

#[test]
fn holds_as_recorded_are_marks_and_the_same_come_back() {
    use MarkKind::{LastReceivedHold, StepHold};
    // From truth-after.txt of 01, 05a, 05b.
    for (name, text, kind, owner) in [
        (
            "dst/sink/client1/src/p/a@s2",
            "zrepl_last_received_J_sink_job",
            LastReceivedHold,
            "sink_job",
        ),
        (
            "dst/pull/src/big@b1",
            "zrepl_last_received_J_pull_job",
            LastReceivedHold,
            "pull_job",
        ),
        ("src/big@b1", "zrepl_STEP_J_push_job", StepHold, "push_job"),
        (
            "src/q/a@p2",
            "zrepl_STEP_J_source_job",
            StepHold,
            "source_job",
        ),
    ] {
        let snapshot = version(name, 7);
        let mark = Mark::of_hold(&snapshot, &tag(text)).expect(text);
        assert_eq!((mark.kind(), mark.job()), (kind, &job(owner)), "{text}");
        assert_eq!(mark.to_string(), format!("{kind} \"{text}\" on {name}"));
        assert_eq!(Mark::new(kind, &job(owner), &snapshot), Ok(mark));
    }
    // 06e-prune-held
    let snapshot = version("dst/sink/client1/src/e@e2", 7);
    assert_eq!(Mark::of_hold(&snapshot, &tag("keepme")), None);
}

#[test]
fn kinds_are_called_as_by_zfs_abstraction() {
    assert_eq!(
        MarkKind::ALL.map(|kind| kind.to_string()),
        [
            "step-hold",
            "tentative-replication-cursor-bookmark-v2",
            "replication-cursor-bookmark-v2",
            "last-received-hold",
        ]
    );
    let of_sender = MarkKind::ALL.map(MarkKind::is_of_sender);
    assert_eq!(of_sender, [true, true, true, false]);
}

#[test]
fn changes_name_what_zfs_has_to_do() {
    let snapshot = version("src/p/a@s3", 5_425_271_676_543_821_600);
    let VersionName::Snapshot(name) = &snapshot.name else {
        panic!("a snapshot");
    };
    let cursor = Mark::new(MarkKind::Cursor, &job("push_job"), &snapshot).expect("fits");
    let bookmark =
        BookmarkName::new("src/p/a#zrepl_CURSOR_G_4b4a6fd87261e720_J_push_job").expect("valid");
    assert_eq!(
        cursor.creation(name),
        Change::Bookmark(BookmarkRequest {
            bookmark: bookmark.clone(),
            source: snapshot.name.clone(),
        })
    );
    assert_eq!(cursor.removal(), Change::DestroyBookmark(bookmark));
    let hold = Mark::new(MarkKind::StepHold, &job("push_job"), &snapshot).expect("fits");
    let request = HoldRequest {
        snapshot: name.clone(),
        tag: tag("zrepl_STEP_J_push_job"),
    };
    assert_eq!(hold.creation(name), Change::Hold(request.clone()));
    assert_eq!(hold.removal(), Change::Release(request));
}

#[test]
fn what_zfs_would_refuse_is_an_error() {
    let owner = job("push_job");
    let bookmark = version("p/a#b", 7);
    for kind in [MarkKind::StepHold, MarkKind::LastReceivedHold] {
        assert_eq!(
            Mark::new(kind, &owner, &bookmark)
                .expect_err("cannot be held")
                .to_string(),
            format!("cannot make a {kind} of p/a#b: version must be a snapshot")
        );
    }
    let overhead = "#zrepl_CURSOR_G_0000000000000007_J_push_job".len();
    for (length, fits) in [(255 - overhead, true), (256 - overhead, false)] {
        let dataset = format!("p/{}", "x".repeat(length - 2));
        let made = Mark::new(
            MarkKind::Cursor,
            &owner,
            &version(&format!("{dataset}@s"), 7),
        );
        assert_eq!(made.is_ok(), fits, "{length}");
        assert!(fits || matches!(made, Err(MarkError::Name { .. })));
    }
}

#[test]
fn what_zrepl_would_not_recognise_is_not_made() {
    let odd = job("a_G_0123456789abcdef_J_b");
    let snapshot = version("p/a@s", 7);
    let error = Mark::new(MarkKind::Cursor, &odd, &snapshot).expect_err("read as another");
    assert_eq!(
        error.to_string(),
        "cannot make a replication-cursor-bookmark-v2 for job \"a_G_0123456789abcdef_J_b\": zrepl would not recognise \
         \"zrepl_CURSOR_G_0000000000000007_J_a_G_0123456789abcdef_J_b\""
    );
    // Tags have no such trouble.
    assert!(Mark::new(MarkKind::StepHold, &odd, &snapshot).is_ok());
}

#[test]
fn an_inventory_has_each_mark_once_and_knows_what_is_nobodys() {
    let held = version("p/a@5", 5);
    let step = tag("zrepl_STEP_J_job");
    let keep = tag("keepme");
    let tags = [step.clone(), keep, step.clone()];
    let plain = [
        version("p/a#zrepl_replication_cursor", 1),
        version("p/a#mine", 2),
        version("p/a#zrepl_CURSOR_G_0000000000000003_J_job", 3),
        version("p/a#zrepl_CURSOR_G_0000000000000009_J_job", 4),
    ];
    let versions = plain
        .iter()
        .map(|version| (version, &[][..]))
        .chain([(&held, &tags[..]), (&held, &tags[..1])]);
    let inventory = Inventory::new(versions);
    let shown: Vec<_> = inventory.marks().iter().map(short).collect();
    assert_eq!(shown, ["C3", "S5"]);
    assert_eq!(
        inventory.legacy_cursor().map(BookmarkName::as_str),
        Some("p/a#zrepl_replication_cursor")
    );
    let mislabelled: Vec<_> = inventory
        .mislabelled()
        .iter()
        .map(BookmarkName::name)
        .collect();
    assert_eq!(mislabelled, ["zrepl_CURSOR_G_0000000000000009_J_job"]);
    assert_eq!(inventory.of_job(&job("other")).count(), 0);
}
