//! Safe access to ZFS.
