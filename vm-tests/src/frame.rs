//! The protocol between the harness and the agent in the guest: frames on one virtio-serial port. Commands are told apart
//! by the number that the harness gave them, so several run at once.

use std::io::{self, Read, Write};

/// Larger payloads are split. Small enough that the frames of several commands take turns on the port.
pub(crate) const MAX_PAYLOAD: usize = 64 * 1024;

const HEADER: usize = 9;

/// What a frame means. The numbers are the wire format.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    /// Agent: it serves commands from here on. JSON with facts about the guest.
    Ready = 1,
    /// Harness: start a command. JSON.
    Start = 2,
    /// Harness: bytes for standard input; an empty payload closes it.
    Stdin = 3,
    /// Harness: kill the command and its process group.
    Kill = 4,
    /// Agent: bytes from standard output.
    Stdout = 5,
    /// Agent: bytes from standard error.
    Stderr = 6,
    /// Agent: the command is over. JSON with its status.
    Exit = 7,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Self> {
        [
            Self::Ready,
            Self::Start,
            Self::Stdin,
            Self::Kill,
            Self::Stdout,
            Self::Stderr,
            Self::Exit,
        ]
        .into_iter()
        .find(|kind| *kind as u8 == byte)
    }
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Frame {
    pub(crate) kind: Kind,
    pub(crate) command: u32,
    pub(crate) payload: Vec<u8>,
}

/// Writes one frame with a single `write`, so that frames of different threads cannot mix under the caller's lock.
pub(crate) fn write(
    out: &mut impl Write,
    kind: Kind,
    command: u32,
    payload: &[u8],
) -> io::Result<()> {
    let length = u32::try_from(payload.len()).map_err(io::Error::other)?;
    if payload.len() > MAX_PAYLOAD {
        return Err(io::Error::other(format!(
            "a frame of {length} bytes is too long"
        )));
    }
    let mut bytes = Vec::with_capacity(HEADER + payload.len());
    bytes.push(kind as u8);
    bytes.extend_from_slice(&command.to_be_bytes());
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(payload);
    out.write_all(&bytes)?;
    out.flush()
}

/// Reads one frame; `None` at the end of the stream between frames.
pub(crate) fn read(input: &mut impl Read) -> io::Result<Option<Frame>> {
    let mut header = [0; HEADER];
    if input.read(&mut header[..1])? == 0 {
        return Ok(None);
    }
    input.read_exact(&mut header[1..])?;
    let [kind, a, b, c, d, length @ ..] = header;
    let kind = Kind::from_byte(kind).ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("frame of unknown kind {kind}"),
        )
    })?;
    let length = u32::from_be_bytes(length) as usize;
    if length > MAX_PAYLOAD {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("frame of {length} bytes is too long"),
        ));
    }
    let mut payload = vec![0; length];
    input.read_exact(&mut payload)?;
    Ok(Some(Frame {
        kind,
        command: u32::from_be_bytes([a, b, c, d]),
        payload,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_survive_the_wire() {
        let mut wire = Vec::new();
        write(&mut wire, Kind::Start, 7, b"{}").unwrap();
        write(&mut wire, Kind::Stdin, 0x0102_0304, &vec![9; MAX_PAYLOAD]).unwrap();
        let mut input = wire.as_slice();
        let first = read(&mut input).unwrap().unwrap();
        assert_eq!(
            (first.kind, first.command, first.payload),
            (Kind::Start, 7, b"{}".to_vec())
        );
        let second = read(&mut input).unwrap().unwrap();
        assert_eq!((second.kind, second.command), (Kind::Stdin, 0x0102_0304));
        assert_eq!(second.payload.len(), MAX_PAYLOAD);
        assert_eq!(read(&mut input).unwrap(), None);
    }

    #[test]
    fn refuses_what_it_cannot_mean() {
        assert!(write(&mut Vec::new(), Kind::Stdin, 1, &vec![0; MAX_PAYLOAD + 1]).is_err());
        assert!(read(&mut [99_u8, 0, 0, 0, 1, 0, 0, 0, 0].as_slice()).is_err());
        assert!(read(&mut [1_u8, 0, 0, 0, 1, 0xff, 0, 0, 0].as_slice()).is_err());
        assert!(read(&mut [1_u8, 0, 0].as_slice()).is_err());
    }
}
