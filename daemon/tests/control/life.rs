//! Beginning and end of connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};
use zrepl_daemon::causes::chain;
use zrepl_daemon::endpoint::EndpointError;
use zrepl_daemon::rpc::control::client::ControlClient;
use zrepl_daemon::rpc::handshake::Settings;
use zrepl_daemon::transport::{BoxFuture, Connect, ConnectError, Wire};

use crate::ask::ask_list;
use crate::double::{Double, Host, Network};
use crate::frame::{Frame, ping};
use crate::raw::Raw;

fn client_of(network: &Network) -> ControlClient {
    ControlClient::new(Arc::new(network.clone()), Settings::default())
}

/// An endpoint whose answers wait; tells how many handlers there are.
fn waiting() -> (Double, Arc<AtomicUsize>, Arc<Notify>) {
    struct Running(Arc<AtomicUsize>);
    impl Drop for Running {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::Relaxed);
        }
    }
    let (running, release) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
    let (count, notify) = (Arc::clone(&running), Arc::clone(&release));
    let double = Double::waiting(move |_| {
        count.fetch_add(1, Ordering::Relaxed);
        let running = Running(Arc::clone(&count));
        let notify = Arc::clone(&notify);
        Box::pin(async move {
            let _running = running;
            notify.notified().await;
            Ok(Vec::new())
        })
    });
    (double, running, release)
}

#[tokio::test(start_paused = true)]
async fn the_first_request_connects_and_others_share_the_connection() {
    let host = Host::new(Double::new(|_| Ok(Vec::new())));
    let network = host.network();
    let client = Arc::new(client_of(&network));
    assert_eq!(network.dials(), 0);
    let calls = (0..50).map(|_| {
        let client = Arc::clone(&client);
        tokio::spawn(async move { ask_list(&client).await })
    });
    for call in calls.collect::<Vec<_>>() {
        call.await.unwrap().unwrap();
    }
    assert_eq!(network.dials(), 1);
    drop(client);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(host.server.connections(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_connection_survives_one_who_gives_up() {
    let (network, mut pipes) = Network::new();
    let client = Arc::new(client_of(&network));
    let first = {
        let client = Arc::clone(&client);
        tokio::spawn(async move { ask_list(&client).await })
    };
    let silent = pipes.recv().await.unwrap();
    let second = {
        let client = Arc::clone(&client);
        tokio::spawn(async move { client.ping("!", Duration::from_secs(5)).await })
    };
    sleep(Duration::from_secs(1)).await;
    first.abort();
    let host = Host::new(Double::failing());
    let pipe = pipes.recv().await.unwrap();
    host.greet(pipe).await;
    second.await.unwrap().unwrap();
    drop(silent);
}

#[tokio::test(start_paused = true)]
async fn a_lost_connection_fails_its_request_and_the_next_one_connects_again() {
    let (network, mut pipes) = Network::new();
    let client = client_of(&network);
    for _ in 0..3 {
        let peer = async {
            let mut server = Raw::server(pipes.recv().await.unwrap()).await;
            server.request(1).await;
            server.hang_up();
        };
        let (result, ()) = tokio::join!(ask_list(&client), peer);
        let error = result.unwrap_err();
        assert!(error.is_temporary(), "{error:?}");
        let text = chain(&error);
        assert!(
            text.starts_with("ListFilesystems at tcp://backup:8888 failed: "),
            "{text}"
        );
        assert!(!text.contains("transport error"), "{text}");
    }
    assert_eq!(network.dials(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_connection_lost_while_idle_costs_no_request() {
    let host = Host::new(Double::new(|_| Ok(Vec::new())));
    let (network, mut pipes) = Network::new();
    let client = client_of(&network);
    let peer = async {
        let mut server = Raw::server(pipes.recv().await.unwrap()).await;
        server.request(1).await;
        server
    };
    let limit = Duration::from_secs(1);
    let (_, server) = tokio::join!(client.ping("!", limit), peer);
    server.hang_up();
    sleep(Duration::from_secs(1)).await;
    tokio::spawn(async move { host.greet(pipes.recv().await.unwrap()).await });
    ask_list(&client).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn after_the_graceful_stop_of_a_go_server_the_next_request_connects_again() {
    let host = Host::new(Double::new(|_| Ok(Vec::new())));
    let (network, mut pipes) = Network::new();
    let client = client_of(&network);
    let first = client.ping("!", Duration::from_secs(1));
    let peer = async { Raw::server(pipes.recv().await.unwrap()).await };
    let (_, mut server) = tokio::join!(first, peer);
    let goaway = [
        &0x7fff_ffff_u32.to_be_bytes()[..],
        &[0; 4],
        b"graceful_stop",
    ]
    .concat();
    let drain = b"\x01\x06\x01\x08\x00\x03\x03\x09";
    server
        .send(&[
            Frame::new(Frame::GOAWAY, 0, 0, &goaway),
            Frame::new(Frame::PING, 0, 0, drain),
        ])
        .await;
    // the client hangs up by itself
    while server.next().await.is_some() {}
    tokio::spawn(async move { host.greet(pipes.recv().await.unwrap()).await });
    ask_list(&client).await.unwrap();
    assert_eq!(network.dials(), 2);
}

#[tokio::test(start_paused = true)]
async fn requests_in_progress_outlive_the_goodbye_of_a_server_and_new_ones_connect_again() {
    let host = Host::new(Double::new(|_| Ok(Vec::new())));
    let (network, mut pipes) = Network::new();
    let client = Arc::new(client_of(&network));
    let early = {
        let client = Arc::clone(&client);
        tokio::spawn(async move { ask_list(&client).await })
    };
    let mut server = Raw::server(pipes.recv().await.unwrap()).await;
    server.request(1).await;
    let goaway = [&1_u32.to_be_bytes()[..], &[0; 4]].concat();
    server
        .send(&[Frame::new(Frame::GOAWAY, 0, 0, &goaway)])
        .await;
    sleep(Duration::from_secs(1)).await;
    tokio::spawn(async move { host.greet(pipes.recv().await.unwrap()).await });
    ask_list(&client).await.unwrap();
    let answer = [
        Frame::new(
            Frame::HEADERS,
            Frame::END_HEADERS,
            1,
            b"\x88\x0f\x10\x10application/grpc",
        ),
        Frame::new(Frame::DATA, 0, 1, &[0; 5]),
        Frame::new(
            Frame::HEADERS,
            Frame::END_HEADERS | Frame::END_STREAM,
            1,
            b"\x00\x0bgrpc-status\x010",
        ),
    ];
    server.send(&answer).await;
    early.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_client_may_say_goodbye_and_reset() {
    let host = Host::new(Double::failing());
    for says_goodbye in [true, false] {
        let mut client = Raw::client(&host).await;
        client.send(&ping(1)).await;
        client.until(Frame::is_last).await;
        if says_goodbye {
            let goaway = Frame::new(Frame::GOAWAY, 0, 0, &[0; 8]);
            client.send(&[goaway]).await;
        }
        client.hang_up();
        sleep(Duration::from_secs(1)).await;
        assert_eq!(host.server.connections(), 0);
    }
    host.client()
        .ping("!", Duration::from_secs(1))
        .await
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_handler_ends_with_the_connection_of_its_client() {
    let (double, running, _release) = waiting();
    let host = Host::new(double);
    let mut client = Raw::client(&host).await;
    client
        .send(&crate::frame::request(
            1,
            "/Replication/ListFilesystems",
            b"",
        ))
        .await;
    client.during(Duration::from_secs(1)).await;
    assert_eq!(running.load(Ordering::Relaxed), 1);
    client.hang_up();
    sleep(Duration::from_secs(1)).await;
    assert_eq!(running.load(Ordering::Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn a_stop_says_goodbye_and_lets_requests_finish() {
    let (double, running, release) = waiting();
    let host = Host::new(double);
    let client = Arc::new(host.client());
    let call = {
        let client = Arc::clone(&client);
        tokio::spawn(async move { ask_list(&client).await })
    };
    let mut idle = Raw::client(&host).await;
    sleep(Duration::from_secs(1)).await;
    host.stop.cancel();
    let frames = idle.during(Duration::from_secs(1)).await;
    assert!(
        frames
            .iter()
            .any(|frame| frame.kind == Frame::GOAWAY && frame.code() == 0)
    );
    assert_eq!(running.load(Ordering::Relaxed), 1);
    release.notify_one();
    call.await.unwrap().unwrap();
    let began = Instant::now();
    host.server.finished().await;
    assert!(began.elapsed() < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_stop_does_not_wait_for_ever() {
    let (double, running, _release) = waiting();
    let host = Host::new(double);
    let client = host.client();
    let call = tokio::spawn(async move { ask_list(&client).await });
    let began = Instant::now();
    sleep(Duration::from_secs(1)).await;
    assert_eq!(running.load(Ordering::Relaxed), 1);
    host.stop.cancel();
    host.server.finished().await;
    assert_eq!(began.elapsed().as_secs(), 6);
    assert!(call.await.unwrap().unwrap_err().is_temporary());
    sleep(Duration::from_secs(1)).await;
    assert_eq!(running.load(Ordering::Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn a_client_without_http2_is_given_up() {
    let host = Host::new(Double::failing());
    let (mut near, far) = tokio::io::duplex(1 << 10);
    near.write_all(&crate::raw::greeting()).await.unwrap();
    host.greet(far).await;
    assert_eq!(host.server.connections(), 1);
    sleep(Duration::from_secs(31)).await;
    assert_eq!(host.server.connections(), 0);
    drop(near);
}

/// Fails as told.
#[derive(Debug)]
struct Broken(fn() -> ConnectError);

impl Connect for Broken {
    fn connect(&self) -> BoxFuture<'_, Result<Wire, ConnectError>> {
        Box::pin(std::future::ready(Err((self.0)())))
    }

    fn target(&self) -> &'static str {
        "tcp://backup:8888"
    }
}

#[tokio::test(start_paused = true)]
async fn why_there_is_no_connection_is_told_in_full() {
    let unreachable = || ConnectError::Unreachable {
        target: "tcp://backup:8888".to_owned(),
        step: "TCP connection",
        source: "connection refused".into(),
    };
    let client = ControlClient::new(Arc::new(Broken(unreachable)), Settings::default());
    let error = ask_list(&client).await.unwrap_err();
    assert!(matches!(error, EndpointError::Unreachable { .. }));
    assert_eq!(
        chain(&error),
        "ListFilesystems at tcp://backup:8888 failed: cannot connect to tcp://backup:8888: TCP connection failed: \
         connection refused"
    );
    let refused = || ConnectError::Refused {
        target: "tcp://backup:8888".to_owned(),
        step: "TLS handshake",
        source: "certificate unknown".into(),
    };
    let client = ControlClient::new(Arc::new(Broken(refused)), Settings::default());
    let error = ask_list(&client).await.unwrap_err();
    assert!(matches!(error, EndpointError::Protocol { .. }));
    let began = Instant::now();
    let limit = Duration::from_secs(600);
    let error = client.ping_when_ready("!", limit).await.unwrap_err();
    assert!(chain(&error).ends_with("certificate unknown"));
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn another_version_is_no_passing_trouble() {
    let (network, mut pipes) = Network::new();
    let client = client_of(&network);
    let peer = async {
        let mut pipe = pipes.recv().await.unwrap();
        let banner = "0000000056 ZREPL_ZFS_REPLICATION PROTOVERSION=0006 EXTENSIONS=0000\n";
        pipe.write_all(banner.as_bytes()).await.unwrap();
        pipe
    };
    let (result, _pipe) = tokio::join!(ask_list(&client), peer);
    let error = result.unwrap_err();
    assert!(matches!(error, EndpointError::Protocol { .. }), "{error:?}");
    assert!(chain(&error).ends_with("theirs is 6"), "{}", chain(&error));
}

#[tokio::test(start_paused = true)]
async fn connecting_ends_after_the_limit_of_the_banner() {
    let (network, mut pipes) = Network::new();
    let client = client_of(&network);
    let silent = tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Some(pipe) = pipes.recv().await {
            kept.push(pipe);
        }
    });
    let began = Instant::now();
    assert!(ask_list(&client).await.unwrap_err().is_temporary());
    assert_eq!(began.elapsed().as_secs(), 10);
    let slow = Settings {
        banner_limit: Duration::from_secs(100),
        ..Settings::default()
    };
    let client = ControlClient::new(Arc::new(network), slow);
    let began = Instant::now();
    assert!(ask_list(&client).await.unwrap_err().is_temporary());
    assert_eq!(began.elapsed().as_secs(), 20);
    silent.abort();
}

#[tokio::test(start_paused = true)]
async fn requests_fail_at_once_and_the_waiting_ping_backs_off() {
    let (network, pipes) = Network::new();
    let client = client_of(&network);
    drop(pipes);
    let began = Instant::now();
    for _ in 0..3 {
        assert!(ask_list(&client).await.unwrap_err().is_temporary());
    }
    assert_eq!((began.elapsed(), network.dials()), (Duration::ZERO, 3));
    let limit = Duration::from_secs(600);
    let error = client.ping_when_ready("!", limit).await.unwrap_err();
    assert!(
        chain(&error).ends_with("connection refused"),
        "{}",
        chain(&error)
    );
    assert_eq!(began.elapsed().as_secs(), 600);
    // 1, 1.6, 2.56, … 109.95, 120, 120: fifteen waits in 600 s, give or take the jitter
    let attempts = network.dials() - 3;
    assert!((12..=16).contains(&attempts), "{attempts}");
}

#[tokio::test(start_paused = true)]
async fn the_waiting_ping_succeeds_when_the_server_is_back() {
    let host = Host::new(Double::failing());
    let (network, mut pipes) = Network::new();
    let client = client_of(&network);
    let passive = async {
        for _ in 0..4 {
            drop(pipes.recv().await.unwrap());
        }
        host.greet(pipes.recv().await.unwrap()).await;
    };
    let ping = client.ping_when_ready("!", Duration::from_secs(600));
    let (result, ()) = tokio::join!(ping, passive);
    assert_eq!(result.unwrap(), "!");
    assert_eq!(network.dials(), 5);
}
