//! Streams of real ZFS through the daemon's transports and RPC: an example of the daemon, built on the host and run in a guest.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::Bench;
use crate::guest;
use crate::machine::Options;
use crate::shipping::{self, Loader};
use crate::workspace::Workspace;

const EXAMPLE: &str = "over_zfs";
const LIMIT: Duration = Duration::from_secs(15 * 60);

/// Full, incremental, raw and volume streams, cut and resumed ones, by both ways to ZFS, over TCP and TLS.
pub(super) fn streams_over_the_wire(bench: &Bench<'_>) -> Result<()> {
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
    let loader = Loader::for_image(&bench.host.image(bench.version)?);
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
