//! Reads of this process's own memory, where an address came from the system loader.
//!
//! Invariant: what is read is mapped and readable. The kernel's auxiliary vector, the system loader's `r_debug` and
//! `link_map`, and the segments of an image that they list are; any other page is asked about first ([`is_readable`]).
//! Where an image may be unloaded meanwhile, the kernel reads for us ([`vanishing`]).

use super::vanishing;
use crate::addr::{MIN_PAGE, RunAddr};
use crate::platform::unix;
use std::ffi::c_char;
use std::ptr;

/// The page that holds an address.
pub(super) fn page_of(at: RunAddr) -> RunAddr {
    RunAddr(at.0 & !(MIN_PAGE - 1))
}

fn pointer<T>(at: RunAddr) -> *const T {
    ptr::with_exposed_provenance(at.0 as usize)
}

/// Reads a `T` that another thread may be writing: once, and without being told that it stays the same.
///
/// # Safety
/// `size_of::<T>()` bytes at `at` are readable, and any bytes are a `T`.
pub(super) unsafe fn read<T: Copy>(at: RunAddr) -> T {
    // SAFETY: the copy has the size that is read from it.
    if let Some(value) = vanishing::scope(|scope| unsafe { read_with_care(scope, at) }) {
        return value;
    }
    let from = pointer::<T>(at);
    if from.is_aligned() {
        // SAFETY: readable says the caller, and aligned as just checked.
        unsafe { from.read_volatile() }
    } else {
        // SAFETY: readable says the caller.
        unsafe { from.read_unaligned() }
    }
}

/// # Safety
/// Any bytes are a `T`.
unsafe fn read_with_care<T: Copy>(scope: &vanishing::Vanishing, at: RunAddr) -> T {
    let mut value = std::mem::MaybeUninit::<T>::zeroed();
    // SAFETY: the bytes are those of the value, and initialised.
    let bytes = unsafe { std::slice::from_raw_parts_mut(value.as_mut_ptr().cast::<u8>(), size_of::<T>()) };
    scope.read(at, bytes);
    // SAFETY: any bytes are a `T`, says the caller.
    unsafe { value.assume_init() }
}

/// Borrows bytes: in place, or for a scope with care, from a copy.
///
/// # Safety
/// `size` bytes at `at` are readable for as long as the slice is used, and nobody writes to them meanwhile. In a scope
/// with care, it is not used after that.
pub(super) unsafe fn borrow(at: RunAddr, size: u64) -> &'static [u8] {
    if size == 0 {
        return &[];
    }
    // SAFETY: the caller does not use the slice after the scope.
    if let Some(copy) = vanishing::scope(|scope| unsafe { scope.keep(at, size) }) {
        return copy;
    }
    // SAFETY: readable and unwritten says the caller; a mapping does not wrap around the address space.
    unsafe { std::slice::from_raw_parts(pointer(at), size as usize) }
}

/// Copies bytes.
///
/// # Safety
/// `size` bytes at `at` are readable.
pub(super) unsafe fn copy(at: RunAddr, size: u64) -> Vec<u8> {
    let mut bytes = vec![0; size as usize];
    if vanishing::scope(|scope| scope.read(at, &mut bytes)).is_some() {
        return bytes;
    }
    // SAFETY: readable says the caller; the destination is as long as what is copied, and new.
    unsafe { ptr::copy_nonoverlapping(pointer(at), bytes.as_mut_ptr(), bytes.len()) };
    bytes
}

/// Copies a C string without its NUL, up to `limit` bytes; nothing where `at` is null.
///
/// # Safety
/// The bytes at `at` up to a NUL, or `limit` of them, are readable.
pub(super) unsafe fn c_string(at: RunAddr, limit: u64) -> Vec<u8> {
    if at.0 == 0 {
        return Vec::new();
    }
    if let Some(text) = vanishing::scope(|scope| vanishing::c_string(scope, at, limit)) {
        return text;
    }
    // SAFETY: strnlen reads up to the NUL or the limit, which are readable says the caller.
    let length = unsafe { libc::strnlen(pointer::<c_char>(at), limit as usize) };
    // SAFETY: these bytes were just read.
    unsafe { copy(at, length as u64) }
}

/// Whether the page at `at` can be read, asked of the kernel: it reads the name of a folder to open there, which is none.
///
/// `openat` answers `EFAULT` for a name that it cannot read, touches no memory of ours, and is a call that an open
/// needs anyway, so that a filter which lets us open files lets this through. Only a folder could be opened, and that
/// has no effect.
pub(super) fn is_readable(at: RunAddr) -> bool {
    if let Some(is_there) = vanishing::scope(|scope| scope.is_there(at)) {
        return is_there;
    }
    unix::can_read(at.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_mapped_pages_are_readable() {
        let here = is_readable as *const () as u64;
        assert!(is_readable(page_of(RunAddr(here))));
        assert!(is_readable(RunAddr(c"/".as_ptr() as u64)), "a folder that exists");
        assert!(!is_readable(RunAddr(0)));
        assert!(!is_readable(RunAddr(0x1000)));
        assert!(!is_readable(RunAddr(u64::MAX - 0xfff)));
    }

    #[test]
    fn strings_end_at_their_nul_or_the_limit() {
        let text = RunAddr(c"abc".as_ptr() as u64);
        // SAFETY: a literal.
        unsafe {
            assert_eq!(c_string(text, 100), b"abc");
            assert_eq!(c_string(text, 2), b"ab");
            assert_eq!(c_string(RunAddr(0), 2), b"");
            assert_eq!(read::<u16>(RunAddr(text.0 + 1)), u16::from_ne_bytes(*b"bc"));
        }
    }
}
