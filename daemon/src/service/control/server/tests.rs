use std::collections::BTreeMap;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::net::UnixStream;
use tokio::time::Instant;

use super::*;
use crate::job::signals::{SignalError, Signals};
use crate::service::control::{Refused, Signal};
use crate::status::{Global, Status};

/// A daemon with one push job that waits, and `padding` bytes of status.
#[derive(Debug, Default)]
struct Daemon {
    push_job: Signals,
    padding: usize,
}

impl Controlled for Daemon {
    fn status(&self) -> Status {
        Status {
            jobs: BTreeMap::new(),
            global: Global {
                environment: vec!["<".repeat(self.padding)],
                ..Global::default()
            },
        }
    }

    fn signal(&self, job: &str, signal: Signal) -> Result<(), Refused> {
        let deaf = Signals::default();
        let signals = match job {
            "push_job" => &self.push_job,
            "_control" => &deaf,
            other => return Err(Refused::NoSuchJob(other.to_owned())),
        };
        match signal {
            Signal::Wakeup => signals.wakeup()?,
            Signal::Reset => signals.reset()?,
            Signal::Snapshot => return Err(SignalError::NoSnapshots.into()),
            Signal::Prune => signals.prune()?,
        }
        Ok(())
    }
}

const LIMITS: Limits = Limits {
    read: Duration::from_secs(1),
    write: Duration::from_secs(1),
};

/// What a client says, and what zrepl 0.7.0 answered: vectors/10-control-socket.
macro_rules! recorded {
    ($($name:literal)*) => {
        [$((
            $name,
            include_str!(concat!("../../../../tests/control_socket/", $name, ".c2s")),
            include_str!(concat!("../../../../tests/control_socket/", $name, ".s2c")),
        )),*]
    };
}

/// A response in parts.
#[derive(Debug, PartialEq, Eq)]
struct Parts<'a> {
    status: &'a str,
    headers: BTreeMap<&'a str, &'a str>,
    body: &'a str,
}

fn parts(response: &str) -> Parts<'_> {
    let (head, body) = response.split_once("\r\n\r\n").expect("a whole head");
    let (status, headers) = head.split_once("\r\n").expect("headers");
    let headers = headers.split("\r\n").map(|line| {
        let (name, value) = line.split_once(": ").expect("a header");
        // Only that there is a date.
        (name, if name == "Date" { "" } else { value })
    });
    Parts {
        status,
        headers: headers.collect(),
        body,
    }
}

/// Reads one response.
async fn response(stream: &mut UnixStream) -> String {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let text = String::from_utf8(bytes.clone()).expect("text");
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("Content-Length: "));
            let length: usize = length.expect("a length").parse().expect("a number");
            if body.len() >= length {
                return text;
            }
        }
        let len = stream.read(&mut chunk).await.expect("connected");
        assert!(len > 0, "ended after {text:?}");
        bytes.extend_from_slice(&chunk[..len]);
    }
}

#[tokio::test]
async fn answers_are_those_that_were_recorded() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let closed = Permissions::from_mode(0o700);
    std::fs::set_permissions(directory.path(), closed).expect("ours");
    let path = directory.path().join("control");
    let socket = ControlSocket::bind(&path).await.expect("free");
    let daemon = Arc::new(Daemon::default());
    let stop = CancellationToken::new();
    let serving = tokio::spawn(serve(
        socket,
        Arc::clone(&daemon) as _,
        LIMITS,
        stop.clone(),
    ));
    // The job waits for one wakeup: the first is taken, the second is refused.
    let job = tokio::spawn({
        let daemon = Arc::clone(&daemon);
        async move { daemon.push_job.woken().await }
    });
    tokio::task::yield_now().await;
    let recorded = recorded!(
        "conn05" "conn06" "conn07" "conn08" "conn11" "conn12" "conn14" "conn15"
    );
    for (name, question, expected) in recorded {
        let mut stream = UnixStream::connect(&path).await.expect("listens");
        stream.write_all(question.as_bytes()).await.expect("read");
        let answer = response(&mut stream).await;
        assert_eq!(parts(&answer), parts(expected), "{name}");
    }
    job.await.expect("woken up");
    // Our version is another one, so only the keys are the same, and that methods do not matter.
    for (name, question, expected) in recorded!("conn00" "conn13") {
        let mut stream = UnixStream::connect(&path).await.expect("listens");
        stream.write_all(question.as_bytes()).await.expect("read");
        let answer = response(&mut stream).await;
        let (mut ours, mut theirs) = (parts(&answer), parts(expected));
        let keys = |body: &str| {
            let object: BTreeMap<String, String> = serde_json::from_str(body).expect("an object");
            object.into_keys().collect::<Vec<_>>()
        };
        assert_eq!(keys(ours.body), keys(theirs.body), "{name}");
        assert!(ours.body.ends_with("}\n"), "{name}");
        for parts in [&mut ours, &mut theirs] {
            parts.body = "";
            parts.headers.remove("Content-Length");
        }
        assert_eq!(ours, theirs, "{name}");
    }
    stop.cancel();
    serving.await.expect("did not panic");
    assert!(!path.exists());
}

/// A conversation with a client that is the test, over pipes that hold `capacity` bytes.
fn conversation(daemon: Daemon, capacity: usize) -> (DuplexStream, CancellationToken, Task) {
    let (client, server) = duplex(capacity);
    let stop = CancellationToken::new();
    let task = tokio::spawn(converse(server, Arc::new(daemon), LIMITS, stop.clone()));
    (client, stop, task)
}

type Task = tokio::task::JoinHandle<()>;

/// All that comes until the connection is closed, and how long that took.
async fn rest(client: &mut DuplexStream) -> (String, Duration) {
    let begun = Instant::now();
    let mut text = String::new();
    client.read_to_string(&mut text).await.expect("text");
    (text, begun.elapsed())
}

#[tokio::test(start_paused = true)]
async fn who_says_nothing_does_not_stay() {
    for said in ["", "POST /sta"] {
        let (mut client, _stop, task) = conversation(Daemon::default(), 4096);
        client.write_all(said.as_bytes()).await.expect("read");
        let (_, took) = rest(&mut client).await;
        assert!(took >= LIMITS.read && took < 2 * LIMITS.read, "{took:?}");
        task.await.expect("did not panic");
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_takes_another_request_and_then_ends() {
    let (mut client, _stop, task) = conversation(Daemon::default(), 4096);
    let question = "POST /nosuch HTTP/1.1\r\nHost: unix\r\nContent-Length: 0\r\n\r\n";
    for _ in 0..2 {
        sleep(LIMITS.read / 2).await;
        client.write_all(question.as_bytes()).await.expect("read");
    }
    let (text, _) = rest(&mut client).await;
    assert_eq!(text.matches("404 page not found\n").count(), 2, "{text}");
    task.await.expect("did not panic");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_is_an_error() {
    let (mut client, _stop, task) = conversation(Daemon::default(), 4096);
    let question = "POST /signal HTTP/1.1\r\nHost: unix\r\nContent-Length: 10\r\n\r\n{";
    client.write_all(question.as_bytes()).await.expect("read");
    let (text, took) = rest(&mut client).await;
    assert!(text.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{text}");
    assert!(took < 3 * LIMITS.read, "{took:?}");
    task.await.expect("did not panic");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_too_long_is_not_kept() {
    let (mut client, _stop, task) = conversation(Daemon::default(), 1 << 20);
    let length = LONGEST_BODY + 1;
    let question =
        format!("POST /signal HTTP/1.1\r\nHost: unix\r\nContent-Length: {length}\r\n\r\n");
    client.write_all(question.as_bytes()).await.expect("read");
    client.write_all(&vec![b' '; length]).await.expect("read");
    let (text, _) = rest(&mut client).await;
    assert!(text.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{text}");
    assert!(text.contains("request body too large"), "{text}");
    task.await.expect("did not panic");
}

#[tokio::test(start_paused = true)]
async fn who_does_not_read_does_not_stay() {
    let daemon = Daemon {
        padding: 1 << 20,
        ..Daemon::default()
    };
    let (mut client, _stop, task) = conversation(daemon, 4096);
    let question =
        "POST /status HTTP/1.1\r\nHost: unix\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    client.write_all(question.as_bytes()).await.expect("read");
    let begun = Instant::now();
    task.await.expect("did not panic");
    assert!(begun.elapsed() < 2 * LIMITS.write, "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn who_reads_slowly_gets_everything() {
    let daemon = Daemon {
        padding: 20_000,
        ..Daemon::default()
    };
    let (mut client, _stop, task) = conversation(daemon, 4096);
    let question =
        "POST /status HTTP/1.1\r\nHost: unix\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    client.write_all(question.as_bytes()).await.expect("read");
    let mut text = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        sleep(LIMITS.write / 2).await;
        match client.read(&mut chunk).await.expect("connected") {
            0 => break,
            len => text.extend_from_slice(&chunk[..len]),
        }
    }
    let text = String::from_utf8(text).expect("text");
    assert_eq!(text.matches("\\u003c").count(), 20_000);
    task.await.expect("did not panic");
}

#[tokio::test(start_paused = true)]
async fn a_stop_ends_idle_connections_at_once() {
    let (mut client, stop, task) = conversation(Daemon::default(), 4096);
    let question = "POST /version HTTP/1.1\r\nHost: unix\r\nContent-Length: 0\r\n\r\n";
    client.write_all(question.as_bytes()).await.expect("read");
    sleep(LIMITS.read / 4).await;
    stop.cancel();
    let (text, took) = rest(&mut client).await;
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
    assert_eq!(took, Duration::ZERO);
    task.await.expect("did not panic");
}
