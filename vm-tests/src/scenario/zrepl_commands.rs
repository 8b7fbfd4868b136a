//! `zrepl test …` on real pools, by both ways to ZFS: what it prints equals what a shell script in the same guest finds out
//! with zfs(8), and the native way starts no process.

use std::fmt::Write as _;

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha512_256};

use super::Bench;
use crate::daemon;
use crate::guest::{Guest, Output};
use crate::machine::Options;
use crate::shipping::Loader;

/// The values of `ZREPL_ZFS_BACKEND`.
const BACKENDS: [&str; 2] = ["native", "cli"];

/// The dataset whose placeholder property is of the form before zrepl 0.1.
const LEGACY: &str = "tank/legacy";

/// Filesystems, a volume, and each way to have the property or not. `tank-2` sorts between `tank` and what is below it.
const POOLS: &str = "
for pool in tank tank-2; do
    truncate -s 256M /tmp/$pool.img
    zpool create -O mountpoint=none $pool /tmp/$pool.img
done
zfs create tank/plain
zfs create 'tank/with space'
zfs create -o zrepl:placeholder=on 'tank/with space/below'
zfs create -s -V 16M tank/volume
zfs create -o zrepl:placeholder=on tank/placeholder
zfs create tank/placeholder/inherits
zfs create -o zrepl:placeholder=off tank/placeholder/off
zfs create -o zrepl:placeholder='yes please' tank/odd
zfs create -o zrepl:placeholder=$HASH tank/legacy
zfs create -o zrepl:placeholder=$HASH tank/legacy-of-another
zfs snapshot tank/placeholder@s
zfs send -p tank/placeholder@s | zfs receive -u tank-2/received
zfs create tank-2/received/inherits
zfs send -p tank/placeholder@s | zfs receive -u tank-2/overridden
zfs set zrepl:placeholder=on tank-2/overridden
zfs send -p tank/placeholder@s | zfs receive -u -o zrepl:placeholder=off tank-2/received-off";

/// What `zrepl test placeholder --all` is to print, by zfs(8).
const EXPECTED_PLACEHOLDERS: &str = r#"
printf 'IS_PLACEHOLDER\tDATASET\tzrepl:placeholder\n'
zfs list -H -o name -t filesystem,volume | while IFS= read -r name; do
    value=$(zfs get -H -o value -s local zrepl:placeholder "$name")
    answer=no
    case "$value:$name" in
        on:*) answer=yes ;;
        "$HASH:tank/legacy") answer=yes ;;
    esac
    printf '%s\t%s\t%s\n' "$answer" "$name" "$value"
done"#;

/// `zrepl test placeholder`, `test decoderesumetoken`, `version` and `configcheck`.
pub(super) fn zrepl_test_commands(bench: &Bench<'_>) -> Result<()> {
    in_guest_with_zrepl(bench, Vec::new(), |zrepl| {
        placeholders(zrepl)?;
        resume_token(zrepl)?;
        smoke(zrepl)
    })
}

fn placeholders(zrepl: &Zrepl<'_>) -> Result<()> {
    let expected = zrepl.guest_script(EXPECTED_PLACEHOLDERS)?.ok()?.text();
    // The script that computes it must have seen what was made.
    for row in [
        "no\ttank\t",
        "no\ttank-2\t",
        "yes\ttank/with space/below\ton",
        "no\ttank/volume\t",
        "no\ttank/placeholder/inherits\t",
        "no\ttank/odd\tyes please",
        "no\ttank-2/received\t",
        "no\ttank-2/received/inherits\t",
        "yes\ttank-2/overridden\ton",
        "no\ttank-2/received-off\toff",
    ] {
        ensure!(
            expected.lines().any(|line| line == row),
            "{row:?} is not in\n{expected}"
        );
    }
    let (header, rows) = expected.split_once('\n').context("no rows")?;
    ensure!(rows.lines().count() == 16, "{expected}");

    for backend in BACKENDS {
        let all = zrepl.run(backend, "test placeholder --all")?.ok()?;
        ensure!(
            all.text() == expected,
            "{backend}: {all}expected:\n{expected}"
        );
        ensure!(all.stderr.is_empty(), "{all}");
        let both = zrepl
            .run(backend, "test placeholder --all --dataset tank")?
            .ok()?;
        ensure!(both.text() == expected, "{backend}: {both}");

        for row in rows.lines() {
            let name = row.split('\t').nth(1).context("a row without name")?;
            let one = zrepl
                .run(backend, &format!("test placeholder --dataset '{name}'"))?
                .ok()?;
            ensure!(
                one.text() == format!("{header}\n{row}"),
                "{backend}: {one}expected:\n{row}"
            );
        }

        let missing = zrepl.run(backend, "test placeholder --dataset tank/none")?;
        ensure!(
            missing.status() == 1 && missing.text() == header,
            "{backend}: {missing}"
        );
        ensure!(
            missing.stderr == b"filesystem \"tank/none\" does not exist\n",
            "{backend}: {missing}"
        );
        for wrong in ["tank/plain@s", "tank//plain", "/tank"] {
            let refused = zrepl.run(backend, &format!("test placeholder --dataset {wrong}"))?;
            let says = String::from_utf8_lossy(&refused.stderr).contains("is not valid: ");
            ensure!(refused.status() == 1 && says, "{backend}: {refused}");
        }
        let cut = zrepl.guest_script(&zrepl.line(backend, "test placeholder --all | head -n 1"))?;
        ensure!(
            cut.text() == header && cut.stderr.is_empty(),
            "{backend}: {cut}"
        );
    }
    zrepl.starts_processes_only_by_zfs8("test placeholder --all")
}

/// A real token is decoded to what `zfs send -nvt` shows of it.
fn resume_token(zrepl: &Zrepl<'_>) -> Result<()> {
    let guest = zrepl.guest;
    guest
        .script(
            "zfs create -o mountpoint=/data tank/data
             dd if=/dev/urandom of=/data/file bs=1M count=4 2>/dev/null
             zfs snapshot tank/data@1
             zfs send tank/data@1 | head -c 2000000 | zfs receive -s tank-2/partial || true",
        )?
        .ok()?;
    let token = guest
        .run([
            "zfs",
            "get",
            "-H",
            "-o",
            "value",
            "receive_resume_token",
            "tank-2/partial",
        ])?
        .ok()?
        .text();
    ensure!(token.starts_with("1-"), "no token: {token:?}");
    let guid = guest
        .run(["zfs", "get", "-Hp", "-o", "value", "guid", "tank/data@1"])?
        .ok()?
        .text();
    let decoded = zrepl
        .run("native", &format!("test decoderesumetoken --token {token}"))?
        .ok()?;
    let json: serde_json::Value =
        serde_json::from_slice(&decoded.stdout).with_context(|| decoded.to_string())?;
    ensure!(
        json["ToName"] == "tank/data@1" && json["ToGUID"].as_u64() == guid.parse().ok(),
        "guid {guid}: {decoded}"
    );
    Ok(())
}

/// Commands that need no daemon.
fn smoke(zrepl: &Zrepl<'_>) -> Result<()> {
    let client = zrepl.run("native", "version --show client")?.ok()?;
    ensure!(
        client.text().starts_with("client: zrepl version=v"),
        "{client}"
    );
    for line in ["version", "version --show daemon"] {
        let alone = zrepl.run("native", line)?;
        ensure!(alone.status() == 1 && !alone.stderr.is_empty(), "{alone}");
    }
    let none = zrepl.run("native", "configcheck --config /tmp/none.yml")?;
    let says = String::from_utf8_lossy(&none.stderr).contains("could not parse config: ");
    ensure!(none.status() == 1 && says, "{none}");
    let help = zrepl.run("native", "")?.ok()?;
    ensure!(help.text().contains("configcheck"), "{help}");
    let pools = zrepl.run("native", "test zfs")?.ok()?;
    ensure!(pools.text().contains("pool: tank-2 (Online"), "{pools}");
    Ok(())
}

/// A configuration with a job of each kind that has a filter, and one without.
const CONFIGURATION: &str = r#"
jobs:
- name: pushing
  type: push
  connect: {type: tcp, address: "127.0.0.1:1"}
  filesystems: &some
    "tank<": true
    "tank/placeholder": false
    "tank/with space<": false
    "tank/with space/below": true
  snapshotting: {type: manual}
  pruning:
    keep_sender: [{type: not_replicated}]
    keep_receiver: [{type: last_n, count: 1}]
- name: sourcing
  type: source
  serve: {type: local, listener_name: here}
  filesystems: {"<": true, "tank<": false}
  snapshotting: {type: manual}
- name: snapping
  type: snap
  filesystems: {"tank-2/received": true}
  snapshotting: {type: manual}
  pruning:
    keep: [{type: last_n, count: 1}]
- name: sinking
  type: sink
  root_fs: tank-2
  serve: {type: local, listener_name: there}
"#;

/// Each job's filter once more, as patterns of a shell.
const FILTERS: [(&str, &str); 3] = [
    (
        "pushing",
        "'tank/with space/below') v=ACCEPT ;; 'tank/with space'|'tank/with space/'*|tank/placeholder) v=REJECT ;; \
         tank|tank/*) v=ACCEPT ;; *) v=REJECT ;;",
    ),
    ("sourcing", "tank|tank/*) v=REJECT ;; *) v=ACCEPT ;;"),
    ("snapping", "tank-2/received) v=ACCEPT ;; *) v=REJECT ;;"),
];

/// `zrepl test filesystems` and `configcheck`: what needs a configuration.
pub(super) fn zrepl_configuration_commands(bench: &Bench<'_>) -> Result<()> {
    let files = vec![("zrepl.yml".to_owned(), CONFIGURATION.as_bytes().to_vec())];
    in_guest_with_zrepl(bench, files, |zrepl| {
        let config = "--config /put/zrepl.yml";
        let checked = zrepl
            .run("native", &format!("configcheck {config}"))?
            .ok()?;
        ensure!(
            checked.stdout.is_empty() && checked.stderr.is_empty(),
            "{checked}"
        );
        for (job, patterns) in FILTERS {
            let expected = zrepl
                .guest_script(&format!(
                    r#"zfs list -H -o name -t filesystem,volume | while IFS= read -r name; do
                           case "$name" in {patterns} esac
                           printf '%s\t%s\t\n' "$v" "$name"
                       done"#
                ))?
                .ok()?
                .text();
            ensure!(
                expected.contains("ACCEPT\t") && expected.contains("REJECT\t"),
                "{job}: {expected}"
            );
            for backend in BACKENDS {
                let line = format!("{config} test filesystems --job {job}");
                let all = zrepl.run(backend, &format!("{line} --all"))?.ok()?;
                ensure!(
                    all.text() == expected,
                    "{backend}: {all}expected:\n{expected}"
                );
                ensure!(all.stderr.is_empty(), "{all}");
            }
            for row in expected.lines() {
                let name = row.split('\t').nth(1).context("a row without name")?;
                let line = format!("test filesystems {config} --job {job} --input '{name}'");
                let one = zrepl.run("native", &line)?.ok()?;
                ensure!(one.text() == row, "{one}expected: {row}");
            }
        }
        for (line, expected) in [
            ("--all", "must specify --job flag"),
            ("--job pushing", "must set one: --all or --input"),
            (
                "--job pushing --all --input tank",
                "must set one: --all or --input",
            ),
            ("--job none --all", "job \"none\" not defined in config"),
            ("--job sinking --all", "does not have filesystems filter"),
            ("--job pushing --input tank/a@b", "filter errors occurred"),
        ] {
            let refused = zrepl.run("native", &format!("{config} test filesystems {line}"))?;
            let says = String::from_utf8_lossy(&refused.stderr).contains(expected);
            ensure!(refused.status() == 1 && says, "{refused}");
        }
        let nobody = zrepl.run("native", &format!("{config} version"))?;
        let says = String::from_utf8_lossy(&nobody.stderr).starts_with(
            "server: error: cannot connect to the zrepl daemon at /var/run/zrepl/control: ",
        );
        ensure!(nobody.status() == 1 && says, "{nobody}");
        zrepl.starts_processes_only_by_zfs8(&format!(
            "{config} test filesystems --job pushing --all"
        ))
    })
}

/// Builds zrepl, boots a guest with it and makes the pools.
fn in_guest_with_zrepl(
    bench: &Bench<'_>,
    mut files: Vec<(String, Vec<u8>)>,
    steps: impl FnOnce(&Zrepl<'_>) -> Result<()>,
) -> Result<()> {
    files.push(daemon::tested_program()?);
    let options = Options {
        files,
        ..Options::default()
    };
    let loader = Loader::for_image(&bench.host.image(bench.version)?);
    bench.in_guest(&options, |guest| {
        let zrepl = Zrepl {
            guest,
            path: loader.command("zrepl").join(" "),
            hash: legacy_value(LEGACY),
        };
        zrepl.guest_script(POOLS)?.ok()?;
        steps(&zrepl)
    })
}

/// The program in its guest.
struct Zrepl<'a> {
    guest: &'a Guest,
    path: String,
    hash: String,
}

impl Zrepl<'_> {
    /// Runs it with these arguments, as a shell understands them.
    fn run(&self, backend: &str, arguments: &str) -> Result<Output> {
        self.guest_script(&self.line(backend, arguments))
    }

    fn line(&self, backend: &str, arguments: &str) -> String {
        format!("ZREPL_ZFS_BACKEND={backend} {} {arguments}", self.path)
    }

    /// Runs a script that knows the legacy value of [`LEGACY`].
    fn guest_script(&self, script: &str) -> Result<Output> {
        self.guest.script(&format!("HASH={}\n{script}", self.hash))
    }

    /// Natively it starts none; the other way shows that a process would have been seen.
    fn starts_processes_only_by_zfs8(&self, arguments: &str) -> Result<()> {
        for backend in BACKENDS {
            let started = self
                .guest_script(&format!(
                    "ZREPL_ZFS_BACKEND={backend} strace -f -qq -e trace=execve,execveat -o /tmp/trace {} {arguments} >/dev/null
                     grep -c execve /tmp/trace",
                    self.path
                ))?
                .ok()?
                .text();
            // The first is the program itself.
            ensure!(
                (started == "1") == (backend == "native"),
                "{backend}: {started} programs were started by {arguments}"
            );
        }
        Ok(())
    }
}

/// What zrepl before 0.1 set on a placeholder: its hashed name.
fn legacy_value(name: &str) -> String {
    Sha512_256::digest(name)
        .iter()
        .fold(String::new(), |mut text, byte| {
            // Writing to a string does not fail.
            write!(text, "{byte:02x}").ok();
            text
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_legacy_value_is_that_of_the_standard() {
        // The example of FIPS 180-4 for SHA-512/256.
        assert_eq!(
            legacy_value("abc"),
            "53048e2681941ef99b2e29b76b4c7dabe4c2d0c634fc6d46e0e2f13107e7af23"
        );
    }
}
