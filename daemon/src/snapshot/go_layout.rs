//! go_layout
