//! An endpoint in memory: sends what it is told to, remembers what it received.

use std::io::{self, Read as _, Write as _};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use sha2::{Digest as _, Sha256};
use tokio::net::unix::pipe;
use zrepl_daemon::causes::chain;
use zrepl_daemon::endpoint::stream::{Producer, SendStream, Source};
use zrepl_daemon::endpoint::{Endpoint, EndpointError};
use zrepl_daemon::transport::BoxFuture;
use zrepl_proto::pdu::{
    Creation, FilesystemVersion, GuaranteeKind, ListFilesystemReq, ListFilesystemRes,
    ListFilesystemVersionsReq, ListFilesystemVersionsRes, Protection, ReceiveReq, ReceiveRes,
    SendReq, SendRes,
};

/// What the endpoint does when asked for a stream.
#[derive(Clone, Debug)]
pub(crate) enum Sending {
    /// Writes these pieces and succeeds.
    Whole(Vec<Vec<u8>>),
    /// Writes these pieces and fails.
    Breaks(Vec<Vec<u8>>, String),
    /// Refuses.
    Refuses(String),
    /// Panics.
    Panics,
}

/// What it does with a stream.
#[derive(Clone, Debug)]
pub(crate) enum Receiving {
    /// Takes it to its end.
    Whole,
    /// Takes so many bytes, then fails.
    FailsAfter(u64, String),
    /// Does not touch it and succeeds.
    Ignores,
    /// Panics.
    Panics,
}

/// A stream that arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Received {
    pub(crate) bytes: u64,
    pub(crate) sha256: [u8; 32],
    /// Why it was not whole.
    pub(crate) failure: Option<String>,
}

#[derive(Debug)]
pub(crate) struct Double {
    pub(crate) sending: Sending,
    pub(crate) receiving: Receiving,
    pub(crate) received: Mutex<Vec<Received>>,
    pub(crate) requests: Mutex<Vec<String>>,
}

impl Double {
    pub(crate) fn new(sending: Sending, receiving: Receiving) -> Arc<Self> {
        Arc::new(Self {
            sending,
            receiving,
            received: Mutex::default(),
            requests: Mutex::default(),
        })
    }

    pub(crate) fn sender(pieces: &[&[u8]]) -> Arc<Self> {
        let pieces = pieces.iter().map(|piece| piece.to_vec()).collect();
        Self::new(Sending::Whole(pieces), Receiving::Whole)
    }

    pub(crate) fn receiver() -> Arc<Self> {
        Self::new(Sending::Refuses("not a sender".into()), Receiving::Whole)
    }

    pub(crate) fn last_received(&self) -> Received {
        let received = self.received.lock().expect("nobody panicked with it");
        received.last().expect("a stream arrived").clone()
    }
}

/// Of all bytes together.
pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// A thread that writes pieces into a pipe.
#[derive(Debug)]
pub(crate) struct PieceWriter {
    thread: JoinHandle<io::Result<()>>,
    verdict: Result<(), String>,
}

impl Producer for PieceWriter {
    fn finish(self: Box<Self>, relay: io::Result<()>) -> BoxFuture<'static, Result<(), String>> {
        Box::pin(async move {
            let written = self.thread.join().expect("it does not panic");
            match (relay, written) {
                (Ok(()), Ok(())) => self.verdict,
                (Err(error), _) | (_, Err(error)) => Err(error.to_string()),
            }
        })
    }
}

/// A stream of these pieces; `verdict` is its producer's word.
pub(crate) fn stream(pieces: Vec<Vec<u8>>, verdict: Result<(), String>) -> SendStream {
    let (reader, mut writer) = io::pipe().expect("this machine can do that");
    let thread = std::thread::spawn(move || {
        for piece in pieces {
            writer.write_all(&piece)?;
        }
        Ok(())
    });
    SendStream::local(reader.into(), Box::new(PieceWriter { thread, verdict }))
        .expect("this machine can do that")
}

/// Takes a stream to its end, through a pipe, as a receiver of ZFS would.
pub(crate) async fn take(stream: SendStream) -> Received {
    let SendStream {
        source,
        moved,
        limits,
    } = stream;
    let Source::Remote(mut remote) = source else {
        panic!("a stream that came from a connection");
    };
    let (mut sender, receiver) = pipe::pipe().expect("this machine can do that");
    let reader = std::thread::spawn(move || {
        let mut file = std::fs::File::from(
            receiver
                .into_blocking_fd()
                .expect("this machine can do that"),
        );
        let (mut hash, mut bytes) = (Sha256::new(), 0);
        let mut buffer = vec![0; 64 << 10];
        loop {
            let count = file.read(&mut buffer).expect("this machine can do that");
            if count == 0 {
                return (bytes, hash.finalize().into());
            }
            hash.update(&buffer[..count]);
            bytes += count as u64;
        }
    });
    let result = remote.move_into(&mut sender, &moved, &limits).await;
    drop((sender, remote));
    let (bytes, sha256) = tokio::task::spawn_blocking(|| reader.join().expect("it does not panic"))
        .await
        .expect("this machine can do that");
    Received {
        bytes,
        sha256,
        failure: result.err().map(|error| chain(&error)),
    }
}

#[tonic::async_trait]
impl Endpoint for Double {
    async fn list_filesystems(
        &self,
        _: ListFilesystemReq,
    ) -> Result<ListFilesystemRes, EndpointError> {
        Ok(ListFilesystemRes::default())
    }

    async fn list_filesystem_versions(
        &self,
        request: ListFilesystemVersionsReq,
    ) -> Result<ListFilesystemVersionsRes, EndpointError> {
        let text = format!("dataset \"{}\" does not exist", request.filesystem);
        Err(EndpointError::Failed(text))
    }

    async fn send(&self, request: SendReq) -> Result<(SendRes, SendStream), EndpointError> {
        self.requests
            .lock()
            .expect("nobody panicked with it")
            .push(request.filesystem);
        let (pieces, verdict) = match self.sending.clone() {
            Sending::Whole(pieces) => (pieces, Ok(())),
            Sending::Breaks(pieces, text) => (pieces, Err(text)),
            Sending::Refuses(text) => return Err(EndpointError::Failed(text)),
            Sending::Panics => panic!("as told"),
        };
        Ok((SendRes::default(), stream(pieces, verdict)))
    }

    async fn receive(
        &self,
        request: ReceiveReq,
        stream: SendStream,
    ) -> Result<ReceiveRes, EndpointError> {
        self.requests
            .lock()
            .expect("nobody panicked with it")
            .push(request.filesystem);
        match self.receiving.clone() {
            Receiving::Whole => {
                let received = take(stream).await;
                let failure = received.failure.clone();
                self.received
                    .lock()
                    .expect("nobody panicked with it")
                    .push(received);
                failure.map_or(Ok(ReceiveRes::default()), |text| {
                    Err(EndpointError::Failed(text))
                })
            }
            Receiving::FailsAfter(bytes, text) => {
                let Source::Remote(mut remote) = stream.source else {
                    panic!("a stream that came from a connection");
                };
                let (mut buffer, mut read) = (vec![0; 4096], 0);
                while read < bytes {
                    match remote.read(&mut buffer).await {
                        Ok(0) => break,
                        Ok(count) => read += count as u64,
                        Err(error) => return Err(EndpointError::Failed(chain(&error))),
                    }
                }
                Err(EndpointError::Failed(text))
            }
            Receiving::Ignores => Ok(ReceiveRes::default()),
            Receiving::Panics => panic!("as told"),
        }
    }
}

fn snapshot() -> FilesystemVersion {
    let creation: Creation = "2024-01-02T03:04:05Z"
        .parse()
        .expect("this machine can do that");
    FilesystemVersion::snapshot("s1", 1_234_567_890_123_456_789, 7, creation)
}

/// Asks for a full stream.
pub(crate) fn send_request(filesystem: &str) -> SendReq {
    let protection = Protection {
        initial: GuaranteeKind::Resumability,
        incremental: GuaranteeKind::Resumability,
    };
    SendReq {
        filesystem: filesystem.into(),
        to: Some(snapshot()),
        replication_config: Some(protection.into()),
        ..SendReq::default()
    }
}

/// Offers a full stream.
pub(crate) fn receive_request(filesystem: &str) -> ReceiveReq {
    let send = send_request(filesystem);
    ReceiveReq {
        filesystem: send.filesystem,
        to: send.to,
        clear_resume_token: true,
        replication_config: send.replication_config,
    }
}
