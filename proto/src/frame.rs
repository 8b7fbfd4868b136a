//! Frames of the data plane: type, payload length, payload.
//!
//! Both numbers are 32 bits, big-endian. There is no magic, checksum or sequence number. Wire constants of zrepl 0.7.0:
//! `internal/rpc/dataconn` with `dataconn_shared.go` (1 to 5), `stream/stream.go` (trailer, end),
//! `heartbeatconn/heartbeatconn.go` (heartbeat) and `frameconn/frameconn.go` (layout, RST).
//!
//! A payload of **one byte** ends a Go daemon: its buffer pool panics. Received ones are harmless to us, but none can be made
//! for sending here. Go hands a frame with payload up only when the header of the next frame has arrived, so end, heartbeat
//! and RST are sent without payload; if they are received with one, it means nothing.

/// Bytes of a frame header.
pub const HEADER_LEN: usize = 8;

/// Longest payload that we send, and what Go sends in all frames of a stream but the last (2^19).
pub const MAX_SENT_PAYLOAD: usize = 524_288;

/// Longest payload that is accepted. Go sets no limit; this one leaves room for peers with larger chunks.
pub const MAX_RECEIVED_PAYLOAD: u32 = 8 << 20;

/// The frame that ends a message or a stream.
pub const END: [u8; HEADER_LEN] = FrameHeader::empty(FrameType::End).encode();

/// The frame that says that its sender is alive.
pub const HEARTBEAT: [u8; HEADER_LEN] = FrameHeader::empty(FrameType::Heartbeat).encode();

/// The frame that says that its sender closes the connection.
pub const RST: [u8; HEADER_LEN] = FrameHeader::empty(FrameType::Rst).encode();

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FrameType {
    /// Path of the requested endpoint.
    ReqHeader,
    /// Protobuf request.
    ReqStructured,
    /// Text that tells success from failure.
    ResHeader,
    /// Protobuf response.
    ResStructured,
    /// Part of a stream of zfs send.
    ZfsStream,
    /// Why the producer of a message or stream failed, in place of its rest.
    StreamErrTrailer,
    /// End of a message, stream or trailer.
    End,
    /// Sign of life.
    Heartbeat,
    /// The sender closes the connection.
    Rst,
    /// A type that zrepl 0.7.0 does not have. Fatal for the connection, after any negotiation.
    Unknown(u32),
}

impl FrameType {
    /// All types of zrepl 0.7.0.
    pub const KNOWN: [Self; 9] = [
        Self::ReqHeader,
        Self::ReqStructured,
        Self::ResHeader,
        Self::ResStructured,
        Self::ZfsStream,
        Self::StreamErrTrailer,
        Self::End,
        Self::Heartbeat,
        Self::Rst,
    ];

    /// The number on the wire.
    pub const fn code(self) -> u32 {
        match self {
            Self::ReqHeader => 0x0000_0001,
            Self::ReqStructured => 0x0000_0002,
            Self::ResHeader => 0x0000_0003,
            Self::ResStructured => 0x0000_0004,
            Self::ZfsStream => 0x0000_0005,
            Self::StreamErrTrailer => 0x0001_0000,
            Self::End => 0x0002_0000,
            Self::Heartbeat => 0x0100_0000,
            Self::Rst => 0x1000_0000,
            Self::Unknown(code) => code,
        }
    }

    /// The type of a number on the wire.
    pub fn from_code(code: u32) -> Self {
        let known = Self::KNOWN.into_iter().find(|known| known.code() == code);
        known.unwrap_or(Self::Unknown(code))
    }
}

/// Name and number, for logs and errors.
impl std::fmt::Display for FrameType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unknown(code) => write!(f, "{code:#010x}"),
            known => write!(f, "{known:?} ({:#010x})", known.code()),
        }
    }
}

/// A payload length that must not be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "frame of {0} payload bytes must not be sent, allowed are 0 and 2 to {MAX_SENT_PAYLOAD}: one byte ends a Go daemon"
)]
pub struct UnsendableLength(usize);

/// A received header that ends the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("frame of type {kind} has {len} payload bytes, at most {MAX_RECEIVED_PAYLOAD} are allowed")]
pub struct FrameTooLong {
    /// Its type.
    pub kind: FrameType,
    /// Its payload length.
    pub len: u32,
}

/// Type and payload length of a frame: one that was received, or one that may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    kind: FrameType,
    len: u32,
}

impl FrameHeader {
    /// A frame without payload.
    pub const fn empty(kind: FrameType) -> Self {
        Self { kind, len: 0 }
    }

    /// A frame to be sent. Once its header is out, all of its payload has to follow.
    pub fn with_payload(kind: FrameType, len: usize) -> Result<Self, UnsendableLength> {
        match u32::try_from(len) {
            Ok(short) if len != 1 && len <= MAX_SENT_PAYLOAD => Ok(Self { kind, len: short }),
            _ => Err(UnsendableLength(len)),
        }
    }

    /// Reads a received header. The type may be unknown, the length may be one.
    pub fn decode(bytes: [u8; HEADER_LEN]) -> Result<Self, FrameTooLong> {
        let [t0, t1, t2, t3, l0, l1, l2, l3] = bytes;
        let kind = FrameType::from_code(u32::from_be_bytes([t0, t1, t2, t3]));
        let len = u32::from_be_bytes([l0, l1, l2, l3]);
        if len > MAX_RECEIVED_PAYLOAD {
            return Err(FrameTooLong { kind, len });
        }
        Ok(Self { kind, len })
    }

    /// The header as sent.
    pub const fn encode(self) -> [u8; HEADER_LEN] {
        let [t0, t1, t2, t3] = self.kind.code().to_be_bytes();
        let [l0, l1, l2, l3] = self.len.to_be_bytes();
        [t0, t1, t2, t3, l0, l1, l2, l3]
    }

    /// What the frame is.
    pub fn kind(self) -> FrameType {
        self.kind
    }

    /// How many payload bytes follow.
    pub fn payload_len(self) -> u32 {
        self.len
    }

    /// Whether the frame says nothing but that the peer is alive. Such a frame may stand between any two others.
    pub fn is_heartbeat(self) -> bool {
        self.kind == FrameType::Heartbeat
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn types_have_the_numbers_of_the_registry() {
        let registry = [1, 2, 3, 4, 5, 0x1_0000, 0x2_0000, 0x100_0000, 0x1000_0000];
        for (kind, code) in FrameType::KNOWN.into_iter().zip(registry) {
            assert_eq!(kind.code(), code);
            assert_eq!(FrameType::from_code(code), kind);
        }
        assert_eq!(FrameType::from_code(6), FrameType::Unknown(6));
    }

    #[test]
    fn fixed_frames_are_the_golden_bytes() {
        assert_eq!(END, [0, 2, 0, 0, 0, 0, 0, 0]);
        assert_eq!(HEARTBEAT, [1, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(RST, [0x10, 0, 0, 0, 0, 0, 0, 0]);
        assert!(FrameHeader::decode(HEARTBEAT).unwrap().is_heartbeat());
        assert!(!FrameHeader::decode(RST).unwrap().is_heartbeat());
    }

    #[test]
    fn numbers_are_big_endian() {
        let header = FrameHeader::with_payload(FrameType::ZfsStream, 0x1234).unwrap();
        assert_eq!(header.encode(), [0, 0, 0, 5, 0, 0, 0x12, 0x34]);
    }

    #[test]
    fn one_payload_byte_cannot_be_sent() {
        let make = |len| FrameHeader::with_payload(FrameType::ZfsStream, len);
        assert!(make(0).is_ok() && make(2).is_ok() && make(MAX_SENT_PAYLOAD).is_ok());
        assert_eq!(make(1), Err(UnsendableLength(1)));
        assert_eq!(make(MAX_SENT_PAYLOAD + 1), Err(UnsendableLength(524_289)));
        assert!(make(usize::MAX).is_err());
    }

    #[test]
    fn one_payload_byte_can_be_received() {
        let header = FrameHeader::decode([1, 0, 0, 0, 0, 0, 0, 1]).unwrap();
        assert_eq!(header.payload_len(), 1);
    }

    #[test]
    fn more_than_8_mib_are_refused_by_type_and_length() {
        assert!(FrameHeader::decode([0, 0, 0, 5, 0, 0x80, 0, 0]).is_ok());
        let error = FrameHeader::decode([0, 0, 0, 5, 0, 0x80, 0, 1]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "frame of type ZfsStream (0x00000005) has 8388609 payload bytes, at most 8388608 are allowed"
        );
    }

    #[test]
    fn unknown_types_keep_their_number() {
        let bytes = [0x02, 0, 0, 0, 0, 0, 0, 2];
        let header = FrameHeader::decode(bytes).unwrap();
        assert_eq!(header.kind(), FrameType::Unknown(0x0200_0000));
        assert_eq!(header.kind().to_string(), "0x02000000");
        assert_eq!(header.encode(), bytes);
    }

    proptest! {
        #[test]
        fn every_accepted_header_encodes_to_its_bytes(bytes in any::<[u8; HEADER_LEN]>()) {
            let len = u32::from_be_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
            match FrameHeader::decode(bytes) {
                Ok(header) => prop_assert_eq!(header.encode(), bytes),
                Err(error) => prop_assert!(error.len == len && len > MAX_RECEIVED_PAYLOAD),
            }
        }

        #[test]
        fn what_may_be_sent_is_accepted(len in 0_usize..MAX_SENT_PAYLOAD + 9, code in any::<u32>()) {
            if let Ok(header) = FrameHeader::with_payload(FrameType::from_code(code), len) {
                prop_assert_eq!(FrameHeader::decode(header.encode()), Ok(header));
                prop_assert!(header.payload_len() != 1);
            }
        }
    }
}
