//! The table of hostile and broken peers, against the whole passive side: each is shown the door, with one line in the log that
//! says who it was and why, while a client that behaves is served all the time.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::time::{Instant, sleep, timeout};
use tracing::Level;
use zrepl_daemon::endpoint::Endpoint as _;
use zrepl_daemon::rpc::client::RemoteEndpoint;
use zrepl_daemon::transport::RefusedPeer;
use zrepl_proto::frame::{END, FrameHeader, FrameType, HEARTBEAT};
use zrepl_proto::label::Label;
use zrepl_proto::message::{self, Kind};
use zrepl_proto::pdu::ListFilesystemReq;

use crate::both_planes::{Running, go_banner, remote, run};
use crate::double::Double;
use crate::log_lines::Log;

/// What an intruder does, and what the log says of it.
struct Intruder {
    name: &'static str,
    /// Says something once, and then this again and again with a pause.
    first: Vec<u8>,
    again: Option<(Vec<u8>, Duration)>,
    /// Of the log line.
    why: &'static str,
    /// No later than this it is out.
    within: Duration,
}

const SECOND: Duration = Duration::from_secs(1);
const ORIGIN: &str = "203.0.113.9";

fn intruder(name: &'static str, first: impl Into<Vec<u8>>, why: &'static str) -> Intruder {
    Intruder {
        name,
        first: first.into(),
        again: None,
        why,
        within: SECOND,
    }
}

impl Intruder {
    fn again(self, bytes: impl Into<Vec<u8>>, every: Duration) -> Self {
        Self {
            again: Some((bytes.into(), every)),
            ..self
        }
    }

    fn within(self, within: Duration) -> Self {
        Self { within, ..self }
    }
}

fn labelled(label: Label, rest: &[u8]) -> Vec<u8> {
    let mut bytes = go_banner();
    bytes.extend_from_slice(&label.encode());
    bytes.extend_from_slice(rest);
    bytes
}

fn data(rest: &[u8]) -> Vec<u8> {
    labelled(Label::Data, rest)
}

fn request(endpoint: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = message::encode(Kind::ReqHeader, endpoint.as_bytes()).expect("short");
    bytes.extend(message::encode(Kind::ReqStructured, body).expect("short"));
    bytes
}

fn long_banner() -> Vec<u8> {
    let line = "ZREPL_ZFS_REPLICATION PROTOVERSION=0007 EXTENSIONS=0001\n";
    let rest = "x".repeat(65_537 - line.len() - 1);
    format!("{:010} {line}{rest}\n", 65_537).into_bytes()
}

fn table() -> Vec<Intruder> {
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    let four_gib = [&5_u32.to_be_bytes()[..], &u32::MAX.to_be_bytes()].concat();
    let unknown = [&0x0200_0000_u32.to_be_bytes()[..], &[0; 4]].concat();
    let too_large = FrameHeader::with_payload(FrameType::ReqHeader, 40_000).expect("a length");
    let bomb = request("/v1/recv", &vec![0x22; 100_000]);
    vec![
        intruder(
            "garbage instead of a banner",
            "GET / HTTP/1.1\r\n\r\n",
            "banner is not accepted",
        ),
        intruder(
            "a banner of 65 537 bytes",
            long_banner(),
            "banner is not accepted",
        ),
        intruder(
            "another version",
            go_banner().replace_version(),
            "banner is not accepted",
        ),
        intruder(
            "silence",
            "",
            "exchange of banners was not finished within 10s",
        )
        .within(10 * SECOND),
        intruder(
            "a banner, one byte in 2 s",
            "",
            "exchange of banners was not finished within 10s",
        )
        .again("0", 2 * SECOND)
        .within(10 * SECOND),
        intruder(
            "a label never sent",
            go_banner(),
            "transfer of the label was not finished within 10s",
        )
        .within(10 * SECOND),
        intruder(
            "a label, one byte in 2 s",
            go_banner(),
            "transfer of the label was not finished within 10s",
        )
        .again("z", 2 * SECOND)
        .within(10 * SECOND),
        intruder(
            "an unknown label",
            [go_banner(), vec![b'x'; 64]].concat(),
            "label is not accepted",
        ),
        intruder("no request", data(b""), "nothing was received for 10s").within(20 * SECOND),
        intruder(
            "heartbeats without progress",
            data(b""),
            "and nothing else for 60s",
        )
        .again(HEARTBEAT, 4 * SECOND)
        .within(80 * SECOND),
        intruder(
            "a request, one byte in 9 s",
            data(b""),
            "and nothing else for 60s",
        )
        .again("\0", 9 * SECOND)
        .within(80 * SECOND),
        intruder(
            "garbage instead of frames",
            data(b"GET / HTTP/1.1\r\n\r\n"),
            "bytes",
        ),
        intruder(
            "a frame of 4 GiB",
            data(&four_gib),
            "4294967295 payload bytes",
        ),
        intruder(
            "an unknown frame type",
            data(&unknown),
            "unknown frame type",
        ),
        intruder(
            "a stream before a request",
            data(&[0, 0, 0, 5, 0, 0, 0, 0]),
            "unexpected frame type",
        ),
        intruder(
            "a header too large",
            data(&too_large.encode()),
            "at most 32768 are allowed",
        ),
        intruder("a protobuf bomb", data(&bomb), "cannot decode the request"),
        intruder(
            "an unknown endpoint",
            data(&request("/v1/format", b"")),
            "requested endpoint does not exist",
        ),
        intruder("End and nothing else", data(&END), "endpoint")
            .again(END, SECOND)
            .within(15 * SECOND),
        intruder(
            "no HTTP/2",
            labelled(Label::Control, b""),
            "no HTTP/2 within 30s",
        )
        .within(40 * SECOND),
        intruder(
            "garbage instead of HTTP/2",
            labelled(Label::Control, &[b'x'; 100]),
            "control connection ended",
        ),
        intruder(
            "pings of HTTP/2 that are not answered",
            labelled(Label::Control, preface),
            "keep-alive",
        )
        .within(20 * SECOND),
    ]
}

trait Version {
    fn replace_version(self) -> Self;
}

impl Version for Vec<u8> {
    fn replace_version(self) -> Self {
        let text = String::from_utf8(self).expect("it is text");
        text.replace("=0007", "=0006").into_bytes()
    }
}

/// Does what the intruder does until it is shown the door; returns how long that took.
async fn intrude(mut peer: DuplexStream, intruder: &Intruder) -> Duration {
    let begun = Instant::now();
    // Whoever is thrown out while it speaks gets an error, as it would on a socket.
    let mut writing = peer.write_all(&intruder.first).await;
    let (mut reader, mut writer) = tokio::io::split(peer);
    let hearing = async {
        let mut heard = Vec::new();
        let ended = reader.read_to_end(&mut heard).await;
        drop(ended);
        begun.elapsed()
    };
    let speaking = async {
        let Some((bytes, every)) = &intruder.again else {
            std::future::pending::<()>().await;
            return;
        };
        while writing.is_ok() {
            sleep(*every).await;
            writing = writer.write_all(bytes).await;
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        took = hearing => took,
        () = speaking => unreachable!("it never ends"),
    }
}

async fn is_served(remote: &RemoteEndpoint) {
    let asked = remote.list_filesystems(ListFilesystemReq {});
    let answer = timeout(SECOND, asked).await;
    answer.expect("nobody delays it").expect("it behaves");
}

/// What an administrator gets to see without asking for more.
fn noticed(log: &Log) -> Vec<String> {
    let lines = log.take().into_iter();
    let lines = lines.filter(|(level, _)| *level <= Level::INFO);
    lines.map(|(_, line)| line).collect()
}

/// A running server, a client that behaves, and the log of both.
async fn scene() -> (
    Running,
    RemoteEndpoint,
    Log,
    tracing::subscriber::DefaultGuard,
) {
    let (log, guard) = Log::start();
    let running = run(Double::receiver(), |_| ());
    let remote = remote(&running.door);
    is_served(&remote).await;
    noticed(&log);
    (running, remote, log, guard)
}

#[tokio::test(start_paused = true)]
async fn each_intruder_is_shown_the_door_with_a_line_in_the_log() {
    let (running, remote, log, _guard) = scene().await;
    for intruder in table() {
        let peer = running.door.knock(ORIGIN);
        let (took, ()) = tokio::join!(intrude(peer, &intruder), is_served(&remote));
        assert!(took <= intruder.within, "{}: {took:?}", intruder.name);
        // The server is done with it a moment after the intruder knows, at the latest when it has waited for its goodbye.
        sleep(15 * SECOND).await;
        let lines = noticed(&log);
        println!(
            "{:<40} after {took:>8?}: {}",
            intruder.name,
            lines.join(" | ")
        );
        assert_eq!(lines.len(), 1, "{}: {lines:?}", intruder.name);
        assert!(lines[0].starts_with("WARN"), "{lines:?}");
        assert!(lines[0].contains(ORIGIN), "{}: {lines:?}", intruder.name);
        assert!(
            lines[0].contains(intruder.why),
            "{}: {lines:?}",
            intruder.name
        );
        is_served(&remote).await;
    }
}

#[tokio::test(start_paused = true)]
async fn all_intruders_at_once_delay_nobody() {
    let (running, remote, log, _guard) = scene().await;
    let mut tasks = Vec::new();
    let table: &'static [Intruder] = Vec::leak(table());
    for _ in 0..5 {
        for intruder in table {
            let peer = running.door.knock(ORIGIN);
            tasks.push(tokio::spawn(intrude(peer, intruder)));
        }
    }
    for _ in 0..100 {
        sleep(SECOND).await;
        is_served(&remote).await;
    }
    for task in tasks {
        task.await.expect("it ends");
    }
    sleep(15 * SECOND).await;
    assert_eq!(noticed(&log).len(), 5 * table.len());
}

#[tokio::test(start_paused = true)]
async fn whom_the_transport_refuses_is_logged_and_forgotten() {
    let (running, remote, log, _guard) = scene().await;
    let expired = RefusedPeer::Handshake {
        step: "the TLS handshake",
        source: "the client's certificate has expired".into(),
    };
    let unlisted =
        RefusedPeer::Unlisted("the client's common name \"x\" is not among client_cns".into());
    let slow = RefusedPeer::TimedOut("the TLS handshake", 10 * SECOND);
    for (refused, why) in [
        (
            expired,
            "the TLS handshake failed: the client's certificate has expired",
        ),
        (
            unlisted,
            "the client's common name \"x\" is not among client_cns",
        ),
        (slow, "the TLS handshake was not finished within 10s"),
    ] {
        running.door.knock_refused(ORIGIN, refused);
        sleep(SECOND).await;
        let lines = noticed(&log);
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(
            lines[0].contains(ORIGIN) && lines[0].contains(why),
            "{lines:?}"
        );
        is_served(&remote).await;
    }
}
