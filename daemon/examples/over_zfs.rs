//! Streams of real ZFS over real connections: two pools, a sender and a receiver that know nothing but ZFS, and between them
//! everything that will lie between two daemons. It makes and destroys pools, so it runs only where the guest harness puts it;
//! `cargo vm test streams_over_the_wire` runs it.

use std::error::Error;
use std::process::{Command, ExitCode};
use std::sync::Arc;

use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;
use zfs_safe::name::{SnapshotName, VersionName};
use zfs_safe::resume_token::ResumeToken;
use zfs_safe::zfs::{ReceiveArgs, SendArgs, SendFlags, Zfs};
use zrepl_daemon::bandwidth::{Limit, TokenBucket};
use zrepl_daemon::causes::chain;
use zrepl_daemon::config;
use zrepl_daemon::config::connection::{Connect, Serve};
use zrepl_daemon::config::job::JobConfig;
use zrepl_daemon::endpoint::stream::SendStream;
use zrepl_daemon::endpoint::zfs_stream::Begin;
use zrepl_daemon::endpoint::{Endpoint, EndpointError, zfs_stream};
use zrepl_daemon::rpc::client::{self, RemoteEndpoint};
use zrepl_daemon::rpc::{Client, Endpoints, server};
use zrepl_daemon::transport::local::LocalListeners;
use zrepl_daemon::transport::{self, Shared};
use zrepl_daemon::zfs_backend::{self, Choice};
use zrepl_proto::pdu::{
    Creation, FilesystemVersion, GuaranteeKind, Protection, ReceiveReq, ReceiveRes, SendReq,
    SendRes,
};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

const FOLDER: &str = "/tmp/over_zfs";
const SOURCES: [&str; 3] = ["fs", "volume", "encrypted"];

const POOLS: &str = "
set -e
mkdir -p /tmp/over_zfs
for pool in src dst; do
    truncate -s 384M /tmp/over_zfs/$pool.img
    zpool create -O mountpoint=/tmp/over_zfs/$pool -O compression=off $pool /tmp/over_zfs/$pool.img
done
head -c 32 /dev/urandom > /tmp/over_zfs/key
zfs create src/fs
zfs create -V 8M src/volume
zfs create -o encryption=on -o keyformat=raw -o keylocation=file:///tmp/over_zfs/key src/encrypted
for fs in fs encrypted; do head -c 3000000 /dev/urandom > /tmp/over_zfs/src/$fs/one; done
zfs create src/large
head -c 8000000 /dev/urandom > /tmp/over_zfs/src/large/one
zfs snapshot -r src@1
for fs in fs encrypted; do head -c 300001 /dev/urandom > /tmp/over_zfs/src/$fs/two; done
zfs snapshot -r src@2
for backend in native cli; do for transport in tcp tls; do
    zfs create -p dst/$backend/$transport
done; done";

fn main() -> ExitCode {
    let in_guest = std::env::current_exe().is_ok_and(|path| path.starts_with("/put"));
    if !in_guest {
        println!("over_zfs: needs a guest with ZFS (cargo vm test streams_over_the_wire)");
        return ExitCode::SUCCESS;
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(run()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("FAILED: {}", chain(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<()> {
    shell(POOLS)?;
    std::fs::write(
        format!("{FOLDER}/san.crt"),
        include_str!("../tests/tls/san.crt"),
    )?;
    std::fs::write(
        format!("{FOLDER}/san.key"),
        include_str!("../tests/tls/san.key"),
    )?;
    for backend in ["native", "cli"] {
        let zfs = zfs_backend::open(Choice::parse(Some(backend))?)?.zfs;
        for kind in ["tcp", "tls"] {
            let pair = Pair::connect(&zfs, kind)?;
            for source in SOURCES {
                let target = format!("dst/{backend}/{kind}/{source}");
                let from = format!("src/{source}");
                // The first as a push job does it, the second as a pull job does.
                let first = Step::full(&from, &target, "1")?;
                first.run(&pair.local, &pair.remote).await?;
                let second = Step::incremental(&from, &target, "1", "2")?;
                second.run(&pair.remote, &pair.local).await?;
                println!("{backend} {kind} {source}: full and incremental ... ok");
            }
            cut_and_resume(&pair, &format!("dst/{backend}/{kind}")).await?;
            println!("{backend} {kind}: cut, and resumed ... ok");
            if backend == "cli" {
                sender_killed(&pair, &format!("dst/{backend}/{kind}")).await?;
                println!(
                    "{backend} {kind}: a send that was killed is no success, and is resumed ... ok"
                );
            }
            refused(&pair, &format!("dst/{backend}/{kind}")).await?;
            println!("{backend} {kind}: errors of ZFS arrive ... ok");
            pair.close().await?;
        }
    }
    shell("zpool destroy src && zpool destroy dst")?;
    println!("all ok");
    Ok(())
}

/// Cuts a push after a while; what has arrived is kept, and the rest is sent on.
async fn cut_and_resume(pair: &Pair, parent: &str) -> Result<()> {
    let target = format!("{parent}/cut");
    let step = Step::full("src/fs", &target, "1")?;
    let stop = CancellationToken::new();
    let remote = pair.another(stop.clone());
    let (_, mut stream) = pair.local.send(step.send.clone()).await?;
    // Slow enough to be cut in the middle, however fast the machine is.
    let limit = TokenBucket::with(1 << 20, 1);
    stream.limits.push(Arc::new(Limit::from(limit)));
    let moved = stream.moved.clone();
    let receiving = tokio::spawn(async move { remote.receive(step.receive, stream).await });
    while moved.get() < 1 << 20 {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    stop.cancel();
    let Err(error) = receiving.await? else {
        return Err("a cut stream was confirmed".into());
    };
    ensure(error.is_temporary(), &format!("cut: {}", chain(&error)))?;
    // The receiver learns of the cut a moment later than the sender.
    let mut token = String::from("-");
    for _ in 0..100 {
        token = shell(&format!(
            "zfs get -H -o value receive_resume_token {target}"
        ))?;
        if token != "-" {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    let decoded = ResumeToken::decode(&token)?;
    ensure(decoded.bytes > 0, "the token says that nothing arrived")?;
    let mut again = Step::full("src/fs", &target, "1")?;
    again.send.resume_token = token;
    again.receive.clear_resume_token = false;
    again.run(&pair.local, &pair.remote).await?;
    Ok(())
}

/// A zfs send that dies closes its pipe like one that has finished (zrepl 0.7.0 takes it for one). The receiver must not. The
/// filesystem is larger than all the pipes on the way, or the send would be over before it is killed.
async fn sender_killed(pair: &Pair, parent: &str) -> Result<()> {
    let target = format!("{parent}/killed");
    let step = Step::full("src/large", &target, "1")?;
    let (_, mut stream) = pair.local.send(step.send).await?;
    let limit = TokenBucket::with(1 << 20, 1);
    stream.limits.push(Arc::new(Limit::from(limit)));
    let moved = stream.moved.clone();
    let killing = async {
        while moved.get() < 1 << 20 {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        kill_senders()
    };
    let (received, killed) = tokio::join!(pair.remote.receive(step.receive, stream), killing);
    ensure(killed? == 1, "no zfs send, or more than one, was running")?;
    let Err(error) = received else {
        return Err("a send that was killed was confirmed".into());
    };
    let text = chain(&error);
    ensure(
        matches!(&error, EndpointError::Failed(_)) && text.contains("src/large@1"),
        &format!("killed: {error:?}"),
    )?;
    println!("  the sender says: {text}");
    ensure(
        shell(&format!("zfs list -H -o name {target}@1")).is_err(),
        "the snapshot of a killed send exists",
    )?;
    let token = shell(&format!(
        "zfs get -H -o value receive_resume_token {target}"
    ))?;
    ResumeToken::decode(&token)?;
    let mut again = Step::full("src/large", &target, "1")?;
    again.send.resume_token = token;
    again.receive.clear_resume_token = false;
    again.run(&pair.local, &pair.remote).await
}

/// Kills what runs `zfs send`, and says how many there were.
fn kill_senders() -> Result<usize> {
    let mut killed = 0;
    for entry in std::fs::read_dir("/proc")? {
        let path = entry?.path();
        let id = path
            .file_name()
            .and_then(|name| name.to_str()?.parse().ok());
        let Some(id) = id.and_then(rustix::process::Pid::from_raw) else {
            continue;
        };
        // It may be gone by now; then it is not the one.
        let line = std::fs::read(path.join("cmdline")).unwrap_or_default();
        let words: Vec<_> = line.split(|byte| *byte == 0).collect();
        if words[0].ends_with(b"zfs") && words.get(1) == Some(&&b"send"[..]) {
            rustix::process::kill_process(id, rustix::process::Signal::KILL)?;
            killed += 1;
        }
    }
    Ok(killed)
}

/// What ZFS says reaches the other side as its text.
async fn refused(pair: &Pair, parent: &str) -> Result<()> {
    // Received already, by the steps before.
    let step = Step::full("src/fs", &format!("{parent}/fs"), "1")?;
    let (_, stream) = pair.local.send(step.send.clone()).await?;
    let Err(error) = pair.remote.receive(step.receive, stream).await else {
        return Err("a full stream replaced a filesystem".into());
    };
    ensure(
        matches!(&error, EndpointError::Failed(text) if text.contains(&format!("{parent}/fs"))),
        &format!("receive: {error:?}"),
    )?;
    let mut step = Step::full("src/fs", "dst/x", "1")?;
    if let Some(to) = &mut step.send.to {
        "missing".clone_into(&mut to.name);
    }
    let error = match pair.remote.send(step.send).await {
        Ok((_, stream)) => match pair.local.receive(step.receive, stream).await {
            Ok(_) => return Err("a snapshot that does not exist was sent".into()),
            Err(error) => error,
        },
        Err(error) => error,
    };
    ensure(!error.is_temporary(), &format!("send: {error:?}"))
}

/// One transfer.
struct Step {
    send: SendReq,
    receive: ReceiveReq,
    source: String,
    target: String,
}

impl Step {
    fn full(from: &str, target: &str, to: &str) -> Result<Self> {
        let protection = Protection {
            initial: GuaranteeKind::Resumability,
            incremental: GuaranteeKind::Resumability,
        };
        let to = version(from, to)?;
        let send = SendReq {
            filesystem: from.to_owned(),
            to: Some(to.clone()),
            replication_config: Some(protection.into()),
            ..SendReq::default()
        };
        let receive = ReceiveReq {
            filesystem: target.to_owned(),
            to: Some(to.clone()),
            clear_resume_token: true,
            replication_config: Some(protection.into()),
        };
        Ok(Self {
            send,
            receive,
            source: format!("{from}@{}", to.name),
            target: format!("{target}@{}", to.name),
        })
    }

    fn incremental(from: &str, target: &str, base: &str, to: &str) -> Result<Self> {
        let mut step = Self::full(from, target, to)?;
        step.send.from = Some(version(from, base)?);
        Ok(step)
    }

    async fn run(self, sender: &dyn Endpoint, receiver: &dyn Endpoint) -> Result<()> {
        let (_, stream) = sender.send(self.send).await?;
        let moved = stream.moved.clone();
        receiver.receive(self.receive, stream).await?;
        ensure(moved.get() > 312, "nothing was moved")?;
        let (sent, received) = (guid(&self.source)?, guid(&self.target)?);
        ensure(sent == received, &format!("{} differs", self.target))
    }
}

fn version(filesystem: &str, name: &str) -> Result<FilesystemVersion> {
    let guid = guid(&format!("{filesystem}@{name}"))?;
    let creation: Creation = "2026-11-21T00:00:00Z".parse()?;
    Ok(FilesystemVersion::snapshot(name, guid, 1, creation))
}

fn guid(snapshot: &str) -> Result<u64> {
    Ok(shell(&format!("zfs get -H -o value guid {snapshot}"))?.parse()?)
}

/// ZFS as an endpoint, without any of zrepl's marks and rules.
#[derive(Clone)]
struct Bare(Arc<dyn Zfs>);

impl std::fmt::Debug for Bare {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Bare")
    }
}

fn failed(error: impl Error + 'static) -> EndpointError {
    EndpointError::Failed(chain(&error))
}

impl Bare {
    async fn start(&self, request: SendReq) -> Result<zfs_safe::stream::SendStream> {
        let snapshot = |version: Option<FilesystemVersion>| {
            let name = version.map(|version| version.name).unwrap_or_default();
            SnapshotName::new(format!("{}@{name}", request.filesystem))
        };
        let base = match request.from.clone() {
            None => None,
            from => Some(VersionName::Snapshot(snapshot(from)?)),
        };
        let resume = match request.resume_token.as_str() {
            "" => None,
            token => Some(ResumeToken::decode(token)?),
        };
        let args = SendArgs {
            snapshot: snapshot(request.to.clone())?,
            base,
            flags: SendFlags {
                raw: request.filesystem.ends_with("encrypted"),
                ..SendFlags::default()
            },
            resume,
        };
        let zfs = Arc::clone(&self.0);
        Ok(spawn_blocking(move || zfs.send(&args)).await??)
    }
}

#[tonic::async_trait]
impl Endpoint for Bare {
    async fn send(
        &self,
        request: SendReq,
    ) -> std::result::Result<(SendRes, SendStream), EndpointError> {
        let used_resume_token = !request.resume_token.is_empty();
        let started = self.start(request).await;
        let send = started.map_err(|error| EndpointError::Failed(chain(error.as_ref())))?;
        let answer = SendRes {
            used_resume_token,
            expected_size: 0,
        };
        Ok((answer, zfs_stream::sending(send).map_err(failed)?))
    }

    async fn receive(
        &self,
        request: ReceiveReq,
        mut stream: SendStream,
    ) -> std::result::Result<ReceiveRes, EndpointError> {
        let begin = match zfs_stream::begin(&mut stream).await.map_err(failed)? {
            Begin::Stream(record) => *record,
            Begin::Package(_) => return Err(EndpointError::Failed("a package".to_owned())),
        };
        let name = request.to.map(|to| to.name).unwrap_or_default();
        let snapshot =
            SnapshotName::new(format!("{}@{name}", request.filesystem)).map_err(failed)?;
        let zfs = Arc::clone(&self.0);
        let args = ReceiveArgs::new(snapshot, begin);
        let started = spawn_blocking(move || zfs.receive(&args))
            .await
            .map_err(failed)?;
        let receive = started.map_err(failed)?;
        let stop = CancellationToken::new();
        zfs_stream::receive(stream, receive, &stop)
            .await
            .map_err(failed)?;
        Ok(ReceiveRes::default())
    }
}

impl Endpoints for Bare {
    fn endpoint(&self, _: &Client) -> Arc<dyn Endpoint> {
        Arc::new(self.clone())
    }
}

/// The same ZFS twice: here, and behind a connection.
struct Pair {
    local: Bare,
    remote: RemoteEndpoint,
    connect: Connect,
    shared: Shared,
    stop: CancellationToken,
    server: tokio::task::JoinHandle<()>,
}

impl Pair {
    fn connect(zfs: &Arc<dyn Zfs>, kind: &str) -> Result<Self> {
        let shared = Shared {
            local: LocalListeners::default(),
            key_log: Arc::new(rustls::NoKeyLog),
            stdinserver_sockets: "/nonexistent".into(),
        };
        let local = Bare(Arc::clone(zfs));
        let listener = transport::listener(&serve(kind)?, &shared)?;
        let address = listener
            .address()
            .split_once("://")
            .ok_or("no address")?
            .1
            .to_owned();
        let connect = connect(kind, &address)?;
        let stop = CancellationToken::new();
        let server = tokio::spawn(server::serve(
            listener,
            Arc::new(local.clone()),
            server::Settings::new("sink"),
            stop.clone(),
        ));
        let remote = RemoteEndpoint::new(
            transport::connector(&connect, &shared)?,
            client::Settings::default(),
            CancellationToken::new(),
        );
        Ok(Self {
            local,
            remote,
            connect,
            shared,
            stop,
            server,
        })
    }

    /// Another remote endpoint, which stops by itself.
    fn another(&self, stop: CancellationToken) -> RemoteEndpoint {
        let connect = transport::connector(&self.connect, &self.shared);
        let connect = connect.expect("it worked before");
        RemoteEndpoint::new(connect, client::Settings::default(), stop)
    }

    async fn close(self) -> Result<()> {
        drop(self.remote);
        self.stop.cancel();
        Ok(self.server.await?)
    }
}

fn job(yaml: &str) -> Result<JobConfig> {
    let loaded = config::parse("over_zfs.yml", yaml)?;
    Ok(loaded.config.job("job").ok_or("no job")?.clone())
}

fn certificates() -> String {
    format!("ca: {FOLDER}/san.crt, cert: {FOLDER}/san.crt, key: {FOLDER}/san.key")
}

fn serve(kind: &str) -> Result<Serve> {
    let who = match kind {
        "tls" => format!("client_cns: [san.example.com], {}", certificates()),
        _ => "clients: {127.0.0.1: client}".to_owned(),
    };
    let serve = format!("{{type: {kind}, listen: '127.0.0.1:0', {who}}}");
    match job(&format!(
        "jobs: [{{type: sink, name: job, root_fs: dst, serve: {serve}}}]"
    ))? {
        JobConfig::Sink(job) => Ok(job.serve),
        _ => Err("not a sink".into()),
    }
}

fn connect(kind: &str, address: &str) -> Result<Connect> {
    let how = match kind {
        "tls" => format!(", server_cn: san.example.com, {}", certificates()),
        _ => String::new(),
    };
    let connect = format!("{{type: {kind}, address: '{address}'{how}}}");
    let job = job(&format!(
        "jobs: [{{type: push, name: job, connect: {connect}, filesystems: {{src: true}}, snapshotting: {{type: manual}}, \
         pruning: {{keep_sender: [{{type: not_replicated}}], keep_receiver: [{{type: last_n, count: 1}}]}}}}]"
    ))?;
    match job {
        JobConfig::Push(job) => Ok(job.connect),
        _ => Err("not a push".into()),
    }
}

fn ensure(holds: bool, otherwise: &str) -> Result<()> {
    if holds { Ok(()) } else { Err(otherwise.into()) }
}

fn shell(script: &str) -> Result<String> {
    let output = Command::new("/bin/sh").args(["-c", script]).output()?;
    if !output.status.success() {
        let message = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{script}: {}", message.trim()).into());
    }
    Ok(String::from_utf8(output.stdout)?.trim_end().to_owned())
}
