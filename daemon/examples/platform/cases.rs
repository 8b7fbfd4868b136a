//! All cases. Each file has those of one topic, and lists them.

use crate::Scenario;

mod base;
mod batches;
mod completion;
mod cursor;
mod encryption;
mod gaps;
mod initial;
mod listing;
mod placeholders;
mod properties;
mod receiving;
mod resumption;
mod send_arguments;
mod send_streams;
mod stale;

/// All of them, in the order in which they run.
pub(crate) fn all() -> impl Iterator<Item = &'static Scenario> {
    [
        batches::LIST,
        listing::LIST,
        receiving::LIST,
        send_streams::LIST,
        cursor::LIST,
        send_arguments::LIST,
        encryption::LIST,
        initial::LIST,
        base::LIST,
        stale::LIST,
        resumption::LIST,
        completion::LIST,
        properties::LIST,
        placeholders::LIST,
        gaps::LIST,
    ]
    .into_iter()
    .flatten()
}
