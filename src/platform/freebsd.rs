//! FreeBSD: compiled and linted, not run (see README).

use super::Auxv;
use std::fs::File;

/// There is no such flag: pages are filled by faults.
pub(crate) const POPULATE: libc::c_int = 0;

/// FreeBSD had `MAP_NORESERVE` and dropped it: reserved address space counts for nothing anyway.
pub(crate) const NO_RESERVE: libc::c_int = 0;

/// `ld-elf.so.hints` is a list of folders, not of libraries; they are the caller's to add to the library path.
pub(crate) const LIBRARY_CACHE: Option<&str> = None;

unsafe extern "C" {
    fn elf_aux_info(aux: libc::c_int, buffer: *mut libc::c_void, length: libc::c_int) -> libc::c_int;
}

/// One value of the auxiliary vector (`elf_aux_info(3)`); `None` where the kernel gave none.
pub(crate) fn auxv(kind: Auxv) -> Option<u64> {
    // <sys/elf_common.h>
    let key = match kind {
        Auxv::Phdr => 3,
        Auxv::Phnum => 5,
        Auxv::Base => 7,
        Auxv::Entry => 9,
        Auxv::ExecFn => 15,
        // There is no AT_SECURE: issetugid answers the same question.
        // SAFETY: issetugid has no preconditions.
        Auxv::Secure => return (unsafe { libc::issetugid() } != 0).then_some(1),
    };
    let mut value = 0u64;
    // SAFETY: the buffer is eight bytes long, as the length says.
    let failed = unsafe { elf_aux_info(key, (&raw mut value).cast(), size_of::<u64>() as libc::c_int) };
    (failed == 0 && value != 0).then_some(value)
}

/// There is none that this library knows how to seal.
pub(crate) fn sealable_file() -> Option<File> {
    None
}

/// Not reached: there is no such file.
pub(crate) fn seal(_: &File) -> bool {
    false
}

/// What dyld's `ProgramVars` points to: this system has no such variables.
pub(crate) fn program_variables() -> Option<[*const (); 5]> {
    None
}

/// Code was written to memory. x86-64 notices by itself, and of other processors no code is run yet.
///
/// # Safety
/// None here.
pub(crate) unsafe fn code_was_written(_start: *const u8, _size: usize) {}

/// A number that tells this thread from all others alive.
pub(crate) fn thread_id() -> u64 {
    // SAFETY: pthread_self has no preconditions.
    unsafe { libc::pthread_self() as usize as u64 }
}

/// Whether the process is known to have begun with this thread.
pub(crate) fn is_first_thread() -> bool {
    false
}

/// The number of an entry's file.
#[cfg(target_arch = "x86_64")]
pub(crate) fn inode(entry: &libc::dirent) -> u64 {
    entry.d_fileno
}

/// Says what went wrong in a function that stands for one of the system.
#[cfg(target_arch = "x86_64")]
pub(crate) fn set_errno(error: i32) {
    // SAFETY: the address of this thread's variable.
    unsafe { *libc::__error() = error };
}

/// Nothing here asks for the signature of code that is mapped.
pub(crate) fn register_signature(_: &File, _: u64, _: crate::plan::Signature) -> std::io::Result<()> {
    Ok(())
}
