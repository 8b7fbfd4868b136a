//! What goes wrong in cases: an endpoint that passes everything on to the real one, except for what is to be disturbed.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::io::AsyncWriteExt as _;
use tokio::net::unix::pipe;
use tokio::task::JoinHandle;
use zrepl_daemon::endpoint::stream::{LocalStream, Producer, SendStream, Source};
use zrepl_daemon::endpoint::{Endpoint, EndpointError};
use zrepl_daemon::transport::BoxFuture;
use zrepl_proto::pdu::{
    DestroySnapshotsReq, DestroySnapshotsRes, ListFilesystemReq, ListFilesystemRes,
    ListFilesystemVersionsReq, ListFilesystemVersionsRes, ReceiveReq, ReceiveRes,
    ReplicationCursorReq, ReplicationCursorRes, SendCompletedReq, SendCompletedRes, SendReq,
    SendRes,
};

/// Something that goes wrong.
#[derive(Clone, Debug, Default)]
pub(crate) enum Interference {
    /// Nothing.
    #[default]
    None,
    /// Streams end after so many bytes, as if that were all: zrepl 0.7.0 cannot tell, as it does not ask how zfs send ended.
    Cut(u64),
    /// Streams never end.
    Endless,
    /// Streams are complete, but whoever made them says that they are not.
    SendFails,
    /// The zfs send whose arguments have this text is killed after so many bytes.
    SendKilled(u64, String),
    /// Whatever is received, is not.
    ReceiveFails,
    /// The sender does not learn what has been received.
    CompletionFails,
    /// The connection is lost during the first stream, after so many bytes.
    LostOnce(u64, Arc<AtomicBool>),
    /// Streams are only counted.
    Counted(Arc<AtomicUsize>),
}

/// What interference says.
pub(crate) const MOCK_ERROR: &str = "mock error";

/// An endpoint with whom something goes wrong.
#[derive(Debug)]
pub(crate) struct Interfered {
    inner: Arc<dyn Endpoint>,
    interference: Interference,
}

impl Interfered {
    pub(crate) fn new(inner: Arc<dyn Endpoint>, interference: &Interference) -> Self {
        Self {
            inner,
            interference: interference.clone(),
        }
    }
}

#[tonic::async_trait]
impl Endpoint for Interfered {
    async fn wait_for_connectivity(&self) -> Result<(), EndpointError> {
        self.inner.wait_for_connectivity().await
    }

    async fn list_filesystems(
        &self,
        request: ListFilesystemReq,
    ) -> Result<ListFilesystemRes, EndpointError> {
        self.inner.list_filesystems(request).await
    }

    async fn list_filesystem_versions(
        &self,
        request: ListFilesystemVersionsReq,
    ) -> Result<ListFilesystemVersionsRes, EndpointError> {
        self.inner.list_filesystem_versions(request).await
    }

    async fn destroy_snapshots(
        &self,
        request: DestroySnapshotsReq,
    ) -> Result<DestroySnapshotsRes, EndpointError> {
        self.inner.destroy_snapshots(request).await
    }

    async fn replication_cursor(
        &self,
        request: ReplicationCursorReq,
    ) -> Result<ReplicationCursorRes, EndpointError> {
        self.inner.replication_cursor(request).await
    }

    async fn send_dry(&self, request: SendReq) -> Result<SendRes, EndpointError> {
        self.inner.send_dry(request).await
    }

    async fn send(&self, request: SendReq) -> Result<(SendRes, SendStream), EndpointError> {
        let (answer, stream) = self.inner.send(request).await?;
        let stream = match &self.interference {
            Interference::Cut(length) => tampered(stream, Tampering::Cut(*length)),
            Interference::Endless => tampered(stream, Tampering::Endless),
            Interference::SendFails => tampered(stream, Tampering::Fails),
            Interference::SendKilled(after, argument) => {
                tampered(stream, Tampering::Killed(*after, argument.clone()))
            }
            Interference::Counted(streams) => {
                streams.fetch_add(1, Ordering::SeqCst);
                Ok(stream)
            }
            Interference::None
            | Interference::ReceiveFails
            | Interference::CompletionFails
            | Interference::LostOnce(..) => Ok(stream),
        };
        let stream = stream.map_err(|error| EndpointError::Failed(error.to_string()))?;
        Ok((answer, stream))
    }

    async fn send_completed(
        &self,
        request: SendCompletedReq,
    ) -> Result<SendCompletedRes, EndpointError> {
        match self.interference {
            Interference::CompletionFails => Err(EndpointError::Failed(MOCK_ERROR.to_owned())),
            _ => self.inner.send_completed(request).await,
        }
    }

    async fn receive(
        &self,
        request: ReceiveReq,
        stream: SendStream,
    ) -> Result<ReceiveRes, EndpointError> {
        match &self.interference {
            Interference::ReceiveFails | Interference::Endless => {
                Err(EndpointError::Failed(MOCK_ERROR.to_owned()))
            }
            Interference::LostOnce(after, was_lost) if !was_lost.swap(true, Ordering::SeqCst) => {
                let unreachable =
                    |source: Box<dyn std::error::Error + Send + Sync>| EndpointError::Unreachable {
                        context: "connection lost".to_owned(),
                        source,
                    };
                let cut = tampered(stream, Tampering::Cut(*after))
                    .map_err(|error| unreachable(error.into()))?;
                match self.inner.receive(request, cut).await {
                    Ok(_) => Err(EndpointError::Failed(
                        "a cut stream was received".to_owned(),
                    )),
                    Err(error) => Err(unreachable(error.into())),
                }
            }
            _ => self.inner.receive(request, stream).await,
        }
    }
}

/// What is done to a stream.
#[derive(Clone, Debug)]
enum Tampering {
    Cut(u64),
    Endless,
    Fails,
    Killed(u64, String),
}

/// Puts a second pipe behind that of a stream, and a task in between.
fn tampered(stream: SendStream, tampering: Tampering) -> io::Result<SendStream> {
    let Source::Local(source) = stream.source else {
        return Err(io::Error::other("not a stream of this process"));
    };
    // A zfs(8) that inherits an end would keep the other from seeing that it is closed.
    let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    let writer = pipe::Sender::from_owned_fd(writer)?;
    let task = tokio::spawn(relay(source, writer, tampering.clone()));
    let mut tampered = SendStream::local(reader, Box::new(Tampered { task, tampering }))?;
    tampered.limits = stream.limits;
    Ok(tampered)
}

async fn relay(
    mut source: LocalStream,
    mut target: pipe::Sender,
    tampering: Tampering,
) -> Result<(), String> {
    let moved = match tampering {
        Tampering::Cut(length) => pass(&mut source, &mut target, length).await,
        Tampering::Fails => pass(&mut source, &mut target, u64::MAX).await,
        Tampering::Endless => endless(&mut target).await,
        Tampering::Killed(after, argument) => {
            killed(&mut source, &mut target, after, &argument).await
        }
    };
    drop(target);
    match moved {
        Ok(true) => source.finish(Ok(())).await,
        Ok(false) => {
            // How a send ends whose reader goes is of no interest.
            let _: Result<(), String> = source.finish(Err(io::Error::other("cut"))).await;
            Ok(())
        }
        Err(error) => source.finish(Err(error)).await,
    }
}

/// Passes on at most so many bytes; was that all?
async fn pass(source: &mut LocalStream, target: &mut pipe::Sender, most: u64) -> io::Result<bool> {
    let mut buffer = vec![0; 32 << 10];
    let mut left = most;
    while left > 0 {
        let wanted = usize::try_from(left)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let count = source.read(&mut buffer[..wanted]).await?;
        if count == 0 {
            return Ok(true);
        }
        target.write_all(&buffer[..count]).await?;
        left -= count as u64;
    }
    Ok(false)
}

async fn endless(target: &mut pipe::Sender) -> io::Result<bool> {
    loop {
        target.write_all(&[0; 4096]).await?;
    }
}

async fn killed(
    source: &mut LocalStream,
    target: &mut pipe::Sender,
    after: u64,
    argument: &str,
) -> io::Result<bool> {
    pass(source, target, after).await?;
    let killed = kill_senders(argument)?;
    if killed != 1 {
        return Err(io::Error::other(format!("{killed} zfs sends were running")));
    }
    pass(source, target, u64::MAX).await
}

/// Kills what runs `zfs send` with such an argument, and says how many there were.
fn kill_senders(argument: &str) -> io::Result<usize> {
    let mut killed = 0;
    for process in senders(argument)? {
        rustix::process::kill_process(process, rustix::process::Signal::KILL)?;
        killed += 1;
    }
    Ok(killed)
}

/// What runs `zfs send` with an argument that has this text.
pub(crate) fn senders(argument: &str) -> io::Result<Vec<rustix::process::Pid>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let number = name.and_then(|name| name.parse().ok());
        let Some(process) = number.and_then(rustix::process::Pid::from_raw) else {
            continue;
        };
        // It may be gone by now; then it is not one.
        let line = std::fs::read(path.join("cmdline")).unwrap_or_default();
        let words: Vec<_> = line.split(|byte| *byte == 0).collect();
        let is_send = words[0].ends_with(b"zfs") && words.get(1) == Some(&&b"send"[..]);
        let line = String::from_utf8_lossy(&line);
        if is_send && line.contains(argument) {
            found.push(process);
        }
    }
    Ok(found)
}

/// Produces what the task passes on.
struct Tampered {
    task: JoinHandle<Result<(), String>>,
    tampering: Tampering,
}

impl fmt::Debug for Tampered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.tampering.fmt(f)
    }
}

impl Producer for Tampered {
    fn finish(self: Box<Self>, relay: io::Result<()>) -> BoxFuture<'static, Result<(), String>> {
        Box::pin(async move {
            let verdict = self.task.await.map_err(|error| error.to_string())?;
            match (self.tampering, relay) {
                (_, Err(error)) => Err(error.to_string()),
                (Tampering::Fails, Ok(())) => Err(MOCK_ERROR.to_owned()),
                (_, Ok(())) => verdict,
            }
        })
    }
}
