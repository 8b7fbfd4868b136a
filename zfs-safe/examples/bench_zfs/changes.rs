//! Changes of many snapshots at once: holding, releasing, destroying.

use zfs_safe::Zfs;
use zfs_safe::cli::Cli;
use zfs_safe::name::HoldTag;
use zfs_safe::native::Native;
use zfs_safe::zfs::HoldRequest;

use crate::measure::{Sample, measure};
use crate::table::row;
use crate::world::{World, snapshot};
use crate::{Checks, Result, require};

/// Transaction groups that holding may wait for, however many snapshots there are.
const WAITS: u64 = 2;

/// Holds and releases the same snapshots, first natively, then with zfs(8).
pub(crate) fn hold_and_release(
    world: &World,
    native: &Native,
    cli: &Cli,
    checks: &mut Checks,
) -> Result<()> {
    let tag = HoldTag::new("zrepl_bench")?;
    let names = world.oldest_snapshots(world.amounts.held / world.filesystems.len())?;
    let holds: Vec<_> = names
        .into_iter()
        .map(|snapshot| HoldRequest {
            snapshot,
            tag: tag.clone(),
        })
        .collect();
    let both = |zfs: &dyn Zfs| -> Result<(Sample, Sample)> {
        let (outcomes, held) = measure(zfs, || Ok(zfs.hold(&holds)))?;
        require(&outcomes)?;
        let (outcomes, released) = measure(zfs, || Ok(zfs.release(&holds)))?;
        require(&outcomes)?;
        Ok((held, released))
    };
    let (ours_held, ours_released) = both(native)?;
    let (theirs_held, theirs_released) = both(cli)?;
    row(
        &format!("5 hold {} snapshots", holds.len()),
        &ours_held,
        &theirs_held,
    );
    row(
        &format!("6 release {} snapshots", holds.len()),
        &ours_released,
        &theirs_released,
    );
    let waits = ours_held.counts.txg_waits;
    let text = format!(
        "holding {} snapshots: {waits} waits for a transaction group, at most {WAITS}",
        holds.len()
    );
    checks.add(waits <= WAITS, &text);
    Ok(())
}

/// Destroys all snapshots: those of every other filesystem natively, the others with zfs(8).
pub(crate) fn destroy(world: &World, native: &Native, cli: &Cli) -> Result<()> {
    let mut names = [Vec::new(), Vec::new()];
    for (index, path) in world.filesystems.iter().enumerate() {
        for instant in 0..world.amounts.snapshots {
            names[index % 2].push(snapshot(path, instant)?);
        }
    }
    let mut costs = [Sample::default(); 2];
    for (turn, zfs) in [native as &dyn Zfs, cli].into_iter().enumerate() {
        let (outcomes, cost) = measure(zfs, || Ok(zfs.destroy_snapshots(&names[turn])))?;
        require(&outcomes)?;
        costs[turn] = cost;
    }
    row(
        &format!("7 destroy {} snapshots", names[0].len()),
        &costs[0],
        &costs[1],
    );
    Ok(())
}
