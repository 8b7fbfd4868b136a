//! Signs of life, in virtual time.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use zrepl_daemon::causes::chain;
use zrepl_daemon::rpc::control::client::ControlClient;
use zrepl_daemon::rpc::handshake::Settings;

use crate::ask::ask_list;
use crate::double::{Double, Host, Network};
use crate::frame::Frame;
use crate::raw::Raw;

/// A Go server allows no shorter interval.
const GO_LIMIT: Duration = Duration::from_millis(2500);

/// When pings came, until the other side hangs up or this time is over.
async fn pings(raw: &mut Raw, time: Duration) -> Vec<Duration> {
    let began = Instant::now();
    let mut times = Vec::new();
    let reading = async {
        while let Some(frame) = raw.next().await {
            if frame.is_question(Frame::PING) {
                times.push(began.elapsed());
            }
        }
    };
    let _ = tokio::time::timeout(time, reading).await;
    times
}

async fn idle_client() -> (ControlClient, Raw) {
    let (network, mut pipes) = Network::new();
    let client = ControlClient::new(std::sync::Arc::new(network), Settings::default());
    let ping = client.ping("!", Duration::from_secs(1));
    let server = async { Raw::server(pipes.recv().await.unwrap()).await };
    let (result, server) = tokio::join!(ping, server);
    assert!(result.unwrap_err().is_temporary());
    (client, server)
}

#[tokio::test(start_paused = true)]
async fn the_server_pings_an_idle_client_every_five_seconds() {
    let host = Host::new(Double::failing());
    let mut client = Raw::client(&host).await;
    let times = pings(&mut client, Duration::from_secs(61)).await;
    assert!((11..=13).contains(&times.len()), "{times:?}");
    assert_eq!(host.server.connections(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_server_gives_up_a_client_that_does_not_answer_pings() {
    let host = Host::new(Double::failing());
    let mut client = Raw::client(&host).await;
    client.is_alive = false;
    let began = Instant::now();
    while client.next().await.is_some() {}
    let after = began.elapsed().as_secs();
    assert!((14..=16).contains(&after), "{after}");
    sleep(Duration::from_secs(1)).await;
    assert_eq!(host.server.connections(), 0);
}

#[tokio::test(start_paused = true)]
async fn trap_11_2_the_client_pings_when_idle_and_never_faster_than_go_allows() {
    let (_client, mut server) = idle_client().await;
    let times = pings(&mut server, Duration::from_secs(301)).await;
    assert!((28..=32).contains(&times.len()), "{times:?}");
    for pair in times.windows(2) {
        assert!(pair[0] + GO_LIMIT <= pair[1], "{times:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn trap_11_2_busy_clients_do_not_ping_faster_either() {
    let (client, mut server) = idle_client().await;
    let asking = async {
        for _ in 0..1000 {
            let _ = client.ping("!", Duration::from_millis(100)).await;
        }
    };
    let (times, ()) = tokio::join!(pings(&mut server, Duration::from_secs(99)), asking);
    assert!(!times.is_empty());
    for pair in times.windows(2) {
        assert!(pair[0] + GO_LIMIT <= pair[1], "{times:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_client_gives_up_a_server_that_does_not_answer_pings() {
    let (client, mut server) = idle_client().await;
    server.is_alive = false;
    let began = Instant::now();
    let silent = tokio::spawn(async move { while server.next().await.is_some() {} });
    let error = ask_list(&client).await.unwrap_err();
    assert!(error.is_temporary(), "{error:?}");
    assert!(chain(&error).contains("timed out"), "{}", chain(&error));
    let after = began.elapsed().as_secs();
    assert!((19..=21).contains(&after), "{after}");
    silent.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn both_sides_stay_connected_for_an_hour_without_requests() {
    let host = Host::new(Double::failing());
    let client = host.client();
    client.ping("!", Duration::from_secs(1)).await.unwrap();
    sleep(Duration::from_secs(3600)).await;
    client.ping("!", Duration::from_secs(1)).await.unwrap();
    assert_eq!(host.clients().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn trap_11_17_an_answer_may_take_minutes() {
    let double = Double::waiting(|_| {
        Box::pin(async {
            sleep(Duration::from_secs(1800)).await;
            Ok(Vec::new())
        })
    });
    let host = Host::new(double);
    ask_list(&host.client()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_ping_tells_its_limit_and_keeps_it() {
    let (network, mut pipes) = Network::new();
    let client = ControlClient::new(std::sync::Arc::new(network), Settings::default());
    let peer = tokio::spawn(async move {
        let mut server = Raw::server(pipes.recv().await.unwrap()).await;
        server.during(Duration::from_secs(700)).await
    });
    let began = Instant::now();
    let error = client
        .ping("!", Duration::from_secs(600))
        .await
        .unwrap_err();
    assert!(error.is_temporary());
    assert_eq!(began.elapsed().as_secs(), 600);
    let frames = peer.await.unwrap();
    let headers = frames.iter().find(|frame| frame.kind == Frame::HEADERS);
    // HPACK's Huffman code of "grpc-timeout"
    let name = b"\x9a\xca\xc8\xb2\x4d\x49\x4f\x6a\x7f";
    let block = &headers.unwrap().payload;
    assert!(block.windows(name.len()).any(|part| part == name));
}
