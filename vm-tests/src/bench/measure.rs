//! Counters of the kernel before and after something, and strace for what it does not count.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::guest::{Guest, Running};

/// The pools whose transaction groups count.
const POOLS: [&str; 2] = ["tank", "backup"];

/// Linux counts processor time in these.
const TICKS_PER_SECOND: f64 = 100.0;

/// Where strace writes.
const TRACE: &str = "/tmp/trace";

/// Counters at one moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Meter {
    /// Of the process and of children that it has waited for, in ticks.
    ticks: u64,
    /// The newest transaction groups of all pools, added.
    txgs: u64,
}

/// What was used between two moments.
#[derive(Clone, Copy, Debug)]
pub(super) struct Used {
    /// Processor seconds.
    pub(super) cpu: f64,
    pub(super) txgs: u64,
}

impl Meter {
    pub(super) fn read(guest: &Guest, pid: Option<u32>) -> Result<Self> {
        let stat = pid.map_or_else(|| "/dev/null".to_owned(), |pid| format!("/proc/{pid}/stat"));
        let lists = POOLS.map(|pool| format!("/proc/spl/kstat/zfs/{pool}/txgs"));
        let output = guest
            .script(&format!(
                "cat {stat}; for list in {}; do tail -n 1 $list; done",
                lists.join(" ")
            ))?
            .ok()?;
        let text = output.text();
        let mut lines = text.lines().rev();
        let mut txgs = 0;
        for pool in POOLS {
            let number = lines
                .next()
                .and_then(|line| line.split_whitespace().next())
                .and_then(|word| word.parse::<u64>().ok());
            txgs += number.with_context(|| format!("no transaction groups of {pool}: {output}"))?;
        }
        let ticks = match pid {
            Some(_) => lines
                .next()
                .and_then(ticks)
                .with_context(|| format!("no times of the process: {output}"))?,
            None => 0,
        };
        Ok(Self { ticks, txgs })
    }

    #[expect(clippy::cast_precision_loss, reason = "ticks of a few minutes")]
    pub(super) fn since(&self, before: &Self) -> Used {
        Used {
            cpu: (self.ticks - before.ticks) as f64 / TICKS_PER_SECOND,
            txgs: self.txgs - before.txgs,
        }
    }
}

/// The sum of utime, stime, cutime and cstime in a line of `/proc/PID/stat`.
fn ticks(stat: &str) -> Option<u64> {
    // The program's name may have blanks, but is in parentheses.
    let (_, rest) = stat.rsplit_once(')')?;
    let numbers: Vec<&str> = rest.split_whitespace().collect();
    numbers
        .get(11..15)?
        .iter()
        .map(|number| number.parse::<u64>().ok())
        .sum()
}

/// Wall and processor seconds from what the script of the floor prints: two times, then the output of `times`.
pub(super) fn shell_times(text: &str) -> Result<(f64, f64)> {
    let parsed = || {
        let mut lines = text.lines();
        let (before, after) = lines.next()?.split_once(' ')?;
        let wall = after.parse::<f64>().ok()? - before.parse::<f64>().ok()?;
        // The second line of `times` is that of the children.
        let cpu = lines.nth(1)?.split_whitespace().map(|time| {
            let (minutes, seconds) = time.trim_end_matches('s').split_once('m')?;
            Some(minutes.parse::<f64>().ok()? * 60.0 + seconds.parse::<f64>().ok()?)
        });
        Some((wall, cpu.sum::<Option<f64>>()?))
    };
    parsed().with_context(|| format!("no times: {text}"))
}

/// A process under strace.
pub(super) struct Trace<'g> {
    guest: &'g Guest,
    strace: Running<'g>,
}

/// What strace has seen.
#[derive(Clone, Copy, Debug)]
pub(super) struct Calls {
    pub(super) processes: u64,
    /// Of `/dev/zfs`.
    pub(super) ioctls: u64,
}

impl<'g> Trace<'g> {
    pub(super) fn start(guest: &'g Guest, pid: u32) -> Result<Self> {
        let words = format!(
            "exec strace -f -y -qq -e trace=execve,ioctl -e signal=none -o {TRACE} -p {pid}"
        );
        let strace = guest
            .command(["sh", "-c", &words])
            .limit(super::ROUND_LIMIT)
            .start()?;
        for _ in 0..50 {
            let traced = guest
                .script(&format!("grep TracerPid /proc/{pid}/status"))?
                .text();
            if !traced.ends_with("\t0") {
                return Ok(Self { guest, strace });
            }
            thread::sleep(Duration::from_millis(200));
        }
        anyhow::bail!("strace does not begin")
    }

    pub(super) fn stop(self) -> Result<Calls> {
        self.guest.script("killall -INT strace")?.ok()?;
        self.strace.wait()?;
        let counts = self
            .guest
            .script(&format!(
                "grep -c 'execve(' {TRACE} || true; grep -c '/dev/zfs' {TRACE} || true"
            ))?
            .ok()?
            .text();
        let numbers: Vec<u64> = counts
            .lines()
            .filter_map(|line| line.parse().ok())
            .collect();
        ensure!(numbers.len() == 2, "no counts: {counts}");
        Ok(Calls {
            processes: numbers[0],
            ioctls: numbers[1],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_a_process_include_its_children() {
        let stat = "77 (a (b) c) S 1 77 77 0 -1 4194560 1 2 3 4 100 20 3000 400 20 0 9 0 55 1 1";
        assert_eq!(ticks(stat), Some(3520));
        assert_eq!(ticks("77 (a) S 1"), None);
    }

    #[test]
    fn the_children_of_the_shell_count() {
        let text = "10.50 12.75\n0m0.01s 0m0.02s\n1m0.25s 0m1.50s";
        let (wall, cpu) = shell_times(text).expect("both");
        assert!((wall - 2.25).abs() < 1e-9 && (cpu - 61.75).abs() < 1e-9);
        assert!(shell_times("10.50").is_err());
    }
}
