//! Bytes of zrepl's wire protocol, version 7: bytes in, values out. No sockets, no ZFS.
//!
//! A connection carries, in this order: the version banner of both sides, the [`label`] of the client, and then either
//! gRPC (control) or data frames. So far this crate knows the label.

pub mod authority;
pub mod label;
pub mod pdu;
