//! Which snapshots are kept.
