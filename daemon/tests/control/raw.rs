//! Either side of a connection played by hand, frame by frame.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::time::timeout;
use zrepl_daemon::rpc::handshake::{self, Settings};
use zrepl_daemon::transport::Wire;
use zrepl_proto::label::Label;

use crate::double::Host;
use crate::frame::{Frame, PREFACE, encode, split};

/// What a Go client sends before HTTP/2.
pub(crate) fn greeting() -> Vec<u8> {
    let banner = b"0000000056 ZREPL_ZFS_REPLICATION PROTOVERSION=0007 EXTENSIONS=0000\n";
    [&banner[..], &Label::Control.encode()].concat()
}

/// One end of a connection behind the label.
#[derive(Debug)]
pub(crate) struct Raw {
    pub(crate) wire: Wire,
    unread: Vec<u8>,
    /// Whether pings are answered.
    pub(crate) is_alive: bool,
}

impl Raw {
    pub(crate) fn new(wire: Wire) -> Self {
        Self {
            wire,
            unread: Vec::new(),
            is_alive: true,
        }
    }

    /// A client of this host that has sent preface and SETTINGS.
    pub(crate) async fn client(host: &Host) -> Self {
        Self::client_over(host, Wire::from).await
    }

    /// The same over a network of this kind.
    pub(crate) async fn client_over(host: &Host, network: fn(DuplexStream) -> Wire) -> Self {
        let (near, far) = tokio::io::duplex(1 << 20);
        let mut client = Self::new(Wire::from(near));
        client.send_bytes(&greeting()).await;
        host.greet(network(far)).await;
        let mut banner = [0; 67];
        client.wire.reader.read_exact(&mut banner).await.unwrap();
        client.send_bytes(PREFACE).await;
        client.send(&[Frame::new(Frame::SETTINGS, 0, 0, b"")]).await;
        client
    }

    /// The server of one of our clients; has read its preface and sent Go's SETTINGS.
    pub(crate) async fn server(pipe: DuplexStream) -> Self {
        let mut wire = Wire::from(pipe);
        handshake::accept(&mut wire, &Settings::default())
            .await
            .unwrap();
        let mut server = Self::new(wire);
        let max_frame_size = [0, 5, 0, 0, 0x40, 0];
        server
            .send(&[Frame::new(Frame::SETTINGS, 0, 0, &max_frame_size)])
            .await;
        let mut preface = [0; PREFACE.len()];
        server.wire.reader.read_exact(&mut preface).await.unwrap();
        assert_eq!(preface, PREFACE);
        server
    }

    pub(crate) async fn send_bytes(&mut self, bytes: &[u8]) {
        self.wire.writer.write_all(bytes).await.unwrap();
    }

    pub(crate) async fn send(&mut self, frames: &[Frame]) {
        self.send_bytes(&encode(frames)).await;
    }

    /// The same to somebody who may have hung up.
    pub(crate) async fn try_send(&mut self, frames: &[Frame]) -> bool {
        let bytes = encode(frames);
        self.wire.writer.write_all(&bytes).await.is_ok()
    }

    /// The next frame; answers pings and SETTINGS. None at the end of the connection.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        loop {
            let (frames, _) = split(&self.unread);
            if let Some(frame) = frames.into_iter().next() {
                self.unread.drain(..frame.encode().len());
                let answered = self.is_alive && frame.is_question(Frame::PING)
                    || frame.is_question(Frame::SETTINGS);
                if answered {
                    let payload = match frame.kind {
                        Frame::PING => &frame.payload[..],
                        _ => b"",
                    };
                    self.try_send(&[Frame::new(frame.kind, Frame::ACK, 0, payload)])
                        .await;
                }
                return Some(frame);
            }
            match self.wire.reader.read_buf(&mut self.unread).await {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    /// Frames up to the first that is wanted, or to the end of the connection.
    pub(crate) async fn until(&mut self, wanted: impl Fn(&Frame) -> bool) -> Vec<Frame> {
        let mut frames = Vec::new();
        while let Some(frame) = self.next().await {
            let is_wanted = wanted(&frame);
            frames.push(frame);
            if is_wanted {
                break;
            }
        }
        frames
    }

    /// All frames of the next while.
    pub(crate) async fn during(&mut self, time: Duration) -> Vec<Frame> {
        let mut frames = Vec::new();
        let reading = async {
            while let Some(frame) = self.next().await {
                frames.push(frame);
            }
        };
        let _ = timeout(time, reading).await;
        frames
    }

    /// Reads until the request on this stream is complete.
    pub(crate) async fn request(&mut self, stream: u32) {
        let frames = self
            .until(|frame| frame.stream == stream && frame.is_last())
            .await;
        assert!(frames.last().is_some_and(|frame| frame.stream == stream));
    }

    /// Makes the other end see a reset rather than the end: unread bytes are thrown away.
    pub(crate) fn hang_up(self) {
        drop(self);
    }
}
