//! Our TLS against another implementation of it: the `openssl` program, as client and as server. Certificates in, and what
//! both sides make of them out.

use std::path::Path;
use std::process::{Output, Stdio};
use std::sync::Arc;

use rustls::NoKeyLog;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use zrepl_daemon::config::parse;
use zrepl_daemon::name::client_identity::ClientIdentity;
use zrepl_daemon::transport::local::LocalListeners;
use zrepl_daemon::transport::{
    Connect, ConnectError, Listener, RefusedPeer, Shared, Wire, connector, listener,
};

fn file(name: &str) -> String {
    let matrix = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tls/matrix");
    matrix.join(name).display().to_string()
}

fn files(own: &str) -> String {
    let (cert, key) = (file(&format!("{own}.crt")), file(&format!("{own}.key")));
    format!("ca: {}, cert: {cert}, key: {key}", file("ca.crt"))
}

fn shared() -> Shared {
    Shared {
        local: LocalListeners::default(),
        key_log: Arc::new(NoKeyLog {}),
        stdinserver_sockets: "/nonexistent".into(),
    }
}

/// Our server, for clients that the authority vouches for.
fn our_listener(own: &str) -> Box<dyn Listener> {
    let text = format!(
        "jobs: [{{type: sink, name: j, root_fs: pool/sink, serve: {{type: tls, listen: '127.0.0.1:0', {}, \
         client_cns: [client.example.com]}}}}]",
        files(own)
    );
    let loaded = parse("test", &text).unwrap_or_else(|error| panic!("{error}"));
    let serve = loaded.config.jobs[0].serve().expect("sinks serve");
    listener(serve, &shared()).unwrap_or_else(|error| panic!("{error}"))
}

/// Our client, of a server at this address.
fn our_connector(own: &str, address: &str) -> Arc<dyn Connect> {
    let text = format!(
        "jobs: [{{type: pull, name: j, root_fs: pool/sink, interval: manual, \
         pruning: {{keep_sender: [{{type: not_replicated}}], keep_receiver: [{{type: last_n, count: 1}}]}}, \
         connect: {{type: tls, address: '{address}', {}, server_cn: server.example.com}}}}]",
        files(own)
    );
    let loaded = parse("test", &text).unwrap_or_else(|error| panic!("{error}"));
    let connect = loaded.config.jobs[0].connect().expect("pull jobs connect");
    connector(connect, &shared()).unwrap_or_else(|error| panic!("{error}"))
}

/// The program, with what it says.
struct Openssl {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Openssl {
    fn start(command: &str, own: Option<&str>, more: &[&str]) -> Self {
        let mut program = Command::new("openssl");
        program.args([command, "-CAfile", &file("ca.crt"), "-verify_return_error"]);
        if let Some(own) = own {
            let (cert, key) = (file(&format!("{own}.crt")), file(&format!("{own}.key")));
            program.args(["-cert", &cert, "-key", &key]);
        }
        program.args(more).kill_on_drop(true);
        program.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = program
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| {
                panic!("this test needs the program openssl, version 3: {error}")
            });
        let stdin = child.stdin.take().expect("piped");
        let stdout = child.stdout.take().expect("piped");
        Self {
            child,
            stdin,
            stdout: BufReader::new(stdout),
        }
    }

    fn client(own: Option<&str>, server: &dyn Listener, more: &[&str]) -> Self {
        let (_, address) = server.address().split_once("://").expect("has a scheme");
        let name = "server.example.com";
        let arguments = [&["-connect", address, "-verify_hostname", name][..], more].concat();
        Self::start("s_client", own, &arguments)
    }

    /// A server that answers each line with the line turned round, and where it listens.
    async fn server(own: &str, more: &[&str]) -> (Self, String) {
        let arguments = [
            &[
                "-accept",
                "127.0.0.1:0",
                "-Verify",
                "1",
                "-rev",
                "-naccept",
                "1",
            ][..],
            more,
        ];
        let mut server = Self::start("s_server", Some(own), &arguments.concat());
        loop {
            let mut line = String::new();
            let read = server.stdout.read_line(&mut line).await.expect("readable");
            assert!(
                read > 0,
                "openssl s_server has ended: {:?}",
                server.output().await
            );
            if let Some(address) = line.strip_prefix("ACCEPT ") {
                return (server, address.trim().to_owned());
            }
        }
    }

    /// Waits until it says this on its standard output.
    async fn heard(&mut self, expected: &str) {
        let mut text = String::new();
        while !text.contains(expected) {
            let read = self.stdout.read_line(&mut text).await.expect("readable");
            assert!(read > 0, "{expected:?} does not come: {text}");
        }
    }

    /// Waits for its end.
    async fn output(mut self) -> Output {
        drop(self.stdin);
        let mut stdout = Vec::new();
        let mut stderr = Vec::new();
        let mut errors = self.child.stderr.take().expect("piped");
        let (out, err) = tokio::join!(
            self.stdout.read_to_end(&mut stdout),
            errors.read_to_end(&mut stderr)
        );
        out.and(err).expect("readable");
        let status = self.child.wait().await.expect("a child");
        Output {
            status,
            stdout,
            stderr,
        }
    }

    /// Everything it said until its end.
    async fn said(self) -> String {
        let output = self.output().await;
        let text = [output.stdout, output.stderr].concat();
        String::from_utf8_lossy(&text).into_owned()
    }
}

async fn admitted(listener: &mut dyn Listener) -> Result<(Wire, ClientIdentity), RefusedPeer> {
    let incoming = listener.accept().await.expect("peers can be accepted");
    incoming.handshake.await
}

/// An error with all its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[tokio::test]
async fn a_client_that_is_welcome_gets_data_through_and_half_close_works() {
    for own in [
        "ca-san-client",
        "ca-cn-client",
        "ca-v1-client",
        "ca-rsa-client",
    ] {
        let mut listener = our_listener("ca-san-server");
        let mut client = Openssl::client(Some(own), &*listener, &[]);
        let (mut wire, identity) = admitted(&mut *listener)
            .await
            .unwrap_or_else(|error| panic!("{own}: {}", chain(&error)));
        assert_eq!(identity.as_str(), "client.example.com");
        client
            .stdin
            .write_all(b"question\n")
            .await
            .expect("writable");
        let mut heard = [0; 9];
        wire.reader.read_exact(&mut heard).await.expect("readable");
        assert_eq!(&heard, b"question\n");
        wire.writer
            .write_all(b"the answer\n")
            .await
            .expect("writable");
        wire.writer.shutdown().await.expect("writable");
        client.heard("the answer\n").await;
        // Our half is closed; that the other one ends with close_notify is read all the same.
        let end = wire.reader.read(&mut heard).await;
        assert_eq!(end.expect("an end in order"), 0);
        let output = client.output().await;
        assert!(output.status.success(), "{output:?}");
    }
}

#[tokio::test]
async fn a_client_that_has_said_all_can_still_be_answered() {
    let mut listener = our_listener("ca-san-server");
    let client = Openssl::client(Some("ca-san-client"), &*listener, &[]);
    let (mut wire, _) = admitted(&mut *listener)
        .await
        .unwrap_or_else(|error| panic!("{}", chain(&error)));
    let said = tokio::spawn(client.said());
    let end = wire.reader.read(&mut [0]).await;
    assert_eq!(end.expect("an end in order"), 0);
    wire.writer.write_all(b"answer").await.expect("writable");
    wire.writer.shutdown().await.expect("writable");
    said.await.expect("ends");
}

#[tokio::test]
async fn clients_that_are_not_welcome_are_told_so() {
    for (own, more, ours, theirs) in [
        (
            Some("other-v1-client"),
            &[][..],
            "nobody vouches for the client's certificate",
            "alert unknown ca",
        ),
        (
            Some("self-san-client"),
            &[],
            "nobody vouches for the client's certificate",
            "alert",
        ),
        (
            Some("ca-expired-client"),
            &[],
            "the client's certificate has expired",
            "alert certificate expired",
        ),
        (
            Some("ca-serveronly"),
            &[],
            "its extendedKeyUsage lacks clientAuth",
            "alert",
        ),
        (
            None,
            &[],
            "the client shows no certificate",
            "alert certificate required",
        ),
        (
            Some("ca-san-client"),
            &["-tls1_2"],
            "the client and we have no version of TLS in common: we speak 1.3",
            "alert protocol version",
        ),
    ] {
        let mut listener = our_listener("ca-san-server");
        let client = Openssl::client(own, &*listener, more);
        let refused = admitted(&mut *listener).await.expect_err(ours);
        let text = chain(&refused);
        assert!(text.contains(ours), "{own:?}: {text}");
        let said = client.said().await;
        assert!(said.contains(theirs), "{own:?}: {said}");
    }
}

#[tokio::test]
async fn a_client_that_is_not_listed_sees_an_end_in_order() {
    let mut listener = our_listener("ca-san-server");
    // The authority vouches for it, but its name is not among the clients'.
    let mut client = Openssl::client(Some("ca-san-server"), &*listener, &[]);
    let refused = admitted(&mut *listener);
    // The banner of a client that does not wait.
    let (refused, written) = tokio::join!(refused, client.stdin.write_all(b"banner\n"));
    written.expect("writable");
    let refused = refused.expect_err("not listed");
    assert_eq!(
        refused.to_string(),
        "the client's common name \"server.example.com\" is not among client_cns"
    );
    client.heard("closed\n").await;
    assert!(client.output().await.status.success());
}

#[tokio::test]
async fn a_server_gets_our_data_and_answers_after_our_half_is_closed() {
    for own in ["ca-san-server", "ca-p521-server", "ca-rsa-server"] {
        let (server, address) = Openssl::server(own, &[]).await;
        let connector = our_connector("ca-san-client", &address);
        let mut wire = connector
            .connect()
            .await
            .unwrap_or_else(|error| panic!("{own}: {}", chain(&error)));
        wire.writer
            .write_all(b"question\n")
            .await
            .expect("writable");
        wire.writer.shutdown().await.expect("writable");
        let mut answer = Vec::new();
        let end = wire.reader.read_to_end(&mut answer).await;
        end.expect("an end in order");
        assert_eq!(answer, b"noitseuq\n", "{own}");
        server.said().await;
    }
}

#[tokio::test]
async fn servers_that_are_not_whom_we_want_are_refused() {
    for (own, more, ours, theirs) in [
        (
            "other-v1-server",
            &[][..],
            "nobody vouches for the server's certificate",
            "alert unknown ca",
        ),
        (
            "ca-expired-server",
            &[],
            "the server's certificate has expired",
            "alert certificate expired",
        ),
        (
            "ca-othersan-server",
            &[],
            "the server's certificate does not have the name that we expect",
            "alert",
        ),
        (
            "ca-cn-server",
            &[],
            "its common name does not count",
            "alert bad certificate",
        ),
        (
            "ca-clientonly",
            &[],
            "its extendedKeyUsage lacks serverAuth",
            "alert",
        ),
        (
            "ca-san-server",
            &["-tls1_2"],
            "the server and we have no version of TLS in common: we speak 1.3",
            "unsupported protocol",
        ),
    ] {
        let (server, address) = Openssl::server(own, more).await;
        let error = our_connector("ca-san-client", &address).connect().await;
        let error = error.expect_err(own);
        assert!(matches!(error, ConnectError::Refused { .. }), "{error:?}");
        let text = chain(&error);
        assert!(text.contains(ours), "{own}: {text}");
        let said = server.said().await;
        assert!(said.contains(theirs), "{own}: {said}");
    }
}

#[tokio::test]
async fn that_a_server_refuses_us_is_learnt_from_the_first_read() {
    let (server, address) = Openssl::server("ca-san-server", &[]).await;
    let connector = our_connector("other-v1-client", &address);
    let mut wire = connector
        .connect()
        .await
        .unwrap_or_else(|error| panic!("the handshake is over by then: {}", chain(&error)));
    let error = wire.reader.read_u8().await.expect_err("not a byte");
    let reason = error.get_ref().expect("has a reason");
    assert_eq!(
        reason.to_string(),
        "the server does not accept our certificate: it, or what signed it, must be in the server's ca file, and it must \
         be valid now"
    );
    server.said().await;
}
