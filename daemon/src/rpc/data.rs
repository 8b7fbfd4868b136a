//! Data connections: one request each, with the stream that belongs to it.
