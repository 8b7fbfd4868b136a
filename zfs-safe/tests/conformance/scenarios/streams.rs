//! Sending and receiving: what arrives is what was sent, and what cannot arrive leaves things as they were.

use std::io::{self, Read, Write};

use zfs_safe::begin_record::BeginRecord;
use zfs_safe::error::{Reason, ZfsError};
use zfs_safe::name::VersionName;
use zfs_safe::resume_token::ResumeToken;
use zfs_safe::stream::{ReceiveReport, StreamError};
use zfs_safe::zfs::{ReceiveArgs, SendArgs, SendFlags};

use super::{Scenario, Verdict};
use crate::bed::{Bed, dataset, entity, property, settings, sh, snap};

pub(super) const LIST: &[Scenario] = &[
    Scenario::new(
        "send_and_receive_full_and_incremental",
        send_and_receive_full_and_incremental,
    ),
    Scenario::new("send_from_a_bookmark", send_from_a_bookmark),
    Scenario::new("send_a_volume", send_a_volume),
    Scenario::new("send_flags", send_flags),
    Scenario::new("send_raw_encrypted", send_raw_encrypted),
    Scenario::new("send_failures", send_failures),
    Scenario::new("send_cut_by_its_reader", send_cut_by_its_reader),
    Scenario::new("send_progress", send_progress),
    Scenario::new("estimates", estimates),
    Scenario::new("receive_resumes_after_a_cut", receive_resumes_after_a_cut),
    Scenario::new("receive_failures", receive_failures),
    Scenario::new("receive_with_force", receive_with_force),
    Scenario::new("receive_with_properties", receive_with_properties),
    Scenario::new("receive_of_a_damaged_stream", receive_of_a_damaged_stream),
    Scenario::new("discard_partial_receive", discard_partial_receive),
];

fn full(name: &str) -> SendArgs {
    SendArgs {
        snapshot: snap(name),
        base: None,
        flags: SendFlags::default(),
        resume: None,
    }
}

fn incremental(base: &str, name: &str) -> SendArgs {
    let base = VersionName::new(base).unwrap_or_else(|error| panic!("{error}"));
    SendArgs {
        base: Some(base),
        ..full(name)
    }
}

fn flags(args: SendArgs, flags: SendFlags) -> SendArgs {
    SendArgs { flags, ..args }
}

/// The whole stream.
pub(super) fn bytes_of(bed: &Bed, args: &SendArgs) -> Result<Vec<u8>, StreamError> {
    let mut stream = bed.zfs.send(args).map_err(StreamError::Zfs)?;
    let mut bytes = Vec::new();
    let relay = stream.read_to_end(&mut bytes).map(drop);
    stream.finish(relay)?;
    Ok(bytes)
}

fn stream(bed: &Bed, args: &SendArgs) -> Vec<u8> {
    bytes_of(bed, args).unwrap_or_else(|error| panic!("{}: {error}", args.snapshot))
}

/// Receives `bytes`; a kernel that stops reading early shows in the result.
pub(super) fn receive(
    bed: &Bed,
    target: &str,
    bytes: &[u8],
    adjust: impl FnOnce(&mut ReceiveArgs),
) -> Result<ReceiveReport, StreamError> {
    let mut input = bytes;
    let begin = BeginRecord::read(&mut input).unwrap_or_else(|error| panic!("{error}"));
    let mut args = ReceiveArgs::new(snap(target), begin);
    adjust(&mut args);
    let mut stream = bed.zfs.receive(&args).map_err(StreamError::Zfs)?;
    let relay = stream.write_all(input);
    stream.finish(relay)
}

fn received(bed: &Bed, target: &str, bytes: &[u8]) -> ReceiveReport {
    receive(bed, target, bytes, |_| {}).unwrap_or_else(|error| panic!("{target}: {error}"))
}

fn zfs_error<T: std::fmt::Debug>(result: Result<T, StreamError>) -> Result<T, ZfsError> {
    result.map_err(|error| match error {
        StreamError::Zfs(error) => error,
        StreamError::Relay { .. } => panic!("the relay was blamed: {error} {error:?}"),
    })
}

fn fails<T: std::fmt::Debug>(
    bed: &mut Bed,
    what: &str,
    result: Result<T, StreamError>,
    label: &str,
) {
    let result = zfs_error(result);
    let found = result.as_ref().err().map(|error| error.reason.label());
    assert_eq!(found.as_deref(), Some(label), "{what}: {result:?}");
    match &result {
        Err(ZfsError {
            reason: Reason::InvalidProperty(_),
            operation,
            dataset,
            ..
        }) => {
            bed.saw(what, (operation, dataset, "InvalidProperty"));
        }
        other => bed.saw_result(what, other),
    }
}

/// A filesystem with files at /tmp/conf-src, and its snapshot @1.
fn source(bed: &Bed) {
    let _: &Bed = bed;
    sh(
        "zfs create -o mountpoint=/tmp/conf-src -o recordsize=16K conf/src; zfs mount conf/src || true; \
        mkdir -p /tmp/conf-src/dir; dd if=/dev/urandom of=/tmp/conf-src/random bs=64k count=40 2>/dev/null; \
        dd if=/dev/zero of=/tmp/conf-src/zeros bs=64k count=20 2>/dev/null; echo text > /tmp/conf-src/dir/text; \
        ln -s text /tmp/conf-src/dir/link; zfs snapshot conf/src@1",
    );
}

/// Checksums of all files of a snapshot, by a clone that is mounted for it.
fn checksums(snapshot: &str) -> String {
    sh(&format!(
        "zfs clone -o readonly=on -o mountpoint=/tmp/conf-sums {snapshot} conf/sums; zfs mount conf/sums || true; \
         cd /tmp/conf-sums; find . -type f | sort | xargs md5sum; find . -type l | sort | xargs -r ls -l | wc -l; cd /; \
         zfs destroy conf/sums"
    ))
}

fn guid(name: &str) -> String {
    sh(&format!("zfs get -Hp -o value guid '{name}'"))
}

fn assert_same(left: &str, right: &str) {
    assert_eq!(guid(left), guid(right), "guids of {left} and {right}");
    assert_eq!(
        checksums(left),
        checksums(right),
        "contents of {left} and {right}"
    );
}

fn send_and_receive_full_and_incremental(bed: &mut Bed) -> Verdict {
    source(bed);
    let bytes = stream(bed, &full("conf/src@1"));
    let report = received(bed, "conf/dst@1", &bytes);
    if bed.is_native() {
        assert_eq!(report.bytes, Some(bytes.len() as u64 - 312));
    }
    assert_same("conf/src@1", "conf/dst@1");
    assert_eq!(sh("zfs get -H -o value mounted conf/dst"), "no");
    sh(
        "rm /tmp/conf-src/zeros; dd if=/dev/urandom of=/tmp/conf-src/more bs=64k count=5 2>/dev/null; \
        zfs snapshot conf/src@2; echo again > /tmp/conf-src/dir/text; zfs snapshot conf/src@3",
    );
    let step = stream(bed, &incremental("conf/src@1", "conf/src@2"));
    received(bed, "conf/dst@2", &step);
    let step = stream(bed, &incremental("conf/src@2", "conf/src@3"));
    // Under another name; the guid stays.
    received(bed, "conf/dst@third", &step);
    assert_same("conf/src@2", "conf/dst@2");
    assert_same("conf/src@3", "conf/dst@third");
    bed.saw("result", sh("zfs list -H -o name -t all -r conf/dst"));
    // A clone, to its origin.
    sh("zfs clone conf/src@2 conf/clone; zfs snapshot conf/clone@c");
    let clone = stream(bed, &incremental("conf/src@2", "conf/clone@c"));
    receive(bed, "conf/dclone@c", &clone, |args| {
        args.origin = Some(snap("conf/dst@2"))
    })
    .expect("receives a clone");
    assert_eq!(sh("zfs get -H -o value origin conf/dclone"), "conf/dst@2");
    Ok(())
}

fn send_from_a_bookmark(bed: &mut Bed) -> Verdict {
    source(bed);
    received(bed, "conf/dst@1", &stream(bed, &full("conf/src@1")));
    sh(
        "zfs bookmark conf/src@1 conf/src#1; zfs destroy conf/src@1; echo new > /tmp/conf-src/new; zfs snapshot conf/src@2",
    );
    let step = stream(bed, &incremental("conf/src#1", "conf/src@2"));
    received(bed, "conf/dst@2", &step);
    assert_same("conf/src@2", "conf/dst@2");
    bed.saw("result", sh("zfs list -H -o name -t all -r conf/dst"));
    Ok(())
}

fn send_a_volume(bed: &mut Bed) -> Verdict {
    sh(
        "zfs create -V 4M -o volmode=none conf/v; zfs set volmode=default conf/v; \
        for i in 1 2 3 4 5 6 7 8 9; do [ -e /dev/zvol/conf/v ] || [ -e /dev/zd0 ] && break; sleep 0.2; done; \
        dd if=/dev/urandom of=/dev/zd0 bs=64k count=32 2>/dev/null; sync; zfs snapshot conf/v@1",
    );
    let bytes = stream(bed, &full("conf/v@1"));
    let report = receive(bed, "conf/dv@1", &bytes, |args| {
        args.set = settings(&[
            ("mountpoint", "none"),
            ("readonly", "on"),
            ("u:x", "1"),
            ("canmount", "off"),
        ]);
        args.inherit = vec![property("sharenfs"), property("compression")];
    })
    .expect("receives");
    bed.saw("skipped", {
        let mut skipped = report.skipped;
        skipped.sort();
        skipped
    });
    assert_eq!(guid("conf/v@1"), guid("conf/dv@1"));
    bed.saw(
        "volume",
        sh("zfs get -Hp -o property,value,source volsize,readonly,u:x conf/dv"),
    );
    let again = stream(bed, &full("conf/dv@1"));
    // Equal but for the names and times in the first record.
    assert_eq!(bytes.len(), again.len());
    Ok(())
}

fn send_flags(bed: &mut Bed) -> Verdict {
    sh(
        "zfs create -o mountpoint=/tmp/conf-src -o recordsize=1M -o compression=lz4 conf/src; zfs mount conf/src || true; \
        dd if=/dev/urandom of=/tmp/conf-src/random bs=1M count=2 2>/dev/null; \
        (i=0; while [ $i -lt 3000 ]; do echo compressible text number $i; i=$((i+1)); done) > /tmp/conf-src/text; \
        printf tiny > /tmp/conf-src/tiny; sync; zfs snapshot conf/src@1",
    );
    let all = SendFlags {
        compressed: true,
        embedded: true,
        large_blocks: true,
        ..SendFlags::default()
    };
    for (what, wanted) in [
        ("plain", SendFlags::default()),
        (
            "compressed",
            SendFlags {
                compressed: true,
                ..SendFlags::default()
            },
        ),
        (
            "large blocks",
            SendFlags {
                large_blocks: true,
                ..SendFlags::default()
            },
        ),
        (
            "embedded",
            SendFlags {
                embedded: true,
                ..SendFlags::default()
            },
        ),
        ("all", all),
        (
            "raw",
            SendFlags {
                raw: true,
                ..SendFlags::default()
            },
        ),
    ] {
        let bytes = stream(bed, &flags(full("conf/src@1"), wanted));
        let begin = BeginRecord::read(&mut &bytes[..]).expect("begins");
        bed.saw(what, (begin.feature_flags.to_string(), bytes.len()));
        let target = format!("conf/d-{}@1", what.replace(' ', "-"));
        received(bed, &target, &bytes);
        assert_same("conf/src@1", &target);
    }
    Ok(())
}

fn send_raw_encrypted(bed: &mut Bed) -> Verdict {
    sh(
        "echo passphrase | zfs create -o encryption=on -o keyformat=passphrase -o mountpoint=/tmp/conf-e conf/e; \
        zfs mount conf/e || true; dd if=/dev/urandom of=/tmp/conf-e/secret bs=64k count=10 2>/dev/null; \
        zfs snapshot conf/e@1; echo more > /tmp/conf-e/more; zfs snapshot conf/e@2; md5sum < /tmp/conf-e/secret > /tmp/sum; \
        zfs unmount conf/e; zfs unload-key conf/e",
    );
    let raw = SendFlags {
        raw: true,
        ..SendFlags::default()
    };
    let bytes = stream(bed, &flags(full("conf/e@1"), raw));
    received(bed, "conf/de@1", &bytes);
    let step = stream(bed, &flags(incremental("conf/e@1", "conf/e@2"), raw));
    received(bed, "conf/de@2", &step);
    assert_eq!(guid("conf/e@2"), guid("conf/de@2"));
    sh(
        "echo passphrase | zfs load-key conf/de; mkdir -p /tmp/conf-de; zfs set mountpoint=/tmp/conf-de conf/de; \
        zfs mount conf/de 2>/dev/null || true; md5sum < /tmp/conf-de/secret > /tmp/sum2; cmp /tmp/sum /tmp/sum2; \
        zfs unmount conf/de; zfs unload-key conf/de",
    );
    let plain = bytes_of(bed, &full("conf/e@1")).map(|bytes| bytes.len());
    fails(bed, "key not loaded", plain, "KeyNotLoaded");
    // A raw stream onto a plain dataset.
    sh("zfs create conf/plain; zfs snapshot conf/plain@x");
    let result = receive(bed, "conf/plain@1", &bytes, |args| args.force = true);
    let reason = zfs_error(result).expect_err("refused");
    bed.saw("raw onto plain", reason.class());
    assert!(bed.zfs.exists(&entity("conf/plain@x")).expect("answers"));
    Ok(())
}

fn send_failures(bed: &mut Bed) -> Verdict {
    source(bed);
    sh(
        "zfs snapshot conf/src@2; zfs create conf/other; zfs snapshot conf/other@x; zfs bookmark conf/other@x conf/other#x",
    );
    let cases = [
        ("missing snapshot", full("conf/src@none"), "NotFound"),
        ("missing filesystem", full("conf/none@x"), "NotFound"),
        ("missing pool", full("nopool/a@x"), "NotFound"),
        (
            "missing base",
            incremental("conf/src@none", "conf/src@2"),
            "NotFound",
        ),
        (
            "missing bookmark",
            incremental("conf/src#none", "conf/src@2"),
            "NotFound",
        ),
        (
            "base is later",
            incremental("conf/src@2", "conf/src@1"),
            "NotAncestor",
        ),
        (
            "base of another filesystem",
            incremental("conf/other@x", "conf/src@2"),
            "NotAncestor",
        ),
    ];
    for (what, args, label) in cases {
        let result = bytes_of(bed, &args).map(|bytes| bytes.len());
        fails(bed, what, result, label);
    }
    Ok(())
}

fn send_cut_by_its_reader(bed: &mut Bed) -> Verdict {
    source(bed);
    // The reader's own trouble is the cause, whatever the kernel makes of the closed pipe.
    let mut stream = bed.zfs.send(&full("conf/src@1")).expect("starts");
    let mut some = vec![0; 100_000];
    stream.read_exact(&mut some).expect("reads");
    let error = stream
        .finish(Err(io::Error::other("connection reset")))
        .expect_err("cut");
    assert!(
        matches!(&error, StreamError::Relay { source, .. } if source.to_string() == "connection reset"),
        "{error:?}"
    );
    // Nothing is left of it: the snapshot can be destroyed.
    let mut stream = bed.zfs.send(&full("conf/src@1")).expect("starts");
    stream.read_exact(&mut some).expect("reads");
    stream.cancel();
    let stream = bed.zfs.send(&full("conf/src@1")).expect("starts");
    drop(stream);
    let mut left = 50;
    loop {
        let outcome = bed.zfs.destroy_snapshots(&[snap("conf/src@1")]);
        if outcome[0].is_done() {
            break;
        }
        left -= 1;
        assert!(
            left > 0,
            "a dropped send keeps its snapshot busy: {outcome:?}"
        );
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    bed.saw("destroyed", true);
    Ok(())
}

fn send_progress(bed: &mut Bed) -> Verdict {
    source(bed);
    let mut stream = bed.zfs.send(&full("conf/src@1")).expect("starts");
    let mut some = vec![0; 1 << 20];
    stream.read_exact(&mut some).expect("reads");
    // zfs(8) tells once a second.
    let mut written = 0;
    for _ in 0..40 {
        if let Ok(progress) = stream.progress() {
            written = progress.written;
            if bed.is_native() {
                assert!(progress.visited.is_some_and(|visited| visited > 0));
            }
        }
        if written > 0 {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    bed.saw("progress", written > 0);
    assert!(written > 0);
    if bed.is_native() {
        assert!(written >= some.len() as u64, "{written}");
    }
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).expect("reads");
    stream.finish(Ok(())).expect("succeeds");
    Ok(())
}

fn estimates(bed: &mut Bed) -> Verdict {
    source(bed);
    sh(
        "dd if=/dev/urandom of=/tmp/conf-src/more bs=64k count=8 2>/dev/null; zfs snapshot conf/src@2; \
        zfs bookmark conf/src@1 conf/src#1",
    );
    for args in [
        full("conf/src@1"),
        incremental("conf/src@1", "conf/src@2"),
        incremental("conf/src#1", "conf/src@2"),
        flags(
            full("conf/src@2"),
            SendFlags {
                compressed: true,
                ..SendFlags::default()
            },
        ),
    ] {
        let estimate = bed.zfs.estimate(&args).expect("estimates");
        let size = stream(bed, &args).len() as u64;
        bed.saw("estimate", estimate);
        assert!(
            estimate > size / 2 && estimate < size * 2,
            "{estimate} for {size} bytes of {args:?}"
        );
    }
    let missing = bed.zfs.estimate(&full("conf/src@none"));
    assert!(
        missing.as_ref().is_err_and(ZfsError::is_not_found),
        "{missing:?}"
    );
    bed.saw_result("missing", &missing);
    Ok(())
}

/// The token that an interrupted receive has left.
fn token_of(bed: &Bed, name: &str) -> ResumeToken {
    let found = bed
        .zfs
        .properties(&entity(name), &[property("receive_resume_token")])
        .expect("reads");
    let text = &found
        .first()
        .unwrap_or_else(|| panic!("{name} has no token"))
        .value;
    ResumeToken::decode(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn receive_resumes_after_a_cut(bed: &mut Bed) -> Verdict {
    source(bed);
    sh(
        "dd if=/dev/urandom of=/tmp/conf-src/more bs=64k count=30 2>/dev/null; zfs snapshot conf/src@2",
    );
    let whole = stream(bed, &full("conf/src@1"));
    let cut = receive(bed, "conf/dst@1", &whole[..whole.len() / 2], |_| {});
    fails(bed, "cut", cut, "StreamTruncated");
    let token = token_of(bed, "conf/dst");
    assert_eq!(token.to_guid.to_string(), guid("conf/src@1"));
    assert_eq!(token.to_name, "conf/src@1");
    bed.saw(
        "token",
        (&token.to_name, token.from_guid, token.raw, token.compress),
    );
    // A fresh stream does not get in the way of what is there, unless it is forced to.
    let fresh = receive(bed, "conf/dst@1", &whole, |_| {});
    let fresh = zfs_error(fresh).expect_err("partial state is there");
    bed.saw(
        "fresh stream onto partial state",
        (fresh.operation, fresh.class()),
    );
    let resumed = SendArgs {
        resume: Some(token.clone()),
        ..full("conf/src@1")
    };
    let rest = stream(bed, &resumed);
    assert!(
        rest.len() < whole.len() * 3 / 4,
        "{} of {} bytes again",
        rest.len(),
        whole.len()
    );
    let estimate = bed.zfs.estimate(&resumed).expect("estimates");
    bed.saw("estimate of the rest", estimate);
    assert!(estimate < whole.len() as u64 * 3 / 4, "{estimate}");
    received(bed, "conf/dst@1", &rest);
    assert_same("conf/src@1", "conf/dst@1");

    // The same for an incremental step, cut twice.
    let step = stream(bed, &incremental("conf/src@1", "conf/src@2"));
    let cut = receive(bed, "conf/dst@2", &step[..step.len() / 3], |_| {});
    fails(bed, "cut step", cut, "StreamTruncated");
    let token = token_of(bed, "conf/dst");
    assert_eq!(
        token.from_guid.map(|guid| guid.to_string()),
        Some(guid("conf/src@1"))
    );
    let rest = stream(
        bed,
        &SendArgs {
            resume: Some(token),
            ..incremental("conf/src@1", "conf/src@2")
        },
    );
    let cut = receive(bed, "conf/dst@2", &rest[..rest.len() / 2], |_| {});
    fails(bed, "cut again", cut, "StreamTruncated");
    let token = token_of(bed, "conf/dst");
    let rest = stream(
        bed,
        &SendArgs {
            resume: Some(token),
            ..incremental("conf/src@1", "conf/src@2")
        },
    );
    received(bed, "conf/dst@2", &rest);
    assert_same("conf/src@2", "conf/dst@2");

    // Without resumability nothing stays.
    let cut = receive(bed, "conf/gone@1", &whole[..whole.len() / 2], |args| {
        args.resumable = false
    });
    fails(bed, "cut, not resumable", cut, "StreamTruncated");
    assert!(!bed.zfs.exists(&entity("conf/gone")).expect("answers"));
    Ok(())
}

fn receive_failures(bed: &mut Bed) -> Verdict {
    source(bed);
    sh("zfs snapshot conf/src@2; echo x > /tmp/conf-src/x; zfs snapshot conf/src@3");
    let whole = stream(bed, &full("conf/src@1"));
    let second = stream(bed, &incremental("conf/src@1", "conf/src@2"));
    let third = stream(bed, &incremental("conf/src@2", "conf/src@3"));
    received(bed, "conf/dst@1", &whole);
    let tree = sh("zfs list -H -o name -t all -r conf/dst");
    let result = receive(bed, "conf/dst@1", &whole, |_| {});
    fails(bed, "full onto existing", result, "AlreadyExists");
    let result = receive(bed, "conf/none/dst@1", &whole, |_| {});
    fails(bed, "no parent", result, "NotFound");
    let result = receive(bed, "nopool/dst@1", &whole, |_| {});
    fails(bed, "no pool", result, "NotFound");
    let result = receive(bed, "conf/dst@3", &third, |_| {});
    fails(bed, "base missing", result, "NoBase");
    let result = receive(bed, "conf/new@2", &second, |_| {});
    fails(bed, "incremental onto nothing", result, "NotFound");
    assert_eq!(sh("zfs list -H -o name -t all -r conf/dst"), tree);
    // Modified since.
    sh(
        "zfs set mountpoint=/tmp/conf-dst conf/dst; zfs mount conf/dst 2>/dev/null || true; echo mine > /tmp/conf-dst/mine; sync",
    );
    let result = receive(bed, "conf/dst@2", &second, |_| {});
    fails(bed, "modified", result, "ReceiverModified");
    assert_eq!(sh("cat /tmp/conf-dst/mine"), "mine");
    sh("zfs snapshot conf/dst@own");
    let result = receive(bed, "conf/dst@2", &second, |_| {});
    fails(bed, "newer snapshot", result, "ReceiverModified");
    // A quota that is too small.
    sh("zfs create -o quota=1M conf/small");
    let result = receive(bed, "conf/small/dst@1", &whole, |args| {
        args.resumable = false
    });
    let error = zfs_error(result).expect_err("does not fit");
    bed.saw("quota", (error.reason.label(), error.class()));
    assert!(
        matches!(error.reason, Reason::LimitReached | Reason::NoSpace),
        "{error:?}"
    );
    assert!(!bed.zfs.exists(&entity("conf/small/dst")).expect("answers"));
    // Below a volume.
    sh("zfs create -V 1M conf/v");
    let result = receive(bed, "conf/v/dst@1", &whole, |_| {});
    fails(bed, "below a volume", result, "WrongParent");
    Ok(())
}

fn receive_with_force(bed: &mut Bed) -> Verdict {
    source(bed);
    sh("echo x > /tmp/conf-src/x; zfs snapshot conf/src@2");
    received(bed, "conf/dst@1", &stream(bed, &full("conf/src@1")));
    sh(
        "zfs set mountpoint=/tmp/conf-dst conf/dst; zfs mount conf/dst 2>/dev/null || true; echo mine > /tmp/conf-dst/mine; \
        zfs snapshot conf/dst@own; sync",
    );
    let second = stream(bed, &incremental("conf/src@1", "conf/src@2"));
    receive(bed, "conf/dst@2", &second, |args| args.force = true).expect("receives");
    assert_same("conf/src@2", "conf/dst@2");
    bed.saw("after", sh("zfs list -H -o name -t snapshot -r conf/dst"));
    // A full stream over a filesystem without snapshots, such as a placeholder.
    sh("zfs create -o mountpoint=none -o zrepl:placeholder=on conf/place");
    let whole = stream(bed, &full("conf/src@2"));
    receive(bed, "conf/place@2", &whole, |args| args.force = true)
        .expect("receives over a placeholder");
    assert_same("conf/src@2", "conf/place@2");
    bed.saw(
        "placeholder mark",
        sh("zfs get -H -o value,source zrepl:placeholder conf/place"),
    );
    Ok(())
}

fn receive_with_properties(bed: &mut Bed) -> Verdict {
    source(bed);
    sh(
        "zfs set u:parent=p conf; zfs set compression=gzip conf; echo x > /tmp/conf-src/x; zfs snapshot conf/src@2",
    );
    let whole = stream(bed, &full("conf/src@1"));
    let adjust = |args: &mut ReceiveArgs| {
        args.set = settings(&[
            ("mountpoint", "none"),
            ("canmount", "noauto"),
            ("readonly", "on"),
            ("quota", "50M"),
            ("u:own", "value with blanks"),
        ]);
        args.inherit = vec![property("u:parent"), property("compression")];
    };
    let report = receive(bed, "conf/dst@1", &whole, adjust).expect("receives");
    assert!(
        report.skipped.is_empty() && report.rejected.is_empty(),
        "{report:?}"
    );
    let shown = "mountpoint,canmount,readonly,quota,u:own,u:parent,compression";
    bed.saw(
        "properties",
        sh(&format!(
            "zfs get -Hp -o property,value,source {shown} conf/dst"
        )),
    );
    // Again with the next step.
    let step = stream(bed, &incremental("conf/src@1", "conf/src@2"));
    receive(bed, "conf/dst@2", &step, |args| {
        args.set = settings(&[("readonly", "off"), ("u:own", "other")]);
        args.inherit = vec![property("canmount")];
    })
    .map(drop)
    .or_else(
        |error| match error.zfs().map(|error| error.reason.label()).as_deref() {
            // canmount is set locally and cannot be inherited.
            Some("InvalidProperty") => Ok(()),
            _ => Err(error),
        },
    )
    .expect("receives or refuses");
    bed.saw("after a step", sh("zfs get -Hp -o property,value readonly,u:own conf/dst; zfs list -H -o name -t snapshot conf/dst"));
    // Nonsense is refused before anything is received.
    for (name, value) in [("readonly", "maybe"), ("used", "1"), ("quota", "much")] {
        let result = receive(bed, "conf/bad@1", &whole, |args| {
            args.set = settings(&[(name, value)])
        });
        fails(bed, &format!("{name}={value}"), result, "InvalidProperty");
        assert!(!bed.zfs.exists(&entity("conf/bad")).expect("answers"));
    }
    Ok(())
}

fn receive_of_a_damaged_stream(bed: &mut Bed) -> Verdict {
    source(bed);
    let whole = stream(bed, &full("conf/src@1"));
    // One bit in the middle of a block: found by the checksum of its record.
    let mut damaged = whole.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 0x10;
    let result = receive(bed, "conf/dst@1", &damaged, |args| args.resumable = false);
    let error = zfs_error(result).expect_err("damaged");
    bed.saw("flipped bit", error.reason.label());
    assert!(!bed.zfs.exists(&entity("conf/dst")).expect("answers"));
    // Cut within the first records, and between begin and the next.
    for length in [312, 400, 700] {
        let result = receive(bed, "conf/dst@1", &whole[..length], |args| {
            args.resumable = false
        });
        let error = zfs_error(result).expect_err("cut");
        bed.saw(&format!("cut at {length}"), error.reason.label());
        assert!(
            !bed.zfs.exists(&entity("conf/dst")).expect("answers"),
            "{length}"
        );
    }
    // Garbage after the begin record.
    let mut garbage = whole[..312].to_vec();
    garbage.extend(std::iter::repeat_n(0xa5, 100_000));
    let error = zfs_error(receive(bed, "conf/dst@1", &garbage, |args| {
        args.resumable = false
    }))
    .expect_err("garbage");
    bed.saw("garbage", (error.operation, &error.dataset));
    assert!(!bed.zfs.exists(&entity("conf/dst")).expect("answers"));
    // What follows the end of a stream is left alone.
    let mut longer = whole.clone();
    longer.extend([7; 10]);
    let mut input = &longer[..];
    let begin = BeginRecord::read(&mut input).expect("begins");
    let mut running = bed
        .zfs
        .receive(&ReceiveArgs::new(snap("conf/dst@1"), begin))
        .expect("starts");
    // The pipe takes the rest, or is closed by then; either is fine for the relay.
    let relay = running.write_all(input);
    let result = running.finish(relay.or(Ok(())));
    assert!(result.is_ok(), "{result:?}");
    assert_same("conf/src@1", "conf/dst@1");
    Ok(())
}

fn discard_partial_receive(bed: &mut Bed) -> Verdict {
    source(bed);
    sh(
        "dd if=/dev/urandom of=/tmp/conf-src/more bs=64k count=30 2>/dev/null; zfs snapshot conf/src@2",
    );
    let whole = stream(bed, &full("conf/src@1"));
    let step = stream(bed, &incremental("conf/src@1", "conf/src@2"));
    // Nothing there.
    sh("zfs create conf/plain");
    assert_eq!(
        bed.zfs.discard_partial_receive(&dataset("conf/plain")),
        Ok(false)
    );
    let missing = bed.zfs.discard_partial_receive(&dataset("conf/none"));
    assert!(
        missing.as_ref().is_err_and(ZfsError::is_not_found),
        "{missing:?}"
    );
    bed.saw_result("missing", &missing);
    // A new filesystem goes with its state.
    assert!(receive(bed, "conf/new@1", &whole[..whole.len() / 2], |_| {}).is_err());
    assert_eq!(
        bed.zfs.discard_partial_receive(&dataset("conf/new")),
        Ok(true)
    );
    assert!(!bed.zfs.exists(&entity("conf/new")).expect("answers"));
    // An existing one stays as it was.
    received(bed, "conf/dst@1", &whole);
    assert!(receive(bed, "conf/dst@2", &step[..step.len() / 2], |_| {}).is_err());
    let blocked = zfs_error(receive(bed, "conf/dst@2", &step, |_| {})).expect_err("state is there");
    bed.saw("blocked", (blocked.operation, blocked.class()));
    assert_eq!(
        bed.zfs.discard_partial_receive(&dataset("conf/dst")),
        Ok(true)
    );
    assert_eq!(
        bed.zfs.discard_partial_receive(&dataset("conf/dst")),
        Ok(false)
    );
    received(bed, "conf/dst@2", &step);
    assert_same("conf/src@2", "conf/dst@2");
    Ok(())
}
