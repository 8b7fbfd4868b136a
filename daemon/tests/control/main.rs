//! The control connection as a whole: wire, banners, label, authority filter, HTTP/2, gRPC, endpoint. Go's part is played by
//! recordings (`proto/tests/control`), other parts by frames written by hand.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod ask;
mod double;
mod frame;
mod raw;
mod recording;

mod answers;
mod hostile;
mod keepalive;
mod life;
mod log;
#[path = "../log_lines/mod.rs"]
mod log_lines;
mod memory;
mod replay;
