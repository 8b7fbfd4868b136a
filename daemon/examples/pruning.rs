//! A snap job over real ZFS: what it costs to take snapshots of many filesystems, and to destroy many. It makes and destroys a pool, so
//! it runs only where the guest harness puts it; `cargo vm test snapshots_cost` runs it.

use std::collections::BTreeSet;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use zfs_safe::Outcome;
use zfs_safe::counters::Counts;
use zfs_safe::name::{DatasetPath, SnapshotName};
use zfs_safe::version::Txg;
use zfs_safe::zfs::{VersionQuery, Zfs};
use zrepl_daemon::config;
use zrepl_daemon::endpoint::local_zfs::LocalZfs;
use zrepl_daemon::hook::DuePostEdges;
use zrepl_daemon::job::{Environment, Handle, build};
use zrepl_daemon::pruner::report::State;
use zrepl_daemon::rpc::metrics::Metrics;
use zrepl_daemon::status::JobStatus;
use zrepl_daemon::transport::Shared;
use zrepl_daemon::transport::local::LocalListeners;
use zrepl_daemon::zfs_backend::{self, Choice};

const FILESYSTEMS: usize = 200;

/// Of each filesystem, before half of them are destroyed, unless the command line says otherwise.
const SNAPSHOTS: usize = 4;

/// What it may cost that so many are destroyed: calls that each wait for a transaction group, at most 20 for 2000. Requests come in
/// waves, and each wave takes a call or two whatever there is to destroy.
const fn most_calls(destroyed: usize) -> usize {
    8 + destroyed * 12 / 2000
}

const LIMIT: Duration = Duration::from_secs(300);

fn main() -> ExitCode {
    let in_guest = std::env::current_exe().is_ok_and(|path| path.starts_with("/put"));
    if !in_guest {
        println!("pruning: needs a guest with ZFS (cargo vm test snapshots_cost)");
        return ExitCode::SUCCESS;
    }
    let number = std::env::args().nth(1);
    let snapshots = number.map_or(SNAPSHOTS, |it| it.parse().expect("a number of snapshots"));
    let kept = snapshots / 2;
    let begun = Instant::now();
    let choice = Choice::parse(Some("native")).expect("known");
    let zfs = zfs_backend::open(choice).expect("ZFS answers").zfs;
    sh(
        "truncate -s 512M /tmp/pruning.img; zpool create -O mountpoint=none -O canmount=off tank /tmp/pruning.img; \
        zfs create tank/many",
    );
    thread::scope(|scope| {
        for part in 0..8 {
            let zfs = &zfs;
            scope.spawn(move || {
                for path in paths().skip(part).step_by(8) {
                    zfs.create_filesystem(&path, &[]).expect("created");
                }
            });
        }
    });
    // All but the last, which the job takes.
    for number in 1..snapshots {
        let of_all: Vec<_> = paths().map(|path| snapshot(&path, number)).collect();
        let outcomes = zfs.snapshot(&of_all, &[]);
        assert!(
            outcomes.iter().all(|it| matches!(it, Outcome::Done)),
            "{outcomes:?}"
        );
    }
    println!("prepared after {:.1} s", begun.elapsed().as_secs_f32());
    let shared = LocalZfs::new(Arc::clone(&zfs)).expect("version is told");
    let cost = invoke(&shared, "{type: regex, regex: '.*'}", |handle| {
        handle.snapshot_now().expect("it takes snapshots");
    });
    println!(
        "{FILESYSTEMS} snapshots: {} ioctls, {} txg waits",
        cost.ioctls, cost.txg_waits
    );
    assert_eq!((cost.txg_waits, cost.processes), (1, 0));
    let (count, instants) = listed(&*zfs);
    assert_eq!(count, FILESYSTEMS * snapshots);
    assert_eq!(instants.len(), snapshots, "not one createtxg for all");

    let rule = format!("{{type: last_n, count: {kept}}}");
    let cost = invoke(&shared, &rule, |handle| {
        handle.signals().wakeup().expect("it waits");
    });
    let gone = FILESYSTEMS * (snapshots - kept);
    println!(
        "{gone} destroyed: {} ioctls, {} txg waits",
        cost.ioctls, cost.txg_waits
    );
    assert!(cost.txg_waits <= most_calls(gone) as u64, "{cost:?}");
    assert_eq!(cost.processes, 0);
    let (count, instants) = listed(&*zfs);
    assert_eq!((count, instants.len()), (FILESYSTEMS * kept, kept));

    let cost = invoke(&shared, &rule, |handle| {
        handle.signals().wakeup().expect("it waits");
    });
    println!(
        "nothing to destroy: {} ioctls, {} txg waits",
        cost.ioctls, cost.txg_waits
    );
    assert_eq!((cost.txg_waits, cost.processes), (0, 0));
    sh("zpool destroy tank");
    println!("all ok");
    ExitCode::SUCCESS
}

fn paths() -> impl Iterator<Item = DatasetPath> {
    (0..FILESYSTEMS).map(|number| DatasetPath::new(format!("tank/many/f{number}")).expect("valid"))
}

fn snapshot(path: &DatasetPath, number: usize) -> SnapshotName {
    SnapshotName::new(format!("{path}@old_{number}")).expect("valid")
}

/// How many snapshots there are, and when they were taken.
fn listed(zfs: &dyn Zfs) -> (usize, BTreeSet<Txg>) {
    let all = paths().flat_map(|path| {
        zfs.versions(&path, &VersionQuery::SNAPSHOTS)
            .expect("lists")
    });
    let all: Vec<_> = all.map(|it| it.createtxg).collect();
    (all.len(), all.into_iter().collect())
}

/// What it costs until a job with this rule has pruned.
fn invoke(zfs: &LocalZfs, rule: &str, ask: impl FnOnce(&Handle)) -> Counts {
    let text = format!(
        "jobs: [{{type: snap, name: snap, filesystems: {{'tank/many<': true, tank/many: false}}, \
         snapshotting: {{type: cron, cron: '0 0 1 1 *', prefix: new_}}, pruning: {{keep: [{rule}]}}}}]"
    );
    let config = config::parse("pruning.yml", &text).expect("valid").config;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let environment = Environment {
            zfs: zfs.clone(),
            transports: Shared {
                local: LocalListeners::default(),
                key_log: Arc::new(rustls::NoKeyLog {}),
                stdinserver_sockets: "/tmp/pruning".into(),
            },
            metrics: Metrics::new(),
            due: DuePostEdges::default(),
            variables: &|_| None,
        };
        let mut jobs = build(&config, &environment).expect("builds");
        let job = jobs.pop().expect("one job");
        let (handle, stop) = (job.handle().clone(), CancellationToken::new());
        let running = tokio::spawn(job.start(stop.clone()));
        // Whatever it does when it begins.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let before = zfs.zfs().counters().now();
        let begun = Instant::now();
        ask(&handle);
        let deadline = begun + LIMIT;
        while !is_done(&handle) {
            assert!(Instant::now() < deadline, "{:?}", handle.status());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let cost = zfs.zfs().counters().now() - before;
        println!("done after {:.1} s", begun.elapsed().as_secs_f32());
        stop.cancel();
        running.await.expect("no panic");
        cost
    })
}

fn is_done(handle: &Handle) -> bool {
    let JobStatus::Snap(status) = handle.status() else {
        panic!("a snap job");
    };
    status.pruning.is_some_and(|report| match report.state {
        State::Done => true,
        State::Plan | State::Exec => false,
        State::PlanErr | State::ExecErr => panic!("{report:?}"),
    })
}

fn sh(script: &str) -> String {
    let output = Command::new("sh")
        .args(["-euc", script])
        .output()
        .expect("sh runs");
    assert!(
        output.status.success(),
        "{script}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}
