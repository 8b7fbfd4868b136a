//! The transport ssh+stdinserver through a real ssh and a real sshd on the loopback interface: our connector at one end, our
//! listener at the other, and `zrepl stdinserver` in between.

use std::error::Error;
use std::fs::{self, File, Permissions};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::sync::CancellationToken;
use zrepl_daemon::config::connection::Connect as ConnectConfig;
use zrepl_daemon::config::job::JobConfig;
use zrepl_daemon::endpoint::Endpoint;
use zrepl_daemon::rpc::client::{self, RemoteEndpoint};
use zrepl_daemon::rpc::{Client, Endpoints, server};
use zrepl_daemon::transport::ssh::{SshConnector, wait_for_ended};
use zrepl_daemon::transport::stdinserver::StdinserverListener;
use zrepl_daemon::transport::{Connect, ConnectError, Listener, Wire};
use zrepl_proto::pdu::ListFilesystemReq;

const SSHD: &str = "/usr/sbin/sshd";

/// For what must happen at all.
const HANGS: Duration = Duration::from_secs(120);

/// An sshd of our own, on a port of its own; it is killed with this.
struct Sshd {
    directory: TempDir,
    process: Child,
    port: u16,
}

impl Sshd {
    fn start() -> Self {
        assert!(
            Path::new(SSHD).exists(),
            "there is no {SSHD}: `cargo vm setup`, run as root once, installs what the tests need"
        );
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path();
        keygen(&path.join("host"));
        keygen(&path.join("client"));
        keygen(&path.join("stranger"));
        fs::create_dir(path.join("sockets")).expect("new");
        fs::set_permissions(path.join("sockets"), Permissions::from_mode(0o700)).expect("ours");
        let sockets = path.join("sockets");
        let text = format!(
            "global: {{serve: {{stdinserver: {{sockdir: {}}}}}}}\njobs: []\n",
            sockets.display()
        );
        fs::write(path.join("zrepl.yml"), text).expect("new");
        let key = fs::read_to_string(path.join("client.pub")).expect("made above");
        let authorized = format!(
            "command=\"{} --config {} stdinserver client1\",restrict {key}",
            env!("CARGO_BIN_EXE_zrepl"),
            path.join("zrepl.yml").display()
        );
        fs::write(path.join("authorized_keys"), authorized).expect("new");
        if rustix::process::geteuid().is_root() {
            // Where sshd puts itself while it knows nobody; normally the service makes it.
            fs::create_dir_all("/run/sshd").expect("root may");
        }
        loop {
            if let Some((process, port)) = serve(path) {
                return Self {
                    directory,
                    process,
                    port,
                };
            }
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn listen(&self) -> StdinserverListener {
        let identities = ["client1".parse().expect("valid")];
        StdinserverListener::bind(&self.path("sockets"), &identities).expect("bound")
    }

    fn connector(&self) -> SshConnector {
        self.connector_with("client")
    }

    fn connector_with(&self, key: &str) -> SshConnector {
        let user = Command::new("id")
            .arg("-un")
            .output()
            .expect("there")
            .stdout;
        let user = String::from_utf8(user).expect("text");
        let text = format!(
            "jobs: [{{type: push, name: p, filesystems: {{'a<': true}}, snapshotting: {{type: manual}}, \
             pruning: {{keep_sender: [{{type: last_n, count: 1}}], keep_receiver: [{{type: last_n, count: 1}}]}}, \
             connect: {{type: ssh+stdinserver, host: 127.0.0.1, user: {}, port: {}, identity_file: {}, dial_timeout: 2m, \
             options: [StrictHostKeyChecking=no, UserKnownHostsFile=/dev/null, IdentitiesOnly=yes]}}}}]",
            user.trim(),
            self.port,
            self.path(key).display()
        );
        let config = zrepl_daemon::config::parse("test", &text).expect("valid");
        match &config.config.jobs[0] {
            JobConfig::Push(job) => match &job.connect {
                ConnectConfig::Ssh(config) => SshConnector::new(config),
                _ => panic!("not ssh"),
            },
            _ => panic!("not push"),
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path("sshd.log")).unwrap_or_default()
    }

    /// A wire, seen from both ends: active, passive.
    async fn wires(&self, listener: &mut StdinserverListener) -> (Wire, Wire) {
        let connector = self.connector();
        let (active, passive) = tokio::join!(connector.connect(), async {
            let incoming = listener.accept().await.expect("a peer");
            incoming.handshake.await.expect("a wire")
        });
        let active = active.unwrap_or_else(|error| panic!("{}\n{}", chain(&error), self.log()));
        let (passive, identity) = passive;
        assert_eq!(identity.as_str(), "client1");
        (active, passive)
    }

    async fn failure(&self, key: &str) -> ConnectError {
        let result = self.connector_with(key).connect().await;
        result.expect_err("no wire")
    }

    /// Waits until neither ssh nor a session of sshd nor `zrepl stdinserver` is left.
    async fn alone(&self) {
        tokio::task::spawn_blocking(wait_for_ended)
            .await
            .expect("no panic");
        while !self.others().is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Command lines of other processes that have to do with this sshd.
    fn others(&self) -> Vec<String> {
        let ours = self.directory.path().display().to_string();
        let processes = fs::read_dir("/proc").expect("Linux").flatten();
        let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        ids.filter(|&id| id != self.process.id() && id != std::process::id())
            .filter_map(|id| {
                let line = fs::read_to_string(format!("/proc/{id}/cmdline")).ok()?;
                let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
                // After the name in brackets: state, parent.
                let parent = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse();
                (line.contains(&ours) || parent == Ok(self.process.id())).then_some(line)
            })
            .collect()
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

fn keygen(path: &Path) {
    let output = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-f"])
        .arg(path)
        .output()
        .expect("ssh-keygen is missing: `cargo vm setup`, run as root once, installs it");
    assert!(output.status.success(), "{output:?}");
}

/// Starts sshd on a free port; none if somebody else has taken it meanwhile.
fn serve(directory: &Path) -> Option<(Child, u16)> {
    let free = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = free.local_addr().expect("bound").port();
    drop(free);
    let path = directory.display();
    let text = format!(
        "ListenAddress 127.0.0.1:{port}\nHostKey {path}/host\nAuthorizedKeysFile {path}/authorized_keys\nStrictModes no\n\
         UsePAM no\nPidFile none\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nMaxStartups 100\nLogLevel VERBOSE\n"
    );
    let config = directory.join("sshd_config");
    fs::write(&config, text).expect("ours");
    let log = File::create(directory.join("sshd.log")).expect("ours");
    let mut process = Command::new(SSHD)
        .args(["-D", "-e", "-f"])
        .arg(config)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("there");
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        if let Some(status) = process.try_wait().expect("ours") {
            let log = fs::read_to_string(directory.join("sshd.log")).unwrap_or_default();
            assert!(
                log.contains("Address already in use"),
                "sshd ended with {status}: {log}"
            );
            return None;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Some((process, port))
}

fn chain(error: &(dyn Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |&error| error.source());
    let texts: Vec<_> = causes.map(ToString::to_string).collect();
    texts.join(": ")
}

/// Bytes that differ from place to place, and by `seed`.
fn pattern(seed: u8, count: usize) -> Vec<u8> {
    let bytes = (0..=250_u8).cycle().enumerate().take(count);
    bytes
        .map(|(place, byte)| byte ^ place.to_le_bytes()[1] ^ place.to_le_bytes()[2] ^ seed)
        .collect()
}

/// Fails a test that hangs.
async fn in_time(test: impl Future<Output = ()>) {
    tokio::time::timeout(HANGS, test).await.expect("hangs");
}

/// Sends and receives as much at the same time.
async fn exchange(wire: &mut Wire, bytes: &[u8]) -> Vec<u8> {
    let mut received = vec![0; bytes.len()];
    let (read, written) = tokio::join!(
        wire.reader.read_exact(&mut received),
        wire.writer.write_all(bytes)
    );
    read.expect("read");
    written.expect("written");
    received
}

#[tokio::test]
async fn megabytes_pass_both_ways_intact() {
    in_time(async {
        let sshd = Sshd::start();
        let (mut active, mut passive) = sshd.wires(&mut sshd.listen()).await;
        let (there, back) = (pattern(1, 8 << 20), pattern(2, 8 << 20));
        let (at_active, at_passive) =
            tokio::join!(exchange(&mut active, &there), exchange(&mut passive, &back));
        assert!(at_passive == there);
        assert!(at_active == back);
    })
    .await;
}

#[tokio::test]
async fn half_close_by_the_active_side_arrives_and_leaves_the_way_back_open() {
    in_time(async {
        let sshd = Sshd::start();
        let (mut active, mut passive) = sshd.wires(&mut sshd.listen()).await;
        active.writer.write_all(b"request").await.expect("written");
        active.writer.shutdown().await.expect("closed");
        let mut received = Vec::new();
        passive
            .reader
            .read_to_end(&mut received)
            .await
            .expect("read");
        assert_eq!(received, b"request");
        passive.writer.write_all(b"answer").await.expect("written");
        drop(passive);
        received.clear();
        active
            .reader
            .read_to_end(&mut received)
            .await
            .expect("read");
        assert_eq!(received, b"answer");
        // ssh has ended although the wire is still there.
        drop(active);
        sshd.alone().await;
    })
    .await;
}

#[tokio::test]
async fn trap_11_16_half_close_by_the_passive_side_loses_nothing_and_shows_on_close_at_the_latest()
{
    in_time(async {
        let sshd = Sshd::start();
        let (mut active, mut passive) = sshd.wires(&mut sshd.listen()).await;
        passive.writer.write_all(b"answer").await.expect("written");
        passive.writer.shutdown().await.expect("closed");
        let mut received = [0; 6];
        active.reader.read_exact(&mut received).await.expect("read");
        assert_eq!(&received, b"answer");
        active.writer.write_all(b"more").await.expect("written");
        active.writer.shutdown().await.expect("closed");
        let mut rest = Vec::new();
        passive.reader.read_to_end(&mut rest).await.expect("read");
        assert_eq!(rest, b"more");
        drop(passive);
        rest.clear();
        active.reader.read_to_end(&mut rest).await.expect("read");
        assert_eq!(rest, b"");
    })
    .await;
}

#[tokio::test]
async fn what_was_written_before_closing_arrives() {
    in_time(async {
        let sshd = Sshd::start();
        let (mut active, mut passive) = sshd.wires(&mut sshd.listen()).await;
        // Unread input must not hinder it.
        passive
            .writer
            .write_all(&pattern(1, 10_000))
            .await
            .expect("written");
        // More than a pipe holds, less than sshd takes in advance: ssh still has some of it.
        let last = pattern(2, 1 << 20);
        active.writer.write_all(&last).await.expect("written");
        drop(active);
        let mut received = Vec::new();
        passive
            .reader
            .read_to_end(&mut received)
            .await
            .expect("read");
        assert!(received == last, "{} bytes", received.len());
    })
    .await;
}

#[tokio::test]
async fn closing_at_either_end_ends_ssh_the_session_and_stdinserver() {
    in_time(async {
        let sshd = Sshd::start();
        let mut listener = sshd.listen();
        let (active, passive) = sshd.wires(&mut listener).await;
        assert!(sshd.others().len() >= 3, "{:?}", sshd.others());
        drop(active);
        drop(passive);
        sshd.alone().await;
        let (mut active, passive) = sshd.wires(&mut listener).await;
        drop(passive);
        let mut rest = Vec::new();
        active.reader.read_to_end(&mut rest).await.expect("read");
        assert_eq!(rest, b"");
        drop(active);
        sshd.alone().await;
    })
    .await;
}

#[tokio::test]
async fn a_passive_side_that_does_not_close_holds_no_ssh() {
    in_time(async {
        let sshd = Sshd::start();
        let (active, mut passive) = sshd.wires(&mut sshd.listen()).await;
        drop(active);
        tokio::task::spawn_blocking(wait_for_ended)
            .await
            .expect("no panic");
        let mut rest = Vec::new();
        passive.reader.read_to_end(&mut rest).await.expect("read");
        assert_eq!(rest, b"");
        drop(passive);
        sshd.alone().await;
    })
    .await;
}

#[tokio::test]
async fn several_connections_are_independent() {
    in_time(async {
        let sshd = Sshd::start();
        let mut listener = sshd.listen();
        let mut wires = Vec::new();
        for _ in 0..4 {
            wires.push(sshd.wires(&mut listener).await);
        }
        let mut tasks = tokio::task::JoinSet::new();
        for (seed, (mut active, mut passive)) in (0..).zip(wires) {
            tasks.spawn(async move {
                let (there, back) = (pattern(seed, 1 << 20), pattern(seed + 100, 1 << 20));
                let (at_active, at_passive) =
                    tokio::join!(exchange(&mut active, &there), exchange(&mut passive, &back));
                assert!(at_passive == there && at_active == back, "{seed}");
            });
        }
        while let Some(result) = tasks.join_next().await {
            result.expect("no panic");
        }
        sshd.alone().await;
    })
    .await;
}

#[tokio::test]
async fn connections_are_opened_at_the_same_time() {
    in_time(async {
        let sshd = Sshd::start();
        let mut listener = sshd.listen();
        let connectors = [(); 3].map(|()| sshd.connector());
        let [a, b, c] = &connectors;
        let passive = async {
            let mut handshakes = tokio::task::JoinSet::new();
            for _ in 0..3 {
                handshakes.spawn(listener.accept().await.expect("a peer").handshake);
            }
            handshakes.join_all().await
        };
        let (a, b, c, passive) = tokio::join!(a.connect(), b.connect(), c.connect(), passive);
        for wire in [a, b, c] {
            let mut wire = wire.expect("a wire");
            wire.writer.write_all(b"x").await.expect("written");
        }
        for wire in passive {
            let mut received = Vec::new();
            let (mut wire, _) = wire.expect("a wire");
            wire.reader.read_to_end(&mut received).await.expect("read");
            assert_eq!(received, b"x");
        }
    })
    .await;
}

#[tokio::test]
async fn what_is_missing_on_the_other_side_is_named() {
    in_time(async {
        let mut sshd = Sshd::start();
        let error = sshd.failure("client").await;
        assert!(
            matches!(error, ConnectError::Unreachable { .. }),
            "{error:?}"
        );
        let text = chain(&error);
        assert!(text.contains("is the daemon running there"), "{text}");
        assert!(
            text.contains("cannot connect to the zrepl daemon at"),
            "{text}"
        );

        let text = chain(&sshd.failure("stranger").await);
        assert!(text.contains("Permission denied"), "{text}");

        sshd.process.kill().expect("ours");
        sshd.process.wait().expect("ours");
        let text = chain(&sshd.failure("client").await);
        assert!(text.contains("Connection refused"), "{text}");
    })
    .await;
}

/// Knows nothing, and says so.
#[derive(Debug)]
struct Ignorant;

impl Endpoint for Ignorant {}

impl Endpoints for Ignorant {
    fn endpoint(&self, client: &Client) -> Arc<dyn Endpoint> {
        assert_eq!(client.identity.as_str(), "client1");
        Arc::new(Self)
    }
}

#[tokio::test]
async fn control_and_data_connections_pass_through_ssh() {
    in_time(async {
        let sshd = Sshd::start();
        let stop = CancellationToken::new();
        let server = tokio::spawn(server::serve(
            Box::new(sshd.listen()),
            Arc::new(Ignorant),
            server::Settings::new("sink"),
            stop.clone(),
        ));
        let connect = Arc::new(sshd.connector());
        let remote = RemoteEndpoint::new(connect, client::Settings::default(), stop.clone());
        // A ping on either, each on an ssh of its own.
        remote.wait_for_connectivity().await.expect("connected");
        let error = remote.list_filesystems(ListFilesystemReq {}).await;
        assert_eq!(
            error.expect_err("it cannot").to_string(),
            "this side of the replication does not do ListFilesystems"
        );
        drop(remote);
        stop.cancel();
        server.await.expect("no panic");
        sshd.alone().await;
    })
    .await;
}
