//! Wires of every kind, with both ends in this process.

use std::net::SocketAddr;

use rustls::NoKeyLog;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::causes::chain;
use crate::config::parse;

/// The `connect` section that this JSON is.
pub(super) fn connect_section(json: &str) -> connection::Connect {
    let text = format!(
        "jobs: [{{type: push, name: j, connect: {json}, filesystems: {{'<': true}}, snapshotting: {{type: manual}}, \
         pruning: {{keep_sender: [{{type: not_replicated}}], keep_receiver: [{{type: last_n, count: 1}}]}}}}]"
    );
    let loaded = parse("test", &text).unwrap_or_else(|error| panic!("{json}: {error}"));
    let job = loaded.config.job("j").expect("there is one");
    job.connect().expect("push jobs connect").clone()
}

/// The `serve` section that this JSON is.
pub(super) fn serve_section(json: &str) -> connection::Serve {
    let text = format!("jobs: [{{type: sink, name: j, root_fs: pool/sink, serve: {json}}}]");
    let loaded = parse("test", &text).unwrap_or_else(|error| panic!("{json}: {error}"));
    let job = loaded.config.job("j").expect("there is one");
    job.serve().expect("sinks serve").clone()
}

pub(super) fn shared() -> Shared {
    Shared {
        local: local::LocalListeners::default(),
        key_log: Arc::new(NoKeyLog {}),
        stdinserver_sockets: "/nonexistent".into(),
    }
}

/// Where a TCP or TLS listener listens.
pub(super) fn bound(listener: &dyn Listener) -> SocketAddr {
    let (_, address) = listener.address().split_once("://").expect("has a scheme");
    address.parse().expect("an address")
}

/// The next peer, with what its handshake came to.
pub(super) async fn admitted(
    listener: &mut dyn Listener,
) -> Result<(Wire, ClientIdentity), RefusedPeer> {
    let incoming = listener.accept().await.expect("peers can be accepted");
    incoming.handshake.await
}

/// The two sections of each kind. The address of the listener is put in place of ADDRESS.
fn kinds() -> [(&'static str, String, String); 3] {
    let file = |name: &str| format!("{}/tests/tls/matrix/{name}", env!("CARGO_MANIFEST_DIR"));
    let files = |side: &str| {
        format!(
            "ca: {}, cert: {}, key: {}",
            file("ca.crt"),
            file(&format!("ca-san-{side}.crt")),
            file(&format!("ca-san-{side}.key"))
        )
    };
    [
        (
            "one",
            "{type: tcp, address: 'ADDRESS'}".to_owned(),
            "{type: tcp, listen: '127.0.0.1:0', clients: {127.0.0.1: one}}".to_owned(),
        ),
        (
            "client.example.com",
            format!(
                "{{type: tls, address: 'ADDRESS', {}, server_cn: server.example.com}}",
                files("client")
            ),
            format!(
                "{{type: tls, listen: '127.0.0.1:0', {}, client_cns: [client.example.com]}}",
                files("server")
            ),
        ),
        (
            "neighbour",
            "{type: local, listener_name: here, client_identity: neighbour}".to_owned(),
            "{type: local, listener_name: here}".to_owned(),
        ),
    ]
}

/// A listener of a kind and a connector that reaches it.
fn pair(connect: &str, serve: &str) -> (Arc<dyn Connect>, Box<dyn Listener>) {
    let shared = shared();
    let listener =
        listener(&serve_section(serve), &shared).unwrap_or_else(|e| panic!("{}", chain(&e)));
    let (_, address) = listener.address().split_once("://").expect("has a scheme");
    let connect = connect.replace("ADDRESS", address);
    let connector =
        connector(&connect_section(&connect), &shared).unwrap_or_else(|e| panic!("{}", chain(&e)));
    (connector, listener)
}

/// Says something, then says no more.
async fn say(wire: &mut Wire, text: &[u8]) {
    wire.writer.write_all(text).await.expect("writable");
    wire.writer.shutdown().await.expect("writable");
}

async fn hear(wire: &mut Wire) -> Vec<u8> {
    let mut heard = Vec::new();
    wire.reader.read_to_end(&mut heard).await.expect("readable");
    heard
}

#[tokio::test]
async fn after_half_of_any_wire_is_closed_the_other_half_goes_on() {
    for (identity, connect, serve) in kinds() {
        let (connector, mut listener) = pair(&connect, &serve);
        for client_is_first in [true, false] {
            let (active, passive) = tokio::join!(connector.connect(), admitted(&mut *listener));
            let mut active = active.unwrap_or_else(|e| panic!("{}", chain(&e)));
            let (mut passive, client) = passive.unwrap_or_else(|e| panic!("{}", chain(&e)));
            assert_eq!(client.as_str(), identity);
            let (first, second) = if client_is_first {
                (&mut active, &mut passive)
            } else {
                (&mut passive, &mut active)
            };
            say(first, b"question").await;
            assert_eq!(hear(second).await, b"question");
            // More than fits into the buffers of sockets.
            let answer = vec![7; 8 << 20];
            let (heard, ()) = tokio::join!(hear(first), say(second, &answer));
            assert_eq!(heard.len(), answer.len(), "{identity}");
            assert!(heard == answer, "{identity}");
        }
    }
}

#[tokio::test]
async fn peers_that_stay_silent_delay_nobody() {
    let [tcp, tls, _] = kinds();
    for (identity, connect, serve) in [tcp, tls] {
        // Without the limit that would free who waits for a silent one.
        let serve = serve.replace("type: tls", "type: tls, handshake_timeout: 0");
        let (connector, mut listener) = pair(&connect, &serve);
        let mut silent = Vec::new();
        for _ in 0..3 {
            let socket = tokio::net::TcpStream::connect(bound(&*listener)).await;
            let incoming = listener.accept().await.expect("peers can be accepted");
            silent.push((
                socket.expect("somebody listens"),
                tokio::spawn(incoming.handshake),
            ));
        }
        let (active, passive) = tokio::join!(connector.connect(), admitted(&mut *listener));
        active.unwrap_or_else(|e| panic!("{}", chain(&e)));
        let (_, client) = passive.unwrap_or_else(|e| panic!("{}", chain(&e)));
        assert_eq!(client.as_str(), identity);
    }
}

#[tokio::test]
async fn trap_11_12_a_peer_that_goes_away_without_goodbye_is_told_from_one_that_has_said_all() {
    let [_, (_, connect, serve), _] = kinds();
    let (connector, mut listener) = pair(&connect, &serve);
    for active_leaves in [true, false] {
        let (active, passive) = tokio::join!(connector.connect(), admitted(&mut *listener));
        let active = active.unwrap_or_else(|e| panic!("{}", chain(&e)));
        let (passive, _) = passive.unwrap_or_else(|e| panic!("{}", chain(&e)));
        let (leaving, mut staying) = if active_leaves {
            (active, passive)
        } else {
            (passive, active)
        };
        drop(leaving);
        let end = staying.reader.read(&mut [0]).await;
        let error = end.expect_err("nothing was said");
        assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof);
    }
}

#[tokio::test]
async fn sockets_for_stdinserver_are_made_where_all_jobs_have_them() {
    use std::os::unix::fs::PermissionsExt as _;

    let directory = tempfile::tempdir().unwrap();
    let private = std::fs::Permissions::from_mode(0o700);
    std::fs::set_permissions(directory.path(), private).unwrap();
    let serve = serve_section("{type: stdinserver, client_identities: [a, b]}");
    let missing = Shared {
        stdinserver_sockets: directory.path().join("missing"),
        ..shared()
    };
    let error = listener(&serve, &missing).expect_err("there is no such directory");
    assert!(matches!(error, TransportError::Stdinserver(_)), "{error}");
    let present = Shared {
        stdinserver_sockets: directory.path().to_owned(),
        ..shared()
    };
    let listener = listener(&serve, &present).unwrap();
    assert!(directory.path().join("a").exists() && directory.path().join("b").exists());
    drop(listener);
    assert!(!directory.path().join("a").exists());
}

#[tokio::test]
async fn names_tell_where_it_goes_and_what_listens() {
    let scheme = |text: &str| text.split_once("://").expect("has a scheme").0.to_owned();
    for ((_, connect, serve), expected) in kinds().iter().zip(["tcp", "tls", "local"]) {
        let (connector, listener) = pair(connect, serve);
        assert_eq!(scheme(connector.target()), expected);
        assert_eq!(scheme(listener.address()), expected);
        let rest = |text: &str| text.split_once("://").map(|(_, rest)| rest.to_owned());
        assert_eq!(rest(connector.target()), rest(listener.address()));
    }
}
