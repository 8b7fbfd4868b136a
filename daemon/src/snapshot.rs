//! When snapshots are taken and how they are called.
//!
//! ```text
//! periodic ─┐
//!           ├─► next ─► schedule ─► whoever takes snapshots ─► progress ─► report
//! cron ─────┘              ▲
//!                      wall_clock
//! ```
//!
//! `periodic` and `cron` decide, and know the time only as an argument; `schedule` waits.

pub mod cron;
pub mod cron_spec;
mod go_layout;
mod location;
pub mod naming;
pub mod next;
pub mod periodic;
pub mod progress;
pub mod report;
pub mod schedule;
