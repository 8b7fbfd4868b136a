//! What opens every wire: the banners of both sides, and the client's label.
//!
//! A fresh [`Wire`] flows in; out flows what both sides agreed on, and for a server what the connection is for. Not one byte
//! beyond banner and label is read: a client may send its first request along with them. Each step has a limit that counts from
//! its beginning, whatever trickles in meanwhile.

use std::fmt;
use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;
use zrepl_proto::banner::{self, BannerError, BannerTooLong, Decoder, Next};
use zrepl_proto::extension::{Agreement, Extensions, negotiate};
use zrepl_proto::label::{LABEL_LEN, Label, UnknownLabel};

use crate::transport::Wire;
use crate::transport::wire::{ReadSide, WriteSide};

/// How much of what the peer sent is shown in an error.
const EXCERPT_LEN: usize = 80;
/// How much is read at once.
const CHUNK_LEN: usize = 4096;

/// What we announce, and how long we wait.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Our extensions. Without any, our banner is that of Go.
    pub extensions: Extensions,
    /// Limit for writing our banner and reading the peer's.
    pub banner_limit: Duration,
    /// Limit for the label.
    pub label_limit: Duration,
}

/// Go's limits, and its banner.
impl Default for Settings {
    fn default() -> Self {
        Self {
            extensions: Extensions::default(),
            banner_limit: Duration::from_secs(10),
            label_limit: Duration::from_secs(10),
        }
    }
}

/// What a client has said before its first request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Greeting {
    /// What both sides know beyond protocol 7.
    pub agreement: Agreement,
    /// What the connection is for.
    pub label: Label,
}

/// A part of the handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Both banners.
    Banner,
    /// The client's label.
    Label,
}

/// Why there was no handshake.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// The peer was too slow.
    #[error("{phase} was not finished within {limit:?}, peer sent {received:?}")]
    TimedOut {
        /// What was not finished.
        phase: Phase,
        /// The time allowed.
        limit: Duration,
        /// The beginning of what came.
        received: String,
    },
    /// The peer closed the connection. A Go server does so if it does not know the client.
    #[error("peer closed the connection during {phase}, it sent {received:?}")]
    Closed {
        /// What was not finished.
        phase: Phase,
        /// The beginning of what came.
        received: String,
    },
    /// The connection failed.
    #[error("{phase} failed, peer sent {received:?}")]
    Io {
        /// What was not finished.
        phase: Phase,
        /// The beginning of what came.
        received: String,
        /// Why it failed.
        source: io::Error,
    },
    /// The peer is not a zrepl, or one of another version.
    #[error("peer's banner is not accepted")]
    Banner(#[from] BannerError),
    /// The client wants what we do not have.
    #[error("client's label is not accepted")]
    Label(#[from] UnknownLabel),
    /// We have more to announce than fits.
    #[error("cannot announce our extensions")]
    Extensions(#[from] BannerTooLong),
}

impl HandshakeError {
    /// Whether another attempt leads to the same result, unless somebody changes one of the two sides.
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::Banner(_) | Self::Label(_) | Self::Extensions(_) => true,
            Self::TimedOut { .. } | Self::Closed { .. } | Self::Io { .. } => false,
        }
    }

    /// Whether the peer was too slow.
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::TimedOut { .. })
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Banner => "exchange of banners",
            Self::Label => "transfer of the label",
        })
    }
}

/// The server's part: banners, then the client's label.
pub async fn accept(wire: &mut Wire, settings: &Settings) -> Result<Greeting, HandshakeError> {
    let agreement = exchange_banners(wire, settings).await?;
    let reader = wire.reader.as_mut();
    let mut received = Received::default();
    let step = read_label(reader, &mut received);
    let label = timeout(settings.label_limit, step).await;
    let label = received.explain(Phase::Label, settings.label_limit, label)??;
    Ok(Greeting { agreement, label })
}

/// The client's part, if it knows what the connection is for: banners, then the label.
pub async fn open(
    wire: &mut Wire,
    label: Label,
    settings: &Settings,
) -> Result<Agreement, HandshakeError> {
    let agreement = exchange_banners(wire, settings).await?;
    write_label(wire, label, settings).await?;
    Ok(agreement)
}

/// The first half for both sides. Both write at once and neither waits for the other, so long banners block nobody.
pub async fn exchange_banners(
    wire: &mut Wire,
    settings: &Settings,
) -> Result<Agreement, HandshakeError> {
    let ours = banner::encode(&settings.extensions)?;
    let Wire { reader, writer } = wire;
    let mut received = Received::default();
    // What the peer says tells more than that it does not listen: reading comes first.
    let step = async {
        tokio::try_join!(
            biased;
            read_banner(reader.as_mut(), &mut received),
            write(writer.as_mut(), &ours),
        )
    };
    let banners = timeout(settings.banner_limit, step).await;
    let (theirs, ()) = received.explain(Phase::Banner, settings.banner_limit, banners)?;
    Ok(negotiate(&settings.extensions, &theirs?.accept()?))
}

/// The client's second half.
pub async fn write_label(
    wire: &mut Wire,
    label: Label,
    settings: &Settings,
) -> Result<(), HandshakeError> {
    let label = label.encode();
    let written = timeout(settings.label_limit, write(wire.writer.as_mut(), &label)).await;
    Received::default().explain(Phase::Label, settings.label_limit, written)
}

async fn write(writer: &mut dyn WriteSide, bytes: &[u8]) -> io::Result<()> {
    writer.write_all(bytes).await?;
    writer.flush().await
}

async fn read_banner(
    reader: &mut dyn ReadSide,
    received: &mut Received,
) -> io::Result<Result<banner::Banner, BannerError>> {
    let mut decoder = Decoder::new();
    let mut chunk = [0; CHUNK_LEN];
    loop {
        let wanted = decoder.needed().min(CHUNK_LEN);
        let len = read_some(reader, &mut chunk[..wanted], received).await?;
        match decoder.feed(&chunk[..len]) {
            Ok(fed) => match fed.next {
                Next::More(more) => decoder = more,
                Next::Done(banner) => return Ok(Ok(banner)),
            },
            Err(error) => return Ok(Err(error)),
        }
    }
}

async fn read_label(
    reader: &mut dyn ReadSide,
    received: &mut Received,
) -> io::Result<Result<Label, UnknownLabel>> {
    let mut label = [0; LABEL_LEN];
    let mut len = 0;
    while len < LABEL_LEN {
        len += read_some(reader, &mut label[len..], received).await?;
    }
    Ok(Label::decode(&label))
}

/// At least one byte.
async fn read_some(
    reader: &mut dyn ReadSide,
    buffer: &mut [u8],
    received: &mut Received,
) -> io::Result<usize> {
    let len = reader.read(buffer).await?;
    if len == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    received.add(&buffer[..len]);
    Ok(len)
}

/// The beginning of what the peer sent.
#[derive(Default)]
struct Received(Vec<u8>);

impl Received {
    fn add(&mut self, bytes: &[u8]) {
        let room = EXCERPT_LEN - self.0.len();
        self.0.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    /// The result of a step, with what the peer sent if there is none.
    fn explain<T>(
        &self,
        phase: Phase,
        limit: Duration,
        result: Result<io::Result<T>, tokio::time::error::Elapsed>,
    ) -> Result<T, HandshakeError> {
        let received = || String::from_utf8_lossy(&self.0).into_owned();
        match result {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                let received = received();
                Err(HandshakeError::Closed { phase, received })
            }
            Ok(Err(source)) => Err(HandshakeError::Io {
                phase,
                received: received(),
                source,
            }),
            Err(_) => Err(HandshakeError::TimedOut {
                phase,
                limit,
                received: received(),
            }),
        }
    }
}

#[cfg(test)]
mod tests;
