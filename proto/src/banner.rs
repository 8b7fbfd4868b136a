//! The version banner: the first thing that each side sends, and the only place where versions are compared.
//!
//! `LEN SP BODY`, where `LEN` is ten decimal digits that count the bytes of `BODY`, and `BODY` is the line
//! `ZREPL_ZFS_REPLICATION PROTOVERSION=0007 EXTENSIONS=NNNN` followed by `NNNN` extension lines. Each side writes its own
//! banner before it reads the other's. The decoder asks for exactly the bytes of the banner, never for what follows it.
//!
//! Wire constants of zrepl 0.7.0 (`internal/rpc/versionhandshake`). Go's decoder reads with scanf; blanks and missing zeros
//! that it lets pass, pass here too, and are never sent.

use crate::extension::Extensions;

/// The version we speak. Go requires equality: 0.6.0 to 0.7.0 all send 7.
pub const PROTOCOL_VERSION: u16 = 7;

/// Bytes before the body: ten digits and a blank.
pub const PREFIX_LEN: usize = 11;

/// Longest body that is accepted, ours and Go's (16 × 4096).
pub const MAX_BODY_LEN: usize = 65536;

/// Longest banner that we send. Both sides write before they read, so a long banner could block on small pipe buffers.
pub const MAX_SENT_LEN: usize = 4096;

const MAGIC: &[u8] = b"ZREPL_ZFS_REPLICATION";
const VERSION_KEY: &[u8] = b"PROTOVERSION=";
const COUNT_KEY: &[u8] = b"EXTENSIONS=";

/// Digits of the length, and of version and count.
const LEN_DIGITS: usize = 10;
const FIELD_DIGITS: usize = 4;

/// Our banner is too long to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("banner with all extensions has {0} bytes, at most {MAX_SENT_LEN} are sent")]
pub struct BannerTooLong(usize);

/// Why a received banner was not understood, or not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BannerError {
    /// The first bytes are not a length; the peer is probably not a zrepl.
    #[error("banner starts with {0:?}, expected a length of ten digits and a blank")]
    Prefix(String),
    /// The announced length is too large.
    #[error("banner body has {0} bytes, at most {MAX_BODY_LEN} are allowed")]
    Length(u64),
    /// The first line of the body is not that of a banner.
    #[error(
        "banner line {0:?}, expected \"ZREPL_ZFS_REPLICATION PROTOVERSION=0007 EXTENSIONS=0000\""
    )]
    Header(String),
    /// The extension lines are not as many as the header says.
    #[error("banner has {found} extension lines, its header says {announced}")]
    ExtensionCount {
        /// Line feeds after the first line.
        found: usize,
        /// The count of the header.
        announced: u16,
    },
    /// Bytes behind the last extension line.
    #[error("banner has {0} bytes after its last line, expected none")]
    TrailingBytes(usize),
    /// The peer speaks another version.
    #[error("protocol versions do not match: ours is {PROTOCOL_VERSION}, theirs is {0}")]
    Version(u16),
}

/// A banner as received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Banner {
    version: u16,
    lines: Vec<Vec<u8>>,
}

/// Our banner, ready to be sent: version 7 with these extensions. Without extensions it is Go's, byte by byte.
pub fn encode(extensions: &Extensions) -> Result<Vec<u8>, BannerTooLong> {
    let mut body = format!(
        "ZREPL_ZFS_REPLICATION PROTOVERSION={PROTOCOL_VERSION:04} EXTENSIONS={:04}\n",
        extensions.iter().len()
    );
    for extension in extensions.iter() {
        body.push_str(&extension.to_string());
        body.push('\n');
    }
    let banner = format!("{:010} {body}", body.len()).into_bytes();
    // The limit also keeps the count within its four digits: no line is shorter than six bytes.
    if banner.len() > MAX_SENT_LEN {
        return Err(BannerTooLong(banner.len()));
    }
    Ok(banner)
}

/// What became of the bytes given to [`Decoder::feed`].
#[derive(Debug)]
#[must_use]
pub struct Fed {
    /// How many of them belong to the banner. The rest is what follows it.
    pub consumed: usize,
    /// Where that leads.
    pub next: Next,
}

/// How to go on after some bytes of a banner.
#[derive(Debug)]
pub enum Next {
    /// More bytes are needed: [`Decoder::needed`] says how many.
    More(Decoder),
    /// The banner is complete.
    Done(Banner),
}

/// Reads a banner from pieces of any size.
///
/// Prefix (11 bytes) → body (as many as the prefix says) → banner. It never holds more than that.
#[derive(Debug)]
pub struct Decoder {
    state: State,
    bytes: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Prefix,
    Body { len: usize },
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Decoder {
    /// A decoder that has seen nothing yet.
    pub fn new() -> Self {
        Self {
            state: State::Prefix,
            bytes: Vec::with_capacity(PREFIX_LEN),
        }
    }

    /// How many bytes can be read from the connection now without reading beyond the banner. Never zero.
    pub fn needed(&self) -> usize {
        let want = match self.state {
            State::Prefix => PREFIX_LEN,
            State::Body { len } => len,
        };
        want - self.bytes.len()
    }

    /// Takes received bytes. An error is final: the connection is to be closed, without an answer.
    pub fn feed(mut self, input: &[u8]) -> Result<Fed, BannerError> {
        let mut consumed = 0;
        loop {
            let take = self.needed().min(input.len() - consumed);
            self.bytes
                .extend_from_slice(&input[consumed..consumed + take]);
            consumed += take;
            if self.needed() > 0 {
                let next = Next::More(self);
                return Ok(Fed { consumed, next });
            }
            match self.state {
                State::Prefix => {
                    let len = parse_prefix(&self.bytes)?;
                    self.bytes.clear();
                    self.state = State::Body { len };
                }
                State::Body { .. } => {
                    let next = Next::Done(parse_body(&self.bytes)?);
                    return Ok(Fed { consumed, next });
                }
            }
        }
    }
}

impl Banner {
    /// The version that the peer speaks.
    pub fn version(&self) -> u16 {
        self.version
    }

    /// The extension lines as received, without line feeds. They may be empty or not UTF-8.
    pub fn lines(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.lines.iter().map(Vec::as_slice)
    }

    /// What the peer announces, if it speaks our version. To be asked only after our own banner has been written: Go
    /// refuses a version after the exchange, not instead of it.
    pub fn accept(&self) -> Result<Extensions, BannerError> {
        if self.version != PROTOCOL_VERSION {
            return Err(BannerError::Version(self.version));
        }
        Ok(Extensions::from_lines(self.lines()))
    }
}

fn parse_prefix(prefix: &[u8]) -> Result<usize, BannerError> {
    let mut scan = Scan(prefix);
    let number = scan.number(LEN_DIGITS);
    let separated = scan.0.is_empty() || scan.blanks() > 0;
    let utf8 = std::str::from_utf8(prefix).is_ok();
    match number {
        Some(len) if separated && utf8 => match usize::try_from(len) {
            Ok(len) if len <= MAX_BODY_LEN => Ok(len),
            _ => Err(BannerError::Length(len)),
        },
        _ => Err(BannerError::Prefix(excerpt(prefix))),
    }
}

fn parse_body(body: &[u8]) -> Result<Banner, BannerError> {
    let end = body.iter().position(|&byte| byte == b'\n');
    let (line, rest) = match end {
        Some(end) => (&body[..end], &body[end + 1..]),
        None => return Err(BannerError::Header(excerpt(body))),
    };
    let (version, announced) =
        parse_header(line).ok_or_else(|| BannerError::Header(excerpt(line)))?;
    if announced == 0 && !rest.is_empty() {
        return Err(BannerError::TrailingBytes(rest.len()));
    }
    let mut lines: Vec<Vec<u8>> = rest
        .split(|&byte| byte == b'\n')
        .map(<[u8]>::to_vec)
        .collect();
    // What follows the last line feed is not a line; it has to be empty.
    let tail = lines.pop().unwrap_or_default();
    if lines.len() != usize::from(announced) {
        let found = lines.len();
        return Err(BannerError::ExtensionCount { found, announced });
    }
    if !tail.is_empty() {
        return Err(BannerError::TrailingBytes(tail.len()));
    }
    Ok(Banner { version, lines })
}

fn parse_header(line: &[u8]) -> Option<(u16, u16)> {
    let mut scan = Scan(line);
    scan.literal(MAGIC)?;
    scan.separator()?;
    scan.literal(VERSION_KEY)?;
    let version = scan.number(FIELD_DIGITS)?;
    scan.separator()?;
    scan.literal(COUNT_KEY)?;
    let count = scan.number(FIELD_DIGITS)?;
    scan.blanks();
    let complete = scan.0.is_empty() && version > 0;
    let fields = (u16::try_from(version).ok()?, u16::try_from(count).ok()?);
    complete.then_some(fields)
}

/// The few rules of Go's scanf that a banner can meet.
struct Scan<'a>(&'a [u8]);

impl Scan<'_> {
    /// Skips blanks and says how many.
    fn blanks(&mut self) -> usize {
        self.skip(|byte| byte == b' ' || byte == b'\t')
    }

    /// At least one blank.
    fn separator(&mut self) -> Option<()> {
        (self.blanks() > 0).then_some(())
    }

    fn literal(&mut self, literal: &[u8]) -> Option<()> {
        self.0 = self.0.strip_prefix(literal)?;
        Some(())
    }

    /// A decimal number of at most `width` digits, after any blanks.
    fn number(&mut self, width: usize) -> Option<u64> {
        self.blanks();
        let text = self.0;
        let digits = self.skip(|byte| byte.is_ascii_digit()).min(width);
        self.0 = &text[digits..];
        std::str::from_utf8(&text[..digits]).ok()?.parse().ok()
    }

    fn skip(&mut self, matches: impl Fn(u8) -> bool) -> usize {
        let count = self.0.iter().take_while(|&&byte| matches(byte)).count();
        self.0 = &self.0[count..];
        count
    }
}

/// Enough of what was received to recognise an HTTP server or a shell.
fn excerpt(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(80)]).into_owned()
}

#[cfg(test)]
mod tests;
