use std::io::ErrorKind;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use super::*;
use crate::causes::chain;
use crate::config::connection::{Connect as ConnectSection, Serve};
use crate::transport::tests::{admitted, connect_section, serve_section};

fn listener(listen: &str, clients: &str) -> TcpListener {
    let json = format!("{{type: tcp, listen: '{listen}', clients: {clients}}}");
    let Serve::Tcp(config) = serve_section(&json) else {
        panic!("{json}");
    };
    TcpListener::bind(&config).unwrap_or_else(|e| panic!("{}", chain(&e)))
}

fn connector(address: &str, dial_timeout: &str) -> TcpConnector {
    let json = format!("{{type: tcp, address: '{address}', dial_timeout: {dial_timeout}}}");
    let ConnectSection::Tcp(config) = connect_section(&json) else {
        panic!("{json}");
    };
    TcpConnector::new(&config)
}

/// A connection whose client has this address.
async fn connected(from: &str, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("there is IPv4");
    let from = format!("{from}:0").parse().expect("an address");
    socket.bind(from).expect("all of 127 is ours");
    socket.connect(to).await.expect("somebody listens")
}

#[tokio::test]
async fn clients_are_known_by_their_addresses() {
    let mut listener = listener(
        "127.0.0.1:0",
        "{127.0.0.1: prod1, 127.1.0.0/16: 'lan-*', 127.1.0.9: special}",
    );
    let to = listener.local_addr();
    for (from, expected) in [
        ("127.0.0.1", "prod1"),
        ("127.1.0.8", "lan-127.1.0.8"),
        ("127.1.0.9", "special"),
    ] {
        let (mut client, admitted) = tokio::join!(connected(from, to), admitted(&mut listener));
        let (mut wire, identity) = admitted.unwrap_or_else(|e| panic!("{from}: {e}"));
        assert_eq!(identity.as_str(), expected);
        wire.writer.write_all(b"hello").await.expect("writable");
        let mut heard = [0; 5];
        client.read_exact(&mut heard).await.expect("readable");
        assert_eq!(&heard, b"hello");
    }
}

#[tokio::test]
async fn whoever_is_not_listed_gets_not_a_byte() {
    let mut listener = listener("127.0.0.1:0", "{127.0.0.1: prod1, 127.1.0.0/16: 'lan-*'}");
    for says_something in [false, true] {
        let mut client = connected("127.0.0.9", listener.local_addr()).await;
        if says_something {
            client
                .write_all(b"ZREPL_ZFS_REPLICATION")
                .await
                .expect("writable");
        }
        let incoming = listener.accept().await.expect("peers can be accepted");
        assert_eq!(incoming.peer.origin, "127.0.0.9");
        let port = client.local_addr().expect("connected").port();
        assert_eq!(incoming.peer.name, format!("127.0.0.9:{port}"));
        let refused = incoming.handshake.await.expect_err("not listed");
        assert!(matches!(refused, RefusedPeer::Unlisted(_)), "{refused:?}");
        assert_eq!(
            refused.to_string(),
            "no identity mapping for client IP: 127.0.0.9%"
        );
        let mut heard = Vec::new();
        match client.read_to_end(&mut heard).await {
            Ok(_) => {}
            // What it said was not read.
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
        }
        assert_eq!(heard, b"");
    }
}

#[tokio::test]
async fn without_a_host_both_families_are_served_as_by_go() {
    for listen in [":0", "0.0.0.0:0", "[::]:0"] {
        let mut listener = listener(listen, "{127.0.0.1: four, '::1': six}");
        let port = listener.local_addr().port();
        for (address, expected) in [("127.0.0.1", "four"), ("[::1]", "six")] {
            let connector = connector(&format!("{address}:{port}"), "10s");
            // One after the other: nobody comes if it cannot connect.
            let wire = connector.connect().await;
            wire.unwrap_or_else(|e| panic!("{listen} {}", chain(&e)));
            let (_, identity) = admitted(&mut listener)
                .await
                .unwrap_or_else(|e| panic!("{listen}: {e}"));
            assert_eq!(identity.as_str(), expected);
        }
    }
}

#[tokio::test]
async fn without_a_host_it_connects_to_this_machine() {
    let mut listener = listener("127.0.0.1:0", "{127.0.0.1: prod1}");
    let connector = connector(&format!(":{}", listener.local_addr().port()), "10s");
    let (wire, admitted) = tokio::join!(connector.connect(), admitted(&mut listener));
    assert!(wire.is_ok() && admitted.is_ok());
}

#[tokio::test]
async fn both_ends_have_the_options_that_go_sets() {
    let mut listener = listener("127.0.0.1:0", "{127.0.0.1: prod1}");
    let connector = connector(&listener.local_addr().to_string(), "0");
    let (active, passive) = tokio::join!(connector.connect(), admitted(&mut listener));
    let (passive, _) = passive.expect("listed");
    for wire in [active.expect("somebody listens"), passive] {
        let socket = wire.reader.socket().expect("bare");
        assert!(socket.nodelay().expect("known"));
        let socket = socket2::SockRef::from(socket);
        assert!(socket.keepalive().expect("known"));
        let quarter = std::time::Duration::from_secs(15);
        assert_eq!(socket.tcp_keepalive_time().expect("known"), quarter);
        assert_eq!(socket.tcp_keepalive_interval().expect("known"), quarter);
        assert_eq!(socket.tcp_keepalive_retries().expect("known"), 9);
    }
}

#[tokio::test]
async fn a_connector_says_why_it_failed() {
    let (closed, _socket) = dial::tests::closed();
    let refused = connector(&closed.to_string(), "10s").connect().await;
    let refused = refused.expect_err("nobody listens");
    assert!(
        matches!(refused, ConnectError::Unreachable { .. }),
        "{refused:?}"
    );
    assert_eq!(
        chain(&refused),
        format!(
            "cannot connect to tcp://{closed}: the TCP connection failed: {closed}: {}",
            std::io::Error::from(rustix::io::Errno::CONNREFUSED)
        )
    );
    let service = connector("127.0.0.1:nosuchservice", "10s").connect().await;
    let service = service.expect_err("no port");
    assert!(
        matches!(service, ConnectError::Refused { .. }),
        "{service:?}"
    );
    let silent = dial::tests::Silent::new().await;
    let late = connector(&silent.address.to_string(), "20ms")
        .connect()
        .await;
    let late = late.expect_err("nobody answers");
    assert_eq!(
        late.to_string(),
        format!(
            "cannot connect to tcp://{}: the TCP connection was not finished within 20ms",
            silent.address
        )
    );
}
