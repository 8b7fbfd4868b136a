//! The other process as Go's `zrepl stdinserver` behaves, and as it should not.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener as StdUnixListener, UnixStream as StdUnixStream};
use std::path::PathBuf;

use rustix::io::FdFlags;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use zrepl_proto::netssh::Message;

use super::*;
use crate::causes::chain;
use crate::transport::{RefusedPeer, Wire};

mod files;

fn directory() -> TempDir {
    let directory = tempfile::tempdir().expect("temporary directory");
    fs::set_permissions(directory.path(), Permissions::from_mode(0o700)).expect("ours");
    directory
}

fn identities(names: &[&str]) -> Vec<ClientIdentity> {
    let identities = names.iter().map(|name| name.parse().expect("valid"));
    identities.collect()
}

/// A listener for some clients in a directory of its own.
struct Sockets {
    listener: StdinserverListener,
    directory: TempDir,
}

impl Sockets {
    fn new(clients: &[&str]) -> Self {
        let directory = directory();
        let listener = StdinserverListener::bind(directory.path(), &identities(clients));
        let listener = listener.unwrap_or_else(|error| panic!("{}", chain(&error)));
        Self {
            listener,
            directory,
        }
    }

    fn path(&self, client: &str) -> PathBuf {
        self.directory.path().join(client)
    }

    fn connect(&self, client: &str) -> StdUnixStream {
        StdUnixStream::connect(self.path(client)).expect("listening")
    }

    async fn accept(&mut self) -> Incoming {
        self.listener.accept().await.expect("a peer")
    }
}

/// Passes descriptors as go-netssh does: all of them with one byte.
fn pass(process: &StdUnixStream, descriptors: &[BorrowedFd<'_>]) {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(16))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() {
        assert!(control.push(SendAncillaryMessage::ScmRights(descriptors)));
    }
    let sent = sendmsg(
        process,
        &[IoSlice::new(&[0])],
        &mut control,
        SendFlags::empty(),
    );
    assert_eq!(sent, Ok(1));
}

/// What sshd gives to the command it runs, and what it keeps.
struct Session {
    /// The command's standard input and output, which the command keeps open, too.
    given: [OwnedFd; 2],
    to_command: File,
    from_command: File,
}

impl Session {
    fn pipes() -> Self {
        let (stdin, to_command) = io::pipe().expect("a pipe");
        let (from_command, stdout) = io::pipe().expect("a pipe");
        Self {
            given: [stdin.into(), stdout.into()],
            to_command: OwnedFd::from(to_command).into(),
            from_command: OwnedFd::from(from_command).into(),
        }
    }

    fn two_sockets() -> Self {
        let (stdin, to_command) = StdUnixStream::pair().expect("a pair");
        let (stdout, from_command) = StdUnixStream::pair().expect("a pair");
        Self {
            given: [stdin.into(), stdout.into()],
            to_command: OwnedFd::from(to_command).into(),
            from_command: OwnedFd::from(from_command).into(),
        }
    }

    fn one_socket() -> Self {
        let (command, sshd) = StdUnixStream::pair().expect("a pair");
        let other = command.try_clone().expect("a descriptor");
        let clone = sshd.try_clone().expect("a descriptor");
        Self {
            given: [command.into(), other.into()],
            to_command: OwnedFd::from(sshd).into(),
            from_command: OwnedFd::from(clone).into(),
        }
    }

    fn pass_to(&self, process: &StdUnixStream) {
        pass(process, &[self.given[0].as_fd(), self.given[1].as_fd()]);
    }

    /// What the remote ssh does until there is a connection. Go does not look at the answer, nor do we.
    fn greet(&mut self) {
        let mut greeting = [0; 31];
        self.from_command.read_exact(&mut greeting).expect("there");
        assert_eq!(greeting, Message::Helo.encode());
        self.to_command.write_all(&[b'?'; 31]).expect("taken");
    }
}

const SESSIONS: [fn() -> Session; 3] = [Session::pipes, Session::two_sockets, Session::one_socket];

/// Does on a thread what blocks.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("no panic")
}

async fn greeted(mut session: Session) -> Session {
    aside(move || {
        session.greet();
        session
    })
    .await
}

async fn wire(incoming: Incoming, session: Session) -> (Wire, ClientIdentity, Session) {
    let (wire, session) = tokio::join!(incoming.handshake, greeted(session));
    let (wire, identity) = wire.unwrap_or_else(|error| panic!("{}", chain(&error)));
    (wire, identity, session)
}

async fn connected(session: Session) -> (Wire, StdUnixStream, Session) {
    let mut sockets = Sockets::new(&["client1"]);
    let process = sockets.connect("client1");
    session.pass_to(&process);
    let (wire, identity, session) = wire(sockets.accept().await, session).await;
    assert_eq!(identity.as_str(), "client1");
    (wire, process, session)
}

/// What a listener says to somebody who passes these.
async fn refusal(descriptors: &[BorrowedFd<'_>]) -> String {
    let mut sockets = Sockets::new(&["client1"]);
    let mut process = sockets.connect("client1");
    pass(&process, descriptors);
    let refused = sockets.accept().await.handshake.await;
    let error = refused.expect_err("not a wire");
    assert_eq!(rest(&mut process), b"", "closed without a byte");
    chain(&error)
}

/// What comes until the end.
fn rest(stream: &mut impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("readable");
    bytes
}

#[tokio::test]
async fn bytes_pass_both_ways_over_pipes_and_over_sockets() {
    let sent: Vec<u8> = (0..=250).cycle().take(1_000_000).collect();
    for session in SESSIONS {
        let (mut wire, mut process, session) = connected(session()).await;
        let Session {
            given,
            mut to_command,
            mut from_command,
        } = session;
        let bytes = sent.clone();
        let writing = aside(move || to_command.write_all(&bytes).map(|()| to_command));
        let count = sent.len();
        let reading = aside(move || {
            let mut bytes = vec![0; count];
            from_command.read_exact(&mut bytes).map(|()| bytes)
        });
        let mut received = vec![0; sent.len()];
        let (written, read, ours, theirs) = tokio::join!(
            wire.writer.write_all(&sent),
            wire.reader.read_exact(&mut received),
            writing,
            reading
        );
        written.expect("written");
        read.expect("read");
        ours.expect("taken");
        assert!(received == sent);
        assert!(theirs.expect("came") == sent);
        drop((wire, given));
        assert_eq!(rest(&mut process), [0]);
    }
}

#[tokio::test]
async fn the_end_of_the_clients_input_is_the_end_of_the_wires() {
    for session in [Session::pipes, Session::two_sockets] {
        let (mut wire, _process, session) = connected(session()).await;
        let Session {
            given,
            mut to_command,
            mut from_command,
        } = session;
        to_command.write_all(b"last").expect("taken");
        drop(to_command);
        let mut received = Vec::new();
        wire.reader.read_to_end(&mut received).await.expect("read");
        assert_eq!(received, b"last");
        wire.writer.write_all(b"answer").await.expect("written");
        drop((wire, given));
        assert_eq!(rest(&mut from_command), b"answer");
    }
}

#[tokio::test]
async fn a_half_closed_socket_ends_for_the_client_although_the_command_holds_it() {
    for session in [Session::two_sockets, Session::one_socket] {
        let (mut wire, _process, mut session) = connected(session()).await;
        wire.writer.write_all(b"last").await.expect("written");
        wire.writer.shutdown().await.expect("closed");
        let error = wire.writer.write_all(b"x").await.expect_err("closed");
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        let session = aside(move || {
            assert_eq!(rest(&mut session.from_command), b"last");
            session
        })
        .await;
        (&session.to_command).write_all(b"still").expect("taken");
        let mut received = [0; 5];
        wire.reader.read_exact(&mut received).await.expect("read");
        assert_eq!(&received, b"still");
    }
}

#[tokio::test]
async fn a_half_closed_pipe_ends_for_the_client_with_the_command() {
    let (mut wire, mut process, mut session) = connected(Session::pipes()).await;
    wire.writer.write_all(b"last").await.expect("written");
    wire.writer.shutdown().await.expect("closed");
    drop(session.given);
    assert_eq!(rest(&mut session.from_command), b"last");
    session.to_command.write_all(b"still").expect("taken");
    let mut received = [0; 5];
    wire.reader.read_exact(&mut received).await.expect("read");
    drop(wire);
    assert_eq!(rest(&mut process), [0]);
}

#[tokio::test]
async fn the_command_may_end_when_both_descriptors_are_closed() {
    let (wire, mut process, session) = connected(Session::pipes()).await;
    let Session {
        given,
        mut to_command,
        mut from_command,
    } = session;
    drop(given);
    drop(wire.writer);
    process.set_nonblocking(true).expect("ours");
    let early = process.read(&mut [0]).expect_err("nothing yet");
    assert_eq!(early.kind(), io::ErrorKind::WouldBlock);
    drop(wire.reader);
    assert_eq!(rest(&mut process), [0]);
    assert_eq!(rest(&mut from_command), b"");
    let error = to_command.write_all(b"x").expect_err("nobody reads");
    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
}

#[tokio::test]
async fn other_than_two_descriptors_are_refused_and_closed() {
    for (count, expected) in [
        (0, "but there are 0"),
        (1, "but there are 1"),
        (3, "but there are 3"),
        (12, "more than can be passed at once"),
    ] {
        let (mut reader, writer) = io::pipe().expect("a pipe");
        let text = refusal(&vec![writer.as_fd(); count]).await;
        assert!(
            text.starts_with(
                "passing of standard input and output failed: expected two file descriptors"
            ),
            "{text}"
        );
        assert!(text.ends_with(expected), "{text}");
        drop(writer);
        assert_eq!(rest(&mut reader), b"", "nobody holds it any more");
    }
}

#[tokio::test]
async fn descriptors_that_cannot_carry_a_wire_are_refused() {
    let null = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/null")
        .expect("there");
    let file = tempfile::tempfile().expect("a file");
    let (datagrams, _other) = std::os::unix::net::UnixDatagram::pair().expect("a pair");
    let (pipe, output) = io::pipe().expect("a pipe");
    let internet = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    for (descriptors, expected) in [
        (
            [null.as_fd(), output.as_fd()],
            "input failed: it is neither a pipe nor a stream socket of this machine, but a device",
        ),
        (
            [pipe.as_fd(), null.as_fd()],
            "output failed: it is neither a pipe nor a stream socket of this machine, but a device",
        ),
        ([file.as_fd(), file.as_fd()], "but a file"),
        (
            [datagrams.as_fd(), datagrams.as_fd()],
            "but another kind of socket",
        ),
        (
            [internet.as_fd(), output.as_fd()],
            "but another kind of socket",
        ),
        (
            [output.as_fd(), output.as_fd()],
            "not in O_RDONLY or O_RDWR access mode",
        ),
        (
            [pipe.as_fd(), pipe.as_fd()],
            "not in O_WRONLY or O_RDWR access mode",
        ),
    ] {
        let text = refusal(&descriptors).await;
        assert!(text.contains(expected), "{text}");
    }
}

#[tokio::test]
async fn received_descriptors_are_not_inherited() {
    let (ours, theirs) = StdUnixStream::pair().expect("a pair");
    pass(&theirs, &[theirs.as_fd(), theirs.as_fd()]);
    let (bytes, received, cut) = handover::receive_now(ours.as_fd()).expect("received");
    assert_eq!((bytes, received.len(), cut), (1, 2, false));
    for fd in received {
        let flags = rustix::io::fcntl_getfd(fd).expect("open");
        assert!(flags.contains(FdFlags::CLOEXEC));
    }
}

#[tokio::test]
async fn a_process_that_goes_away_is_refused() {
    let mut sockets = Sockets::new(&["client1"]);
    drop(sockets.connect("client1"));
    let error = sockets.accept().await.handshake.await.expect_err("gone");
    assert!(
        chain(&error).ends_with("the process went away without passing any"),
        "{error}"
    );

    let session = Session::one_socket();
    session.pass_to(&sockets.connect("client1"));
    drop(session);
    let error = sockets.accept().await.handshake.await.expect_err("gone");
    assert!(matches!(error, RefusedPeer::Handshake { .. }), "{error:?}");
}

#[tokio::test]
async fn a_silent_peer_delays_nobody_and_may_speak_later() {
    let mut sockets = Sockets::new(&["client1", "client2"]);
    let silent = sockets.connect("client1");
    let late = sockets.accept().await;
    for client in ["client1", "client2"] {
        let session = Session::pipes();
        let process = sockets.connect(client);
        session.pass_to(&process);
        let (_, identity, _) = wire(sockets.accept().await, session).await;
        assert_eq!(identity.as_str(), client);
    }
    let session = Session::pipes();
    session.pass_to(&silent);
    wire(late, session).await;
}

#[tokio::test]
async fn a_busy_client_does_not_keep_others_out() {
    let mut sockets = Sockets::new(&["a", "b"]);
    let _busy = [(); 3].map(|()| sockets.connect("a"));
    let _other = sockets.connect("b");
    let mut origins = vec![
        sockets.accept().await.peer.origin,
        sockets.accept().await.peer.origin,
    ];
    origins.sort();
    assert_eq!(origins, ["a", "b"]);
}

#[tokio::test]
async fn peers_are_named_by_socket_and_process() {
    let mut sockets = Sockets::new(&["client1"]);
    let _process = sockets.connect("client1");
    let peer = sockets.accept().await.peer;
    let (path, pid) = (sockets.path("client1"), std::process::id());
    assert_eq!(peer.name, format!("{} (process {pid})", path.display()));
    assert_eq!(peer.origin, "client1");
    assert_eq!(
        sockets.listener.address(),
        sockets.directory.path().display().to_string()
    );
}
