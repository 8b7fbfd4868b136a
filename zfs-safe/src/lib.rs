//! Safe access to ZFS.

pub mod begin_record;
mod byte_order;
pub mod cli;
pub mod counters;
pub mod errno;
pub mod error;
pub mod group_commit;
pub mod guid;
pub mod name;
#[cfg(feature = "native")]
pub mod native;
pub mod nvlist;
pub mod outcome;
pub mod program;
pub mod property;
mod reason;
pub mod resume_token;
pub mod stream;
pub mod version;
pub mod version_memory;
pub mod zfs;

pub use crate::error::{Result, ZfsError};
pub use crate::outcome::Outcome;
pub use crate::zfs::Zfs;
