//! What scenarios of sending and receiving share: a source with files, whole streams in memory, and comparing both ends.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::sync::{Mutex, PoisonError};

use zfs_safe::begin_record::BeginRecord;
use zfs_safe::error::ZfsError;
use zfs_safe::name::VersionName;
use zfs_safe::stream::{ReceiveReport, StreamError};
use zfs_safe::zfs::{ReceiveArgs, SendArgs, SendFlags};

use crate::bed::{Bed, sh, snap};

pub(super) fn full(name: &str) -> SendArgs {
    SendArgs {
        snapshot: snap(name),
        base: None,
        flags: SendFlags::default(),
        resume: None,
    }
}

pub(super) fn incremental(base: &str, name: &str) -> SendArgs {
    let base = VersionName::new(base).unwrap_or_else(|error| panic!("{error}"));
    SendArgs {
        base: Some(base),
        ..full(name)
    }
}

pub(super) fn flags(args: SendArgs, flags: SendFlags) -> SendArgs {
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

pub(super) fn stream(bed: &Bed, args: &SendArgs) -> Vec<u8> {
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

pub(super) fn received(bed: &Bed, target: &str, bytes: &[u8]) -> ReceiveReport {
    receive(bed, target, bytes, |_| {}).unwrap_or_else(|error| panic!("{target}: {error}"))
}

pub(super) fn zfs_error<T: std::fmt::Debug>(result: Result<T, StreamError>) -> Result<T, ZfsError> {
    result.map_err(|error| match error {
        StreamError::Zfs(error) => error,
        StreamError::Relay { .. } => panic!("the relay was blamed: {error} {error:?}"),
    })
}

pub(super) fn fails<T: std::fmt::Debug>(
    bed: &mut Bed,
    what: &str,
    result: Result<T, StreamError>,
    label: &str,
) {
    bed.saw_failure(what, &zfs_error(result), label);
}

/// A filesystem with files at /tmp/conf-src, and its snapshot @1.
pub(super) fn source(bed: &Bed) {
    let _: &Bed = bed;
    sh(
        "zfs create -o mountpoint=/tmp/conf-src -o recordsize=16K conf/src; zfs mount conf/src || true; \
        mkdir -p /tmp/conf-src/dir; dd if=/dev/urandom of=/tmp/conf-src/random bs=64k count=40 2>/dev/null; \
        dd if=/dev/zero of=/tmp/conf-src/zeros bs=64k count=20 2>/dev/null; echo text > /tmp/conf-src/dir/text; \
        ln -s text /tmp/conf-src/dir/link; zfs snapshot conf/src@1",
    );
}

/// Checksums of all files of a snapshot, by a clone that is mounted for it.
pub(super) fn checksums(snapshot: &str) -> String {
    sh(&format!(
        "zfs clone -o readonly=on -o mountpoint=/tmp/conf-sums {snapshot} conf/sums; zfs mount conf/sums || true; \
         cd /tmp/conf-sums; find . -type f | sort | xargs md5sum; find . -type l | sort | xargs -r ls -l | wc -l; cd /; \
         zfs destroy conf/sums"
    ))
}

pub(super) fn guid(name: &str) -> String {
    sh(&format!("zfs get -Hp -o value guid '{name}'"))
}

/// Compares guid and contents. The source's checksums are remembered: they take a clone, a mount and a walk.
pub(super) fn assert_same(source: &str, copy: &str) {
    static SOURCES: Mutex<BTreeMap<(String, String), String>> = Mutex::new(BTreeMap::new());
    let guid = guid(source);
    assert_eq!(guid, self::guid(copy), "guids of {source} and {copy}");
    let mut sources = SOURCES.lock().unwrap_or_else(PoisonError::into_inner);
    let expected = sources
        .entry((source.to_owned(), guid))
        .or_insert_with(|| checksums(source));
    assert_eq!(
        *expected,
        checksums(copy),
        "contents of {source} and {copy}"
    );
}
