//! Bytes of the wire.
