//! `cargo vm bench zfs` and `prune`: an example of a package, built on the host and run in a guest.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;

use crate::guest;
use crate::host::Host;
use crate::machine::Options;
use crate::packages::Purpose;
use crate::recipe::ZfsVersion;
use crate::shipping;
use crate::workspace::{Workspace, ZREPL_AND_EXAMPLES};

const LIMIT: Duration = Duration::from_secs(3600);

/// An example, how it is built, and what it is told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Program {
    example: &'static str,
    build: &'static [&'static str],
    arguments: &'static [&'static str],
}

/// Numbers are worth something without assertions only.
pub(crate) const BENCH_ZFS: Program = Program {
    example: "bench_zfs",
    build: &[
        "build",
        "--profile",
        "release",
        "-p",
        "zfs-safe",
        "--example",
        "bench_zfs",
    ],
    arguments: &[],
};

/// 20 snapshots of each filesystem, of which 10 are destroyed. What counts here are calls.
pub(crate) const BENCH_PRUNE: Program = Program {
    example: "pruning",
    build: &ZREPL_AND_EXAMPLES,
    arguments: &["20"],
};

/// Streams what the program prints and exits with its status.
pub(crate) fn run(program: Program, version: ZfsVersion) -> Result<ExitCode> {
    let Program {
        example,
        build,
        arguments,
    } = program;
    let host = Host::prepare(Purpose::GuestsAndBuild, &[version])?;
    let path = Workspace::find()?.executable(build, example)?;
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
    let mut line = machine.host_program(example);
    line.extend(arguments.iter().map(|&it| it.to_owned()));
    let output = machine
        .guest()
        .command(line)
        .env("RUST_BACKTRACE", "1")
        .limit(LIMIT)
        .run_with(guest::print_through)?;
    if output.status() != 0 {
        let log = machine.console().keep(&format!("{example}-{version}"));
        eprintln!("status {}; console log: {}", output.status(), log.display());
    }
    Ok(ExitCode::from(output.status()))
}
