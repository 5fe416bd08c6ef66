//! What images for macOS register for the end: their own, that of a thread, that of the process. The system's functions
//! find out whose a handler is by asking dyld, which knows nothing of loaded images; so these are bound instead.
//!
//! Invariant: a handler gets to the system's list under the header of the image that it lies in, and is called from there
//! before that image is unmapped.

use super::counted;
use crate::addr::RunAddr;
use crate::registry::REGISTRY;
use std::ffi::{c_int, c_void};

unsafe extern "C" {
    fn __cxa_atexit(function: unsafe extern "C" fn(*mut c_void), object: *mut c_void, image: *const c_void) -> c_int;
    fn __cxa_finalize(image: *const c_void);
}

/// Lazy pointers are bound when an image is loaded, so nobody gets here.
pub(super) extern "C" fn stub_binder() {
    eprintln!("sideload: dyld_stub_binder was called, though nothing is bound lazily");
    std::process::abort()
}

/// `_tlv_atexit`: a destructor of a thread-local.
///
/// # Safety
/// `destructor` is a function that takes `object`, and both outlive the thread.
pub(super) unsafe extern "C" fn at_thread_exit(destructor: counted::Destructor, object: *mut c_void) {
    // SAFETY: as the caller promises.
    unsafe { counted::at_thread_exit(destructor, object) };
}

/// `atexit`: of the image that the function lies in, as there. The host's may be no function that can be bound to.
///
/// # Safety
/// The function can be called when the process ends, or its image is unloaded.
pub(super) unsafe extern "C" fn at_exit(function: unsafe extern "C" fn()) -> c_int {
    unsafe extern "C" fn call(function: *mut c_void) {
        // SAFETY: it is what `at_exit` was given.
        let function = unsafe { std::mem::transmute::<*mut c_void, unsafe extern "C" fn()>(function) };
        // SAFETY: as its caller promised.
        unsafe { function() };
    }
    let owner = REGISTRY.at(RunAddr(function as *const () as u64));
    let image = owner.and_then(|(instance, _)| Some(instance.module.plan.exit_handle()? + instance.bias()));
    let image = std::ptr::with_exposed_provenance(image.map_or(0, |at| at.0 as usize));
    // SAFETY: as the caller promises; the address of an image's header names the image.
    unsafe { __cxa_atexit(call, function as *mut c_void, image) }
}

/// Calls what an image registered for its end, in reverse: `exit` calls what is left.
///
/// # Safety
/// The handlers' code is there, and nothing uses the image any more.
pub(crate) unsafe fn run_exit_handlers(image: RunAddr) {
    // SAFETY: as the caller promises. The host's list names images by any address that they passed it.
    unsafe { __cxa_finalize(std::ptr::with_exposed_provenance(image.0 as usize)) };
}
