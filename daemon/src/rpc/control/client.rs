//! The active side of a control connection: requests flow out, answers or [`EndpointError`]s come back.
//!
//! There is a connection from the first request on; when it is lost, the next request opens another. A request that was
//! sent is never repeated here: it may have been carried out. What the other side says is told apart from what kept it from
//! saying anything, because only in the second case is it worth asking again.

mod ask;
mod dial;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::OnceCell;
use tokio::time::{sleep, timeout};
use uuid::Uuid;
use zrepl_proto::pdu::{
    DestroySnapshotsReq, DestroySnapshotsRes, ListFilesystemReq, ListFilesystemRes,
    ListFilesystemVersionsReq, ListFilesystemVersionsRes, PingReq, PingRes, ReplicationCursorReq,
    ReplicationCursorRes, SendCompletedReq, SendCompletedRes, SendReq, SendRes,
};

use self::ask::{Method, NoAnswer};
use self::dial::{Connection, DialError};
use crate::endpoint::EndpointError;
use crate::rpc::handshake;
use crate::transport::Connect;

/// grpc-go's waits between two attempts to connect: the first, the factor from one to the next, the longest, and by how many
/// percent each may differ, so that clients which lost the same server do not come back together.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const WAIT_FACTOR: f64 = 1.6;
const LONGEST_WAIT: Duration = Duration::from_secs(120);
const JITTER_PERCENT: u32 = 20;

/// Asks one passive side. Dropping it closes the connection.
pub struct ControlClient {
    connect: Arc<dyn Connect>,
    settings: handshake::Settings,
    current: Mutex<Arc<Attempt>>,
}

/// An attempt to connect, shared by all who wait for it, and the connection that came of it. If the one who makes it gives
/// up, another of those makes it anew.
#[derive(Debug, Default)]
struct Attempt(OnceCell<Result<Connection, Arc<DialError>>>);

impl ControlClient {
    /// Does not connect yet.
    pub fn new(connect: Arc<dyn Connect>, settings: handshake::Settings) -> Self {
        Self {
            connect,
            settings,
            current: Mutex::default(),
        }
    }

    /// All filesystems that take part.
    pub async fn list_filesystems(
        &self,
        request: ListFilesystemReq,
    ) -> Result<ListFilesystemRes, EndpointError> {
        self.ask(Method::LIST_FILESYSTEMS, &request).await
    }

    /// Snapshots and bookmarks of one filesystem.
    pub async fn list_filesystem_versions(
        &self,
        request: ListFilesystemVersionsReq,
    ) -> Result<ListFilesystemVersionsRes, EndpointError> {
        self.ask(Method::LIST_FILESYSTEM_VERSIONS, &request).await
    }

    /// Destroys snapshots of one filesystem.
    pub async fn destroy_snapshots(
        &self,
        request: DestroySnapshotsReq,
    ) -> Result<DestroySnapshotsRes, EndpointError> {
        self.ask(Method::DESTROY_SNAPSHOTS, &request).await
    }

    /// How far a filesystem has been replicated.
    pub async fn replication_cursor(
        &self,
        request: ReplicationCursorReq,
    ) -> Result<ReplicationCursorRes, EndpointError> {
        self.ask(Method::REPLICATION_CURSOR, &request).await
    }

    /// What a send would send.
    pub async fn send_dry(&self, request: SendReq) -> Result<SendRes, EndpointError> {
        self.ask(Method::SEND_DRY, &request).await
    }

    /// Tells that a step has arrived.
    pub async fn send_completed(
        &self,
        request: SendCompletedReq,
    ) -> Result<SendCompletedRes, EndpointError> {
        self.ask(Method::SEND_COMPLETED, &request).await
    }

    /// Gets the message back, in time or not at all.
    pub async fn ping(&self, message: &str, limit: Duration) -> Result<String, EndpointError> {
        let request = PingReq {
            message: message.to_owned(),
        };
        let method = Method::PING.within(limit);
        match timeout(limit, self.ask::<_, PingRes>(method, &request)).await {
            Ok(answer) => Ok(answer?.echo),
            Err(_) => Err(self.no_answer(method, format!("no answer within {limit:?}"))),
        }
    }

    /// The same, but connects again and again, with growing pauses, until there is an answer or the time is over.
    pub async fn ping_when_ready(
        &self,
        message: &str,
        limit: Duration,
    ) -> Result<String, EndpointError> {
        let mut last = None;
        let attempts = async {
            let mut wait = FIRST_WAIT;
            loop {
                match self.ping(message, limit).await {
                    Err(error) if error.is_temporary() => last = Some(error),
                    result => return result,
                }
                sleep(jittered(wait)).await;
                wait = wait.mul_f64(WAIT_FACTOR).min(LONGEST_WAIT);
            }
        };
        match timeout(limit, attempts).await {
            Ok(result) => result,
            Err(_) => Err(last.unwrap_or_else(|| {
                self.no_answer(Method::PING, format!("no answer within {limit:?}"))
            })),
        }
    }

    async fn ask<Q: Request, A: Answer>(
        &self,
        method: Method,
        request: &Q,
    ) -> Result<A, EndpointError> {
        request
            .check()
            .map_err(|error| self.not_asked(method, error))?;
        // A connection can have been lost without anybody's notice: then the request was not sent, and a new one is tried.
        let (attempt, no_answer) = loop {
            let (attempt, reused) = self.current();
            let connection = attempt.0.get_or_init(|| self.dial()).await;
            let connection = connection
                .as_ref()
                .map_err(|error| self.not_connected(method, error))?;
            let no_answer = match connection.ask(method, request).await {
                Ok(answer) => return Ok(answer),
                Err(no_answer) => no_answer,
            };
            if matches!(no_answer, NoAnswer::NotSent(_)) && reused {
                self.forget(&attempt);
                continue;
            }
            break (attempt, no_answer);
        };
        if no_answer.is_loss() {
            self.forget(&attempt);
        }
        Err(self.explain(method, no_answer))
    }

    async fn dial(&self) -> Result<Connection, Arc<DialError>> {
        Connection::dial(self.connect.as_ref(), &self.settings)
            .await
            .map_err(Arc::new)
    }

    /// The attempt to use, and whether it is one that others have used before. One that failed is over for those who did not
    /// wait for it.
    fn current(&self) -> (Arc<Attempt>, bool) {
        let mut current = self.lock();
        let is_over = match current.0.get() {
            None => false,
            Some(Ok(connection)) => connection.is_over(),
            Some(Err(_)) => true,
        };
        if is_over {
            *current = Arc::default();
        }
        (Arc::clone(&current), current.0.initialized())
    }

    fn forget(&self, attempt: &Arc<Attempt>) {
        let mut current = self.lock();
        if Arc::ptr_eq(&current, attempt) {
            *current = Arc::default();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Arc<Attempt>> {
        // Nothing panics while it is held; whatever is in it is whole.
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn context(&self, method: Method) -> String {
        format!("{} at {} failed", method.name(), self.connect.target())
    }

    fn not_connected(&self, method: Method, error: &Arc<DialError>) -> EndpointError {
        let context = self.context(method);
        let source = Box::new(Arc::clone(error));
        if error.is_permanent() {
            EndpointError::Protocol { context, source }
        } else {
            EndpointError::Unreachable { context, source }
        }
    }

    fn not_asked(&self, method: Method, error: zrepl_proto::pdu::PduError) -> EndpointError {
        EndpointError::Protocol {
            context: format!("{} is not sent to {}", method.name(), self.connect.target()),
            source: error.into(),
        }
    }

    fn no_answer(&self, method: Method, text: String) -> EndpointError {
        EndpointError::Unreachable {
            context: self.context(method),
            source: text.into(),
        }
    }

    fn explain(&self, method: Method, no_answer: NoAnswer) -> EndpointError {
        let context = self.context(method);
        match no_answer {
            NoAnswer::Failed(text) => EndpointError::Failed(text),
            NoAnswer::NotSent(text)
            | NoAnswer::Lost(text)
            | NoAnswer::TimedOut(text)
            | NoAnswer::Unavailable(text) => self.no_answer(method, text),
            NoAnswer::Protocol(source) => EndpointError::Protocol { context, source },
        }
    }
}

impl fmt::Debug for ControlClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ControlClient")
            .field("connect", &self.connect)
            .finish_non_exhaustive()
    }
}

/// A message that goes out.
trait Request: zrepl_proto::pdu::Check + Clone + Send + Sync + 'static {}

impl<M: zrepl_proto::pdu::Check + Clone + Send + Sync + 'static> Request for M {}

/// A message that comes in.
trait Answer: zrepl_proto::pdu::Check + Default {}

impl<M: zrepl_proto::pdu::Check + Default> Answer for M {}

fn jittered(wait: Duration) -> Duration {
    let [random, ..] = Uuid::new_v4().into_bytes();
    let percent = 100 - JITTER_PERCENT + u32::from(random) * 2 * JITTER_PERCENT / 255;
    wait * percent / 100
}
