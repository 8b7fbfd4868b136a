//! What passes between the two sides.

pub mod control;
pub mod data;
pub mod handshake;
pub mod metrics;
