//! `cargo vm bench zfs`: zfs-safe's two ways to ZFS against each other, on the same pool, through the same trait.
//!
//! Prints a table, and ends with status 1 if a promise of the native way does not hold. `--quick` takes a tenth of
//! everything. Needs root, Linux, and no pool `bench`.

mod changes;
mod listing;
mod measure;
mod shell;
mod stream;
mod table;
mod world;

use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread::available_parallelism;

use zfs_safe::cli::Cli;
use zfs_safe::native::Native;
use zfs_safe::{Outcome, Zfs};

use crate::listing::FilterCost;
use crate::world::World;

type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

fn main() -> ExitCode {
    let quick = std::env::args().any(|argument| argument == "--quick");
    match run(if quick { Amounts::QUICK } else { Amounts::FULL }) {
        Ok(checks) => checks.report(),
        Err(error) => {
            eprint!("bench: {error}");
            let mut cause = error.source();
            while let Some(error) = cause {
                eprint!(": {error}");
                cause = error.source();
            }
            eprintln!();
            ExitCode::FAILURE
        }
    }
}

/// How much of everything.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Amounts {
    pub(crate) filesystems: usize,
    /// Of each filesystem.
    pub(crate) snapshots: usize,
    /// Snapshots that are held.
    pub(crate) held: usize,
    /// Bytes to send.
    pub(crate) data: u64,
    /// How often what changes nothing is repeated.
    pub(crate) rounds: usize,
}

impl Amounts {
    const FULL: Self = Self {
        filesystems: 20,
        snapshots: 50,
        held: 200,
        data: 256 << 20,
        rounds: 3,
    };
    const QUICK: Self = Self {
        filesystems: 20,
        snapshots: 6,
        held: 20,
        data: 26 << 20,
        rounds: 3,
    };

    pub(crate) fn all_snapshots(&self) -> usize {
        self.filesystems * self.snapshots
    }
}

fn run(amounts: Amounts) -> Result<Checks> {
    let native = Arc::new(Native::open()?);
    let cli = Cli::open()?;
    let processors = available_parallelism().map_or(0, usize::from);
    println!(
        "OpenZFS {}, {processors} processors, pool on a file",
        native.module_version()?
    );
    let mut checks = Checks::default();
    let world = World::create(amounts)?;

    table::header();
    let [ours, theirs] = world.take_snapshots([&*native, &cli])?;
    let halves = format!(
        "0 {} snapshots at one instant, x {}",
        amounts.filesystems,
        amounts.snapshots / 2
    );
    table::row(&halves, &ours, &theirs);
    let all = amounts.all_snapshots();
    listing::snapshots(
        &world,
        &native,
        &cli,
        &format!("1 list {all} snapshots, mounted"),
    )?;
    listing::one_process(&world)?;
    listing::again(
        &world,
        &native,
        &cli,
        &mut checks,
        "3 list again without change, mounted",
    )?;
    listing::datasets(&world, &native, &cli)?;
    let mounted = FilterCost::measure(&world, &native, "mounted")?;
    world.unmount()?;
    listing::snapshots(
        &world,
        &native,
        &cli,
        &format!("2 list {all} snapshots, unmounted"),
    )?;
    listing::one_process(&world)?;
    listing::again(
        &world,
        &native,
        &cli,
        &mut checks,
        "3 list again without change, unmounted",
    )?;
    let unmounted = FilterCost::measure(&world, &native, "unmounted")?;
    changes::hold_and_release(&world, &native, &cli, &mut checks)?;
    changes::destroy(&world, &native, &cli)?;
    stream::send(&world, &native, &cli)?;

    println!(
        "\nlisting with from_createtxg, native, {} filesystems",
        amounts.filesystems
    );
    mounted.print();
    unmounted.print();
    let processes = native.counters().now().processes;
    checks.add(
        processes == 0,
        &format!("native started {processes} processes, at most 0"),
    );
    Ok(checks)
}

/// Promises, and whether they held.
#[derive(Debug, Default)]
pub(crate) struct Checks {
    lines: Vec<String>,
    broken: usize,
}

impl Checks {
    pub(crate) fn add(&mut self, held: bool, text: &str) {
        self.lines.push(format!(
            "{}  {text}",
            if held { "ok     " } else { "BROKEN " }
        ));
        self.broken += usize::from(!held);
    }

    pub(crate) fn skip(&mut self, text: &str) {
        self.lines.push(format!("skipped  {text}"));
    }

    fn report(&self) -> ExitCode {
        println!();
        self.lines.iter().for_each(|line| println!("{line}"));
        if self.broken == 0 {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }
}

/// The first failure of a batch.
pub(crate) fn require(outcomes: &[Outcome]) -> Result<()> {
    match outcomes.iter().find(|outcome| !outcome.is_done()) {
        None => Ok(()),
        Some(Outcome::Failed(error)) => Err(error.clone().into()),
        Some(other) => Err(format!("unexpected outcome: {other:?}").into()),
    }
}
