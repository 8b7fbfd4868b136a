//! Declarations only: libzfs_core and libnvpair as their headers have them, and by hand what the installed headers lack:
//! ioctl numbers, the layout of `zfs_cmd_t`, and functions newer than OpenZFS 2.1.
//!
//! Whatever decides or converts lives in `zfs-safe`.

#![cfg_attr(
    feature = "native",
    expect(unsafe_code, reason = "this crate declares foreign functions")
)]

pub mod ioctl;
#[cfg(feature = "native")]
pub mod optional;
pub mod zfs_cmd;

#[cfg(feature = "native")]
pub use nvpair_sys;

/// libzfs_core as OpenZFS 2.1 exports it (soname 3, the same in 2.2 to 2.4).
#[cfg(feature = "native")]
pub mod libzfs_core {
    #![allow(
        missing_debug_implementations,
        non_camel_case_types,
        unnameable_types,
        unreachable_pub,
        clippy::all,
        clippy::pedantic,
        clippy::restriction,
        reason = "generated"
    )]
    include!(concat!(env!("OUT_DIR"), "/libzfs_core.rs"));
}
