//! Values whose text has its own grammar: parsed once, with errors that say what was found and what is allowed.

pub mod data_size;
pub mod host_port;
pub mod integer;
pub mod path;
