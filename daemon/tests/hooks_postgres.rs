//! `postgres-checkpoint` hooks with a real PostgreSQL.
#![cfg(feature = "hook-postgres")]

mod hooks_bed;
mod private_server;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use hooks_bed::{Busy, run, run_around_success};
use private_server::{Home, Server, find, give_away};
use rustix::process::{Pid, Signal};
use tokio_postgres::{Client, NoTls};
use tokio_util::sync::CancellationToken;

const PLACES: [&str; 2] = [
    "/usr/local/bin/postgres",
    "/usr/lib/postgresql/*/bin/postgres",
];
const PORT: &str = "port=5432";

struct Postgres {
    server: Server,
    client: Client,
}

/// What a server is started with.
#[derive(Default)]
struct Setup {
    settings: Vec<String>,
    access: Option<&'static str>,
}

impl Postgres {
    async fn start(setup: Setup) -> Option<Self> {
        Self::start_at(setup, 5432).await
    }

    async fn start_at(setup: Setup, port: u16) -> Option<Self> {
        let program = find("PostgreSQL", &PLACES)?;
        let home = Home::new();
        let data = home.path().join("data");
        let data_text = data.display().to_string();
        let initdb = program.with_file_name("initdb");
        home.run(
            &initdb,
            &[
                "-D",
                &data_text,
                "-A",
                "trust",
                "-U",
                "postgres",
                "--no-sync",
                "-E",
                "UTF8",
                "--no-locale",
            ],
        );
        if let Some(access) = setup.access {
            let file = data.join("pg_hba.conf");
            fs::write(&file, format!("local all all trust\n{access}\n")).expect("written");
        }
        let socket = format!("unix_socket_directories={}", home.path().display());
        let mut arguments = vec!["-D".to_owned(), data_text];
        let fixed = ["listen_addresses=", "fsync=off", "autovacuum=off", &socket];
        let fixed = fixed.into_iter().map(str::to_owned);
        for setting in fixed.chain(setup.settings) {
            arguments.extend(["-c".to_owned(), setting]);
        }
        let mut server = home.start(&program, &arguments, Signal::INT);
        let dsn = format!(
            "host={} port={port} user=postgres",
            server.directory().display()
        );
        let client = server.until(async || connect(&dsn).await).await;
        Some(Self { server, client })
    }

    /// A hook for a user, who is let in without a password.
    fn hook(&self, user: &str, settings: &str) -> String {
        let host = self.server.directory().display();
        hook(
            &format!("host={host} {PORT} user={user} dbname=postgres"),
            settings,
        )
    }

    /// Where in the log of changes the last checkpoint is.
    async fn checkpoint(&self) -> String {
        let query = "SELECT checkpoint_lsn::text FROM pg_control_checkpoint()";
        let row = self.client.query_one(query, &[]).await.expect("answered");
        row.get(0)
    }

    async fn execute(&self, statements: &str) {
        self.client
            .batch_execute(statements)
            .await
            .expect("executed");
    }

    async fn is_at_checkpoint(&self) -> bool {
        let query =
            "SELECT count(*) FROM pg_stat_activity WHERE query = 'CHECKPOINT' AND state = 'active'";
        let row = self.client.query_one(query, &[]).await.expect("answered");
        row.get::<_, i64>(0) > 0
    }
}

async fn connect(dsn: &str) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(dsn, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

fn hook(dsn: &str, settings: &str) -> String {
    format!(
        "[{{type: postgres-checkpoint, dsn: \"{dsn}\", filesystems: {{\"<\": true}}, {settings}}}]"
    )
}

#[tokio::test]
async fn the_checkpoint_is_made_before_the_snapshot() {
    let Some(postgres) = Postgres::start(Setup::default()).await else {
        return;
    };
    postgres
        .execute("CREATE TABLE t (x int); INSERT INTO t SELECT generate_series(1, 1000)")
        .await;
    let before = postgres.checkpoint().await;
    let mut during = String::new();
    let hook = postgres.hook("postgres", "");
    let seen = run(&hook, &CancellationToken::new(), async || {
        during = postgres.checkpoint().await;
        Err(Busy)
    })
    .await;
    assert_ne!(before, during);
    assert_eq!(
        postgres.checkpoint().await,
        during,
        "none after the snapshot"
    );
    assert_eq!(seen.statuses(), "Ok Err Ok");
    assert_eq!(seen.report(0), "postgres CHECKPOINT completed");
    assert_eq!(seen.report(2), "postgres CHECKPOINT completed");
}

#[tokio::test]
async fn a_server_that_is_not_there_prevents_the_snapshot_only_if_that_is_fatal() {
    let nowhere = tempfile::tempdir().expect("a directory");
    let dsn = format!("host={} password=hunter2", nowhere.path().display());
    let seen = run_around_success(&hook(&dsn, "")).await;
    assert_eq!(seen.statuses(), "Err Ok SkippedDueToPreErr");
    let report = seen.report(0);
    let expected = format!(
        "postgres CHECKPOINT failed: cannot connect to PostgreSQL (host={} password=***)",
        nowhere.path().display()
    );
    assert!(report.starts_with(&expected), "{report}");
    assert!(report.contains("No such file"), "{report}");
    let seen = run_around_success(&hook(&dsn, "err_is_fatal: true")).await;
    assert_eq!(
        seen.statuses(),
        "Err SkippedDueToFatalErr SkippedDueToFatalErr"
    );
    assert!(!seen.snapshot());
}

#[tokio::test]
async fn what_the_server_refuses_is_told() {
    let Some(postgres) = Postgres::start(Setup::default()).await else {
        return;
    };
    postgres.execute("CREATE ROLE weak LOGIN").await;
    for (user, parts) in [
        (
            "nobody",
            vec![
                "cannot connect to PostgreSQL",
                "role \"nobody\" does not exist",
            ],
        ),
        (
            "weak",
            vec![
                "the user may not execute CHECKPOINT",
                "grant it pg_checkpoint",
                "ERROR: ",
            ],
        ),
    ] {
        let seen = run_around_success(&postgres.hook(user, "")).await;
        let report = seen.report(0);
        for part in parts {
            assert!(report.contains(part), "{part}: {report}");
        }
    }
    let dsn = format!(
        "host={} {PORT} user=postgres dbname=none",
        postgres.server.directory().display()
    );
    let report = run_around_success(&hook(&dsn, "")).await.report(0);
    assert!(
        report.contains("database \"none\" does not exist"),
        "{report}"
    );
}

/// The process that makes checkpoints, standing still.
struct Frozen(Pid);

impl Frozen {
    async fn new(postgres: &Postgres) -> Self {
        let query = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'";
        let row = postgres
            .client
            .query_one(query, &[])
            .await
            .expect("answered");
        let pid = Pid::from_raw(row.get::<_, i32>(0)).expect("a process");
        rustix::process::kill_process(pid, Signal::STOP).expect("ours");
        Self(pid)
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        rustix::process::kill_process(self.0, Signal::CONT).ok();
    }
}

#[tokio::test]
async fn a_checkpoint_that_hangs_is_given_up() {
    let Some(postgres) = Postgres::start(Setup::default()).await else {
        return;
    };
    let frozen = Frozen::new(&postgres).await;
    let seen = run_around_success(&postgres.hook("postgres", "timeout: 1s")).await;
    assert_eq!(seen.statuses(), "Err Ok SkippedDueToPreErr");
    assert!(seen.took < Duration::from_secs(10), "{:?}", seen.took);
    let report = seen.report(0);
    assert!(
        report.starts_with("postgres CHECKPOINT failed: timed out after 1s; "),
        "{report}"
    );
    // The server gives up as well.
    let deadline = Instant::now() + Duration::from_secs(20);
    while postgres.is_at_checkpoint().await {
        assert!(Instant::now() < deadline, "{}", postgres.server.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // And a job that is stopped does not wait.
    let stop = CancellationToken::new();
    let hook = postgres.hook("postgres", "timeout: 10m");
    let stopper = async {
        while !postgres.is_at_checkpoint().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        stop.cancel();
        Instant::now()
    };
    let (seen, stopped) = tokio::join!(run(&hook, &stop, async || Ok(())), stopper);
    assert!(stopped.elapsed() < Duration::from_secs(5));
    assert!(!seen.snapshot());
    drop(frozen);
}

#[tokio::test]
async fn a_server_that_says_nothing_is_given_up() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("bound");
    let port = listener.local_addr().expect("bound").port();
    let dsn = format!("host=127.0.0.1 port={port} sslmode=disable");
    let seen = run_around_success(&hook(&dsn, "timeout: 500ms")).await;
    assert!(
        seen.report(0).contains("timed out after 500ms"),
        "{}",
        seen.report(0)
    );
    assert!(seen.took < Duration::from_secs(10));
}

/// An authority, and a certificate for `localhost` from it.
fn certificates(directory: &Path) {
    let script = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=authority -keyout ca.key -out ca.crt
        openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=localhost -keyout server.key -out server.csr
        printf 'subjectAltName=DNS:localhost\\n' >ext
        openssl x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile ext -out server.crt
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=stranger -keyout other.key -out other.crt
        chmod 600 server.key";
    let output = Command::new("sh")
        .args(["-ec", script])
        .current_dir(directory)
        .output()
        .expect("sh");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    for file in ["server.key", "server.crt"] {
        give_away(&directory.join(file));
    }
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
    listener.local_addr().expect("bound").port()
}

#[tokio::test]
async fn tls_is_as_strict_as_sslmode_says() {
    let directory = tempfile::Builder::new()
        .prefix("zrepl-tls-")
        .tempdir_in("/tmp")
        .expect("a directory");
    certificates(directory.path());
    let give = |mode| std::os::unix::fs::PermissionsExt::from_mode(mode);
    fs::set_permissions(directory.path(), give(0o755)).expect("mode");
    let file = |name: &str| -> PathBuf { directory.path().join(name) };
    for version in ["TLSv1.2", "TLSv1.3"] {
        let port = free_port();
        let setup = Setup {
            settings: vec![
                "listen_addresses=127.0.0.1".to_owned(),
                format!("port={port}"),
                "ssl=on".to_owned(),
                format!("ssl_cert_file={}", file("server.crt").display()),
                format!("ssl_key_file={}", file("server.key").display()),
                format!("ssl_max_protocol_version={version}"),
                "password_encryption=scram-sha-256".to_owned(),
            ],
            access: Some("hostssl all all 127.0.0.1/32 scram-sha-256"),
        };
        let Some(postgres) = Postgres::start_at(setup, port).await else {
            return;
        };
        postgres
            .execute("CREATE ROLE z SUPERUSER LOGIN PASSWORD 'secret word'")
            .await;
        let ca = format!("sslrootcert={}", file("ca.crt").display());
        let other = format!("sslrootcert={}", file("other.crt").display());
        for (host, parameters, expected) in [
            ("127.0.0.1", String::new(), "completed"),
            ("localhost", "sslmode=require".to_owned(), "completed"),
            ("127.0.0.1", format!("sslmode=verify-ca {ca}"), "completed"),
            (
                "localhost",
                format!("sslmode=verify-full {ca}"),
                "completed",
            ),
            (
                "127.0.0.1",
                format!("sslmode=verify-full {ca}"),
                "NotValidForName",
            ),
            (
                "127.0.0.1",
                format!("sslmode=verify-ca {other}"),
                "UnknownIssuer",
            ),
            (
                "127.0.0.1",
                format!("sslmode=require {other}"),
                "UnknownIssuer",
            ),
            (
                "localhost",
                "sslmode=disable".to_owned(),
                "no pg_hba.conf entry",
            ),
        ] {
            let dsn = format!(
                "host={host} hostaddr=127.0.0.1 port={port} user=z password='secret word' dbname=postgres {parameters}"
            );
            let report = run_around_success(&hook(&dsn, "")).await.report(0);
            assert!(
                report.contains(expected),
                "{version} {host} {parameters}: {report}\n{}",
                postgres.server.log()
            );
            assert!(!report.contains("secret word"), "{report}");
        }
    }
}

#[tokio::test]
async fn plain_text_is_not_fallen_back_to() {
    let port = free_port();
    let setup = Setup {
        settings: vec![
            "listen_addresses=127.0.0.1".to_owned(),
            format!("port={port}"),
        ],
        access: Some("host all all 127.0.0.1/32 trust"),
    };
    let Some(_postgres) = Postgres::start_at(setup, port).await else {
        return;
    };
    let dsn = format!("host=127.0.0.1 port={port} user=postgres");
    let report = run_around_success(&hook(&dsn, "")).await.report(0);
    assert!(report.contains("server does not support TLS"), "{report}");
    let report = run_around_success(&hook(&format!("{dsn} sslmode=disable"), ""))
        .await
        .report(0);
    assert_eq!(report, "postgres CHECKPOINT completed");
}
