//! `grid`: buckets of time that lie end to end into the past, each of which keeps some snapshots.
//!
//! The grid hangs on the youngest snapshot, not on the clock, so that a job that stands still loses nothing. A bucket keeps
//! its oldest snapshots: those are the ones that were kept when they were younger, so what is kept wanders through the
//! buckets without gaps.

use std::cmp::Reverse;
use std::fmt;

use super::grid_spec::GridError;
use super::{Opinion, Snapshot, matching};
use crate::go_regex::GoRegex;
use crate::interval::Interval as Length;

/// How many snapshots a bucket keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// All.
    All,
    /// This many, the oldest ones; at least one.
    Oldest(usize),
}

/// Buckets of equal length, one after another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interval {
    repeat: u32,
    length: Length,
    keep: Keep,
}

/// Intervals from the youngest to the oldest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetentionGrid {
    intervals: Vec<Interval>,
    /// Where each interval ends, in seconds before the youngest snapshot.
    ends: Vec<u64>,
}

/// Where in the grid a snapshot is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GridOpinion {
    /// Older than all buckets.
    BeforeGrid,
    /// In a bucket.
    Bucket {
        /// Which interval, from 0.
        interval: u32,
        /// Which of its buckets, from 0.
        bucket: u32,
        /// Position among the snapshots of the bucket, 1 for the oldest.
        rank: u32,
        /// How many snapshots the bucket has.
        size: u32,
        /// Does the bucket keep it?
        kept: bool,
    },
}

impl Interval {
    /// `repeat` buckets of this length.
    pub(super) fn new(repeat: u32, length: Length, keep: Keep) -> Self {
        debug_assert!(repeat > 0 && keep != Keep::Oldest(0));
        Self {
            repeat,
            length,
            keep,
        }
    }

    /// How many buckets.
    pub fn repeat(&self) -> u32 {
        self.repeat
    }

    /// How long each bucket is.
    pub fn length(&self) -> Length {
        self.length
    }

    fn seconds(&self) -> u64 {
        self.length.duration().as_secs()
    }

    /// What each bucket keeps.
    pub fn keep(&self) -> Keep {
        self.keep
    }
}

impl RetentionGrid {
    /// Checks what concerns the intervals together.
    pub(super) fn new(intervals: Vec<Interval>) -> Result<Self, GridError> {
        let count = intervals.len();
        let mut ends = Vec::with_capacity(count);
        let mut end = 0_u64;
        let mut only_keep_all = true;
        let mut previous = 0;
        for (interval, number) in intervals.iter().zip(1..) {
            if interval.seconds() < previous && !only_keep_all {
                return Err(GridError::Order { number, count });
            }
            previous = interval.seconds();
            only_keep_all &= interval.keep == Keep::All;
            end = interval
                .seconds()
                .checked_mul(interval.repeat.into())
                .and_then(|span| end.checked_add(span))
                .ok_or(GridError::Span { number, count })?;
            ends.push(end);
        }
        Ok(Self { intervals, ends })
    }

    /// The intervals from the youngest to the oldest.
    pub fn intervals(&self) -> &[Interval] {
        &self.intervals
    }

    /// Interval and bucket of what is so many seconds older than the youngest. The younger edge belongs to a bucket, the
    /// older one to the next.
    fn bucket(&self, age: u64) -> Option<(u32, u32)> {
        let index = self.ends.partition_point(|end| *end <= age);
        let interval = self.intervals.get(index)?;
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        let bucket = (age - start) / interval.seconds();
        Some((u32::try_from(index).ok()?, u32::try_from(bucket).ok()?))
    }

    fn keep(&self, interval: u32) -> Keep {
        self.intervals[interval as usize].keep
    }
}

pub(super) fn opinions(
    grid: &RetentionGrid,
    regex: &GoRegex,
    snapshots: &[Snapshot<'_>],
) -> Vec<Opinion> {
    let mut opinions = vec![Opinion::NameUnwanted; snapshots.len()];
    let mut youngest_first = matching(Some(regex), snapshots);
    youngest_first.sort_by_key(|&index| Reverse(snapshots[index].creation));
    let Some(&youngest) = youngest_first.first() else {
        return opinions;
    };
    let now = snapshots[youngest].creation;
    let bucket = |index: usize| grid.bucket(now.abs_diff(snapshots[index].creation));
    for members in youngest_first.chunk_by(|&a, &b| bucket(a) == bucket(b)) {
        let Some((interval, bucket)) = bucket(members[0]) else {
            for &index in members {
                opinions[index] = Opinion::Grid(GridOpinion::BeforeGrid);
            }
            continue;
        };
        for (position, &index) in members.iter().enumerate() {
            let rank = members.len() - position;
            let kept = match grid.keep(interval) {
                Keep::All => true,
                Keep::Oldest(count) => rank <= count,
            };
            opinions[index] = Opinion::Grid(GridOpinion::Bucket {
                interval,
                bucket,
                rank: saturated(rank),
                size: saturated(members.len()),
                kept,
            });
        }
    }
    opinions
}

/// For words only.
fn saturated(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

impl GridOpinion {
    /// Does the grid want to keep the snapshot?
    pub fn keeps(self) -> bool {
        matches!(self, Self::Bucket { kept: true, .. })
    }

    pub(super) fn explain(self, grid: &RetentionGrid, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Bucket {
            interval,
            bucket,
            rank,
            size,
            kept,
        } = self
        else {
            return f.write_str("older than the grid");
        };
        let Some(interval) = grid.intervals.get(interval as usize) else {
            return f.write_str("in some bucket");
        };
        write!(f, "in bucket {} of `{interval}`, ", bucket + 1)?;
        match (interval.keep, rank) {
            (Keep::All, _) => f.write_str("which keeps all"),
            (Keep::Oldest(_), _) if size == 1 => f.write_str("the only one"),
            (Keep::Oldest(_), 1) => write!(f, "the oldest of {size}"),
            (Keep::Oldest(count), _) if kept => write!(f, "among the oldest {count} of {size}"),
            (Keep::Oldest(1), _) => write!(f, "not the oldest of {size}"),
            (Keep::Oldest(count), _) => write!(f, "not among the oldest {count} of {size}"),
        }
    }
}

#[cfg(test)]
mod tests;
