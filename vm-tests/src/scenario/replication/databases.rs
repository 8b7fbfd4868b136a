//! Snapshots with hooks for databases: the daemon is in a guest, PostgreSQL and MariaDB are on the host.

use anyhow::{Result, ensure};

use super::{in_guest_with_zrepl, state};
use crate::daemon::Daemon;
use crate::databases::{Database, HOST};
use crate::machine::Options;
use crate::scenario::Bench;

/// The hook that is last before the snapshot says that it has come, and waits until it may go on.
const PREPARE: &str = "
ip address add 10.0.2.15/24 dev eth0; ip link set eth0 up
truncate -s 256M /tmp/tank.img
zpool create -O mountpoint=none tank /tmp/tank.img
zfs create tank/db
cat >/tmp/hook <<'END'
#!/bin/sh
[ $ZREPL_HOOKTYPE = pre_snapshot ] || exit 0
[ ! -e /tmp/unattended ] || exit 0
touch /tmp/come
for try in $(seq 600); do [ ! -e /tmp/go ] || exit 0; sleep 0.1; done
exit 1
END
chmod +x /tmp/hook
";

pub(crate) fn hooks_for_databases(bench: &Bench<'_>) -> Result<()> {
    let (postgres, mariadb) = (Database::postgres()?, Database::mariadb()?);
    mariadb.ask("CREATE DATABASE shop; CREATE TABLE shop.t (x int)")?;
    let jobs = format!(
        "- name: snap
  type: snap
  filesystems: {{tank/db: true}}
  snapshotting:
    type: cron
    cron: '0 0 1 1 *'
    prefix: hooked_
    hooks:
    - type: postgres-checkpoint
      dsn: 'host={HOST} port={} user=postgres dbname=postgres sslmode=disable'
      filesystems: {{tank/db: true}}
    - type: mysql-lock-tables
      dsn: 'root@tcp({HOST}:{})/'
      filesystems: {{tank/db: true}}
    - {{type: command, path: /tmp/hook, timeout: 100s, filesystems: {{tank/db: true}}}}
  pruning: {{keep: [{{type: regex, regex: '.*'}}]}}
",
        postgres.port(),
        mariadb.port()
    );
    let options = Options {
        reaches_host: true,
        ..Options::default()
    };
    in_guest_with_zrepl(bench, options, |guest, program| {
        guest.script(PREPARE)?.ok()?;
        let daemon = Daemon::new(guest, program, "daemon", &jobs)?;
        daemon.start()?;
        let snapshots = || -> Result<usize> {
            let listed = guest.script("zfs list -H -o name -t snapshot tank/db")?;
            Ok(listed.ok()?.text().lines().count())
        };
        let checkpoint = || postgres.ask("SELECT checkpoint_lsn FROM pg_control_checkpoint()");
        let write =
            || mariadb.ask("SET SESSION lock_wait_timeout = 1; INSERT INTO shop.t VALUES (1)");

        postgres.ask("CREATE TABLE t AS SELECT generate_series(1, 1000)")?;
        let before = checkpoint()?;
        write()?;
        daemon.zrepl("signal snapshot snap")?.ok()?;
        state::settles(|| {
            guest.script("[ -e /tmp/come ]")?.ok()?;
            Ok(())
        })?;
        ensure!(
            snapshots()? == 0,
            "the snapshot does not wait for its hooks"
        );
        ensure!(checkpoint()? != before, "PostgreSQL has made no checkpoint");
        let locked = write().expect_err("MariaDB is not locked");
        ensure!(
            format!("{locked:#}").contains("Lock wait timeout exceeded"),
            "{locked:#}"
        );
        guest.script("touch /tmp/go")?.ok()?;
        state::settles(|| {
            ensure!(snapshots()? == 1, "no snapshot");
            write()?;
            Ok(())
        })?;
        bench.say("hooks for databases: checkpoint made and tables locked before the snapshot, unlocked after it");

        // Without its databases it takes its snapshots all the same, unless a hook is fatal.
        drop((postgres, mariadb));
        guest.script("touch /tmp/unattended")?.ok()?;
        daemon.zrepl("signal snapshot snap")?.ok()?;
        state::settles(|| {
            ensure!(snapshots()? == 2, "no snapshot without databases");
            Ok(())
        })?;
        let log = daemon.log()?;
        for kind in ["postgres checkpoint", "MySQL FLUSH TABLES"] {
            ensure!(
                log.lines()
                    .any(|line| line.contains(kind) && line.contains("efused")),
                "nothing says that the {kind} hook could not connect:\n{log}"
            );
        }
        bench.say("databases that are not there are named, and the snapshot is taken");
        daemon.kill("TERM")
    })
}
