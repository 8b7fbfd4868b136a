//! `zrepl stdinserver` between an sshd and a daemon, both of which the test plays: bytes, exit status and what is said when
//! something is missing. The recordings meant here are those of zrepl 0.7.0 in vectors/11.

use std::fs::Permissions;
use std::io::{self, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use rustix::fs::{OFlags, fcntl_getfl};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use zrepl_daemon::transport::Listener;
use zrepl_daemon::transport::stdinserver::StdinserverListener;

const PROGRAM: &str = env!("CARGO_BIN_EXE_zrepl");

/// vectors/11c-ssh-daemon-down/conn00.s2c
const PROXY_ERROR: &[u8; 31] = b"SSHCON_PROXY_ERROR\0\0\0\0\0\0\0\0\0\0\0\0\0";

/// A configuration, and the directory of sockets that it names.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("temporary directory");
        let place = Self(directory);
        std::fs::create_dir(place.sockdir()).expect("new");
        std::fs::set_permissions(place.sockdir(), Permissions::from_mode(0o700)).expect("ours");
        let text = format!(
            "global: {{serve: {{stdinserver: {{sockdir: {}}}}}}}\njobs: []\n",
            place.sockdir().display()
        );
        std::fs::write(place.configuration(), text).expect("new");
        place
    }

    fn sockdir(&self) -> PathBuf {
        self.0.path().join("sockets")
    }

    fn configuration(&self) -> PathBuf {
        self.0.path().join("zrepl.yml")
    }

    fn command(&self, identity: &str) -> Command {
        let mut command = Command::new(PROGRAM);
        command
            .arg("--config")
            .arg(self.configuration())
            .args(["stdinserver", identity])
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn start(&self) -> Child {
        self.command("client1").spawn().expect("built by cargo")
    }

    fn run(&self, identity: &str) -> Output {
        self.command(identity).output().expect("built by cargo")
    }

    /// A daemon by hand.
    fn listen(&self) -> UnixListener {
        UnixListener::bind(self.sockdir().join("client1")).expect("new")
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// One message: its bytes, and the descriptors with it.
fn receive(socket: &UnixStream) -> (Vec<u8>, Vec<OwnedFd>) {
    let mut bytes = [0xff; 16];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let message = recvmsg(
        socket,
        &mut [IoSliceMut::new(&mut bytes)],
        &mut control,
        RecvFlags::CMSG_CLOEXEC,
    )
    .expect("a message");
    let descriptors = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
        _ => None,
    });
    let descriptors = descriptors.flatten().collect();
    (bytes[..message.bytes].to_vec(), descriptors)
}

#[tokio::test]
async fn bytes_pass_both_ways_and_the_command_ends_with_the_wire() {
    let place = Place::new();
    let identities = ["client1".parse().expect("valid")];
    let mut listener = StdinserverListener::bind(&place.sockdir(), &identities).expect("bound");
    let mut command = place.start();
    let (mut stdin, mut stdout) = (command.stdin.take(), command.stdout.take());
    let (stdin, stdout) = (stdin.take().expect("piped"), stdout.take().expect("piped"));
    let sent: Vec<u8> = (0..=250).cycle().take(1_000_000).collect();
    let remote = remote(stdin, stdout, sent.clone());
    let incoming = listener.accept().await.expect("a peer");
    let (mut wire, identity) = incoming.handshake.await.expect("a wire");
    assert_eq!(identity.as_str(), "client1");
    let mut received = vec![0; sent.len()];
    let (read, written) = tokio::join!(
        wire.reader.read_exact(&mut received),
        wire.writer.write_all(&sent)
    );
    read.expect("read");
    written.expect("written");
    assert!(received == sent);
    drop(wire);
    let came = remote.await.expect("no panic").expect("both ways");
    assert!(came == sent);
    let output = command.wait_with_output().expect("ours");
    assert_eq!(
        (output.status.code(), text(&output.stderr)),
        (Some(0), String::new())
    );
}

/// The client: greeted, it sends `bytes` and returns what comes until the end.
fn remote(
    mut stdin: impl Write + Send + 'static,
    mut stdout: impl Read + Send + 'static,
    bytes: Vec<u8>,
) -> tokio::task::JoinHandle<io::Result<Vec<u8>>> {
    tokio::task::spawn_blocking(move || {
        let mut greeting = [0; 31];
        stdout.read_exact(&mut greeting)?;
        assert!(greeting.starts_with(b"SSHCON_HELO\0"), "{greeting:?}");
        let writing = std::thread::spawn(move || {
            stdin.write_all(
                &[
                    &b"SSHCON_BEGIN\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"[..],
                    &bytes,
                ]
                .concat(),
            )?;
            Ok::<_, io::Error>(stdin)
        });
        let mut received = Vec::new();
        stdout.read_to_end(&mut received)?;
        writing.join().expect("no panic")?;
        Ok(received)
    })
}

#[test]
fn a_daemon_of_zrepl_0_7_0_gets_what_it_expects() {
    let place = Place::new();
    let listener = place.listen();
    let mut command = place.start();
    let (mut daemon, _) = listener.accept().expect("connected");
    let (bytes, mut descriptors) = receive(&daemon);
    assert_eq!(bytes, [0]);
    assert_eq!(descriptors.len(), 2);
    for descriptor in &descriptors {
        let flags = fcntl_getfl(descriptor).expect("open");
        assert!(flags.contains(OFlags::NONBLOCK));
    }
    // Standard output comes second.
    let mut output = std::fs::File::from(descriptors.pop().expect("two"));
    output.write_all(b"to the client").expect("taken");
    command
        .stdin
        .as_mut()
        .expect("piped")
        .write_all(b"to the daemon")
        .expect("taken");
    let mut input = std::fs::File::from(descriptors.pop().expect("two"));
    let mut received = [0; 13];
    input.read_exact(&mut received).expect("came");
    assert_eq!(&received, b"to the daemon");
    assert!(command.try_wait().expect("ours").is_none(), "it waits");
    drop((input, output));
    daemon.write_all(b"x").expect("taken");
    let output = command.wait_with_output().expect("ours");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(
        (text(&output.stdout), text(&output.stderr)),
        ("to the client".to_owned(), String::new())
    );
}

#[test]
fn a_daemon_that_closes_without_a_byte_makes_it_fail() {
    let place = Place::new();
    let listener = place.listen();
    let command = place.start();
    let (daemon, _) = listener.accept().expect("connected");
    receive(&daemon);
    drop(daemon);
    let output = command.wait_with_output().expect("ours");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output.stdout), "", "it is the daemon's");
    assert!(
        text(&output.stderr).contains("refused the connection or ended"),
        "{output:?}"
    );
}

#[test]
fn without_a_daemon_both_sides_are_told() {
    let place = Place::new();
    let missing = place.run("client1");
    drop(place.listen());
    let dead = place.run("client1");
    for output in [missing, dead] {
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert_eq!(output.stdout, PROXY_ERROR);
        let said = text(&output.stderr);
        assert!(
            said.starts_with("cannot connect to the zrepl daemon at /"),
            "{said}"
        );
        assert!(said.contains("is the daemon running"), "{said}");
    }
}

#[test]
fn a_client_identity_that_cannot_be_one_is_refused_before_anything_is_read() {
    let place = Place::new();
    std::fs::remove_file(place.configuration()).expect("there");
    for identity in ["", ".", "..", "../sockets/client1", "a/b", "für"] {
        let output = place.run(identity);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert_eq!(output.stdout, PROXY_ERROR, "the other side gets an answer");
        let said = text(&output.stderr);
        assert!(said.starts_with("invalid client identity"), "{said}");
    }
}

#[test]
fn without_a_configuration_both_sides_are_told() {
    let place = Place::new();
    std::fs::remove_file(place.configuration()).expect("there");
    let output = place.run("client1");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!(output.stdout, PROXY_ERROR);
    assert!(
        text(&output.stderr).starts_with("could not parse config"),
        "{output:?}"
    );
}

#[test]
fn wrong_arguments_are_refused_with_a_hint() {
    for words in [&["stdinserver"][..], &["stdinserver", "a", "b"]] {
        let output = Command::new(PROGRAM)
            .args(words)
            .output()
            .expect("built by cargo");
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert_eq!(text(&output.stdout), "");
        assert!(text(&output.stderr).contains("--help"), "{output:?}");
    }
}

#[test]
fn it_has_completions_and_a_man_page() {
    let run = |words: &[&str]| {
        Command::new(PROGRAM)
            .args(words)
            .output()
            .expect("built by cargo")
    };
    assert!(text(&run(&["completion", "bash"]).stdout).contains("stdinserver"));
    let directory = tempfile::tempdir().expect("temporary directory");
    let output = run(&["genman", directory.path().to_str().expect("text")]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let page =
        std::fs::read_to_string(directory.path().join("zrepl-stdinserver.8")).expect("written");
    assert!(page.contains("authorized_keys"), "{page}");
}
