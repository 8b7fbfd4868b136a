use std::fs;
use std::num::NonZeroUsize;
use std::sync::Arc;

use serde_json::Value;
use zfs_safe::name::DatasetPath;

use super::*;
use crate::endpoint::stream::Counter;
use crate::replication::model::snapshot;
use crate::replication::schedule::{Planned, Schedule, Task};
use crate::replication::step;

/// Recorded from zrepl 0.7.0: the object `Replication` of each `status.*.json` that has one.
const RECORDED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/status/replication");

fn recorded() -> Vec<(String, Value)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(RECORDED).expect("recordings") {
        let entry = entry.expect("an entry");
        let name = entry.file_name().to_string_lossy().into_owned();
        let text = fs::read_to_string(entry.path()).expect("UTF-8");
        found.push((name, serde_json::from_str(&text).expect("JSON")));
    }
    assert!(found.len() > 5);
    found
}

#[test]
fn what_zrepl_0_7_0_reports_can_be_read_and_is_written_back_as_it_was() {
    for (name, value) in recorded() {
        let report: Report = serde_json::from_value(value.clone()).expect(&name);
        assert_eq!(
            serde_json::to_value(&report).expect("no maps"),
            value,
            "{name}"
        );
    }
}

#[test]
fn lists_that_go_never_filled_are_empty() {
    let text = r#"{"StartAt":"2026-11-21T02:45:02.49Z","FinishAt":"0001-01-01T00:00:00Z",
        "WaitReconnectSince":"0001-01-01T00:00:00Z","WaitReconnectUntil":"0001-01-01T00:00:00Z",
        "WaitReconnectError":null,"Attempts":null}"#;
    let report: Report = serde_json::from_str(text).expect("valid");
    assert_eq!(report.attempts, []);
    assert_eq!(report.finish_at, None);
    assert_eq!(report.failed_filesystems(), Some(0));
}

#[test]
fn what_is_ours_alone_is_left_out_when_there_is_nothing_to_say() {
    let (_, value) = recorded().swap_remove(0);
    let mut report: Report = serde_json::from_value(value).expect("valid");
    let filesystem = &mut report.attempts[0].filesystems;
    if let Some(filesystem) = filesystem.first_mut() {
        filesystem.advice = Some("do".to_owned());
        filesystem.discarded_token = Some("it is old".to_owned());
    }
    let text = serde_json::to_string(&report).expect("no maps");
    assert_eq!(serde_json::from_str::<Report>(&text).expect("ours"), report);
}

/// A run with one filesystem, of which nothing is known but its path.
fn live(path: &str) -> (LiveReport, Working) {
    let path = DatasetPath::new(path).expect(path);
    let details = vec![LiveFilesystem::new(path.as_str())];
    let schedule = Schedule::new(vec![path], NonZeroUsize::MIN);
    let working = Working::new(schedule, details, vec![]);
    let report = LiveReport::default();
    report.begin();
    report.begin_attempt();
    (report, working)
}

#[test]
fn a_live_report_shows_where_the_schedule_is_and_what_counters_say() {
    use FilesystemState as S;
    let (report, working) = live("p");
    assert_eq!(report.now().attempts[0].state, AttemptState::Planning);
    report.fan_out(working.clone());
    let shown = || {
        let attempt = report.now().attempts.remove(0);
        let it = &attempt.filesystems[0];
        let bytes = it.steps.iter().map(|it| it.info.bytes_replicated).collect();
        (
            attempt.state,
            it.state,
            it.blocked_on,
            it.current_step,
            bytes,
        )
    };
    let during = |state, blocked_on, step, bytes: &[u64]| {
        let fan_out = AttemptState::FanOutFilesystems;
        (fan_out, state, blocked_on, step, bytes.to_vec())
    };
    assert_eq!(shown(), during(S::Planning, BlockedOn::PlanQueue, 0, &[]));
    let Some(Task::Plan(task)) = working.lock().schedule.start() else {
        panic!("a plan");
    };
    assert_eq!(shown(), during(S::Planning, BlockedOn::Nothing, 0, &[]));
    let steps = step::steps(None, vec![snapshot("1", 1, 1), snapshot("2", 2, 2)]);
    let live: Arc<[LiveStep]> = steps.iter().map(|it| LiveStep::new(it, 99)).collect();
    let mut filesystems = working.lock();
    filesystems.details[0].steps = Arc::clone(&live);
    filesystems.schedule.planned(task, Planned::from(&*steps));
    drop(filesystems);
    assert_eq!(
        shown(),
        during(S::Stepping, BlockedOn::ReplQueue, 0, &[0, 0])
    );
    for (at, other) in [(0, 0), (1, 7)] {
        let Some(Task::Step(task)) = working.lock().schedule.start() else {
            panic!("a step");
        };
        let counter = Counter::default();
        live[at].begin(&counter);
        counter.add(7);
        let bytes = if at == 0 { [7, 0] } else { [other, 7] };
        assert_eq!(shown(), during(S::Stepping, BlockedOn::Nothing, at, &bytes));
        let task = working.lock().schedule.received(task);
        assert_eq!(shown(), during(S::Stepping, BlockedOn::Nothing, at, &bytes));
        working.lock().schedule.completed(task);
    }
    report.finish_attempt();
    let done = (
        AttemptState::Done,
        S::Done,
        BlockedOn::Nothing,
        2,
        vec![7, 7],
    );
    assert_eq!(shown(), done);
    assert_eq!(
        report.now().attempts[0].filesystems[0].steps[1].info.from,
        "@1"
    );
}

#[test]
fn another_run_begins_with_an_empty_report() {
    let (report, working) = live("p");
    report.fan_out(working);
    report.begin_reconnect(std::time::Duration::MAX);
    report.fail_reconnect(TimedError::now("in vain"));
    report.finish();
    let old = report.now();
    assert!(old.finish_at.is_some() && old.wait_reconnect_error.is_some());
    assert_eq!(old.wait_reconnect_until, None);
    report.begin();
    let new = report.now();
    assert!(new.start_at.is_some() && new.finish_at.is_none());
    assert_eq!((new.attempts, new.wait_reconnect_error), (vec![], None));
}
