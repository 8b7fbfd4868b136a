use proptest::prelude::*;

use super::*;

fn regex(text: &str) -> GoRegex {
    GoRegex::new(text).expect(text)
}

fn last_n(count: usize, pattern: Option<&str>) -> Rule {
    Rule::LastN {
        count: NonZeroUsize::new(count).expect("positive"),
        regex: pattern.map(regex),
    }
}

fn grid(spec: &str, pattern: &str) -> Rule {
    Rule::Grid {
        grid: spec.parse().expect(spec),
        regex: regex(pattern),
    }
}

fn snapshots<'a>(list: &[(&'a str, i64)]) -> Vec<Snapshot<'a>> {
    list.iter()
        .zip(1..)
        .map(|(&(name, creation), number)| Snapshot {
            name,
            guid: Guid::new(number),
            createtxg: Txg::new(number),
            creation,
            replicated: false,
        })
        .collect()
}

fn kept<'a>(rules: &[Rule], list: &[Snapshot<'a>]) -> Vec<&'a str> {
    evaluate(rules, list)
        .verdicts()
        .zip(list)
        .filter(|(verdict, _)| verdict.is_kept())
        .map(|(_, snapshot)| snapshot.name)
        .collect()
}

#[test]
fn without_rules_all_are_kept() {
    let list = snapshots(&[("a", 1), ("b", 2)]);
    assert_eq!(kept(&[], &list), ["a", "b"]);
    assert_eq!(evaluate(&[], &list).destroyed().count(), 0);
    assert_eq!(evaluate(&[last_n(1, None)], &[]).verdicts().len(), 0);
}

#[test]
fn destroyed_is_what_no_rule_keeps() {
    let list = snapshots(&[("a_1", 1), ("a_2", 2), ("b_1", 3), ("b_2", 4), ("c", 5)]);
    let rules = [last_n(1, Some("^a_")), last_n(1, Some("^b_"))];
    assert_eq!(kept(&rules, &list), ["a_2", "b_2"]);
    let plan = evaluate(&rules, &list);
    assert_eq!(plan.destroyed().collect::<Vec<_>>(), [0, 2, 4]);
    let verdicts: Vec<_> = plan.verdicts().collect();
    assert_eq!(
        verdicts[3].kept_by().collect::<Vec<_>>(),
        [(1, Opinion::Newest { rank: 1 })]
    );
    assert_eq!(
        verdicts[0].opinions().collect::<Vec<_>>(),
        [Opinion::NotAmongNewest { rank: 2 }, Opinion::NameUnwanted]
    );
}

#[test]
fn last_n_goes_by_creation_and_then_by_name() {
    let list = snapshots(&[("b", 5), ("a", 5), ("c", 5), ("old", 4), ("z", 6)]);
    for (count, expected) in [
        (1, vec!["z"]),
        (2, vec!["c", "z"]),
        (3, vec!["b", "c", "z"]),
        (4, vec!["b", "a", "c", "z"]),
        (9, vec!["b", "a", "c", "old", "z"]),
    ] {
        assert_eq!(kept(&[last_n(count, None)], &list), expected, "{count}");
    }
    assert_eq!(kept(&[last_n(2, Some(""))], &list), ["c", "z"]);
}

#[test]
fn regex_keeps_matches_or_the_rest() {
    let list = snapshots(&[("zrepl_1", 1), ("manual", 2)]);
    for (negate, expected) in [(false, "zrepl_1"), (true, "manual")] {
        let rule = Rule::Regex {
            regex: regex("^zrepl_"),
            negate,
        };
        assert_eq!(kept(&[rule], &list), [expected]);
    }
}

#[test]
fn replicated_is_what_is_older_than_the_cursor() {
    let mut list = snapshots(&[("a", 1), ("b", 2), ("c", 3)]);
    list.reverse();
    let keep = [true, false].map(|keep_snapshot_at_cursor| Rule::NotReplicated {
        keep_snapshot_at_cursor,
    });
    assert!(!cursor_counts_as_replicated(&keep[..1]));
    assert!(cursor_counts_as_replicated(&keep));
    for (cursor, including_cursor, expected) in [
        (2, false, vec!["c", "b"]),
        (2, true, vec!["c"]),
        (1, false, vec!["c", "b", "a"]),
        (3, true, vec![]),
        (9, true, vec!["c", "b", "a"]),
    ] {
        mark_replicated(&mut list, Guid::new(cursor), including_cursor);
        assert_eq!(kept(&keep[..1], &list), expected, "{cursor}");
    }
}

#[test]
fn reasons_are_given_in_words() {
    let mut list = snapshots(&[
        ("s_1", 0),
        ("s_2", 3600),
        ("s_3", 4000),
        ("s_4", 7100),
        ("m", 7200),
        ("s_5", 9000),
    ]);
    list[0].replicated = true;
    let rules = [
        grid("1x30m(keep=all) | 2x1h(keep=1)", "^s_"),
        last_n(2, None),
        Rule::Regex {
            regex: regex("^m$"),
            negate: false,
        },
        Rule::Regex {
            regex: regex("^m$"),
            negate: true,
        },
        Rule::NotReplicated {
            keep_snapshot_at_cursor: true,
        },
        grid("24x1h(keep=2)", "^s_"),
        grid("1x2h", "^s_"),
    ];
    let plan = evaluate(&rules, &list);
    let words: Vec<Vec<String>> = plan
        .verdicts()
        .map(|verdict| {
            verdict
                .opinions()
                .zip(&rules)
                .map(|(opinion, rule)| {
                    let sign = if opinion.keeps() { '+' } else { '-' };
                    format!("{sign}{}", rule.explain(opinion))
                })
                .collect()
        })
        .collect();
    assert_eq!(
        words[0],
        [
            "-older than the grid",
            "-number 6 from the newest, beyond 2",
            "-name does not match `^m$`",
            "+name does not match `^m$`",
            "-older than the newest that is replicated",
            "+in bucket 3 of `24x1h(keep=2)`, the only one",
            "-older than the grid",
        ]
    );
    assert_eq!(words[4][0], "-name does not match `^s_`");
    assert_eq!(words[4][1], "+among the newest 2");
    assert_eq!(words[4][2], "+name matches `^m$`");
    assert_eq!(words[4][3], "-name matches `^m$`");
    assert_eq!(words[4][4], "+the newest that is replicated, or newer");
    assert_eq!(
        words[5][0],
        "+in bucket 1 of `1x30m(keep=all)`, which keeps all"
    );
    assert_eq!(words[5][1], "+the newest");
    assert_eq!(words[1][0], "+in bucket 2 of `2x1h`, the only one");
    assert_eq!(words[2][0], "+in bucket 1 of `2x1h`, the oldest of 2");
    assert_eq!(words[3][0], "-in bucket 1 of `2x1h`, not the oldest of 2");
    assert_eq!(words[1][6], "+in bucket 1 of `1x2h`, the oldest of 4");
    let many = snapshots(&[("s_1", 1), ("s_2", 2), ("s_3", 3)]);
    let explained: Vec<_> = evaluate(&rules[5..6], &many)
        .verdicts()
        .flat_map(|verdict| {
            verdict
                .opinions()
                .map(|o| rules[5].explain(o).to_string())
                .collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(
        explained,
        [
            "in bucket 1 of `24x1h(keep=2)`, the oldest of 3",
            "in bucket 1 of `24x1h(keep=2)`, among the oldest 2 of 3",
            "in bucket 1 of `24x1h(keep=2)`, not among the oldest 2 of 3",
        ]
    );
}

/// Release builds need a few ten milliseconds.
#[test]
fn a_hundred_thousand_snapshots_are_planned_quickly() {
    let names: Vec<String> = (0..100_000).map(|n| format!("zrepl_{n:06}")).collect();
    let list: Vec<_> = names
        .iter()
        .zip(0..)
        .map(|(name, n)| (name.as_str(), n * 600))
        .collect();
    let list = snapshots(&list);
    let rules = [
        grid(
            "1x1h(keep=all) | 24x1h | 30x1d | 52x1w | 600x30d",
            "^zrepl_.*",
        ),
        last_n(10, None),
    ];
    let (plan, needed) = crate::cpu_time::of(|| evaluate(&rules, &list));
    assert!(plan.destroyed().count() > 99_000);
    assert!(needed.as_millis() < 2000, "{needed:?}, though unoptimised");
}

fn some_rule() -> impl Strategy<Value = Rule> {
    let pattern = || prop::sample::select(vec!["", "^a", "b$", "^c_", "x"]);
    prop_oneof![
        (1_usize..5, proptest::option::of(pattern())).prop_map(|(count, p)| last_n(count, p)),
        (pattern(), any::<bool>()).prop_map(|(p, negate)| Rule::Regex {
            regex: regex(p),
            negate
        }),
        any::<bool>().prop_map(|keep_snapshot_at_cursor| Rule::NotReplicated {
            keep_snapshot_at_cursor
        }),
        (
            prop::sample::select(vec!["1x1s", "3x2s(keep=2)|2x5s", "1x3s(keep=all)|4x4s"]),
            pattern()
        )
            .prop_map(|(spec, p)| grid(spec, p)),
    ]
}

proptest! {
    /// Rules only ever add to what is kept.
    #[test]
    fn kept_is_what_some_rule_alone_keeps(
        rules in proptest::collection::vec(some_rule(), 1..5),
        list in proptest::collection::vec(("[abc]_?[abc]?", -30_i64..0, any::<bool>()), 0..30),
    ) {
        let mut snapshots = snapshots(&list.iter().map(|(name, t, _)| (name.as_str(), *t)).collect::<Vec<_>>());
        for (snapshot, (.., replicated)) in snapshots.iter_mut().zip(&list) {
            snapshot.replicated = *replicated;
        }
        let plan = evaluate(&rules, &snapshots);
        let alone: Vec<_> = rules.iter().map(|rule| evaluate(std::slice::from_ref(rule), &snapshots)).collect();
        for (index, verdict) in plan.verdicts().enumerate() {
            let by_one = alone.iter().any(|plan| plan.verdicts().nth(index).expect("same length").is_kept());
            prop_assert_eq!(verdict.is_kept(), by_one);
        }
    }
}
