//! Names that users give and that end up in the names of datasets, bookmarks and holds.

pub mod client_identity;
pub mod component;
pub mod job;

pub use client_identity::ClientIdentity;
pub use job::JobName;
