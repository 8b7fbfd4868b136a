use tokio::io::{AsyncWrite, DuplexStream, duplex};
use tokio::time::{Instant, sleep};

use super::*;

const GO_BANNER: &[u8; 67] =
    b"0000000056 ZREPL_ZFS_REPLICATION PROTOVERSION=0007 EXTENSIONS=0000\n";

fn announcing(lines: &[&str]) -> Settings {
    Settings {
        extensions: Extensions::from_lines(lines.iter().map(|line| line.as_bytes())),
        ..Settings::default()
    }
}

fn banner_with(body_len: usize) -> Vec<u8> {
    let header = "ZREPL_ZFS_REPLICATION PROTOVERSION=0007 EXTENSIONS=0001\n";
    let extension = "x".repeat(body_len - header.len() - 1);
    format!("{body_len:010} {header}{extension}\n").into_bytes()
}

/// The server's view of a client that sends these bytes and waits.
async fn accept_from(client: &[u8]) -> (Result<Greeting, HandshakeError>, Wire, DuplexStream) {
    let (near, mut far) = duplex(1 << 20);
    far.write_all(client).await.unwrap();
    let mut wire = Wire::from(near);
    let result = accept(&mut wire, &Settings::default()).await;
    (result, wire, far)
}

async fn error_of(client: &[u8]) -> HandshakeError {
    accept_from(client).await.0.unwrap_err()
}

async fn trickle(mut pipe: impl AsyncWrite + Unpin, bytes: Vec<u8>, pause: Duration) {
    for byte in bytes {
        if pipe.write_all(&[byte]).await.is_err() {
            return;
        }
        sleep(pause).await;
    }
    std::future::pending::<()>().await;
}

#[tokio::test(start_paused = true)]
async fn without_extensions_the_bytes_are_those_of_go() {
    let (near, mut far) = duplex(1 << 10);
    let client = async {
        let mut wire = Wire::from(near);
        let agreement = open(&mut wire, Label::Control, &Settings::default()).await;
        assert_eq!(agreement.unwrap(), Agreement::default());
        drop(wire);
    };
    let server = async {
        let mut banner = [0; GO_BANNER.len()];
        far.read_exact(&mut banner).await.unwrap();
        assert_eq!(&banner, GO_BANNER);
        far.write_all(GO_BANNER).await.unwrap();
        let mut rest = Vec::new();
        far.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, Label::Control.encode());
    };
    tokio::join!(client, server);
}

#[tokio::test(start_paused = true)]
async fn a_go_client_is_accepted_and_sees_the_banner_of_go() {
    for label in [Label::Control, Label::Data] {
        let (result, wire, mut far) =
            accept_from(&[&GO_BANNER[..], &label.encode()].concat()).await;
        let greeting = result.unwrap();
        assert_eq!(greeting.label, label);
        assert!(greeting.agreement.is_empty());
        drop(wire);
        let mut sent = Vec::new();
        far.read_to_end(&mut sent).await.unwrap();
        assert_eq!(sent, GO_BANNER);
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_behind_the_label_is_swallowed() {
    let first_request = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let segment = [&GO_BANNER[..], &Label::Control.encode(), first_request].concat();
    let (result, mut wire, _far) = accept_from(&segment).await;
    result.unwrap();
    let mut next = [0; 24];
    wire.reader.read_exact(&mut next).await.unwrap();
    assert_eq!(&next, first_request);
}

#[tokio::test(start_paused = true)]
async fn single_bytes_will_do() {
    let (near, far) = duplex(1);
    let (near, far) = (Wire::from(near), Wire::from(far));
    let (mut near, mut far) = (near, far);
    let (settings, other) = (
        announcing(&["a.b/1", "a.b/2"]),
        announcing(&["a.b/2", "c.d/1"]),
    );
    let client = open(&mut near, Label::Data, &settings);
    let server = accept(&mut far, &other);
    let (agreement, greeting) = tokio::join!(client, server);
    let (agreement, greeting) = (agreement.unwrap(), greeting.unwrap());
    let versions: Vec<_> = agreement.versions().collect();
    assert_eq!(versions, [("a.b", 2)]);
    assert_eq!(greeting.agreement.version("a.b"), Some(2));
    assert_eq!(greeting.label, Label::Data);
}

#[tokio::test(start_paused = true)]
async fn the_longest_banner_passes_and_one_byte_more_does_not() {
    let longest = [banner_with(65_536), Label::Data.encode().to_vec()].concat();
    assert_eq!(accept_from(&longest).await.0.unwrap().label, Label::Data);
    let error = error_of(&banner_with(65_537)).await;
    assert!(
        matches!(error, HandshakeError::Banner(BannerError::Length(65_537))),
        "{error:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn long_banners_on_both_sides_do_not_block_each_other() {
    let lines: Vec<String> = (1..600).map(|n| format!("a.b/{n}")).collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let settings = announcing(&lines[..400]);
    let (near, far) = duplex(16);
    let (mut near, mut far) = (Wire::from(near), Wire::from(far));
    let (client, server) = tokio::join!(
        open(&mut near, Label::Control, &settings),
        accept(&mut far, &settings),
    );
    assert_eq!(client.unwrap().version("a.b"), Some(400));
    assert_eq!(server.unwrap().label, Label::Control);
    let (near, _far) = duplex(16);
    let error = exchange_banners(&mut Wire::from(near), &announcing(&lines)).await;
    let error = error.unwrap_err();
    assert!(matches!(error, HandshakeError::Extensions(_)) && error.is_permanent());
}

#[tokio::test(start_paused = true)]
async fn garbage_is_shown() {
    for garbage in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"SSH-2.0-OpenSSH_9.9\r\n"] {
        let error = error_of(garbage).await;
        assert!(error.is_permanent() && !error.is_timeout());
        let text = crate::causes::chain(&error);
        let start = String::from_utf8_lossy(&garbage[..8]).into_owned();
        assert!(text.contains(&start), "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn another_version_is_refused_after_the_exchange() {
    let banner = String::from_utf8(GO_BANNER.to_vec()).unwrap();
    let banner = banner.replace("=0007", "=0006");
    let (result, wire, mut far) = accept_from(banner.as_bytes()).await;
    let error = result.unwrap_err();
    assert!(error.is_permanent());
    assert_eq!(
        crate::causes::chain(&error),
        "peer's banner is not accepted: protocol versions do not match: ours is 7, theirs is 6"
    );
    drop(wire);
    let mut sent = Vec::new();
    far.read_to_end(&mut sent).await.unwrap();
    assert_eq!(sent, GO_BANNER);
}

#[tokio::test(start_paused = true)]
async fn silence_ends_after_ten_seconds() {
    let began = Instant::now();
    let error = error_of(b"").await;
    assert!(error.is_timeout() && !error.is_permanent());
    assert_eq!(began.elapsed().as_secs(), 10);
    assert_eq!(
        error.to_string(),
        "exchange of banners was not finished within 10s, peer sent \"\""
    );
}

#[tokio::test(start_paused = true)]
async fn single_bytes_do_not_extend_the_limit() {
    let (near, far) = duplex(1 << 10);
    let trickling = tokio::spawn(trickle(far, GO_BANNER.to_vec(), Duration::from_millis(900)));
    let began = Instant::now();
    let result = accept(&mut Wire::from(near), &Settings::default()).await;
    let error = result.unwrap_err();
    assert!(error.is_timeout());
    assert_eq!(began.elapsed().as_secs(), 10);
    assert!(error.to_string().contains("\"0000000056 Z\""), "{error}");
    trickling.abort();
}

#[tokio::test(start_paused = true)]
async fn the_label_has_a_limit_of_its_own() {
    let (near, mut far) = duplex(1 << 10);
    let client = tokio::spawn(async move {
        sleep(Duration::from_secs(9)).await;
        far.write_all(GO_BANNER).await.unwrap();
        trickle(far, Label::Data.encode().to_vec(), Duration::from_secs(1)).await;
    });
    let began = Instant::now();
    let result = accept(&mut Wire::from(near), &Settings::default()).await;
    let error = result.unwrap_err();
    assert_eq!(began.elapsed().as_secs(), 19);
    assert!(
        matches!(&error, HandshakeError::TimedOut { phase: Phase::Label, received, .. }
            if received == "zrepl_data"),
        "{error:?}"
    );
    client.abort();
}

#[tokio::test(start_paused = true)]
async fn an_unknown_label_is_shown() {
    let mut label = Label::Control.encode();
    label[0] = b'Z';
    let error = error_of(&[&GO_BANNER[..], &label].concat()).await;
    assert!(error.is_permanent());
    let text = crate::causes::chain(&error);
    assert!(text.contains("\"Zrepl_control\""), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_hangs_up_may_be_asked_again() {
    let whole = [&GO_BANNER[..], &Label::Control.encode()].concat();
    for len in [0, 5, 66, 67, 130] {
        let (near, mut far) = duplex(1 << 10);
        far.write_all(&whole[..len]).await.unwrap();
        drop(far);
        let result = accept(&mut Wire::from(near), &Settings::default()).await;
        let error = result.unwrap_err();
        assert!(!error.is_permanent() && !error.is_timeout(), "{error:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn trap_11_13_the_label_follows_the_banner_without_delay() {
    let (near, mut far) = duplex(1 << 10);
    let began = Instant::now();
    far.write_all(GO_BANNER).await.unwrap();
    let mut wire = Wire::from(near);
    open(&mut wire, Label::Control, &Settings::default())
        .await
        .unwrap();
    assert_eq!(began.elapsed(), Duration::ZERO);
}
