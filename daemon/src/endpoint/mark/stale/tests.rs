use super::super::tests::{inventory, job, short, tag, version};
use super::*;

fn stale(marks: &str) -> String {
    let inventory = inventory(marks);
    let owner = job("job");
    let verdicts = judge(&inventory, &owner);
    let marks: Vec<_> = verdicts
        .stale()
        .iter()
        .map(|(mark, _)| short(mark))
        .collect();
    marks.join(" ")
}

#[test]
fn stale_is_what_a_newer_mark_makes_useless() {
    for (marks, expected) in [
        ("", ""),
        // cursors: one is enough
        ("C3", ""),
        ("C1 C3 C2", "C1 C2"),
        // step holds and tentative cursors: the cursor is as good
        ("C3 S3", "S3"),
        ("C3 S2 S3 S4", "S2 S3"),
        ("C3 S4 S5", ""),
        ("C3 T3 T2", "T2 T3"),
        ("C3 T3 T4 T5", "T3"),
        ("C1 C3 S3 T3", "S3 T3 C1"),
        // without a cursor either end of a step may be what the receiver has
        ("S4", ""),
        ("S4 S5", ""),
        ("T4 T5", ""),
        ("S4 S5 T4", "S4"),
        ("S4 S5 T5", ""),
        ("T3 S3 S4 S5", "S3"),
        // receivers
        ("L3", ""),
        ("L3 L4 L5", "L3 L4"),
        ("C9 L3", ""),
        // others neither go nor make anything go
        ("c9 l9 S4 S5 L3", ""),
        ("c1 c2 s1 s2 t1 l1 l2 C2", ""),
        ("C3 c2 S2", "S2"),
    ] {
        assert_eq!(stale(marks), expected, "{marks}");
    }
}

#[test]
fn verdicts_say_why() {
    let marks = inventory("C1 C3 S2 T4 L1 L2 s2");
    let owner = job("job");
    let verdicts = judge(&marks, &owner);
    let shown: Vec<_> = verdicts
        .all()
        .iter()
        .map(|verdict| {
            let decision = match verdict.decision {
                Decision::Keep(reason) => format!("keep: {reason}"),
                Decision::Stale(reason) => format!("stale: {reason}"),
            };
            format!("{} {decision}", short(verdict.mark))
        })
        .collect();
    let cursor = "replication-cursor-bookmark-v2 p/a#zrepl_CURSOR_G_0000000000000003_J_job";
    assert_eq!(
        shown,
        [
            format!("C1 stale: older than {cursor}"),
            "L1 stale: older than last-received-hold \"zrepl_last_received_J_job\" on p/a@2"
                .to_owned(),
            format!("S2 stale: not newer than {cursor}"),
            "s2 keep: of another job".to_owned(),
            "L2 keep: on the snapshot received last".to_owned(),
            "C3 keep: the newest cursor".to_owned(),
            "T4 keep: made for a step that is not known to be complete".to_owned(),
        ]
    );
    let others: Vec<_> = verdicts.of_other_jobs().map(short).collect();
    assert_eq!(others, ["s2"]);
    let marks = inventory("S1 S2 T1");
    assert_eq!(
        judge(&marks, &owner).stale()[0].1.to_string(),
        "older than step-hold \"zrepl_STEP_J_job\" on p/a@2, and there is tentative-replication-cursor-bookmark-v2 \
         p/a#zrepl_CURSORTENTATIVE__G_0000000000000001_J_job"
    );
}

#[test]
fn removals_are_named_once_however_often_a_hold_is_listed() {
    // C15: 0.7.0 releases the same hold two or three times.
    let held = version("p/a@2", 2);
    let cursor = version("p/a#zrepl_CURSOR_G_0000000000000002_J_job", 2);
    let tags = vec![tag("zrepl_STEP_J_job"); 3];
    let inventory = Inventory::new([(&held, &tags[..]), (&held, &tags[..]), (&cursor, &[][..])]);
    let verdicts = judge(&inventory, &job("job"));
    let changes: Vec<_> = verdicts.changes().collect();
    assert_eq!(changes.len(), 1);
    assert!(matches!(&changes[0], Change::Release(hold) if hold.snapshot.as_str() == "p/a@2"));
}

#[test]
fn the_legacy_cursor_stays_and_is_reported() {
    let legacy = version("p/a#zrepl_replication_cursor", 1);
    let cursor = version("p/a#zrepl_CURSOR_G_0000000000000002_J_job", 2);
    let inventory = Inventory::new([(&legacy, &[][..]), (&cursor, &[][..])]);
    let verdicts = judge(&inventory, &job("job"));
    assert_eq!(verdicts.changes().count(), 0);
    assert_eq!(
        verdicts.legacy_cursor().map(BookmarkName::as_str),
        Some("p/a#zrepl_replication_cursor")
    );
}

#[test]
fn what_zrepl_cleans_up_on_a_second_replication_goes() {
    // The platform test ReplicationIncrementalCleansUpStaleAbstractions, at the start of the second round: replicated up to 3, then
    // marks appear for this job and for another one.
    assert_eq!(stale("C3 C2 S1 S2 T3 c2 s1 s2 t3 l1"), "S1 S2 T3 C2");
}
