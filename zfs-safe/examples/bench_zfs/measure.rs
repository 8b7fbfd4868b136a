//! What a piece of work costs: time, processor time, and what zfs-safe counts.

use std::fs;
use std::time::{Duration, Instant};

use zfs_safe::Zfs;
use zfs_safe::counters::Counts;

use crate::Result;
use crate::world::POOL;

/// Ticks of a second in /proc, on every Linux.
const TICKS: u64 = 100;

/// What one piece of work has cost.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sample {
    pub(crate) wall: Duration,
    /// Of the handle that did the work.
    pub(crate) counts: Counts,
    /// Processor time of this process and of the children that have ended.
    pub(crate) own: Duration,
    /// Processor time of everybody in the guest: kernel threads do most of the work of ZFS.
    pub(crate) busy: Duration,
    /// Transaction groups that the pool went through meanwhile, whoever waited for them.
    pub(crate) txgs: u64,
}

impl Sample {
    /// The sum of both.
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            wall: self.wall + other.wall,
            counts: Counts {
                ioctls: self.counts.ioctls + other.counts.ioctls,
                processes: self.counts.processes + other.counts.processes,
                txg_waits: self.counts.txg_waits + other.counts.txg_waits,
            },
            own: self.own + other.own,
            busy: self.busy + other.busy,
            txgs: self.txgs + other.txgs,
        }
    }
}

/// Measures work done through `zfs`.
pub(crate) fn measure<T>(zfs: &dyn Zfs, work: impl FnOnce() -> Result<T>) -> Result<(T, Sample)> {
    let counts = zfs.counters().now();
    let (value, sample) = measure_others(work)?;
    let counts = zfs.counters().now() - counts;
    Ok((value, Sample { counts, ..sample }))
}

/// Measures work that no handle takes part in.
pub(crate) fn measure_others<T>(work: impl FnOnce() -> Result<T>) -> Result<(T, Sample)> {
    let (own, busy, txg) = (own_time()?, busy_time()?, newest_txg()?);
    let started = Instant::now();
    let value = work()?;
    let wall = started.elapsed();
    let sample = Sample {
        wall,
        counts: Counts::default(),
        own: own_time()?.saturating_sub(own),
        busy: busy_time()?.saturating_sub(busy),
        txgs: newest_txg()?.saturating_sub(txg),
    };
    Ok((value, sample))
}

/// The sample with the shortest time: whatever else runs on the host only adds to it.
pub(crate) fn fastest(mut samples: Vec<Sample>) -> Sample {
    samples.sort_by_key(|sample| sample.wall);
    samples.get(samples.len() / 2).copied().unwrap_or_default()
}

/// User and system time of this process and its children, those of `/proc/self/stat`.
fn own_time() -> Result<Duration> {
    let text = fs::read_to_string("/proc/self/stat")?;
    // The second field, the name, may contain spaces; after it comes the third.
    let (_, fields) = text.rsplit_once(')').ok_or("unexpected /proc/self/stat")?;
    let times = fields.split_whitespace().skip(11).take(4);
    sum_of_ticks(times)
}

/// Time that the processors of this machine were not idle.
fn busy_time() -> Result<Duration> {
    let text = fs::read_to_string("/proc/stat")?;
    let total = text.lines().next().ok_or("unexpected /proc/stat")?;
    // cpu user nice system idle iowait irq softirq …
    let fields = total.split_whitespace().skip(1).take(7).enumerate();
    sum_of_ticks(fields.filter_map(|(index, field)| (index != 3 && index != 4).then_some(field)))
}

fn sum_of_ticks<'a>(fields: impl Iterator<Item = &'a str>) -> Result<Duration> {
    let mut ticks = 0;
    for field in fields {
        ticks += field.parse::<u64>()?;
    }
    Ok(Duration::from_millis(ticks * (1000 / TICKS)))
}

/// The open transaction group: the last line of the pool's history of them.
fn newest_txg() -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/spl/kstat/zfs/{POOL}/txgs"))?;
    let numbers = text
        .lines()
        .filter_map(|line| line.split_whitespace().next()?.parse().ok());
    // The first line is a header that starts with numbers as well.
    Ok(numbers.skip(1).max().unwrap_or(0))
}
