use std::time::Duration;

use jiff::SignedDuration;
use proptest::prelude::*;
use zfs_safe::guid::Guid;
use zfs_safe::name::{DatasetPath, VersionName};
use zfs_safe::version::{FilesystemVersion, Txg};

use super::*;

const NOON: Timestamp = Timestamp::constant(1_700_000_000, 0);

fn seconds(seconds: i64) -> SignedDuration {
    SignedDuration::from_secs(seconds)
}

fn at(second: i64) -> Timestamp {
    NOON + seconds(second)
}

fn path(text: &str) -> DatasetPath {
    DatasetPath::new(text).expect(text)
}

/// An interval of ten minutes.
fn ten_minutes() -> Interval {
    Interval::from_secs(600).expect("positive")
}

fn taken(filesystem: &str, second: i64) -> Newest {
    Newest {
        filesystem: path(filesystem),
        snapshot: Ok(Some(NewestSnapshot {
            name: format!("{filesystem}@zrepl_x"),
            creation: at(second),
        })),
    }
}

fn nothing(filesystem: &str) -> Newest {
    Newest {
        filesystem: path(filesystem),
        snapshot: Ok(None),
    }
}

fn unknown(filesystem: &str) -> Newest {
    Newest {
        filesystem: path(filesystem),
        snapshot: Err("I/O error".to_owned()),
    }
}

/// After a round that began then and went well.
fn after_round(began: Timestamp) -> Periodic {
    let mut periodic = Periodic::new(ten_minutes());
    periodic.begin(began);
    periodic.ended(Ok(()));
    periodic
}

fn wait(second: i64, why: Why) -> Next {
    Next::WaitUntil {
        at: at(second),
        why,
    }
}

#[test]
fn the_filesystem_that_has_waited_longest_decides_when_to_begin() {
    for (filesystems, first, left_waiting, excluded) in [
        (vec![], 0, vec![], vec![]),
        (vec![nothing("p/a"), nothing("p/b")], 0, vec![], vec![]),
        (vec![taken("p/a", -60)], 540, vec![], vec![]),
        (
            vec![taken("p/a", -60), taken("p/b", -70)],
            530,
            vec![],
            vec![],
        ),
        // Late already.
        (
            vec![taken("p/a", -60), taken("p/b", -7000)],
            -6400,
            vec![],
            vec![],
        ),
        // Those without snapshots go along, however early or late.
        (
            vec![nothing("p/a"), taken("p/b", -60), nothing("p/c")],
            540,
            vec!["p/a", "p/c"],
            vec![],
        ),
        (vec![nothing("p/a"), taken("p/b", -599)], 1, vec![], vec![]),
        (
            vec![nothing("p/a"), taken("p/b", -598)],
            2,
            vec!["p/a"],
            vec![],
        ),
        // What is not known or cannot be has no say.
        (
            vec![unknown("p/a"), taken("p/b", 1), taken("p/c", 0)],
            600,
            vec![],
            vec!["p/a", "p/b"],
        ),
        (vec![unknown("p/a"), nothing("p/b")], 0, vec![], vec!["p/a"]),
    ] {
        let point = Periodic::new(ten_minutes())
            .listed(NOON, &filesystems)
            .expect("a sync point");
        assert_eq!(point.at, at(first), "{filesystems:?}");
        let names = |paths: &mut dyn Iterator<Item = &DatasetPath>| {
            paths.map(|it| it.as_str().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(names(&mut point.left_waiting.iter()), left_waiting);
        let mut found = point.excluded.iter().map(|it| &it.filesystem);
        assert_eq!(names(&mut found), excluded);
    }
}

#[test]
fn without_any_say_there_is_an_error_and_an_interval_to_wait() {
    let mut periodic = Periodic::new(ten_minutes());
    assert_eq!(periodic.next(NOON), Next::ListSnapshots);
    let filesystems = [unknown("p/a"), taken("p/b", 5)];
    let error = periodic.listed(NOON, &filesystems).expect_err("no say");
    assert_eq!(
        error.to_string(),
        "hard errors in determining sync point for every matching filesystem"
    );
    let problems: Vec<_> = error
        .excluded
        .iter()
        .map(|it| it.problem.to_string())
        .collect();
    assert_eq!(
        problems,
        [
            "list filesystem versions: I/O error",
            "snapshot \"p/b@zrepl_x\" is from the future: creation=2023-11-14T22:13:25Z now=2023-11-14T22:13:20Z"
        ]
    );
    assert_eq!(periodic.state(false), PeriodicState::SyncUpErrWait);
    assert_eq!(periodic.error(), Some(error.to_string().as_str()));
    assert_eq!(periodic.next(at(1)), wait(600, Why::AfterSyncUpError));
    // There is no second try: snapshots are due.
    assert_eq!(
        periodic.next(at(600)),
        Next::SnapshotNow(Why::AfterSyncUpError)
    );
}

#[test]
fn newest_is_what_has_the_prefix_and_the_highest_createtxg() {
    let version = |name: &str, createtxg, creation| FilesystemVersion {
        name: VersionName::new(name).expect(name),
        guid: Guid::new(createtxg),
        createtxg: Txg::new(createtxg),
        creation,
        userrefs: None,
    };
    let versions = [
        version("p@zrepl_2", 20, 50),
        version("p@zrepl_1", 10, 90),
        version("p@other", 30, 100),
        version("p#zrepl_3", 40, 110),
    ];
    let newest = NewestSnapshot::among(&versions, "zrepl_").expect("two");
    assert_eq!(newest.name, "p@zrepl_2");
    assert_eq!(newest.creation, Timestamp::constant(50, 0));
    assert_eq!(NewestSnapshot::among(&versions, "x_"), None);
    let far = [version("p@zrepl_1", 1, u64::MAX)];
    let newest = NewestSnapshot::among(&far, "zrepl_").expect("one");
    assert_eq!(newest.creation, Timestamp::MAX);
}

#[test]
fn rounds_follow_each_other_from_beginning_to_beginning() {
    let mut periodic = Periodic::new(ten_minutes());
    assert_eq!(periodic.state(false), PeriodicState::SyncUp);
    periodic.listed(NOON, &[taken("p", -400)]).expect("a point");
    assert_eq!(periodic.state(false), PeriodicState::SyncUp);
    assert_eq!(periodic.next(at(5)), wait(200, Why::SyncPoint));
    assert_eq!(periodic.next(at(200)), Next::SnapshotNow(Why::SyncPoint));
    periodic.begin(at(201));
    assert_eq!(periodic.state(false), PeriodicState::Planning);
    assert_eq!(periodic.state(true), PeriodicState::Snapshotting);
    assert_eq!(periodic.next(at(900)), Next::Wait);
    assert_eq!(periodic.sleep_until(), Some(at(200)));
    periodic.ended(Ok(()));
    assert_eq!(periodic.state(true), PeriodicState::Waiting);
    assert_eq!(periodic.next(at(300)), wait(801, Why::Interval));
    assert_eq!(periodic.sleep_until(), Some(at(801)));
    // A round that took longer than the interval is followed at once.
    assert_eq!(periodic.next(at(2000)), Next::SnapshotNow(Why::Interval));
}

#[test]
fn an_error_is_told_until_a_round_goes_well_and_costs_no_time() {
    let mut periodic = after_round(NOON);
    assert_eq!(periodic.error(), None);
    periodic.begin(at(600));
    periodic.ended(Err("no space".to_owned()));
    assert_eq!(periodic.state(true), PeriodicState::ErrorWait);
    assert_eq!(periodic.next(at(700)), wait(1200, Why::AfterError));
    periodic.begin(at(1200));
    assert_eq!(periodic.error(), Some("no space"));
    periodic.ended(Ok(()));
    assert_eq!(periodic.error(), None);
    assert_eq!(periodic.state(true), PeriodicState::Waiting);
    periodic.stop();
    assert_eq!(periodic.state(true), PeriodicState::Stopped);
    assert_eq!(periodic.next(at(9999)), Next::Wait);
}

#[test]
fn filesystems_that_cannot_be_listed_cost_an_interval() {
    let mut periodic = Periodic::new(ten_minutes());
    periodic.not_listed(NOON, "no pool".to_owned());
    assert_eq!(periodic.error(), Some("no pool"));
    assert_eq!(periodic.next(at(1)), wait(600, Why::AfterSyncUpError));
}

#[test]
fn after_a_long_sleep_there_is_one_round_and_then_the_interval() {
    let mut periodic = after_round(NOON);
    assert_eq!(periodic.next(at(1)), wait(600, Why::Interval));
    let morning = at(9 * 3600);
    assert_eq!(periodic.next(morning), Next::SnapshotNow(Why::Interval));
    periodic.begin(morning);
    periodic.ended(Ok(()));
    assert_eq!(periodic.next(morning), wait(9 * 3600 + 600, Why::Interval));
}

#[test]
fn a_clock_that_is_set_back_costs_at_most_an_interval() {
    let mut periodic = after_round(NOON);
    assert_eq!(periodic.next(at(500)), wait(600, Why::Interval));
    // A little: the interval that runs is longer by as much.
    assert_eq!(periodic.next(at(100)), wait(600, Why::Interval));
    // To before it began: it begins now, and that is remembered.
    assert_eq!(
        periodic.next(at(-1_000_000)),
        wait(600 - 1_000_000, Why::Interval)
    );
    assert_eq!(
        periodic.next(at(50 - 1_000_000)),
        wait(600 - 1_000_000, Why::Interval)
    );
    // The same while a round runs, and before the first.
    periodic.begin(NOON);
    periodic.ended(Ok(()));
    assert_eq!(periodic.next(at(-5000)), wait(-4400, Why::Interval));
    let mut periodic = Periodic::new(ten_minutes());
    periodic.listed(NOON, &[taken("p", -10)]).expect("a point");
    assert_eq!(periodic.next(at(-5000)), wait(-4400, Why::SyncPoint));
}

#[test]
fn who_asks_gets_a_round_as_soon_as_none_runs() {
    let mut periodic = Periodic::new(ten_minutes());
    periodic.request();
    assert_eq!(periodic.next(NOON), Next::SnapshotNow(Why::Requested));
    periodic.begin(NOON);
    periodic.request();
    periodic.request();
    assert_eq!(periodic.next(at(1)), Next::Wait);
    periodic.ended(Ok(()));
    assert_eq!(periodic.next(at(2)), Next::SnapshotNow(Why::Requested));
    periodic.begin(at(2));
    periodic.ended(Ok(()));
    assert_eq!(periodic.next(at(3)), wait(602, Why::Interval));
}

#[test]
fn intervals_end_with_the_calendar() {
    let mut periodic = after_round(Timestamp::MAX);
    assert_eq!(
        periodic.next(NOON),
        Next::WaitUntil {
            at: at(600),
            why: Why::Interval
        }
    );
    let mut periodic = after_round(Timestamp::MAX - seconds(1));
    let Next::WaitUntil { at, .. } = periodic.next(Timestamp::MAX - seconds(1)) else {
        panic!("an interval is left");
    };
    assert_eq!(at, Timestamp::MAX);
}

/// What happens while somebody waits.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// The clock is set.
    Step(i64),
    /// The machine sleeps, or nothing happens.
    Pass(u32),
    Restart,
}

proptest! {
    /// Whatever is done to the clock and the daemon: no wait is longer than an interval, rounds are as far apart as the clock says
    /// unless it was set, and time that passes brings rounds.
    #[test]
    fn waits_are_short_and_rounds_are_apart(
        interval in 1..5000_u64,
        events in prop::collection::vec(
            prop_oneof![
                2 => (-20_000..20_000_i64).prop_map(Event::Step),
                6 => (0..20_000_u32).prop_map(Event::Pass),
                1 => Just(Event::Restart),
            ],
            1..60,
        ),
        round_takes in 0..3000_i64,
    ) {
        let length = seconds(i64::try_from(interval).unwrap());
        let interval = Interval::from_secs(interval).unwrap();
        let mut periodic = Periodic::new(interval);
        let (mut clock, mut newest): (Timestamp, Option<Timestamp>) = (NOON, None);
        // Of the last round, unless the clock was set since.
        let mut last: Option<Timestamp> = None;
        for event in events {
            match event {
                Event::Step(by) => {
                    clock += seconds(by);
                    last = None;
                }
                Event::Pass(by) => clock += seconds(by.into()),
                Event::Restart => periodic = Periodic::new(interval),
            }
            // As the loop does it, until there is something to wait for.
            let mut rounds = 0;
            loop {
                match periodic.next(clock) {
                    Next::ListSnapshots => {
                        let known = newest.map(|creation| NewestSnapshot { name: "p@x".to_owned(), creation });
                        let facts = [Newest { filesystem: path("p"), snapshot: Ok(known) }];
                        let _ = periodic.listed(clock, &facts);
                    }
                    Next::SnapshotNow(_) => {
                        if let Some(last) = last {
                            prop_assert!(clock.duration_since(last) >= length, "{clock} {last}");
                        }
                        (last, newest) = (Some(clock), Some(clock));
                        periodic.begin(clock);
                        clock += seconds(round_takes);
                        periodic.ended(Ok(()));
                        rounds += 1;
                        if rounds > 2 {
                            // Rounds that take longer than the interval never end.
                            prop_assert!(seconds(round_takes) >= length);
                            break;
                        }
                    }
                    Next::WaitUntil { at, .. } => {
                        prop_assert!(at > clock && at.duration_since(clock) <= length);
                        if let Some(last) = last {
                            prop_assert_eq!(at, last + length);
                        }
                        break;
                    }
                    Next::Wait | Next::Skip => prop_assert!(false, "nothing else comes"),
                }
            }
            if seconds(round_takes) < length {
                prop_assert!(rounds <= 1, "no burst");
            }
        }
        let late = clock + Duration::from_secs(1_000_000);
        prop_assert!(matches!(periodic.next(late), Next::SnapshotNow(_) | Next::ListSnapshots));
    }
}
