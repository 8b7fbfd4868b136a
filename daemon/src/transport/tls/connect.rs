//! The connecting side of TLS over TCP.

use std::sync::Arc;
use std::time::Duration;

use rustls::KeyLog;

use super::Client;
use super::failure::TlsFailure;
use super::files::{load_authorities, load_identity};
use super::stream::wire;
use super::trust::Role;
use crate::config::connection::TlsConnect;
use crate::config::value::host_port::HostPort;
use crate::go_duration::Timeout;
use crate::transport::tcp::dial;
use crate::transport::time_limit::{Expired, within};
use crate::transport::{BoxFuture, Connect, ConnectError, TransportError, Wire};

/// As long as zrepl 0.7.0 allows, where the first write does the handshake, within the limit of the version handshake.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);

const STEP: &str = "the TLS handshake";

/// Connects by TLS.
#[derive(Debug)]
pub struct TlsConnector {
    target: String,
    address: HostPort,
    dial_timeout: Timeout,
    handshake_limit: Duration,
    client: Client,
}

impl TlsConnector {
    /// Prepares connections: reads the certificates and the key.
    pub fn new(config: &TlsConnect, key_log: Arc<dyn KeyLog>) -> Result<Self, TransportError> {
        let authorities = load_authorities(config.ca.as_path())?;
        let identity = load_identity(config.cert.as_path(), config.key.as_path())?;
        Ok(Self {
            target: format!("tls://{}", config.address),
            address: config.address.clone(),
            dial_timeout: config.dial_timeout,
            handshake_limit: HANDSHAKE_LIMIT,
            client: super::client(authorities, &identity, &config.server_cn, key_log)?,
        })
    }

    #[cfg(test)]
    pub(super) fn with_handshake_limit(self, handshake_limit: Duration) -> Self {
        Self {
            handshake_limit,
            ..self
        }
    }

    async fn open(&self) -> Result<Wire, ConnectError> {
        let target = || self.target.clone();
        let socket = dial(&self.target, &self.address, self.dial_timeout.limit()).await?;
        let connector = tokio_rustls::TlsConnector::from(Arc::clone(&self.client.config));
        let handshake = connector.connect(self.client.sni.clone(), socket);
        match within(Some(self.handshake_limit), handshake).await {
            Ok(Ok(stream)) => Ok(wire(stream, Role::Server)),
            Ok(Err(error)) => Err(match TlsFailure::of(error, Role::Server) {
                Ok(failure) => ConnectError::Refused {
                    target: target(),
                    step: STEP,
                    source: failure.into(),
                },
                Err(error) => ConnectError::Unreachable {
                    target: target(),
                    step: STEP,
                    source: error.into(),
                },
            }),
            Err(Expired(limit)) => Err(ConnectError::TimedOut {
                target: target(),
                step: STEP,
                limit,
            }),
        }
    }
}

impl Connect for TlsConnector {
    fn connect(&self) -> BoxFuture<'_, Result<Wire, ConnectError>> {
        Box::pin(self.open())
    }

    fn target(&self) -> &str {
        &self.target
    }
}
