//! Connections within the daemon: the name of a listener and an identity in, the two ends of a socket pair out. A connection
//! comes about only when the listener takes it, so that a connector never holds one that nobody will serve.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};

use super::time_limit::within;
use super::{BoxFuture, Connect, ConnectError, Incoming, Listener, Peer, TransportError, Wire};
use crate::config::connection::{LocalConnect, LocalServe};
use crate::go_duration::Timeout;
use crate::name::client_identity::ClientIdentity;

/// The listeners of a daemon by name, made once and handed to each job. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct LocalListeners(Arc<Mutex<HashMap<String, Place>>>);

/// Where the connectors of a name meet its listener, whichever comes first.
#[derive(Debug)]
struct Place {
    door: mpsc::Sender<Knock>,
    /// Taken by the listener, and brought back when it ends.
    answering: Option<mpsc::Receiver<Knock>>,
}

/// A connector that waits.
#[derive(Debug)]
struct Knock {
    identity: ClientIdentity,
    /// Closed if it no longer waits.
    answer: oneshot::Sender<UnixStream>,
}

impl Default for Place {
    fn default() -> Self {
        // One waits here, the others where they send: those who give up leave almost nothing behind.
        let (door, answering) = mpsc::channel(1);
        Self {
            door,
            answering: Some(answering),
        }
    }
}

impl LocalListeners {
    fn with<T>(&self, name: &str, f: impl FnOnce(&mut Place) -> T) -> T {
        // Nothing that can panic happens to a place half way.
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        f(places.entry(name.to_owned()).or_default())
    }
}

/// Connects to a listener of the same daemon.
#[derive(Debug)]
pub struct LocalConnector {
    target: String,
    name: String,
    identity: ClientIdentity,
    dial_timeout: Timeout,
    door: mpsc::Sender<Knock>,
}

/// The listener did not answer in time, or there is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("local listener {0:?} not reachable")]
pub struct NotReachable(String);

impl LocalConnector {
    /// Prepares connections. The listener need not be there yet.
    pub fn new(config: &LocalConnect, listeners: &LocalListeners) -> Self {
        Self {
            target: format!("local://{}", config.listener_name),
            name: config.listener_name.clone(),
            identity: config.client_identity.clone(),
            dial_timeout: config.dial_timeout,
            door: listeners.with(&config.listener_name, |place| place.door.clone()),
        }
    }

    async fn knock(&self) -> Option<UnixStream> {
        // A listener that finds no file descriptors for an answer gives none.
        loop {
            let (answer, answered) = oneshot::channel();
            let identity = self.identity.clone();
            self.door.send(Knock { identity, answer }).await.ok()?;
            if let Ok(socket) = answered.await {
                return Some(socket);
            }
        }
    }
}

impl Connect for LocalConnector {
    fn connect(&self) -> BoxFuture<'_, Result<Wire, ConnectError>> {
        Box::pin(async {
            match within(self.dial_timeout.limit(), self.knock()).await {
                Ok(Some(socket)) => Ok(socket.into()),
                Ok(None) | Err(_) => Err(ConnectError::Unreachable {
                    target: self.target.clone(),
                    step: "the connection within the daemon",
                    source: NotReachable(self.name.clone()).into(),
                }),
            }
        })
    }

    fn target(&self) -> &str {
        &self.target
    }
}

/// Listens for connectors of the same daemon. Another one of its name can be made only when it is gone.
#[derive(Debug)]
pub struct LocalListener {
    address: String,
    name: String,
    listeners: LocalListeners,
    /// There until the listener is dropped.
    knocks: Option<mpsc::Receiver<Knock>>,
}

impl LocalListener {
    /// Begins to listen.
    pub fn new(config: &LocalServe, listeners: &LocalListeners) -> Result<Self, TransportError> {
        let name = &config.listener_name;
        let knocks = listeners
            .with(name, |place| place.answering.take())
            .ok_or_else(|| TransportError::LocalNameInUse(name.clone()))?;
        Ok(Self {
            address: format!("local://{name}"),
            name: name.clone(),
            listeners: listeners.clone(),
            knocks: Some(knocks),
        })
    }

    async fn next(&mut self) -> io::Result<Incoming> {
        let knocks = self.knocks.as_mut().expect("taken by drop only");
        loop {
            let knock = knocks.recv().await.expect("the registry has a sender");
            let (ours, theirs) = UnixStream::pair()?;
            // It may have given up.
            if knock.answer.send(theirs).is_err() {
                continue;
            }
            let identity = knock.identity;
            return Ok(Incoming {
                peer: Peer {
                    name: identity.to_string(),
                    origin: identity.to_string(),
                },
                handshake: Box::pin(async move { Ok((ours.into(), identity)) }),
            });
        }
    }
}

impl Listener for LocalListener {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<Incoming>> {
        Box::pin(self.next())
    }

    fn address(&self) -> &str {
        &self.address
    }
}

impl Drop for LocalListener {
    fn drop(&mut self) {
        let knocks = self.knocks.take();
        self.listeners
            .with(&self.name, |place| place.answering = knocks);
    }
}

#[cfg(test)]
mod tests;
