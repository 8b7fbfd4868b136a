mod hooks;
mod whole;

use tokio::time::{Instant, sleep};

use super::*;
use crate::job::signals::SignalError;

const SECOND: Duration = Duration::from_secs(1);

fn stopping() -> Stopping {
    Stopping {
        limit: STOP_LIMIT,
        due: DuePostEdges::default(),
    }
}

/// Runs jobs that have been woken up, tells them to stop, and says how that ended and how long it took.
async fn stopped(jobs: Vec<Job>) -> (Result<(), ServiceError>, Duration) {
    let stop = CancellationToken::new();
    let handles: Vec<Handle> = jobs.iter().map(|job| job.handle().clone()).collect();
    let running = tokio::spawn({
        let stop = stop.clone();
        async move { run_jobs(jobs, &stop, true, stopping()).await }
    });
    sleep(SECOND).await;
    for handle in handles {
        handle.signals().wakeup().expect("waits for it");
    }
    sleep(SECOND).await;
    let begun = Instant::now();
    stop.cancel();
    let ended = running.await.expect("did not panic");
    (ended, begun.elapsed())
}

#[tokio::test(start_paused = true)]
async fn stopping_takes_as_long_as_jobs_need() {
    let jobs = vec![
        Job::that_ends_within("a", 3 * SECOND),
        Job::that_ends_within("b", 4 * SECOND),
    ];
    let (ended, took) = stopped(jobs).await;
    ended.expect("all ended");
    assert_eq!(took, 4 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_hangs_is_named_and_does_not_keep_the_daemon() {
    let jobs = vec![
        Job::that_ends_within("good", SECOND),
        Job::that_ends_within("hangs", 3600 * SECOND),
    ];
    let (ended, took) = stopped(jobs).await;
    assert_eq!(
        ended.expect_err("one hangs").to_string(),
        "these did not stop in time: hangs"
    );
    assert_eq!(took, STOP_LIMIT);
}

#[tokio::test(start_paused = true)]
async fn without_jobs_the_daemon_waits_if_somebody_can_ask_it() {
    let stop = CancellationToken::new();
    let waited = tokio::time::timeout(SECOND, run_jobs(Vec::new(), &stop, true, stopping())).await;
    assert!(waited.is_err());
    run_jobs(Vec::new(), &stop, false, stopping())
        .await
        .expect("ended");
}

#[tokio::test]
async fn signals_and_status_go_by_name() {
    let job = Job::that_ends_within("push", SECOND);
    let daemon = Daemon {
        jobs: BTreeMap::from([("push".to_owned(), job.handle().clone())]),
        settings: Vec::new(),
    };
    let kinds: Vec<_> = daemon
        .status()
        .jobs
        .into_iter()
        .map(|(name, job)| (name, job.kind()))
        .collect();
    assert_eq!(
        kinds,
        [
            ("_control".to_owned(), "internal"),
            ("push".to_owned(), "push")
        ]
    );
    for job in ["push", "_control"] {
        assert_eq!(
            daemon.signal(job, Signal::Wakeup),
            Err(Refused::Signal(SignalError::AlreadyWokenUp))
        );
        assert_eq!(
            daemon.signal(job, Signal::Reset),
            Err(Refused::Signal(SignalError::AlreadyReset))
        );
    }
    assert_eq!(
        daemon.signal("nosuch", Signal::Reset),
        Err(Refused::NoSuchJob("nosuch".to_owned()))
    );
    let running = tokio::spawn(job.start(CancellationToken::new()));
    while daemon.signal("push", Signal::Wakeup).is_err() {
        tokio::task::yield_now().await;
    }
    running.abort();
}
