//! Power fails while a stream is being received: what ZFS had confirmed before must be there after the reboot, and the
//! interrupted receive must either resume or have left nothing.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::Bench;
use crate::guest::Guest;
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

    let checksum = bench.in_guest(&options, receive_until_the_cut)?;
    // A moment for the host to let go of the image.
    thread::sleep(Duration::from_millis(200));
    bench.in_guest(&options, |guest| recover(bench, guest, &checksum))
}

/// Returns the checksum of what is being sent.
fn receive_until_the_cut(guest: &Guest) -> Result<String> {
    guest
        .script(&format!(
            "zpool create -O mountpoint=/tank -O compression=off tank /dev/vda1
             zfs create tank/source
             dd if=/dev/urandom of=/tank/source/data bs=1M count={SENT_MIB} 2>/dev/null
             zfs snapshot tank/source@1"
        ))?
        .ok()?;
    let checksum = checksum(guest, "/tank/source/data")?;
    // The receiver gets a part and then waits for the rest, as with a stalled network.
    guest
        .command([
            "sh",
            "-c",
            &format!(
                "zfs send tank/source@1 | {{ dd bs=1M count={ARRIVED_MIB} iflag=fullblock; touch /tmp/arrived; sleep 1000; }} \
                 | zfs receive -s tank/target"
            ),
        ])
        .start()?
        .leave();
    guest
        .script("until test -e /tmp/arrived; do sleep 0.2; done; sleep 2; zpool sync tank")?
        .ok()?;
    // The last things that ZFS confirms before the cut.
    guest.run(["zfs", "hold", "kept", "tank/source@1"])?.ok()?;
    guest
        .run(["zfs", "bookmark", "tank/source@1", "tank/source#kept"])?
        .ok()?;
    Ok(checksum)
}

fn recover(bench: &Bench<'_>, guest: &Guest, sent: &str) -> Result<()> {
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
    resume(bench, guest)?;
    guest
        .script(
            "test \"$(zfs get -Hpo value guid tank/source@1)\" = \"$(zfs get -Hpo value guid tank/target@1)\"
             zpool scrub -w tank
             test \"$(zpool status -x tank)\" = \"pool 'tank' is healthy\"",
        )?
        .ok()?;
    let received = checksum(guest, "/tank/target/data")?;
    ensure!(received == sent, "sent {sent}, received {received}");
    Ok(())
}

/// Completes the receive, from the token or from the start.
fn resume(bench: &Bench<'_>, guest: &Guest) -> Result<()> {
    let property = guest.run([
        "zfs",
        "get",
        "-Hpo",
        "value",
        "receive_resume_token",
        "tank/target",
    ])?;
    let token = property.text();
    if property.status() == 0 && token.len() > 1 {
        guest
            .run([
                "sh",
                "-c",
                "zfs send -t \"$0\" | zfs receive -s tank/target",
                &token,
            ])?
            .ok()?;
        bench.say("power_failure: resumed from the token");
        return Ok(());
    }
    let left = guest
        .run(["zfs", "list", "-Hr", "-o", "name", "tank"])?
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
    Ok(())
}

fn checksum(guest: &Guest, path: &str) -> Result<String> {
    let line = guest.run(["sha256sum", path])?.ok()?.text();
    Ok(line
        .split_whitespace()
        .next()
        .unwrap_or_default()
        .to_owned())
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
