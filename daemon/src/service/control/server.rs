//! The control socket's server: connections flow in, each with one request after another. Nobody can hold one for longer than the
//! limits allow, nor more than [`CONNECTIONS`] of them.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use super::answer::{Answer, answer, unreadable};
use super::socket::ControlSocket;
use super::write_limit::WriteLimit;
use super::{Controlled, Limits};
use crate::causes::chain;

/// How many connections there may be at a time; others wait.
const CONNECTIONS: usize = 64;
/// The longest request that is read: a hundred times what one needs.
const LONGEST_BODY: usize = 64 << 10;
/// After an error of the socket itself, such as too many open files.
const PAUSE: Duration = Duration::from_millis(200);

/// Answers until `stop` is cancelled. Requests in progress are answered before it returns.
pub async fn serve(
    socket: ControlSocket,
    daemon: Arc<dyn Controlled>,
    limits: Limits,
    stop: CancellationToken,
) {
    let span = tracing::error_span!("job", job = "_control");
    let connections = TaskTracker::new();
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let accepting = async {
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else {
                return;
            };
            match socket.file.listener.accept().await {
                Ok((stream, _)) => {
                    let conversation = converse(stream, Arc::clone(&daemon), limits, stop.clone());
                    let task = async move {
                        conversation.await;
                        drop(place);
                    };
                    connections.spawn(task.instrument(span.clone()));
                }
                Err(error) => report(&error).await,
            }
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = accepting.instrument(span.clone()) => {}
    }
    connections.close();
    // Also of those who read one byte at a time.
    timeout(limits.read + limits.write, connections.wait())
        .await
        .ok();
    drop(socket);
    span.in_scope(|| tracing::info!("control job finished"));
}

async fn report(error: &io::Error) {
    tracing::error!(err = %error, "cannot accept connections, will try again");
    sleep(PAUSE).await;
}

async fn converse<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    daemon: Arc<dyn Controlled>,
    limits: Limits,
    stop: CancellationToken,
) {
    let io = TokioIo::new(WriteLimit::new(stream, limits.write));
    let service = service_fn(move |request| {
        let daemon = Arc::clone(&daemon);
        async move { Ok::<_, Infallible>(respond(request, &*daemon, limits.read).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.read)
        .title_case_headers(true)
        .serve_connection(io, service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        // Among them: clients that go away, and those that keep a connection open and say no more.
        tracing::debug!(err = %chain(&error), "control connection ended");
    }
}

async fn respond(
    request: Request<Incoming>,
    daemon: &dyn Controlled,
    limit: Duration,
) -> Response<Full<Bytes>> {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    // Asked for every second by those who watch.
    let is_logged = path != "/status";
    if is_logged {
        tracing::debug!(%method, url = %path, "start");
    }
    let answer = match body(request, limit).await {
        Ok(body) => answer(&path, &body, daemon),
        Err(answer) => answer,
    };
    if is_logged {
        tracing::debug!(%method, url = %path, "finish");
    }
    let is_unknown = answer.status == StatusCode::NOT_FOUND;
    let mut response = Response::new(Full::new(Bytes::from(answer.body)));
    *response.status_mut() = answer.status;
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    if is_unknown {
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    }
    response
}

async fn body(request: Request<Incoming>, limit: Duration) -> Result<Bytes, Answer> {
    let body = Limited::new(request.into_body(), LONGEST_BODY);
    match timeout(limit, body.collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            Err(unreadable("http: request body too large"))
        }
        Ok(Err(error)) => Err(unreadable(chain(&*error))),
        Err(_) => Err(unreadable("the request's body did not come in time")),
    }
}

#[cfg(test)]
mod tests;
