//! What the control socket answers: a path and a body flow in, a status and a text flow out.

use std::borrow::Cow;

use hyper::StatusCode;
use serde::Deserialize as _;

use super::{Controlled, Signal};
use crate::service::go_text::{json, quoted};
use crate::version::Build;

/// An answer. All of them are plain text to HTTP, JSON included: zrepl 0.7.0 leaves that to be guessed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: String,
}

/// Answers a request. The method does not matter.
pub(super) fn answer(path: &str, body: &[u8], daemon: &dyn Controlled) -> Answer {
    match path {
        "/version" => good(&Build::this()),
        "/status" => good(&daemon.status()),
        "/signal" => match decode(body) {
            Ok(request) => signal(&request, daemon),
            Err(text) => bad(StatusCode::BAD_REQUEST, text),
        },
        "/debug/pprof" => failed("this implementation of zrepl has no pprof server"),
        _ => bad(StatusCode::NOT_FOUND, "404 page not found\n"),
    }
}

/// A body that cannot be had.
pub(super) fn unreadable(reason: impl Into<String>) -> Answer {
    bad(StatusCode::BAD_REQUEST, reason)
}

fn good(value: &impl serde::Serialize) -> Answer {
    Answer {
        status: StatusCode::OK,
        body: json(value) + "\n",
    }
}

fn bad(status: StatusCode, body: impl Into<String>) -> Answer {
    Answer {
        status,
        body: body.into(),
    }
}

fn failed(reason: impl Into<String>) -> Answer {
    let reason = reason.into();
    tracing::error!(err = %reason, "control handler error");
    bad(StatusCode::INTERNAL_SERVER_ERROR, reason)
}

fn signal(request: &Request, daemon: &dyn Controlled) -> Answer {
    let signal = match request.op.as_str() {
        "wakeup" => Signal::Wakeup,
        "reset" => Signal::Reset,
        "snapshot" => Signal::Snapshot,
        "prune" => Signal::Prune,
        other => return failed(format!("operation {} is invalid", quoted(other))),
    };
    match daemon.signal(&request.name, signal) {
        Ok(()) => good(&serde_json::Map::new()),
        Err(refused) => failed(refused.to_string()),
    }
}

/// A request for a signal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Request {
    name: String,
    op: String,
}

/// Decodes as leniently as Go: only the first value counts, keys in any case, what is missing is empty.
fn decode(body: &[u8]) -> Result<Request, Cow<'static, str>> {
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let value = serde_json::Value::deserialize(&mut deserializer).map_err(|error| {
        if !error.is_eof() {
            Cow::Owned(error.to_string())
        } else if body.iter().all(u8::is_ascii_whitespace) {
            Cow::Borrowed("EOF")
        } else {
            Cow::Borrowed("unexpected EOF")
        }
    })?;
    let mut request = Request::default();
    let object = match value {
        serde_json::Value::Null => return Ok(request),
        serde_json::Value::Object(object) => object,
        _ => return Err(Cow::Borrowed("the body must be a JSON object")),
    };
    for (key, value) in object {
        let field = if key.eq_ignore_ascii_case("Name") {
            &mut request.name
        } else if key.eq_ignore_ascii_case("Op") {
            &mut request.op
        } else {
            continue;
        };
        match value {
            serde_json::Value::Null => {}
            serde_json::Value::String(text) => *field = text,
            _ => return Err(Cow::Owned(format!("{key} must be a string"))),
        }
    }
    Ok(request)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_decoded_as_go_does() {
        let request = |name: &str, op: &str| {
            Ok(Request {
                name: name.to_owned(),
                op: op.to_owned(),
            })
        };
        for (body, expected) in [
            ("{\"Name\":\"a\",\"Op\":\"reset\"}\n", request("a", "reset")),
            (
                "{\"name\":\"a\",\"OP\":\"reset\",\"X\":[1]} trailing",
                request("a", "reset"),
            ),
            ("{}", request("", "")),
            ("null", request("", "")),
            ("{\"Name\":null}", request("", "")),
            ("", Err("EOF")),
            (" \n", Err("EOF")),
            ("{\"Name\":", Err("unexpected EOF")),
            ("\"x\"", Err("the body must be a JSON object")),
            ("{\"Op\":1}", Err("Op must be a string")),
        ] {
            let decoded = decode(body.as_bytes());
            assert_eq!(
                decoded.as_ref().map_err(AsRef::as_ref),
                expected.as_ref().map_err(|text: &&str| *text),
                "{body}"
            );
        }
        assert!(decode(b"x").expect_err("no JSON").contains("line 1"));
    }
}
