//! go_regex
