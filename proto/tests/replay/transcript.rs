//! One direction of a recorded connection, decoded with the crate into rows like those of `expected.tsv`, and encoded again.

use std::collections::VecDeque;
use std::fmt::Write;

use zrepl_proto::banner::{self, Fed, Next};
use zrepl_proto::frame::{END, FrameHeader, FrameType, HEADER_LEN, HEARTBEAT, RST};
use zrepl_proto::label::{LABEL_LEN, Label};
use zrepl_proto::message::{self, Assembly, Event, Kind};
use zrepl_proto::netssh;
use zrepl_proto::reader::{FrameReader, Piece, Truncated};
use zrepl_proto::response::{Endpoint, ResponseHeader};

/// Whose bytes they are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Side {
    Client,
    /// The server's bytes mean what the client asked for.
    Server(Option<Label>, Option<Endpoint>),
}

/// What became of the bytes.
#[derive(Debug)]
pub(crate) struct Transcript {
    side: Side,
    phase: Phase,
    /// Offset of the next byte.
    at: usize,
    /// `offset, length, what` of each element.
    pub(crate) rows: Vec<(usize, usize, String)>,
    /// Everything but opaque bytes, made by our encoders from what was decoded.
    pub(crate) encoded: Vec<u8>,
    /// Opaque bytes after the label.
    pub(crate) opaque: Vec<u8>,
    /// Whether the versions are equal.
    pub(crate) accepted: Option<bool>,
    pub(crate) label: Option<Label>,
    pub(crate) endpoint: Option<Endpoint>,
    /// Messages and streams that ended, completely or with a failure.
    pub(crate) messages: usize,
}

#[derive(Debug)]
enum Phase {
    Greeting(Vec<u8>),
    Banner(banner::Decoder),
    Label(Vec<u8>),
    Frames(Frames),
    Opaque,
}

/// What becomes of the payload of the current frame.
#[derive(Debug, Default)]
enum Use {
    #[default]
    Skip,
    Collect,
    Stream,
}

#[derive(Debug, Default)]
struct Frames {
    reader: FrameReader,
    assembly: Option<Assembly>,
    /// Messages still to come.
    expected: VecDeque<Kind>,
    payload: Use,
    stream: Vec<u8>,
    refused: bool,
}

impl Transcript {
    /// Decodes a file in pieces of `cut` bytes.
    pub(crate) fn of(bytes: &[u8], side: Side, ssh: bool, cut: usize) -> Self {
        let phase = if ssh {
            Phase::Greeting(Vec::new())
        } else {
            Phase::Banner(banner::Decoder::new())
        };
        let mut transcript = Self {
            side,
            phase,
            at: 0,
            rows: Vec::new(),
            encoded: Vec::new(),
            opaque: Vec::new(),
            accepted: None,
            label: None,
            endpoint: match side {
                Side::Client => None,
                Side::Server(_, endpoint) => endpoint,
            },
            messages: 0,
        };
        for mut piece in bytes.chunks(cut) {
            while !piece.is_empty() {
                transcript.step(&mut piece);
            }
        }
        transcript.finish();
        transcript
    }

    fn finish(&mut self) {
        if self.at == 0 {
            self.rows.push((0, 0, "empty".to_owned()));
        }
        if !self.opaque.is_empty() {
            let len = self.opaque.len();
            self.rows.push((self.at - len, len, "opaque".to_owned()));
        }
        let Phase::Frames(frames) = &self.phase else {
            return;
        };
        let cut_off = match frames.reader.end() {
            Ok(()) => 0,
            Err(Truncated::Payload(missing)) => missing as usize,
            Err(error) => panic!("{error}"),
        };
        if let Some((_, len, _)) = self.rows.last_mut() {
            *len -= cut_off;
        }
    }

    fn row(&mut self, start: usize, what: String) {
        self.rows.push((start, self.at - start, what));
    }

    fn step(&mut self, input: &mut &[u8]) {
        let phase = std::mem::replace(&mut self.phase, Phase::Opaque);
        self.phase = match phase {
            Phase::Greeting(bytes) => self.greeting(bytes, input),
            Phase::Banner(decoder) => self.banner(decoder, input),
            Phase::Label(bytes) => self.label(bytes, input),
            Phase::Frames(frames) => self.frames(frames, input),
            Phase::Opaque => {
                self.at += input.len();
                self.opaque.extend_from_slice(std::mem::take(input));
                Phase::Opaque
            }
        };
    }

    fn greeting(&mut self, mut bytes: Vec<u8>, input: &mut &[u8]) -> Phase {
        self.at += fill(&mut bytes, netssh::MESSAGE_LEN, input);
        let Ok(bytes) = <[u8; netssh::MESSAGE_LEN]>::try_from(bytes.as_slice()) else {
            return Phase::Greeting(bytes);
        };
        let message = netssh::Message::decode(&bytes).expect("a greeting");
        let (name, proxy_error) = match message {
            netssh::Message::Helo => ("SSHCON_HELO", false),
            netssh::Message::Begin => ("SSHCON_BEGIN", false),
            netssh::Message::ProxyError => ("SSHCON_PROXY_ERROR", true),
        };
        if self.side != Side::Client {
            assert_eq!(netssh::expect_helo(&bytes).is_err(), proxy_error);
        }
        self.encoded.extend(message.encode());
        self.row(0, format!("netssh {name}"));
        Phase::Banner(banner::Decoder::new())
    }

    fn banner(&mut self, decoder: banner::Decoder, input: &mut &[u8]) -> Phase {
        let Fed { consumed, next } = decoder.feed(input).expect("a banner");
        self.at += consumed;
        *input = &input[consumed..];
        let banner = match next {
            Next::More(decoder) => return Phase::Banner(decoder),
            Next::Done(banner) => banner,
        };
        let start = self.encoded.len();
        let (version, count) = (banner.version(), banner.lines().len());
        self.accepted = Some(banner.accept().is_ok());
        let extensions = banner.accept().unwrap_or_default();
        assert!(banner.accept().is_err() || extensions.iter().len() == count);
        self.encoded
            .extend(banner::encode(&extensions).expect("a short banner"));
        self.row(start, format!("banner {version} {count}"));
        match self.side {
            Side::Client => Phase::Label(Vec::new()),
            Side::Server(Some(Label::Data), _) => {
                Phase::Frames(Frames::expecting([Kind::ResHeader]))
            }
            Side::Server(..) => Phase::Opaque,
        }
    }

    fn label(&mut self, mut bytes: Vec<u8>, input: &mut &[u8]) -> Phase {
        self.at += fill(&mut bytes, LABEL_LEN, input);
        let Ok(bytes) = <[u8; LABEL_LEN]>::try_from(bytes.as_slice()) else {
            return Phase::Label(bytes);
        };
        let text = String::from_utf8_lossy(&bytes);
        self.row(
            self.at - LABEL_LEN,
            format!("label {}", text.trim_end_matches('\0')),
        );
        self.label = Label::decode(&bytes).ok();
        self.encoded.extend(self.label.map_or(bytes, Label::encode));
        match self.label {
            Some(Label::Data) => {
                Phase::Frames(Frames::expecting([Kind::ReqHeader, Kind::ReqStructured]))
            }
            _ => Phase::Opaque,
        }
    }

    fn frames(&mut self, mut frames: Frames, input: &mut &[u8]) -> Phase {
        let before = input.len();
        let piece = frames.reader.next(input).expect("short frames");
        self.at += before - input.len();
        match piece {
            Some(Piece::Header(header)) => {
                let start = self.at - HEADER_LEN;
                let len = header.payload_len() as usize + HEADER_LEN;
                let what = self.frame(&mut frames, header);
                self.rows.push((start, len, what));
            }
            Some(Piece::Payload(payload)) => match frames.payload {
                Use::Skip => {}
                Use::Collect => {
                    let assembly = frames.assembly.as_mut().expect("it asked for this");
                    assembly.collect(payload).expect("announced");
                }
                Use::Stream => frames.stream.extend_from_slice(payload),
            },
            None => {}
        }
        Phase::Frames(frames)
    }

    fn frame(&mut self, frames: &mut Frames, header: FrameHeader) -> String {
        let name = match header.kind() {
            FrameType::Unknown(code) => format!("{code:#010x}"),
            known => format!("{known:?}"),
        };
        let mut what = format!("frame {name} {}", header.payload_len());
        frames.payload = Use::Skip;
        if frames.refused {
            return what;
        }
        if frames.assembly.is_none() {
            frames.assembly = frames.expected.pop_front().map(Assembly::new);
        }
        let event = match &mut frames.assembly {
            Some(assembly) => assembly.header(header),
            None if header.is_heartbeat() => Ok(Event::Heartbeat { skip: 0 }),
            None if header.kind() == FrameType::Rst => Ok(Event::Rst { skip: 0 }),
            None => panic!("{header:?} after the last message"),
        };
        match event {
            Ok(Event::Payload { .. }) => frames.payload = Use::Stream,
            Ok(Event::Collect { .. }) => frames.payload = Use::Collect,
            Ok(Event::Heartbeat { .. }) => self.encoded.extend(HEARTBEAT),
            Ok(Event::Rst { .. }) => self.encoded.extend(RST),
            Ok(Event::End { .. }) => {
                let assembly = frames.assembly.take().expect("it has ended");
                let kind = assembly.kind();
                let body = assembly.into_body().expect("it has ended");
                let stream = std::mem::take(&mut frames.stream);
                self.ended(frames, &mut what, kind, &[body, stream].concat());
            }
            Ok(Event::Failed { text, .. }) => {
                frames.assembly = None;
                let stream = std::mem::take(&mut frames.stream);
                let sent = message::encode(Kind::ZfsStream, &stream).expect("a stream");
                let without_end = sent.strip_suffix(&END).expect("ends");
                self.encoded.extend_from_slice(without_end);
                self.encoded.extend(message::encode_failure(&text));
                self.messages += 1;
                let (len, hash) = (stream.len(), fnv(&stream));
                write!(what, " fails ZfsStream {len} {hash} {}", quoted(&text)).expect("a string");
            }
            Err(error) => {
                frames.refused = true;
                write!(what, " refused {}", quoted(&error.to_string())).expect("a string");
            }
        }
        what
    }

    fn ended(&mut self, frames: &mut Frames, what: &mut String, kind: Kind, body: &[u8]) {
        self.messages += 1;
        let mut own = body.to_vec();
        match kind {
            Kind::ReqHeader => {
                self.endpoint = Endpoint::decode(body).ok();
                if let Some(endpoint) = self.endpoint {
                    own = endpoint.path().as_bytes().to_vec();
                }
            }
            Kind::ReqStructured if self.endpoint.is_some_and(Endpoint::request_has_stream) => {
                frames.expected.push_back(Kind::ZfsStream);
            }
            Kind::ResHeader => {
                let header = ResponseHeader::decode(body).expect("a response");
                own = header.encode();
                if header == ResponseHeader::Ok {
                    frames.expected.push_back(Kind::ResStructured);
                }
            }
            Kind::ResStructured if self.endpoint.is_some_and(Endpoint::response_has_stream) => {
                frames.expected.push_back(Kind::ZfsStream);
            }
            Kind::ReqStructured | Kind::ResStructured | Kind::ZfsStream => {}
        }
        self.encoded
            .extend(message::encode(kind, &own).expect("within the limits"));
        let content = match kind {
            Kind::ReqHeader | Kind::ResHeader => {
                quoted(std::str::from_utf8(body).expect("recorded texts are UTF-8"))
            }
            _ => format!("{} {}", body.len(), fnv(body)),
        };
        write!(what, " ends {kind:?} {content}").expect("a string");
    }
}

impl Frames {
    fn expecting<const N: usize>(kinds: [Kind; N]) -> Self {
        Self {
            expected: kinds.into(),
            ..Self::default()
        }
    }
}

/// Moves bytes from the front of `input` until there are `want`; says how many.
fn fill(bytes: &mut Vec<u8>, want: usize, input: &mut &[u8]) -> usize {
    let take = (want - bytes.len()).min(input.len());
    bytes.extend_from_slice(&input[..take]);
    *input = &input[take..];
    take
}

/// As JSON quotes it.
fn quoted(text: &str) -> String {
    let mut json = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => json.extend(['\\', c]),
            '\n' => json.push_str("\\n"),
            '\t' => json.push_str("\\t"),
            c => json.push(c),
        }
    }
    json + "\""
}

/// FNV-1a, 64 bits.
fn fnv(bytes: &[u8]) -> String {
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    });
    format!("{hash:016x}")
}
