//! Listings: snapshots mounted and not, again without a change, datasets with properties, and what each snapshot costs.

use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, SystemTime};

use zfs_safe::Zfs;
use zfs_safe::cli::Cli;
use zfs_safe::name::DatasetPath;
use zfs_safe::native::Native;
use zfs_safe::property::PropertyName;
use zfs_safe::version::FilesystemVersion;
use zfs_safe::version_memory::VersionMemory;
use zfs_safe::zfs::{DatasetQuery, VersionQuery};

use crate::measure::{Sample, fastest, measure, measure_others};
use crate::shell::run;
use crate::table::{milliseconds, row};
use crate::world::{POOL, World};
use crate::{Checks, Result};

const PROPERTIES: [&str; 5] = [
    "used",
    "referenced",
    "compression",
    "mountpoint",
    "zrepl:placeholder",
];

/// Newest snapshots that the filter lets through.
const MATCHING: usize = 3;

/// ioctls that a listing may make for a dataset that has not changed.
const UNCHANGED: u64 = 2;

/// How long until a change is so long ago that a listing is remembered, and then some.
const SETTLING: Duration = Duration::from_secs(4);

pub(crate) fn snapshots(world: &World, native: &Native, cli: &Cli, name: &str) -> Result<()> {
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..world.amounts.rounds {
        let (ours_found, sample) =
            measure(native, || list_all(native, world, VersionQuery::SNAPSHOTS))?;
        ours.push(sample);
        let (theirs_found, sample) =
            measure(cli, || list_all(cli, world, VersionQuery::SNAPSHOTS))?;
        theirs.push(sample);
        if ours_found != theirs_found || ours_found.len() != world.amounts.all_snapshots() {
            return Err(format!(
                "listed {} and {} snapshots",
                ours_found.len(),
                theirs_found.len()
            )
            .into());
        }
    }
    row(name, &fastest(ours), &fastest(theirs));
    Ok(())
}

/// The same with one process for all filesystems, which no method of [`Zfs`] does: with the facts of a version, and with
/// those alone that the kernel gives from 2.2 on without opening each snapshot (`zc_simple`).
pub(crate) fn one_process(world: &World) -> Result<()> {
    for columns in ["name,guid,createtxg,creation", "name,guid,createtxg"] {
        let list = ["list", "-Hp", "-rt", "snapshot", "-o", columns, POOL];
        let rounds = (0..world.amounts.rounds).map(|_| Ok(measure_others(|| run("zfs", &list))?.1));
        let sample = fastest(rounds.collect::<Result<_>>()?);
        let name = format!("  zfs list -r -o {columns}");
        println!("{name:<49}{:>12}", milliseconds(sample.wall));
    }
    Ok(())
}

/// Lists again what has not changed: native with [`VersionMemory`], zfs(8) as it is.
pub(crate) fn again(
    world: &World,
    native: &Arc<Native>,
    cli: &Cli,
    checks: &mut Checks,
    name: &str,
) -> Result<()> {
    let memory = VersionMemory::new(Arc::clone(native) as Arc<dyn Zfs>)?;
    sleep(SETTLING);
    list_remembered(&memory, world)?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..world.amounts.rounds {
        let (found, sample) = measure(&**native, || list_remembered(&memory, world))?;
        ours.push(sample);
        let (expected, sample) = measure(cli, || list_all(cli, world, VersionQuery::ALL))?;
        theirs.push(sample);
        if found != expected {
            return Err("the memory of versions differs from what zfs(8) lists".into());
        }
    }
    let (ours, theirs) = (fastest(ours), fastest(theirs));
    row(name, &ours, &theirs);
    let per_dataset = ours.counts.ioctls.div_ceil(world.filesystems.len() as u64);
    let text = format!("{name}: {per_dataset} ioctls per dataset, at most {UNCHANGED}");
    if native
        .module_version()?
        .at_least(zfs_safe::property::ZfsVersion::new(2, 2, 0))
    {
        checks.add(per_dataset <= UNCHANGED, &text);
    } else {
        checks.skip(&format!(
            "{text} (before 2.2 the kernel does not tell when snapshots changed)"
        ));
    }
    Ok(())
}

pub(crate) fn datasets(world: &World, native: &Native, cli: &Cli) -> Result<()> {
    let roots = [DatasetPath::new(POOL)?];
    let properties = PROPERTIES
        .iter()
        .map(|name| name.parse())
        .collect::<Result<Vec<PropertyName>, _>>()?;
    let query = DatasetQuery {
        properties,
        depth: None,
    };
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..world.amounts.rounds {
        let (ours_found, sample) = measure(native, || Ok(native.datasets(&roots, &query)?))?;
        ours.push(sample);
        let (theirs_found, sample) = measure(cli, || Ok(cli.datasets(&roots, &query)?))?;
        theirs.push(sample);
        if ours_found != theirs_found {
            return Err(format!("datasets differ:\n{ours_found:?}\n{theirs_found:?}").into());
        }
    }
    let name = format!(
        "4 list {} datasets, 5 properties",
        world.filesystems.len() + 1
    );
    row(&name, &fastest(ours), &fastest(theirs));
    Ok(())
}

/// What a snapshot costs in a full listing, and what the kernel's filter saves.
#[derive(Debug)]
pub(crate) struct FilterCost {
    name: &'static str,
    snapshots: usize,
    filesystems: usize,
    full: Sample,
    filtered: Sample,
}

impl FilterCost {
    pub(crate) fn measure(world: &World, native: &Native, name: &'static str) -> Result<Self> {
        let (mut full, mut filtered) = (Vec::new(), Vec::new());
        for _ in 0..world.amounts.rounds {
            let (found, sample) =
                measure(native, || list_all(native, world, VersionQuery::SNAPSHOTS))?;
            full.push(sample);
            let per_filesystem = found.len() / world.filesystems.len();
            // All snapshots of one instant have the same createtxg.
            let from = found[per_filesystem - MATCHING].createtxg;
            let (found, sample) = measure(native, || {
                list_all(native, world, VersionQuery::SNAPSHOTS.from(from))
            })?;
            filtered.push(sample);
            if found.len() != MATCHING * world.filesystems.len() {
                return Err(format!("the filter let {} snapshots through", found.len()).into());
            }
        }
        Ok(Self {
            name,
            snapshots: world.amounts.snapshots,
            filesystems: world.filesystems.len(),
            full: fastest(full),
            filtered: fastest(filtered),
        })
    }

    #[expect(clippy::cast_precision_loss, reason = "shown with one digit")]
    pub(crate) fn print(&self) {
        let per = |sample: &Sample, count: usize| {
            sample.wall.as_secs_f64() * 1e6 / (count * self.filesystems) as f64
        };
        let hidden = self.snapshots - MATCHING;
        println!(
            "{:<10}  all {}: {:>7.1} ms, {:>5} ioctls, {:>6.1} us per snapshot",
            self.name,
            self.snapshots,
            self.full.wall.as_secs_f64() * 1e3,
            self.full.counts.ioctls,
            per(&self.full, self.snapshots),
        );
        println!(
            "{:<10}  {MATCHING} of {}: {:>6.1} ms, {:>5} ioctls, {:>6.1} us per match, {:.1} us if spread over the {hidden} skipped",
            "",
            self.snapshots,
            self.filtered.wall.as_secs_f64() * 1e3,
            self.filtered.counts.ioctls,
            per(&self.filtered, MATCHING),
            per(&self.filtered, hidden),
        );
    }
}

fn list_all(zfs: &dyn Zfs, world: &World, query: VersionQuery) -> Result<Vec<FilesystemVersion>> {
    let mut all = Vec::new();
    for path in &world.filesystems {
        all.extend(zfs.versions(path, &query)?);
    }
    Ok(all)
}

fn list_remembered(memory: &VersionMemory, world: &World) -> Result<Vec<FilesystemVersion>> {
    let mut all = Vec::new();
    for path in &world.filesystems {
        all.extend(memory.versions(path, SystemTime::now())?);
    }
    Ok(all)
}
