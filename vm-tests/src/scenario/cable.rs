//! The cable between two guests: frames pass it, not when it is cut, and again afterwards.

use anyhow::{Result, ensure};

use super::Bench;
use crate::guest::Guest;
use crate::link::{Pair, RECEIVER};
use crate::machine::Options;
use crate::recipe::ZfsVersion;

const SENDS: &str = "
truncate -s 256M /tmp/a.img; zpool create -O mountpoint=/a a /tmp/a.img
dd if=/dev/urandom of=/a/file bs=1M count=8 2>/dev/null; zfs snapshot a@1
sleep 1";

const RECEIVES: &str = "truncate -s 256M /tmp/b.img; zpool create -O mountpoint=/b b /tmp/b.img";

/// A stream of the oldest release arrives whole at the newest, through the cable.
pub(super) fn guests_reach_each_other(bench: &Bench<'_>) -> Result<()> {
    let pair = Pair::boot(
        bench.host,
        (ZfsVersion::V2_1, Options::default()),
        (ZfsVersion::V2_4, Options::default()),
    )?;
    pair.receiver().script(RECEIVES)?.ok()?;
    pair.sender().script(SENDS)?.ok()?;
    // An input that does not end: nc would end the connection with it.
    let listen = "mkfifo /tmp/input; exec 3<>/tmp/input; nc -l -p 7777 <&3 | zfs receive b/c";
    let receive = pair.receiver().command(["sh", "-euc", listen]).start()?;
    pair.sender()
        .script(&format!("sleep 1; zfs send a@1 | nc -w 30 {RECEIVER} 7777"))?
        .ok()?;
    receive.wait()?.ok()?;
    let sum = |guest: &Guest, path: &str| -> Result<String> {
        Ok(guest.script(&format!("sha256sum <{path}"))?.ok()?.text())
    };
    let sent = sum(pair.sender(), "/a/file")?;
    ensure!(sent == sum(pair.receiver(), "/b/c/file")?, "{sent}");

    let ping = format!("ping -c 1 -W 2 {RECEIVER}");
    pair.cut()?;
    let cut = pair.sender().script(&ping)?;
    ensure!(cut.status() != 0, "the cable was cut, but: {cut}");
    pair.restore()?;
    pair.sender().script(&ping)?.ok()?;
    Ok(())
}
