//! The receiver over real ZFS: an example of the daemon, built on the host and run in a guest.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::Bench;
use crate::guest;
use crate::machine::Options;
use crate::shipping::{self, Loader};
use crate::workspace::Workspace;

const EXAMPLE: &str = "receiving";
const LIMIT: Duration = Duration::from_secs(15 * 60);

/// Placeholders made, replaced and restored, nothing received destroyed, marks moved, by both ways to ZFS.
pub(super) fn receiver_on_zfs(bench: &Bench<'_>) -> Result<()> {
    const BUILD: [&str; 7] = [
        "build",
        "--profile",
        "guest",
        "-p",
        "zrepl-daemon",
        "--example",
        EXAMPLE,
    ];
    let program = Workspace::find()?.executable(&BUILD, EXAMPLE)?;
    let options = Options {
        files: vec![(EXAMPLE.to_owned(), shipping::stripped(&program)?)],
        ..Options::default()
    };
    let loader = Loader::for_image(bench.host.image(bench.version)?);
    bench.in_guest(&options, |guest| {
        let output = guest
            .command(loader.command(EXAMPLE))
            .env("RUST_BACKTRACE", "1")
            .limit(LIMIT)
            .run_with(guest::print_through)?;
        let status = output.status();
        ensure!(status == 0, "{EXAMPLE} ended with status {status}");
        Ok(())
    })
}
