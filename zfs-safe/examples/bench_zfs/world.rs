//! The pool to measure on: filesystems with many snapshots, and one with data that does not compress.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use zfs_safe::Zfs;
use zfs_safe::name::{DatasetPath, NameError, SnapshotName};

use crate::measure::{Sample, measure};
use crate::shell::run;
use crate::{Amounts, Result, require};

pub(crate) const POOL: &str = "bench";

const DIRECTORY: &str = "/tmp/zrepl-bench";
const POOL_SIZE: u64 = 1 << 30;

/// The pool. Dropping it destroys it.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) amounts: Amounts,
    pub(crate) filesystems: Vec<DatasetPath>,
}

impl World {
    pub(crate) fn create(amounts: Amounts) -> Result<Self> {
        let needed = 3 * amounts.data + (512 << 20);
        let available = available_memory()?;
        if available < needed {
            let text = format!(
                "{} MiB of memory are free, {} are needed",
                available >> 20,
                needed >> 20
            );
            return Err(text.into());
        }
        if run("zpool", &["list", POOL]).is_ok() {
            return Err(format!("there is a pool {POOL} already").into());
        }
        fs::create_dir_all(DIRECTORY)?;
        let file = format!("{DIRECTORY}/pool");
        File::create(&file)?.set_len(POOL_SIZE)?;
        let mountpoint = format!("mountpoint={DIRECTORY}/{POOL}");
        run(
            "zpool",
            &[
                "create",
                "-O",
                "compression=off",
                "-O",
                "atime=off",
                "-O",
                &mountpoint,
                POOL,
                &file,
            ],
        )?;
        let mut world = Self {
            amounts,
            filesystems: Vec::new(),
        };
        for number in 0..amounts.filesystems {
            let path = format!("{POOL}/fs{number:02}");
            run("zfs", &["create", &path])?;
            world.filesystems.push(DatasetPath::new(path)?);
        }
        Ok(world)
    }

    /// Takes all snapshots, each instant by the next of `zfs` in turn. What each of them has cost.
    pub(crate) fn take_snapshots(&self, zfs: [&dyn Zfs; 2]) -> Result<[Sample; 2]> {
        let mut costs = [Sample::default(); 2];
        for instant in 0..self.amounts.snapshots {
            for path in &self.filesystems {
                fs::write(mounted_at(path).join("file"), format!("version {instant}"))?;
            }
            let names: Vec<_> = self
                .filesystems
                .iter()
                .map(|path| snapshot(path, instant))
                .collect::<Result<_, _>>()?;
            let turn = instant % zfs.len();
            let (outcomes, cost) = measure(zfs[turn], || Ok(zfs[turn].snapshot(&names, &[])))?;
            require(&outcomes)?;
            costs[turn] = costs[turn].and(cost);
        }
        Ok(costs)
    }

    /// Every filesystem's first `count` snapshots.
    pub(crate) fn oldest_snapshots(&self, count: usize) -> Result<Vec<SnapshotName>> {
        let mut names = Vec::new();
        for path in &self.filesystems {
            for instant in 0..count {
                names.push(snapshot(path, instant)?);
            }
        }
        Ok(names)
    }

    pub(crate) fn unmount(&self) -> Result<()> {
        self.filesystems
            .iter()
            .try_for_each(|path| run("zfs", &["unmount", path.as_str()]))
    }

    /// A snapshot with data that does not compress.
    pub(crate) fn write_data(&self) -> Result<SnapshotName> {
        let path = DatasetPath::new(format!("{POOL}/data"))?;
        run("zfs", &["create", path.as_str()])?;
        let mut file =
            BufWriter::with_capacity(1 << 20, File::create(mounted_at(&path).join("random"))?);
        let mut state: u64 = 0x9e37_79b9_7f4a_7c15;
        for _ in 0..self.amounts.data / 8 {
            // xorshift64: /dev/urandom takes too long where processors are emulated.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            file.write_all(&state.to_ne_bytes())?;
        }
        file.flush()?;
        file.get_ref().sync_all()?;
        let snapshot = path.snapshot("full")?;
        run("zfs", &["snapshot", snapshot.as_str()])?;
        Ok(snapshot)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Err(error) = run("zpool", &["destroy", POOL]) {
            eprintln!("cannot clean up: {error}");
        }
        if let Err(error) = fs::remove_dir_all(DIRECTORY) {
            eprintln!("cannot remove {DIRECTORY}: {error}");
        }
    }
}

pub(crate) fn snapshot(path: &DatasetPath, instant: usize) -> Result<SnapshotName, NameError> {
    path.snapshot(&format!("s{instant:02}"))
}

fn mounted_at(path: &DatasetPath) -> PathBuf {
    Path::new(DIRECTORY).join(path.as_str())
}

fn available_memory() -> Result<u64> {
    let text = fs::read_to_string("/proc/meminfo")?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"));
    let kibibytes = line
        .and_then(|line| line.split_whitespace().next())
        .ok_or("unexpected /proc/meminfo")?;
    Ok(kibibytes.parse::<u64>()? << 10)
}
