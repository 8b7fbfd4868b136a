//! The zrepl daemon: so far, everything it decides. A module uses only those to the right of it:
//!
//! ```text
//! rpc ─► config ─► hook, snapshot, prune, transport ─► filter, name ─► interval, go_duration, go_regex
//! ```
//!
//! `version` and `zfs_backend` stand by themselves: which build this is, and how it reaches ZFS.

pub mod bandwidth;
pub mod config;
#[cfg(test)]
mod cpu_time;
pub mod endpoint;
pub mod filter;
pub mod go_duration;
pub mod go_regex;
pub mod hook;
pub mod interval;
pub mod name;
pub mod prune;
pub mod rpc;
pub mod snapshot;
pub mod transport;
pub mod version;
pub mod zfs_backend;
