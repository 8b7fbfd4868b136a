//! What an incremental step starts from when the common snapshot is gone.

use zrepl_daemon::endpoint::mark::MarkKind;
use zrepl_proto::pdu::GuaranteeKind;

use crate::case::Case;
use crate::replication::{Replication, SENDER_JOB, both};
use crate::{Scenario, Verdict};

pub(crate) const LIST: &[Scenario] = &[
    Scenario::new(
        "ReplicationIncrementalIsPossibleIfCommonSnapshotIsDestroyed",
        |case| Box::pin(from_the_cursor(case)),
    ),
    Scenario::new(
        "ReplicationIncrementalHandlesFromVersionEqTentativeCursorCorrectly",
        |case| Box::pin(from_a_tentative_cursor(case)),
    ),
];

async fn from_the_cursor(mut case: Case) -> Verdict {
    case.set_up("+ sender\n+ sender@1")?;
    let there = case.received("sender");
    let replication = Replication::of_sender(&case);
    replication.run(&mut case).await?.assert_done();
    assert_eq!(case.snapshots(&there), ["@1"]);
    let cursor = case.mark(MarkKind::Cursor, SENDER_JOB, "sender@1");
    assert_eq!(case.bookmarks("sender"), [&*cursor]);
    case.set_up("- sender@1\n+ sender@2")?;
    let run = replication.run(&mut case).await?;
    run.assert_done();
    assert_eq!(
        run.filesystem("sender").path(),
        [(&*format!("#{cursor}"), "@2")]
    );
    assert_eq!(case.snapshots(&there), ["@1", "@2"]);
    assert_eq!(case.guid(&format!("{there}@2")), case.guid("sender@2"));
    // The cursor has moved.
    let cursor = case.mark(MarkKind::Cursor, SENDER_JOB, "sender@2");
    assert_eq!(case.bookmarks("sender"), [cursor]);
    Ok(())
}

/// Such a cursor is left if a job stops between receiving and completion. Where nothing is promised it is of no use, and goes; but not
/// while a step starts from it.
async fn from_a_tentative_cursor(mut case: Case) -> Verdict {
    case.set_up("+ sender\n+ sender@1")?;
    let there = case.received("sender");
    let incremental = both(GuaranteeKind::IncrementalReplication);
    let replication = Replication::of_sender(&case).protect(incremental);
    replication.run(&mut case).await?.assert_done();
    let cursor = case.mark(MarkKind::Cursor, SENDER_JOB, "sender@1");
    let tentative = case.mark(MarkKind::TentativeCursor, SENDER_JOB, "sender@1");
    assert_eq!(case.bookmarks("sender"), [&*cursor]);
    case.set_up(&format!(
        "+ sender#{tentative} sender@1\n- sender@1\n- sender#{cursor}\n+ sender@2"
    ))?;
    case.restart()?;
    assert_eq!(case.bookmarks("sender"), [&*tentative]);

    let replication = replication.protect(both(GuaranteeKind::Nothing));
    let run = replication.run(&mut case).await?;
    run.assert_done();
    let filesystem = run.filesystem("sender");
    assert_eq!(filesystem.path(), [(&*format!("#{tentative}"), "@2")]);
    assert_eq!(filesystem.current_step, 1);
    assert_eq!(case.snapshots(&there), ["@1", "@2"]);
    assert!(
        case.bookmarks("sender").is_empty(),
        "{:?}",
        case.bookmarks("sender")
    );
    Ok(())
}
