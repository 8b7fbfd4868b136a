//! Power fails while a stream is being received: what ZFS had confirmed before must be there after the reboot, and the
//! interrupted receive must either resume or have left nothing.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::Bench;
use crate::machine::Options;

const DISK_BYTES: u32 = 1 << 30;

/// Data in the sent snapshot, and how much of the stream arrives before the cut.
const SENT_MIB: u32 = 64;
const ARRIVED_MIB: u32 = 24;

pub(super) fn power_failure(bench: &Bench<'_>) -> Result<()> {
    let directory = tempfile::tempdir().context("cannot create a temporary directory")?;
    let disk = directory.path().join("pool.img");
    create_disk(&disk).with_context(|| format!("cannot create {}", disk.display()))?;
    let options = Options {
        disks: vec![disk],
        ..Options::default()
    };

    let machine = bench.host.boot(bench.version, &options)?;
    let guest = machine.guest();
    guest
        .script(&format!(
            "zpool create -O mountpoint=/tank -O compression=off tank /dev/vda1
             zfs create tank/source
             dd if=/dev/urandom of=/tank/source/data bs=1M count={SENT_MIB} 2>/dev/null
             zfs snapshot tank/source@1"
        ))?
        .ok()?;
    let checksum = guest.run(["sha256sum", "/tank/source/data"])?.ok()?.text();
    // The receiver gets a part and then waits for the rest, as with a stalled network.
    let in_flight = guest
        .command([
            "sh",
            "-c",
            &format!(
                "zfs send tank/source@1 | {{ dd bs=1M count={ARRIVED_MIB} iflag=fullblock; touch /tmp/arrived; sleep 1000; }} \
                 | zfs receive -s tank/target"
            ),
        ])
        .start()?;
    guest
        .script("until test -e /tmp/arrived; do sleep 0.2; done; sleep 2; zpool sync tank")?
        .ok()?;
    // The last things that ZFS confirms before the cut.
    guest.run(["zfs", "hold", "kept", "tank/source@1"])?.ok()?;
    guest
        .run(["zfs", "bookmark", "tank/source@1", "tank/source#kept"])?
        .ok()?;
    in_flight.leave();
    machine.cut_power();
    // QEMU is gone; a moment for the host to release the image's lock.
    thread::sleep(Duration::from_millis(200));

    let machine = bench.host.boot(bench.version, &options)?;
    let guest = machine.guest();
    guest.run(["zpool", "import", "-d", "/dev", "tank"])?.ok()?;
    let holds = guest
        .run(["zfs", "holds", "-H", "tank/source@1"])?
        .ok()?
        .text();
    ensure!(holds.contains("\tkept\t"), "the hold is lost: {holds:?}");
    guest
        .run(["zfs", "list", "-t", "bookmark", "tank/source#kept"])?
        .ok()
        .context("the bookmark is lost")?;

    let token = guest.run([
        "zfs",
        "get",
        "-H",
        "-o",
        "value",
        "receive_resume_token",
        "tank/target",
    ])?;
    let token = if token.status() == 0 {
        token.text()
    } else {
        String::new()
    };
    if token.len() > 1 {
        let resumed = guest
            .command([
                "sh",
                "-c",
                "zfs send -t \"$0\" | zfs receive -s tank/target",
                &token,
            ])
            .run()?
            .ok()?;
        ensure!(resumed.stderr.is_empty(), "{resumed}");
        bench.say("power_failure: resumed from the token");
    } else {
        let left = guest
            .run(["zfs", "list", "-H", "-o", "name", "-r", "tank"])?
            .ok()?
            .text();
        ensure!(
            !left.contains("target"),
            "no resume token, and something partial is stranded:\n{left}"
        );
        guest
            .script("zfs send tank/source@1 | zfs receive -s tank/target")?
            .ok()?;
        bench.say("power_failure: the receive left nothing and was repeated");
    }
    guest
        .script(
            "test \"$(zfs get -Hpo value guid tank/source@1)\" = \"$(zfs get -Hpo value guid tank/target@1)\"
             zpool scrub -w tank
             test \"$(zpool status -x tank)\" = \"pool 'tank' is healthy\"",
        )?
        .ok()?;
    let received = guest.run(["sha256sum", "/tank/target/data"])?.ok()?.text();
    ensure!(
        received.split_whitespace().next() == checksum.split_whitespace().next(),
        "sent {checksum}, received {received}"
    );
    Ok(())
}

/// A sparse disk with one partition. A pool on a whole disk would have zpool partition it and then wait for udev, which
/// guests do not have.
fn create_disk(path: &Path) -> io::Result<()> {
    const SECTOR: u32 = 512;
    const FIRST: u32 = 2048;
    let mut table = [0_u8; SECTOR as usize];
    let entry = &mut table[446..462];
    // Type "Solaris", which is what ZFS uses; the rest is the first sector and how many.
    entry[4] = 0xbf;
    entry[8..12].copy_from_slice(&FIRST.to_le_bytes());
    entry[12..16].copy_from_slice(&(DISK_BYTES / SECTOR - FIRST).to_le_bytes());
    table[510..].copy_from_slice(&[0x55, 0xaa]);
    let mut file = File::create(path)?;
    file.set_len(u64::from(DISK_BYTES))?;
    file.write_all(&table)
}
