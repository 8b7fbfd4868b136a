//! Retention as the documentation tells it, without thinking of time or memory: what the pruner does is held against this.

use std::cmp::Reverse;

use zrepl_daemon::prune::grid::Keep;
use zrepl_daemon::prune::{Rule, Snapshot};

/// For each snapshot, is there a rule that keeps it?
pub(super) fn kept(rules: &[Rule], snapshots: &[Snapshot<'_>]) -> Vec<bool> {
    let mut kept = vec![rules.is_empty(); snapshots.len()];
    for rule in rules {
        for index in kept_by(rule, snapshots) {
            kept[index] = true;
        }
    }
    kept
}

fn kept_by(rule: &Rule, snapshots: &[Snapshot<'_>]) -> Vec<usize> {
    let all = 0..snapshots.len();
    let matching = |pattern: &str| -> Vec<usize> {
        let matches = |index: &usize| matches(pattern, snapshots[*index].name);
        all.clone().filter(matches).collect()
    };
    match rule {
        Rule::NotReplicated { .. } => all.filter(|index| !snapshots[*index].replicated).collect(),
        Rule::Regex { regex, negate } => {
            let matching = matching(regex.as_str());
            all.filter(|index| matching.contains(index) != *negate)
                .collect()
        }
        Rule::LastN { count, regex } => {
            let mut newest_first = matching(regex.as_ref().map_or("", |regex| regex.as_str()));
            newest_first.sort_by_key(|index| {
                let snapshot = &snapshots[*index];
                Reverse((snapshot.creation, snapshot.name))
            });
            newest_first.truncate(count.get());
            newest_first
        }
        Rule::Grid { grid, regex } => {
            let mut left = matching(regex.as_str());
            // Oldest last. Of those of the same second, what is listed first counts as younger.
            left.sort_by_key(|index| (Reverse(snapshots[*index].creation), *index));
            let mut kept = Vec::new();
            let Some(youngest) = left.first() else {
                return kept;
            };
            // Bucket after bucket into the past.
            let mut start = snapshots[*youngest].creation;
            for interval in grid.intervals() {
                let length = i64::try_from(interval.length().duration().as_secs()).expect("short");
                for _ in 0..interval.repeat() {
                    start -= length;
                    let size = left
                        .iter()
                        .take_while(|index| snapshots[**index].creation > start)
                        .count();
                    let bucket: Vec<usize> = left.drain(..size).collect();
                    let kept_here = match interval.keep() {
                        Keep::All => size,
                        Keep::Oldest(count) => count.min(size),
                    };
                    kept.extend(&bucket[size - kept_here..]);
                }
            }
            kept
        }
    }
}

/// The patterns that are used here, without regular expressions.
fn matches(pattern: &str, name: &str) -> bool {
    let prefix = pattern.strip_prefix('^');
    let prefix = prefix.map(|prefix| prefix.strip_suffix(".*").unwrap_or(prefix));
    match (pattern, prefix) {
        ("" | ".*", _) => true,
        (_, Some(prefix))
            if prefix
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') =>
        {
            name.starts_with(prefix)
        }
        _ => panic!("no plain prefix: {pattern}"),
    }
}
