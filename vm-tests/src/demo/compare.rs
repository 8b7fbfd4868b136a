//! Whether both sides hold the same, by what zfs(8) and sha256sum say in either guest.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};

use crate::guest::Guest;

/// Below what the receiver files the sender's datasets.
const BELOW: &str = "backup/sender/";

/// Prints a line for each snapshot of the receiver. An error if one differs from the sender's, or the newest one is missing.
pub(super) fn both_sides(sender: &Guest, receiver: &Guest) -> Result<()> {
    let status = receiver.run([
        "zfs",
        "get",
        "-H",
        "-o",
        "value",
        "keystatus",
        "backup/sender/tank/secret",
    ])?;
    ensure!(status.clone().ok()?.text() == "unavailable", "{status}");
    println!("  the receiver has no key for tank/secret; for this comparison it gets it now");
    receiver
        .script("zfs load-key -L file:///put/secret.key backup/sender/tank/secret")?
        .ok()?;
    let (ours, theirs) = (
        guids(sender, "tank", "")?,
        guids(receiver, "backup", BELOW)?,
    );
    for name in ours
        .keys()
        .filter(|name| name.ends_with("@tuesday") && *name != "tank@tuesday")
    {
        ensure!(theirs.contains_key(name), "{name} is not on the receiver");
    }
    for (name, guid) in &theirs {
        let on_sender = ours.get(name);
        ensure!(
            on_sender.is_none_or(|ours| ours == guid),
            "{name} has guid {guid} on the receiver and {on_sender:?} on the sender"
        );
        let Some(dataset) = name.strip_suffix("@tuesday") else {
            let equal = if on_sender.is_some() {
                "equal"
            } else {
                "(no longer on the sender)"
            };
            println!("  {name:<26} guid {guid:>20} {equal}");
            continue;
        };
        let contents = content(sender, dataset, "")?;
        ensure!(
            contents == content(receiver, dataset, BELOW)?,
            "{name} has other contents on the receiver"
        );
        println!(
            "  {name:<26} guid {guid:>20} equal, sha256 {} equal",
            &contents[..16]
        );
    }
    Ok(())
}

/// Guids of snapshots by the sender's names.
fn guids(guest: &Guest, root: &str, below: &str) -> Result<BTreeMap<String, String>> {
    let list = guest
        .run([
            "zfs",
            "list",
            "-Hp",
            "-r",
            "-t",
            "snapshot",
            "-o",
            "name,guid",
            root,
        ])?
        .ok()?;
    list.text()
        .lines()
        .map(|line| {
            let (name, guid) = line.split_once('\t').context("no columns")?;
            let name = name
                .strip_prefix(below)
                .with_context(|| format!("{name} is not below {below}"))?;
            Ok((name.to_owned(), guid.to_owned()))
        })
        .collect()
}

/// The checksum of all that is in a dataset's newest snapshot; of the only volume, of the device.
fn content(guest: &Guest, dataset: &str, below: &str) -> Result<String> {
    let script = if dataset == "tank/vm" {
        "sha256sum </dev/zd0".to_owned()
    } else {
        format!(
            "mkdir -p /tmp/look; mount -t zfs {below}{dataset}@tuesday /tmp/look
             cd /tmp/look; find . -type f | sort | xargs sha256sum | sha256sum; cd /; umount /tmp/look"
        )
    };
    let sum = guest.script(&script)?.ok()?.text();
    ensure!(sum.len() > 64, "no checksum of {dataset}: {sum:?}");
    Ok(sum)
}
