//! Receiving: what cannot arrive leaves things as they were.

use std::io::Write;

use zfs_safe::begin_record::{BeginRecord, BeginRecordError};
use zfs_safe::error::{Reason, ZfsError};
use zfs_safe::resume_token::ResumeToken;
use zfs_safe::stream::{ReceiveReport, StreamError};
use zfs_safe::zfs::{PackageArgs, ReceiveArgs, SendArgs, SendFlags};

use super::streams::{
    assert_same, fails, flags, full, guid, incremental, receive, received, source, stream,
    zfs_error,
};
use super::{Scenario, Verdict};
use crate::bed::{Bed, dataset, entity, property, settings, sh, snap};

pub(super) const LIST: &[Scenario] = &[
    Scenario::new("receive_resumes_after_a_cut", receive_resumes_after_a_cut),
    Scenario::new("receive_failures", receive_failures),
    Scenario::new("receive_with_force", receive_with_force),
    Scenario::new("receive_with_properties", receive_with_properties),
    Scenario::new("receive_of_a_damaged_stream", receive_of_a_damaged_stream),
    Scenario::new("packages_carry_properties", packages_carry_properties),
    Scenario::new("discard_partial_receive", discard_partial_receive),
];

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
        args.resumable = false;
    });
    fails(bed, "cut, not resumable", cut, "StreamTruncated");
    assert!(!bed.zfs.exists(&entity("conf/gone")).expect("answers"));
    Ok(())
}

/// What `zfs send -p` makes: one process for each end, whichever the backend.
fn packages_carry_properties(bed: &mut Bed) -> Verdict {
    source(bed);
    sh(
        "zfs set test:sent=yes conf/src; zfs set test:other=theirs conf/src; zfs set test:not=x conf/src; \
         zfs set compression=off conf/src; zfs snapshot conf/src@2",
    );
    let with_properties = SendFlags {
        properties: true,
        ..SendFlags::default()
    };
    let package = stream(bed, &flags(full("conf/src@1"), with_properties));
    let result = receive_package(bed, "conf/dst@1", &package, |args| {
        args.set = settings(&[("test:other", "ours"), ("test:new", "new")]);
        args.inherit = vec![property("test:not")];
    });
    result.unwrap_or_else(|error| panic!("{error}"));
    assert_same("conf/src@1", "conf/dst@1");
    let properties = "test:sent,test:other,test:not,test:new,compression";
    let found = sh(&format!(
        "zfs get -H -o property,value,source {properties} conf/dst"
    ));
    assert_eq!(
        found,
        "test:sent\tyes\treceived\ntest:other\tours\tlocal\ntest:not\t-\t-\ntest:new\tnew\tlocal\n\
         compression\toff\treceived"
    );
    let step = flags(incremental("conf/src@1", "conf/src@2"), with_properties);
    let package = stream(bed, &step);
    let cut = receive_package(bed, "conf/dst@2", &package[..package.len() / 2], |_| {});
    assert!(cut.is_err(), "half a package was taken: {cut:?}");
    let result = receive_package(bed, "conf/dst@2", &package, |_| {});
    result.unwrap_or_else(|error| panic!("{error}"));
    assert_same("conf/src@2", "conf/dst@2");
    // zfs(8) once for each end of each stream, and to ask for its version.
    bed.meant_processes = 2 + 3 + 1;
    Ok(())
}

fn receive_package(
    bed: &Bed,
    target: &str,
    bytes: &[u8],
    adjust: impl FnOnce(&mut PackageArgs),
) -> Result<ReceiveReport, StreamError> {
    let mut input = bytes;
    let Err(BeginRecordError::Compound { bytes: begin }) = BeginRecord::read(&mut input) else {
        panic!("no package for {target}");
    };
    let mut args = PackageArgs {
        snapshot: snap(target),
        begin,
        force: false,
        resumable: true,
        set: Vec::new(),
        inherit: Vec::new(),
        tolerate_property_errors: false,
    };
    adjust(&mut args);
    let mut stream = bed.zfs.receive_package(&args).map_err(StreamError::Zfs)?;
    let relay = stream.write_all(input);
    stream.finish(relay)
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
        args.resumable = false;
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
    // A full stream never replaces snapshots.
    let whole = stream(bed, &full("conf/src@1"));
    let result = receive(bed, "conf/dst@1", &whole, |args| args.force = true);
    fails(bed, "full onto snapshots, forced", result, "AlreadyExists");
    assert_eq!(
        sh("zfs list -H -o name -t snapshot -r conf/dst | tr '\\n' ' '"),
        "conf/dst@1 conf/dst@2"
    );
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
            args.set = settings(&[(name, value)]);
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
            args.resumable = false;
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
        args.resumable = false;
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
