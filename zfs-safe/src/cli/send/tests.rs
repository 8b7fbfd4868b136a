use std::io::Read;
use std::time::{Duration, Instant};

use super::super::fake::Fake;
use super::*;
use crate::guid::Guid;
use crate::name::{SnapshotName, VersionName};
use crate::stream::StreamError;
use crate::zfs::Zfs;

fn args() -> SendArgs {
    SendArgs {
        snapshot: SnapshotName::new("p/a@2").expect("valid"),
        base: Some(VersionName::new("p/a#1").expect("valid")),
        flags: SendFlags {
            raw: true,
            compressed: true,
            embedded: true,
            large_blocks: true,
            saved: true,
            ..SendFlags::default()
        },
        resume: None,
    }
}

fn token(to: u64, from: u64) -> ResumeToken {
    ResumeToken {
        to_guid: Guid::new(to),
        from_guid: Some(Guid::new(from)),
        object: 1,
        offset: 0,
        bytes: 0,
        to_name: "q/else@2".to_owned(),
        large_block: false,
        embed: false,
        compress: false,
        raw: false,
        saved: false,
        redact_snaps: None,
        book_redact_snaps: None,
        text: "1-a-b-c".to_owned(),
    }
}

const GUIDS: &str = "case \"$*\" in
    get*@2) printf 'p/a@2\\tguid\\t2\\t-\\n'; exit;;
    get*#1) printf 'p/a#1\\tguid\\t1\\t-\\n'; exit;;
    esac";

/// The reason of a send that was read to the end.
fn reason(script: &str) -> Option<Reason> {
    let fake = Fake::new(script);
    let mut stream = fake.cli.send(&args()).expect("starts");
    let relay = io::copy(&mut stream, &mut io::sink()).map(drop);
    match stream.finish(relay) {
        Ok(()) => None,
        Err(error) => Some(error.zfs().expect("is of ZFS").reason.clone()),
    }
}

#[test]
fn the_stream_comes_through_and_is_counted() {
    let fake = Fake::new("head -c 5000000 /dev/zero");
    let mut stream = fake.cli.send(&args()).expect("starts");
    let mut data = vec![1; 2_000_000];
    stream.read_exact(&mut data).expect("reads");
    let deadline = Instant::now() + Duration::from_secs(20);
    // What is being moved is not counted yet.
    while stream.progress().expect("runs").written < 2_000_000 {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(stream.progress().expect("runs").written <= 5_000_000);
    io::copy(&mut stream, &mut io::sink()).expect("reads");
    stream.finish(Ok(())).expect("succeeds");
    assert_eq!(fake.calls(), ["zfs send -w -L -c -e -i p/a#1 -- p/a@2"]);
}

#[test]
fn properties_are_sent_with_new_streams_only_and_never_estimated() {
    let fake = Fake::new(&format!("{GUIDS}\nprintf 'size\\t5\\n'"));
    let wanted = SendArgs {
        flags: SendFlags {
            properties: true,
            backup: true,
            ..SendFlags::default()
        },
        ..args()
    };
    let resumed = SendArgs {
        resume: Some(token(2, 1)),
        ..wanted.clone()
    };
    for send in [&wanted, &resumed] {
        let mut stream = fake.cli.send(send).expect("starts");
        let relay = io::copy(&mut stream, &mut io::sink()).map(drop);
        stream.finish(relay).expect("succeeds");
        fake.cli.estimate(send).expect("succeeds");
    }
    let mut sends = fake.calls();
    sends.retain(|call| call.starts_with("zfs send"));
    let expected = [
        "zfs send -p -b -i p/a#1 -- p/a@2",
        "zfs send -nP -i p/a#1 -- p/a@2",
        "zfs send -t 1-a-b-c",
        "zfs send -nP -t 1-a-b-c",
    ];
    assert_eq!(sends, expected);
}

#[test]
fn a_failed_send_is_an_error_even_after_data() {
    assert_eq!(reason("exit 0"), None);
    let text =
        "head -c 100000 /dev/zero; echo \"warning: cannot send 'p/a@2': I/O error\" >&2; exit 1";
    assert_eq!(reason(text), Some(Reason::Io));
    assert_eq!(
        reason("head -c 100000 /dev/zero; kill -9 $$"),
        Some(Reason::Interrupted)
    );
    assert_eq!(
        reason("head -c 3000000 /dev/zero | tr '\\0' e >&2; exit 3"),
        Some(Reason::Process)
    );
}

#[test]
fn a_child_that_ignores_a_broken_pipe_ends_with_its_reader() {
    let fake = Fake::new("trap '' PIPE; while :; do echo data 2>/dev/null; done");
    let mut stream = fake.cli.send(&args()).expect("starts");
    stream.read_exact(&mut [0; 1000]).expect("reads");
    let error = stream.finish(Ok(())).expect_err("fails");
    assert_eq!(
        error.zfs().map(|error| &error.reason),
        Some(&Reason::ReaderGone)
    );
    let stream = fake.cli.send(&args()).expect("starts");
    let error = stream
        .finish(Err(io::Error::other("network down")))
        .expect_err("fails");
    assert!(matches!(error, StreamError::Relay { .. }), "{error}");
}

#[test]
fn a_child_that_writes_nothing_ends_with_its_reader() {
    let fake = Fake::new("exec sleep 60");
    let begun = Instant::now();
    fake.cli.send(&args()).expect("starts").cancel();
    assert!(begun.elapsed() < Duration::from_secs(30));
}

#[test]
fn a_missing_program_is_told_at_once() {
    let mut fake = Fake::new("exit 0");
    fake.cli.tools.zfs = "/nonexistent/zfs".into();
    let error = fake.cli.send(&args()).expect_err("fails");
    assert_eq!(error.reason, Reason::Process);
}

#[test]
fn a_token_is_used_for_what_was_asked_for_only() {
    let fake = Fake::new(&format!("{GUIDS}\nprintf 'full\\tp/a@2\\t5\\nsize\\t5\\n'"));
    let resume = |token| SendArgs {
        resume: Some(token),
        ..args()
    };
    assert_eq!(fake.cli.estimate(&resume(token(2, 1))), Ok(5));
    for wrong in [
        token(3, 1),
        token(2, 3),
        ResumeToken {
            from_guid: None,
            ..token(2, 1)
        },
    ] {
        let error = fake
            .cli
            .estimate(&resume(wrong.clone()))
            .expect_err("fails");
        assert_eq!(error.reason, Reason::InvalidArgument);
        let error = fake.cli.send(&resume(wrong)).expect_err("fails");
        assert_eq!(error.reason, Reason::InvalidArgument);
    }
    let sends: Vec<_> = fake
        .calls()
        .into_iter()
        .filter(|call| call.starts_with("zfs send"))
        .collect();
    assert_eq!(sends, ["zfs send -nP -w -L -c -e -t 1-a-b-c"]);
}

#[test]
fn estimates_are_read() {
    let estimate = |script: &str| Fake::new(script).cli.estimate(&args());
    assert_eq!(
        estimate("printf 'incremental\\tp/a#1\\tp/a@2\\t1321376\\nsize\\t1321376\\n'"),
        Ok(1_321_376)
    );
    // The kernel subtracts without looking.
    assert_eq!(estimate("printf 'size\\t18446744073709551000\\n'"), Ok(0));
    assert_eq!(
        estimate("printf 'full\\tp/a@2\\n'")
            .expect_err("fails")
            .reason,
        Reason::Process
    );
}
