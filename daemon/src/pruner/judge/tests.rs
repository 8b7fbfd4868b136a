use std::num::NonZeroUsize;

use proptest::prelude::*;
use zfs_safe::version::Txg;
use zrepl_proto::pdu::{Creation, VersionType};

use super::*;
use crate::go_regex::GoRegex;

fn version(kind: VersionType, name: &str, number: u64) -> Version {
    let creation: Creation = format!("2026-01-01T00:{:02}:00Z", number % 60)
        .parse()
        .expect("a time");
    Version::new(kind, name, Guid::new(number), Txg::new(number), creation).expect("valid")
}

fn snapshots(numbers: impl IntoIterator<Item = u64>) -> Vec<Version> {
    let snapshot = |number: u64| version(VersionType::Snapshot, &format!("s{number}"), number);
    numbers.into_iter().map(snapshot).collect()
}

fn facts(
    numbers: impl IntoIterator<Item = u64>,
    cursor: Option<u64>,
    common: Option<u64>,
) -> Facts {
    Facts {
        versions: snapshots(numbers),
        base: Base {
            is_behind: false,
            cursor: cursor.map(Guid::new),
            common: common.map(Guid::new),
        },
        held: HashSet::new(),
    }
}

fn last(count: usize) -> Rule {
    Rule::LastN {
        count: NonZeroUsize::new(count).expect("positive"),
        regex: None,
    }
}

fn not_replicated(keep_snapshot_at_cursor: bool) -> Rule {
    Rule::NotReplicated {
        keep_snapshot_at_cursor,
    }
}

/// Names of those that go.
fn destroyed(side: Side, rules: &[Rule], facts: Facts) -> Vec<String> {
    let judged = judge(side, rules, facts).expect("judges");
    let names = judged.destroyed().map(|it| it.version.name().to_owned());
    names.collect()
}

#[test]
fn what_is_not_replicated_stays_and_the_snapshot_at_the_cursor_as_the_rule_says() {
    let cases = [
        (Side::Sender, true, &["s1", "s2"][..]),
        (Side::Sender, false, &["s1", "s2", "s3"]),
        // It is a rule of the sender.
        (Side::Receiver, false, &["s1", "s2"]),
    ];
    for (side, keeps_cursor, expected) in cases {
        let rules = [not_replicated(keeps_cursor)];
        let facts = facts([4, 2, 3, 1], Some(3), Some(3));
        assert_eq!(
            destroyed(side, &rules, facts),
            expected,
            "{side} {keeps_cursor}"
        );
    }
}

#[test]
fn the_next_step_finds_what_it_starts_from_whatever_the_rules_say() {
    let rules = [last(1)];
    let cases = [
        // Received last: it stays there. On the sender the cursor, a bookmark, does.
        (Side::Receiver, Some(2), Some(2), &["s1", "s3"][..]),
        (Side::Sender, Some(2), Some(2), &["s1", "s2", "s3"]),
        // It has arrived, but the sender does not know: there is no cursor at 3.
        (Side::Sender, Some(2), Some(3), &["s1", "s2"]),
        // Nothing is guaranteed, so there is no cursor.
        (Side::Sender, None, Some(3), &["s1", "s2"]),
        // The receiver cannot be asked.
        (Side::Sender, Some(2), None, &["s1", "s2", "s3"]),
    ];
    for (side, cursor, common, expected) in cases {
        let facts = facts(1..=4, cursor, common);
        assert_eq!(
            destroyed(side, &rules, facts),
            expected,
            "{side} {cursor:?} {common:?}"
        );
    }
    let judged = judge(Side::Receiver, &rules, facts(1..=2, Some(1), Some(1))).expect("judges");
    assert_eq!(judged.all()[0].decision, Decision::Needed(Need::NextStep));
}

#[test]
fn what_is_held_stays_and_is_no_error() {
    let facts = Facts {
        held: [Guid::new(2)].into(),
        ..facts(1..=3, Some(3), Some(3))
    };
    let judged = judge(Side::Sender, &[last(1)], facts).expect("judges");
    let why: Vec<_> = judged
        .all()
        .iter()
        .map(|it| it.reasons(&[last(1)]).join("; "))
        .collect();
    let expected = [
        "last_n: number 3 from the newest, beyond 1",
        "held for a replication",
        "last_n: the newest",
    ];
    assert_eq!(why, expected);
    assert!(judged.all()[0].is_destroyed() && !judged.all()[1].is_destroyed());
}

#[test]
fn where_nothing_has_been_replicated_nothing_goes() {
    for side in [Side::Sender, Side::Receiver] {
        let judged = judge(side, &[last(1)], facts(1..=3, None, None));
        assert_eq!(judged, Err(NotJudged::NothingReplicated));
        // Where there is nothing, nothing is missing.
        let judged = judge(side, &[last(1)], facts([], None, None));
        assert_eq!(judged, Ok(Judged::default()));
    }
}

#[test]
fn a_local_side_needs_no_cursor() {
    let mut facts = facts(1..=3, None, None);
    facts.versions.push(version(VersionType::Bookmark, "b", 4));
    let judged = judge(Side::Local, &[last(2)], facts).expect("judges");
    let replicated: Vec<_> = judged.all().iter().map(|it| it.is_replicated).collect();
    // The newest version is a bookmark that no snapshot is at.
    assert_eq!(replicated, [false; 3]);
    assert_eq!(judged.destroyed().count(), 1);
}

#[test]
fn without_rules_everything_stays() {
    for side in [Side::Sender, Side::Receiver, Side::Local] {
        assert_eq!(
            destroyed(side, &[], facts(1..=3, Some(3), Some(3))),
            [""; 0]
        );
    }
}

fn some_rule() -> impl Strategy<Value = Rule> {
    prop_oneof![
        (1_usize..4).prop_map(last),
        any::<bool>().prop_map(not_replicated),
        ("s[1-3]", any::<bool>()).prop_map(|(pattern, negate)| Rule::Regex {
            regex: GoRegex::new(&pattern).expect("valid"),
            negate,
        }),
        Just(Rule::Grid {
            grid: "2x2m | 1x10m".parse().expect("valid"),
            regex: GoRegex::new(".*").expect("valid"),
        }),
    ]
}

fn some_side() -> impl Strategy<Value = Side> {
    prop_oneof![Just(Side::Sender), Just(Side::Receiver), Just(Side::Local)]
}

proptest! {
    #[test]
    fn nothing_that_a_rule_keeps_or_a_replication_needs_is_destroyed(
        side in some_side(),
        rules in proptest::collection::vec(some_rule(), 0..4),
        numbers in proptest::collection::btree_set(1_u64..40, 0..20),
        cursor in proptest::option::of(1_u64..40),
        common in proptest::option::of(1_u64..40),
        held in proptest::collection::hash_set(1_u64..40, 0..4),
    ) {
        let facts = Facts {
            held: held.iter().copied().map(Guid::new).collect(),
            ..facts(numbers.iter().copied(), cursor, common)
        };
        let Ok(judged) = judge(side, &rules, facts) else {
            prop_assert!(side != Side::Local && cursor.is_none() && common.is_none() && !numbers.is_empty());
            return Ok(());
        };
        prop_assert_eq!(judged.all().len(), numbers.len());
        let needed = match side {
            Side::Sender if common != cursor => common,
            Side::Receiver => common,
            Side::Sender | Side::Local => None,
        };
        for it in judged.destroyed() {
            let number = it.version.guid().get();
            prop_assert!(!rules.is_empty() && !held.contains(&number) && needed != Some(number));
        }
        // What one rule alone keeps stays with any others, too.
        for rule in &rules {
            let list: Vec<_> = judged.all().iter().map(|it| Snapshot {
                replicated: it.is_replicated,
                ..snapshot(&it.version)
            }).collect();
            for (opinion, it) in rule.opinions(&list).into_iter().zip(judged.all()) {
                prop_assert!(!opinion.keeps() || it.decision != Decision::Destroyed);
            }
        }
    }
}
