//! A checkpoint in PostgreSQL before the snapshot, so that a restored copy has less to replay; nothing after it. What the
//! configuration says of the server flows in at the start of the daemon, a connection lives for one checkpoint.

mod address;
mod tls;

use std::time::Duration;

use super::patience::{GivenUp, Patience};
use crate::config::snapshotting::PostgresHook;
use crate::environment::Variables;
use address::Address;
use address::AddressError;

/// A server.
#[derive(Debug)]
pub(super) struct Checkpoint {
    address: Address,
    timeout: Duration,
}

/// Why there was no checkpoint.
#[derive(Debug, thiserror::Error)]
pub(super) enum CheckpointError {
    /// The server cannot be reached, or refuses the login.
    #[error("cannot connect to {server}")]
    Connect {
        /// As configured, without secrets.
        server: String,
        /// Why not.
        source: tokio_postgres::Error,
    },
    /// It took too long, or the job is being stopped.
    #[error("{reason}; the server {server} may still be at work on it")]
    GivenUp {
        /// As configured, without secrets.
        server: String,
        /// Why.
        reason: GivenUp,
    },
    /// The user may not.
    #[error(
        "the user may not execute {STATEMENT} on {server}: grant it pg_checkpoint (PostgreSQL 15 and later) or SUPERUSER"
    )]
    NotAllowed {
        /// As configured, without secrets.
        server: String,
        /// What the server says.
        source: tokio_postgres::Error,
    },
    /// The statement failed.
    #[error("{STATEMENT} failed on {server}")]
    Statement {
        /// As configured, without secrets.
        server: String,
        /// What the server says.
        source: tokio_postgres::Error,
    },
}

/// What the hook is called in the log.
pub(super) const NAME: &str = "postgres checkpoint";

const STATEMENT: &str = "CHECKPOINT";

/// What the status shows of a checkpoint that failed.
pub(super) fn report_failed(error: &str) -> String {
    format!("postgres CHECKPOINT failed: {error}")
}

/// How long the end of a connection that has done its work may take.
const FAREWELL: Duration = Duration::from_secs(1);

impl Checkpoint {
    pub(super) fn new(
        config: &PostgresHook,
        variables: Variables<'_>,
    ) -> Result<Self, AddressError> {
        Ok(Self {
            address: Address::new(&config.dsn, variables)?,
            timeout: config.timeout.duration(),
        })
    }

    pub(super) async fn before(&self, patience: Patience<'_>) -> Result<(), CheckpointError> {
        match patience.within(self.checkpoint()).await {
            Ok(result) => result,
            Err(reason) => Err(CheckpointError::GivenUp {
                server: self.server(),
                reason,
            }),
        }
    }

    async fn checkpoint(&self) -> Result<(), CheckpointError> {
        let (client, mut connection) =
            self.address
                .connect()
                .await
                .map_err(|source| CheckpointError::Connect {
                    server: self.server(),
                    source,
                })?;
        // Lest the server goes on for long after we have given up.
        let milliseconds = self.timeout.as_millis().clamp(1, i32::MAX as u128);
        let work = async move {
            client
                .batch_execute(&format!("SET statement_timeout TO {milliseconds}"))
                .await?;
            tracing::info!("execute CHECKPOINT command");
            client.batch_execute(STATEMENT).await
        };
        tokio::pin!(work);
        let mut open = true;
        let result = tokio::select! {
            biased;
            result = &mut work => result,
            // Its error says more than that of the statement.
            ended = &mut connection => {
                open = false;
                match ended {
                    Ok(()) => work.await,
                    Err(error) => Err(error),
                }
            }
        };
        if open {
            tokio::time::timeout(FAREWELL, connection).await.ok();
        }
        result.map_err(|source| {
            let server = self.server();
            if source.code() == Some(&tokio_postgres::error::SqlState::INSUFFICIENT_PRIVILEGE) {
                CheckpointError::NotAllowed { server, source }
            } else {
                CheckpointError::Statement { server, source }
            }
        })
    }

    fn server(&self) -> String {
        self.address.to_string()
    }
}
