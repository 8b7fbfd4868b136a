//! The zrepl daemon. So far: which build this is, and how it reaches ZFS.

pub mod version;
pub mod zfs_backend;
