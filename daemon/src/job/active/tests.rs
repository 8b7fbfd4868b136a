use std::sync::Mutex;

use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::*;
use crate::job::signals::SignalError;

const MINUTE: Duration = Duration::from_secs(60);

/// What happened, in seconds since the start.
#[derive(Clone, Debug)]
struct Diary(Arc<Mutex<Vec<(&'static str, u64)>>>, Instant);

impl Diary {
    fn add(&self, what: &'static str) {
        let at = self.1.elapsed().as_secs();
        self.0.lock().expect("nobody panicked").push((what, at));
    }

    fn take(&self) -> Vec<(&'static str, u64)> {
        std::mem::take(&mut *self.0.lock().expect("nobody panicked"))
    }
}

/// Takes its time, and to end when cancelled.
#[derive(Debug)]
struct Busy {
    diary: Diary,
    takes: Duration,
    ends_within: Duration,
}

#[tonic::async_trait]
impl Invoke for Busy {
    async fn invoke(&mut self, _: Part, stop: &CancellationToken) {
        self.diary.add("begun");
        tokio::select! {
            () = sleep(self.takes) => self.diary.add("done"),
            () = stop.cancelled() => {
                sleep(self.ends_within).await;
                self.diary.add("cut");
            }
        }
    }

    async fn preview(
        &mut self,
        _: &CancellationToken,
    ) -> (Option<preview::Replication>, Vec<preview::Pruning>) {
        (None, Vec::new())
    }

    async fn settle(&mut self) {
        self.diary.add("settled");
    }
}

struct Running {
    diary: Diary,
    signals: Arc<Signals>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

fn start(interval: Option<Duration>, takes: Duration) -> Running {
    let diary = Diary(Arc::default(), Instant::now());
    let signals = Arc::new(Signals::default());
    let stop = CancellationToken::new();
    let active = Active {
        signals: Arc::clone(&signals),
        interval,
        invocation: Box::new(Busy {
            diary: diary.clone(),
            takes,
            ends_within: Duration::from_secs(1),
        }),
        snapping: None,
    };
    let task = tokio::spawn(active.run(stop.clone()));
    Running {
        diary,
        signals,
        stop,
        task,
    }
}

/// With a snapshotter that only passes on what is asked of it.
#[tokio::test(start_paused = true)]
async fn a_round_of_snapshots_is_followed_by_one_invocation_however_busy_the_job_is() {
    let diary = Diary(Arc::default(), Instant::now());
    let (signals, stop) = (Arc::new(Signals::default()), CancellationToken::new());
    let snapping = Snapping::manual();
    let snapper = Arc::clone(&snapping.snapper);
    let active = Active {
        signals: Arc::clone(&signals),
        interval: None,
        invocation: Box::new(Busy {
            diary: diary.clone(),
            takes: MINUTE,
            ends_within: MINUTE,
        }),
        snapping: Some(snapping),
    };
    let task = tokio::spawn(active.run(stop.clone()));
    sleep(Duration::from_secs(10)).await;
    snapper.snapshot_now();
    sleep(Duration::from_secs(20)).await;
    // While it is busy with the first.
    for _ in 0..3 {
        snapper.snapshot_now();
        sleep(Duration::from_secs(5)).await;
    }
    sleep(10 * MINUTE).await;
    let expected = [("begun", 10), ("done", 70), ("begun", 70), ("done", 130)];
    assert_eq!(diary.take(), expected);
    // One that prunes, and a round meanwhile: both are served.
    signals.prune().expect("waits for it");
    sleep(Duration::from_secs(5)).await;
    snapper.snapshot_now();
    sleep(10 * MINUTE).await;
    assert_eq!(diary.take().len(), 4);
    stop.cancel();
    task.await.expect("did not panic");
}

#[tokio::test(start_paused = true)]
async fn a_push_job_runs_when_it_is_woken_up_and_not_before() {
    let job = start(None, MINUTE);
    sleep(100 * MINUTE).await;
    assert_eq!(job.diary.take(), []);
    assert_eq!(job.signals.reset(), Err(SignalError::AlreadyReset));
    job.signals.wakeup().expect("waits for it");
    sleep(Duration::from_secs(1)).await;
    assert_eq!(job.signals.wakeup(), Err(SignalError::AlreadyWokenUp));
    sleep(2 * MINUTE).await;
    assert_eq!(job.diary.take(), [("begun", 6000), ("done", 6060)]);
    job.signals.wakeup().expect("waits again");
}

#[tokio::test(start_paused = true)]
async fn a_pull_job_runs_at_its_interval_first_after_one() {
    let job = start(Some(10 * MINUTE), MINUTE);
    sleep(25 * MINUTE).await;
    assert_eq!(
        job.diary.take(),
        [
            ("begun", 600),
            ("done", 660),
            ("begun", 1200),
            ("done", 1260)
        ]
    );
    // A wakeup comes in between and moves no tick.
    job.signals.wakeup().expect("waits for it");
    sleep(6 * MINUTE).await;
    assert_eq!(
        job.diary.take(),
        [("begun", 1500), ("done", 1560), ("begun", 1800)]
    );
}

#[tokio::test(start_paused = true)]
async fn of_the_ticks_during_an_invocation_one_remains() {
    let job = start(Some(10 * MINUTE), 35 * MINUTE);
    sleep(46 * MINUTE).await;
    assert_eq!(
        job.diary.take(),
        [("begun", 600), ("done", 2700), ("begun", 2700)]
    );
    sleep(35 * MINUTE).await;
    assert_eq!(job.diary.take(), [("done", 4800), ("begun", 4800)]);
}

#[tokio::test(start_paused = true)]
async fn a_reset_cuts_the_invocation_and_the_job_goes_on() {
    let job = start(None, 10 * MINUTE);
    sleep(MINUTE).await;
    job.signals.wakeup().expect("waits for it");
    sleep(MINUTE).await;
    job.signals.reset().expect("runs");
    assert_eq!(job.signals.reset(), Err(SignalError::AlreadyReset));
    sleep(MINUTE).await;
    assert_eq!(job.diary.take(), [("begun", 60), ("cut", 121)]);
    job.signals.wakeup().expect("waits again");
    sleep(11 * MINUTE).await;
    assert_eq!(job.diary.take(), [("begun", 180), ("done", 780)]);
}

#[tokio::test(start_paused = true)]
async fn a_stop_cuts_the_invocation_and_waits_for_what_is_left() {
    let job = start(None, 10 * MINUTE);
    sleep(MINUTE).await;
    job.signals.wakeup().expect("waits for it");
    sleep(MINUTE).await;
    job.stop.cancel();
    job.task.await.expect("did not panic");
    assert_eq!(
        job.diary.take(),
        [("begun", 60), ("cut", 121), ("settled", 121)]
    );
}

#[tokio::test(start_paused = true)]
async fn a_job_that_waits_stops_at_once() {
    let job = start(Some(MINUTE), MINUTE);
    sleep(Duration::from_secs(30)).await;
    job.stop.cancel();
    job.task.await.expect("did not panic");
    assert_eq!(job.diary.take(), [("settled", 30)]);
}

#[tokio::test(start_paused = true)]
async fn the_longest_interval_is_a_time() {
    let job = start(Some(Duration::MAX), MINUTE);
    sleep(100 * MINUTE).await;
    assert_eq!(job.diary.take(), []);
    job.stop.cancel();
    job.task.await.expect("did not panic");
}

#[tokio::test(start_paused = true)]
async fn a_tick_that_comes_late_moves_no_other() {
    let job = start(Some(10 * MINUTE), MINUTE);
    sleep(Duration::from_secs(590)).await;
    job.signals.wakeup().expect("waits for it");
    sleep(11 * MINUTE).await;
    assert_eq!(
        job.diary.take(),
        [
            ("begun", 590),
            ("done", 650),
            ("begun", 650),
            ("done", 710),
            ("begun", 1200)
        ]
    );
}
