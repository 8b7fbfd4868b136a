use proptest::prelude::*;

use super::*;

fn filter(entries: &[(&str, bool)]) -> FilesystemFilter {
    FilesystemFilter::new(entries.iter().copied()).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn the_most_specific_pattern_decides() {
    let subtrees = filter(&[
        ("tank<", true),
        ("tank/tmp<", false),
        ("tank/home/x<", false),
        ("tank/home/x/1", true),
    ]);
    let exact = filter(&[("tank/home/bob", true), ("tank/home/bob<", false)]);
    let all = filter(&[("<", true), ("tank", false)]);
    let cases = [
        (&subtrees, "zroot", false, None),
        (&subtrees, "tank", true, Some("tank<")),
        (&subtrees, "tank2", false, None),
        (&subtrees, "tank/tmp", false, Some("tank/tmp<")),
        (&subtrees, "tank/tmp/foo", false, Some("tank/tmp<")),
        (&subtrees, "tank/tmpfoo", true, Some("tank<")),
        (&subtrees, "tank/home/x", false, Some("tank/home/x<")),
        (&subtrees, "tank/home/y", true, Some("tank<")),
        (&subtrees, "tank/home/x/1", true, Some("tank/home/x/1")),
        (&subtrees, "tank/home/x/1/a", false, Some("tank/home/x<")),
        (&subtrees, "tank/home/x/2", false, Some("tank/home/x<")),
        (&exact, "tank/home/bob", true, Some("tank/home/bob")),
        (
            &exact,
            "tank/home/bob/downloads",
            false,
            Some("tank/home/bob<"),
        ),
        (&exact, "tank/home", false, None),
        (&all, "tank", false, Some("tank")),
        (&all, "tank/a", true, Some("<")),
        (&all, "zroot", true, Some("<")),
    ];
    for (filter, dataset, accepted, decided_by) in cases {
        let verdict = filter.verdict(dataset);
        let decisive = verdict.decided_by.map(ToString::to_string);
        assert_eq!(
            (verdict.accepted, decisive.as_deref()),
            (accepted, decided_by),
            "{dataset}"
        );
    }
    assert!(!FilesystemFilter::default().accepts("tank"));
}

#[test]
fn bad_patterns_say_what_is_wrong() {
    let cases = [
        (
            "ta<nk",
            "pattern invalid: only one '<' at end of string allowed",
        ),
        (
            "tank<<",
            "pattern invalid: only one '<' at end of string allowed",
        ),
        (
            "<tank",
            "pattern invalid: only one '<' at end of string allowed",
        ),
        (
            "tank/*",
            "pattern is not a dataset path: contains forbidden characters (any of '@#|\\t<>*'): '*'",
        ),
        (
            "tank@a<",
            "pattern is not a dataset path: contains forbidden characters (any of '@#|\\t<>*'): '@'",
        ),
        (
            "tank/",
            "pattern is not a dataset path: must not end with a '/'",
        ),
        (
            "tank/<",
            "pattern is not a dataset path: must not end with a '/'",
        ),
    ];
    for (text, expected) in cases {
        let problem = text.parse::<Pattern>().expect_err(text);
        assert_eq!(problem.to_string(), expected);
        let error = FilesystemFilter::new([("ok", true), (text, false)]).expect_err(text);
        assert_eq!(
            error.to_string(),
            format!("invalid mapping entry ['{text}':'!']: {expected}")
        );
    }
    let error = FilesystemFilter::new([("a", true), ("a<", true), ("a", true)]).expect_err("twice");
    assert_eq!(
        error.to_string(),
        "invalid mapping entry ['a':'ok']: the pattern is there twice"
    );
}

#[test]
fn entries_come_back_as_written() {
    let written = [("z<", true), ("a", false), ("<", true)];
    let filter = filter(&written);
    let entries: Vec<_> = filter
        .entries()
        .map(|(pattern, accept)| (pattern.to_string(), accept))
        .collect();
    assert_eq!(entries, written.map(|(p, a)| (p.to_owned(), a)));
    assert_eq!(FilesystemFilter::new(entries), Ok(filter));
}

fn shown(filters: &[&FilesystemFilter]) -> Vec<String> {
    let keyed: Vec<_> = filters.iter().copied().enumerate().collect();
    overlaps(&keyed)
        .iter()
        .map(|o| format!("{}-{}: {}", o.filter, o.earlier, o.witness))
        .collect()
}

#[test]
fn overlaps_name_a_dataset_that_both_include() {
    let home = filter(&[("tank/home<", true)]);
    let bob = filter(&[("tank/home/bob", true)]);
    let rest = filter(&[("tank<", true), ("tank/home<", false)]);
    let children = filter(&[("tank/home<", true), ("tank/home", false)]);
    let top = filter(&[("tank/home", true)]);
    let all = filter(&[("<", true)]);
    let none = filter(&[("<", false)]);
    let impossible = filter(&[("tank//a<", true), ("ü", true), ("", true)]);
    let cases: &[(&[&FilesystemFilter], &[&str])] = &[
        (&[&home, &bob], &["1-0: tank/home/bob"]),
        (&[&bob, &home], &["1-0: tank/home/bob"]),
        (&[&home, &rest], &[]),
        (&[&top, &children], &[]),
        (&[&home, &children], &["1-0: tank/home/…"]),
        (
            &[&home, &top, &children],
            &["1-0: tank/home", "2-0: tank/home/…"],
        ),
        (&[&all, &none, &all], &["2-0: …"]),
        (
            &[&none, &rest, &all, &home],
            &["2-1: tank", "3-2: tank/home"],
        ),
        (&[&impossible, &all, &impossible], &[]),
        (&[], &[]),
    ];
    for (filters, expected) in cases {
        assert_eq!(shown(filters), *expected);
    }
}

/// One filter, over and over, and a thousand that share nothing: release builds need a few milliseconds.
#[test]
fn a_thousand_filters_are_no_trouble() {
    let same = filter(&[("<", true), ("tank/tmp<", false), ("tank/tmp/keep", true)]);
    let filters: Vec<&FilesystemFilter> = vec![&same; 1000];
    let keyed: Vec<_> = filters.iter().copied().enumerate().collect();
    assert_eq!(overlaps(&keyed).len(), 999);
    let different: Vec<FilesystemFilter> = (0..1000)
        .map(|n| {
            filter(&[
                (&format!("tank/customers/{n}<"), true),
                (&format!("tank/customers/{n}/tmp<"), false),
                (&format!("tank/customers/{n}/tmp/keep"), true),
            ])
        })
        .collect();
    let keyed: Vec<_> = different.iter().enumerate().collect();
    let (found, needed) = crate::cpu_time::of(|| overlaps(&keyed));
    assert_eq!(found, []);
    assert!(needed.as_millis() < 2000, "{needed:?}, though unoptimised");
}

fn some_path(min_components: usize) -> impl Strategy<Value = String> {
    let component = prop::sample::select(vec!["a", "b", "a b", "c"]);
    proptest::collection::vec(component, min_components..4)
        .prop_map(|components| components.join("/"))
}

fn some_filter() -> impl Strategy<Value = FilesystemFilter> {
    proptest::collection::btree_map((some_path(0), any::<bool>()), any::<bool>(), 0..5).prop_map(
        |entries| {
            FilesystemFilter::new(entries.into_iter().map(|((path, subtree), accept)| {
                (format!("{path}{}", if subtree { "<" } else { "" }), accept)
            }))
            .expect("valid patterns")
        },
    )
}

/// Every dataset that could matter: each path named anywhere, and a child of it that is not.
fn candidates(filters: &[FilesystemFilter]) -> Vec<String> {
    filters
        .iter()
        .flat_map(FilesystemFilter::entries)
        .map(|(pattern, _)| pattern.path())
        .chain([""])
        .flat_map(|path| {
            let below = if path.is_empty() {
                "fresh".to_owned()
            } else {
                format!("{path}/fresh")
            };
            [path.to_owned(), below]
        })
        .filter(|path| !path.is_empty())
        .collect()
}

proptest! {
    /// Against asking each pair about each dataset that could matter.
    #[test]
    fn overlaps_are_those_that_comparing_each_pair_finds(filters in proptest::collection::vec(some_filter(), 0..6)) {
        let keyed: Vec<_> = filters.iter().enumerate().collect();
        let found = overlaps(&keyed);
        let candidates = candidates(&filters);
        for later in 0..filters.len() {
            let naive = (0..later).any(|earlier| {
                candidates.iter().any(|d| filters[earlier].accepts(d) && filters[later].accepts(d))
            });
            let reported: Vec<_> = found.iter().filter(|o| o.filter == later).collect();
            prop_assert_eq!(reported.len(), usize::from(naive));
            for overlap in reported {
                let dataset = match &overlap.witness {
                    Witness::Dataset(path) => path.clone(),
                    Witness::Below(path) if path.is_empty() => "fresh".to_owned(),
                    Witness::Below(path) => format!("{path}/fresh"),
                };
                prop_assert!(overlap.earlier < later);
                prop_assert!(filters[later].accepts(&dataset), "{}", dataset);
                prop_assert!(filters[overlap.earlier].accepts(&dataset), "{}", dataset);
            }
        }
    }

    #[test]
    fn those_that_share_are_found_by_comparing_with_each(
        filters in proptest::collection::vec(some_filter(), 0..4),
        others in proptest::collection::vec(some_filter(), 0..4),
    ) {
        let naive: Vec<usize> = (0..filters.len())
            .filter(|&index| others.iter().any(|other| !overlaps(&[((), &filters[index]), ((), other)]).is_empty()))
            .collect();
        prop_assert_eq!(sharing(filters.iter().enumerate(), &others), naive);
    }

    /// Against the rule in words: an exact pattern, else the one with most components of those above.
    #[test]
    fn verdicts_follow_the_rule(filter in some_filter(), dataset in some_path(1)) {
        let is_above = |path: &str| {
            path.is_empty() || dataset == path || dataset.starts_with(&format!("{path}/"))
        };
        let exact = filter.entries().find(|(p, _)| !p.is_subtree() && p.path() == dataset);
        let subtree = filter
            .entries()
            .filter(|(p, _)| p.is_subtree() && is_above(p.path()))
            .max_by_key(|(p, _)| if p.path().is_empty() { 0 } else { p.path().split('/').count() });
        let expected = exact.or(subtree);
        let verdict = filter.verdict(&dataset);
        prop_assert_eq!(verdict.decided_by, expected.map(|(p, _)| p));
        prop_assert_eq!(verdict.accepted, expected.is_some_and(|(_, accept)| accept));
    }
}
