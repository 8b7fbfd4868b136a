//! The texts that open a request and its answer on the data plane.
//!
//! Wire constants of zrepl 0.7.0 (`internal/rpc/dataconn`: `dataconn_shared.go`, `dataconn_server.go`): endpoint paths, the
//! two openings of an answer, the text for an unknown endpoint.

use std::fmt;

/// Longest response header that we send. A Go client that receives a longer one waits for ever.
pub const MAX_SENT_RES_HEADER: usize = 32768;

const OK: &[u8] = b"HANDLER OK\n";
const ERROR: &str = "HANDLER ERROR:\n";

/// In place of an error text that is empty.
const NO_TEXT: &str = "unspecified error";

/// What can be requested on a data connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// An echo.
    Ping,
    /// The answer is followed by a stream.
    Send,
    /// The request is followed by a stream.
    Recv,
}

/// A requested endpoint that does not exist. The text is Go's: it is what the peer is told, after its whole request has been
/// read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("requested endpoint does not exist")]
pub struct UnknownEndpoint(String);

impl Endpoint {
    /// All endpoints of zrepl 0.7.0.
    pub const ALL: [Self; 3] = [Self::Ping, Self::Send, Self::Recv];

    /// The request header as sent.
    pub const fn path(self) -> &'static str {
        match self {
            Self::Ping => "/v1/ping",
            Self::Send => "/v1/send",
            Self::Recv => "/v1/recv",
        }
    }

    /// Whether a stream follows the request.
    pub const fn request_has_stream(self) -> bool {
        matches!(self, Self::Recv)
    }

    /// Whether a stream follows a successful answer. A Go client waits for it, even if it is empty.
    pub const fn response_has_stream(self) -> bool {
        matches!(self, Self::Send)
    }

    /// Reads a received request header; it has to be the path exactly.
    pub fn decode(header: &[u8]) -> Result<Self, UnknownEndpoint> {
        let known = Self::ALL
            .into_iter()
            .find(|endpoint| endpoint.path().as_bytes() == header);
        known.ok_or_else(|| UnknownEndpoint(excerpt(header)))
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.path())
    }
}

impl UnknownEndpoint {
    /// What was requested, for the log.
    pub fn requested(&self) -> &str {
        &self.0
    }
}

/// How an answer begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResponseHeader {
    /// The structured response follows.
    Ok,
    /// The request failed with this text; nothing follows.
    HandlerError(String),
}

/// An answer that begins with neither.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("response header {0:?}, expected \"HANDLER OK\\n\" or \"HANDLER ERROR:\\n\" and a text")]
pub struct NotAResponse(String);

impl ResponseHeader {
    /// The header as sent. An error text that does not fit is cut between two characters; an empty one is replaced.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Ok => OK.to_vec(),
            Self::HandlerError(text) => {
                let text = if text.is_empty() { NO_TEXT } else { text };
                [ERROR, cut(text, MAX_SENT_RES_HEADER - ERROR.len())]
                    .concat()
                    .into_bytes()
            }
        }
    }

    /// Reads a received header. Go looks only at the beginning, so text after the OK is ignored; error texts need not be
    /// UTF-8, and may be longer than ours.
    pub fn decode(header: &[u8]) -> Result<Self, NotAResponse> {
        if header.starts_with(OK) {
            return Ok(Self::Ok);
        }
        match header.strip_prefix(ERROR.as_bytes()) {
            Some(text) => Ok(Self::HandlerError(String::from_utf8_lossy(text).into())),
            None => Err(NotAResponse(excerpt(header))),
        }
    }
}

/// The longest beginning of at most `limit` bytes that ends between two characters.
fn cut(text: &str, limit: usize) -> &str {
    let mut end = limit.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

fn excerpt(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(80)]).into_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn error(text: &str) -> ResponseHeader {
        ResponseHeader::HandlerError(text.to_owned())
    }

    #[test]
    fn headers_are_the_golden_bytes() {
        let ok = [
            0x48, 0x41, 0x4e, 0x44, 0x4c, 0x45, 0x52, 0x20, 0x4f, 0x4b, 0x0a,
        ];
        assert_eq!(ResponseHeader::Ok.encode(), ok);
        let failure = error("no such thing").encode();
        assert_eq!(failure, b"HANDLER ERROR:\nno such thing");
        assert_eq!(failure.len(), 0x1c);
    }

    #[test]
    fn endpoints_are_exact() {
        for endpoint in Endpoint::ALL {
            assert_eq!(Endpoint::decode(endpoint.path().as_bytes()), Ok(endpoint));
        }
        for other in [
            "",
            "/v1/sen",
            "/v1/send\n",
            "/v1/send ",
            "/V1/send",
            "/v1/nosuch",
            "v1/send",
        ] {
            let error = Endpoint::decode(other.as_bytes()).unwrap_err();
            assert_eq!(error.to_string(), "requested endpoint does not exist");
            assert_eq!(error.requested(), other);
        }
    }

    #[test]
    fn streams_follow_the_request_of_recv_and_the_answer_of_send() {
        let streams = Endpoint::ALL.map(|it| (it.request_has_stream(), it.response_has_stream()));
        assert_eq!(streams, [(false, false), (false, true), (true, false)]);
    }

    #[test]
    fn text_after_ok_is_ignored() {
        assert_eq!(
            ResponseHeader::decode(b"HANDLER OK\nhint=1"),
            Ok(ResponseHeader::Ok)
        );
    }

    #[test]
    fn other_openings_are_no_response() {
        let others: [&[u8]; 5] = [
            b"",
            b"HANDLER OK",
            b"handler ok\n",
            b"HANDLER ERROR:",
            b"\xff\xff",
        ];
        for other in others {
            assert!(ResponseHeader::decode(other).is_err(), "{other:?}");
        }
        let refused = ResponseHeader::decode(b"HTTP/1.1").unwrap_err().to_string();
        assert!(refused.contains("\"HTTP/1.1\""), "{refused}");
    }

    #[test]
    fn long_texts_are_cut_to_what_go_can_read() {
        assert_eq!(error(&"x".repeat(32753)).encode().len(), 32768);
        assert_eq!(error(&"x".repeat(32754)).encode().len(), 32768);
        // Two bytes each: an odd limit falls inside a character.
        assert_eq!(error(&"\u{e4}".repeat(20_000)).encode().len(), 32767);
    }

    #[test]
    fn an_empty_text_is_not_sent() {
        assert_eq!(error("").encode(), b"HANDLER ERROR:\nunspecified error");
    }

    #[test]
    fn a_longer_text_than_ours_and_one_that_is_not_utf8_are_read() {
        let long = [ERROR.as_bytes(), &vec![b'x'; 40_000]].concat();
        assert_eq!(
            ResponseHeader::decode(&long),
            Ok(error(&"x".repeat(40_000)))
        );
        let binary = ResponseHeader::decode(b"HANDLER ERROR:\n\xffa");
        assert_eq!(binary, Ok(error("\u{fffd}a")));
    }

    proptest! {
        #[test]
        fn sent_headers_fit_and_read_back(text in "\\PC{0,30}", times in 1_usize..1500) {
            let text = text.repeat(times);
            let bytes = error(&text).encode();
            prop_assert!((16..=MAX_SENT_RES_HEADER).contains(&bytes.len()));
            let Ok(ResponseHeader::HandlerError(read)) = ResponseHeader::decode(&bytes) else {
                panic!("not an error")
            };
            prop_assert!(text.is_empty() || text.starts_with(&read));
            prop_assert!(text.len() - read.len().min(text.len()) < 4 || bytes.len() > MAX_SENT_RES_HEADER - 4);
        }

        #[test]
        fn no_bytes_upset_it(bytes in prop::collection::vec(any::<u8>(), 0..50)) {
            let _ = Endpoint::decode(&bytes);
            let _ = ResponseHeader::decode(&bytes);
        }
    }
}
