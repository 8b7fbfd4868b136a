//! Jobs: the units that the configuration names.

pub mod name;
