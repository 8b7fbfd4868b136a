//! What a connection costs that nothing happens on. Alone in its process, because it asks the system for the process' memory.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use zrepl_daemon::config;
use zrepl_daemon::config::job::JobConfig;
use zrepl_daemon::endpoint::Endpoint;
use zrepl_daemon::rpc::{Client, Endpoints, server};
use zrepl_daemon::transport::local::LocalListeners;
use zrepl_daemon::transport::tls::{self, files};
use zrepl_daemon::transport::{self, Listener, Shared};
use zrepl_proto::label::Label;

const CONNECTIONS: u64 = 200;
const LIMIT: u64 = 64 << 10;

#[derive(Debug)]
struct Nothing;

impl Endpoints for Nothing {
    fn endpoint(&self, _: &Client) -> Arc<dyn Endpoint> {
        Arc::new(Self)
    }
}

impl Endpoint for Nothing {}

fn folder() -> String {
    concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tls").to_owned()
}

fn listener(serve: &str) -> Box<dyn Listener> {
    let yaml = format!("jobs: [{{type: sink, name: sink, root_fs: tank, serve: {serve}}}]");
    let loaded = config::parse("test.yml", &yaml).expect("a configuration");
    let Some(JobConfig::Sink(job)) = loaded.config.job("sink") else {
        panic!("a sink")
    };
    let shared = Shared {
        local: LocalListeners::default(),
        key_log: Arc::new(rustls::NoKeyLog),
        stdinserver_sockets: "/nonexistent".into(),
    };
    transport::listener(&job.serve, &shared).expect("a listener")
}

/// Bytes of this process that are in memory and are its own.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/smaps_rollup").expect("Linux");
    let of = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(name));
        let value = line.and_then(|line| line.split_whitespace().nth(1));
        value
            .and_then(|value| value.parse::<u64>().ok())
            .expect("a number")
            << 10
    };
    of("Private_Dirty:")
}

/// What a client says before its first request.
fn greeting(label: Label) -> Vec<u8> {
    let mut bytes =
        b"0000000056 ZREPL_ZFS_REPLICATION PROTOVERSION=0007 EXTENSIONS=0000\n".to_vec();
    bytes.extend_from_slice(&label.encode());
    if label == Label::Control {
        bytes.extend_from_slice(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0");
    }
    bytes
}

/// Opens connections with `open` and returns how much memory each costs.
fn cost<C>(runtime: &tokio::runtime::Runtime, serve: &str, open: impl Fn(&str) -> C) -> u64 {
    let (address, stop) = runtime.block_on(async {
        let listener = listener(serve);
        let (_, address) = listener.address().split_once("://").expect("an address");
        let address = address.to_owned();
        let stop = CancellationToken::new();
        let settings = server::Settings::new("sink");
        tokio::spawn(server::serve(
            listener,
            Arc::new(Nothing),
            settings,
            stop.clone(),
        ));
        (address, stop)
    });
    // The first ones pay for what is shared.
    let first: Vec<C> = (0..20).map(|_| open(&address)).collect();
    let before = resident();
    let idle: Vec<C> = (0..CONNECTIONS).map(|_| open(&address)).collect();
    std::thread::sleep(Duration::from_millis(300));
    let after = resident();
    drop((first, idle));
    stop.cancel();
    after.saturating_sub(before) / CONNECTIONS
}

fn open_tcp(address: &str, label: Label) -> TcpStream {
    let mut socket = TcpStream::connect(address).expect("it listens");
    socket.write_all(&greeting(label)).expect("it reads");
    let mut banner = [0; 67];
    socket.read_exact(&mut banner).expect("it answers");
    if label == Label::Control {
        // Its settings; then it waits for us.
        socket.read_exact(&mut [0; 9]).expect("it answers");
    }
    socket
}

#[test]
fn two_hundred_idle_connections_cost_little() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let tcp = "{type: tcp, listen: '127.0.0.1:0', clients: {127.0.0.1: client}}";
    let control = cost(&runtime, tcp, |address| open_tcp(address, Label::Control));
    let data = cost(&runtime, tcp, |address| open_tcp(address, Label::Data));
    let folder = folder();
    let serve = format!(
        "{{type: tls, listen: '127.0.0.1:0', client_cns: [san.example.com], ca: {folder}/san.crt, cert: {folder}/san.crt, \
         key: {folder}/san.key}}"
    );
    let path = |name: &str| std::path::PathBuf::from(format!("{folder}/{name}"));
    let identity = files::load_identity(&path("san.crt"), &path("san.key")).unwrap();
    let authorities = files::load_authorities(&path("san.crt")).unwrap();
    let log = Arc::new(rustls::NoKeyLog);
    let client = tls::client(authorities, &identity, "san.example.com", log).unwrap();
    // Both ends are ours here, so what the client's end costs is measured, too.
    let secure = cost(&runtime, &serve, |address| {
        let connection =
            rustls::ClientConnection::new(Arc::clone(&client.config), client.sni.clone()).unwrap();
        let socket = TcpStream::connect(address).unwrap();
        let mut stream = rustls::StreamOwned::new(connection, socket);
        stream.write_all(&greeting(Label::Control)).unwrap();
        stream.read_exact(&mut [0; 67 + 9]).unwrap();
        stream
    });
    println!(
        "an idle connection costs {} KiB (control), {} KiB (data), {} KiB (control by TLS, with the client's end)",
        control >> 10,
        data >> 10,
        secure >> 10
    );
    assert!(control <= LIMIT && data <= LIMIT && secure <= LIMIT);
}
