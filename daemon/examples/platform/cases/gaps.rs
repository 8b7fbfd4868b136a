//! What zrepl 0.7.0 does not test, and mostly does wrong.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use zrepl_daemon::config::transfer::InitialReplication;
use zrepl_daemon::endpoint::mark::MarkKind;
use zrepl_daemon::endpoint::mark::base::Base;
use zrepl_proto::pdu::GuaranteeKind;

use super::placeholders::is_one;
use crate::case::Case;
use crate::interference::{Interference, MOCK_ERROR};
use crate::replication::{Replication, SENDER_JOB, both};
use crate::set_up::shell;
use crate::{Scenario, Verdict};

pub(crate) const LIST: &[Scenario] = &[
    Scenario::new(
        "second_attempt_completes_the_interrupted_last_step",
        |case| Box::pin(second_attempt(case)),
    ),
    Scenario::new("stale_token_of_an_incremental_step_is_discarded", |case| {
        Box::pin(stale_incremental_token(case))
    }),
    Scenario::new("complete_stream_of_a_failed_send_is_no_success", |case| {
        Box::pin(failed_send(case))
    }),
    Scenario::new("killed_send_is_no_success", |case| {
        Box::pin(killed_send(case))
    }),
    Scenario::new("sender_with_bookmarks_only_is_a_clean_error", |case| {
        Box::pin(bookmarks_only(case))
    }),
    Scenario::new("guarantee_nothing_leaves_a_base", |case| {
        Box::pin(guarantee_nothing(case))
    }),
    Scenario::new("encrypted_filesystem_replaces_a_placeholder", |case| {
        Box::pin(encrypted_replaces_placeholder(case))
    }),
    Scenario::new("diverged_receiver_is_left_alone", |case| {
        Box::pin(diverged(case))
    }),
];

/// zrepl 0.7.0 says that all is done, and has dropped the step that was interrupted.
async fn second_attempt(mut case: Case) -> Verdict {
    case.set_up("+ sender\n+ sender@1")?;
    let there = case.received("sender");
    let replication = Replication::of_sender(&case);
    replication.run(&mut case).await?.assert_done();
    case.set_up("W sender 1024\n+ sender@2")?;
    let lost = Interference::LostOnce(400 << 10, Arc::new(AtomicBool::new(false)));
    let replication = Replication {
        attempts: 3,
        ..replication.interfere(lost)
    };
    let run = replication.run(&mut case).await?;
    run.assert_done();
    let states: Vec<_> = run.attempts.iter().map(|it| it.state.as_str()).collect();
    assert_eq!(states, ["filesystem-error", "done"]);
    let steps = run.filesystem("sender").steps();
    assert_eq!(steps.len(), 1);
    assert!(
        steps[0].resumed && steps[0].bytes_replicated < 900 << 10,
        "{:?}",
        steps[0]
    );
    assert_eq!(case.guid(&format!("{there}@2")), case.guid("sender@2"));
    Ok(())
}

/// As in `ReplicationIsResumableFullSend`, but something is there already, which must stay.
async fn stale_incremental_token(mut case: Case) -> Verdict {
    case.set_up("+ sender\n+ sender@1")?;
    let there = case.received("sender");
    let replication =
        Replication::of_sender(&case).protect(both(GuaranteeKind::IncrementalReplication));
    replication.run(&mut case).await?.assert_done();
    case.set_up("W sender 1024\n+ sender@2")?;
    let cut = replication.clone().interfere(Interference::Cut(400 << 10));
    let run = cut.run(&mut case).await?;
    assert_eq!(run.filesystem("sender").state, "step-error");
    assert!(case.token(&there).is_some());
    case.set_up("- sender@2\n+ sender@3")?;
    let run = replication.run(&mut case).await?;
    run.assert_done();
    let filesystem = run.filesystem("sender");
    assert_eq!(filesystem.path(), [("@1", "@3")]);
    assert!(!filesystem.steps()[0].resumed);
    assert_eq!(case.snapshots(&there), ["@1", "@3"]);
    assert!(case.token(&there).is_none());
    Ok(())
}

/// The receiver takes all of it, and then learns that it was not all. What ZFS has then may stay, but nobody may believe that the step is
/// complete: the next replication finds out.
async fn failed_send(mut case: Case) -> Verdict {
    case.set_up("+ sender\nW sender 256\n+ sender@1")?;
    let there = case.received("sender");
    let replication = Replication::of_sender(&case);
    let run = replication
        .clone()
        .interfere(Interference::SendFails)
        .run(&mut case)
        .await?;
    run.filesystem("sender").assert_step_error(MOCK_ERROR);
    assert!(
        case.bookmarks("sender").is_empty(),
        "a cursor: {:?}",
        case.bookmarks("sender")
    );
    replication.run(&mut case).await?.assert_done();
    assert_eq!(case.guid(&format!("{there}@1")), case.guid("sender@1"));
    Ok(())
}

/// The process can be killed with zfs(8) only. The kernel's own send has nobody who could kill it; that it fails is told in the same way.
async fn killed_send(mut case: Case) -> Verdict {
    if case.is_native() {
        return Ok(());
    }
    case.set_up("+ sender\nW sender 4096\n+ sender@1")?;
    let there = case.received("sender");
    let replication = Replication::of_sender(&case);
    let killed = Interference::SendKilled(512 << 10, case.full("sender@1"));
    let run = replication.clone().interfere(killed).run(&mut case).await?;
    run.filesystem("sender")
        .assert_step_error(&case.full("sender@1"));
    assert!(case.bookmarks("sender").is_empty());
    assert!(case.token(&there).is_some(), "nothing to resume");
    let run = replication.run(&mut case).await?;
    run.assert_done();
    assert!(run.filesystem("sender").steps()[0].resumed);
    assert_eq!(case.guid(&format!("{there}@1")), case.guid("sender@1"));
    Ok(())
}

/// zrepl 0.7.0 panics, or asks for a step to nowhere.
async fn bookmarks_only(mut case: Case) -> Verdict {
    case.set_up("+ sender\n+ sender@1\n+ sender#1 sender@1\n- sender@1")?;
    for initial in [InitialReplication::MostRecent, InitialReplication::All] {
        let replication = Replication {
            initial,
            ..Replication::of_sender(&case)
        };
        let run = replication.run(&mut case).await?;
        run.filesystem("sender")
            .assert_plan_error("no snapshots available on sender side");
        assert!(run.filesystem("sender").steps().is_empty());
    }
    assert!(!case.exists(&case.received("sender")));
    Ok(())
}

/// There are no marks, and pruners can nevertheless tell what the next step starts from.
async fn guarantee_nothing(mut case: Case) -> Verdict {
    case.set_up("+ sender\n+ sender@1")?;
    let there = case.received("sender");
    let replication = Replication::of_sender(&case).protect(both(GuaranteeKind::Nothing));
    replication.run(&mut case).await?.assert_done();
    case.set_up("+ sender@2\n+ sender@3")?;
    let run = replication.run(&mut case).await?;
    run.assert_done();
    assert_eq!(
        run.filesystem("sender").path(),
        [("@1", "@2"), ("@2", "@3")]
    );
    assert!(case.bookmarks("sender").is_empty());
    for name in ["sender", &there] {
        for snapshot in case.snapshots(name) {
            assert_eq!(
                case.holds(&format!("{name}{snapshot}")),
                [""; 0],
                "{snapshot}"
            );
        }
    }
    let base = Base::find(
        None,
        case.versions("sender")
            .iter()
            .map(|it| (it.guid, it.createtxg)),
        case.versions(&there)
            .iter()
            .map(|it| (it.guid, it.createtxg)),
    );
    let newest = Some(case.guid("sender@3"));
    assert_eq!(base.replicated_up_to(), newest);
    assert_eq!(
        (base.kept_on_sender(), base.kept_on_receiver()),
        (newest, newest)
    );
    // A pruner that keeps no more than that does no harm.
    case.set_up(&format!(
        "- sender@1\n- sender@2\n- {there}@1\n- {there}@2\n+ sender@4"
    ))?;
    let run = replication.run(&mut case).await?;
    run.assert_done();
    assert_eq!(run.filesystem("sender").path(), [("@3", "@4")]);
    // What was promised before is not forgotten, but removed.
    let replication = replication.protect(both(GuaranteeKind::Resumability));
    case.set_up("+ sender@5")?;
    replication.run(&mut case).await?.assert_done();
    let cursor = case.mark(MarkKind::Cursor, SENDER_JOB, "sender@5");
    assert_eq!(case.bookmarks("sender"), [cursor]);
    Ok(())
}

/// ZFS cannot do that with `zfs recv -F`; zrepl 0.7.0 receives into another filesystem and leaves the rest to its user.
async fn encrypted_replaces_placeholder(mut case: Case) -> Verdict {
    case.set_up("+ sender encrypted\n+ sender@1\n+ sender/child encrypted\n+ sender/child@1")?;
    let there = case.received("sender");
    shell(&format!(
        "zfs create -o zrepl:placeholder=on -o mountpoint=none {}",
        case.full(&there)
    ))?;
    assert!(is_one(&case, &there));
    let replication = Replication::of(&case, &["sender", "sender/child"]).send("{encrypted: true}");
    let run = replication.run(&mut case).await?;
    run.assert_done();
    for name in ["sender", "sender/child"] {
        let there = case.received(name);
        assert_eq!(
            case.guid(&format!("{there}@1")),
            case.guid(&format!("{name}@1"))
        );
        assert_ne!(case.value(&there, "encryption"), "off");
    }
    assert!(!is_one(&case, &there));
    Ok(())
}

/// Whatever a receiver has of its own, it keeps.
async fn diverged(mut case: Case) -> Verdict {
    case.set_up("+ sender\n+ sender@1")?;
    let there = case.received("sender");
    let replication = Replication::of_sender(&case);
    replication.run(&mut case).await?.assert_done();
    case.set_up(&format!("+ {there}@own\n+ sender@2"))?;
    let run = replication.run(&mut case).await?;
    run.filesystem("sender")
        .assert_plan_error("the receiver's latest snapshot is not present on sender:");
    assert_eq!(case.snapshots(&there), ["@1", "@own"]);
    Ok(())
}
