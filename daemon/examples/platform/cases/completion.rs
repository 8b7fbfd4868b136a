//! Steps that fail on one side only.

use std::time::Duration;

use zrepl_daemon::endpoint::mark::MarkKind;
use zrepl_proto::pdu::GuaranteeKind;

use crate::case::Case;
use crate::interference::{Interference, MOCK_ERROR};
use crate::replication::{RECEIVER_JOB, Replication, SENDER_JOB, both};
use crate::{Scenario, Verdict};

pub(crate) const LIST: &[Scenario] = &[
    Scenario::new(
        "ReplicationStepCompletedLostBehavior__GuaranteeResumability",
        |case| Box::pin(completion_lost(case, GuaranteeKind::Resumability)),
    ),
    Scenario::new(
        "ReplicationStepCompletedLostBehavior__GuaranteeIncrementalReplication",
        |case| Box::pin(completion_lost(case, GuaranteeKind::IncrementalReplication)),
    ),
    Scenario::new("ReplicationReceiverErrorWhileStillSending", |case| {
        Box::pin(receiver_fails_first(case))
    }),
    Scenario::new(
        "ReplicationFailingInitialParentProhibitsChildReplication",
        |case| Box::pin(failing_parent(case)),
    ),
];

/// The receiver has `@2`, and the sender does not know. Whatever is destroyed meanwhile, as far as it can be, the next step is possible.
async fn completion_lost(mut case: Case, kind: GuaranteeKind) -> Verdict {
    case.set_up("+ sender\n+ sender@1")?;
    let there = case.received("sender");
    let replication = Replication::of_sender(&case).protect(both(kind));
    replication.run(&mut case).await?.assert_done();

    case.set_up("+ sender@2")?;
    let run = replication
        .clone()
        .interfere(Interference::CompletionFails)
        .run(&mut case)
        .await?;
    run.filesystem("sender").assert_step_error(MOCK_ERROR);
    assert_eq!(case.snapshots(&there), ["@1", "@2"]);
    assert_eq!(case.guid(&format!("{there}@2")), case.guid("sender@2"));
    let last_received = case.mark(MarkKind::LastReceivedHold, RECEIVER_JOB, "sender@2");
    assert_eq!(case.holds(&format!("{there}@2")), [last_received]);
    assert_eq!(case.holds(&format!("{there}@1")), [""; 0]);

    let destroyed = ["sender@2", "sender@1"].map(|name| case.destroy_unless_held(name));
    if kind == GuaranteeKind::Resumability {
        let hold = vec![case.mark(MarkKind::StepHold, SENDER_JOB, "sender@1")];
        assert_eq!(destroyed, [Err(hold.clone()), Err(hold)]);
    } else {
        assert_eq!(destroyed, [Ok(()), Ok(())]);
    }
    case.set_up(&format!("+ sender@3\n- {there}@1"))?;
    let run = replication.run(&mut case).await?;
    run.assert_done();
    let filesystem = run.filesystem("sender");
    let path = filesystem.path();
    assert_eq!(path.len(), 1, "{path:?}");
    let sign = if kind == GuaranteeKind::Resumability {
        "@2"
    } else {
        "#zrepl_CURSORTENTATIVE_"
    };
    assert!(path[0].0.starts_with(sign) && path[0].1 == "@3", "{path:?}");
    assert_eq!(case.snapshots(&there), ["@2", "@3"]);
    // And nothing is left over.
    let cursor = case.mark(MarkKind::Cursor, SENDER_JOB, "sender@3");
    assert_eq!(case.bookmarks("sender"), [cursor]);
    for snapshot in case.snapshots("sender") {
        assert_eq!(
            case.holds(&format!("sender{snapshot}")),
            [""; 0],
            "{snapshot}"
        );
    }
    Ok(())
}

async fn receiver_fails_first(mut case: Case) -> Verdict {
    case.set_up("+ sender\n+ sender@1")?;
    let replication = Replication::of_sender(&case).interfere(Interference::Endless);
    // It says so at once: the sender would never come to an end.
    let run = tokio::time::timeout(Duration::from_secs(60), replication.run(&mut case)).await??;
    run.filesystem("sender").assert_step_error(MOCK_ERROR);
    assert!(!case.exists(&case.received("sender")));
    Ok(())
}

async fn failing_parent(mut case: Case) -> Verdict {
    case.set_up("+ a\n+ a@1\n+ a/child\n+ a/child@1\n+ aa\n+ aa@1")?;
    let replication =
        Replication::of(&case, &["a", "a/child", "aa"]).interfere(Interference::ReceiveFails);
    let run = replication.run(&mut case).await?;
    assert_eq!(run.last().filesystems().len(), 3);
    for name in ["a", "aa"] {
        run.filesystem(name).assert_step_error(MOCK_ERROR);
    }
    run.filesystem("a/child")
        .assert_step_error("parent(s) failed during initial replication");
    let error = run.filesystem("a/child").error();
    assert!(
        error.contains(&case.full("a")) && !error.contains(&case.full("aa")),
        "{error}"
    );
    for filesystem in run.last().filesystems() {
        let steps = filesystem.steps().len();
        assert_eq!(
            (steps, filesystem.current_step),
            (1, 0),
            "{}",
            filesystem.name()
        );
    }
    Ok(())
}
