//! What passes between the two sides.
//!
//! ```text
//! client                          server                    both planes together
//!    │                               │ admission            how many strangers may wait
//!    ├── control, data ──────────────┤                      one connection each
//!    └── handshake ──────────────────┘                      banner and label
//!        transport                                          wires
//! ```

pub mod admission;
pub mod client;
pub mod client_info;
pub mod connectivity;
pub mod control;
pub mod data;
pub mod handshake;
pub mod metrics;
pub mod server;

use std::sync::Arc;

pub use self::client_info::Client;
use crate::endpoint::Endpoint;

/// What the passive side offers: to each client its own endpoint.
pub trait Endpoints: Send + Sync {
    /// The endpoint that answers on connections of this client. Asked once for each connection.
    fn endpoint(&self, client: &Client) -> Arc<dyn Endpoint>;
}
