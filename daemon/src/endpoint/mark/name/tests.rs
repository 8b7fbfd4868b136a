use std::sync::LazyLock;

use proptest::prelude::*;
use regex::Regex;

use super::*;

fn job(name: &str) -> JobId {
    JobId::new(name).expect(name)
}

fn bookmark(kind: MarkKind, guid: u64, owner: &str) -> BookmarkMeaning {
    BookmarkMeaning::Mark {
        kind,
        guid: Guid::new(guid),
        job: job(owner),
    }
}

#[test]
fn tags_are_those_of_zrepl_with_a_valid_job() {
    use MarkKind::{LastReceivedHold, StepHold};
    for (tag, expected) in [
        ("zrepl_STEP_J_push_job", Some((StepHold, "push_job"))),
        ("zrepl_STEP_J_a b", Some((StepHold, "a b"))),
        ("zrepl_STEP_J_ ", Some((StepHold, " "))),
        ("zrepl_STEP_J__internal", Some((StepHold, "_internal"))),
        (
            "zrepl_STEP_J_zrepl_STEP_J_x",
            Some((StepHold, "zrepl_STEP_J_x")),
        ),
        (
            "zrepl_last_received_J_sink_job",
            Some((LastReceivedHold, "sink_job")),
        ),
        ("zrepl_STEP_J_", None),
        ("zrepl_STEP_J", None),
        ("zrepl_STEP_bm_G_0123456789abcdef_J_x", None),
        (" zrepl_STEP_J_x", None),
        ("zrepl_step_J_x", None),
        ("zrepl_last_received_J_", None),
        ("zrepl_STEP_J_a/b", None),
        ("zrepl_STEP_J_a@b", None),
        ("zrepl_STEP_J_..", None),
        ("zrepl_STEP_J_ü", None),
        ("zrepl_STEP_J_a\tb", None),
        ("zrepl_STEP_J_a\nb", None),
        ("keepme", None),
        ("", None),
    ] {
        let meaning = parse_tag(tag);
        let expected = expected.map(|(kind, owner)| TagMeaning {
            kind,
            job: job(owner),
        });
        assert_eq!(meaning, expected, "{tag:?}");
    }
    assert!(parse_tag(&format!("{STEP_HOLD}{}", "x".repeat(203))).is_some());
    // Go checks the job by the longest name it will ever be part of.
    assert!(parse_tag(&format!("{STEP_HOLD}{}", "x".repeat(204))).is_none());
}

#[test]
fn bookmarks_are_those_of_zrepl_with_sixteen_small_digits_and_a_valid_job() {
    use MarkKind::{Cursor, TentativeCursor};
    for (name, expected) in [
        (
            "zrepl_CURSOR_G_8f14f311d4660c9d_J_push_job",
            Some(bookmark(Cursor, 0x8f14_f311_d466_0c9d, "push_job")),
        ),
        (
            "zrepl_CURSOR_G_0000000000000000_J_x",
            Some(bookmark(Cursor, 0, "x")),
        ),
        (
            "zrepl_CURSOR_G_ffffffffffffffff_J__J_",
            Some(bookmark(Cursor, u64::MAX, "_J_")),
        ),
        (
            "zrepl_CURSORTENTATIVE__G_c7440c98c29044d9_J_source_job",
            Some(bookmark(
                TentativeCursor,
                0xc744_0c98_c290_44d9,
                "source_job",
            )),
        ),
        // The last `_G_` has no guid after it, so the one before counts.
        (
            "zrepl_CURSOR_G_0000000000000007_J_a_G_b",
            Some(bookmark(Cursor, 7, "a_G_b")),
        ),
        (
            "zrepl_CURSOR_G_0000000000000007_J_a_G_0123456789abcdef_J_",
            Some(bookmark(Cursor, 7, "a_G_0123456789abcdef_J_")),
        ),
        (
            "zrepl_replication_cursor",
            Some(BookmarkMeaning::LegacyCursor),
        ),
        // One underscore is what the documentation said; the code has two.
        ("zrepl_CURSORTENTATIVE_G_c7440c98c29044d9_J_x", None),
        ("zrepl_CUSOR_G_c7440c98c29044d9_J_x", None),
        ("zrepl_CURSOR_G_8F14F311D4660C9D_J_x", None),
        ("zrepl_CURSOR_G_8f14f311d4660c9_J_x", None),
        ("zrepl_CURSOR_G_08f14f311d4660c9d_J_x", None),
        ("zrepl_CURSOR_G_8f14f311d4660c9d_J_", None),
        ("zrepl_CURSOR_G_8f14f311d4660c9d", None),
        ("_G_8f14f311d4660c9d_J_x", None),
        ("zrepl_STEP_bm_G_8f14f311d4660c9d_J_x", None),
        ("xzrepl_CURSOR_G_8f14f311d4660c9d_J_x", None),
        ("zrepl_CURSOR_G_8f14f311d4660c9d_J_a/b", None),
        ("zrepl_CURSOR_G_8f14f311d4660c9d_J_..", None),
        (
            "zrepl_CURSOR_G_0000000000000007_J_a_G_0123456789abcdef_J_b",
            None,
        ),
        ("zrepl_replication_cursor2", None),
        ("Zrepl_replication_cursor", None),
        ("", None),
    ] {
        assert_eq!(parse_bookmark(name), expected, "{name:?}");
    }
}

/// What zrepl matches with, and how it goes on.
fn as_zrepl(name: &str) -> Option<BookmarkMeaning> {
    static PATTERN: LazyLock<Regex> =
        LazyLock::new(|| Regex::new("(.+)_G_([0-9a-f]{16})_J_(.+)$").expect("valid"));
    if name == "zrepl_replication_cursor" {
        return Some(BookmarkMeaning::LegacyCursor);
    }
    let parts = PATTERN.captures(name)?;
    let kind = match &parts[1] {
        "zrepl_CURSOR" => MarkKind::Cursor,
        "zrepl_CURSORTENTATIVE_" => MarkKind::TentativeCursor,
        _ => return None,
    };
    Some(BookmarkMeaning::Mark {
        kind,
        guid: Guid::new(u64::from_str_radix(&parts[2], 16).ok()?),
        job: JobId::new(&parts[3]).ok()?,
    })
}

/// Names out of the pieces that matter.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("zrepl_CURSOR".to_owned()),
        Just("zrepl_CURSORTENTATIVE_".to_owned()),
        Just("_G_".to_owned()),
        Just("_J_".to_owned()),
        Just("_".to_owned()),
        Just("G_".to_owned()),
        "[0-9a-f]{15,17}",
        "[0-9a-fA-F]{16}",
        "_G_[0-9a-f]{16}_J_",
        "[a-z_. ]{0,3}",
    ];
    prop::collection::vec(piece, 0..9).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn bookmarks_are_read_as_zrepl_reads_them(name in prop_oneof![
        pieces(),
        pieces().prop_map(|rest| format!("zrepl_CURSOR_G_{rest}")),
        pieces().prop_map(|rest| format!("zrepl_CURSORTENTATIVE__G_0123456789abcdef_J_{rest}")),
        "\\PC{0,40}",
    ]) {
        prop_assert_eq!(parse_bookmark(&name), as_zrepl(&name), "{:?}", name);
    }

    #[test]
    fn nothing_makes_reading_panic(text in any::<String>()) {
        let _ = parse_tag(&text);
        let _ = parse_bookmark(&text);
        for prefix in [STEP_HOLD, LAST_RECEIVED_HOLD] {
            let tag = format!("{prefix}{text}");
            prop_assert_eq!(parse_tag(&tag).is_some(), JobId::new(&text).is_ok());
        }
        let _ = parse_bookmark(&format!("zrepl_CURSOR_G_{text}"));
    }

    #[test]
    fn what_is_named_is_read_back(guid in any::<u64>(), owner in "[A-Za-z0-9._: -]{1,203}") {
        let Ok(owner) = JobId::new(&owner) else { return Ok(()) };
        let guid = Guid::new(guid);
        for kind in MarkKind::ALL {
            match of_mark(kind, guid, &owner) {
                MarkName::Tag(tag) => {
                    let meaning = TagMeaning { kind, job: owner.clone() };
                    prop_assert_eq!(parse_tag(&tag), Some(meaning));
                }
                MarkName::Bookmark(name) => {
                    let meaning = BookmarkMeaning::Mark { kind, guid, job: owner.clone() };
                    prop_assert_eq!(parse_bookmark(&name), Some(meaning));
                }
            }
        }
    }
}
