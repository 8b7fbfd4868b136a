//! How the two sides reach each other.

pub mod ip_map;
pub mod tls;
