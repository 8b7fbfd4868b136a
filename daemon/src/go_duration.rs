//! go_duration
