//! The input is turned into rules and snapshots. Rules only add to what is kept, and `grid` and `last_n` do what their
//! description in zrepl's terms says, done here step by step.
#![no_main]

use std::num::NonZeroUsize;

use libfuzzer_sys::arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use zfs_safe::guid::Guid;
use zfs_safe::version::Txg;
use zrepl_daemon::go_regex::GoRegex;
use zrepl_daemon::prune::grid::{Keep, RetentionGrid};
use zrepl_daemon::prune::{Rule, Snapshot, evaluate, mark_replicated};

const PATTERNS: [&str; 8] = ["", "^a", "b$", "^zrepl_.*", "c|d", "^$", ".*", "[ab]+"];
const NAMES: [&str; 8] = ["a", "b", "ab", "zrepl_1", "zrepl_2", "c", "d_a", "zrepl_b"];

fuzz_target!(|input: &[u8]| {
    let mut bytes = Unstructured::new(input);
    let _ = run(&mut bytes);
});

fn run(bytes: &mut Unstructured<'_>) -> Result<()> {
    let mut rules = Vec::new();
    for _ in 0..bytes.int_in_range(0..=4)? {
        rules.push(rule(bytes)?);
    }
    let base: i64 = *bytes.choose(&[0, 1_795_262_400, i64::MIN, i64::MAX, -1])?;
    let mut snapshots = Vec::new();
    for number in 0..bytes.int_in_range(0..=40)? {
        let offset: i64 = match bytes.int_in_range(0..=3)? {
            0 => bytes.arbitrary::<i8>()?.into(),
            1 => bytes.arbitrary::<i16>()?.into(),
            2 => bytes.arbitrary::<i32>()?.into(),
            _ => bytes.arbitrary()?,
        };
        snapshots.push(Snapshot {
            name: bytes.choose(&NAMES)?,
            guid: Guid::new(number),
            createtxg: Txg::new(bytes.arbitrary::<u8>()?.into()),
            creation: base.saturating_add(offset),
            replicated: bytes.arbitrary()?,
        });
    }
    if bytes.arbitrary()? {
        cursor(
            &mut snapshots,
            bytes.arbitrary::<u8>()?.into(),
            bytes.arbitrary()?,
        );
    }
    check(&rules, &snapshots);
    Ok(())
}

fn check(rules: &[Rule], snapshots: &[Snapshot<'_>]) {
    let plan = evaluate(rules, snapshots);
    let kept: Vec<bool> = plan.verdicts().map(|verdict| verdict.is_kept()).collect();
    assert_eq!(kept.len(), snapshots.len());
    let destroyed: Vec<usize> = plan.destroyed().collect();
    assert!((0..kept.len()).all(|index| kept[index] != destroyed.contains(&index)));
    let mut by_one = vec![rules.is_empty(); snapshots.len()];
    for rule in rules {
        let alone = evaluate(std::slice::from_ref(rule), snapshots);
        let keeps: Vec<bool> = alone.verdicts().map(|verdict| verdict.is_kept()).collect();
        for opinion in alone.verdicts().flat_map(|verdict| verdict.opinions()) {
            assert!(!rule.explain(opinion).to_string().is_empty());
        }
        match rule {
            Rule::Grid { grid, regex } => {
                assert_eq!(grid.to_string().parse().as_ref(), Ok(grid));
                assert_eq!(keeps, kept_by_grid(grid, regex, snapshots), "{grid}");
            }
            Rule::LastN { count, regex } => {
                assert_eq!(keeps, kept_by_last_n(*count, regex.as_ref(), snapshots));
            }
            Rule::NotReplicated { .. } => {
                assert!(
                    keeps
                        .iter()
                        .zip(snapshots)
                        .all(|(keeps, s)| *keeps != s.replicated)
                );
            }
            Rule::Regex { regex, negate } => {
                let wanted = |s: &Snapshot<'_>| regex.is_match(s.name) != *negate;
                assert!(
                    keeps
                        .iter()
                        .zip(snapshots)
                        .all(|(keeps, s)| *keeps == wanted(s))
                );
            }
        }
        assert!(!rule.keeps_everything() || keeps.iter().all(|keeps| *keeps));
        for (by_one, keeps) in by_one.iter_mut().zip(keeps) {
            *by_one |= keeps;
        }
    }
    assert_eq!(kept, by_one);
}

fn rule(bytes: &mut Unstructured<'_>) -> Result<Rule> {
    let regex = GoRegex::new(bytes.choose(&PATTERNS)?).expect("a pattern");
    Ok(match bytes.int_in_range(0..=5)? {
        0 => Rule::LastN {
            count: NonZeroUsize::MIN.saturating_add(bytes.int_in_range(0..=9)?),
            regex: bytes.arbitrary::<bool>()?.then_some(regex),
        },
        1 => Rule::NotReplicated {
            keep_snapshot_at_cursor: bytes.arbitrary()?,
        },
        2 => Rule::Regex {
            regex,
            negate: bytes.arbitrary()?,
        },
        _ => Rule::Grid {
            grid: grid(bytes)?,
            regex,
        },
    })
}

fn grid(bytes: &mut Unstructured<'_>) -> Result<RetentionGrid> {
    let mut intervals = Vec::new();
    for _ in 0..bytes.int_in_range(1..=4)? {
        let repeat = bytes.int_in_range(1..=9)?;
        let number: u32 = match bytes.int_in_range(0..=2)? {
            0 => bytes.int_in_range(1..=9)?,
            1 => bytes.int_in_range(1..=999)?,
            _ => bytes.int_in_range(1..=15_250)?,
        };
        let unit = bytes.choose(&['s', 's', 'm', 'h', 'd', 'w'])?;
        let keep = match bytes.int_in_range(0..=3)? {
            0 => "(keep=all)".to_owned(),
            1 => String::new(),
            _ => format!("(keep={})", bytes.int_in_range(1..=5)?),
        };
        intervals.push(format!("{repeat}x{number}{unit}{keep}"));
    }
    // Shorter intervals after longer ones are refused: then the first alone will do.
    let all = intervals.join("|").parse();
    Ok(all.unwrap_or_else(|_| intervals[0].parse().expect("one interval")))
}

/// The algorithm of zrepl 0.7.0 as it is described: bucket by bucket.
fn kept_by_grid(grid: &RetentionGrid, regex: &GoRegex, snapshots: &[Snapshot<'_>]) -> Vec<bool> {
    let mut kept = vec![false; snapshots.len()];
    let mut rest: Vec<usize> = (0..snapshots.len())
        .filter(|&index| regex.is_match(snapshots[index].name))
        .collect();
    let creation = |index: usize| i128::from(snapshots[index].creation);
    rest.sort_by_key(|&index| -creation(index));
    let Some(&youngest) = rest.first() else {
        return kept;
    };
    let mut younger_edge = creation(youngest);
    for interval in grid.intervals() {
        for _ in 0..interval.repeat() {
            let older_edge = younger_edge - i128::from(interval.length().duration().as_secs());
            let (members, others): (Vec<usize>, Vec<usize>) =
                rest.into_iter().partition(|&index| {
                    older_edge < creation(index) && creation(index) <= younger_edge
                });
            let destroyed = match interval.keep() {
                Keep::All => 0,
                Keep::Oldest(count) => members.len().saturating_sub(count),
            };
            for &index in &members[destroyed..] {
                kept[index] = true;
            }
            rest = others;
            younger_edge = older_edge;
        }
    }
    kept
}

fn kept_by_last_n(
    count: NonZeroUsize,
    regex: Option<&GoRegex>,
    snapshots: &[Snapshot<'_>],
) -> Vec<bool> {
    let matches = |s: &Snapshot<'_>| regex.is_none_or(|regex| regex.is_match(s.name));
    let key = |index: usize| (snapshots[index].creation, snapshots[index].name);
    let newer = |index: usize, other: usize| match key(other).cmp(&key(index)) {
        std::cmp::Ordering::Equal => other < index,
        order => order.is_gt(),
    };
    let is_kept = |index: usize| {
        let before = (0..snapshots.len())
            .filter(|&other| matches(&snapshots[other]) && newer(index, other))
            .count();
        matches(&snapshots[index]) && before < count.get()
    };
    (0..snapshots.len()).map(is_kept).collect()
}

fn cursor(snapshots: &mut [Snapshot<'_>], guid: u64, including: bool) {
    mark_replicated(snapshots, Guid::new(guid), including);
    let at = snapshots
        .iter()
        .find(|s| s.guid == Guid::new(guid))
        .cloned();
    for snapshot in snapshots {
        let expected = at.as_ref().is_some_and(|at| {
            snapshot.createtxg < at.createtxg || (including && snapshot.guid == at.guid)
        });
        assert_eq!(snapshot.replicated, expected);
    }
}
