//! What happens on a connection to one of the listener's sockets: in comes a process, `zrepl stdinserver`, with its standard
//! input and output; out comes a wire over these two, or the reason why not, after which every descriptor is closed.
//!
//! Wire constants of problame/go-netssh (`serve.go`) and its fd passing: one byte with two descriptors comes in; when the wire
//! is closed, one byte goes back, on which `zrepl stdinserver` ends with status 0.

use std::error::Error;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendFlags, recvmsg, send,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, Interest, ReadBuf};
use tokio::net::UnixStream;
use zrepl_proto::netssh::{MESSAGE_LEN, Message};

use super::descriptor::{Reader, Writer};
use crate::transport::wire::{ReadSide, WriteSide};
use crate::transport::{RefusedPeer, Wire};

/// More than two, so that a third one is seen.
const ROOM_FOR_DESCRIPTORS: usize = 8;

/// What a process sends that is no `zrepl stdinserver`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum HandoverError {
    #[error("the process went away without passing any")]
    Gone,
    #[error("expected two file descriptors, standard input and standard output, but there are {0}")]
    Count(usize),
    #[error("expected two file descriptors, but there are more than can be passed at once")]
    TooMany,
}

/// Waits for the descriptors, greets the client through them and waits for its answer.
pub(super) async fn wire(process: UnixStream) -> Result<Wire, RefusedPeer> {
    let (input, output) = receive(&process)
        .await
        .map_err(|source| refused("passing of standard input and output", source))?;
    let mut reader =
        Reader::new(input).map_err(|source| refused("waiting for standard input", source))?;
    let mut writer =
        Writer::new(output).map_err(|source| refused("waiting for standard output", source))?;
    writer
        .write_all(&Message::Helo.encode())
        .await
        .map_err(|source| refused("greeting the client", source))?;
    // Go does not look at the answer either.
    reader
        .read_exact(&mut [0; MESSAGE_LEN])
        .await
        .map_err(|source| refused("the client's answer to the greeting", source))?;
    let farewell = Arc::new(Farewell { process });
    Ok(Wire::new(
        Input {
            reader,
            _farewell: Arc::clone(&farewell),
        },
        Output {
            writer,
            _farewell: farewell,
        },
    ))
}

fn refused(step: &'static str, source: impl Into<Box<dyn Error + Send + Sync>>) -> RefusedPeer {
    RefusedPeer::Handshake {
        step,
        source: source.into(),
    }
}

async fn receive(process: &UnixStream) -> Result<(OwnedFd, OwnedFd), Box<dyn Error + Send + Sync>> {
    let (bytes, received, cut) = process
        .async_io(Interest::READABLE, || receive_now(process.as_fd()))
        .await?;
    if bytes == 0 {
        return Err(HandoverError::Gone.into());
    }
    if cut {
        return Err(HandoverError::TooMany.into());
    }
    let [input, output] = <[OwnedFd; 2]>::try_from(received)
        .map_err(|received| HandoverError::Count(received.len()))?;
    Ok((input, output))
}

/// Bytes and descriptors of one message, and whether there were more descriptors than there was room for.
pub(super) fn receive_now(socket: impl AsFd) -> io::Result<(usize, Vec<OwnedFd>, bool)> {
    let mut byte = [0];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(ROOM_FOR_DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let message = recvmsg(
        socket,
        &mut [IoSliceMut::new(&mut byte)],
        &mut control,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    let received = control
        .drain()
        .filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
            _ => None,
        })
        .flatten()
        .collect();
    let cut = message.flags.contains(ReturnFlags::CTRUNC);
    Ok((message.bytes, received, cut))
}

/// Tells the process, once both descriptors are closed, that it may end.
#[derive(Debug)]
struct Farewell {
    process: UnixStream,
}

impl Drop for Farewell {
    fn drop(&mut self) {
        // A process that does not take it has gone, and the end of the connection says the rest.
        send(
            &self.process,
            &[0],
            SendFlags::NOSIGNAL | SendFlags::DONTWAIT,
        )
        .ok();
    }
}

#[derive(Debug)]
struct Input {
    // Closed first: fields are dropped in this order.
    reader: Reader,
    _farewell: Arc<Farewell>,
}

#[derive(Debug)]
struct Output {
    writer: Writer,
    _farewell: Arc<Farewell>,
}

impl AsyncRead for Input {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.reader).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Output {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.writer).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.writer).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.writer.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.writer).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.writer).poll_shutdown(cx)
    }
}

impl ReadSide for Input {}
impl WriteSide for Output {}
