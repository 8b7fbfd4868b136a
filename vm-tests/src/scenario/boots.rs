//! The test machine itself: the right OpenZFS is loaded, and the agent does what scenarios rely on.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::guest::{End, Guest};

pub(super) fn boots_and_loads_zfs(guest: &Guest) -> Result<()> {
    let module = guest.fact("zfs");
    let user_land = guest.run(["zfs", "version"])?.ok()?.text();
    ensure!(
        user_land.contains(&format!("zfs-{module}"))
            && user_land.contains(&format!("zfs-kmod-{module}")),
        "the module is {module:?}, `zfs version` says:\n{user_land}"
    );
    guest
        .script("test -c /dev/zfs && test -z \"$(zpool list -H)\"")?
        .ok()?;
    guest
        .script(
            "truncate -s 128M /tmp/boots.img && zpool create -O mountpoint=/boots boots /tmp/boots.img
             echo data >/boots/file && zfs snapshot boots@1 && zfs send boots@1 | zfs receive boots/copy
             test \"$(cat /boots/copy/file)\" = data
             zpool destroy boots && rm /tmp/boots.img",
        )?
        .ok()?;
    Ok(())
}

pub(super) fn agent_carries_streams_and_statuses(guest: &Guest) -> Result<()> {
    let output = guest.run(["sh", "-c", "echo out; echo err >&2; exit 7"])?;
    ensure!(
        output.stdout == b"out\n" && output.stderr == b"err\n" && output.end == End::Code(7),
        "{output}"
    );
    ensure!(guest.run(["sh", "-c", "kill -9 $$"])?.end == End::Signal(9));
    ensure!(guest.run(["no-such-program"]).is_err());

    // Larger than every buffer on the way.
    let bytes: Vec<u8> = (0..3_000_000_u32)
        .map(|number| number.to_le_bytes()[0] ^ number.to_le_bytes()[2])
        .collect();
    let echoed = guest.command(["cat"]).stdin(bytes.clone()).run()?.ok()?;
    ensure!(
        echoed.stdout == bytes,
        "{} bytes came back",
        echoed.stdout.len()
    );

    let variable = guest
        .command(["sh", "-c", "echo $COLOUR"])
        .env("COLOUR", "green")
        .run()?;
    ensure!(variable.text() == "green", "{variable}");

    let slow = guest.command(["sh", "-c", "echo slow; sleep 3"]).start()?;
    ensure!(guest.run(["echo", "quick"])?.text() == "quick");
    ensure!(slow.wait()?.ok()?.text() == "slow");

    let started = Instant::now();
    let hung = guest
        .command(["sh", "-c", "echo before; sleep 1000"])
        .limit(Duration::from_secs(2))
        .run();
    let message = hung
        .err()
        .map(|error| error.to_string())
        .unwrap_or_default();
    ensure!(
        message.contains("limit of 2 s") && message.contains("before"),
        "a hung command ended with {message:?}"
    );
    let silent = guest
        .command(["sleep", "1000"])
        .silence(Duration::from_secs(1))
        .run();
    let message = silent
        .err()
        .map(|error| error.to_string())
        .unwrap_or_default();
    ensure!(message.contains("printed nothing for 1 s"), "{message:?}");
    ensure!(started.elapsed() < Duration::from_secs(60));
    let left = guest.run(["pidof", "sleep"])?;
    ensure!(left.status() == 1, "still there: {left}");
    Ok(())
}
