//! An endpoint that answers what a test tells it to, and remembers what it was given. No thread takes part, so that it works
//! with paused time.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::unix::pipe;
use tokio::task::JoinHandle;
use zrepl_daemon::bandwidth::Limit;
use zrepl_daemon::causes::chain;
use zrepl_daemon::endpoint::stream::{Producer, SendStream, Source};
use zrepl_daemon::endpoint::{Endpoint, EndpointError};
use zrepl_daemon::transport::BoxFuture;
use zrepl_proto::pdu::{ReceiveReq, ReceiveRes, SendReq, SendRes};

/// What comes after the bytes of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    End,
    Fail(String),
    /// The producer neither ends nor writes.
    Hang,
}

/// A stream to be sent.
#[derive(Clone, Debug)]
pub(crate) struct Script {
    /// What is written into the pipe at once.
    pub(crate) pieces: Vec<Vec<u8>>,
    /// After each piece.
    pub(crate) pause: Duration,
    pub(crate) then: Then,
    pub(crate) limits: Vec<Arc<Limit>>,
}

impl Script {
    pub(crate) fn new(bytes: &[u8], then: Then) -> Self {
        Self::paced(vec![bytes.to_vec()], Duration::ZERO, then)
    }

    pub(crate) fn paced(pieces: Vec<Vec<u8>>, pause: Duration, then: Then) -> Self {
        Self {
            pieces,
            pause,
            then,
            limits: Vec::new(),
        }
    }

    /// As a stream out of a pipe.
    pub(crate) fn stream(self) -> SendStream {
        let (mut sender, receiver) = pipe::pipe().expect("this machine can do that");
        let hangs = self.then == Then::Hang;
        let task = tokio::spawn(async move {
            for piece in self.pieces {
                sender.write_all(&piece).await?;
                if self.pause.is_zero() {
                    tokio::task::yield_now().await;
                } else {
                    tokio::time::sleep(self.pause).await;
                }
            }
            if hangs {
                std::future::pending::<()>().await;
            }
            Ok(())
        });
        let verdict = match self.then {
            Then::Fail(text) => Err(text),
            Then::End | Then::Hang => Ok(()),
        };
        let receiver = receiver
            .into_nonblocking_fd()
            .expect("this machine can do that");
        let mut stream = SendStream::local(receiver, Box::new(Writer { task, verdict }))
            .expect("this machine can do that");
        stream.limits = self.limits;
        stream
    }
}

/// Writes a script.
#[derive(Debug)]
struct Writer {
    task: JoinHandle<io::Result<()>>,
    verdict: Result<(), String>,
}

impl Producer for Writer {
    fn finish(self: Box<Self>, relay: io::Result<()>) -> BoxFuture<'static, Result<(), String>> {
        Box::pin(async move {
            if let Err(error) = relay {
                self.task.abort();
                return Err(error.to_string());
            }
            match self.task.await {
                Ok(Ok(())) => self.verdict,
                Ok(Err(error)) => Err(error.to_string()),
                Err(error) => Err(error.to_string()),
            }
        })
    }
}

/// A stream as far as it was taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Taken {
    pub(crate) bytes: Vec<u8>,
    /// Whether its end was seen.
    pub(crate) whole: bool,
    pub(crate) failure: Option<String>,
}

/// Takes a stream up to its end, or so many bytes of it.
pub(crate) async fn take(stream: SendStream, at_most: usize) -> Taken {
    let Source::Remote(mut remote) = stream.source else {
        panic!("a stream that came from a connection");
    };
    let mut taken = Taken::default();
    let mut buffer = vec![0; 64 << 10];
    while taken.bytes.len() < at_most {
        match remote.read(&mut buffer).await {
            Ok(0) => {
                taken.whole = true;
                break;
            }
            Ok(count) => taken.bytes.extend(&buffer[..count]),
            Err(error) => {
                taken.failure = Some(chain(&error));
                break;
            }
        }
    }
    taken
}

/// Answers as it is told.
#[derive(Debug)]
pub(crate) struct Scripted {
    pub(crate) sending: Result<(SendRes, Script), String>,
    /// The answer to a stream that arrived, whole or not; see `believes`.
    pub(crate) receiving: Result<ReceiveRes, String>,
    /// How much of a stream it takes.
    pub(crate) takes: usize,
    /// How long it thinks before it does anything.
    pub(crate) delay: Duration,
    /// Whether it says yes to a stream that broke.
    pub(crate) credulous: bool,
    pub(crate) taken: Mutex<Vec<Taken>>,
}

impl Scripted {
    pub(crate) fn sender(script: Script) -> Self {
        Self {
            sending: Ok((SendRes::default(), script)),
            ..Self::receiver()
        }
    }

    /// Takes streams to their end. One that is not whole gets its failure as an answer.
    pub(crate) fn receiver() -> Self {
        Self {
            sending: Err("not a sender".into()),
            receiving: Ok(ReceiveRes::default()),
            takes: usize::MAX,
            delay: Duration::ZERO,
            credulous: false,
            taken: Mutex::default(),
        }
    }

    pub(crate) fn refusing(text: &str) -> Self {
        Self {
            sending: Err(text.into()),
            receiving: Err(text.into()),
            ..Self::receiver()
        }
    }

    pub(crate) fn shared(self) -> Arc<Self> {
        Arc::new(self)
    }

    pub(crate) fn taken(&self) -> Vec<Taken> {
        self.taken.lock().expect("nobody panicked with it").clone()
    }
}

#[tonic::async_trait]
impl Endpoint for Scripted {
    async fn send(&self, _: SendReq) -> Result<(SendRes, SendStream), EndpointError> {
        tokio::time::sleep(self.delay).await;
        match self.sending.clone() {
            Ok((answer, script)) => Ok((answer, script.stream())),
            Err(text) => Err(EndpointError::Failed(text)),
        }
    }

    async fn receive(
        &self,
        _: ReceiveReq,
        stream: SendStream,
    ) -> Result<ReceiveRes, EndpointError> {
        tokio::time::sleep(self.delay).await;
        let taken = take(stream, self.takes).await;
        let failure = taken.failure.clone();
        self.taken
            .lock()
            .expect("nobody panicked with it")
            .push(taken);
        match (self.receiving.clone(), failure) {
            (Ok(answer), Some(_)) if self.credulous => Ok(answer),
            (Err(text), _) | (Ok(_), Some(text)) => Err(EndpointError::Failed(text)),
            (Ok(answer), None) => Ok(answer),
        }
    }
}
