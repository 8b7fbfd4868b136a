//! A transport in memory: a listener, and what connects to it.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::mpsc;
use zrepl_daemon::name::client_identity::ClientIdentity;
use zrepl_daemon::transport::{
    BoxFuture, Connect, ConnectError, Incoming, Listener, Peer, RefusedPeer, Wire,
};

/// Where peers knock. Clones knock at the same door.
#[derive(Clone, Debug)]
pub(crate) struct Door {
    knock: Arc<Mutex<mpsc::UnboundedSender<Incoming>>>,
    pub(crate) dials: Arc<AtomicUsize>,
    pub(crate) identity: Arc<Mutex<String>>,
}

#[derive(Debug)]
pub(crate) struct MemoryListener(mpsc::UnboundedReceiver<Incoming>);

pub(crate) fn door() -> (Door, MemoryListener) {
    let (knock, knocks) = mpsc::unbounded_channel();
    let door = Door {
        knock: Arc::new(Mutex::new(knock)),
        dials: Arc::default(),
        identity: Arc::new(Mutex::new("client1".into())),
    };
    (door, MemoryListener(knocks))
}

impl Door {
    /// Somebody listens again.
    pub(crate) fn reopen(&self) -> MemoryListener {
        let (knock, knocks) = mpsc::unbounded_channel();
        *self.knock.lock().expect("nobody panicked") = knock;
        MemoryListener(knocks)
    }

    fn sender(&self) -> mpsc::UnboundedSender<Incoming> {
        self.knock.lock().expect("nobody panicked").clone()
    }

    /// A connection of a peer from this origin, as the peer has it; nothing has been said on it.
    pub(crate) fn knock(&self, origin: &str) -> tokio::io::DuplexStream {
        let (ours, theirs) = tokio::io::duplex(64 << 10);
        let identity = self.identity.lock().expect("nobody panicked").clone();
        let incoming = Incoming {
            peer: Peer {
                name: format!("{origin}:1"),
                origin: origin.to_owned(),
            },
            handshake: Box::pin(async move {
                let identity = ClientIdentity::new(&identity).expect("a valid identity");
                Ok((Wire::from(theirs), identity))
            }),
        };
        // Nobody listening is what a refused connection is.
        let _ = self.sender().send(incoming);
        ours
    }
}

impl Door {
    /// A peer from this origin, whom the transport refuses.
    pub(crate) fn knock_refused(&self, origin: &str, refused: RefusedPeer) {
        let incoming = Incoming {
            peer: Peer {
                name: format!("{origin}:1"),
                origin: origin.to_owned(),
            },
            handshake: Box::pin(async { Err(refused) }),
        };
        let _ = self.sender().send(incoming);
    }
}

impl Connect for Door {
    fn connect(&self) -> BoxFuture<'_, Result<Wire, ConnectError>> {
        Box::pin(async {
            self.dials.fetch_add(1, Ordering::Relaxed);
            if self.sender().is_closed() {
                return Err(ConnectError::Unreachable {
                    target: "memory".into(),
                    step: "connecting",
                    source: Box::new(io::Error::from(io::ErrorKind::ConnectionRefused)),
                });
            }
            Ok(Wire::from(self.knock("192.0.2.1")))
        })
    }

    fn target(&self) -> &'static str {
        "memory"
    }
}

impl Listener for MemoryListener {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<Incoming>> {
        Box::pin(async {
            match self.0.recv().await {
                Some(incoming) => Ok(incoming),
                None => std::future::pending().await,
            }
        })
    }

    fn address(&self) -> &'static str {
        "memory"
    }
}
