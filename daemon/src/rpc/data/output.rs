//! Frames that leave: messages and pieces of streams flow in, bytes flow out. A frame that has begun is finished before
//! anything else is written, even if whoever began it was cancelled. Heartbeats are sent whenever nothing else was for
//! [`HEARTBEAT_INTERVAL`], as long as somebody drives the output.

use std::future::{self, Future};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncWrite as _, AsyncWriteExt as _};
use tokio::time::{Instant, sleep_until, timeout_at};
use zrepl_proto::frame::{END, HEADER_LEN, HEARTBEAT, RST};
use zrepl_proto::message::{self, Kind};

use super::{ConnectionError, HEARTBEAT_INTERVAL, IDLE_LIMIT};
use crate::transport::wire::WriteSide;

/// The direction from us to the peer.
#[derive(Debug)]
pub struct Output {
    side: Box<dyn WriteSide>,
    /// Bytes that are missing of a heartbeat that was begun.
    unsent: usize,
    /// Whether a frame was begun and its rest is lost, because whoever wrote it was cancelled or failed.
    torn: bool,
    last_frame: Instant,
    patience: Duration,
    liveness: Arc<Liveness>,
}

/// When the peer was last heard of: what the reading direction tells the writing one.
#[derive(Debug)]
pub(super) struct Liveness {
    started: Instant,
    /// Milliseconds after the start.
    last_heartbeat: AtomicU64,
}

impl Liveness {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            started: Instant::now(),
            last_heartbeat: AtomicU64::new(0),
        })
    }

    pub(super) fn heartbeat_received(&self) {
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_heartbeat.store(now, Ordering::Relaxed);
    }

    fn last_heartbeat(&self) -> Instant {
        self.started + Duration::from_millis(self.last_heartbeat.load(Ordering::Relaxed))
    }
}

impl Output {
    /// `patience` is for a peer that takes nothing, though it sends heartbeats.
    pub(super) fn new(
        side: Box<dyn WriteSide>,
        liveness: Arc<Liveness>,
        patience: Duration,
    ) -> Self {
        Self {
            side,
            unsent: 0,
            torn: false,
            last_frame: Instant::now(),
            patience,
            liveness,
        }
    }

    /// Sends a message. If it is cancelled, nothing more can be sent; the same is true of whatever sends frames.
    pub async fn message(&mut self, kind: Kind, body: &[u8]) -> Result<(), ConnectionError> {
        let bytes = message::encode(kind, body)?;
        self.frames(&bytes).await
    }

    /// Sends the end of a stream.
    pub async fn end(&mut self) -> Result<(), ConnectionError> {
        self.frames(&END).await
    }

    /// Sends the end of a stream whose producer failed.
    pub async fn failure(&mut self, text: &str) -> Result<(), ConnectionError> {
        self.frames(&message::encode_failure(text)).await
    }

    /// Whether the peer would take what is sent next for the rest of a frame.
    pub(super) fn is_torn(&self) -> bool {
        self.torn
    }

    /// Announces that this side closes the connection.
    pub(super) async fn rst(&mut self) -> Result<(), ConnectionError> {
        self.frames(&RST).await
    }

    /// Tells the peer that no more bytes come.
    pub(super) async fn half_close(&mut self) -> io::Result<()> {
        self.side.shutdown().await
    }

    /// Sends whole frames. If it is cancelled, nothing more can be sent.
    pub(super) async fn frames(&mut self, bytes: &[u8]) -> Result<(), ConnectionError> {
        self.finish_heartbeat().await?;
        self.torn = true;
        self.bytes(bytes).await?;
        self.torn = false;
        self.flush().await?;
        self.last_frame = Instant::now();
        Ok(())
    }

    /// Waits for something while the peer is told that we live. Cancelling loses nothing.
    pub async fn while_waiting<F: Future>(
        &mut self,
        future: F,
    ) -> Result<F::Output, ConnectionError> {
        let mut future = pin!(future);
        loop {
            let due = self.last_frame + HEARTBEAT_INTERVAL;
            tokio::select! {
                biased;
                output = &mut future => return Ok(output),
                () = sleep_until(due) => {}
            }
            tokio::select! {
                biased;
                output = &mut future => return Ok(output),
                sent = self.heartbeat() => sent?,
            }
        }
    }

    /// Cancelling it in the middle leaves the rest for whoever writes next.
    async fn heartbeat(&mut self) -> Result<(), ConnectionError> {
        self.finish_heartbeat().await?;
        self.unsent = HEARTBEAT.len();
        self.last_frame = Instant::now();
        self.finish_heartbeat().await?;
        self.flush().await
    }

    async fn finish_heartbeat(&mut self) -> Result<(), ConnectionError> {
        while self.unsent > 0 {
            let count = self.some(&HEARTBEAT[HEADER_LEN - self.unsent..]).await?;
            self.unsent -= count;
        }
        Ok(())
    }

    async fn bytes(&mut self, mut bytes: &[u8]) -> Result<(), ConnectionError> {
        while !bytes.is_empty() {
            let count = self.some(bytes).await?;
            bytes = &bytes[count..];
        }
        Ok(())
    }

    /// Writes at least one byte.
    async fn some(&mut self, bytes: &[u8]) -> Result<usize, ConnectionError> {
        let side = &mut self.side;
        let written = bounded(&self.liveness, self.patience, |context| {
            Pin::new(&mut *side).poll_write(context, bytes)
        });
        match written.await? {
            0 => Err(ConnectionError::Write(io::ErrorKind::WriteZero.into())),
            count => Ok(count),
        }
    }

    /// TLS encrypts into a buffer of its own; this empties it.
    async fn flush(&mut self) -> Result<(), ConnectionError> {
        let side = &mut self.side;
        bounded(&self.liveness, self.patience, |context| {
            Pin::new(&mut *side).poll_flush(context)
        })
        .await
    }
}

/// Does something to the writing side, which may take [`IDLE_LIMIT`] since the peer was last heard of, and `patience` in all.
async fn bounded<T>(
    liveness: &Liveness,
    patience: Duration,
    mut write: impl FnMut(&mut Context<'_>) -> Poll<io::Result<T>>,
) -> Result<T, ConnectionError> {
    let begun = Instant::now();
    loop {
        let deadline = begun.max(liveness.last_heartbeat()) + IDLE_LIMIT;
        match timeout_at(deadline.min(begun + patience), future::poll_fn(&mut write)).await {
            Ok(result) => return result.map_err(ConnectionError::Write),
            Err(_) if begun.elapsed() >= patience => {
                return Err(ConnectionError::NotTaken(patience));
            }
            Err(_) if liveness.last_heartbeat() + IDLE_LIMIT > Instant::now() => {}
            Err(_) => return Err(ConnectionError::Stuck(IDLE_LIMIT)),
        }
    }
}
