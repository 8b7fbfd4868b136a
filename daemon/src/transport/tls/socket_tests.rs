//! Handshakes between our two sides over sockets: what each side then knows, and says.

use std::fs;
use std::path::Path;
use std::time::Duration;

use rustls::NoKeyLog;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::key_log::KeyLogFile;
use super::*;
use crate::causes::chain;
use crate::config::connection::{Connect as ConnectSection, Serve};
use crate::transport::tests::{admitted, connect_section, serve_section};
use crate::transport::{Connect, ConnectError, RefusedPeer, Wire};

const SERVER: &str = "server.example.com";
const CLIENT: &str = "client.example.com";

/// How an alert begins, by RFC 8446.
const ALERT: u8 = 21;

/// Which certificate a side shows, and which file tells it whom to trust.
#[derive(Clone, Copy, Debug)]
struct Side(&'static str, &'static str);

impl Side {
    /// The three files, as configuration.
    fn files(self) -> String {
        let file = |name: &str, end: &str| {
            let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tls");
            let folder = if ["expired", "san"].contains(&name) {
                ""
            } else {
                "matrix"
            };
            let path = tests.join(folder).join(format!("{name}.{end}"));
            path.display().to_string()
        };
        format!(
            "ca: {}, cert: {}, key: {}",
            file(self.1, "crt"),
            file(self.0, "crt"),
            file(self.0, "key")
        )
    }

    /// As a server on a port that the system chooses.
    fn listener(self, more: &str) -> TlsListener {
        self.listener_with(more, Arc::new(NoKeyLog {}))
    }

    fn listener_with(self, more: &str, key_log: Arc<dyn KeyLog>) -> TlsListener {
        let files = self.files();
        let json = format!(
            "{{type: tls, listen: '127.0.0.1:0', {files}, client_cns: [somebody, {CLIENT}]{more}}}"
        );
        let Serve::Tls(config) = serve_section(&json) else {
            panic!("{json}");
        };
        TlsListener::bind(&config, key_log).unwrap_or_else(|e| panic!("{}", chain(&e)))
    }

    /// As a client of the server at this address.
    fn connector(self, address: &str, server_cn: &str) -> TlsConnector {
        let files = self.files();
        let json = format!("{{type: tls, address: '{address}', {files}, server_cn: {server_cn}}}");
        let ConnectSection::Tls(config) = connect_section(&json) else {
            panic!("{json}");
        };
        let key_log = Arc::new(NoKeyLog {});
        TlsConnector::new(&config, key_log).unwrap_or_else(|e| panic!("{}", chain(&e)))
    }
}

type Passive = Result<(Wire, crate::name::client_identity::ClientIdentity), RefusedPeer>;

async fn meet(
    server: Side,
    client: Side,
    server_cn: &str,
) -> (Result<Wire, ConnectError>, Passive) {
    let mut listener = server.listener("");
    let address = listener.local_addr().to_string();
    let connector = client.connector(&address, server_cn);
    tokio::join!(connector.connect(), admitted(&mut listener))
}

/// What the client gets to read, as the version handshake would.
async fn first_read(wire: &mut Wire) -> Result<Vec<u8>, String> {
    let mut heard = Vec::new();
    wire.writer
        .write_all(b"banner")
        .await
        .map_err(|e| chain(&e))?;
    match wire.reader.read_to_end(&mut heard).await {
        Ok(_) => Ok(heard),
        Err(error) => Err(error.get_ref().map_or(error.to_string(), |e| chain(e))),
    }
}

#[tokio::test]
async fn trap_11_3_certificates_that_users_have_connect() {
    for (server, client, server_ca, client_ca) in [
        (
            "self-san-server",
            "self-san-client",
            "self-san-server",
            "self-san-client",
        ),
        ("ca-san-server", "ca-cn-client", "ca", "ca"),
        ("ca-san-server", "ca-v1-client", "ca", "ca"),
        ("ca-san-server", "self-cn-client", "ca", "self-cn-client"),
    ] {
        let (active, passive) =
            meet(Side(server, client_ca), Side(client, server_ca), SERVER).await;
        let mut active = active.unwrap_or_else(|e| panic!("{server}: {}", chain(&e)));
        let (mut passive, identity) = passive.unwrap_or_else(|e| panic!("{client}: {}", chain(&e)));
        assert_eq!(identity.as_str(), CLIENT);
        passive.writer.write_all(b"hello").await.expect("writable");
        passive.writer.shutdown().await.expect("writable");
        assert_eq!(first_read(&mut active).await.as_deref(), Ok(&b"hello"[..]));
    }
}

#[tokio::test]
async fn a_server_that_is_not_whom_we_want_is_refused_with_advice() {
    for (server, trusts, server_cn, advice) in [
        (
            "ca-san-server",
            "ca",
            "other.example.com",
            "does not have the name that we expect",
        ),
        // It has the name only as its common name, as `openssl req -x509 -subj /CN=…` makes it.
        ("self-cn-server", "self-cn-server", SERVER, "subjectAltName"),
        (
            "ca-cn-server",
            "ca",
            SERVER,
            "does not have the name that we expect",
        ),
        (
            "ca-othersan-server",
            "ca",
            SERVER,
            "does not have the name that we expect",
        ),
        (
            "ca-clientonly",
            "ca",
            SERVER,
            "its extendedKeyUsage lacks serverAuth",
        ),
        (
            "other-v1-server",
            "ca",
            SERVER,
            "nobody vouches for the server's certificate",
        ),
        (
            "ca-san-server",
            "self-san-server",
            SERVER,
            "nobody vouches for the server's certificate",
        ),
        ("expired", "expired", "expired.example.com", "has expired"),
        (
            "self-early",
            "self-early",
            SERVER,
            "is not valid yet: compare the clocks",
        ),
        (
            "ca-early-server",
            "ca",
            SERVER,
            "is not valid yet: compare the clocks",
        ),
        ("ca-expired-server", "ca", SERVER, "has expired"),
    ] {
        let (active, passive) =
            meet(Side(server, "ca"), Side("ca-san-client", trusts), server_cn).await;
        let active = active.expect_err(server);
        assert!(matches!(active, ConnectError::Refused { .. }), "{active:?}");
        let text = chain(&active);
        assert!(
            text.starts_with("cannot connect to tls://127.0.0.1:"),
            "{text}"
        );
        assert!(text.contains(advice), "{server}: {text}");
        // It is told so.
        let passive = chain(&passive.expect_err(server));
        assert!(
            passive.contains("received fatal alert"),
            "{server}: {passive}"
        );
    }
}

#[tokio::test]
async fn a_client_that_nobody_vouches_for_is_refused_and_told_why() {
    for (client, trusts, reason) in [
        (
            "self-cn-client",
            "ca",
            "nobody vouches for the client's certificate",
        ),
        (
            "self-san-client",
            "self-cn-client",
            "nobody vouches for the client's certificate",
        ),
        (
            "other-san-client",
            "ca",
            "nobody vouches for the client's certificate",
        ),
        (
            "ca-serveronly",
            "ca",
            "its extendedKeyUsage lacks clientAuth",
        ),
        ("expired", "expired", "has expired"),
        ("self-early", "self-early", "is not valid yet"),
        ("ca-expired-client", "ca", "has expired"),
        ("ca-early-client", "ca", "is not valid yet"),
    ] {
        let mut listener = Side("ca-san-server", trusts).listener("");
        let address = listener.local_addr().to_string();
        let connector = Side(client, "ca").connector(&address, SERVER);
        let heard = async {
            let mut wire = connector.connect().await.map_err(|e| chain(&e))?;
            first_read(&mut wire).await
        };
        let (heard, passive) = tokio::join!(heard, admitted(&mut listener));
        let passive = chain(&passive.expect_err(client));
        assert!(
            passive.starts_with("the TLS handshake failed: "),
            "{passive}"
        );
        assert!(passive.contains(reason), "{client}: {passive}");
        let heard = heard.expect_err(client);
        assert!(
            heard.contains("does not accept our certificate"),
            "{client}: {heard}"
        );
    }
}

#[tokio::test]
async fn a_client_that_is_not_listed_hears_a_goodbye_and_nothing_else() {
    for (client, name) in [
        ("san", "san.example.com"),
        ("self-cn-stranger", "stranger.example.com"),
    ] {
        let mut listener = Side("ca-san-server", client).listener("");
        let address = listener.local_addr().to_string();
        let connector = Side(client, "ca").connector(&address, SERVER);
        let heard = async {
            let mut wire = connector
                .connect()
                .await
                .expect("the handshake is over by then");
            first_read(&mut wire).await
        };
        let (heard, passive) = tokio::join!(heard, admitted(&mut listener));
        // An end in order: close_notify, no reset.
        assert_eq!(heard.as_deref(), Ok(&b""[..]));
        let passive = passive.expect_err("not listed");
        assert!(matches!(passive, RefusedPeer::Unlisted(_)), "{passive:?}");
        assert_eq!(
            passive.to_string(),
            format!("the client's common name {name:?} is not among client_cns")
        );
    }
}

#[tokio::test]
async fn a_peer_that_does_not_speak_tls_is_told_from_one_that_goes_away() {
    let mut listener = Side("ca-san-server", "ca").listener("");
    let address = listener.local_addr();
    let mut client = TcpStream::connect(address).await.expect("somebody listens");
    // More than is read at once: what is left unread must not turn the goodbye into a reset.
    let said = b"0000000055 ZREPL_ZFS_REPLICATION\n".repeat(1000);
    client.write_all(&said).await.expect("writable");
    client.shutdown().await.expect("writable");
    let refused = admitted(&mut listener).await.expect_err("no TLS");
    let mut heard = Vec::new();
    client
        .read_to_end(&mut heard)
        .await
        .expect("an end in order");
    assert_eq!(heard.first(), Some(&ALERT));
    assert!(
        chain(&refused).contains("the client does not speak TLS"),
        "{}",
        chain(&refused)
    );
    drop(TcpStream::connect(address).await.expect("somebody listens"));
    let gone = admitted(&mut listener).await.expect_err("no TLS");
    assert_eq!(chain(&gone), "the TLS handshake failed: tls handshake eof");

    let server = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("some port is free");
    let address = server.local_addr().expect("it is bound").to_string();
    let connector = Side("ca-san-client", "ca").connector(&address, SERVER);
    for (says, expected) in [
        (
            &b"0000000055 ZREPL_ZFS_REPLICATION\n"[..],
            "the server does not speak TLS",
        ),
        (b"", "the TLS handshake failed: tls handshake eof"),
    ] {
        let answer = async {
            let (mut socket, _) = server.accept().await.expect("it comes");
            socket.write_all(says).await.expect("writable");
            socket.shutdown().await.expect("writable");
            socket.read_to_end(&mut Vec::new()).await.ok();
        };
        let (outcome, ()) = tokio::join!(connector.connect(), answer);
        let error = outcome.expect_err("no TLS");
        assert!(chain(&error).contains(expected), "{}", chain(&error));
        let is_refusal = matches!(error, ConnectError::Refused { .. });
        assert_eq!(is_refusal, !says.is_empty(), "{error:?}");
    }
}

#[tokio::test]
async fn a_silent_peer_is_given_up_in_time() {
    let mut listener = Side("ca-san-server", "ca").listener(", handshake_timeout: 20ms");
    let silent = TcpStream::connect(listener.local_addr()).await;
    let refused = admitted(&mut listener).await.expect_err("nothing was said");
    assert_eq!(
        refused.to_string(),
        "the TLS handshake was not finished within 20ms"
    );
    drop(silent);

    let server = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("some port is free");
    let address = server.local_addr().expect("it is bound");
    let connector = Side("ca-san-client", "ca").connector(&address.to_string(), SERVER);
    let connector = connector.with_handshake_limit(Duration::from_millis(20));
    let error = connector.connect().await.expect_err("nothing is said");
    assert_eq!(
        error.to_string(),
        format!(
            "cannot connect to tls://{address}: the TLS handshake was not finished within 20ms"
        )
    );
}

#[tokio::test]
async fn a_handshake_timeout_of_zero_is_none() {
    let mut listener = Side("ca-san-server", "ca").listener(", handshake_timeout: 0");
    let address = listener.local_addr().to_string();
    let connector = Side("ca-san-client", "ca").connector(&address, SERVER);
    let (active, passive) = tokio::join!(connector.connect(), admitted(&mut listener));
    assert!(active.is_ok() && passive.is_ok());
}

#[tokio::test]
async fn secrets_of_both_directions_go_to_the_key_log() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("keys");
    let log = Arc::new(KeyLogFile::open(path.clone()).expect("can be made"));
    let mut listener = Side("ca-san-server", "ca").listener_with("", log);
    let address = listener.local_addr().to_string();
    let connector = Side("ca-san-client", "ca").connector(&address, SERVER);
    let (active, passive) = tokio::join!(connector.connect(), admitted(&mut listener));
    assert!(active.is_ok() && passive.is_ok());
    let text = fs::read_to_string(path).expect("readable");
    for label in ["CLIENT_TRAFFIC_SECRET_0 ", "SERVER_TRAFFIC_SECRET_0 "] {
        let line = text
            .lines()
            .find(|line| line.starts_with(label))
            .expect(label);
        let words: Vec<_> = line.split(' ').collect();
        assert_eq!((words.len(), words[1].len()), (3, 64), "{line}");
    }
}

#[tokio::test]
async fn files_are_read_when_a_side_is_made() {
    let json = format!(
        "{{type: tls, address: 'localhost:1', ca: /nonexistent/ca, cert: /x, key: /x, server_cn: {SERVER}}}"
    );
    let ConnectSection::Tls(config) = connect_section(&json) else {
        panic!("{json}");
    };
    let error = TlsConnector::new(&config, Arc::new(NoKeyLog {})).expect_err("no files");
    assert!(
        error
            .to_string()
            .starts_with("cannot parse ca file: /nonexistent/ca: "),
        "{error}"
    );
}
