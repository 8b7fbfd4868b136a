//! Destroying, holding and bookmarking: batches tell of each item, and can be repeated.

use zfs_safe::Outcome;
use zfs_safe::error::Reason;
use zfs_safe::name::{BookmarkName, EntityName, HoldTag, VersionName};
use zfs_safe::zfs::{BookmarkRequest, HoldRequest};

use crate::case::Case;
use crate::{Scenario, Verdict};

pub(crate) const LIST: &[Scenario] = &[
    Scenario::new("BatchDestroy", |case| {
        Box::pin(async move { batch_destroy(&case) })
    }),
    Scenario::new("UndestroyableSnapshotParsing", |case| {
        Box::pin(async move { undestroyable_snapshot(&case) })
    }),
    Scenario::new("GetNonexistent", |case| {
        Box::pin(async move { get_nonexistent(&case) })
    }),
    Scenario::new("HoldsWork", |case| {
        Box::pin(async move { holds_work(&case) })
    }),
    Scenario::new("IdempotentHold", |case| {
        Box::pin(async move { idempotent_hold(&case) })
    }),
    Scenario::new("IdempotentBookmark", |case| {
        Box::pin(async move { idempotent_bookmark(&case) })
    }),
    Scenario::new("IdempotentDestroy", |case| {
        Box::pin(async move { idempotent_destroy(&case) })
    }),
];

fn held_by(outcome: &Outcome) -> Option<Vec<&str>> {
    match outcome.error().map(|error| &error.reason) {
        Some(Reason::Held(tags)) => Some(tags.iter().map(HoldTag::as_str).collect()),
        _ => None,
    }
}

fn batch_destroy(case: &Case) -> Verdict {
    case.set_up(
        r#"
        + "foo bar"
        + "foo bar@1"
        + "foo bar@2"
        + "foo bar@3"
        H "foo bar@2" zrepl_platformtest
        "#,
    )?;
    let [one, two, three] = ["foo bar@1", "foo bar@2", "foo bar@3"].map(|name| case.snapshot(name));
    let outcomes = case.zfs.destroy_snapshots(&[three, two.clone()]);
    assert_eq!(outcomes[0], Outcome::Done);
    assert_eq!(held_by(&outcomes[1]), Some(vec!["zrepl_platformtest"]));
    let text = outcomes[1]
        .error()
        .map(ToString::to_string)
        .unwrap_or_default();
    assert!(text.contains(two.as_str()), "{text}");
    assert_eq!(case.snapshots("foo bar"), ["@1", "@2"]);
    case.set_up(r#"U "foo bar@2" zrepl_platformtest"#)?;
    let outcomes = case.zfs.destroy_snapshots(&[one, two]);
    assert_eq!(outcomes, [Outcome::Done, Outcome::Done]);
    assert!(case.snapshots("foo bar").is_empty());
    Ok(())
}

/// zrepl reads what zfs(8) prints about several snapshots. We ask for the reason of each, and those that can go do go.
fn undestroyable_snapshot(case: &Case) -> Verdict {
    case.set_up(
        r#"
        + "foo bar"
        + "foo bar@1 2 3"
        + "foo bar@4 5 6"
        + "foo bar@7 8 9"
        H "foo bar@4 5 6" zrepl_platformtest
        "#,
    )?;
    let names = ["foo bar@1 2 3", "foo bar@4 5 6", "foo bar@7 8 9"];
    let outcomes = case
        .zfs
        .destroy_snapshots(&names.map(|name| case.snapshot(name)));
    assert_eq!(
        (&outcomes[0], &outcomes[2]),
        (&Outcome::Done, &Outcome::Done)
    );
    assert_eq!(held_by(&outcomes[1]), Some(vec!["zrepl_platformtest"]));
    let error = outcomes[1].error().expect("it is held");
    assert_eq!(error.dataset, case.full("foo bar@4 5 6"));
    assert_eq!(case.snapshots("foo bar"), ["@4 5 6"]);
    Ok(())
}

fn get_nonexistent(case: &Case) -> Verdict {
    case.set_up("+ \"foo bar\"\n+ \"foo bar@1\"\n+ \"foo bar#1\" \"foo bar@1\"")?;
    let guid = "guid".parse().expect("a property");
    let read = |name: &str| {
        case.zfs
            .properties(&case.entity(name), std::slice::from_ref(&guid))
    };
    for there in ["foo bar", "foo bar@1", "foo bar#1"] {
        assert_eq!(read(there)?.len(), 1, "{there}");
    }
    for missing in ["foo bar/none", "foo bar@none", "foo bar#none", "none@1"] {
        let error = read(missing).expect_err("it is missing");
        assert!(error.is_not_found(), "{error:?}");
        assert_eq!(error.dataset, case.full(missing));
    }
    Ok(())
}

fn holds_work(case: &Case) -> Verdict {
    case.set_up("+ \"foo bar\"\n+ \"foo bar@snap name\"")?;
    let snapshot = case.snapshot("foo bar@snap name");
    for tag in ["tag 1", "tag 2"] {
        let tag = HoldTag::new(tag)?;
        let request = HoldRequest {
            snapshot: snapshot.clone(),
            tag,
        };
        assert_eq!(case.zfs.hold(&[request]), [Outcome::Done]);
    }
    let listed = case.zfs.holds(&snapshot)?;
    let tags: Vec<_> = listed.iter().map(|hold| hold.tag.as_str()).collect();
    assert_eq!(tags, ["tag 1", "tag 2"]);
    Ok(())
}

fn idempotent_hold(case: &Case) -> Verdict {
    case.set_up("+ \"foo bar\"\n+ \"foo bar@1\"")?;
    let request = [HoldRequest {
        snapshot: case.snapshot("foo bar@1"),
        tag: HoldTag::new("mytag")?,
    }];
    assert_eq!(case.zfs.hold(&request), [Outcome::Done]);
    assert_eq!(case.zfs.hold(&request), [Outcome::AlreadyDone]);
    assert_eq!(case.holds("foo bar@1"), ["mytag"]);
    Ok(())
}

fn idempotent_bookmark(case: &Case) -> Verdict {
    case.set_up("+ \"foo bar\"\n+ \"foo bar@a snap\"\n+ \"foo bar@another snap\"")?;
    let make = |name: &str, snapshot: &str| {
        let request = BookmarkRequest {
            bookmark: BookmarkName::new(case.full(name)).expect("a valid name"),
            source: case.version_name(snapshot),
        };
        case.zfs.bookmark(&[request]).remove(0)
    };
    assert_eq!(make("foo bar#mark", "foo bar@a snap"), Outcome::Done);
    assert_eq!(make("foo bar#mark", "foo bar@a snap"), Outcome::AlreadyDone);
    assert_eq!(case.guid("foo bar#mark"), case.guid("foo bar@a snap"));
    let other = make("foo bar#mark", "foo bar@another snap");
    let reason = other.error().map(|error| &error.reason);
    assert_eq!(reason, Some(&Reason::AlreadyExists));
    assert_eq!(case.guid("foo bar#mark"), case.guid("foo bar@a snap"));
    case.set_up(r#"- "foo bar@a snap""#)?;
    assert_eq!(make("foo bar#more", "foo bar@a snap"), Outcome::Missing);
    Ok(())
}

fn idempotent_destroy(case: &Case) -> Verdict {
    case.set_up("+ \"foo bar\"\n+ \"foo bar@a snap\"\n+ \"foo bar#a mark\" \"foo bar@a snap\"")?;
    let destroy = |name: &str| match case.version_name(name) {
        VersionName::Snapshot(name) => case.zfs.destroy_snapshots(&[name]).remove(0),
        VersionName::Bookmark(name) => case.zfs.destroy_bookmarks(&[name]).remove(0),
    };
    for name in ["foo bar@a snap", "foo bar#a mark"] {
        assert!(case.exists(name));
        // For a batch, what is gone is what was wanted; there is no second form of the call.
        assert_eq!(destroy(name), Outcome::Done, "{name}");
        assert!(!case.exists(name));
        assert_eq!(destroy(name), Outcome::Done, "{name}, again");
    }
    for name in ["none@1", "none#1"] {
        assert_eq!(destroy(name), Outcome::Done, "{name}");
    }
    let filesystem = case.dataset("foo bar");
    case.zfs.destroy_dataset(&filesystem)?;
    let error = case
        .zfs
        .destroy_dataset(&filesystem)
        .expect_err("it is gone");
    assert!(
        error.is_not_found() && error.dataset == filesystem.as_str(),
        "{error:?}"
    );
    assert!(!case.zfs.exists(&EntityName::from(filesystem))?);
    Ok(())
}
