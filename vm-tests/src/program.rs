//! `cargo vm bench zfs`: an example of zfs-safe, built on the host and run in a guest.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::guest;
use crate::host::Host;
use crate::machine::Options;
use crate::packages::Purpose;
use crate::recipe::ZfsVersion;
use crate::shipping;
use crate::workspace::Workspace;

const LIMIT: Duration = Duration::from_secs(3600);

/// An example and how it is built.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Program {
    example: &'static str,
    profile: &'static str,
}

/// Numbers are worth something without assertions only.
pub(crate) const BENCH_ZFS: Program = Program {
    example: "bench_zfs",
    profile: "release",
};

/// Streams what the program prints and exits with its status.
pub(crate) fn run(program: Program, version: ZfsVersion) -> Result<ExitCode> {
    let Program { example, profile } = program;
    let host = Host::prepare(Purpose::GuestsAndBuild, &[version])?;
    let workspace = Workspace::find()?;
    if !workspace.has_target("zfs-safe", "example", example)? {
        bail!("zfs-safe has no example `{example}`");
    }
    let path = workspace.executable(
        &[
            "build",
            "--profile",
            profile,
            "-p",
            "zfs-safe",
            "--example",
            example,
        ],
        example,
    )?;
    let mut options = Options::default();
    options
        .files
        .push((example.to_owned(), shipping::stripped(&path)?));
    let machine = host.boot(version, &options)?;
    println!(
        "guest with OpenZFS {} up after {:.1} s",
        machine.guest().fact("zfs"),
        machine.boot_time().as_secs_f64()
    );
    let output = machine
        .guest()
        .command(machine.host_program(example))
        .env("RUST_BACKTRACE", "1")
        .limit(LIMIT)
        .run_with(guest::print_through)?;
    if output.status() != 0 {
        let log = machine.console().keep(&format!("{example}-{version}"));
        eprintln!("status {}; console log: {}", output.status(), log.display());
    }
    Ok(ExitCode::from(output.status()))
}
