//! Handshakes in memory, of every kind of certificate with every other.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::UnixTime;
use rustls::{CertificateError, ClientConnection, Connection, NoKeyLog, ServerConnection};

use super::files::{Facts, load_authorities, load_identity};
use super::trust::Role;
use super::*;

fn matrix(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/tls/matrix")
        .join(name)
}

/// One side of a connection: which certificate it shows, and which file tells it whom to trust.
#[derive(Clone, Copy)]
struct Side {
    shows: &'static str,
    trusts: &'static str,
}

impl Side {
    fn identity(self) -> Identity {
        let file = |end: &str| matrix(&format!("{}.{end}", self.shows));
        load_identity(&file("crt"), &file("key")).unwrap_or_else(|e| panic!("{e}"))
    }

    fn authorities(self) -> Vec<CertificateDer<'static>> {
        load_authorities(&matrix(&format!("{}.crt", self.trusts))).unwrap_or_else(|e| panic!("{e}"))
    }
}

/// What a handshake came to, with the identities as they are read.
fn handshake(server: Side, client: Side, server_cn: &str) -> Result<Option<String>, String> {
    handshake_as(
        server,
        &server.identity(),
        client,
        &client.identity(),
        server_cn,
    )
}

/// What a handshake came to: the client's name as the server sees it, or what either side says about it.
fn handshake_as(
    server: Side,
    server_identity: &Identity,
    client: Side,
    client_identity: &Identity,
    server_cn: &str,
) -> Result<Option<String>, String> {
    let server_config = super::server(server.authorities(), server_identity, Arc::new(NoKeyLog {}))
        .map_err(|e| format!("server: {e}"))?;
    let client_side = super::client(
        client.authorities(),
        client_identity,
        server_cn,
        Arc::new(NoKeyLog {}),
    )
    .map_err(|e| format!("client: {e}"))?;
    let mut server =
        Connection::from(ServerConnection::new(server_config).map_err(|e| format!("server: {e}"))?);
    let mut client = Connection::from(
        ClientConnection::new(client_side.config, client_side.sni)
            .map_err(|e| format!("client: {e}"))?,
    );
    for _ in 0..5 {
        transfer(&mut client, &mut server).map_err(|e| format!("server: {e}"))?;
        transfer(&mut server, &mut client).map_err(|e| format!("client: {e}"))?;
    }
    assert!(!client.is_handshaking() && !server.is_handshaking());
    let version = server.protocol_version();
    assert_eq!(version, Some(rustls::ProtocolVersion::TLSv1_3));
    let shown = server.peer_certificates().and_then(<[_]>::first);
    Ok(shown
        .and_then(Facts::of)
        .and_then(|facts| facts.common_name))
}

/// Carries what one side has to say to the other, which answers with an error if it does not like it.
fn transfer(from: &mut Connection, to: &mut Connection) -> Result<(), rustls::Error> {
    let mut bytes = Vec::new();
    while from.wants_write() {
        from.write_tls(&mut bytes).expect("memory suffices");
    }
    let mut unread = bytes.as_slice();
    while !unread.is_empty() {
        to.read_tls(&mut unread).expect("there is room");
        to.process_new_packets()?;
    }
    Ok(())
}

fn side(shows: &'static str, trusts: &'static str) -> Side {
    Side { shows, trusts }
}

const SERVER: &str = "server.example.com";

#[test]
fn trap_11_3_certificates_that_users_have_are_accepted_in_both_directions() {
    // Self-signed ones are each other's authority; the others have one. A server without alternative names has no name.
    let kinds: [(&str, Option<&str>, &str, &str, &str); 8] = [
        ("self-cn", None, "self-cn-client", "", "self-cn-client"),
        (
            "self-san",
            Some("self-san-server"),
            "self-san-client",
            "self-san-server",
            "self-san-client",
        ),
        ("ca-san", Some("ca-san-server"), "ca-san-client", "ca", "ca"),
        ("ca-cn", None, "ca-cn-client", "", "ca"),
        ("ca-v1", None, "ca-v1-client", "", "ca"),
        ("p521", Some("ca-p521-server"), "ca-p521-client", "ca", "ca"),
        (
            "ed25519",
            Some("ca-ed25519-server"),
            "ca-ed25519-client",
            "ca",
            "ca",
        ),
        ("rsa", Some("ca-rsa-server"), "ca-rsa-client", "ca", "ca"),
    ];
    let mut accepted = 0;
    for (_, server, _, server_authority, _) in kinds {
        let Some(server) = server else { continue };
        for (_, _, client, _, client_authority) in kinds {
            let outcome = handshake(
                side(server, client_authority),
                side(client, server_authority),
                SERVER,
            );
            assert_eq!(
                outcome,
                Ok(Some("client.example.com".to_owned())),
                "{server} {client}"
            );
            accepted += 1;
        }
    }
    assert_eq!(accepted, 40);
}

#[test]
fn trap_11_4_a_client_needs_no_alternative_names_and_a_server_needs_nothing_else() {
    for (server, server_authority) in [
        ("self-cn-server", "self-cn-server"),
        ("ca-cn-server", "ca"),
        ("ca-v1-server", "ca"),
    ] {
        let client = side("ca-cn-client", server_authority);
        let refused = handshake(side(server, "ca"), client, SERVER).expect_err(server);
        assert_eq!(
            refused, "client: invalid peer certificate: NotValidForName",
            "{server}"
        );
    }
    for (client, client_authority) in [
        ("self-cn-client", "self-cn-client"),
        ("ca-cn-client", "ca"),
        ("ca-v1-client", "ca"),
    ] {
        let outcome = handshake(
            side("ca-san-server", client_authority),
            side(client, "ca"),
            SERVER,
        );
        assert_eq!(
            outcome,
            Ok(Some("client.example.com".to_owned())),
            "{client}"
        );
    }
}

#[test]
fn a_server_may_be_known_by_its_address() {
    let server = side("ca-ip-server", "ca");
    let client = side("ca-san-client", "ca");
    assert!(handshake(server, client, "10.23.42.1").is_ok());
    let refused = handshake(server, client, "10.23.42.2").expect_err("another address");
    assert!(refused.starts_with("client: "), "{refused}");
}

#[test]
fn servers_that_are_not_whom_we_want_are_refused() {
    let client = |trusts| side("ca-san-client", trusts);
    for (server, trusts, server_cn, reason) in [
        (
            "ca-san-server",
            "ca",
            "other.example.com",
            "NotValidForName",
        ),
        // The common name is right, but names are given otherwise.
        ("ca-othersan-server", "ca", SERVER, "NotValidForName"),
        ("ca-clientonly", "ca", SERVER, "InvalidPurpose"),
        ("other-v1-server", "ca", SERVER, "UnknownIssuer"),
        ("other-san-server", "ca", SERVER, "certificate"),
        ("self-san-server", "ca", SERVER, "certificate"),
        // Its common name is right.
        ("ca-cn-server", "ca", SERVER, "NotValidForName"),
        ("ca-v1-server", "self-san-server", SERVER, "UnknownIssuer"),
        ("ca-san-server", "self-san-server", SERVER, "UnknownIssuer"),
    ] {
        let refused = handshake(side(server, "ca"), client(trusts), server_cn).expect_err(server);
        assert!(
            refused.starts_with("client: ") && refused.contains(reason),
            "{server} {server_cn}: {refused}"
        );
    }
}

#[test]
fn clients_that_nobody_vouches_for_are_refused() {
    for (client, trusts) in [
        ("self-cn-client", "ca"),
        ("self-san-client", "self-cn-client"),
        ("other-v1-client", "ca"),
        ("other-san-client", "ca"),
        ("ca-serveronly", "ca"),
        ("self-serveronly", "self-serveronly"),
        // Signed by a listed certificate that is no authority; by a listed key under another name.
        ("byleaf-v1-client", "ca-san-server"),
        ("ca-v1-client", "renamed"),
        ("ca-san-client", "self-san-client"),
        ("ca-v1-client", "self-san-client"),
    ] {
        let refused =
            handshake(side("ca-san-server", trusts), side(client, "ca"), SERVER).expect_err(client);
        assert!(refused.starts_with("server: "), "{client}: {refused}");
    }
}

#[test]
fn whoever_shows_a_certificate_must_have_its_key() {
    let stolen = |shown: &'static str, own: &'static str| {
        let key = side(own, "ca").identity().key;
        Identity {
            key,
            ..side(shown, "ca").identity()
        }
    };
    for (server, client) in [
        ("ca-san-server", "ca-san-client"),
        ("ca-san-server", "ca-v1-client"),
    ] {
        let (server, client) = (side(server, "ca"), side(client, "ca"));
        let thief = stolen(server.shows, "ca-cn-server");
        let refused = handshake_as(server, &thief, client, &client.identity(), SERVER);
        assert!(refused.expect_err("stolen").starts_with("client: "));
        let thief = stolen(client.shows, "ca-cn-client");
        let refused = handshake_as(server, &server.identity(), client, &thief, SERVER);
        assert!(refused.expect_err("stolen").starts_with("server: "));
    }
}

#[test]
fn what_has_expired_is_refused_even_if_it_is_listed() {
    let at = |seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds));
    let certificates = load_authorities(&matrix("self-san-client.crt")).expect("readable");
    let trust = Trust::new(certificates.clone(), &provider());
    let check = |now| trust.check(&certificates[0], &[], now, Role::Client);
    // 2030, 2020 and 2200.
    assert_eq!(check(at(1_893_456_000)), Ok(()));
    let early = check(at(1_577_836_800)).expect_err("not valid yet");
    assert_eq!(early, CertificateError::NotValidYet.into());
    let late = check(at(7_258_118_400)).expect_err("expired");
    assert_eq!(late, CertificateError::Expired.into());
    let issued = load_authorities(&matrix("ca-v1-client.crt")).expect("readable");
    let trust = Trust::new(
        load_authorities(&matrix("ca.crt")).expect("readable"),
        &provider(),
    );
    let late = trust.check(&issued[0], &[], at(7_258_118_400), Role::Client);
    assert_eq!(late, Err(CertificateError::Expired.into()));
}

#[test]
fn no_bytes_make_a_check_panic() {
    let trust = Trust::new(
        load_authorities(&matrix("ca.crt")).expect("readable"),
        &provider(),
    );
    let good = load_authorities(&matrix("ca-v1-client.crt")).expect("readable");
    let now = UnixTime::since_unix_epoch(Duration::from_secs(1_893_456_000));
    for place in 0..good[0].len() {
        for bits in [1, 0x80, 0xff] {
            let mut bytes = good[0].to_vec();
            bytes[place] ^= bits;
            let changed = CertificateDer::from(bytes);
            // One bit changed in what is signed, or in its signature, is another certificate.
            assert!(
                trust.check(&changed, &[], now, Role::Client).is_err(),
                "byte {place}"
            );
        }
        let cut = CertificateDer::from(good[0][..place].to_vec());
        assert!(trust.check(&cut, &[], now, Role::Client).is_err());
    }
}
