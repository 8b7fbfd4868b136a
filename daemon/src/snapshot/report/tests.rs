use super::*;

/// Reads and writes it back.
fn round_trip(text: &str) -> Report {
    let report: Report = serde_json::from_str(text).expect(text);
    assert_eq!(serde_json::to_string(&report).expect("plain data"), text);
    report
}

const ZERO: &str = "0001-01-01T00:00:00Z";

#[test]
fn the_json_is_that_of_zrepl() {
    // Recorded from zrepl 0.7.0.
    let manual = r#"{"Type":"manual","Periodic":null,"Cron":null,"Manual":{}}"#;
    assert_eq!(round_trip(manual), Report::Manual);

    // From here on by its declarations and what Go makes of them.
    let fresh = format!(
        r#"{{"Type":"periodic","Periodic":{{"State":1,"SleepUntil":"{ZERO}","Error":"","Progress":null}},"Cron":null,"Manual":null}}"#
    );
    assert!(matches!(round_trip(&fresh), Report::Periodic(report) if report.sleep_until.is_none()));

    let done = r#"{"Path":"p/a","State":4,"SnapName":"zrepl_20261122_010000_000","StartAt":"2026-11-22T01:00:00.000000001Z","Hooks":"1 ok 1ms\n2 ok 12ms callback","HooksHadError":false,"DoneAt":"2026-11-22T01:00:00.5Z"}"#;
    let pending = format!(
        r#"{{"Path":"p/b","State":1,"SnapName":"","StartAt":"{ZERO}","Hooks":"","HooksHadError":false,"DoneAt":"{ZERO}"}}"#
    );
    let running = format!(
        r#"{{"Type":"periodic","Periodic":{{"State":8,"SleepUntil":"2026-11-22T01:00:00Z","Error":"","Progress":[{done},{pending}]}},"Cron":null,"Manual":null}}"#
    );
    let Report::Periodic(report) = round_trip(&running) else {
        panic!("periodic");
    };
    assert_eq!(report.state, PeriodicState::Snapshotting);
    let states = report.progress.expect("two").into_iter().map(|it| it.state);
    assert_eq!(
        states.collect::<Vec<_>>(),
        [FilesystemState::SnapDone, FilesystemState::SnapPending]
    );

    let waiting = r#"{"Type":"cron","Periodic":null,"Cron":{"State":"waiting","WakeupTime":"2026-11-22T02:00:00Z","Errors":null,"Progress":null},"Manual":null}"#;
    let running = r#"{"Type":"cron","Periodic":null,"Cron":{"State":"running","WakeupTime":"2026-11-22T02:00:00Z","Errors":["a","b"],"Progress":[]},"Manual":null}"#;
    assert!(matches!(round_trip(waiting), Report::Cron(report) if report.errors.is_none()));
    assert!(matches!(round_trip(running), Report::Cron(report) if report.progress == Some(vec![])));
}

#[test]
fn states_have_their_numbers_and_words() {
    for (number, word) in [
        (1, "SyncUp"),
        (2, "SyncUpErrWait"),
        (4, "Planning"),
        (8, "Snapshotting"),
        (16, "Waiting"),
        (32, "ErrorWait"),
        (64, "Stopped"),
    ] {
        let state = PeriodicState::try_from(number).expect(word);
        assert_eq!(
            (u8::from(state), state.to_string().as_str()),
            (number, word)
        );
    }
    for (number, word) in [
        (1, "SnapPending"),
        (2, "SnapStarted"),
        (4, "SnapDone"),
        (8, "SnapError"),
    ] {
        let state = FilesystemState::try_from(number).expect(word);
        assert_eq!(
            (u8::from(state), state.to_string().as_str()),
            (number, word)
        );
    }
    assert_eq!(PeriodicState::try_from(3), Err(UnknownState(3)));
    assert_eq!(FilesystemState::try_from(16), Err(UnknownState(16)));
}

#[test]
fn a_report_without_the_part_that_its_type_announces_is_refused() {
    let text = r#"{"Type":"cron","Periodic":null,"Cron":null,"Manual":{}}"#;
    let error = serde_json::from_str::<Report>(text).expect_err("no cron");
    assert!(error.to_string().contains("lacks"), "{error}");
}
