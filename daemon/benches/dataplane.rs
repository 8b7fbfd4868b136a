//! How fast streams pass, and at what cost: pipe to pipe over loopback, next to the plainest program that could do it.
//!
//! `cargo bench -p zrepl-daemon --bench dataplane -- [--gib N] [--rounds N]`. Every line is one transfer; CPU time is that of
//! the whole process, so it has both ends and the threads that fill and empty the pipes, which are the same in all of them.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use tokio::net::unix::pipe;
use tokio_util::sync::CancellationToken;
use zrepl_daemon::config;
use zrepl_daemon::config::connection::{self, Serve};
use zrepl_daemon::config::job::JobConfig;
use zrepl_daemon::endpoint::stream::{Producer, SendStream, Source};
use zrepl_daemon::endpoint::{Endpoint, EndpointError};
use zrepl_daemon::rpc::client::{self, RemoteEndpoint};
use zrepl_daemon::rpc::{Client, Endpoints, server};
use zrepl_daemon::transport::local::LocalListeners;
use zrepl_daemon::transport::{self, BoxFuture, Shared, tls};
use zrepl_proto::pdu::{
    Creation, FilesystemVersion, GuaranteeKind, Protection, ReceiveReq, ReceiveRes, SendReq,
    SendRes,
};

/// What a zfs send writes at a time, and what relays like mbuffer move.
const RECORD: usize = 128 << 10;
const GIB: u64 = 1 << 30;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let (mut gib, mut rounds) = (8, 3);
    while let Some(argument) = arguments.next() {
        let mut number = || {
            let value = arguments.next().and_then(|value| value.parse().ok());
            value.expect("a number")
        };
        match argument.as_str() {
            "--gib" => gib = number(),
            "--rounds" => rounds = number(),
            // Cargo's own.
            "--bench" => {}
            other => panic!("unknown argument {other}"),
        }
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    println!("{gib} GiB each, {rounds} rounds");
    for _ in 0..rounds {
        let relay = measure("relay tcp", gib, relay_tcp);
        let relay_tls = measure("relay rustls", gib, relay_rustls);
        for (name, secure, endpoint) in [
            ("tcp /v1/recv", false, Asked::Receive),
            ("tcp /v1/send", false, Asked::Send),
            ("tls /v1/recv", true, Asked::Receive),
            ("tls /v1/send", true, Asked::Send),
        ] {
            let ours = measure(name, gib, |bytes| {
                runtime.block_on(transfer(bytes, secure, endpoint));
            });
            let base = if secure { &relay_tls } else { &relay };
            println!(
                "                 {:.2} of the relay's speed, {:.2} of its CPU time",
                ours.speed / base.speed,
                ours.cpu / base.cpu
            );
        }
    }
}

struct Measured {
    /// MiB per second.
    speed: f64,
    /// Seconds per GiB.
    cpu: f64,
}

#[expect(clippy::cast_precision_loss, reason = "for people to look at")]
fn measure(name: &str, gib: u64, transfer: impl FnOnce(u64)) -> Measured {
    let (begun, cpu) = (Instant::now(), cpu_time());
    transfer(gib * GIB);
    let (wall, cpu) = (begun.elapsed(), cpu_time().saturating_sub(cpu));
    let measured = Measured {
        speed: (gib << 10) as f64 / wall.as_secs_f64(),
        cpu: cpu.as_secs_f64() / gib as f64,
    };
    println!(
        "{name:<14}{:>8.0} MiB/s{:>8.3} CPU s/GiB",
        measured.speed, measured.cpu
    );
    measured
}

fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(
        time.tv_sec.try_into().expect("positive"),
        time.tv_nsec.try_into().expect("positive"),
    )
}

/// A pipe as zfs-safe makes them.
fn stream_pipe() -> (OwnedFd, OwnedFd) {
    let (reader, writer) = io::pipe().expect("a pipe");
    let (reader, writer) = (OwnedFd::from(reader), OwnedFd::from(writer));
    // As large as an unprivileged process may have it; smaller ones work, too.
    let _ = rustix::pipe::fcntl_setpipe_size(&writer, 1 << 20);
    (reader, writer)
}

/// Fills a pipe from a thread.
fn produce(bytes: u64) -> (OwnedFd, thread::JoinHandle<()>) {
    let (reader, writer) = stream_pipe();
    let thread = thread::spawn(move || {
        let mut writer = std::fs::File::from(writer);
        let record = vec![0x5a; RECORD];
        for _ in 0..bytes / RECORD as u64 {
            writer.write_all(&record).expect("somebody reads");
        }
    });
    (reader, thread)
}

/// Empties a pipe in a thread, which returns how much there was.
fn consume() -> (OwnedFd, thread::JoinHandle<u64>) {
    let (reader, writer) = stream_pipe();
    let thread = thread::spawn(move || {
        let mut reader = std::fs::File::from(reader);
        let mut record = vec![0; RECORD];
        let mut bytes = 0;
        loop {
            match reader.read(&mut record).expect("a pipe can be read") {
                0 => return bytes,
                count => bytes += count as u64,
            }
        }
    });
    (writer, thread)
}

fn loopback() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    let client = TcpStream::connect(address).expect("somebody listens");
    let (server, _) = listener.accept().expect("somebody connects");
    for socket in [&client, &server] {
        socket.set_nodelay(true).expect("a TCP socket");
    }
    (client, server)
}

fn copy(mut from: impl Read, mut to: impl Write) {
    let mut record = vec![0; RECORD];
    loop {
        match from.read(&mut record).expect("readable") {
            0 => return,
            count => to.write_all(&record[..count]).expect("writable"),
        }
    }
}

fn relay_tcp(bytes: u64) {
    let (from, producer) = produce(bytes);
    let (to, consumer) = consume();
    let (client, server) = loopback();
    let sender = thread::spawn(move || copy(std::fs::File::from(from), client));
    copy(server, std::fs::File::from(to));
    sender.join().expect("no panic");
    producer.join().expect("no panic");
    assert_eq!(consumer.join().expect("no panic"), bytes);
}

/// The same through rustls, with nothing else in between.
fn relay_rustls(bytes: u64) {
    let (from, producer) = produce(bytes);
    let (to, consumer) = consume();
    let (client, server) = loopback();
    let configs = Certificates::load();
    let sender = thread::spawn(move || {
        let connection =
            rustls::ClientConnection::new(configs.client.config, configs.client.sni).expect("tls");
        let mut stream = rustls::StreamOwned::new(connection, client);
        copy(std::fs::File::from(from), &mut stream);
        stream.conn.send_close_notify();
        stream.flush().expect("writable");
    });
    let connection = rustls::ServerConnection::new(configs.server).expect("tls");
    copy(
        rustls::StreamOwned::new(connection, server),
        std::fs::File::from(to),
    );
    sender.join().expect("no panic");
    producer.join().expect("no panic");
    assert_eq!(consumer.join().expect("no panic"), bytes);
}

struct Certificates {
    client: tls::Client,
    server: Arc<rustls::ServerConfig>,
}

impl Certificates {
    fn load() -> Self {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tls");
        let read = |name: &str| {
            let certificate = folder.join(format!("{name}.crt"));
            let identity =
                tls::files::load_identity(&certificate, &folder.join(format!("{name}.key")))
                    .expect("test material");
            (
                tls::files::load_authorities(&certificate).expect("test material"),
                identity,
            )
        };
        let (authority, identity) = read("san");
        let log: Arc<dyn rustls::KeyLog> = Arc::new(rustls::NoKeyLog);
        Self {
            client: tls::client(
                authority.clone(),
                &identity,
                "san.example.com",
                Arc::clone(&log),
            )
            .expect("tls"),
            server: tls::server(authority, &identity, log).expect("tls"),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Send,
    Receive,
}

/// Through everything that lies between two daemons: configuration, transport, handshake, frames.
async fn transfer(bytes: u64, secure: bool, asked: Asked) {
    let shared = Shared {
        local: LocalListeners::default(),
        key_log: Arc::new(rustls::NoKeyLog),
        stdinserver_sockets: "/nonexistent".into(),
    };
    let listener = transport::listener(&serve(secure), &shared).expect("a listener");
    let address = listener.address();
    let (_, address) = address.split_once("://").expect("a kind and an address");
    let connect = connect(secure, address);
    let connect = transport::connector(&connect, &shared).expect("a connector");
    let stop = CancellationToken::new();
    let endpoints = Arc::new(Ends { bytes });
    let settings = server::Settings::new("bench");
    let server = tokio::spawn(server::serve(listener, endpoints, settings, stop.clone()));
    let remote = RemoteEndpoint::new(connect, client::Settings::default(), stop.clone());
    // In a task: the thread that blocks on a runtime is none of its workers.
    let client = tokio::spawn(async move {
        match asked {
            Asked::Receive => {
                let stream = producing(bytes);
                remote
                    .receive(receive_request(), stream)
                    .await
                    .expect("received");
            }
            Asked::Send => {
                let (_, stream) = remote.send(send_request()).await.expect("sent");
                assert_eq!(swallow(stream).await, bytes);
            }
        }
    });
    client.await.expect("no panic");
    stop.cancel();
    server.await.expect("no panic");
}

fn job(yaml: &str) -> JobConfig {
    let loaded = config::parse("bench.yml", yaml).expect("a configuration");
    loaded.config.job("bench").expect("the job").clone()
}

fn certificates() -> String {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tls");
    format!("ca: {folder}/san.crt, cert: {folder}/san.crt, key: {folder}/san.key")
}

fn serve(secure: bool) -> Serve {
    let serve = if secure {
        let certificates = certificates();
        format!(
            "{{type: tls, listen: '127.0.0.1:0', client_cns: [san.example.com], {certificates}}}"
        )
    } else {
        "{type: tcp, listen: '127.0.0.1:0', clients: {127.0.0.1: client}}".to_owned()
    };
    let job = job(&format!(
        "jobs: [{{type: sink, name: bench, root_fs: tank, serve: {serve}}}]"
    ));
    let JobConfig::Sink(job) = job else {
        panic!("a sink")
    };
    job.serve
}

fn connect(secure: bool, address: &str) -> connection::Connect {
    let connect = if secure {
        let certificates = certificates();
        format!("{{type: tls, address: '{address}', server_cn: san.example.com, {certificates}}}")
    } else {
        format!("{{type: tcp, address: '{address}'}}")
    };
    let job = job(&format!(
        "jobs: [{{type: push, name: bench, connect: {connect}, filesystems: {{a: true}}, snapshotting: {{type: manual}}, \
         pruning: {{keep_sender: [{{type: not_replicated}}], keep_receiver: [{{type: last_n, count: 1}}]}}}}]"
    ));
    let JobConfig::Push(job) = job else {
        panic!("a push")
    };
    job.connect
}

fn snapshot() -> FilesystemVersion {
    let creation: Creation = "2024-01-02T03:04:05Z".parse().expect("a time");
    FilesystemVersion::snapshot("s1", 1, 7, creation)
}

fn send_request() -> SendReq {
    let protection = Protection {
        initial: GuaranteeKind::Resumability,
        incremental: GuaranteeKind::Resumability,
    };
    SendReq {
        filesystem: "pool/fs".into(),
        to: Some(snapshot()),
        replication_config: Some(protection.into()),
        ..SendReq::default()
    }
}

fn receive_request() -> ReceiveReq {
    let send = send_request();
    ReceiveReq {
        filesystem: send.filesystem,
        to: send.to,
        clear_resume_token: true,
        replication_config: send.replication_config,
    }
}

#[tonic::async_trait]
impl Endpoint for Ends {
    async fn send(&self, _: SendReq) -> Result<(SendRes, SendStream), EndpointError> {
        Ok((SendRes::default(), producing(self.bytes)))
    }

    async fn receive(
        &self,
        _: ReceiveReq,
        stream: SendStream,
    ) -> Result<ReceiveRes, EndpointError> {
        assert_eq!(swallow(stream).await, self.bytes);
        Ok(ReceiveRes::default())
    }
}

/// Sends and receives so many bytes.
#[derive(Clone, Debug)]
struct Ends {
    bytes: u64,
}

impl Endpoints for Ends {
    fn endpoint(&self, _: &Client) -> Arc<dyn Endpoint> {
        Arc::new(self.clone())
    }
}

#[derive(Debug)]
struct Thread(thread::JoinHandle<()>);

impl Producer for Thread {
    fn finish(self: Box<Self>, relay: io::Result<()>) -> BoxFuture<'static, Result<(), String>> {
        Box::pin(async move {
            relay.expect("moved");
            self.0.join().expect("no panic");
            Ok(())
        })
    }
}

fn producing(bytes: u64) -> SendStream {
    let (pipe, thread) = produce(bytes);
    SendStream::local(pipe, Box::new(Thread(thread))).expect("a pipe")
}

async fn swallow(mut stream: SendStream) -> u64 {
    let (pipe, thread) = consume();
    let mut pipe = pipe::Sender::from_owned_fd(pipe).expect("a pipe");
    let Source::Remote(remote) = &mut stream.source else {
        panic!("it comes from a connection");
    };
    remote
        .move_into(&mut pipe, &stream.moved, &stream.limits)
        .await
        .expect("moved");
    drop(pipe);
    tokio::task::spawn_blocking(|| thread.join())
        .await
        .expect("no panic")
        .expect("no panic")
}
