use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use tokio::time::{sleep, timeout};
use zfs_safe::name::DatasetPath;

use super::super::periodic::NewestSnapshot;
use super::super::report::{FilesystemState, PeriodicState};
use super::*;
use crate::wall_clock::virtual_clock::VirtualClock;

/// One filesystem, and a clock that the test holds.
struct Pool {
    clock: VirtualClock,
    /// Of the snapshot that is there at the start.
    newest: Option<Timestamp>,
    /// How long rounds take and how they end; when there is no more, they are quick and good.
    rounds: VecDeque<(u64, Result<(), RoundError>)>,
    unlisted: Option<RoundError>,
    /// How many seconds it takes to look snapshots up.
    listing: u64,
    /// When rounds began.
    began: Arc<Mutex<Vec<String>>>,
}

impl Snapshots for Pool {
    async fn newest(&mut self) -> Result<Vec<Newest>, RoundError> {
        sleep(Duration::from_secs(self.listing)).await;
        if let Some(error) = self.unlisted.take() {
            return Err(error);
        }
        let snapshot = self.newest.map(|creation| NewestSnapshot {
            name: "p@zrepl_0".to_owned(),
            creation,
        });
        Ok(vec![Newest {
            filesystem: path(),
            snapshot: Ok(snapshot),
        }])
    }

    async fn take(
        &mut self,
        progress: &Progress,
        stop: &CancellationToken,
    ) -> Result<(), RoundError> {
        let now = self.clock.now();
        // Timers of tokio may be late by a millisecond.
        let second = Timestamp::from_second(now.as_second()).expect("in range");
        {
            let mut began = self.began.lock().expect("whole");
            began.push(second.to_string());
            assert!(began.len() < 100, "no burst");
        }
        let (takes, result) = self.rounds.pop_front().unwrap_or((0, Ok(())));
        sleep(Duration::from_secs(1).min(Duration::from_secs(takes))).await;
        progress.planned(&[path()]);
        progress.started(&path(), "zrepl_1", now);
        tokio::select! {
            () = sleep(Duration::from_secs(takes)) => {}
            // It takes its time to stop.
            () = stop.cancelled() => sleep(Duration::from_secs(5)).await,
        }
        progress.ended(&path(), result.is_ok(), self.clock.now());
        result
    }
}

fn path() -> DatasetPath {
    DatasetPath::new("p").expect("a path")
}

fn at(text: &str) -> Timestamp {
    text.parse().expect(text)
}

/// A snapshotter at work.
struct Running {
    snapper: Arc<Snapper>,
    clock: VirtualClock,
    began: Arc<Mutex<Vec<String>>>,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Running {
    /// At noon.
    fn start(snapper: Snapper, prepare: impl FnOnce(&mut Pool)) -> Self {
        let clock = VirtualClock::showing(at("2026-05-05T12:00:00Z"));
        let snapper = Arc::new(snapper);
        let stop = CancellationToken::new();
        let mut pool = Pool {
            clock: clock.clone(),
            newest: None,
            rounds: VecDeque::new(),
            unlisted: None,
            listing: 0,
            began: Arc::default(),
        };
        prepare(&mut pool);
        let began = Arc::clone(&pool.began);
        let task = tokio::spawn({
            let (snapper, clock, stop) = (Arc::clone(&snapper), clock.clone(), stop.clone());
            async move { snapper.run(&clock, &mut pool, &stop).await }
        });
        Self {
            snapper,
            clock,
            began,
            stop,
            task,
        }
    }

    /// Times of day, without the date.
    fn rounds(&self) -> Vec<String> {
        let began = self.began.lock().expect("whole");
        began.iter().map(|time| time[11..19].to_owned()).collect()
    }

    async fn seconds(&self, seconds: u64) {
        sleep(Duration::from_secs(seconds)).await;
    }

    fn periodic(&self) -> PeriodicReport {
        match self.snapper.report() {
            Report::Periodic(report) => report,
            other => panic!("{other:?}"),
        }
    }

    fn cron(&self) -> CronReport {
        match self.snapper.report() {
            Report::Cron(report) => report,
            other => panic!("{other:?}"),
        }
    }

    /// Has a round ended of which the job does not know?
    async fn has_news(&self) -> bool {
        timeout(Duration::from_millis(1), self.snapper.round_ended())
            .await
            .is_ok()
    }
}

fn ten_minutes() -> Snapper {
    Snapper::periodic(Interval::from_secs(600).expect("positive"))
}

fn by_the_clock(spec: &str) -> Snapper {
    Snapper::cron(spec.parse().expect(spec), TimeZone::UTC)
}

#[tokio::test(start_paused = true)]
async fn periodic_rounds_go_on_where_an_earlier_daemon_stopped() {
    let running = Running::start(ten_minutes(), |pool| {
        pool.newest = Some(at("2026-05-05T11:53:00Z"));
    });
    running.seconds(100).await;
    let report = running.periodic();
    assert_eq!(report.state, PeriodicState::SyncUp);
    assert_eq!(report.sleep_until, Some(at("2026-05-05T12:03:00Z")));
    assert_eq!(report.progress, None);
    running.seconds(1800).await;
    assert_eq!(running.rounds(), ["12:03:00", "12:13:00", "12:23:00"]);
    let report = running.periodic();
    assert_eq!(report.state, PeriodicState::Waiting);
    let done = &report.progress.expect("a round")[0];
    assert_eq!(done.state, FilesystemState::SnapDone);
    assert_eq!(done.snap_name, "zrepl_1");
}

#[tokio::test(start_paused = true)]
async fn a_busy_job_is_told_afterwards() {
    let running = Running::start(ten_minutes(), |_| {});
    assert!(!running.has_news().await || running.rounds().len() == 1);
    // Three rounds while nobody listens.
    running.seconds(1300).await;
    assert_eq!(running.rounds().len(), 3);
    assert!(running.has_news().await);
    assert!(!running.has_news().await);
    running.seconds(600).await;
    assert!(running.has_news().await);
}

#[tokio::test(start_paused = true)]
async fn the_report_follows_a_round() {
    let running = Running::start(ten_minutes(), |pool| {
        pool.rounds.push_back((100, Err(RoundError::Incomplete)));
        pool.rounds.push_back((100, Ok(())));
    });
    running.seconds(0).await;
    sleep(Duration::from_millis(500)).await;
    assert_eq!(running.periodic().state, PeriodicState::Planning);
    running.seconds(50).await;
    let report = running.periodic();
    assert_eq!(report.state, PeriodicState::Snapshotting);
    let filesystem = &report.progress.expect("known")[0];
    assert_eq!(filesystem.state, FilesystemState::SnapStarted);
    running.seconds(100).await;
    let report = running.periodic();
    assert_eq!(report.state, PeriodicState::ErrorWait);
    let error = "one or more snapshots could not be created, check logs for details";
    assert_eq!(report.error, error);
    assert_eq!(
        report.progress.expect("known")[0].state,
        FilesystemState::SnapError
    );
    // A failed round is news, too.
    assert!(running.has_news().await);

    // In the next one, what was last is there until there is something newer.
    running.seconds(450).await;
    let report = running.periodic();
    assert_eq!(report.state, PeriodicState::Planning);
    assert_eq!(report.error, error);
    assert_eq!(
        report.progress.expect("known")[0].state,
        FilesystemState::SnapError
    );
    running.seconds(10).await;
    let report = running.periodic();
    assert_eq!(
        (report.state, report.error.as_str()),
        (PeriodicState::Snapshotting, "")
    );
    running.seconds(200).await;
    assert_eq!(running.periodic().state, PeriodicState::Waiting);
}

#[tokio::test(start_paused = true)]
async fn a_pool_that_cannot_be_listed_is_tried_an_interval_later() {
    let running = Running::start(ten_minutes(), |pool| {
        pool.unlisted = Some(RoundError::List("no such pool".into()));
    });
    running.seconds(10).await;
    let report = running.periodic();
    assert_eq!(report.state, PeriodicState::SyncUpErrWait);
    assert_eq!(report.error, "cannot list filesystems: no such pool");
    running.seconds(600).await;
    assert_eq!(running.rounds(), ["12:10:00"]);
    assert_eq!(running.periodic().error, "");
}

#[tokio::test(start_paused = true)]
async fn clocks_that_are_set_wake_whoever_waits() {
    let running = Running::start(ten_minutes(), |_| {});
    running.seconds(60).await;
    assert_eq!(running.rounds(), ["12:00:00"]);
    // The laptop sleeps for nine hours: one round, and the next an interval later.
    running.clock.step(SignedDuration::from_hours(9));
    running.seconds(660).await;
    assert_eq!(running.rounds(), ["12:00:00", "21:01:00", "21:11:00"]);
    // Ten years back, and nobody waits ten years.
    running
        .clock
        .step(SignedDuration::from_hours(-10 * 365 * 24));
    running.seconds(660).await;
    assert_eq!(running.rounds().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn cron_skips_matches_while_a_round_runs() {
    let running = Running::start(by_the_clock("* * * * *"), |pool| {
        pool.rounds.push_back((150, Ok(())));
    });
    running.seconds(30).await;
    let report = running.cron();
    assert_eq!(report.state, CronState::Waiting);
    assert_eq!(report.wakeup_time, Some(at("2026-05-05T12:01:00Z")));
    running.seconds(160).await;
    let report = running.cron();
    assert_eq!(report.state, CronState::Running);
    assert_eq!(report.wakeup_time, Some(at("2026-05-05T12:04:00Z")));
    let skipped = "cron frequency is too high; snapshots were not taken 2 times";
    assert_eq!(report.errors, Some(vec![skipped.to_owned()]));
    running.seconds(120).await;
    assert_eq!(running.rounds(), ["12:01:00", "12:04:00", "12:05:00"]);
    let report = running.cron();
    assert_eq!((report.state, report.errors), (CronState::Waiting, None));
    assert!(running.has_news().await);
}

#[tokio::test(start_paused = true)]
async fn snapshots_can_be_asked_for_at_any_time() {
    let running = Running::start(by_the_clock("0 0 * * *"), |pool| {
        pool.rounds.push_back((100, Ok(())));
    });
    running.seconds(10).await;
    running.snapper.snapshot_now();
    running.seconds(10).await;
    assert_eq!(running.rounds(), ["12:00:10"]);
    // While a round runs, for the time after it; twice is once.
    running.snapper.snapshot_now();
    running.snapper.snapshot_now();
    running.seconds(300).await;
    assert_eq!(running.rounds(), ["12:00:10", "12:01:51"]);
}

#[tokio::test(start_paused = true)]
async fn who_asks_before_a_round_begins_gets_that_one() {
    for newest in [None, Some(at("2026-05-05T11:58:00Z"))] {
        let running = Running::start(ten_minutes(), |pool| {
            pool.newest = newest;
            pool.listing = 5;
            pool.rounds.push_back((100, Ok(())));
        });
        running.seconds(2).await;
        running.snapper.snapshot_now();
        running.seconds(400).await;
        assert_eq!(running.rounds(), ["12:00:05"], "{newest:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn manual_passes_on_what_is_asked_of_it() {
    let running = Running::start(Snapper::manual(), |_| {});
    running.seconds(1_000_000).await;
    assert!(!running.has_news().await);
    running.snapper.snapshot_now();
    running.seconds(1).await;
    assert!(running.has_news().await);
    assert_eq!(running.rounds(), Vec::<String>::new());
    assert_eq!(running.snapper.report(), Report::Manual);
    running.stop.cancel();
    running.task.await.expect("did not panic");
}

#[tokio::test(start_paused = true)]
async fn stopping_waits_for_a_round_and_for_nothing_else() {
    let running = Running::start(ten_minutes(), |pool| {
        pool.rounds.push_back((100, Ok(())));
    });
    running.seconds(20).await;
    running.stop.cancel();
    running.seconds(4).await;
    assert_eq!(running.periodic().state, PeriodicState::Snapshotting);
    running.seconds(2).await;
    let report = running.periodic();
    assert_eq!(report.state, PeriodicState::Stopped);
    assert_eq!(report.error, "context canceled");
    assert!(running.has_news().await);
    running.task.await.expect("did not panic");

    for snapper in [ten_minutes(), by_the_clock("0 0 * * *")] {
        let running = Running::start(snapper, |_| {});
        running.seconds(10).await;
        running.stop.cancel();
        let ended = timeout(Duration::from_millis(1), running.task).await;
        ended.expect("at once").expect("did not panic");
    }
}
