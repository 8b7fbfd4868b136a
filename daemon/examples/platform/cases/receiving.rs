//! Receiving below the endpoints: interrupted, resumed, forced.

use std::io::{self, Read as _, Write as _};
use std::os::fd::AsFd as _;

use zfs_safe::begin_record::BeginRecord;
use zfs_safe::resume_token::ResumeToken;
use zfs_safe::stream::{ReceiveReport, StreamError};
use zfs_safe::zfs::{ReceiveArgs, SendArgs, SendFlags};
use zrepl_daemon::endpoint::Endpoint as _;
use zrepl_proto::pdu::ReceiveReq;

use crate::case::Case;
use crate::replication::{Replication, request};
use crate::set_up::shell;
use crate::{Scenario, Verdict};

pub(crate) const LIST: &[Scenario] = &[
    Scenario::new("ResumableRecvAndTokenHandling", |case| {
        Box::pin(async move { interrupted(&case) })
    }),
    Scenario::new("ResumeTokenParsing", |_| Box::pin(async { tokens() })),
    Scenario::new("ReceiveForceRollbackWorksUnencrypted", |case| {
        Box::pin(forced_rollback(case))
    }),
    Scenario::new("ReceiveForceIntoEncryptedErr", |case| {
        Box::pin(forced_into_encrypted(case))
    }),
];

/// What to send, in full or from `from`.
pub(crate) fn sending(case: &Case, from: Option<&str>, to: &str, raw: bool) -> SendArgs {
    SendArgs {
        snapshot: case.snapshot(to),
        base: from.map(|from| case.version_name(from)),
        flags: SendFlags {
            raw,
            ..SendFlags::default()
        },
        resume: None,
    }
}

/// The whole stream.
pub(crate) fn stream(
    case: &Case,
    args: &SendArgs,
) -> Result<Vec<u8>, Box<dyn std::error::Error + Send + Sync>> {
    let send = case.zfs.send(args)?;
    let mut bytes = Vec::new();
    let relay = std::fs::File::from(send.as_fd().try_clone_to_owned()?).read_to_end(&mut bytes);
    send.finish(relay.map(drop))?;
    Ok(bytes)
}

/// Receives bytes of a stream.
fn receive(
    case: &Case,
    target: &str,
    mut bytes: &[u8],
    force: bool,
) -> Result<ReceiveReport, StreamError> {
    let begin = BeginRecord::read(&mut bytes).unwrap_or_else(|error| panic!("{error}"));
    let mut args = ReceiveArgs::new(case.snapshot(target), begin);
    args.force = force;
    let mut receive = case.zfs.receive(&args).map_err(StreamError::Zfs)?;
    let relay: io::Result<()> = receive.write_all(bytes);
    receive.finish(relay)
}

/// Leaves half of a stream in `target`.
pub(crate) fn interrupt(
    case: &Case,
    target: &str,
    args: &SendArgs,
) -> Result<ResumeToken, Box<dyn std::error::Error + Send + Sync>> {
    let bytes = stream(case, args)?;
    let error = receive(case, target, &bytes[..bytes.len() / 2], false).expect_err("it was cut");
    let reason = error.zfs().map(|error| error.reason.label());
    assert_eq!(reason.as_deref(), Some("StreamTruncated"), "{error:?}");
    let filesystem = target.split('@').next().unwrap_or_default();
    Ok(case.token(filesystem).ok_or("no token")?)
}

fn interrupted(case: &Case) -> Verdict {
    case.set_up("+ sender\nW sender 1024\n+ sender@1")?;
    let token = interrupt(
        case,
        "receiver/fs@1",
        &sending(case, None, "sender@1", false),
    )?;
    assert_eq!(token.to_guid, case.guid("sender@1"));
    assert_eq!(token.from_guid, None);
    assert_eq!(token.to_name, case.full("sender@1"));
    // What the tested backend says of the property is the same.
    let property = "receive_resume_token".parse().expect("a property");
    let read = case
        .zfs
        .properties(&case.entity("receiver/fs"), &[property])?;
    assert_eq!(read.first().map(|it| &it.value), Some(&token.text));
    // And it is of use.
    let rest = SendArgs {
        resume: Some(token),
        ..sending(case, None, "sender@1", false)
    };
    let rest = stream(case, &rest)?;
    assert!(rest.len() < 700 << 10, "{} bytes again", rest.len());
    receive(case, "receiver/fs@1", &rest, false)?;
    assert_eq!(case.guid("receiver/fs@1"), case.guid("sender@1"));
    Ok(())
}

/// Tokens of real receives, with what is in them. zfs(8) is asked what it reads in each.
fn tokens() -> Verdict {
    const RECORDED: &str = include_str!("../../../../zfs-safe/testdata/resume-tokens.tsv");
    let mut seen = Vec::new();
    for line in RECORDED.lines().filter(|line| !line.starts_with('#')) {
        let columns: Vec<_> = line.split('\t').collect();
        let [_, to, from, _, _, _, to_name, flags, text] = columns[..] else {
            return Err("not a line of tokens".into());
        };
        let kind = (from != "-", flags.contains("rawok"));
        if seen.contains(&kind) {
            continue;
        }
        seen.push(kind);
        let token = ResumeToken::decode(text)?;
        assert_eq!(token.to_guid.to_string(), to);
        assert_eq!(
            token.from_guid.map(|it| it.to_string()),
            Some(from.to_owned()).filter(|_| kind.0)
        );
        assert_eq!((&*token.to_name, token.raw), (to_name, kind.1));
        // It cannot be sent, as there are no such snapshots, but it is read; and it says so on either output.
        let said = shell(&format!("zfs send -nvt {text} 2>&1 || true"))?;
        assert!(
            said.contains(&format!("toguid = {:#x}", token.to_guid.get())),
            "{said}"
        );
        assert_eq!(said.contains("rawok = 1"), token.raw, "{said}");
        assert_eq!(said.contains("fromguid"), kind.0, "{said}");

        let (head, tail) = text.split_at(text.len() - 6);
        let corrupted = format!(
            "{head}{}",
            if tail == "000000" { "000001" } else { "000000" }
        );
        let error = ResumeToken::decode(&corrupted).expect_err("it is corrupted");
        let said = shell(&format!("zfs send -nvt {corrupted} 2>&1 || true"))?;
        assert!(said.contains("corrupt"), "{said} ({error})");
    }
    assert_eq!(seen.len(), 4, "full and incremental, raw and not: {seen:?}");
    Ok(())
}

/// Only placeholders give way to what is received, whatever is in them. A filesystem that is none never does.
async fn forced_rollback(mut case: Case) -> Verdict {
    let there = case.received("sender");
    case.set_up(&format!(
        "+ sender\n+ sender@1\n+ {there}\n+ {there}@a\n+ {there}@b\n+ {there}@c"
    ))?;
    // By itself, ZFS refuses.
    let bytes = stream(&case, &sending(&case, None, "sender@1", false))?;
    let target = format!("{there}@1");
    let error = receive(&case, &target, &bytes, true).expect_err("it has snapshots");
    let reason = error.zfs().map(|error| error.reason.label());
    assert_eq!(reason.as_deref(), Some("AlreadyExists"), "{error:?}");
    // And so does the receiver.
    let replication = Replication::of_sender(&case);
    let run = replication.run(&mut case).await?;
    run.filesystem("sender")
        .assert_plan_error("no common snapshot or suitable bookmark between sender and receiver");
    // Also if it is asked without a plan.
    let send = request(&case, None, "sender@1", None)?;
    let receive = ReceiveReq {
        filesystem: send.filesystem.clone(),
        to: send.to.clone(),
        clear_resume_token: true,
        replication_config: send.replication_config,
    };
    let (_, stream) = replication.sender(&case)?.send(send).await?;
    let refused = replication.receiver(&case)?.receive(receive, stream).await;
    let error = refused.expect_err("it has snapshots").to_string();
    assert!(error.contains("rename it out of the way"), "{error}");
    assert_eq!(case.snapshots(&there), ["@a", "@b", "@c"]);
    // Unless it is a placeholder.
    shell(&format!(
        "zfs set zrepl:placeholder=on {}",
        case.full(&there)
    ))?;
    replication.run(&mut case).await?.assert_done();
    assert_eq!(case.snapshots(&there), ["@1"]);
    assert_eq!(case.guid(&target), case.guid("sender@1"));
    assert_ne!(case.value(&there, "zrepl:placeholder"), "on");
    Ok(())
}

/// ZFS refuses, with or without a text of zfs(8) to match. The receiver knows before it asks, and says what to do about it.
async fn forced_into_encrypted(mut case: Case) -> Verdict {
    let there = case.received("sender");
    case.set_up(&format!(
        "+ sender\n+ sender@1\n+ {there} encrypted\n+ {there}/child"
    ))?;
    let before = case.value(&there, "guid");
    let bytes = stream(&case, &sending(&case, None, "sender@1", false))?;
    let error = receive(&case, &format!("{there}@1"), &bytes, true).expect_err("it is encrypted");
    let error = error.zfs().ok_or("the stream was blamed")?;
    assert!(error.dataset.contains(&there), "{error:?}");
    assert_eq!(error.reason.label(), "BadStream", "{error:?}");
    shell(&format!(
        "zfs set zrepl:placeholder=on {}",
        case.full(&there)
    ))?;
    let run = Replication::of_sender(&case).run(&mut case).await?;
    let filesystem = run.filesystem("sender");
    filesystem.assert_step_error("cannot replace placeholder");
    filesystem.assert_step_error("zfs rename");
    assert_eq!(case.value(&there, "guid"), before);
    assert!(case.snapshots(&there).is_empty());
    Ok(())
}
