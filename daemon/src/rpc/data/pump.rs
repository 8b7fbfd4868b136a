//! Moves the bytes of a stream from a pipe into frames, by copying them: this works on every wire.
//!
//! Frames are filled from what the pipe holds, so a fast producer gets long frames and a slow one no delay. How long a frame may
//! be, and what is held back so that none has one byte, is [`chunk`]'s rule. Memory: one buffer. Back-pressure: while the peer
//! takes nothing, nothing is read from the pipe, and the producer blocks.

use std::io;
use std::sync::Arc;

use tokio::net::unix::pipe;
use zrepl_proto::chunk::{self, Next};
use zrepl_proto::frame::{FrameHeader, FrameType, HEADER_LEN};

use super::{ConnectionError, Output};
use crate::bandwidth::{Limit, pay};
use crate::endpoint::stream::Counter;

/// Longest payload that this pump sends; the wire allows 512 KiB. Measured with `benches/dataplane.rs`: 64 KiB cost a third more
/// processor time for each byte, 128 KiB a sixth.
const PAYLOAD: usize = 256 << 10;

/// How moving ended.
#[derive(Debug)]
pub(super) enum Moved {
    /// The pipe was read to its end, and all of it sent.
    All,
    /// The pipe had one byte, which cannot be sent.
    LoneByte,
    /// The pipe could not be read.
    PipeFailed(io::Error),
}

/// Moves everything; the end of the stream is left to the caller, who knows whether it is one.
pub(super) async fn move_out(
    pipe: &pipe::Receiver,
    output: &mut Output,
    moved: &Counter,
    limits: &[Arc<Limit>],
) -> Result<Moved, ConnectionError> {
    let mut buffer = vec![0; HEADER_LEN + PAYLOAD + chunk::HELD_BACK];
    let mut filled = HEADER_LEN;
    let mut ended = false;
    loop {
        if !ended {
            match fill(pipe, &mut buffer, &mut filled) {
                Ok(at_end) => ended = at_end,
                Err(error) => return Ok(Moved::PipeFailed(error)),
            }
        }
        let len = match chunk::next_up_to(PAYLOAD, filled - HEADER_LEN, ended) {
            Next::Frame(len) => len,
            Next::End => return Ok(Moved::All),
            Next::LoneByte => return Ok(Moved::LoneByte),
            Next::Wait => {
                if let Err(error) = output.while_waiting(pipe.readable()).await? {
                    return Ok(Moved::PipeFailed(error));
                }
                continue;
            }
        };
        let header = FrameHeader::with_payload(FrameType::ZfsStream, len)
            .expect("no planned frame has one byte");
        buffer[..HEADER_LEN].copy_from_slice(&header.encode());
        output.frames(&buffer[..HEADER_LEN + len]).await?;
        buffer.copy_within(HEADER_LEN + len..filled, HEADER_LEN);
        filled -= len;
        moved.add(len as u64);
        if !limits.is_empty() {
            output.while_waiting(pay(limits, len as u64)).await?;
        }
    }
}

/// Reads what is there, up to the end of the buffer; says whether the pipe is at its end.
fn fill(pipe: &pipe::Receiver, buffer: &mut [u8], filled: &mut usize) -> io::Result<bool> {
    while *filled < buffer.len() {
        match pipe.try_read(&mut buffer[*filled..]) {
            Ok(0) => return Ok(true),
            Ok(count) => *filled += count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}
