//! Sending: what arrives is what was sent.

use std::io::{self, Read};

use zfs_safe::begin_record::{BeginRecord, BeginRecordError};
use zfs_safe::error::ZfsError;
use zfs_safe::resume_token::ResumeToken;
use zfs_safe::stream::StreamError;
use zfs_safe::zfs::SendFlags;

use super::streams::{
    assert_same, bytes_of, fails, flags, full, guid, incremental, receive, received, source,
    stream, zfs_error,
};
use super::{Scenario, Verdict};
use crate::bed::{Bed, entity, property, settings, sh, snap};

pub(super) const LIST: &[Scenario] = &[
    Scenario::new(
        "send_and_receive_full_and_incremental",
        send_and_receive_full_and_incremental,
    ),
    Scenario::new("send_from_a_bookmark", send_from_a_bookmark),
    Scenario::new("send_a_volume", send_a_volume),
    Scenario::new("send_flags", send_flags),
    Scenario::new("send_raw_encrypted", send_raw_encrypted),
    Scenario::new("send_properties", send_properties),
    Scenario::new("send_failures", send_failures),
    Scenario::new("send_cut_by_its_reader", send_cut_by_its_reader),
    Scenario::new("send_progress", send_progress),
    Scenario::new("estimates", estimates),
];

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
        args.origin = Some(snap("conf/dst@2"));
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
        seq 1 20000 > /tmp/conf-src/text; \
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
        bed.saw(what, begin.feature_flags.to_string());
        let target = format!("conf/d-{}@1", what.replace(' ', "-"));
        received(bed, &target, &bytes);
        assert_same("conf/src@1", &target);
    }
    Ok(())
}

fn send_raw_encrypted(bed: &mut Bed) -> Verdict {
    sh(
        "head -c 32 /dev/urandom > /tmp/conf-key; zfs create -o encryption=on -o keyformat=raw -o keylocation=file:///tmp/conf-key -o mountpoint=/tmp/conf-e conf/e; \
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
        "zfs load-key -L file:///tmp/conf-key conf/de; mkdir -p /tmp/conf-de; zfs set mountpoint=/tmp/conf-de conf/de; \
        zfs mount conf/de 2>/dev/null || true; md5sum < /tmp/conf-de/secret > /tmp/sum2; cmp /tmp/sum /tmp/sum2; \
        zfs unmount conf/de; zfs unload-key conf/de",
    );
    let plain = bytes_of(bed, &full("conf/e@1")).map(|bytes| bytes.len());
    fails(bed, "key not loaded", plain, "KeyNotLoaded");
    // A raw stream onto a plain dataset.
    sh("zfs create conf/plain; zfs snapshot conf/plain@x");
    let result = receive(bed, "conf/plain@1", &bytes, |args| args.force = true);
    let reason = zfs_error(result).expect_err("refused");
    bed.saw("raw onto plain", reason.operation);
    assert!(bed.zfs.exists(&entity("conf/plain@x")).expect("answers"));
    Ok(())
}

/// Properties make a package, which zfs(8) makes for both; estimates and resumed streams are without.
fn send_properties(bed: &mut Bed) -> Verdict {
    source(bed);
    sh(
        "zfs set u:x=1 conf/src; echo new > /tmp/conf-src/new; zfs snapshot conf/src@2; zfs bookmark conf/src@1 conf/src#1",
    );
    let properties = SendFlags {
        properties: true,
        ..SendFlags::default()
    };
    let backup = SendFlags {
        backup: true,
        ..SendFlags::default()
    };
    let step = incremental("conf/src@1", "conf/src@2");
    for args in [
        flags(full("conf/src@1"), properties),
        flags(full("conf/src@1"), backup),
        flags(step.clone(), properties),
        flags(incremental("conf/src#1", "conf/src@2"), properties),
    ] {
        let package = stream(bed, &args);
        let first = BeginRecord::read(&mut &package[..]);
        assert!(
            matches!(first, Err(BeginRecordError::Compound { .. })),
            "{first:?} of {args:?}"
        );
    }
    // Of these, zfs(8) runs for the native implementation none.
    bed.meant_processes = 1 + 4;
    let estimate = |args| bed.zfs.estimate(&args).expect("estimates");
    assert_eq!(estimate(flags(step.clone(), properties)), estimate(step));
    let whole = stream(bed, &full("conf/src@1"));
    std::fs::write("/tmp/conf-half", &whole[..whole.len() / 2]).expect("writes");
    sh("zfs receive -s conf/cut < /tmp/conf-half 2>/dev/null && exit 1 || true");
    let token = sh("zfs get -H -o value receive_resume_token conf/cut");
    let mut rest = flags(full("conf/src@1"), properties);
    rest.resume = Some(ResumeToken::decode(&token).expect("decodes"));
    let rest = stream(bed, &rest);
    assert!(BeginRecord::read(&mut &rest[..]).is_ok_and(|first| first.is_resuming()));
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
