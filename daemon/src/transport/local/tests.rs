use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::causes::chain;
use crate::config::connection::{Connect as ConnectSection, Serve};
use crate::transport::tests::{admitted, connect_section, serve_section};

fn connector(name: &str, dial_timeout: &str, listeners: &LocalListeners) -> LocalConnector {
    let json = format!(
        "{{type: local, listener_name: {name}, client_identity: me, dial_timeout: {dial_timeout}}}"
    );
    let ConnectSection::Local(config) = connect_section(&json) else {
        panic!("{json}");
    };
    LocalConnector::new(&config, listeners)
}

fn listener(name: &str, listeners: &LocalListeners) -> Result<LocalListener, TransportError> {
    let json = format!("{{type: local, listener_name: {name}}}");
    let Serve::Local(config) = serve_section(&json) else {
        panic!("{json}");
    };
    LocalListener::new(&config, listeners)
}

async fn assert_connected(active: Result<Wire, ConnectError>, passive: &mut Wire) {
    let mut active = active.unwrap_or_else(|e| panic!("{}", chain(&e)));
    active.writer.write_u8(7).await.expect("writable");
    assert_eq!(passive.reader.read_u8().await.expect("readable"), 7);
}

#[tokio::test(start_paused = true)]
async fn without_a_listener_it_gives_up_in_time_with_gos_words() {
    let listeners = LocalListeners::default();
    let other = listener("other", &listeners).expect("is free");
    for _ in 0..3 {
        let start = tokio::time::Instant::now();
        let error = connector("sink", "2s", &listeners).connect().await;
        let error = error.expect_err("nobody there");
        assert_eq!(start.elapsed().as_secs(), 2);
        assert_eq!(
            chain(&error),
            "cannot connect to local://sink: the connection within the daemon failed: local listener \"sink\" not reachable"
        );
    }
    drop(other);
}

#[tokio::test(start_paused = true)]
async fn who_has_given_up_is_not_served_and_who_waits_is() {
    let listeners = LocalListeners::default();
    let brief = connector("sink", "1s", &listeners);
    let patient = connector("sink", "0", &listeners);
    for _ in 0..3 {
        brief.connect().await.expect_err("nobody there");
    }
    let waiting = tokio::spawn(async move { patient.connect().await });
    tokio::time::sleep(Duration::from_secs(1_000_000)).await;
    let mut listener = listener("sink", &listeners).expect("is free");
    let (mut passive, identity) = admitted(&mut listener).await.expect("no handshake");
    assert_eq!(identity.as_str(), "me");
    assert_connected(waiting.await.expect("ends"), &mut passive).await;
    // Nobody else is left.
    let nobody = within(Some(Duration::from_secs(5)), listener.accept()).await;
    assert!(nobody.is_err(), "{nobody:?}");
}

#[tokio::test(start_paused = true)]
async fn a_connection_needs_a_listener_that_accepts() {
    let listeners = LocalListeners::default();
    let _busy = listener("sink", &listeners).expect("is free");
    let error = connector("sink", "2s", &listeners).connect().await;
    assert!(
        matches!(error, Err(ConnectError::Unreachable { .. })),
        "{error:?}"
    );
}

#[tokio::test]
async fn one_name_has_one_listener_until_it_is_gone() {
    let listeners = LocalListeners::default();
    let first = listener("sink", &listeners).expect("is free");
    let error = listener("sink", &listeners).expect_err("is taken");
    assert_eq!(
        error.to_string(),
        "local listener \"sink\" belongs to another job already"
    );
    listener("sink", &LocalListeners::default()).expect("another daemon's");
    drop(first);
    let mut second = listener("sink", &listeners).expect("is free again");
    let connector = connector("sink", "0", &listeners);
    let (active, passive) = tokio::join!(connector.connect(), admitted(&mut second));
    let (mut passive, _) = passive.expect("no handshake");
    assert_connected(active, &mut passive).await;
}
