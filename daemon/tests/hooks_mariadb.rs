//! `mysql-lock-tables` hooks with a real MariaDB.
#![cfg(feature = "hook-mysql")]

mod hooks_bed;
mod private_server;

use std::path::Path;
use std::time::{Duration, Instant};

use hooks_bed::{Busy, around, run, run_around_success};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, OptsBuilder};
use private_server::{Home, Server, find};
use rustix::process::Signal;
use tokio_util::sync::CancellationToken;

const SERVERS: [&str; 3] = [
    "/usr/sbin/mariadbd",
    "/usr/libexec/mariadbd",
    "/usr/local/libexec/mariadbd",
];
const INSTALLERS: [&str; 2] = [
    "/usr/bin/mariadb-install-db",
    "/usr/local/bin/mariadb-install-db",
];

struct MariaDb {
    server: Server,
    socket: String,
}

impl MariaDb {
    /// A server with a table `test.t`, and root without password.
    async fn start() -> Option<Self> {
        let program = find("MariaDB", &SERVERS)?;
        let installer = find("MariaDB", &INSTALLERS)?;
        let home = Home::new();
        let data = format!("--datadir={}", home.path().join("data").display());
        home.run(
            &installer,
            &[
                "--no-defaults",
                &data,
                "--auth-root-authentication-method=normal",
                "--skip-name-resolve",
            ],
        );
        let socket = |directory: &Path| directory.join("sock").display().to_string();
        let arguments = [
            "--no-defaults".to_owned(),
            data,
            format!("--socket={}", socket(home.path())),
            format!("--pid-file={}", home.path().join("pid").display()),
            "--skip-networking".to_owned(),
            "--innodb-buffer-pool-size=8M".to_owned(),
            "--innodb-flush-log-at-trx-commit=0".to_owned(),
            "--plugin-maturity=unknown".to_owned(),
        ];
        let mut server = home.start(&program, &arguments, Signal::TERM);
        let socket = socket(server.directory());
        let mut connection = server.until(async || connect(&socket, "root").await).await;
        execute(
            &mut connection,
            &[
                // Or strangers come in as nobody in particular.
                "DROP USER IF EXISTS ''@localhost",
                "CREATE DATABASE IF NOT EXISTS test",
                "CREATE TABLE test.t (x int)",
                "CREATE TABLE test.other (x int)",
                "CREATE USER weak@localhost",
                "GRANT SELECT, INSERT ON test.* TO weak@localhost",
                "CREATE USER secured@localhost IDENTIFIED BY 'hunter2'",
                "GRANT RELOAD ON *.* TO secured@localhost",
            ],
        )
        .await;
        connection.disconnect().await.expect("closed");
        Some(Self { server, socket })
    }

    fn hook(&self, login: &str, settings: &str) -> String {
        hook(&format!("{login}@unix({})/", self.socket), settings)
    }

    async fn connect(&self) -> Conn {
        let connection = connect(&self.socket, "root").await;
        connection.unwrap_or_else(|e| panic!("{e}\n{}", self.server.log()))
    }

    /// Can somebody write, within a second?
    async fn can_write(&self, table: &str) -> bool {
        let mut connection = self.connect().await;
        execute(&mut connection, &["SET SESSION lock_wait_timeout = 1"]).await;
        let written = connection
            .query_drop(format!("INSERT INTO test.{table} VALUES (1)"))
            .await;
        if let Err(error) = &written {
            assert!(
                error.to_string().contains("Lock wait timeout exceeded"),
                "{error}"
            );
        }
        connection.disconnect().await.expect("closed");
        written.is_ok()
    }

    /// Connections, besides the one that asks, that run or ran a statement like this.
    async fn connections(&self, like: &str) -> Vec<u64> {
        let mut connection = self.connect().await;
        let query = format!(
            "SELECT id FROM information_schema.processlist WHERE id <> connection_id() AND user = 'root' AND {like}"
        );
        let ids = connection.query(query).await.expect("answered");
        connection.disconnect().await.expect("closed");
        ids
    }

    async fn until_nobody_is_connected(&self) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !self.connections("true").await.is_empty() {
            assert!(Instant::now() < deadline, "a connection is left");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// A hook for the lock has begun to wait.
    async fn until_somebody_waits(&self) {
        while self
            .connections("info LIKE 'FLUSH TABLES%'")
            .await
            .is_empty()
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

async fn connect(socket: &str, user: &str) -> mysql_async::Result<Conn> {
    let options = OptsBuilder::default().socket(Some(socket)).user(Some(user));
    Conn::new(options).await
}

async fn execute(connection: &mut Conn, statements: &[&str]) {
    for statement in statements {
        let done = connection.query_drop(*statement).await;
        done.unwrap_or_else(|e| panic!("{statement}: {e}"));
    }
}

fn hook(dsn: &str, settings: &str) -> String {
    format!(
        "[{{type: mysql-lock-tables, dsn: \"{dsn}\", filesystems: {{\"<\": true}}, {settings}}}]"
    )
}

#[tokio::test]
async fn tables_are_locked_during_the_snapshot_and_not_after_it() {
    let Some(db) = MariaDb::start().await else {
        return;
    };
    for fails in [false, true] {
        assert!(db.can_write("t").await);
        let seen = run(
            &db.hook("root", ""),
            &CancellationToken::new(),
            async || {
                assert!(!db.can_write("t").await, "locked");
                if fails { Err(Busy) } else { Ok(()) }
            },
        )
        .await;
        assert!(db.can_write("t").await, "unlocked");
        let statuses = if fails { "Ok Err Ok" } else { "Ok Ok Ok" };
        assert_eq!(seen.statuses(), statuses);
        assert_eq!(seen.report(0), "FLUSH TABLES WITH READ LOCK");
        assert_eq!(seen.report(2), "UNLOCK TABLES");
        db.until_nobody_is_connected().await;
    }
    assert!(
        !db.server.log().contains("Aborted connection"),
        "{}",
        db.server.log()
    );
}

#[tokio::test]
async fn the_server_does_not_wait_for_a_host_that_has_vanished() {
    let Some(db) = MariaDb::start().await else {
        return;
    };
    let mut connection = db.connect().await;
    let log = "SET GLOBAL log_output = 'TABLE', GLOBAL general_log = ON";
    execute(&mut connection, &[log]).await;
    // For all edges, and a snapshot that takes ten minutes.
    let lock = db.hook("root", "timeout: 7s");
    let hooks = format!(
        "{}, {{type: command, path: /bin/true, timeout: 20m}}]",
        lock.trim_end_matches(']')
    );
    assert_eq!(
        run_around_success(&hooks).await.statuses(),
        "Ok Ok Ok Ok Ok"
    );
    // Unless somebody knows better: the server may well close the connection then.
    let dsn = format!("root@unix({})/?wait_timeout=1", db.socket);
    let seen = run(&hook(&dsn, ""), &CancellationToken::new(), async || {
        tokio::time::sleep(Duration::from_secs(2)).await;
        free_again(&db).await;
        Ok(())
    })
    .await;
    assert_eq!(seen.statuses(), "Ok Ok Err");
    let limits: Vec<String> = connection
        .query("SELECT argument FROM mysql.general_log WHERE argument LIKE 'SET SESSION wait_timeout%'")
        .await
        .expect("answered");
    let seconds = 600 + 2 * 7 + 2 * 1200;
    assert_eq!(limits, [format!("SET SESSION wait_timeout = {seconds}")]);
}

#[tokio::test]
async fn a_fatal_failure_of_a_later_hook_unlocks() {
    let Some(db) = MariaDb::start().await else {
        return;
    };
    let lock = db.hook("root", "");
    let hooks = format!(
        "{}, {{type: command, path: /bin/false, err_is_fatal: true}}]",
        lock.trim_end_matches(']')
    );
    let seen = run_around_success(&hooks).await;
    assert_eq!(
        seen.statuses(),
        "Ok Err SkippedDueToFatalErr SkippedDueToFatalErr Ok"
    );
    assert_eq!(seen.report(4), "UNLOCK TABLES");
    assert!(db.can_write("t").await);
}

#[tokio::test]
async fn a_lock_that_is_lost_during_the_snapshot_is_an_error() {
    let Some(db) = MariaDb::start().await else {
        return;
    };
    let seen = run(
        &db.hook("root", ""),
        &CancellationToken::new(),
        async || {
            let deadline = Instant::now() + Duration::from_secs(20);
            // Those of the set-up may take a moment to go.
            let holder = loop {
                if let [holder] = db.connections("true").await[..] {
                    break holder;
                }
                assert!(Instant::now() < deadline);
            };
            let mut connection = db.connect().await;
            execute(&mut connection, &[&format!("KILL {holder}")]).await;
            while !db.can_write("t").await {
                assert!(Instant::now() < deadline);
            }
            Ok(())
        },
    )
    .await;
    assert_eq!(seen.statuses(), "Ok Ok Err");
    assert!(seen.outcome.had_error);
    let report = seen.report(2);
    let expected = "UNLOCK TABLES: the connection to MySQL (root@unix(";
    assert!(report.starts_with(expected), "{report}");
    assert!(
        report.contains("was lost: tables may have been written during the snapshot"),
        "{report}"
    );
}

#[tokio::test]
async fn what_the_server_refuses_is_told() {
    let Some(db) = MariaDb::start().await else {
        return;
    };
    for (login, parts) in [
        (
            "weak",
            [
                "the user may not lock all tables on MySQL (weak@unix(",
                "GRANT RELOAD ON *.*",
                "1227",
            ],
        ),
        (
            "secured:wrong",
            [
                "cannot connect to MySQL (secured:***@unix(",
                "Access denied",
                "1045",
            ],
        ),
        (
            "nobody-knows",
            ["cannot connect to MySQL", "Access denied", "nobody-knows"],
        ),
    ] {
        let seen = run_around_success(&db.hook(login, "err_is_fatal: true")).await;
        assert!(!seen.snapshot(), "{login}");
        let report = seen.report(0);
        for part in parts {
            assert!(report.contains(part), "{part}: {report}");
        }
        assert_eq!(report.matches("ERROR").count(), 1, "{report}");
    }
    let seen = run_around_success(&db.hook("secured:hunter2", "")).await;
    assert_eq!(seen.statuses(), "Ok Ok Ok", "{}", seen.report(0));
}

#[tokio::test]
async fn a_server_that_is_not_there_or_says_nothing_is_an_error() {
    let directory = tempfile::tempdir().expect("a directory");
    let socket = directory.path().join("sock");
    let dsn = format!("root@unix({})/", socket.display());
    let seen = run_around_success(&hook(&dsn, "")).await;
    assert_eq!(seen.statuses(), "Err Ok SkippedDueToPreErr");
    let report = seen.report(0);
    assert!(
        report.starts_with("FLUSH TABLES WITH READ LOCK: cannot connect to MySQL"),
        "{report}"
    );
    assert!(report.contains("No such file"), "{report}");
    let _silent = tokio::net::UnixListener::bind(&socket).expect("bound");
    let seen = run_around_success(&hook(&dsn, "timeout: 500ms")).await;
    assert!(
        seen.report(0).contains("timed out after 500ms"),
        "{}",
        seen.report(0)
    );
    assert!(seen.took < Duration::from_secs(10));
}

#[tokio::test]
async fn a_lock_that_has_to_wait_is_given_up_and_nobody_waits_behind_it() {
    let Some(db) = MariaDb::start().await else {
        return;
    };
    let mut writer = db.connect().await;
    execute(&mut writer, &["LOCK TABLES test.t WRITE"]).await;
    // Without a hook, other tables can be written.
    assert!(db.can_write("other").await);
    let seen = run_around_success(&db.hook("root", "timeout: 1s, err_is_fatal: true")).await;
    assert!(!seen.snapshot());
    assert!(seen.took < Duration::from_secs(10), "{:?}", seen.took);
    let report = seen.report(0);
    assert!(report.contains("timed out after 1s"), "{report}");
    free_again(&db).await;

    // The same if the server would wait for longer, and the job is stopped.
    let stop = CancellationToken::new();
    let hook = db.hook("root", "timeout: 10m");
    let stopper = async {
        db.until_somebody_waits().await;
        assert!(!db.can_write("other").await, "or the test proves nothing");
        stop.cancel();
        Instant::now()
    };
    let (seen, stopped) = tokio::join!(run(&hook, &stop, async || Ok(())), stopper);
    assert!(stopped.elapsed() < Duration::from_secs(5));
    assert!(!seen.snapshot());
    free_again(&db).await;
    execute(&mut writer, &["UNLOCK TABLES"]).await;
}

/// The server notices within seconds that the hook's connection is gone.
async fn free_again(db: &MariaDb) {
    let deadline = Instant::now() + Duration::from_secs(15);
    while !db.can_write("other").await {
        assert!(
            Instant::now() < deadline,
            "writers wait for a lock that nobody wants any more"
        );
    }
}

#[tokio::test]
async fn a_run_that_is_dropped_holds_no_lock() {
    let Some(db) = MariaDb::start().await else {
        return;
    };
    let stop = CancellationToken::new();
    let (taken, waits) = tokio::sync::oneshot::channel();
    let running = around(&db.hook("root", "")).run(&stop, async || {
        taken.send(()).expect("awaited");
        std::future::pending::<Result<(), Busy>>().await
    });
    tokio::select! {
        _ = running => panic!("it hangs"),
        _ = waits => {}
    }
    free_again(&db).await;
    db.until_nobody_is_connected().await;
}
