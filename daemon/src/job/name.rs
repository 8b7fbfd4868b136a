//! Job names.
