use proptest::prelude::*;
use zfs_safe::guid::Guid;
use zfs_safe::version::Txg;

use super::*;

fn snapshot(name: &str, creation: i64) -> Snapshot<'_> {
    Snapshot {
        name,
        guid: Guid::new(1),
        createtxg: Txg::new(1),
        creation,
        replicated: false,
    }
}

/// Which creations the grid keeps, in the order given.
fn kept(grid: &str, creations: &[i64]) -> Vec<i64> {
    let grid = grid.parse().unwrap_or_else(|error| panic!("{error}"));
    let regex = GoRegex::new("").expect("valid");
    let snapshots: Vec<_> = creations.iter().map(|t| snapshot("s", *t)).collect();
    opinions(&grid, &regex, &snapshots)
        .iter()
        .zip(creations)
        .filter(|(opinion, _)| opinion.keeps())
        .map(|(_, t)| *t)
        .collect()
}

#[test]
fn each_bucket_keeps_its_oldest() {
    let minutes = |list: &[i64]| list.iter().map(|m| m * 60).collect::<Vec<_>>();
    let cases: &[(&str, Vec<i64>, Vec<i64>)] = &[
        ("1x1m(keep=2)", vec![1, 2, 3, 4, 5], vec![1, 2]),
        ("1x1m(keep=2)", vec![5, 3, 1, 4, 2], vec![1, 2]),
        (
            "1x1m(keep=all)|1x1m",
            vec![0, -1, -2, -60, -61],
            vec![0, -1, -2, -61],
        ),
        (
            "1x10m(keep=all)|1x10m|1x10m(keep=2)|1x1h",
            minutes(&[
                -6, -8, -9, -11, -19, -25, -26, -30, -75, -90, -91, -120, -1, 0,
            ]),
            minutes(&[-6, -8, -9, -19, -25, -26, -75, -1, 0]),
        ),
        (
            "3x10m",
            minutes(&[0, -10, -20, -30, -40]),
            minutes(&[0, -10, -20]),
        ),
        // The grid hangs on the youngest, wherever that is in time.
        (
            "3x10m",
            minutes(&[1000, 990, 985, 970]),
            minutes(&[1000, 985]),
        ),
        ("1x1s", vec![i64::MIN, i64::MAX], vec![i64::MAX]),
        ("1x1s", vec![], vec![]),
        // Equal times: the later ones in the list count as older.
        ("1x1h", vec![7, 7, 7], vec![7]),
    ];
    for (grid, creations, expected) in cases {
        assert_eq!(kept(grid, creations), *expected, "{grid}");
    }
}

/// zrepl's own test passes a `now` before its youngest snapshot, which is kept. There is no such snapshot when the youngest
/// is `now`; the others come out the same.
#[test]
fn three_equal_buckets_as_in_the_reference() {
    let creations: Vec<i64> = [0, -10, -20, -30, -40].iter().map(|m| m * 60).collect();
    let regex = GoRegex::new("").expect("valid");
    let grid: RetentionGrid = "3x10m".parse().expect("valid");
    let snapshots: Vec<_> = creations.iter().map(|t| snapshot("s", *t)).collect();
    let buckets: Vec<_> = opinions(&grid, &regex, &snapshots)
        .into_iter()
        .map(|opinion| match opinion {
            Opinion::Grid(GridOpinion::Bucket { bucket, .. }) => Some(bucket),
            _ => None,
        })
        .collect();
    assert_eq!(buckets, [Some(0), Some(1), Some(2), None, None]);
}

#[test]
fn among_equals_the_last_listed_is_the_oldest() {
    let regex = GoRegex::new("").expect("valid");
    let grid: RetentionGrid = "1x1h(keep=2)".parse().expect("valid");
    let snapshots = ["a", "b", "c", "d"].map(|name| snapshot(name, 7));
    let kept: Vec<_> = opinions(&grid, &regex, &snapshots)
        .into_iter()
        .map(Opinion::keeps)
        .collect();
    assert_eq!(kept, [false, false, true, true]);
}

#[test]
fn snapshots_that_do_not_match_are_no_part_of_it() {
    let regex = GoRegex::new("^z_").expect("valid");
    let grid: RetentionGrid = "2x1m".parse().expect("valid");
    let snapshots = [
        snapshot("manual", 1_000_000),
        snapshot("z_1", 60),
        snapshot("z_2", 0),
        snapshot("other", 30),
        snapshot("z_3", -60),
    ];
    let kept: Vec<_> = opinions(&grid, &regex, &snapshots)
        .into_iter()
        .map(Opinion::keeps)
        .collect();
    assert_eq!(kept, [false, true, true, false, false]);
}

/// The rule as the specification words it: buckets one by one, each with its edges, each snapshot in the first that has it.
fn naive(parts: &[(u32, i64, Option<usize>)], creations: &[i64]) -> Vec<bool> {
    let Some(now) = creations.iter().copied().max() else {
        return Vec::new();
    };
    let mut younger_edge = now;
    let mut keeps = vec![false; creations.len()];
    let mut placed = vec![false; creations.len()];
    for &(repeat, length, keep) in parts {
        for _ in 0..repeat {
            let older_edge = younger_edge - length;
            let mut members: Vec<usize> = Vec::new();
            for (index, creation) in creations.iter().enumerate() {
                if !placed[index] && *creation <= younger_edge && *creation > older_edge {
                    placed[index] = true;
                    members.push(index);
                }
            }
            let excess = keep.map_or(0, |keep| members.len().saturating_sub(keep));
            for _ in 0..excess {
                // The youngest goes; among equals the one listed first.
                let mut youngest = 0;
                for position in 1..members.len() {
                    if creations[members[position]] > creations[members[youngest]] {
                        youngest = position;
                    }
                }
                members.remove(youngest);
            }
            for index in members {
                keeps[index] = true;
            }
            younger_edge = older_edge;
        }
    }
    keeps
}

proptest! {
    #[test]
    fn agrees_with_going_through_the_buckets_one_by_one(
        mut parts in proptest::collection::vec((1_u32..5, 1_i64..12, proptest::option::of(1_usize..4)), 1..5),
        creations in proptest::collection::vec(-60_i64..0, 0..40),
    ) {
        parts.sort_by_key(|(_, length, _)| *length);
        let text: Vec<String> = parts.iter().map(|(repeat, length, keep)| {
            format!("{repeat}x{length}s(keep={})", keep.map_or("all".to_owned(), |n| n.to_string()))
        }).collect();
        let grid: RetentionGrid = text.join("|").parse().expect("valid");
        let regex = GoRegex::new("").expect("valid");
        let snapshots: Vec<_> = creations.iter().map(|t| snapshot("s", *t)).collect();
        let kept: Vec<bool> = opinions(&grid, &regex, &snapshots).into_iter().map(Opinion::keeps).collect();
        prop_assert_eq!(kept, naive(&parts, &creations), "{}", grid);
    }
}
