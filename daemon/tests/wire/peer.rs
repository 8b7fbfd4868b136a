//! The other end of a connection, played by hand. Bytes go out as a test wants them; what comes back is taken apart by a decoder
//! of its own, so that a mistake in ours does not hide itself.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, ReadHalf, WriteHalf};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use zrepl_daemon::endpoint::Endpoint;
use zrepl_daemon::rpc::data::Patience;
use zrepl_daemon::rpc::data::client::Dialled;
use zrepl_daemon::rpc::data::connection::Connection;
use zrepl_daemon::rpc::data::server::{self, Served, Serving};
use zrepl_daemon::rpc::metrics::Metrics;
use zrepl_daemon::transport::Wire;

pub(crate) const REQ_HEADER: u32 = 1;
pub(crate) const REQ_STRUCTURED: u32 = 2;
pub(crate) const RES_HEADER: u32 = 3;
pub(crate) const RES_STRUCTURED: u32 = 4;
pub(crate) const STREAM: u32 = 5;
pub(crate) const TRAILER: u32 = 0x0001_0000;
pub(crate) const END: u32 = 0x0002_0000;
pub(crate) const HEARTBEAT: u32 = 0x0100_0000;
pub(crate) const RST: u32 = 0x1000_0000;
const HEARTBEAT_FRAME: [u8; 8] = [1, 0, 0, 0, 0, 0, 0, 0];

/// One frame.
pub(crate) fn frame(code: u32, payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len()).expect("a short payload");
    [&code.to_be_bytes(), &len.to_be_bytes(), payload].concat()
}

/// A frame, if there is a payload, and the end.
pub(crate) fn message(code: u32, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    if !body.is_empty() {
        bytes = frame(code, body);
    }
    bytes.extend(frame(END, &[]));
    bytes
}

/// The two messages of a request.
pub(crate) fn request(path: &str, body: &impl prost::Message) -> Vec<u8> {
    let header = message(REQ_HEADER, path.as_bytes());
    [header, message(REQ_STRUCTURED, &body.encode_to_vec())].concat()
}

/// The two messages of an answer that says yes.
pub(crate) fn yes(body: &impl prost::Message) -> Vec<u8> {
    let header = message(RES_HEADER, b"HANDLER OK\n");
    [header, message(RES_STRUCTURED, &body.encode_to_vec())].concat()
}

/// An answer that says no.
pub(crate) fn no(text: &str) -> Vec<u8> {
    message(RES_HEADER, format!("HANDLER ERROR:\n{text}").as_bytes())
}

/// How a message or a stream ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    End,
    Failed(String),
    Missing,
}

/// A message or a stream.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) code: u32,
    pub(crate) body: Vec<u8>,
    pub(crate) ending: Ending,
}

/// Shows the beginning of the body only.
impl std::fmt::Debug for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let start = String::from_utf8_lossy(&self.body[..self.body.len().min(80)]);
        let len = self.body.len();
        write!(
            f,
            "{:#x} of {len} bytes {start:?} {:?}",
            self.code, self.ending
        )
    }
}

/// Everything that one side said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) parts: Vec<Part>,
    pub(crate) heartbeats: usize,
    pub(crate) rst: bool,
    /// Frames with one payload byte.
    pub(crate) lone: usize,
    /// Whether the last frame is incomplete.
    pub(crate) torn: bool,
    /// Longest payload.
    pub(crate) longest: usize,
}

/// Whose words they are; a server's words mean what the client asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speaker {
    Client,
    Server { sends: bool },
}

impl Said {
    pub(crate) fn decode(bytes: &[u8], speaker: Speaker) -> Self {
        let mut said = Self::default();
        let mut expected = VecDeque::from(match speaker {
            Speaker::Client => vec![REQ_HEADER, REQ_STRUCTURED],
            Speaker::Server { .. } => vec![RES_HEADER],
        });
        let mut part: Option<Part> = None;
        let mut trailer: Option<Vec<u8>> = None;
        let mut rest = bytes;
        while !rest.is_empty() {
            let Some((head, body)) = rest.split_at_checked(8) else {
                said.torn = true;
                break;
            };
            let number =
                |at: usize| u32::from_be_bytes(head[at..at + 4].try_into().expect("four bytes"));
            let (code, len) = (number(0), number(4) as usize);
            let payload = &body[..len.min(body.len())];
            rest = &body[payload.len()..];
            said.torn = payload.len() < len;
            said.lone += usize::from(len == 1);
            said.longest = said.longest.max(len);
            match code {
                HEARTBEAT => said.heartbeats += 1,
                RST => said.rst = true,
                TRAILER => trailer.get_or_insert_default().extend(payload),
                END => {
                    let code = expected.pop_front().unwrap_or_default();
                    let mut ended = part.take().unwrap_or_else(|| Part::new(code));
                    ended.ending = trailer.take().map_or(Ending::End, |text| {
                        Ending::Failed(String::from_utf8_lossy(&text).into())
                    });
                    said.parts.push(ended);
                    said.expect_more(speaker, &mut expected);
                }
                code => part
                    .get_or_insert_with(|| Part::new(code))
                    .body
                    .extend(payload),
            }
        }
        said.parts.extend(part);
        said
    }

    fn expect_more(&self, speaker: Speaker, expected: &mut VecDeque<u32>) {
        match (speaker, self.parts.as_slice()) {
            (Speaker::Client, [header, _]) if header.body == b"/v1/recv" => {
                expected.push_back(STREAM);
            }
            (Speaker::Server { .. }, [header]) if header.body.starts_with(b"HANDLER OK\n") => {
                expected.push_back(RES_STRUCTURED);
            }
            (Speaker::Server { sends: true }, [_, _]) => expected.push_back(STREAM),
            _ => {}
        }
    }

    /// Whether a server has said all that a client can expect.
    pub(crate) fn is_whole_answer(&self, sends: bool) -> bool {
        let ended = self
            .parts
            .iter()
            .filter(|part| part.ending != Ending::Missing);
        match self.parts.first() {
            Some(header) if header.body.starts_with(b"HANDLER OK\n") => {
                ended.count() == if sends { 3 } else { 2 }
            }
            Some(_) => ended.count() == 1,
            None => false,
        }
    }

    /// The text of an answer that says no.
    pub(crate) fn refusal(&self) -> Option<String> {
        let header = self.parts.first()?;
        let text = header.body.strip_prefix(b"HANDLER ERROR:\n")?;
        Some(String::from_utf8_lossy(text).into())
    }

    /// The stream, if there is one.
    pub(crate) fn stream(&self) -> Option<&Part> {
        self.parts.iter().find(|part| part.code == STREAM)
    }
}

impl Part {
    fn new(code: u32) -> Self {
        Self {
            code,
            body: Vec::new(),
            ending: Ending::Missing,
        }
    }
}

/// The other end of a connection.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) reader: ReadHalf<DuplexStream>,
    pub(crate) writer: WriteHalf<DuplexStream>,
}

impl Peer {
    fn new(end: DuplexStream) -> Self {
        let (reader, writer) = tokio::io::split(end);
        Self { reader, writer }
    }

    /// Writes, in pieces of `cut` bytes. An error means that we do not listen any more.
    pub(crate) async fn say_in_pieces(&mut self, bytes: &[u8], cut: usize) -> io::Result<()> {
        for piece in bytes.chunks(cut) {
            self.writer.write_all(piece).await?;
            // Whoever reads gets this piece by itself.
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    pub(crate) async fn say(&mut self, bytes: &[u8]) {
        self.writer.write_all(bytes).await.expect("we listen");
    }

    /// Says that no more bytes come.
    pub(crate) async fn half_close(&mut self) {
        self.writer.shutdown().await.expect("in memory");
    }

    /// Everything up to the end.
    pub(crate) async fn hear_all(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.reader
            .read_to_end(&mut bytes)
            .await
            .expect("in memory");
        bytes
    }

    /// A whole request, with its stream if it has one. Or as much as comes.
    pub(crate) async fn hear_request(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        loop {
            let said = Said::decode(&bytes, Speaker::Client);
            let receives = said.parts.first().is_some_and(|it| it.body == b"/v1/recv");
            let ended = said
                .parts
                .iter()
                .filter(|part| part.ending != Ending::Missing);
            if ended.count() == if receives { 3 } else { 2 } {
                return bytes;
            }
            if self.reader.read_buf(&mut bytes).await.expect("in memory") == 0 {
                return bytes;
            }
        }
    }

    /// Says RST when the other side has ended, and closes; returns what was heard.
    pub(crate) async fn hear_and_close(mut self) -> Vec<u8> {
        let bytes = self.hear_all().await;
        let _ = self.writer.write_all(&frame(RST, &[])).await;
        self.half_close().await;
        bytes
    }

    /// Says these bytes again and again, until we do not listen any more; says how many bytes that were.
    pub(crate) async fn repeat(&mut self, bytes: &[u8], every: Duration) -> u64 {
        let mut said = 0;
        while self.writer.write_all(bytes).await.is_ok() {
            said += bytes.len() as u64;
            if every.is_zero() {
                tokio::task::yield_now().await;
            } else {
                tokio::time::sleep(every).await;
            }
        }
        said
    }

    /// Waits, with a heartbeat every four seconds.
    pub(crate) async fn live(&mut self, for_so_long: Duration) {
        let heartbeats = self.repeat(&HEARTBEAT_FRAME, Duration::from_secs(4));
        let _ = tokio::time::timeout(for_so_long, heartbeats).await;
    }

    /// Heartbeats, and nothing else, while it hears everything up to the end.
    pub(crate) async fn live_and_hear(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let beating = async {
            loop {
                tokio::time::sleep(Duration::from_secs(4)).await;
                let _ = self.writer.write_all(&HEARTBEAT_FRAME).await;
            }
        };
        tokio::select! {
            () = beating => {}
            result = self.reader.read_to_end(&mut bytes) => { result.expect("in memory"); }
        }
        bytes
    }
}

/// Our server at the other end of the returned one.
pub(crate) fn served(
    endpoint: Arc<impl Endpoint + 'static>,
    patience: Patience,
    buffer: usize,
) -> (Peer, JoinHandle<Served>) {
    let (ours, theirs) = tokio::io::duplex(buffer);
    let connection = Connection::new(Wire::from(ours), &patience, Metrics::new());
    let serving = Serving {
        patience,
        stop: CancellationToken::new(),
    };
    let task =
        tokio::spawn(
            async move { server::serve(connection, "the client", endpoint, &serving).await },
        );
    (Peer::new(theirs), task)
}

/// What our client needs, connected to the returned end.
pub(crate) fn dialled(patience: Patience, buffer: usize) -> (Peer, Connection, Dialled) {
    let (ours, theirs) = tokio::io::duplex(buffer);
    let connection = Connection::new(Wire::from(ours), &patience, Metrics::new());
    let dialled = Dialled {
        peer: "the server".into(),
        patience,
        stop: CancellationToken::new(),
    };
    (Peer::new(theirs), connection, dialled)
}

/// Paused time jumps to the next timer whenever nothing can run, and a pipe that becomes readable is noticed only then: this
/// keeps the jumps short.
pub(crate) fn short_steps(step: Duration) {
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(step).await;
        }
    });
}
