//! What a sender refuses: streams that are more open, or more closed, than its job wants them, and tokens of something else.

use zrepl_daemon::endpoint::{Endpoint as _, EndpointError};

use super::receiving::{interrupt, sending};
use crate::case::Case;
use crate::replication::{Replication, request};
use crate::{Scenario, Verdict};

pub(crate) const LIST: &[Scenario] = &[
    // Its twin `…EncryptionSupported_false` needs a ZFS without encryption; all that we support have it.
    Scenario::new(
        "SendArgsValidationEncryptedSendOfUnencryptedDatasetForbidden__EncryptionSupported_true",
        |case| Box::pin(encrypted_send_of_unencrypted(case)),
    ),
    Scenario::new(
        "SendArgsValidationResumeTokenEncryptionMismatchForbidden",
        |case| Box::pin(token_of_other_encryption(case)),
    ),
    Scenario::new(
        "SendArgsValidationResumeTokenDifferentFilesystemForbidden",
        |case| Box::pin(token_of_other_filesystem(case)),
    ),
];

/// Asks a sender for `sender@1`, both before and for the transfer; gives what it says.
async fn ask(
    case: &Case,
    options: &'static str,
    to: &str,
    token: Option<&str>,
) -> Result<(), String> {
    let filesystem = to.split('@').next().unwrap_or_default();
    let replication = Replication::of(case, &[filesystem]).send(options);
    let sender = replication
        .sender(case)
        .map_err(|error| error.to_string())?;
    let request = request(case, None, to, token).map_err(|error| error.to_string())?;
    let text = |error: EndpointError| error.to_string();
    let dry = sender
        .send_dry(request.clone())
        .await
        .map(drop)
        .map_err(text);
    // The stream is dropped, which ends the send.
    let sent = sender.send(request).await.map(drop).map_err(text);
    assert_eq!(dry, sent, "send_dry and send do not agree");
    sent
}

#[track_caller]
fn assert_refused(answer: &Result<(), String>, text: &str) {
    let Err(error) = answer else {
        panic!("sent, and should not: {text}");
    };
    assert!(error.contains(text), "{error}");
}

async fn encrypted_send_of_unencrypted(case: Case) -> Verdict {
    case.set_up("+ sender\n+ sender@1")?;
    let text = format!(
        "encrypted send mandated by policy, but filesystem {:?} is not encrypted",
        case.full("sender")
    );
    assert_refused(
        &ask(&case, "{encrypted: true}", "sender@1", None).await,
        &text,
    );
    ask(&case, "{encrypted: false}", "sender@1", None).await?;
    Ok(())
}

async fn token_of_other_encryption(case: Case) -> Verdict {
    case.set_up("+ sender encrypted\nW sender 1024\n+ sender@1")?;
    let plain = interrupt(
        &case,
        "receiver/plain@1",
        &sending(&case, None, "sender@1", false),
    )?;
    let raw = interrupt(
        &case,
        "receiver/raw@1",
        &sending(&case, None, "sender@1", true),
    )?;
    assert!(raw.raw && !plain.raw);
    let answer = ask(&case, "{encrypted: true}", "sender@1", Some(&plain.text)).await;
    assert_refused(
        &answer,
        "resume token does not have rawok=true which would result in an unencrypted send, but policy mandates encrypted sends only",
    );
    let answer = ask(&case, "{encrypted: false}", "sender@1", Some(&raw.text)).await;
    assert_refused(
        &answer,
        "resume token has rawok=true which would result in encrypted send, but policy mandates unencrypted sends only",
    );
    // Each is right for the other.
    ask(&case, "{encrypted: true}", "sender@1", Some(&raw.text)).await?;
    ask(&case, "{encrypted: false}", "sender@1", Some(&plain.text)).await?;
    Ok(())
}

async fn token_of_other_filesystem(case: Case) -> Verdict {
    case.set_up("+ one\nW one 512\n+ one@1\n+ two\nW two 512\n+ two@1")?;
    let token = interrupt(
        &case,
        "receiver/one@1",
        &sending(&case, None, "one@1", false),
    )?;
    let answer = ask(&case, "{}", "two@1", Some(&token.text)).await;
    let text = format!(
        "filesystem in resume token field `toname` = {:?} does not match expected value {:?}",
        case.full("one"),
        case.full("two")
    );
    assert_refused(&answer, &text);
    ask(&case, "{}", "one@1", Some(&token.text)).await?;
    Ok(())
}
