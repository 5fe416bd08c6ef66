//! macOS: compiled and linted, not run (see README). There are no ELF images in the process and no auxiliary vector.

use std::fs::File;

/// There is no such flag: pages are filled by faults.
pub(crate) const POPULATE: libc::c_int = 0;

/// Address space that is only reserved counts for nothing.
pub(crate) const NO_RESERVE: libc::c_int = libc::MAP_NORESERVE;

/// dyld's shared cache is not a list of files.
pub(crate) const LIBRARY_CACHE: Option<&str> = None;

/// What other kernels tell a new process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Auxv {
    Phdr,
    Phnum,
    Base,
    Entry,
    ExecFn,
    Secure,
}

/// Only whether the process runs with more rights than its user.
pub(crate) fn auxv(kind: Auxv) -> Option<u64> {
    // SAFETY: issetugid has no preconditions.
    let secure = || unsafe { libc::issetugid() } != 0;
    (kind == Auxv::Secure && secure()).then_some(1)
}

/// There is none that this library knows how to seal.
pub(crate) fn sealable_file() -> Option<File> {
    None
}

/// Not reached: there is no such file.
pub(crate) fn seal(_: &File) -> bool {
    false
}

/// A number that tells this thread from all others alive.
pub(crate) fn thread_id() -> u64 {
    // SAFETY: pthread_self has no preconditions.
    unsafe { libc::pthread_self() as usize as u64 }
}

/// Whether the process is known to have begun with this thread.
pub(crate) fn is_first_thread() -> bool {
    false
}
