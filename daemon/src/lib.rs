//! The zrepl daemon. A module uses only those to the right of it:
//!
//! ```text
//! service ─► job ─► rpc, replication ─► endpoint ─► bandwidth, hook, transport ─► config ─► snapshot, prune ─► filter, name
//!                                                                                          ─► interval, go_duration, go_regex
//! ```
//!
//! But `config` also reads addresses of clients, of databases, and certificates, with the parts of `transport` and `hook` that know
//! no sockets: `ip_map`, `tls::files` and `dsn`. TLS to databases uses what `transport::tls` knows of certificates.
//!
//! `status` is what others see of all that. `socket_file`, `version`, `zfs_backend`, `environment`, `wall_clock`, `go_time` and
//! `causes` stand by themselves: which build this is, how it reaches ZFS, what the environment changes, waiting for a time, times
//! in JSON, and errors in one line.

pub mod bandwidth;
pub mod causes;
pub mod config;
#[cfg(test)]
mod cpu_time;
pub mod endpoint;
pub mod environment;
pub mod filter;
pub mod go_duration;
pub mod go_regex;
mod go_time;
pub mod hook;
pub mod interval;
pub mod job;
pub mod name;
pub mod prune;
pub mod pruner;
pub mod replication;
pub mod rpc;
pub mod service;
pub mod snapshot;
mod socket_file;
pub mod status;
pub mod transport;
pub mod version;
pub mod wall_clock;
pub mod zfs_backend;
