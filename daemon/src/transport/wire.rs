//! A connected stream of bytes in both directions, whatever carries it.

use std::fmt;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// What comes from the other side.
pub trait ReadSide: AsyncRead + fmt::Debug + Send + Unpin {
    /// The bare socket, if what is read is exactly what arrives on it. Then a pump may move bytes from it to a pipe inside
    /// the kernel, as long as nobody reads in between.
    fn socket(&self) -> Option<&TcpStream> {
        None
    }
}

/// What goes to the other side. Shutting it down tells the other side that no more comes (half close); reading continues.
pub trait WriteSide: AsyncWrite + fmt::Debug + Send + Unpin {
    /// The bare socket, if exactly what is written goes out on it.
    fn socket(&self) -> Option<&TcpStream> {
        None
    }
}

/// A connection. Dropping both sides closes it at once; unread input makes that a reset.
#[derive(Debug)]
pub struct Wire {
    /// What comes from the other side.
    pub reader: Box<dyn ReadSide>,
    /// What goes to the other side.
    pub writer: Box<dyn WriteSide>,
}

impl ReadSide for tokio::io::DuplexStream {}
impl WriteSide for tokio::io::DuplexStream {}
impl ReadSide for tokio::io::ReadHalf<tokio::io::DuplexStream> {}
impl WriteSide for tokio::io::WriteHalf<tokio::io::DuplexStream> {}
impl ReadSide for tokio::net::unix::OwnedReadHalf {}
impl WriteSide for tokio::net::unix::OwnedWriteHalf {}

impl ReadSide for tokio::net::tcp::OwnedReadHalf {
    fn socket(&self) -> Option<&TcpStream> {
        Some(self.as_ref())
    }
}

impl WriteSide for tokio::net::tcp::OwnedWriteHalf {
    fn socket(&self) -> Option<&TcpStream> {
        Some(self.as_ref())
    }
}

impl Wire {
    /// Over two streams of one direction each.
    pub fn new(reader: impl ReadSide + 'static, writer: impl WriteSide + 'static) -> Self {
        Self {
            reader: Box::new(reader),
            writer: Box::new(writer),
        }
    }
}

impl From<TcpStream> for Wire {
    fn from(socket: TcpStream) -> Self {
        let (reader, writer) = socket.into_split();
        Self::new(reader, writer)
    }
}

impl From<tokio::net::UnixStream> for Wire {
    fn from(socket: tokio::net::UnixStream) -> Self {
        let (reader, writer) = socket.into_split();
        Self::new(reader, writer)
    }
}

/// In memory, for tests.
impl From<tokio::io::DuplexStream> for Wire {
    fn from(pipe: tokio::io::DuplexStream) -> Self {
        let (reader, writer) = tokio::io::split(pipe);
        Self::new(reader, writer)
    }
}
