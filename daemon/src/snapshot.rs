//! When snapshots are taken and how they are called.

pub mod cron_spec;
mod go_layout;
mod location;
pub mod naming;
