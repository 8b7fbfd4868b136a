//! `encrypted` and `raw` of a sender, with and without an encrypted filesystem: what is accepted arrives, also after interruptions, and
//! what is rejected sends nothing, whatever token is offered. A case for each of the eight combinations: filesystem encrypted,
//! `encrypted`, `raw`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::receiving::{interrupt, sending};
use crate::case::Case;
use crate::interference::Interference;
use crate::replication::Replication;
use crate::{Scenario, Verdict};

pub(crate) const LIST: &[Scenario] = &[
    Scenario::new("SendArgsValidationEE_EncryptionAndRaw/FFF", |case| {
        Box::pin(accepted(case, false, "{}"))
    }),
    Scenario::new("SendArgsValidationEE_EncryptionAndRaw/FFT", |case| {
        Box::pin(accepted(case, false, "{raw: true}"))
    }),
    Scenario::new("SendArgsValidationEE_EncryptionAndRaw/FTF", |case| {
        Box::pin(rejected(case, false, "{encrypted: true}", NOT_ENCRYPTED))
    }),
    Scenario::new("SendArgsValidationEE_EncryptionAndRaw/FTT", |case| {
        Box::pin(rejected(
            case,
            false,
            "{encrypted: true, raw: true}",
            NOT_ENCRYPTED,
        ))
    }),
    Scenario::new("SendArgsValidationEE_EncryptionAndRaw/TFF", |case| {
        Box::pin(accepted(case, true, "{}"))
    }),
    Scenario::new("SendArgsValidationEE_EncryptionAndRaw/TFT", |case| {
        Box::pin(rejected(case, true, "{raw: true}", ENCRYPTED))
    }),
    Scenario::new("SendArgsValidationEE_EncryptionAndRaw/TTF", |case| {
        Box::pin(accepted(case, true, "{encrypted: true}"))
    }),
    Scenario::new("SendArgsValidationEE_EncryptionAndRaw/TTT", |case| {
        Box::pin(accepted(case, true, "{encrypted: true, raw: true}"))
    }),
];

const NOT_ENCRYPTED: &str = "encrypted send mandated by policy, but filesystem";
const ENCRYPTED: &str = "policy mandates raw+unencrypted sends, but filesystem";

const KIB: u64 = 768;
/// Three or four streams for each snapshot.
const CUT: Interference = Interference::Cut(320 << 10);

fn set_up(case: &Case, is_encrypted: bool) -> Verdict {
    let kind = if is_encrypted { "encrypted" } else { "" };
    case.set_up(&format!("+ sender {kind}\nW sender {KIB}\n+ sender@1"))
}

async fn accepted(mut case: Case, is_encrypted: bool, options: &'static str) -> Verdict {
    set_up(&case, is_encrypted)?;
    let there = case.received("sender");
    let replication = Replication::of_sender(&case).send(options).interfere(CUT);
    for number in 1..=2 {
        if number == 2 {
            case.set_up(&format!("W sender {KIB}\n+ sender@2"))?;
        }
        for attempt in 1.. {
            assert!(attempt <= 4, "does not come to an end");
            let run = replication.run(&mut case).await?;
            let filesystem = run.filesystem("sender");
            let steps = filesystem.steps();
            assert_eq!(steps.len(), 1, "{filesystem:?}");
            assert_eq!(steps[0].resumed, attempt > 1, "{filesystem:?}");
            assert_eq!(steps[0].to, format!("@{number}"));
            if filesystem.state == "done" {
                assert!(attempt > 2, "the stream is shorter than it should be");
                break;
            }
            assert_eq!(filesystem.state, "step-error", "{filesystem:?}");
            assert!(case.token(&there).is_some(), "nothing to resume");
            let said = filesystem.error().matches("the stream ended early").count();
            assert_eq!(said, 1, "{}", filesystem.error());
        }
        assert_eq!(
            case.guid(&format!("{there}@{number}")),
            case.guid(&format!("sender@{number}"))
        );
    }
    let expected = options.contains("encrypted: true");
    assert_eq!(case.value(&there, "encryption") != "off", expected);
    Ok(())
}

async fn rejected(
    mut case: Case,
    is_encrypted: bool,
    options: &'static str,
    text: &'static str,
) -> Verdict {
    set_up(&case, is_encrypted)?;
    let there = case.received("sender");
    let streams = Arc::new(AtomicUsize::new(0));
    let replication = Replication::of_sender(&case)
        .send(options)
        .interfere(Interference::Counted(Arc::clone(&streams)));
    let run = replication.run(&mut case).await?;
    run.filesystem("sender").assert_plan_error(text);
    assert!(!case.exists(&there));

    // Somebody else has begun to send it.
    let token = interrupt(
        &case,
        &format!("{there}@1"),
        &sending(&case, None, "sender@1", is_encrypted),
    )?;
    let run = replication.run(&mut case).await?;
    run.filesystem("sender").assert_plan_error(text);
    assert_eq!(
        case.token(&there),
        Some(token),
        "what had arrived is not what it was"
    );
    assert_eq!(streams.load(Ordering::SeqCst), 0, "something was sent");
    Ok(())
}
