//! The two directions of a TLS connection as a wire has them. Shutting down sends `close_notify` and then FIN; input that ends
//! without `close_notify` is an error, because anybody on the way can forge a FIN.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, ReadBuf, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;

use super::failure::TlsFailure;
use super::trust::Role;
use crate::transport::Wire;
use crate::transport::wire::{ReadSide, WriteSide};

/// What comes in. It is here that a client learns that its certificate is refused: in TLS 1.3 its handshake is over by then.
#[derive(Debug)]
struct Reader {
    half: ReadHalf<TlsStream<TcpStream>>,
    peer: Role,
}

impl AsyncRead for Reader {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let peer = self.peer;
        let polled = Pin::new(&mut self.half).poll_read(cx, buffer);
        polled.map_err(|error| {
            let kind = error.kind();
            match TlsFailure::of(error, peer) {
                Ok(failure) => io::Error::new(kind, failure),
                Err(error) => error,
            }
        })
    }
}

impl ReadSide for Reader {}
impl WriteSide for WriteHalf<TlsStream<TcpStream>> {}

/// `peer` is what the other side is.
pub(super) fn wire(stream: impl Into<TlsStream<TcpStream>>, peer: Role) -> Wire {
    let (half, writer) = tokio::io::split(stream.into());
    Wire::new(Reader { half, peer }, writer)
}
