//! Programs that test something by themselves: an example of a crate, built on the host and run in a guest.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::Bench;
use crate::guest;
use crate::machine::Options;
use crate::shipping::{self, Loader};
use crate::workspace::{Workspace, ZREPL_AND_EXAMPLES};

const LIMIT: Duration = Duration::from_secs(15 * 60);

/// Streams of real ZFS through the daemon's transports and RPC: full, incremental, raw and volume, cut and resumed, by both
/// ways to ZFS, over TCP and TLS.
pub(super) fn streams_over_the_wire(bench: &Bench<'_>) -> Result<()> {
    run(bench, "zrepl-daemon", "over_zfs")
}

/// The receiver: placeholders made, replaced and restored, nothing received destroyed, marks moved, by both ways to ZFS.
pub(super) fn receiver_on_zfs(bench: &Bench<'_>) -> Result<()> {
    run(bench, "zrepl-daemon", "receiving")
}

/// What zrepl's platform tests prove of replication, holds, cursors, tokens and encryption, and more, by both ways to ZFS.
pub(super) fn platform_tests(bench: &Bench<'_>) -> Result<()> {
    run(bench, "zrepl-daemon", "platform")
}

/// The sender: what rounds and steps cost, which marks are there when, encryption, properties, resumed steps, by both ways to ZFS.
pub(super) fn sender_on_zfs(bench: &Bench<'_>) -> Result<()> {
    run(bench, "zrepl-daemon", "sending")
}

/// What snapshots of many filesystems cost, and their destruction.
pub(super) fn snapshots_cost(bench: &Bench<'_>) -> Result<()> {
    run(bench, "zrepl-daemon", "pruning")
}

/// Send, receive, update, cut, resume and compare by zfs-safe alone.
pub(super) fn zfs_safe_demo(bench: &Bench<'_>) -> Result<()> {
    run(bench, "zfs-safe", "demo")
}

/// A send and a receive leave no process behind that cannot be killed.
pub(super) fn sigkill_leaves_nothing(bench: &Bench<'_>) -> Result<()> {
    run(bench, "zfs-safe", "killed")
}

fn run(bench: &Bench<'_>, package: &str, example: &str) -> Result<()> {
    let alone = [
        "build",
        "--profile",
        "guest",
        "-p",
        package,
        "--example",
        example,
    ];
    let build = if package == "zrepl-daemon" {
        &ZREPL_AND_EXAMPLES[..]
    } else {
        &alone[..]
    };
    let program = Workspace::find()?.executable(build, example)?;
    let options = Options {
        files: vec![(example.to_owned(), shipping::stripped(&program)?)],
        ..Options::default()
    };
    let loader = Loader::for_image(&bench.host.image(bench.version)?);
    bench.in_guest(&options, |guest| {
        let output = guest
            .command(loader.command(example))
            .env("RUST_BACKTRACE", "1")
            .limit(LIMIT)
            .run_with(guest::print_through)?;
        let status = output.status();
        ensure!(status == 0, "{example} ended with status {status}");
        Ok(())
    })
}
