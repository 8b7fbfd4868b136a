//! One line in the log for each connection, and how loud it is.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, DuplexStream, ReadBuf, ReadHalf};
use tokio::time::sleep;
use tracing::Level;
use zrepl_daemon::transport::Wire;
use zrepl_daemon::transport::wire::ReadSide;

use crate::double::{Double, Host};
use crate::frame::{Frame, ping, request};
use crate::log_lines::Log;
use crate::raw::Raw;

/// Ends with a reset.
#[derive(Debug)]
struct Reset(ReadHalf<DuplexStream>);

impl ReadSide for Reset {}

impl AsyncRead for Reset {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.0).poll_read(cx, buffer))?;
        if buffer.filled().len() == before {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        Poll::Ready(Ok(()))
    }
}

fn resetting(pipe: DuplexStream) -> Wire {
    let (reader, writer) = tokio::io::split(pipe);
    Wire::new(Reset(reader), writer)
}

fn host() -> Host {
    Host::new(Double::waiting(|_| Box::pin(std::future::pending())))
}

/// What is logged about a client that does this and hangs up.
async fn logged(frames: &[Frame], to_wire: fn(DuplexStream) -> Wire) -> Vec<(Level, String)> {
    let (log, _guard) = Log::start();
    let host = host();
    let mut client = Raw::client_over(&host, to_wire).await;
    client.send(frames).await;
    client.during(Duration::from_secs(1)).await;
    client.hang_up();
    sleep(Duration::from_secs(1)).await;
    assert_eq!(host.server.connections(), 0);
    log.take()
}

#[tokio::test(start_paused = true)]
async fn a_client_that_waits_for_nothing_may_close_or_reset_its_connection() {
    let goodbye = vec![Frame::new(Frame::GOAWAY, 0, 0, &[0; 8])];
    for frames in [vec![], ping(1), [ping(1), goodbye].concat()] {
        for to_wire in [Wire::from as fn(DuplexStream) -> Wire, resetting] {
            let lines = logged(&frames, to_wire).await;
            assert_eq!(lines.len(), 1, "{lines:?}");
            let (level, line) = &lines[0];
            assert_eq!(*level, Level::DEBUG, "{line}");
            assert!(line.contains("client=client1"), "{line}");
            assert!(line.contains("192.0.2.7:41234"), "{line}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_lost_during_a_request_is_a_warning() {
    let frames = request(1, "/Replication/ListFilesystems", b"");
    let lines = logged(&frames, resetting).await;
    let (level, line) = &lines[0];
    assert_eq!(*level, Level::WARN, "{line}");
    assert!(line.contains("connection reset"), "{line}");
    let lines = logged(&frames, Wire::from).await;
    assert_eq!(lines[0].0, Level::WARN);
    assert!(
        lines[0].1.contains("peer closed the connection"),
        "{lines:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn silence_and_nonsense_are_told_apart() {
    let (log, _guard) = Log::start();
    let host = host();
    let mut silent = Raw::client(&host).await;
    silent.is_alive = false;
    silent.during(Duration::from_secs(30)).await;
    let mut babbling = Raw::client(&host).await;
    babbling.send_bytes(&[0xff; 4096]).await;
    babbling.during(Duration::from_secs(1)).await;
    let lines = log.take();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines.iter().all(|(level, _)| *level == Level::WARN));
    assert!(lines[0].1.contains("timed out"), "{lines:?}");
    assert!(lines[1].1.contains("http2 error"), "{lines:?}");
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_an_error_with_its_text() {
    let (log, _guard) = Log::start();
    let host = Host::new(Double::new(|_| panic!("oh")));
    let mut client = Raw::client(&host).await;
    let frames = request(1, "/Replication/ListFilesystems", b"");
    client.send(&frames).await;
    client
        .until(|frame| frame.stream == 1 && frame.is_last())
        .await;
    let (level, line) = &log.take()[0];
    assert_eq!(*level, Level::ERROR);
    assert!(
        line.contains("panic=oh") && line.contains("/ListFilesystems"),
        "{line}"
    );
}
