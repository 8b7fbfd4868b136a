//! Declarations of libzfs_core, libnvpair and the ZFS ioctls.
