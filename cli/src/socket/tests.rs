//! A control server that replays bytes, and what [`ControlSocket`] makes of them.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use super::*;

/// Recorded from zrepl 0.7.0: vectors/10-control-socket, conn00.
pub(crate) const GO_VERSION: &[u8] = include_bytes!("../../tests/data/control-version.http");
/// conn05.
pub(crate) const GO_NO_SUCH_JOB: &[u8] =
    include_bytes!("../../tests/data/control-no-such-job.http");
/// conn15.
const GO_NOT_FOUND: &[u8] = include_bytes!("../../tests/data/control-not-found.http");
/// conn11: a signal that arrived.
pub(crate) const GO_SIGNAL_DONE: &[u8] =
    include_bytes!("../../tests/data/control-signal-done.http");
/// conn01: the status, in chunks.
pub(crate) const GO_STATUS: &[u8] = include_bytes!("../../tests/data/control-status.http");

/// A server for one connection.
pub(crate) struct Server {
    directory: tempfile::TempDir,
    thread: JoinHandle<Vec<u8>>,
}

impl Server {
    /// Reads the request and answers with `bytes`, whatever was asked.
    pub(crate) fn replay(bytes: &'static [u8]) -> Self {
        Self::serve(move |stream| stream.write_all(bytes))
    }

    /// Reads the request and leaves the answer to `answer`, after which the connection closes.
    fn serve(answer: impl FnOnce(&mut UnixStream) -> io::Result<()> + Send + 'static) -> Self {
        let directory = tempfile::tempdir().expect("temporary directory");
        let listener = UnixListener::bind(directory.path().join("control")).expect("free name");
        let thread = thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a client");
            let request = read_request(&mut stream);
            // A client that has enough hangs up.
            answer(&mut stream).ok();
            request
        });
        Self { directory, thread }
    }

    /// How a client reaches it, with less patience than usual.
    pub(crate) fn socket(&self) -> ControlSocket {
        ControlSocket {
            limit: Duration::from_secs(20),
            ..ControlSocket::new(&self.directory.path().join("control"))
        }
    }

    /// The request as it arrived.
    fn request(self) -> String {
        String::from_utf8(self.thread.join().expect("served")).expect("text")
    }
}

/// Head and body; all questions end with a newline.
fn read_request(stream: &mut UnixStream) -> Vec<u8> {
    let mut request = Vec::new();
    let mut byte = [0];
    while !request.ends_with(b"\n") || !request.windows(4).any(|four| four == b"\r\n\r\n") || {
        request.ends_with(b"\r\n\r\n")
    } {
        match stream.read(&mut byte) {
            Ok(1) => request.push(byte[0]),
            _ => break,
        }
    }
    request
}

type Answer = Result<serde_json::Value, SocketError>;

fn ask(server: &Server) -> Answer {
    server.socket().post("/version", &"")
}

fn message(answer: Answer) -> String {
    answer.expect_err("no usable answer").to_string()
}

#[test]
fn asks_as_zrepl_0_7_0_does() {
    let server = Server::replay(GO_VERSION);
    let answer = ask(&server).expect("answered");
    assert_eq!(answer["RuntimeGo"], "go1.25.12");
    let request = server.request();
    let (head, body) = request.split_once("\r\n\r\n").expect("head and body");
    assert_eq!(body, "\"\"\n");
    let mut lines = head.lines();
    assert_eq!(lines.next(), Some("POST /version HTTP/1.1"));
    let headers: Vec<String> = lines.map(str::to_lowercase).collect();
    for expected in [
        "host: unix",
        "content-type: application/json",
        "content-length: 3",
    ] {
        assert!(headers.iter().any(|line| line == expected), "{request}");
    }
}

#[test]
fn answers_in_chunks_are_whole() {
    let answer = ask(&Server::replay(GO_STATUS)).expect("answered");
    assert_eq!(answer["Jobs"]["push_job"]["type"], "push");
    assert_eq!(answer["Global"]["OsEnviron"][4], "PWD=/");
}

#[test]
fn a_refusal_is_told_in_the_daemons_words() {
    assert_eq!(
        message(ask(&Server::replay(GO_NO_SUCH_JOB))),
        "Job nosuch does not exist"
    );
    assert_eq!(
        message(ask(&Server::replay(GO_NOT_FOUND))),
        "404 page not found"
    );
    let silent = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n";
    let text = message(ask(&Server::replay(silent)));
    assert!(
        text.ends_with(" answers /version with 500 Internal Server Error"),
        "{text}"
    );
}

#[test]
fn nonsense_is_an_error_and_never_a_panic() {
    let cases: [(&[u8], &str); 7] = [
        (b"", "no usable answer"),
        (b"SSH-2.0-OpenSSH_9.9\r\n", "no usable answer"),
        (b"\0\xff\xfe\x80\r\n\r\n", "no usable answer"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}",
            "no usable answer",
        ),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
            "no usable answer",
        ),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
            "cannot understand what the zrepl daemon at",
        ),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            "cannot understand what the zrepl daemon at",
        ),
    ];
    for (bytes, expected) in cases {
        let server = Server::replay(bytes);
        let text = message(ask(&server));
        assert!(
            text.starts_with(expected),
            "{:?}: {text}",
            bytes.escape_ascii().to_string()
        );
        let path = server.directory.path().display().to_string();
        assert!(text.contains(&path), "{text}");
    }
}

#[test]
fn json_of_another_kind_is_an_error() {
    let server =
        Server::replay(b"HTTP/1.1 200 OK\r\nContent-Length: 17\r\n\r\n{\"Version\": null}");
    let answer: Result<zrepl_daemon::version::Build, _> = server.socket().post("/version", &"");
    let text = answer.expect_err("null is no version").to_string();
    assert!(
        text.contains("answers to /version: invalid type: null"),
        "{text}"
    );
}

#[test]
fn a_silent_daemon_does_not_keep_anybody_waiting() {
    let (hang_up, wait) = std::sync::mpsc::channel::<()>();
    let server = Server::serve(move |_| {
        wait.recv().ok();
        Ok(())
    });
    let started = Instant::now();
    let socket = ControlSocket {
        limit: Duration::from_millis(100),
        ..server.socket()
    };
    let text = message(socket.post("/version", &""));
    assert!(text.contains("did not answer within 100ms"), "{text}");
    assert!(started.elapsed() < Duration::from_secs(10));
    drop(hang_up);
}

#[test]
fn an_answer_that_comes_in_drops_ends_at_the_limit_too() {
    let server = Server::serve(|stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")?;
        loop {
            stream.write_all(b" ")?;
            thread::sleep(Duration::from_millis(10));
        }
    });
    let socket = ControlSocket {
        limit: Duration::from_millis(200),
        ..server.socket()
    };
    let text = message(socket.post("/version", &""));
    assert!(text.contains("did not answer within 200ms"), "{text}");
    // It notices that nobody listens.
    server.thread.join().expect("ended");
}

#[test]
fn a_huge_answer_is_not_held() {
    let server = Server::serve(|stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
        loop {
            stream.write_all(&[b' '; 4096])?;
        }
    });
    let text = message(ask(&server));
    assert!(text.ends_with(" has more than 67108864 bytes"), "{text}");
    server.thread.join().expect("ended");
}

#[test]
fn the_longest_answer_is_taken_and_one_byte_more_is_not() {
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n\"12345678\"";
    for (max_answer, taken) in [(10, true), (9, false)] {
        let server = Server::replay(answer);
        let socket = ControlSocket {
            max_answer,
            ..server.socket()
        };
        let answer: Answer = socket.post("/version", &"");
        match answer {
            Ok(text) => assert!(taken && text == "12345678", "{text}"),
            Err(error) => assert!(
                !taken && error.to_string().ends_with(" has more than 9 bytes"),
                "{error}"
            ),
        }
    }
}

#[test]
fn a_socket_without_listener_says_what_to_look_at() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("control");
    drop(UnixListener::bind(&path).expect("free name"));
    let text = message(ControlSocket::new(&path).post("/version", &""));
    assert!(
        text.contains("Connection refused") && text.contains("is the daemon running"),
        "{text}"
    );
}
