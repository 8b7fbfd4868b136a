//! Cuts a stream of bytes into frame headers and payloads, however the bytes arrive.
//!
//! Bytes are lent, never copied: a payload comes back as a part of the input. What the reader keeps is at most one
//! incomplete header and a counter. A pump that moves payload past this program (splice) takes the header from here and
//! reports what it moved with [`FrameReader::payload_moved`].

use crate::frame::{FrameHeader, FrameTooLong, HEADER_LEN};

/// A part of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// A frame begins. Its payload follows, if it has one.
    Header(FrameHeader),
    /// The next bytes of the payload of the frame that began last. Never empty.
    Payload(&'a [u8]),
}

/// The input ended inside a frame. Whatever belongs to it is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Truncated {
    /// The header is incomplete.
    #[error("connection ended after {0} of {HEADER_LEN} bytes of a frame header")]
    Header(usize),
    /// The payload is incomplete.
    #[error("connection ended with {0} payload bytes of a frame missing")]
    Payload(u32),
}

/// More payload was reported than the frame has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{moved} payload bytes were moved, but the frame has only {left} left")]
pub struct MovedTooMuch {
    /// What was reported.
    pub moved: u32,
    /// What was left.
    pub left: u32,
}

/// Reads frames. Header (8 bytes) → payload (as many bytes as the header says) → header.
#[derive(Clone, Debug, Default)]
pub struct FrameReader {
    header: [u8; HEADER_LEN],
    filled: usize,
    payload_left: u32,
}

impl FrameReader {
    /// A reader at the border of a frame.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next piece off the front of `input`; `None` if that was all of it. An error is final: where the next frame
    /// begins is unknown.
    pub fn next<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Piece<'a>>, FrameTooLong> {
        if self.payload_left > 0 {
            return Ok(self.payload(input).map(Piece::Payload));
        }
        let take = (HEADER_LEN - self.filled).min(input.len());
        let (head, rest) = input.split_at(take);
        self.header[self.filled..self.filled + take].copy_from_slice(head);
        self.filled += take;
        *input = rest;
        if self.filled < HEADER_LEN {
            return Ok(None);
        }
        let header = FrameHeader::decode(self.header)?;
        self.filled = 0;
        self.payload_left = header.payload_len();
        Ok(Some(Piece::Header(header)))
    }

    fn payload<'a>(&mut self, input: &mut &'a [u8]) -> Option<&'a [u8]> {
        let left = usize::try_from(self.payload_left).unwrap_or(usize::MAX);
        let (payload, rest) = input.split_at(left.min(input.len()));
        *input = rest;
        let taken = u32::try_from(payload.len()).unwrap_or(self.payload_left);
        self.payload_left -= taken;
        (!payload.is_empty()).then_some(payload)
    }

    /// How many bytes can be read from the connection now without reading beyond this header or payload. Never zero.
    pub fn needed(&self) -> usize {
        if self.payload_left > 0 {
            usize::try_from(self.payload_left).unwrap_or(usize::MAX)
        } else {
            HEADER_LEN - self.filled
        }
    }

    /// Payload bytes of the current frame that have not passed yet.
    pub fn payload_left(&self) -> u32 {
        self.payload_left
    }

    /// Payload bytes went from the connection to their destination without passing through here.
    pub fn payload_moved(&mut self, moved: u32) -> Result<(), MovedTooMuch> {
        let left = self.payload_left;
        self.payload_left = left
            .checked_sub(moved)
            .ok_or(MovedTooMuch { moved, left })?;
        Ok(())
    }

    /// The connection has ended: whether that was at the border of a frame.
    pub fn end(&self) -> Result<(), Truncated> {
        match (self.filled, self.payload_left) {
            (0, 0) => Ok(()),
            (0, missing) => Err(Truncated::Payload(missing)),
            (received, _) => Err(Truncated::Header(received)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::frame::FrameType;

    /// Frames as (type, payload), and what the end of the input says.
    type Frames = (Vec<(u32, Vec<u8>)>, Result<(), Truncated>);

    fn read<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Result<Frames, FrameTooLong> {
        let mut reader = FrameReader::new();
        let mut frames = Vec::new();
        for mut input in pieces {
            while let Some(piece) = reader.next(&mut input)? {
                match piece {
                    Piece::Header(header) => frames.push((header.kind().code(), Vec::new())),
                    Piece::Payload(bytes) => {
                        assert!(!bytes.is_empty());
                        frames.last_mut().unwrap().1.extend_from_slice(bytes);
                    }
                }
            }
            assert!(input.is_empty());
            assert!(reader.needed() > 0);
        }
        Ok((frames, reader.end()))
    }

    #[test]
    fn frames_without_payload_come_at_once() {
        let bytes = [crate::frame::HEARTBEAT, crate::frame::END].concat();
        let (frames, end) = read(std::iter::once(&bytes[..])).unwrap();
        assert_eq!(frames, [(0x0100_0000, vec![]), (0x0002_0000, vec![])]);
        assert_eq!(end, Ok(()));
    }

    #[test]
    fn an_input_that_ends_inside_a_frame_is_told_from_one_that_ends_at_its_border() {
        let bytes = b"\0\0\0\x05\0\0\0\x03abc\0\x02";
        let end = |len: usize| read(std::iter::once(&bytes[..len])).unwrap().1;
        assert_eq!(end(11), Ok(()));
        assert_eq!(end(8), Err(Truncated::Payload(3)));
        assert_eq!(end(10), Err(Truncated::Payload(1)));
        assert_eq!(end(13), Err(Truncated::Header(2)));
        assert_eq!(
            Truncated::Header(2).to_string(),
            "connection ended after 2 of 8 bytes of a frame header"
        );
    }

    #[test]
    fn needed_never_reaches_beyond_the_frame() {
        let mut reader = FrameReader::new();
        assert_eq!(reader.needed(), 8);
        let mut input = &b"\0\0\0\x05\0\0"[..];
        assert_eq!(reader.next(&mut input), Ok(None));
        assert_eq!(reader.needed(), 2);
        let mut input = &b"\0\x05"[..];
        assert!(reader.next(&mut input).unwrap().is_some());
        assert_eq!(reader.needed(), 5);
    }

    #[test]
    fn payload_that_went_another_way_is_not_expected_here() {
        let mut reader = FrameReader::new();
        let mut input = &b"\0\0\0\x05\0\0\0\x05xx\0\x02\0\0\0\0\0\0"[..];
        assert!(matches!(
            reader.next(&mut input),
            Ok(Some(Piece::Header(_)))
        ));
        assert_eq!(reader.payload_moved(3), Ok(()));
        assert_eq!(reader.payload_left(), 2);
        let too_much = MovedTooMuch { moved: 3, left: 2 };
        assert_eq!(reader.payload_moved(3), Err(too_much));
        assert_eq!(reader.next(&mut input), Ok(Some(Piece::Payload(b"xx"))));
        let end = FrameHeader::empty(FrameType::End);
        assert_eq!(reader.next(&mut input), Ok(Some(Piece::Header(end))));
    }

    proptest! {
        #[test]
        fn segmentation_does_not_matter(
            frames in prop::collection::vec((any::<u32>(), prop::collection::vec(any::<u8>(), 0..20)), 0..8),
            cut in 1_usize..40,
            lost in 0_usize..12,
        ) {
            let mut bytes = Vec::new();
            for (code, payload) in &frames {
                bytes.extend_from_slice(&code.to_be_bytes());
                bytes.extend_from_slice(&u32::try_from(payload.len()).unwrap().to_be_bytes());
                bytes.extend_from_slice(payload);
            }
            let whole = read(bytes.chunks(cut)).unwrap();
            prop_assert_eq!(whole, (frames, Ok(())));
            let bytes = &bytes[..bytes.len().saturating_sub(lost)];
            prop_assert_eq!(read(bytes.chunks(cut)), read(std::iter::once(bytes)));
        }

        #[test]
        fn no_bytes_upset_it(bytes in prop::collection::vec(any::<u8>(), 0..100), cut in 1_usize..10) {
            prop_assert_eq!(read(bytes.chunks(cut)).is_ok(), read(std::iter::once(&bytes[..])).is_ok());
        }
    }
}
