//! The control connection: gRPC over a wire.
//!
//! The passive side hands wires that carry the label to a [`server`], the active side asks through a [`client`]. Both see the
//! same [`stream`]: HTTP/2 runs over it, and it remembers how the connection ended.

pub mod client;
pub mod server;

mod stream;

use zrepl_proto::extension::Agreement;
use zrepl_proto::pdu::MAX_GO_MESSAGE_LEN;

/// The longest message between two sides of this implementation.
const MAX_MESSAGE_LEN: usize = 64 << 20;

/// HTTP/2's least and default. The authority filter does not look into longer frames.
const MAX_FRAME_LEN: u32 = 16_384;

/// The longest message that this peer takes.
fn max_message_len(agreement: &Agreement) -> usize {
    if agreement.is_empty() {
        MAX_GO_MESSAGE_LEN
    } else {
        MAX_MESSAGE_LEN
    }
}
