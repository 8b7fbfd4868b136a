//! `cargo vm`: test machines with real OpenZFS for hosts that have none. Guests in, test results out; see docs/testing.md.

mod accel;
mod agent;
mod bench;
mod certificates;
mod console;
mod cpio;
mod daemon;
mod databases;
mod demo;
mod frame;
mod guest;
mod host;
mod image;
mod leash;
mod link;
mod machine;
mod packages;
mod program;
mod qmp;
mod recipe;
mod scenario;
mod shell;
mod shipping;
mod sources;
mod status;
mod summary;
mod terminal;
mod test;
mod workspace;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand, ValueEnum};

use crate::packages::Purpose;
use crate::recipe::ZfsVersion;
use crate::test::TestArguments;

#[derive(Debug, Parser)]
#[command(name = "cargo vm", about = "Test machines with real OpenZFS")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Install missing Debian packages and build guest images
    Setup {
        /// OpenZFS version of the guest
        #[arg(long, value_name = "2.1|2.3|2.4|all", default_value = "all", value_parser = parse_versions)]
        zfs: Versions,
    },
    /// Open a shell in a guest, or run one script there
    Shell {
        /// OpenZFS version of the guest
        #[arg(long, default_value = "2.3")]
        zfs: ZfsVersion,
        /// Run this shell script instead, print its output and exit with its status
        #[arg(short, value_name = "SCRIPT")]
        command: Option<String>,
        /// Put this file of the host into the guest's /put (repeatable)
        #[arg(long, value_name = "FILE")]
        put: Vec<PathBuf>,
        /// Guest memory in MiB
        #[arg(long, value_name = "MIB", default_value_t = 2048)]
        memory: u32,
    },
    /// Check the workspace, run unit tests, then everything that needs real ZFS
    Test(#[command(flatten)] TestArguments),
    /// Two hosts with a zrepl daemon each: replication, interruption, and the proof
    Demo {
        /// OpenZFS version of the sender
        #[arg(long, default_value = "2.1")]
        sender: ZfsVersion,
        /// OpenZFS version of the receiver
        #[arg(long, default_value = "2.4")]
        receiver: ZfsVersion,
        /// Open shells in the guests afterwards
        #[arg(long)]
        keep: bool,
    },
    /// Measure in a guest
    Bench {
        #[command(subcommand)]
        what: Bench,
    },
    #[command(hide = true)]
    Agent,
    #[command(hide = true)]
    Leash {
        #[arg(long)]
        remove: Option<PathBuf>,
        #[arg(last = true)]
        command: Vec<String>,
    },
}

#[derive(Debug, Subcommand)]
enum Bench {
    /// The operations of zfs-safe against zfs(8)
    Zfs {
        /// OpenZFS version of the guest
        #[arg(long, default_value = "2.3")]
        zfs: ZfsVersion,
    },
    /// A snap job that destroys half of 4000 snapshots
    Prune {
        /// OpenZFS version of the guest
        #[arg(long, default_value = "2.3")]
        zfs: ZfsVersion,
    },
    /// Rounds of a daemon that pushes to its own sink
    Replicate(#[command(flatten)] bench::Arguments),
}

/// One version, or all of them.
#[derive(Clone, Debug)]
struct Versions(Vec<ZfsVersion>);

fn parse_versions(text: &str) -> Result<Versions, String> {
    if text == "all" {
        return Ok(Versions(ZfsVersion::ALL.to_vec()));
    }
    <ZfsVersion as ValueEnum>::from_str(text, false)
        .map(|version| Versions(vec![version]))
        .map_err(|_| "expected 2.1, 2.3, 2.4 or all".to_owned())
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Setup { zfs } => {
            packages::ensure(Purpose::GuestsAndBuild)?;
            for image in image::ensure(&zfs.0)? {
                println!(
                    "OpenZFS {}: zfs {}, kernel {}",
                    image.version,
                    image.fact("zfs"),
                    image.fact("kernel")
                );
            }
            Ok(ExitCode::SUCCESS)
        }
        Command::Shell {
            zfs,
            command,
            put,
            memory,
        } => shell::run(zfs, command.as_deref(), &put, memory),
        Command::Test(arguments) => test::run(&arguments),
        Command::Demo {
            sender,
            receiver,
            keep,
        } => demo::run(sender, receiver, keep),
        Command::Bench { what } => match what {
            Bench::Zfs { zfs } => program::run(program::BENCH_ZFS, zfs),
            Bench::Prune { zfs } => program::run(program::BENCH_PRUNE, zfs),
            Bench::Replicate(arguments) => bench::run(&arguments),
        },
        Command::Agent => agent::serve().map(|()| ExitCode::SUCCESS),
        Command::Leash { remove, command } => leash::hold(remove, &command).map(ExitCode::from),
    }
}
