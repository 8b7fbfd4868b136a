//! Functions of libzfs_core that are newer than OpenZFS 2.1, found at run time if the installed library has them.

use std::ffi::{CStr, c_char, c_int, c_uint};

use nvpair_sys::{boolean_t::Type as boolean_t, nvlist_t};

use crate::libzfs_core::dmu_replay_record;

/// `lzc_receive_with_heal` (2.2): like `lzc_receive_with_cmdprops` with `heal` after `force`.
pub type LzcReceiveWithHeal = unsafe extern "C" fn(
    snapname: *const c_char,
    props: *mut nvlist_t,
    cmdprops: *mut nvlist_t,
    wkeydata: *mut u8,
    wkeylen: c_uint,
    origin: *const c_char,
    force: boolean_t,
    heal: boolean_t,
    resumable: boolean_t,
    raw: boolean_t,
    input_fd: c_int,
    begin_record: *const dmu_replay_record,
    cleanup_fd: c_int,
    read_bytes: *mut u64,
    errflags: *mut u64,
    action_handle: *mut u64,
    errors: *mut *mut nvlist_t,
) -> c_int;

/// The functions that the installed library has.
#[derive(Clone, Copy, Debug)]
pub struct Optional {
    /// Receive that repairs damaged blocks of an existing snapshot.
    pub lzc_receive_with_heal: Option<LzcReceiveWithHeal>,
}

impl Optional {
    /// Asks the dynamic linker.
    pub fn find() -> Self {
        let heal = address(c"lzc_receive_with_heal");
        // SAFETY: the address is null or that of the function of this name, whose prototype is the one of
        // `libzfs_core.h` from 2.2 on; `Option` of a function pointer has null as `None`.
        let lzc_receive_with_heal =
            unsafe { std::mem::transmute::<*mut libc::c_void, Option<LzcReceiveWithHeal>>(heal) };
        Self {
            lzc_receive_with_heal,
        }
    }
}

fn address(symbol: &CStr) -> *mut libc::c_void {
    // SAFETY: `symbol` is a C string; RTLD_DEFAULT searches the libraries that are loaded already, libzfs_core among
    // them.
    unsafe { libc::dlsym(libc::RTLD_DEFAULT, symbol.as_ptr()) }
}
