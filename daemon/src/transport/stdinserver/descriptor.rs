//! File descriptors that another process handed over, as two directions of a wire: pipes or sockets come in, of which sshd
//! uses either; streams come out. Anything else, such as a file or /dev/null, cannot be waited for and is refused before
//! anything is read.

use std::io::{self, IoSlice};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::pin::Pin;
use std::task::{Context, Poll};

use rustix::fs::FileType;
use rustix::net::{AddressFamily, Shutdown, SocketType};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use tokio::net::unix::pipe;

/// Reads from a descriptor.
#[derive(Debug)]
pub(super) enum Reader {
    Pipe(pipe::Receiver),
    Socket(UnixStream),
}

/// Writes to a descriptor. Shutting it down closes it; if it is a socket, the other side sees that even while another
/// process holds the same socket.
#[derive(Debug)]
pub(super) struct Writer {
    /// None once it was shut down.
    open: Option<Output>,
}

#[derive(Debug)]
enum Output {
    Pipe(pipe::Sender),
    Socket(UnixStream),
}

/// A descriptor that cannot carry a wire.
#[derive(Debug, thiserror::Error)]
pub(super) enum DescriptorError {
    #[error("it is neither a pipe nor a stream socket of this machine, but {0}")]
    Kind(&'static str),
    #[error(transparent)]
    System(#[from] io::Error),
}

impl Reader {
    pub(super) fn new(fd: OwnedFd) -> Result<Self, DescriptorError> {
        Ok(match kind(&fd)? {
            Kind::Pipe => Self::Pipe(pipe::Receiver::from_owned_fd(fd)?),
            Kind::Socket => Self::Socket(socket(fd)?),
        })
    }
}

impl Writer {
    pub(super) fn new(fd: OwnedFd) -> Result<Self, DescriptorError> {
        let output = match kind(&fd)? {
            Kind::Pipe => Output::Pipe(pipe::Sender::from_owned_fd(fd)?),
            Kind::Socket => Output::Socket(socket(fd)?),
        };
        Ok(Self { open: Some(output) })
    }

    fn close(&mut self) {
        if let Some(Output::Socket(socket)) = self.open.take() {
            // It fails only if the other side has gone, and then nobody waits for it.
            rustix::net::shutdown(&socket, Shutdown::Write).ok();
        }
    }
}

enum Kind {
    Pipe,
    Socket,
}

fn kind(fd: &OwnedFd) -> Result<Kind, DescriptorError> {
    let mode = rustix::fs::fstat(fd).map_err(io::Error::from)?.st_mode;
    Err(DescriptorError::Kind(match FileType::from_raw_mode(mode) {
        FileType::Fifo => return Ok(Kind::Pipe),
        FileType::Socket if is_local_stream(fd)? => return Ok(Kind::Socket),
        FileType::Socket => "another kind of socket",
        FileType::RegularFile => "a file",
        FileType::CharacterDevice => "a device such as a terminal or /dev/null",
        _ => "something else",
    }))
}

fn is_local_stream(fd: &OwnedFd) -> io::Result<bool> {
    let family = rustix::net::getsockname(fd)?.address_family();
    let kind = rustix::net::sockopt::socket_type(fd)?;
    Ok(family == AddressFamily::UNIX && kind == SocketType::STREAM)
}

/// Other users of the same socket, sshd's end aside, see `O_NONBLOCK` too; `zrepl stdinserver` has set it already.
fn socket(fd: OwnedFd) -> io::Result<UnixStream> {
    let socket = StdUnixStream::from(fd);
    socket.set_nonblocking(true)?;
    UnixStream::from_std(socket)
}

fn closed<T>() -> Poll<io::Result<T>> {
    Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
}

impl AsyncRead for Reader {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Pipe(pipe) => Pin::new(pipe).poll_read(cx, buffer),
            Self::Socket(socket) => Pin::new(socket).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Writer {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().open {
            Some(Output::Pipe(pipe)) => Pin::new(pipe).poll_write(cx, bytes),
            Some(Output::Socket(socket)) => Pin::new(socket).poll_write(cx, bytes),
            None => closed(),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().open {
            Some(Output::Pipe(pipe)) => Pin::new(pipe).poll_write_vectored(cx, slices),
            Some(Output::Socket(socket)) => Pin::new(socket).poll_write_vectored(cx, slices),
            None => closed(),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.close();
        Poll::Ready(Ok(()))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.close();
    }
}
