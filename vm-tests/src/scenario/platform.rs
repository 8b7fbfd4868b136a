//! The platform tests of zrepl, anew: an example of the daemon that replicates real ZFS, built on the host and run in a guest.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::Bench;
use crate::guest;
use crate::machine::Options;
use crate::shipping::{self, Loader};
use crate::workspace::Workspace;

const EXAMPLE: &str = "platform";
const LIMIT: Duration = Duration::from_secs(30 * 60);

/// What zrepl's platform tests prove of replication, holds, cursors, tokens and encryption, and more, by both ways to ZFS.
pub(super) fn platform_tests(bench: &Bench<'_>) -> Result<()> {
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
        // Pools lie in memory, and cases leave what they have made.
        memory_mib: 3072,
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
