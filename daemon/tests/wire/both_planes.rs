//! A remote endpoint and a server, with everything that lies between them but a network.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use zrepl_daemon::endpoint::Endpoint;
use zrepl_daemon::rpc::client::{self, RemoteEndpoint};
use zrepl_daemon::rpc::{Client, Endpoints, server};
use zrepl_proto::label::Label;
use zrepl_proto::pdu::{ListFilesystemReq, ListFilesystemVersionsReq};

use crate::double::{Double, receive_request, send_request, sha256, stream, take};
use crate::memory::{Door, MemoryListener, door};

/// Gives every client the same endpoint.
struct Same(Arc<Double>);

impl Endpoints for Same {
    fn endpoint(&self, _: &Client) -> Arc<dyn Endpoint> {
        Arc::clone(&self.0) as Arc<dyn Endpoint>
    }
}

pub(crate) struct Running {
    pub(crate) door: Door,
    stop: CancellationToken,
    server: JoinHandle<()>,
    settings: server::Settings,
}

pub(crate) fn run(endpoint: Arc<Double>, adjust: impl FnOnce(&mut server::Settings)) -> Running {
    let (door, listener) = door();
    let mut settings = server::Settings::new("test");
    adjust(&mut settings);
    run_at(door, listener, endpoint, settings)
}

fn run_at(
    door: Door,
    listener: MemoryListener,
    endpoint: Arc<Double>,
    settings: server::Settings,
) -> Running {
    let stop = CancellationToken::new();
    let serving = server::serve(
        Box::new(listener),
        Arc::new(Same(endpoint)),
        settings.clone(),
        stop.clone(),
    );
    Running {
        door,
        stop,
        server: tokio::spawn(serving),
        settings,
    }
}

pub(crate) fn remote(door: &Door) -> RemoteEndpoint {
    let settings = client::Settings::default();
    RemoteEndpoint::new(Arc::new(door.clone()), settings, CancellationToken::new())
}

#[tokio::test]
async fn all_that_an_endpoint_can_do_can_be_done_from_afar() {
    let bytes = vec![9; 700_001];
    let endpoint = Double::sender(&[&bytes]);
    let running = run(Arc::clone(&endpoint), |_| ());
    let remote = remote(&running.door);
    remote.wait_for_connectivity().await.unwrap();
    let empty = remote.list_filesystems(ListFilesystemReq {}).await.unwrap();
    assert_eq!(empty.filesystems.len(), 0);
    let request = ListFilesystemVersionsReq {
        filesystem: "pool/no".into(),
    };
    let error = remote.list_filesystem_versions(request).await.unwrap_err();
    assert_eq!(error.to_string(), "dataset \"pool/no\" does not exist");
    assert!(!error.is_temporary());
    let (_, arriving) = remote.send(send_request("pool/fs")).await.unwrap();
    let received = take(arriving).await;
    assert_eq!((received.failure, received.sha256), (None, sha256(&bytes)));
    let leaving = stream(vec![bytes.clone()], Ok(()));
    remote
        .receive(receive_request("pool/fs"), leaving)
        .await
        .unwrap();
    assert_eq!(endpoint.last_received().sha256, sha256(&bytes));
    // One control connection, and one for each of ping, send and receive.
    assert_eq!(running.door.dials.load(Ordering::Relaxed), 4);
    drop(remote);
    running.stop.cancel();
    running.server.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn silent_peers_delay_nobody() {
    let running = run(Double::receiver(), |_| ());
    let silent: Vec<_> = (0..100).map(|_| running.door.knock("192.0.2.66")).collect();
    let begun = Instant::now();
    let remote = remote(&running.door);
    remote.wait_for_connectivity().await.unwrap();
    assert_eq!(begun.elapsed(), Duration::ZERO);
    drop(silent);
}

#[tokio::test(start_paused = true)]
async fn a_flood_displaces_itself() {
    let running = run(Double::receiver(), |settings| settings.unfinished = 10);
    let mut quiet = running.door.knock("192.0.2.7");
    let mut flood: Vec<_> = (0..50).map(|_| running.door.knock("192.0.2.66")).collect();
    let begun = Instant::now();
    let mut closed = 0;
    for peer in &mut flood[..41] {
        // Banner, then the end.
        let mut said = Vec::new();
        peer.read_to_end(&mut said).await.unwrap();
        closed += 1;
    }
    assert_eq!((closed, begun.elapsed()), (41, Duration::ZERO));
    // The quiet one was first, and is still there.
    quiet.write_all(&go_banner()).await.unwrap();
    quiet.write_all(&Label::Data.encode()).await.unwrap();
    let mut banner = vec![0; 67];
    quiet.read_exact(&mut banner).await.unwrap();
    assert_eq!(banner, go_banner());
    remote(&running.door).wait_for_connectivity().await.unwrap();
    assert!(metrics(&running).contains("zrepl_rpc_handshakes_evicted 4"));
}

pub(crate) fn go_banner() -> Vec<u8> {
    b"0000000056 ZREPL_ZFS_REPLICATION PROTOVERSION=0007 EXTENSIONS=0000\n".to_vec()
}

fn metrics(running: &Running) -> String {
    let registry = prometheus::Registry::new();
    let registered = running.settings.metrics.register(&registry);
    registered.expect("nothing else is registered");
    let encoder = prometheus::TextEncoder::new();
    encoder
        .encode_to_string(&registry.gather())
        .expect("they are text")
}

#[tokio::test(start_paused = true)]
async fn a_client_has_so_many_connections_and_no_more() {
    let running = run(Double::receiver(), |settings| settings.per_client = 2);
    let mut open = Vec::new();
    for _ in 0..3 {
        let mut peer = running.door.knock("192.0.2.7");
        peer.write_all(&go_banner()).await.unwrap();
        peer.write_all(&Label::Data.encode()).await.unwrap();
        let mut banner = vec![0; 67];
        peer.read_exact(&mut banner).await.unwrap();
        open.push(peer);
    }
    let begun = Instant::now();
    let mut rest = Vec::new();
    open[2].read_to_end(&mut rest).await.unwrap();
    assert_eq!((rest.len(), begun.elapsed()), (0, Duration::ZERO));
    // When one goes, there is room for another.
    drop(open.remove(0));
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut next = running.door.knock("192.0.2.7");
    next.write_all(&go_banner()).await.unwrap();
    next.write_all(&Label::Data.encode()).await.unwrap();
    let mut said = vec![0; 67 + 8];
    next.read_exact(&mut said).await.unwrap();
    assert_eq!(said[67..], zrepl_proto::frame::HEARTBEAT);
    // Others are not concerned.
    "client2".clone_into(&mut running.door.identity.lock().unwrap());
    let mut other = running.door.knock("192.0.2.7");
    other.write_all(&go_banner()).await.unwrap();
    other.write_all(&Label::Data.encode()).await.unwrap();
    other.read_exact(&mut said).await.unwrap();
    assert_eq!(said[67..], zrepl_proto::frame::HEARTBEAT);
}

#[tokio::test(start_paused = true)]
async fn a_daemon_that_stops_lets_everybody_go() {
    let running = run(Double::receiver(), |_| ());
    let remote = remote(&running.door);
    remote.wait_for_connectivity().await.unwrap();
    let mut silent = running.door.knock("192.0.2.66");
    let mut labelled = running.door.knock("192.0.2.7");
    labelled.write_all(&go_banner()).await.unwrap();
    labelled.write_all(&Label::Data.encode()).await.unwrap();
    labelled.read_exact(&mut [0; 67]).await.unwrap();
    let begun = Instant::now();
    running.stop.cancel();
    let (mut left, mut said) = (Vec::new(), Vec::new());
    silent.read_to_end(&mut left).await.unwrap();
    labelled.read_to_end(&mut said).await.unwrap();
    drop((silent, labelled));
    running.server.await.unwrap();
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
    let error = remote
        .list_filesystems(ListFilesystemReq {})
        .await
        .unwrap_err();
    assert!(error.is_temporary(), "{error:?}");
    assert_eq!(said, zrepl_proto::frame::RST);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_comes_back_is_found_again() {
    let first = run(Double::receiver(), |_| ());
    let remote = Arc::new(remote(&first.door));
    remote.list_filesystems(ListFilesystemReq {}).await.unwrap();
    first.stop.cancel();
    first.server.await.unwrap();
    let error = remote
        .list_filesystems(ListFilesystemReq {})
        .await
        .unwrap_err();
    assert!(error.is_temporary(), "{error:?}");
    let leaving = stream(vec![vec![1; 100]], Ok(()));
    let error = remote
        .receive(receive_request("pool/fs"), leaving)
        .await
        .unwrap_err();
    assert!(error.is_temporary(), "{error:?}");
    let waiting = tokio::spawn({
        let remote = Arc::clone(&remote);
        async move { remote.wait_for_connectivity().await }
    });
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(!waiting.is_finished());
    let listener = first.door.reopen();
    let again = run_at(first.door, listener, Double::receiver(), first.settings);
    waiting.await.unwrap().unwrap();
    remote.list_filesystems(ListFilesystemReq {}).await.unwrap();
    drop(again);
}

#[tokio::test(start_paused = true)]
async fn metrics_have_the_names_of_the_go_daemon() {
    let running = run(Double::receiver(), |_| ());
    let remote = remote(&running.door);
    remote.wait_for_connectivity().await.unwrap();
    let mut garbage = running.door.knock("192.0.2.66");
    garbage.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let mut said = Vec::new();
    let _: io::Result<usize> = garbage.read_to_end(&mut said).await;
    drop(garbage);
    tokio::time::sleep(Duration::from_secs(30)).await;
    let text = metrics(&running);
    for line in [
        "# TYPE zrepl_frameconn_shutdown_drain_bytes_read summary",
        "zrepl_frameconn_shutdown_drain_bytes_read_sum 0",
        "zrepl_frameconn_shutdown_drain_bytes_read_count 1",
        "# TYPE zrepl_frameconn_shutdown_seconds summary",
        "zrepl_frameconn_shutdown_seconds_count 1",
        "# TYPE zrepl_frameconn_shutdown_drain_seconds summary",
        "zrepl_frameconn_shutdown_drain_seconds_count 1",
        "zrepl_rpc_connections_accepted{plane=\"control\",zrepl_job=\"test\"} 1",
        "zrepl_rpc_connections_accepted{plane=\"data\",zrepl_job=\"test\"} 1",
        "zrepl_rpc_connections_open{plane=\"control\",zrepl_job=\"test\"} 1",
        "zrepl_rpc_connections_open{plane=\"data\",zrepl_job=\"test\"} 0",
        "zrepl_rpc_connections_refused{reason=\"handshake\",zrepl_job=\"test\"} 1",
        "zrepl_rpc_handshakes_unfinished 0",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
    // As in zrepl 0.7.0, it is there only once something failed (recorded).
    assert!(!text.contains("zrepl_frameconn_shutdown_hard_closes"));
}
