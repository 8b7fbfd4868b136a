//! What users write: the configuration file, read, checked and explained.

pub mod value;
