//! The zrepl daemon, in the order in which things flow: the configuration says which jobs there are; jobs take snapshots
//! (with hooks around them), replicate over a transport, and prune. A module uses only those below it.

pub mod client_identity;
pub mod config;
pub mod filter;
pub mod go_duration;
pub mod go_regex;
pub mod hook;
pub mod interval;
pub mod job;
pub mod path_component;
pub mod prune;
pub mod snapshot;
pub mod transport;
pub mod version;
pub mod zfs_backend;
