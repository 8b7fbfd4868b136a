//! Bytes of zrepl's wire protocol, version 7: bytes in, values out. No sockets, no clocks, no ZFS.
//!
//! A connection carries, in this order: with the ssh transport the [`netssh`] greeting, the version [`banner`] of both
//! sides, the [`label`] of the client, and then either gRPC (control) or data [`frame`]s. Frames are cut out of the byte
//! stream by [`reader`], put together to messages and streams by [`message`], and sized by [`chunk`] when sending.
//! [`response`] is the text that opens an answer. The messages of gRPC, and of requests on data connections, are in [`pdu`];
//! [`authority`] makes what Go clients send acceptable to h2.

pub mod authority;
pub mod banner;
pub mod chunk;
pub mod extension;
pub mod frame;
pub mod label;
pub mod message;
pub mod netssh;
pub mod pdu;
pub mod reader;
pub mod response;
