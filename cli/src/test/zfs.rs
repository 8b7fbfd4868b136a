//! `zrepl test zfs`: how ZFS is reached here and which pools there are. The first thing to try on a new host.

use std::io::Write;

/// Opens ZFS and describes it.
pub(crate) fn run(out: &mut impl Write) -> anyhow::Result<()> {
    let zfs = super::open()?;
    writeln!(out, "backend: {:?}", zfs.backend())?;
    writeln!(out, "kernel module: OpenZFS {}", zfs.module_version()?)?;
    for pool in zfs.pools()? {
        writeln!(
            out,
            "pool: {} ({:?}, guid {})",
            pool.name, pool.health, pool.guid
        )?;
    }
    Ok(())
}
