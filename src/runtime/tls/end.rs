//! The end of a thread: the key whose destructor frees its blocks, in the last round of such destructors (the essay in
//! `tls.rs` says why).
//!
//! Invariant: under the key a thread has its own state, which is freed once and only here.

use super::{THREAD, Thread};
use crate::error::ErrorKind;
use crate::sync::Lazy;
use std::ffi::c_void;
use std::ptr;

/// The pthread key whose destructor frees a thread's blocks; made once, with the first module.
///
/// # Errors
/// The process has as many keys as there can be. It may have fewer later, so that this is not remembered.
pub(super) fn exit_key() -> Result<libc::pthread_key_t, ErrorKind> {
    static KEY: Lazy<libc::pthread_key_t> = Lazy::new();
    if let Some(&key) = KEY.get() {
        return Ok(key);
    }
    let mut key = 0;
    // SAFETY: the destructor takes what `Thread::current` stores under the key.
    match unsafe { libc::pthread_key_create(&raw mut key, Some(leave)) } {
        0 => {}
        error => {
            let source = std::io::Error::from_raw_os_error(error);
            return Err(ErrorKind::System { call: "pthread_key_create", size: 0, source });
        }
    }
    let unused = |second| {
        // SAFETY: nobody else has seen this key.
        unsafe { libc::pthread_key_delete(second) };
    };
    Ok(*KEY.get_or_make(|| key, unused))
}

/// Rounds of key destructors that a thread's end has: POSIX asks for 4 at least, and every system has just that.
pub(super) const ROUNDS: u32 = 4;

/// The key's destructor: stays on until the last round, then frees.
unsafe extern "C" fn leave(thread: *mut c_void) {
    let thread = thread.cast::<Thread>();
    // SAFETY: the key holds this thread's own state, which only this function frees.
    let rounds = unsafe {
        (*thread).rounds += 1;
        (*thread).rounds
    };
    // SAFETY: the key is live for the rest of the process.
    let stay = |key| unsafe { libc::pthread_setspecific(key, thread.cast()) } == 0;
    if rounds == ROUNDS || !exit_key().is_ok_and(stay) {
        THREAD.set(ptr::null_mut());
        // SAFETY: the fast path does not find it any more, and all destructors that could use a block have run.
        unsafe { Thread::free(thread) };
    }
}
