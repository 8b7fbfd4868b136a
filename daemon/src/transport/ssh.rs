//! The active side of ssh: a destination and a key come in; a wire comes out that ends, by way of an ssh process of its own,
//! in the passive side's daemon. No process outlives its wire by more than some seconds, and none that did not lead to a
//! wire is left.
//!
//! The command line is zrepl 0.7.0's, down to the empty environment: the user's own `~/.ssh/config` and known hosts are found
//! by ssh through the user database, and an agent is not. What ssh is to run on the other side is the choice of the other side's
//! `authorized_keys`.

mod last_words;
mod process;

use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::unix::pipe;
use tokio::time::timeout;
use zrepl_proto::netssh::{self, GreetingError, MESSAGE_LEN, Message};

use super::wire::{ReadSide, WriteSide};
use super::{BoxFuture, Connect, ConnectError, Wire};
use crate::config::connection::SshConnect;
use crate::go_duration::Timeout;
use process::{Attached, Process, Unsettled};

pub use process::wait_for_ended;

const STARTING: &str = "starting ssh";
const GREETING: &str = "the greeting through ssh";

/// As much of unexpected output as is shown, beyond the length of a greeting.
const EXCERPT: u64 = 200;

/// How long a connection that failed may take to say why.
const EXPLANATION: Duration = Duration::from_secs(1);

/// Opens wires through ssh.
#[derive(Debug)]
pub struct SshConnector {
    command: String,
    arguments: Vec<String>,
    limit: Timeout,
    target: String,
}

/// Why ssh does not lead to a daemon.
#[derive(Debug, thiserror::Error)]
pub enum SshError {
    /// No program.
    #[error("there is no program {0:?} in the PATH of this daemon: install it, or set ssh_command")]
    NotFound(String),
    /// A program that does not start.
    #[error("cannot start {program}")]
    Start {
        /// Its path.
        program: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// `zrepl stdinserver` has no daemon to talk to.
    #[error(
        "`zrepl stdinserver` on the other side found no daemon to hand the connection to: is the daemon running there, does \
         one of its jobs serve this client identity, and do both read the same configuration? {words}"
    )]
    NoDaemon {
        /// What ssh said.
        words: String,
        /// What the other side said, as zrepl 0.7.0 puts it.
        source: GreetingError,
    },
    /// Something else than a greeting.
    #[error(
        "the other side prints {excerpt:?} instead of zrepl's greeting: does something in the remote login print to standard \
         output, such as a shell's start-up file, or is `zrepl stdinserver IDENTITY` not the command of our key in \
         authorized_keys? {words}"
    )]
    Noise {
        /// How it begins.
        excerpt: String,
        /// What ssh said.
        words: String,
    },
    /// Nothing at all.
    #[error("ssh closed the connection before zrepl's greeting; {words}")]
    Closed {
        /// What ssh said.
        words: String,
    },
    /// Nothing in time.
    #[error("there was no greeting within {limit:?}; {words}")]
    Silent {
        /// The time allowed.
        limit: Duration,
        /// What ssh said.
        words: String,
    },
    /// A pipe failed.
    #[error("cannot talk to ssh; {words}")]
    Pipe {
        /// What ssh said.
        words: String,
        /// Why not.
        source: io::Error,
    },
}

impl SshConnector {
    /// Connects as the configuration says.
    pub fn new(config: &SshConnect) -> Self {
        let SshConnect {
            host, user, port, ..
        } = config;
        let port = port.number();
        let mut arguments = vec!["-p".to_owned(), port.to_string(), "-T".to_owned()];
        arguments.extend(["-i".to_owned(), config.identity_file.as_str().to_owned()]);
        arguments.extend(["-o".to_owned(), "BatchMode=yes".to_owned()]);
        for option in &config.options {
            arguments.extend(["-o".to_owned(), option.clone()]);
        }
        arguments.push(format!("{user}@{host}"));
        Self {
            command: config.ssh_command.as_str().to_owned(),
            arguments,
            limit: config.dial_timeout,
            target: format!("ssh://{user}@{host}:{port}"),
        }
    }

    async fn open(&self) -> Result<Wire, ConnectError> {
        let mut attempt = Attempt::default();
        let result = match self.limit.limit() {
            None => self.greet(&mut attempt).await,
            Some(limit) => match timeout(limit, self.greet(&mut attempt)).await {
                Ok(result) => result,
                Err(_) => return Err(self.too_late(&attempt, limit)),
            },
        };
        match (result, attempt.attached) {
            (Ok(()), Some(attached)) => Ok(wire(attached)),
            (Err(failure), Some(attached)) => {
                Err(self.explain(attached, attempt.heard, failure).await)
            }
            (Err(Failure::Start(error)), None) => Err(error),
            (_, None) => unreachable!("whatever has been greeted was started"),
        }
    }

    /// Leaves in `attempt` what it has come to, for when time is over.
    async fn greet(&self, attempt: &mut Attempt) -> Result<(), Failure> {
        let attached = attempt.attached.insert(self.start().await?);
        greet(attached, &mut attempt.heard).await
    }

    async fn start(&self) -> Result<Attached, ConnectError> {
        let Some(program) = process::find(&self.command, std::env::var_os("PATH").as_deref())
        else {
            return Err(self.refused(STARTING, SshError::NotFound(self.command.clone())));
        };
        let (name, arguments) = (self.command.clone(), self.arguments.clone());
        let path = program.clone();
        let unsettled = Unsettled::new();
        // If nobody waits any more, what was started is dropped, and with it the process ends.
        let start = move || process::start(&path, &name, &arguments, unsettled);
        let started = tokio::task::spawn_blocking(start).await;
        started
            .map_err(io::Error::other)
            .flatten()
            .and_then(|started| started.attach(self.target.clone()))
            .map_err(|source| self.unreachable(STARTING, SshError::Start { program, source }))
    }

    /// Gives ssh, which gets no more input, a moment to say what is wrong.
    async fn explain(
        &self,
        attached: Attached,
        mut heard: Vec<u8>,
        failure: Failure,
    ) -> ConnectError {
        let Attached {
            stdin,
            stdout,
            process,
        } = attached;
        drop(stdin);
        let mut more = stdout.take(EXCERPT);
        let listen = async {
            // Errors mean that there is no more.
            more.read_to_end(&mut heard).await.ok();
            process.words().over().await;
        };
        timeout(EXPLANATION, listen).await.ok();
        let words = process.words().quote();
        match failure {
            Failure::Start(error) => error,
            Failure::NoDaemon(source) => {
                self.unreachable(GREETING, SshError::NoDaemon { words, source })
            }
            Failure::Noise => {
                let excerpt = String::from_utf8_lossy(&heard).into_owned();
                self.refused(GREETING, SshError::Noise { excerpt, words })
            }
            Failure::Closed => self.unreachable(GREETING, SshError::Closed { words }),
            Failure::Pipe(source) => self.unreachable(GREETING, SshError::Pipe { words, source }),
        }
    }

    fn too_late(&self, attempt: &Attempt, limit: Duration) -> ConnectError {
        match &attempt.attached {
            Some(attached) if !attached.process.words().is_empty() => {
                let words = attached.process.words().quote();
                self.unreachable(GREETING, SshError::Silent { limit, words })
            }
            attached => ConnectError::TimedOut {
                target: self.target.clone(),
                step: attached.as_ref().map_or(STARTING, |_| GREETING),
                limit,
            },
        }
    }

    fn refused(&self, step: &'static str, source: SshError) -> ConnectError {
        ConnectError::Refused {
            target: self.target.clone(),
            step,
            source: source.into(),
        }
    }

    fn unreachable(&self, step: &'static str, source: SshError) -> ConnectError {
        ConnectError::Unreachable {
            target: self.target.clone(),
            step,
            source: source.into(),
        }
    }
}

impl Connect for SshConnector {
    fn connect(&self) -> BoxFuture<'_, Result<Wire, ConnectError>> {
        Box::pin(self.open())
    }

    fn target(&self) -> &str {
        &self.target
    }
}

/// How far a connection has come.
#[derive(Debug, Default)]
struct Attempt {
    attached: Option<Attached>,
    /// A greeting or what came in its place, as far as it has come.
    heard: Vec<u8>,
}

/// What went wrong in the greeting.
#[derive(Debug)]
enum Failure {
    Start(ConnectError),
    NoDaemon(GreetingError),
    Noise,
    Closed,
    Pipe(io::Error),
}

impl From<ConnectError> for Failure {
    fn from(error: ConnectError) -> Self {
        Self::Start(error)
    }
}

async fn greet(attached: &mut Attached, heard: &mut Vec<u8>) -> Result<(), Failure> {
    while heard.len() < MESSAGE_LEN {
        let missing = (MESSAGE_LEN - heard.len()) as u64;
        let mut input = (&mut attached.stdout).take(missing);
        if input.read_buf(heard).await.map_err(Failure::Pipe)? == 0 {
            return Err(Failure::Closed);
        }
        if !can_become_greeting(heard) {
            return Err(Failure::Noise);
        }
    }
    let greeting = heard.first_chunk().expect("as many as asked for");
    netssh::expect_helo(greeting).map_err(|error| match error {
        GreetingError::Proxy => Failure::NoDaemon(error),
        GreetingError::Unknown(_) => Failure::Noise,
    })?;
    let begin = Message::Begin.encode();
    let sent = attached.stdin.write_all(&begin).await;
    sent.map_err(Failure::Pipe)
}

fn can_become_greeting(heard: &[u8]) -> bool {
    [Message::Helo, Message::ProxyError]
        .iter()
        .any(|greeting| greeting.encode().starts_with(heard))
}

fn wire(attached: Attached) -> Wire {
    let Attached {
        stdin,
        stdout,
        mut process,
    } = attached;
    process.trust();
    let process = Arc::new(process);
    Wire::new(
        Output {
            pipe: stdout,
            _process: Arc::clone(&process),
        },
        Input {
            pipe: Some(stdin),
            _process: process,
        },
    )
}

/// What ssh puts out.
#[derive(Debug)]
struct Output {
    // Closed before the process is ended: fields are dropped in this order.
    pipe: pipe::Receiver,
    _process: Arc<Process>,
}

/// What ssh takes in; none once it was shut down.
#[derive(Debug)]
struct Input {
    pipe: Option<pipe::Sender>,
    _process: Arc<Process>,
}

impl AsyncRead for Output {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Input {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.pipe {
            Some(pipe) => Pin::new(pipe).poll_write(cx, bytes),
            None => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.pipe {
            Some(pipe) => Pin::new(pipe).poll_write_vectored(cx, slices),
            None => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.pipe = None;
        Poll::Ready(Ok(()))
    }
}

impl ReadSide for Output {}
impl WriteSide for Input {}

#[cfg(test)]
mod tests;
