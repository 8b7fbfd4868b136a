//! The control connection: gRPC over a wire.
