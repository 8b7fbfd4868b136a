use std::io::Read;

use super::super::fake::Fake;
use super::*;
use crate::begin_record::BeginRecord;
use crate::name::SnapshotName;
use crate::zfs::Zfs;

/// A full stream of a filesystem as the kernel begins it (`dmu_replay_record_t` of `sys/zfs_ioctl.h`, little endian).
fn begin() -> BeginRecord {
    let mut bytes = [0; BeginRecord::LEN];
    bytes[8..16].copy_from_slice(&0x2_f5ba_cbac_u64.to_le_bytes());
    bytes[16..24].copy_from_slice(&1_u64.to_le_bytes());
    bytes[32] = 2;
    bytes[40] = 7;
    bytes[56..61].copy_from_slice(b"p/a@1");
    BeginRecord::parse(&bytes).expect("valid")
}

fn args() -> ReceiveArgs {
    ReceiveArgs::new(SnapshotName::new("q/r@1").expect("valid"), begin())
}

/// What a receive of `rest` through `script` gives, or the label of its reason.
fn receive(script: &str, args: &ReceiveArgs, rest: &[u8]) -> Result<ReceiveReport, String> {
    let fake = Fake::new(script);
    let mut stream = fake
        .cli
        .receive(args)
        .map_err(|error| error.reason.label())?;
    let relay = stream.write_all(rest);
    stream.finish(relay).map_err(|error| {
        error
            .zfs()
            .map_or("relay".to_owned(), |error| error.reason.label())
    })
}

#[test]
fn the_begin_record_comes_first() {
    let fake = Fake::new("cat >\"$0.stream\"");
    let mut stream = fake.cli.receive(&args()).expect("starts");
    stream.write_all(b"the rest").expect("writes");
    stream.finish(Ok(())).expect("succeeds");
    let mut received = Vec::new();
    let path = fake.cli.tools.zfs.with_extension("stream");
    std::fs::File::open(path)
        .expect("is there")
        .read_to_end(&mut received)
        .expect("reads");
    assert_eq!(received[..BeginRecord::LEN], begin().bytes);
    assert_eq!(&received[BeginRecord::LEN..], b"the rest");
    assert_eq!(fake.calls(), ["zfs receive -u -v -s -- q/r@1"]);
}

#[test]
fn what_does_not_apply_is_left_out() {
    let property = |name: &str| name.parse::<PropertyName>().expect("valid");
    let args = ReceiveArgs {
        force: true,
        resumable: false,
        origin: Some(SnapshotName::new("q/o@1").expect("valid")),
        set: vec![
            (property("compression"), "lz4".to_owned()),
            (property("volthreading"), "on".to_owned()),
        ],
        inherit: vec![property("x:local"), property("mountpoint"), property("x:y")],
        ..args()
    };
    let fake = Fake::new("case $1 in get) echo x:local;; *) cat >/dev/null;; esac");
    let stream = fake.cli.receive(&args).expect("starts");
    let report = stream.finish(Ok(())).expect("succeeds");
    assert_eq!(report.skipped, ["volthreading", "x:local"]);
    assert_eq!(
        fake.calls()[1..],
        ["zfs receive -u -v -F -o compression=lz4 -o origin=q/o@1 -x mountpoint -x x:y -- q/r@1"]
    );
    let refused = ReceiveArgs {
        set: vec![(property("volsize"), "1M".to_owned())],
        ..args
    };
    assert_eq!(
        fake.cli
            .receive(&refused)
            .expect_err("fails")
            .reason
            .label(),
        "InvalidProperty"
    );
}

#[test]
fn a_snapshot_that_exists_was_not_received() {
    let script = "[ $1 = receive ] || exit 1
        cat >/dev/null; echo 'receiving incremental stream of p/a@2 into q/r@1'
        echo 'snap q/r@1 already exists; ignoring'";
    assert_eq!(
        receive(script, &args(), b""),
        Err("AlreadyExists".to_owned())
    );
}

#[test]
fn refused_properties_fail_or_are_reported() {
    let script = "cat >/dev/null
        echo 'cannot receive reservation property on q/r: size is greater than available space' >&2";
    assert_eq!(
        receive(script, &args(), b""),
        Err("InvalidProperty".to_owned())
    );
    // libzfs aborts after numbers that it does not know, when all has been received.
    let abort = "cat >/dev/null
        echo 'internal error: cannot receive refquota property on q/r: Odd: number' >&2; kill -6 $$";
    let tolerant = ReceiveArgs {
        tolerate_property_errors: true,
        ..args()
    };
    for (script, name, problem) in [
        (
            script,
            "reservation",
            "size is greater than available space",
        ),
        (abort, "refquota", "number"),
    ] {
        let report = receive(script, &tolerant, b"").expect("tolerated");
        let rejected = RejectedProperty {
            name: name.to_owned(),
            problem: problem.to_owned(),
        };
        assert_eq!(report.rejected, [rejected]);
    }
}

#[test]
fn corrupt_and_cut_streams_are_told_apart_by_what_is_left_in_the_pipe() {
    let failure =
        "echo 'cannot receive incremental stream: checksum mismatch or incomplete stream.' >&2
        echo 'Partially received snapshot is saved.' >&2; exit 1";
    let cut = format!("cat >/dev/null; {failure}");
    assert_eq!(
        receive(&cut, &args(), &vec![0; 100_000]),
        Err("StreamTruncated".to_owned())
    );
    let corrupt = format!("head -c 400 >/dev/null; {failure}");
    assert_eq!(
        receive(&corrupt, &args(), &vec![0; 100_000]),
        Err("StreamCorrupt".to_owned())
    );
    assert_eq!(
        receive(&corrupt, &args(), &vec![0; 5_000_000]),
        Err("StreamCorrupt".to_owned())
    );
}

#[test]
fn what_exists_is_looked_at_for_an_interrupted_receive() {
    let script = |list: &str, get: &str| {
        format!(
            "case $1 in
             receive) echo \"cannot receive new filesystem stream: destination 'q/r' exists\" >&2; exit 1;;
             list) {list};;
             get) {get};;
             esac"
        )
    };
    let no = "echo \"cannot open 'q/r/%recv': dataset does not exist\" >&2; exit 1";
    let none = "printf 'q/r\\tguid\\t1\\t-\\nq/r\\treceive_resume_token\\t-\\t-\\n'";
    let token = "printf 'q/r\\tguid\\t1\\t-\\nq/r\\treceive_resume_token\\t1-a-b-c\\t-\\n'";
    for (list, get, expected) in [
        (no, none, "AlreadyExists"),
        (no, token, "PartialReceive"),
        ("echo 'q/r/%recv'", none, "PartialReceive"),
    ] {
        assert_eq!(
            receive(&script(list, get), &args(), b""),
            Err(expected.to_owned()),
            "{list} {get}"
        );
    }
}

#[test]
fn a_tool_that_does_not_read_is_the_cause() {
    let script = "echo 'cannot receive new filesystem stream: out of space' >&2; exit 1";
    assert_eq!(
        receive(script, &args(), &vec![0; 5_000_000]),
        Err("NoSpace".to_owned())
    );
    assert_eq!(
        receive("cat >/dev/null; kill -9 $$", &args(), b""),
        Err("Interrupted".to_owned())
    );
}
