use proptest::prelude::*;

use super::*;

fn cron(spec: &str) -> Cron {
    Cron::new(spec.parse().expect(spec), TimeZone::UTC)
}

fn at(text: &str) -> Timestamp {
    text.parse().expect(text)
}

fn wait(text: &str) -> Next {
    Next::WaitUntil {
        at: at(text),
        why: Why::Match,
    }
}

const MATCH: Next = Next::SnapshotNow(Why::Match);

/// One round that takes no time.
fn round(cron: &mut Cron, now: Timestamp) {
    cron.begin(now);
    cron.ended(Ok(()));
}

#[test]
fn snapshots_are_taken_at_each_match_once() {
    let mut cron = cron("*/15 * * * *");
    assert_eq!(cron.wakeup(), None);
    // A match at the start is past.
    assert_eq!(
        cron.next(at("2026-05-05T12:00:00Z")),
        wait("2026-05-05T12:15:00Z")
    );
    assert_eq!(cron.wakeup(), Some(at("2026-05-05T12:15:00Z")));
    let now = at("2026-05-05T12:15:00.001Z");
    assert_eq!(cron.next(now), MATCH);
    cron.begin(now);
    assert!(cron.is_running());
    assert_eq!(cron.next(now), wait("2026-05-05T12:30:00Z"));
    cron.ended(Ok(()));
    assert_eq!(cron.next(now), wait("2026-05-05T12:30:00Z"));
}

#[test]
fn a_match_while_a_round_runs_is_skipped_and_counted() {
    let mut cron = cron("* * * * *");
    cron.next(at("2026-05-05T12:00:30Z"));
    let now = at("2026-05-05T12:01:00Z");
    assert_eq!(cron.next(now), MATCH);
    cron.begin(now);
    for minute in ["02", "03"] {
        let now = at(&format!("2026-05-05T12:{minute}:00Z"));
        assert_eq!(cron.next(now), Next::Skip);
        assert!(matches!(cron.next(now), Next::WaitUntil { .. }));
    }
    cron.ended(Err("broken".to_owned()));
    assert_eq!(
        cron.errors(),
        [
            "broken",
            "cron frequency is too high; snapshots were not taken 2 times"
        ]
    );
    assert_eq!(
        cron.next(at("2026-05-05T12:03:10Z")),
        wait("2026-05-05T12:04:00Z")
    );
    round(&mut cron, at("2026-05-05T12:04:00Z"));
    assert_eq!(cron.errors(), Vec::<String>::new());
}

#[test]
fn a_machine_that_slept_takes_snapshots_once() {
    let mut cron = cron("0 * * * *");
    cron.next(at("2026-05-05T20:30:00Z"));
    let morning = at("2026-05-06T08:12:00Z");
    assert_eq!(cron.next(morning), MATCH);
    round(&mut cron, morning);
    assert_eq!(cron.next(morning), wait("2026-05-06T09:00:00Z"));
}

#[test]
fn a_clock_set_back_a_little_repeats_nothing_and_far_is_believed() {
    let mut cron = cron("0 * * * *");
    cron.next(at("2026-05-05T11:30:00Z"));
    round(&mut cron, at("2026-05-05T12:00:00Z"));
    assert_eq!(
        cron.next(at("2026-05-05T11:59:59Z")),
        wait("2026-05-05T13:00:00Z")
    );
    assert_eq!(
        cron.next(at("2026-05-05T09:00:00Z")),
        wait("2026-05-05T13:00:00Z")
    );
    assert_eq!(
        cron.next(at("2026-05-05T08:59:59Z")),
        wait("2026-05-05T09:00:00Z")
    );
    assert_eq!(
        cron.next(at("2016-05-05T08:30:00Z")),
        wait("2016-05-05T09:00:00Z")
    );
    // And ahead again: one round for all that was missed.
    assert_eq!(cron.next(at("2026-05-05T08:30:00Z")), MATCH);
}

#[test]
fn who_asks_gets_a_round_and_the_clock_keeps_its_matches() {
    let mut cron = cron("0 * * * *");
    cron.request();
    let now = at("2026-05-05T11:30:00Z");
    assert_eq!(cron.next(now), Next::SnapshotNow(Why::Requested));
    cron.begin(now);
    cron.request();
    assert_eq!(cron.next(now), wait("2026-05-05T12:00:00Z"));
    cron.ended(Ok(()));
    assert_eq!(cron.next(now), Next::SnapshotNow(Why::Requested));
    round(&mut cron, now);
    assert_eq!(cron.next(now), wait("2026-05-05T12:00:00Z"));
    // One round is enough for a match and a request.
    cron.request();
    let noon = at("2026-05-05T12:00:00Z");
    assert_eq!(cron.next(noon), Next::SnapshotNow(Why::Requested));
    round(&mut cron, noon);
    assert_eq!(cron.next(noon), wait("2026-05-05T13:00:00Z"));
}

#[test]
fn where_no_match_is_in_sight_somebody_looks_again_in_a_year() {
    let mut cron = cron("0 0 29 2 *");
    let mut now = at("2096-03-01T00:00:00Z");
    let mut looks = 0;
    loop {
        match cron.next(now) {
            Next::WaitUntil {
                at,
                why: Why::NoMatch,
            } => {
                assert_eq!(cron.wakeup(), None);
                assert!(looks < 10 && at >= now);
                looks += 1;
                now = at;
            }
            Next::WaitUntil { at, .. } => now = at,
            next => {
                assert_eq!((next, now), (MATCH, at("2104-02-29T00:00:00Z")));
                break;
            }
        }
    }
    assert!(looks > 1);
    assert!(matches!(cron.next(Timestamp::MAX), MATCH));
    round(&mut cron, Timestamp::MAX);
    assert!(matches!(cron.next(Timestamp::MAX), Next::WaitUntil { .. }));
    cron.stop();
    assert_eq!(cron.next(Timestamp::MAX), Next::Wait);
}

#[test]
fn changes_of_the_clock_in_spring_and_autumn_neither_lose_a_day_nor_the_rhythm() {
    let spec = || {
        "TZ=Europe/Berlin 30 2 * * *"
            .parse()
            .expect("a specification")
    };
    for (start, end, rounds) in [
        // 26 March 2023 has no 02:30; 29 October has two.
        ("2023-03-24T12:00:00Z", "2023-03-28T12:00:00Z", 3),
        ("2023-10-27T12:00:00Z", "2023-10-31T12:00:00Z", 5),
    ] {
        let mut cron = Cron::new(spec(), TimeZone::UTC);
        let (mut now, end) = (at(start), at(end));
        let mut count = 0;
        while now < end {
            if let Next::WaitUntil { at, .. } = cron.next(now) {
                now = at;
            } else {
                count += 1;
                assert!(count < 10, "no burst");
                round(&mut cron, now);
            }
        }
        assert_eq!(count, rounds, "{start}");
    }
}

proptest! {
    /// Whatever is done to the clock: as long as it runs on, each match has its round; when it was set ahead or the machine slept,
    /// there is one; and no match has two within what a small step back repeats.
    #[test]
    fn no_match_is_lost_or_repeated(
        steps in prop::collection::vec((-10_000..30_000_i64, any::<bool>()), 1..60),
        spec in prop::sample::select(vec!["*/10 * * * *", "0 * * * *", "7 3,9 * * *", "* * * * *"]),
    ) {
        let parsed: CronSpec = spec.parse().unwrap();
        let mut cron = Cron::new(parsed.clone(), TimeZone::UTC);
        let mut now = at("2026-03-01T00:00:00Z");
        cron.next(now);
        // The clock's highest stand since it was believed last.
        let mut seen = now;
        for (by, sets) in steps {
            if !sets && by < 0 {
                continue;
            }
            now += SignedDuration::from_secs(by);
            if seen.duration_since(now) > PATIENCE {
                // Maybe not yet noticed as such; what follows holds for both.
                seen = now;
                cron = Cron::new(parsed.clone(), TimeZone::UTC);
                cron.next(now);
                continue;
            }
            let due = parsed.next(seen, &TimeZone::UTC).is_some_and(|at| at <= now);
            let next = cron.next(now);
            prop_assert_eq!(next == MATCH, due, "{} {} {:?}", seen, now, next);
            if due {
                round(&mut cron, now);
            }
            seen = seen.max(now);
            let is_waiting = matches!(cron.next(now), Next::WaitUntil { at, .. } if at > now);
            prop_assert!(is_waiting);
        }
    }
}
