//! What is replicated, and in which order: listings of both sides flow in, steps with their reasons flow out. Everything here
//! is a decision: nothing asks an endpoint, looks at the clock or waits, so that status, dry runs and tests see the same plan
//! as the daemon that carries it out. Two promises hold for every plan: guids decide what is the same, names never do; and
//! no step needs anything to be destroyed on the receiver.
//!
//! A module uses only those to the right of it:
//!
//! ```text
//! schedule ─► plan ─► attempt, resume, resolution, incremental_path ─► conflict, step ─► version
//! ```

pub mod attempt;
pub mod conflict;
pub mod driver;
pub mod incremental_path;
pub mod plan;
pub mod report;
pub mod resolution;
pub mod resume;
pub mod schedule;
pub mod step;
pub mod version;

#[cfg(test)]
mod model;
