//! Interrupted steps: they are continued, and what they need is kept, as far as that is promised.

use zrepl_daemon::endpoint::mark::MarkKind;
use zrepl_proto::pdu::{GuaranteeKind, Protection};

use crate::case::Case;
use crate::interference::Interference;
use crate::replication::{Replication, SENDER_JOB, both};
use crate::{Scenario, Verdict};

pub(crate) const LIST: &[Scenario] = &[
    Scenario::new(
        "ReplicationIsResumableFullSend__both_GuaranteeResumability",
        |case| Box::pin(resumable(case, both(GuaranteeKind::Resumability))),
    ),
    Scenario::new(
        "ReplicationIsResumableFullSend__initial_GuaranteeResumability_incremental_GuaranteeIncrementalReplication",
        |case| {
            let protection = Protection {
                initial: GuaranteeKind::Resumability,
                incremental: GuaranteeKind::IncrementalReplication,
            };
            Box::pin(resumable(case, protection))
        },
    ),
    Scenario::new(
        "ReplicationIsResumableFullSend__initial_GuaranteeIncrementalReplication_incremental_GuaranteeIncrementalReplication",
        |case| Box::pin(not_resumable(case)),
    ),
    Scenario::new(
        "ReplicationIncrementalDestroysStepHoldsIffIncrementalStepHoldsAreDisabledButStepHoldsExist",
        |case| Box::pin(step_holds_go(case)),
    ),
];

/// Four or five streams for each snapshot with data.
const KIB: u64 = 1024;
const CUT: Interference = Interference::Cut(300 << 10);

/// An administrator, or a pruner of another job, wants to destroy the snapshot that is being sent, and makes more.
async fn resumable(mut case: Case, protection: Protection) -> Verdict {
    case.set_up(&format!("+ sender\nW sender {KIB}\n+ sender@1"))?;
    let there = case.received("sender");
    let replication = Replication::of_sender(&case)
        .protect(protection)
        .interfere(CUT);
    let hold = case.mark(MarkKind::StepHold, SENDER_JOB, "sender@1");
    let mut runs = 0;
    loop {
        runs += 1;
        assert!(runs <= 8, "does not come to an end");
        let run = replication.run(&mut case).await?;
        let filesystem = run.filesystem("sender");
        assert!(filesystem.plan_error.is_none(), "{filesystem:?}");
        if filesystem.steps().is_empty() {
            break;
        }
        let is_again = runs > 1 && filesystem.steps()[0].to == "@1";
        assert_eq!(
            filesystem.steps()[0].resumed,
            is_again,
            "run {runs}: {filesystem:?}"
        );
        let destroyed = if case.exists("sender@1") {
            case.destroy_unless_held("sender@1")
        } else {
            Ok(())
        };
        // Three runs at least leave it incomplete.
        if runs <= 3 {
            assert_eq!(filesystem.state, "step-error", "run {runs}: {filesystem:?}");
            assert_eq!(destroyed, Err(vec![hold.clone()]), "run {runs}");
        }
        if runs <= 2 {
            case.set_up(&format!("+ sender@{}", runs + 1))?;
        }
    }
    assert_eq!(case.snapshots(&there), ["@1", "@2", "@3"]);
    assert!(!case.exists("sender@1"), "nobody needs it any more");
    Ok(())
}

/// With bookmarks only, the snapshot can be destroyed, and what has arrived of it is lost. zrepl 0.7.0 then finds that the token's target is
/// gone, at each planning, until an administrator discards what has arrived (and so does its test). We discard it, and begin with what is
/// there.
async fn not_resumable(mut case: Case) -> Verdict {
    case.set_up(&format!("+ sender\nW sender {KIB}\n+ sender@1"))?;
    let there = case.received("sender");
    let replication = Replication::of_sender(&case)
        .protect(both(GuaranteeKind::IncrementalReplication))
        .interfere(CUT);
    let run = replication.run(&mut case).await?;
    assert_eq!(run.filesystem("sender").state, "step-error");
    let gone = case.guid("sender@1");
    assert_eq!(case.token(&there).map(|token| token.to_guid), Some(gone));
    assert_eq!(case.destroy_unless_held("sender@1"), Ok(()));
    assert!(!case.exists("sender@1"));

    case.set_up("+ sender@2")?;
    let two = case.guid("sender@2");
    let run = replication.run(&mut case).await?;
    let filesystem = run.filesystem("sender");
    assert_eq!(filesystem.state, "step-error", "{filesystem:?}");
    assert_eq!(filesystem.path(), [("", "@2")]);
    assert!(!filesystem.steps()[0].resumed);
    assert_eq!(case.token(&there).map(|token| token.to_guid), Some(two));
    let run = replication
        .interfere(Interference::None)
        .run(&mut case)
        .await?;
    run.assert_done();
    assert!(run.filesystem("sender").steps()[0].resumed);
    assert_eq!(case.snapshots(&there), ["@2"]);
    Ok(())
}

async fn step_holds_go(mut case: Case) -> Verdict {
    case.set_up("+ sender\n+ sender@1")?;
    let there = case.received("sender");
    let replication = Replication::of_sender(&case);
    replication.run(&mut case).await?.assert_done();
    case.set_up(&format!("W sender {KIB}\n+ sender@2"))?;
    let replication = replication.interfere(CUT);
    let run = replication.run(&mut case).await?;
    assert_eq!(run.filesystem("sender").state, "step-error");
    assert_eq!(case.snapshots(&there), ["@1"]);
    let hold = case.mark(MarkKind::StepHold, SENDER_JOB, "sender@2");
    for held in ["sender@1", "sender@2"] {
        assert_eq!(case.holds(held), [&*hold], "{held}");
    }

    // From now on bookmarks do.
    let replication = replication.protect(both(GuaranteeKind::IncrementalReplication));
    for runs in 1.. {
        assert!(runs <= 5, "does not come to an end");
        let run = replication.run(&mut case).await?;
        assert!(run.filesystem("sender").steps()[0].resumed);
        if case.exists(&format!("{there}@2")) {
            break;
        }
        for free in ["sender@1", "sender@2"] {
            assert_eq!(case.holds(free), [""; 0], "{free}");
        }
    }
    for free in ["sender@1", "sender@2"] {
        assert_eq!(case.holds(free), [""; 0], "{free}");
    }
    let cursor = case.mark(MarkKind::Cursor, SENDER_JOB, "sender@2");
    assert_eq!(case.bookmarks("sender"), [cursor]);
    Ok(())
}
