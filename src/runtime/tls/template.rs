//! The bytes from which the C library makes each new thread's static thread-locals, and the change of some of them.
//!
//! **Invariant.** What is changed are bytes of a reserve: initial bytes of a thread-local of this very process that
//! nobody reads but the C library, which copies them. Pages that were read-only before are so after; nothing but whole
//! pages around the bytes is ever made writable, and none is executable.

use super::reserve::Slice;
use crate::addr::RunAddr;
use crate::error::ErrorKind;
use crate::platform::unix;
use crate::runtime::host::HostImages;
use std::ptr;

/// Makes `bytes` the initial value of a slice in the threads that are created from now on.
///
/// # Errors
/// The system refuses the protection that the write needs.
///
/// # Safety
/// The slice is as long as `bytes`, and taken; the caller has the lock of the reserves.
pub(super) unsafe fn write(slice: &Slice, bytes: &[u8], host: &HostImages) -> Result<(), ErrorKind> {
    let at = slice.template;
    // Initial thread-locals are part of RELRO in all but static executables of old.
    let sealed = host.sealed_pages(at, slice.size);
    if let Some((start, size)) = sealed {
        // SAFETY: data of an image that is never unloaded; nobody writes to it who did not before.
        unsafe { unix::protect_data(start, size, true) }?;
    }
    // SAFETY: the bytes belong to the slice's owner, and can be written to now. A thread that is being created may copy
    // them at this moment: it is written to like all others.
    unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), pointer(at), bytes.len()) };
    if let Some((start, size)) = sealed {
        // SAFETY: as they were before.
        let seal = || unsafe { unix::protect_data(start, size, false) };
        // Once more, should it fail: it is an error all the same, but they do not stay writable if that can be helped.
        seal().inspect_err(|_| drop(seal()))?;
    }
    Ok(())
}

/// Whether `size` bytes at `at` all are `byte`.
///
/// # Safety
/// They are readable.
pub(super) unsafe fn is_filled(at: RunAddr, size: u64, byte: u8) -> bool {
    // SAFETY: readable says the caller; a shared static or thread-local is read byte by byte, without a reference to it.
    (0..size as usize).all(|index| unsafe { pointer(at).add(index).read_volatile() } == byte)
}

fn pointer(at: RunAddr) -> *mut u8 {
    ptr::with_exposed_provenance_mut(at.0 as usize)
}
