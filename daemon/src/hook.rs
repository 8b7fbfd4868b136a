//! What runs around a snapshot.

pub mod dsn;
