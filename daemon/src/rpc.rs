//! What passes between the two sides.

pub mod bandwidth;
