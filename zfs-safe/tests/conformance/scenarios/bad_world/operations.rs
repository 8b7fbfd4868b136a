//! Every operation once, on a pool that [`prepare`] has filled, with its answer as a short text: `ok`, a reason and the
//! dataset that the error names, or another outcome.

use std::fs;
use std::io::{Read, Write};

use zfs_safe::begin_record::BeginRecord;
use zfs_safe::error::ZfsError;
use zfs_safe::outcome::Outcome;
use zfs_safe::program::{Program, ProgramFailure};
use zfs_safe::stream::StreamError;
use zfs_safe::zfs::{
    BookmarkRequest, DatasetQuery, ReceiveArgs, SendArgs, SendFlags, VersionQuery, Zfs,
};

use crate::bed::{dataset, entity, holds, mark, pool, property, settings, snap, snaps};

/// Where [`prepare`] leaves a stream for [`changes`] to receive.
const STREAM: &str = "/tmp/conf-stream";

/// Makes what the operations work on: `a` with two snapshots, the first one held, and a bookmark; and empty `b`.
pub(super) fn prepare(zfs: &dyn Zfs, name: &str) {
    for child in ["a", "b"] {
        zfs.create_filesystem(&dataset(&format!("{name}/{child}")), &[])
            .expect("creates");
    }
    for number in [1, 2] {
        let taken = zfs.snapshot(&snaps(&[&format!("{name}/a@{number}")]), &[]);
        assert_eq!(taken, [Outcome::Done]);
    }
    assert_eq!(
        zfs.hold(&holds(&[(&format!("{name}/a@1"), "kept")])),
        [Outcome::Done]
    );
    assert_eq!(zfs.bookmark(&[bookmark(name, "old")]), [Outcome::Done]);
    zfs.set_properties(&entity(&format!("{name}/a")), &settings(&[("u:set", "1")]))
        .expect("sets");
    let mut stream = zfs.send(&send_args(name)).expect("starts");
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("reads");
    stream.finish(Ok(())).expect("sends");
    fs::write(STREAM, bytes).expect("writes");
}

fn bookmark(name: &str, short: &str) -> BookmarkRequest {
    let source = format!("{name}/a@1")
        .parse()
        .unwrap_or_else(|error| panic!("{error}"));
    BookmarkRequest {
        bookmark: mark(&format!("{name}/a#{short}")),
        source,
    }
}

fn send_args(name: &str) -> SendArgs {
    SendArgs {
        snapshot: snap(&format!("{name}/a@1")),
        base: None,
        flags: SendFlags::default(),
        resume: None,
    }
}

fn of<T>(result: Result<T, ZfsError>) -> String {
    result.map_or_else(|error| failed(&error), |_| "ok".to_owned())
}

fn failed(error: &ZfsError) -> String {
    format!("{} of {}", error.reason.label(), error.dataset)
}

fn of_batch(outcomes: &[Outcome]) -> String {
    match outcomes {
        [Outcome::Done] => "ok".to_owned(),
        [Outcome::Failed(error)] => failed(error),
        other => other
            .iter()
            .map(|outcome| format!("{outcome:?}"))
            .collect::<Vec<_>>()
            .join(", "),
    }
}

fn of_stream<T>(result: Result<T, StreamError>) -> String {
    match result {
        Ok(_) => "ok".to_owned(),
        Err(StreamError::Zfs(error)) => failed(&error),
        Err(error) => format!("{error:?}"),
    }
}

fn of_program(zfs: &dyn Zfs, name: &str, program: &Program) -> String {
    match zfs.run_program(&pool(name), program) {
        Ok(_) => "ok".to_owned(),
        Err(error) => match error.failure {
            ProgramFailure::Refused(reason) => format!("{} of {}", reason.label(), error.pool),
            failure => format!("{failure:?}"),
        },
    }
}

type Step = (&'static str, fn(&dyn Zfs, &str) -> String);

fn run<'a>(
    steps: &'static [Step],
    zfs: &'a dyn Zfs,
    name: &'a str,
) -> impl Iterator<Item = (&'static str, String)> + use<'a> {
    steps
        .iter()
        .map(move |(what, step)| (*what, step(zfs, name)))
}

/// What [`readings`] gives, in its order.
pub(super) const READINGS: [&str; 8] = [
    "pools",
    "exists",
    "datasets",
    "versions",
    "holds",
    "properties",
    "bookmark properties",
    "estimate",
];

/// Asks everything that can be asked without changing anything.
pub(super) fn readings<'a>(
    zfs: &'a dyn Zfs,
    name: &'a str,
) -> impl Iterator<Item = (&'static str, String)> + use<'a> {
    const STEPS: &[Step] = &[
        (READINGS[0], |zfs, _| of(zfs.pools())),
        (READINGS[1], |zfs, name| {
            match zfs.exists(&entity(&format!("{name}/a@1"))) {
                Ok(true) => "ok".to_owned(),
                Ok(false) => "not there".to_owned(),
                Err(error) => failed(&error),
            }
        }),
        (READINGS[2], |zfs, name| {
            let query = DatasetQuery {
                properties: vec![property("u:set"), property("used")],
                depth: None,
            };
            of(zfs
                .datasets(&[dataset(name)], &query)
                .map(|found| assert!(found.len() >= 3, "{found:?}")))
        }),
        (READINGS[3], |zfs, name| {
            let found = zfs.versions(
                &dataset(&format!("{name}/a")),
                &VersionQuery::ALL.with_userrefs(),
            );
            of(found.map(|found| assert!(found.len() >= 3, "{found:?}")))
        }),
        (READINGS[4], |zfs, name| {
            of(zfs
                .holds(&snap(&format!("{name}/a@1")))
                .map(|found| assert_eq!(found.len(), 1)))
        }),
        (READINGS[5], |zfs, name| {
            of(zfs.properties(&entity(&format!("{name}/a")), &[property("u:set")]))
        }),
        (READINGS[6], |zfs, name| {
            of(zfs.properties(&entity(&format!("{name}/a#old")), &[property("guid")]))
        }),
        (READINGS[7], |zfs, name| of(zfs.estimate(&send_args(name)))),
    ];
    run(STEPS, zfs, name)
}

/// Tries every change.
pub(super) fn changes<'a>(
    zfs: &'a dyn Zfs,
    name: &'a str,
) -> impl Iterator<Item = (&'static str, String)> + use<'a> {
    const STEPS: &[Step] = &[
        ("create", |zfs, name| {
            of(zfs.create_filesystem(&dataset(&format!("{name}/new")), &[]))
        }),
        ("set property", |zfs, name| {
            of(zfs.set_properties(&entity(&format!("{name}/a")), &settings(&[("u:x", "1")])))
        }),
        ("inherit property", |zfs, name| {
            of(zfs.inherit_property(&entity(&format!("{name}/a")), &property("u:set"), false))
        }),
        ("rename", |zfs, name| {
            of(zfs.rename(
                &dataset(&format!("{name}/b")),
                &dataset(&format!("{name}/c")),
            ))
        }),
        ("rollback", |zfs, name| {
            of(zfs.rollback(&snap(&format!("{name}/a@2"))))
        }),
        ("destroy dataset", |zfs, name| {
            // Renamed by now, if that worked.
            let left = zfs.exists(&entity(&format!("{name}/c"))) == Ok(true);
            of(zfs.destroy_dataset(&dataset(&format!(
                "{name}/{}",
                if left { "c" } else { "b" }
            ))))
        }),
        ("discard", |zfs, name| {
            match zfs.discard_partial_receive(&dataset(&format!("{name}/a"))) {
                Err(error) => failed(&error),
                other => format!("{other:?}"),
            }
        }),
        ("snapshot", |zfs, name| {
            of_batch(&zfs.snapshot(&snaps(&[&format!("{name}/a@new")]), &[]))
        }),
        ("snapshot with property", |zfs, name| {
            of_batch(&zfs.snapshot(
                &snaps(&[&format!("{name}/a@new2")]),
                &settings(&[("u:x", "1")]),
            ))
        }),
        ("bookmark", |zfs, name| {
            of_batch(&zfs.bookmark(&[bookmark(name, "new")]))
        }),
        ("hold", |zfs, name| {
            of_batch(&zfs.hold(&holds(&[(&format!("{name}/a@1"), "new")])))
        }),
        ("release", |zfs, name| {
            of_batch(&zfs.release(&holds(&[(&format!("{name}/a@1"), "kept")])))
        }),
        ("destroy snapshot", |zfs, name| {
            of_batch(&zfs.destroy_snapshots(&snaps(&[&format!("{name}/a@2")])))
        }),
        ("destroy bookmark", |zfs, name| {
            of_batch(&zfs.destroy_bookmarks(&[mark(&format!("{name}/a#old"))]))
        }),
        ("program", |zfs, name| {
            of_program(zfs, name, &Program::sync("return 1"))
        }),
        ("read-only program", |zfs, name| {
            of_program(zfs, name, &Program::read_only("return 1"))
        }),
        ("receive", |zfs, name| {
            let bytes = fs::read(STREAM).expect("prepared");
            let mut input = &bytes[..];
            let begin = BeginRecord::read(&mut input).expect("begins");
            match zfs.receive(&ReceiveArgs::new(
                snap(&format!("{name}/received@1")),
                begin,
            )) {
                Err(error) => failed(&error),
                Ok(mut stream) => {
                    let relay = stream.write_all(input);
                    of_stream(stream.finish(relay))
                }
            }
        }),
    ];
    run(STEPS, zfs, name)
}

/// Sends and gives how that ended.
pub(super) fn send(zfs: &dyn Zfs, name: &str) -> String {
    match zfs.send(&send_args(name)) {
        Err(error) => failed(&error),
        Ok(mut stream) => {
            let relay = std::io::copy(&mut stream, &mut std::io::sink()).map(drop);
            of_stream(stream.finish(relay))
        }
    }
}
