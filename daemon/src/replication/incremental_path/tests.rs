use proptest::prelude::*;
use zfs_safe::guid::Guid;

use super::super::model::{TwoSides, bookmark, nonsense, snapshot, two_sides};
use super::*;

fn path(sender: &[Version], receiver: &[Version]) -> Result<IncrementalPath, Conflict> {
    incremental_path(
        History::new(sender.to_vec()),
        History::of_snapshots(receiver.to_vec()),
    )
}

/// A version for each word: `@n` and `#n` have guid and txg n; `@n=g` has guid g.
fn list(words: &str) -> Vec<Version> {
    words
        .split_whitespace()
        .map(|word| {
            let (name, guid) = word.split_once('=').unwrap_or((word, &word[1..]));
            let txg = name[1..].parse().expect("a number");
            let guid = guid.parse().expect("a number");
            match name.strip_prefix('@') {
                Some(snapshot_name) => snapshot(snapshot_name, guid, txg),
                None => bookmark(&name[1..], guid, txg),
            }
        })
        .collect()
}

fn words(versions: &[Version]) -> String {
    let words: Vec<_> = versions.iter().map(ToString::to_string).collect();
    words.join(" ")
}

/// `base: snapshots`, or the beginning of the conflict.
fn outcome(sender: &str, receiver: &str) -> String {
    match path(&list(sender), &list(receiver)) {
        Ok(path) => format!("{}: {}", path.base, words(&path.snapshots)),
        Err(Conflict::NoSenderSnapshots { .. }) => "no sender snapshots".to_owned(),
        Err(Conflict::NoCommonAncestor { .. }) => "no common ancestor".to_owned(),
        Err(Conflict::Diverged {
            common,
            sender_only,
            receiver_only,
        }) => format!(
            "diverged at {common}: {} | {}",
            words(&sender_only),
            words(&receiver_only)
        ),
    }
}

#[test]
fn finds_the_way_or_says_why_there_is_none() {
    for (sender, receiver, expected) in [
        // the way
        ("@1 @2 @3", "@1", "@1: @2 @3"),
        ("@1 @2 @3", "@1 @2", "@2: @3"),
        ("@3 @1 @2", "@2 @1", "@2: @3"),
        ("@1 @2", "@1 @2", "@2: "),
        // gaps in what the receiver has do not matter
        ("@1 @2 @3 @4", "@1 @3", "@3: @4"),
        ("@3 @4", "@1 @2 @3", "@3: @4"),
        // bookmarks of the sender are bases, but nothing to send
        ("#1 @2", "@1", "#1: @2"),
        ("#1 @2 #2 #3 @4", "@1", "#1: @2 @4"),
        ("#1 #2", "@1 @2", "#2: "),
        // the snapshot rather than its bookmarks
        ("@2 #2 @3", "@2", "@2: @3"),
        // bookmarks of the receiver are nothing
        ("@1 @2", "@1 #2", "@1: @2"),
        ("@1 @2", "@1 #9", "@1: @2"),
        ("@1", "#1", "no common ancestor"),
        // names are nothing
        ("@1=11 @2=12", "@2=11", "@1: @2"),
        ("@1=11 @2=12", "@1=21 @2=22", "no common ancestor"),
        // no way
        ("", "", "no sender snapshots"),
        ("", "@1", "no sender snapshots"),
        ("@1 @2", "", "no common ancestor"),
        ("#1", "", "no common ancestor"),
        ("@1", "@2", "no common ancestor"),
        ("@1 #2 @3", "@1 @9", "diverged at @1: #2 @3 | @9"),
        ("@1", "@1 @8 @9", "diverged at @1:  | @8 @9"),
        // listed twice
        ("@1 @2 @3=2 @4", "@1", "@1: @2 @4"),
        ("@1 @2 @3=1 @4", "@1", "@3: @4"),
    ] {
        assert_eq!(outcome(sender, receiver), expected, "{sender} | {receiver}");
    }
}

#[test]
fn long_histories_take_no_longer_than_listing_them() {
    let many: Vec<_> = (0..100_000).map(|n| snapshot("s", n, n)).collect();
    let foreign: Vec<_> = (0..100_000)
        .map(|n| snapshot("s", n + 500_000, n))
        .collect();
    assert!(matches!(
        path(&many, &foreign),
        Err(Conflict::NoCommonAncestor { .. })
    ));
    let found = path(&many, &many[..1]).expect("a path");
    assert_eq!(found.snapshots.len(), 99_999);
}

/// By trying every pair, newest first, on lists sorted by hand.
fn slow_ancestor(sides: &TwoSides) -> Option<(Version, bool)> {
    let mut snapshots: Vec<_> = sides
        .receiver
        .iter()
        .filter(|it| it.is_snapshot())
        .collect();
    snapshots.sort_by_key(|it| std::cmp::Reverse(it.createtxg()));
    for (age, theirs) in snapshots.iter().enumerate() {
        let ours = sides.sender.iter().filter(|it| it.guid() == theirs.guid());
        if let Some(best) = ours.max_by_key(|it| (it.createtxg(), it.is_snapshot(), it.name())) {
            return Some((best.clone(), age == 0));
        }
    }
    None
}

proptest! {
    #[test]
    fn agrees_with_trying_everything(sides in two_sides()) {
        let found = path(&sides.sender, &sides.receiver);
        match slow_ancestor(&sides) {
            Some((ancestor, true)) => {
                let found = found.expect("a path");
                prop_assert_eq!(&found.base, &ancestor);
                let mut newer: Vec<_> = sides
                    .sender
                    .iter()
                    .filter(|it| it.is_snapshot() && it.createtxg() > ancestor.createtxg())
                    .cloned()
                    .collect();
                newer.sort_by_key(Version::createtxg);
                prop_assert_eq!(found.snapshots, newer);
            }
            Some((ancestor, false)) => {
                let Err(Conflict::Diverged { common, sender_only, receiver_only }) = found else {
                    return Err(TestCaseError::fail("not diverged"));
                };
                prop_assert_eq!(&*common, &ancestor);
                prop_assert!(!receiver_only.is_empty());
                let ours: Vec<Guid> = sides.sender.iter().map(Version::guid).collect();
                prop_assert!(receiver_only.iter().all(|it| !ours.contains(&it.guid())));
                prop_assert!(sender_only.iter().all(|it| it.createtxg() >= ancestor.createtxg()));
            }
            None if sides.sender.is_empty() => {
                let expected = Conflict::NoSenderSnapshots { bookmarks: 0 };
                prop_assert_eq!(found, Err(expected));
            }
            None => {
                let is_as_expected = matches!(found, Err(Conflict::NoCommonAncestor { .. }));
                prop_assert!(is_as_expected);
            }
        }
    }

    #[test]
    fn neither_names_nor_the_order_of_listings_decide(sides in two_sides()) {
        let renamed = |versions: &[Version]| -> Vec<Version> {
            let rename = |it: &Version| {
                let name = format!("other{}", it.name());
                let (guid, txg) = (it.guid().get(), it.createtxg().get());
                if it.is_snapshot() { snapshot(&name, guid, txg) } else { bookmark(&name, guid, txg) }
            };
            versions.iter().rev().map(rename).collect()
        };
        let guids = |found: Result<IncrementalPath, Conflict>| match found {
            Ok(path) => Ok((path.base.guid(), path.snapshots.iter().map(Version::guid).collect::<Vec<_>>())),
            Err(conflict) => Err(std::mem::discriminant(&conflict)),
        };
        prop_assert_eq!(
            guids(path(&sides.sender, &sides.receiver)),
            guids(path(&renamed(&sides.sender), &renamed(&sides.receiver)))
        );
    }

    #[test]
    fn nonsense_gives_a_path_of_different_guids_or_a_conflict(sender in nonsense(), receiver in nonsense()) {
        if let Ok(path) = path(&sender, &receiver) {
            let mut guids: Vec<_> = path.snapshots.iter().map(Version::guid).collect();
            guids.push(path.base.guid());
            let count = guids.len();
            guids.sort();
            guids.dedup();
            prop_assert_eq!(guids.len(), count);
            prop_assert!(path.snapshots.iter().all(Version::is_snapshot));
        }
    }
}
