//! A global read lock in MySQL or MariaDB during the snapshot: `FLUSH TABLES WITH READ LOCK` before, `UNLOCK TABLES` after.
//!
//! The lock belongs to the connection that took it, so one connection is kept from one edge to the other, and losing it is an
//! error of the post edge: tables may have been written while the snapshot was taken. zrepl 0.7.0 unlocks through a pool, where a
//! fresh connection succeeds in unlocking nothing. However a connection is given up, it is closed at once, and the lock goes with
//! it.

mod address;

use std::time::Duration;

use mysql_async::Conn;
use mysql_async::prelude::Queryable;

use super::patience::{GivenUp, Patience};
use crate::config::snapshotting::MysqlHook;
use address::Address;
pub(super) use address::AddressError;

/// A server.
#[derive(Debug)]
pub(super) struct LockTables {
    address: Address,
    timeout: Duration,
    /// The longest that the lock may have to be held.
    longest: Duration,
}

/// Why the lock could not be taken, or was not held until the end.
#[derive(Debug, thiserror::Error)]
pub(super) enum LockError {
    /// The server cannot be reached, or refuses the login.
    #[error("cannot connect to {server}")]
    Connect {
        /// As configured, without secrets.
        server: String,
        /// Why not.
        source: Cause,
    },
    /// It took too long, or the job is being stopped.
    #[error(
        "{reason}: the connection to {server} was closed, which gives up the lock; a statement that runs for long makes the lock wait"
    )]
    GivenUp {
        /// As configured, without secrets.
        server: String,
        /// Why.
        reason: GivenUp,
    },
    /// The lock is gone.
    #[error(
        "the connection to {server} that held the lock was lost: tables may have been written during the snapshot"
    )]
    Lost {
        /// As configured, without secrets.
        server: String,
        /// How.
        source: Cause,
    },
    /// The user may not.
    #[error("the user may not lock all tables on {server}: GRANT RELOAD ON *.* to it")]
    NotAllowed {
        /// As configured, without secrets.
        server: String,
        /// What the server says.
        source: Cause,
    },
    /// The statement failed.
    #[error("{server} refuses")]
    Statement {
        /// As configured, without secrets.
        server: String,
        /// What the server says.
        source: Cause,
    },
}

/// What the driver or the server says. The driver's own errors repeat the text of their causes, so it is the innermost of them.
type Cause = Box<dyn std::error::Error + Send + Sync>;

fn cause(error: mysql_async::Error) -> Cause {
    use mysql_async::{Error, IoError};

    match error {
        Error::Driver(error) => error.into(),
        Error::Io(IoError::Io(error)) => error.into(),
        Error::Other(error) => error,
        Error::Server(error) => error.into(),
        Error::Url(error) => error.into(),
    }
}

/// What the hook is called in the log.
pub(super) const NAME: &str = "MySQL FLUSH TABLES WITH READ LOCK";

pub(super) const LOCK: &str = "FLUSH TABLES WITH READ LOCK";
pub(super) const UNLOCK: &str = "UNLOCK TABLES";

/// More than a snapshot takes, even of a pool that is very busy.
const SNAPSHOT: Duration = Duration::from_secs(600);

/// As servers like it: some accept no more than this in `wait_timeout`, others a year.
fn in_seconds(duration: Duration) -> u64 {
    duration.as_secs().clamp(1, 2_147_483)
}

/// What the status shows of a lock that was not taken.
pub(super) fn report_failed(error: &str) -> String {
    format!("{LOCK}: {error}")
}

/// How long the end of a connection that has done its work may take.
const FAREWELL: Duration = Duration::from_secs(1);

/// A connection that holds the lock, or waits for it. Dropping it closes it, in a task of the driver's that waits for no answer: the
/// server then notices within a second that nobody wants the lock any more.
#[derive(Debug)]
pub(super) struct Lock(Conn);

impl LockTables {
    /// `all_edges` is what all hooks of the job may take together.
    pub(super) fn new(config: &MysqlHook, all_edges: Duration) -> Result<Self, AddressError> {
        Ok(Self {
            address: Address::new(&config.dsn)?,
            timeout: config.timeout.duration(),
            longest: all_edges.saturating_add(SNAPSHOT),
        })
    }

    /// Takes the lock.
    pub(super) async fn before(&self, patience: Patience<'_>) -> Result<Lock, LockError> {
        match patience.within(self.lock()).await {
            Ok(result) => result,
            Err(reason) => Err(self.given_up(reason)),
        }
    }

    /// Gives the lock back.
    pub(super) async fn after(&self, lock: Lock, patience: Patience<'_>) -> Result<(), LockError> {
        let mut lock = lock;
        match patience.within(lock.execute(UNLOCK)).await {
            Ok(Ok(())) => {
                lock.farewell().await;
                Ok(())
            }
            Ok(Err(error)) if error.is_fatal() => Err(LockError::Lost {
                server: self.server(),
                source: cause(error),
            }),
            Ok(Err(error)) => Err(self.refused(error)),
            Err(reason) => Err(self.given_up(reason)),
        }
    }

    async fn lock(&self) -> Result<Lock, LockError> {
        let connection = Conn::new(self.address.options());
        let connection = connection.await.map_err(|error| LockError::Connect {
            server: self.server(),
            source: cause(error),
        })?;
        let mut lock = Lock(connection);
        // Lest the server goes on waiting for the lock after we have given up, and writers behind it.
        let wait = in_seconds(self.timeout.saturating_add(Duration::from_secs(1)));
        let mut statements = vec![format!("SET SESSION lock_wait_timeout = {wait}")];
        if !self.address.has_wait_timeout() {
            // A host that loses its power or its network closes no connection: the lock would stay for as long as the server waits for
            // another statement, which is 8 hours unless somebody has changed that. Nor may the server lose patience before the post
            // edge, so it is told to wait for all that may come before it.
            let idle = in_seconds(self.longest);
            statements.push(format!("SET SESSION wait_timeout = {idle}"));
        }
        statements.push(LOCK.to_owned());
        for statement in statements {
            lock.execute(&statement)
                .await
                .map_err(|error| self.refused(error))?;
        }
        Ok(lock)
    }

    fn refused(&self, error: mysql_async::Error) -> LockError {
        // ER_SPECIFIC_ACCESS_DENIED_ERROR.
        const NO_PRIVILEGE: u16 = 1227;
        let server = self.server();
        let no_privilege = matches!(
            &error,
            mysql_async::Error::Server(error) if error.code == NO_PRIVILEGE
        );
        let source = cause(error);
        if no_privilege {
            LockError::NotAllowed { server, source }
        } else {
            LockError::Statement { server, source }
        }
    }

    fn given_up(&self, reason: GivenUp) -> LockError {
        LockError::GivenUp {
            server: self.server(),
            reason,
        }
    }

    fn server(&self) -> String {
        self.address.to_string()
    }
}

impl Lock {
    async fn execute(&mut self, statement: &str) -> mysql_async::Result<()> {
        tracing::debug!("do {statement}");
        self.0.query_drop(statement).await
    }

    /// Takes leave of the server, which would log a lost connection otherwise.
    async fn farewell(self) {
        tokio::time::timeout(FAREWELL, self.0.disconnect())
            .await
            .ok();
    }
}
