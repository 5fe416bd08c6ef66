//! Thread-local variables as images for macOS use them: a descriptor of three words, { function, key, offset }. Code calls
//! the function with the descriptor's address in `rdi` and gets the variable's address in `rax`, or both in `x0` on arm64;
//! *every* other register keeps its value (`tlv_get_addr` of dyld's `threadLocalHelpers.s`).
//!
//! A loaded image's descriptors hold our function, and as key its id: key and offset are then what `__tls_get_addr`
//! takes, so the rest is what [`super::descriptor`] does for ELF.
//!
//! **Invariant.** A descriptor that is passed to [`entry`] was relocated with its image.

use super::TlsIndex;
use crate::addr::RunAddr;

/// The function for the descriptors of loaded images.
pub(crate) fn variable_entry() -> *const () {
    entry as *const ()
}

/// The address, in the calling thread, of the variable whose descriptor is at `descriptor`.
///
/// # Safety
/// It is that of an image that is loaded.
pub(crate) unsafe fn variable(descriptor: RunAddr) -> RunAddr {
    let words: *const [u64; 3] = std::ptr::with_exposed_provenance(descriptor.0 as usize);
    // SAFETY: as the caller promises.
    let [_, module, offset] = unsafe { words.read_unaligned() };
    let index = TlsIndex { module, offset };
    // SAFETY: the key of a relocated descriptor is the id of its image.
    RunAddr(unsafe { super::resolve(&raw const index) } as u64)
}

/// What [`super::descriptor::dynamic`] returns becomes an address: on macOS it is one.
#[cfg(all(target_arch = "x86_64", not(target_vendor = "apple")))]
macro_rules! address {
    () => {
        "add rax, fs:0"
    };
}
#[cfg(all(target_arch = "x86_64", target_vendor = "apple"))]
macro_rules! address {
    () => {
        ""
    };
}

/// [`super::descriptor::dynamic`] wants in `rax` where a pointer to module id and offset is, less eight.
#[cfg(target_arch = "x86_64")]
#[unsafe(naked)]
unsafe extern "C" fn entry() {
    std::arch::naked_asm!(
        ".cfi_startproc",
        "lea rax, [rdi + 8]",
        "push rax",
        ".cfi_adjust_cfa_offset 8",
        "lea rax, [rsp - 8]",
        "call {dynamic}",
        address!(),
        "lea rsp, [rsp + 8]",
        ".cfi_adjust_cfa_offset -8",
        "ret",
        ".cfi_endproc",
        dynamic = sym super::descriptor::dynamic,
    )
}
#[cfg(all(target_arch = "aarch64", target_vendor = "apple"))]
use super::descriptor::variable as entry;
#[cfg(not(any(target_arch = "x86_64", all(target_arch = "aarch64", target_vendor = "apple"))))]
unsafe extern "C" fn entry() {}
