//! HTTP/2 frames, as bytes.

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    pub(crate) const DATA: u8 = 0x0;
    pub(crate) const HEADERS: u8 = 0x1;
    pub(crate) const RST_STREAM: u8 = 0x3;
    pub(crate) const SETTINGS: u8 = 0x4;
    pub(crate) const PING: u8 = 0x6;
    pub(crate) const GOAWAY: u8 = 0x7;
    pub(crate) const CONTINUATION: u8 = 0x9;

    pub(crate) const ACK: u8 = 0x1;
    pub(crate) const END_STREAM: u8 = 0x1;
    pub(crate) const END_HEADERS: u8 = 0x4;

    pub(crate) fn new(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Self {
        Self {
            kind,
            flags,
            stream,
            payload: payload.to_vec(),
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let len = u32::try_from(self.payload.len()).expect("short");
        let mut bytes = len.to_be_bytes()[1..].to_vec();
        bytes.extend([self.kind, self.flags]);
        bytes.extend(self.stream.to_be_bytes());
        bytes.extend(&self.payload);
        bytes
    }

    pub(crate) fn is_question(&self, kind: u8) -> bool {
        self.kind == kind && self.flags & Self::ACK == 0
    }

    /// Whether nothing follows on this stream.
    pub(crate) fn is_last(&self) -> bool {
        self.kind == Self::RST_STREAM
            || self.kind <= Self::HEADERS && self.flags & Self::END_STREAM != 0
    }

    /// The error code of RST_STREAM or GOAWAY.
    pub(crate) fn code(&self) -> u32 {
        let at = if self.kind == Self::GOAWAY { 4 } else { 0 };
        u32::from_be_bytes(*self.payload[at..].first_chunk().expect("four bytes"))
    }
}

pub(crate) fn encode(frames: &[Frame]) -> Vec<u8> {
    frames.iter().flat_map(Frame::encode).collect()
}

/// The complete frames at the beginning of these bytes, and how many bytes they take.
pub(crate) fn split(bytes: &[u8]) -> (Vec<Frame>, usize) {
    let mut frames = Vec::new();
    let mut rest = bytes;
    while let [l0, l1, l2, kind, flags, s0, s1, s2, s3, after @ ..] = rest {
        let len = u32::from_be_bytes([0, *l0, *l1, *l2]);
        let Some((payload, next)) = after.split_at_checked(len.try_into().expect("24 bits")) else {
            break;
        };
        let stream = u32::from_be_bytes([*s0, *s1, *s2, *s3]);
        frames.push(Frame::new(*kind, *flags, stream, payload));
        rest = next;
    }
    (frames, bytes.len() - rest.len())
}

/// `:method` POST, `:scheme` http, `:path` of Ping, `content-type`, `te`; by literals alone.
pub(crate) fn request_block(path: &str, content_type: &str, authority: &[u8]) -> Vec<u8> {
    let mut block = b"\x83\x86\x04".to_vec();
    block.push(u8::try_from(path.len()).expect("short"));
    block.extend(path.as_bytes());
    block.extend(authority);
    block.extend(b"\x0f\x10");
    block.push(u8::try_from(content_type.len()).expect("short"));
    block.extend(content_type.as_bytes());
    block.extend(b"\x00\x02te\x08trailers");
    block
}

/// A gRPC message in its frame.
pub(crate) fn data(stream: u32, message: &[u8]) -> Frame {
    let len = u32::try_from(message.len()).expect("short").to_be_bytes();
    let payload = [&[0][..], &len, message].concat();
    Frame::new(Frame::DATA, Frame::END_STREAM, stream, &payload)
}

/// A Ping with the message "!", as a Go client sends it: with an empty authority.
pub(crate) fn ping(stream: u32) -> Vec<Frame> {
    request(stream, "/Replication/Ping", b"\x0a\x01!")
}

pub(crate) fn request(stream: u32, path: &str, message: &[u8]) -> Vec<Frame> {
    let block = request_block(path, "application/grpc", b"\x81");
    vec![
        Frame::new(Frame::HEADERS, Frame::END_HEADERS, stream, &block),
        data(stream, message),
    ]
}
