//! How long it takes to decide what goes of 100 000 snapshots, taken every ten minutes for two years: the target is 100 ms.
//! `cargo bench -p zrepl-daemon --bench retention`

use std::collections::HashSet;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use zfs_safe::guid::Guid;
use zfs_safe::version::Txg;
use zrepl_daemon::config::{self, job::JobConfig};
use zrepl_daemon::endpoint::mark::base::Base;
use zrepl_daemon::prune::Rule;
use zrepl_daemon::pruner::judge::{Facts, Side, judge};
use zrepl_daemon::replication::version::Version;
use zrepl_proto::pdu::VersionType;

const SNAPSHOTS: u64 = 100_000;

/// The rules of the quick-start guide for a sender, with a grid that reaches further.
const JOB: &str = "
jobs:
- name: j
  type: push
  connect: {type: local, listener_name: l, client_identity: c}
  filesystems: {'<': true}
  snapshotting: {type: manual}
  pruning:
    keep_sender:
    - type: not_replicated
    - {type: last_n, count: 10}
    - {type: grid, grid: 1x1h(keep=all) | 24x1h | 30x1d | 52x1w | 24x30d, regex: '^zrepl_.*'}
    keep_receiver: [{type: last_n, count: 1}]
";

fn main() {
    let loaded = config::parse("bench.yml", JOB).expect("valid");
    let Some(JobConfig::Push(job)) = loaded.config.jobs.into_iter().next() else {
        panic!("a push job");
    };
    let rules: Vec<Rule> = job.pruning.keep_sender.rules();
    for filesystems in [1, 100] {
        let mut times: Vec<Duration> = (0..11).map(|_| plan(&rules, filesystems)).collect();
        times.sort();
        println!(
            "{SNAPSHOTS} snapshots of {filesystems} filesystems: median of {}: {:?}",
            times.len(),
            times[times.len() / 2]
        );
    }
}

/// Decides once. Reading the versions is not counted: they come from a listing.
fn plan(rules: &[Rule], filesystems: u64) -> Duration {
    let facts: Vec<_> = (0..filesystems)
        .map(|_| facts(SNAPSHOTS / filesystems))
        .collect();
    let begun = Instant::now();
    let judged: Vec<_> = facts
        .into_iter()
        .map(|facts| judge(Side::Sender, rules, facts).expect("judges"))
        .collect();
    let took = begun.elapsed();
    let gone: usize = judged.iter().map(|judged| judged.destroyed().count()).sum();
    assert!(gone > 0, "nothing goes");
    took
}

fn facts(snapshots: u64) -> Facts {
    let first = Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_hours(24 * 365 * 50);
    let version = |number: u64| {
        let minutes = i64::try_from(10 * number).expect("not many");
        let at = first + jiff::SignedDuration::from_mins(minutes);
        Version::new(
            VersionType::Snapshot,
            format!("zrepl_{number:06}"),
            Guid::new(number + 1),
            Txg::new(number + 1),
            at.to_string().parse().expect("a time"),
        )
        .expect("valid")
    };
    let newest = Guid::new(snapshots);
    Facts {
        versions: (0..snapshots).map(version).collect(),
        base: Base {
            cursor: Some(newest),
            common: Some(newest),
            is_behind: false,
        },
        held: HashSet::new(),
    }
}
