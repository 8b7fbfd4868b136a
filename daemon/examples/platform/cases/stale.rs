//! Marks that are of no use any more: those of the own job go, those of others stay.

use zrepl_daemon::endpoint::mark::MarkKind;

use crate::case::Case;
use crate::replication::{RECEIVER_JOB, Replication, SENDER_JOB};
use crate::{Scenario, Verdict};

pub(crate) const LIST: &[Scenario] = &[
    Scenario::new(
        "ReplicationIncrementalCleansUpStaleAbstractionsWithCacheOnSecondReplication",
        |case| Box::pin(clean_up(case, true)),
    ),
    Scenario::new(
        "ReplicationIncrementalCleansUpStaleAbstractionsWithoutCacheOnSecondReplication",
        |case| Box::pin(clean_up(case, false)),
    ),
];

const OTHER_JOB: &str = "other-job";

/// In zrepl's names, `WithCache` is the one that empties the cache first. What others made is found then in any case; without, zrepl
/// overlooks the holds and bookmarks of its own job that it has not made itself. We remember holds only, for the same reason: listing
/// them is a call for each snapshot. Bookmarks are in every listing, so stale ones are always seen.
async fn clean_up(mut case: Case, forgets: bool) -> Verdict {
    use MarkKind::{Cursor, LastReceivedHold, StepHold, TentativeCursor};
    case.set_up("+ sender\n+ sender@1\n+ sender@2\n+ sender#2 sender@2\n+ sender@3")?;
    let there = case.received("sender");
    let replication = Replication::of_sender(&case);
    replication.run(&mut case).await?.assert_done();
    assert_eq!(case.snapshots(&there), ["@3"]);
    assert_eq!(case.snapshots("sender"), ["@1", "@2", "@3"]);
    let cursor = case.mark(Cursor, SENDER_JOB, "sender@3");
    assert_eq!(case.bookmarks("sender"), ["2", &cursor]);
    let last_received = case.mark(LastReceivedHold, RECEIVER_JOB, "sender@3");
    assert_eq!(case.holds(&format!("{there}@3")), [&*last_received]);

    for job in [SENDER_JOB, OTHER_JOB] {
        let cursor = case.mark(Cursor, job, "sender@2");
        let tentative = case.mark(TentativeCursor, job, "sender@3");
        let hold = case.mark(StepHold, job, "sender@2");
        case.set_up(&format!(
            "+ sender#{cursor} sender@2\n+ sender#{tentative} sender@3\nH sender@1 {hold}\nH sender@2 {hold}"
        ))?;
    }
    let others_hold = case.mark(LastReceivedHold, OTHER_JOB, "sender@3");
    case.set_up(&format!(
        "H {there}@3 {others_hold}\n+ sender@4\n+ sender@5"
    ))?;
    if forgets {
        case.restart()?;
    }
    let run = replication.run(&mut case).await?;
    run.assert_done();
    assert_eq!(
        run.filesystem("sender").path(),
        [("@3", "@4"), ("@4", "@5")]
    );

    assert_eq!(case.snapshots("sender"), ["@1", "@2", "@3", "@4", "@5"]);
    assert_eq!(case.snapshots(&there), ["@3", "@4", "@5"]);
    let mut expected = vec![
        "2".to_owned(),
        case.mark(Cursor, SENDER_JOB, "sender@5"),
        case.mark(Cursor, OTHER_JOB, "sender@2"),
        case.mark(TentativeCursor, OTHER_JOB, "sender@3"),
    ];
    expected.sort();
    assert_eq!(case.bookmarks("sender"), expected);

    // What others hold stays, and so does, without a restart, what was held behind our back.
    let (own, foreign) = (
        case.mark(StepHold, SENDER_JOB, "sender@2"),
        case.mark(StepHold, OTHER_JOB, "sender@2"),
    );
    let expected = if forgets {
        vec![foreign]
    } else {
        vec![foreign, own]
    };
    for held in ["sender@1", "sender@2"] {
        assert_eq!(case.holds(held), expected, "{held}");
    }
    for free in ["sender@3", "sender@4", "sender@5"] {
        assert_eq!(case.holds(free), [""; 0], "{free}");
    }
    assert_eq!(case.holds(&format!("{there}@3")), [others_hold]);
    assert_eq!(case.holds(&format!("{there}@4")), [""; 0]);
    assert_eq!(case.holds(&format!("{there}@5")), [last_received]);
    Ok(())
}
