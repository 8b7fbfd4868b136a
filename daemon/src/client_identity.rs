//! client_identity
