//! The daemon's control socket: a request goes out as JSON over HTTP on a UNIX socket, an answer comes back or an error
//! that says what to do. One request per connection. Nothing that answers can make a command wait longer than the limit or
//! hold more than [`MAX_ANSWER`] bytes.
//!
//! The daemon may be a zrepl 0.7.0: it looks at the path and the body only, and answers in `text/plain`.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use tokio::net::UnixStream;

/// The longest answer that is read. The status of a thousand filesystems with all their steps takes a few megabytes.
const MAX_ANSWER: usize = 64 << 20;

/// How long connecting, asking and being answered may take together. The daemon itself gives up after a second.
const LIMIT: Duration = Duration::from_secs(5);

/// Where a daemon is reached.
#[derive(Clone, Debug)]
pub(crate) struct ControlSocket {
    path: PathBuf,
    limit: Duration,
    max_answer: usize,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SocketError {
    /// No connection.
    #[error(
        "cannot connect to the zrepl daemon at {path}: {error}{}",
        advice(error)
    )]
    Connect {
        path: PathBuf,
        // Part of the text, which is one sentence with its advice; so not a source.
        error: io::Error,
    },
    /// Not in time.
    #[error(
        "the zrepl daemon at {path} did not answer within {limit:?}; is it stopped or overloaded, and is `control.sockpath` \
         its socket?"
    )]
    Timeout { path: PathBuf, limit: Duration },
    /// A connection that ended early, or something that is not HTTP.
    #[error("no usable answer from the zrepl daemon at {path}: {reason}")]
    Exchange { path: PathBuf, reason: String },
    /// More than anybody needs.
    #[error("the answer of the zrepl daemon at {path} has more than {limit} bytes")]
    TooLong { path: PathBuf, limit: usize },
    /// The daemon's own words.
    #[error("{message}")]
    Refused { message: String },
    /// JSON, but not what was asked for, or no JSON.
    #[error(
        "cannot understand what the zrepl daemon at {path} answers to {endpoint}: {reason}; is it a zrepl daemon?"
    )]
    Malformed {
        path: PathBuf,
        endpoint: &'static str,
        reason: serde_json::Error,
    },
}

/// What to try when there is no connection.
fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            "; is the daemon running, and with the same `control.sockpath`?"
        }
        io::ErrorKind::PermissionDenied => "; run this as the user that the daemon runs as",
        _ => "",
    }
}

impl ControlSocket {
    /// The socket at `path`.
    pub(crate) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            limit: LIMIT,
            max_answer: MAX_ANSWER,
        }
    }

    /// Asks and waits for the answer.
    pub(crate) fn post<A: DeserializeOwned>(
        &self,
        endpoint: &'static str,
        question: &impl Serialize,
    ) -> Result<A, SocketError> {
        let answer = self.post_for_bytes(endpoint, question)?;
        serde_json::from_slice(&answer).map_err(|reason| self.malformed(endpoint, reason))
    }

    /// The same, for an answer that is JSON and is wanted as it came.
    pub(crate) fn post_for_json(
        &self,
        endpoint: &'static str,
        question: &impl Serialize,
    ) -> Result<Bytes, SocketError> {
        let answer = self.post_for_bytes(endpoint, question)?;
        let checked: Result<IgnoredAny, _> = serde_json::from_slice(&answer);
        match checked {
            Ok(_) => Ok(answer),
            Err(reason) => Err(self.malformed(endpoint, reason)),
        }
    }

    fn post_for_bytes(
        &self,
        endpoint: &'static str,
        question: &impl Serialize,
    ) -> Result<Bytes, SocketError> {
        let mut body = serde_json::to_vec(question).map_err(|error| self.exchange(&error))?;
        // As zrepl 0.7.0 sends it.
        body.push(b'\n');
        tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()
            .map_err(|error| self.exchange(&error))?
            .block_on(async {
                tokio::time::timeout(self.limit, self.exchange_bytes(endpoint, body))
                    .await
                    .unwrap_or_else(|_| {
                        Err(SocketError::Timeout {
                            path: self.path.clone(),
                            limit: self.limit,
                        })
                    })
            })
    }

    fn malformed(&self, endpoint: &'static str, reason: serde_json::Error) -> SocketError {
        SocketError::Malformed {
            path: self.path.clone(),
            endpoint,
            reason,
        }
    }

    async fn exchange_bytes(
        &self,
        endpoint: &'static str,
        body: Vec<u8>,
    ) -> Result<Bytes, SocketError> {
        let stream =
            UnixStream::connect(&self.path)
                .await
                .map_err(|error| SocketError::Connect {
                    path: self.path.clone(),
                    error,
                })?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| self.exchange(&error))?;
        // Its errors come out of the request too. It ends with the runtime.
        tokio::spawn(connection);
        let request = Request::post(endpoint)
            .header(header::HOST, "unix")
            .header(
                header::USER_AGENT,
                concat!("zrepl/", env!("CARGO_PKG_VERSION")),
            )
            .header(header::CONNECTION, "close")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| self.exchange(&error))?;
        let response = sender
            .send_request(request)
            .await
            .map_err(|error| self.exchange(&error))?;
        let status = response.status();
        let answer = self.body(response).await?;
        if status == StatusCode::OK {
            return Ok(answer);
        }
        let message = String::from_utf8_lossy(&answer).trim_end().to_owned();
        Err(SocketError::Refused {
            message: if message.is_empty() {
                format!(
                    "the zrepl daemon at {} answers {endpoint} with {status}",
                    self.path.display()
                )
            } else {
                message
            },
        })
    }

    async fn body(&self, response: Response<Incoming>) -> Result<Bytes, SocketError> {
        match Limited::new(response.into_body(), self.max_answer)
            .collect()
            .await
        {
            Ok(collected) => Ok(collected.to_bytes()),
            Err(error) if error.is::<LengthLimitError>() => Err(SocketError::TooLong {
                path: self.path.clone(),
                limit: self.max_answer,
            }),
            Err(error) => Err(self.exchange(error.as_ref())),
        }
    }

    fn exchange(&self, reason: &dyn std::error::Error) -> SocketError {
        SocketError::Exchange {
            path: self.path.clone(),
            reason: describe(reason),
        }
    }
}

/// An error with its causes: hyper's own text leaves them out.
fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
pub(crate) mod tests;
