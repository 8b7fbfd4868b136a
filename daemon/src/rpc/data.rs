//! Data connections: one request each, with the stream that belongs to it.
//!
//! ```text
//! client, server                 what is asked and answered (spec: wire-protocol.md 6.7 to 6.9)
//!   remote_stream, pump          streams, and moving them out of and into pipes
//!     connection                 both directions together: the orderly end
//!       input, output            frames, each direction for itself: timeouts, heartbeats
//!         Wire                   bytes
//! ```
//!
//! No task belongs to a connection as such: whoever works on it drives both directions, and sends heartbeats while it waits for
//! something else ([`Output::while_waiting`]). Only where the connection is lent out, so that nobody may be driving it, a
//! [`keeper`] does that.

pub mod client;
pub mod connection;
mod error;
pub mod input;
mod keeper;
mod outgoing;
pub mod output;
pub mod pump;
mod remote_stream;
pub mod server;

use std::time::Duration;

pub use error::ConnectionError;
pub use input::Input;
pub use output::Output;

/// A side that has written no frame for so long sends a heartbeat. Wire constant (`dataconn_shared.go`).
pub const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(5);
/// A connection on which no byte moves for so long is lost. Wire constant (`dataconn_shared.go`).
pub const IDLE_LIMIT: Duration = Duration::from_secs(10);
/// How long the orderly end of a connection may take. Wire constant (`dataconn_shared.go`).
pub const CLOSE_LIMIT: Duration = Duration::from_secs(10);

/// How patient a side is with a peer that is alive and achieves nothing. zrepl 0.7.0 has no such limits: heartbeats
/// alone keep its connections open for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// For a client to say what it wants. Clients do that at once.
    pub request: Duration,
    /// Between two bytes of a stream. A sender or receiver may be busy for long within a stream: with a large range of freed
    /// blocks, or waiting for its disks.
    pub stream: Duration,
    /// For a server to answer, once it has the whole request. Creating holds and finishing a receive take their time.
    pub answer: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            request: Duration::from_secs(60),
            stream: Duration::from_secs(30 * 60),
            answer: Duration::from_secs(4 * 60 * 60),
        }
    }
}
