//! Linux.

pub(crate) mod threads;
use super::Auxv;
use super::gate::{self, Call};
use std::fs::File;
use std::os::fd::{AsRawFd, FromRawFd};

/// `MAP_POPULATE`: fill the page tables in the call, instead of one fault a page later.
pub(crate) const POPULATE: libc::c_int = libc::MAP_POPULATE;

/// Address space that is only reserved counts for nothing.
pub(crate) const NO_RESERVE: libc::c_int = libc::MAP_NORESERVE;

/// glibc's cache of library paths.
pub(crate) const LIBRARY_CACHE: Option<&str> = Some("/etc/ld.so.cache");

/// One value of the auxiliary vector (`getauxval(3)`); `None` where the kernel gave none.
pub(crate) fn auxv(kind: Auxv) -> Option<u64> {
    let key = match kind {
        Auxv::Phdr => libc::AT_PHDR,
        Auxv::Phnum => libc::AT_PHNUM,
        Auxv::Base => libc::AT_BASE,
        Auxv::Entry => libc::AT_ENTRY,
        Auxv::ExecFn => libc::AT_EXECFN,
        Auxv::Secure => libc::AT_SECURE,
    };
    // SAFETY: getauxval only reads the vector that the kernel gave the process.
    let value = unsafe { libc::getauxval(key) };
    (value != 0).then_some(value as u64)
}

/// A file in memory that can be sealed (`memfd_create(2)`), if the system allows it.
pub(crate) fn sealable_file() -> Option<File> {
    gate::pass(Call::MemoryFile).ok()?;
    // SAFETY: the name is a C string, and only for people.
    let fd = unsafe { libc::memfd_create(c"sideload".as_ptr(), libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING) };
    // SAFETY: the descriptor was made just now and has no other owner.
    (fd >= 0).then(|| unsafe { File::from_raw_fd(fd) })
}

/// Fixes size and content of such a file for good.
pub(crate) fn seal(file: &File) -> bool {
    let seals = libc::F_SEAL_WRITE | libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_SEAL;
    // SAFETY: the descriptor is open, and the argument is a number.
    gate::pass(Call::Seal).is_ok() && unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, seals) == 0 }
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
#[cfg_attr(loom, allow(dead_code, reason = "the model checker has threads of its own"))]
pub(crate) fn thread_id() -> u64 {
    // SAFETY: pthread_self has no preconditions. The value is this thread's as long as it lives.
    unsafe { libc::pthread_self() as u64 }
}

/// Whether the process began with this thread.
pub(crate) fn is_first_thread() -> bool {
    // SAFETY: neither has preconditions.
    unsafe { libc::syscall(libc::SYS_gettid) == libc::c_long::from(libc::getpid()) }
}

/// The number of an entry's file.
#[cfg(target_arch = "x86_64")]
pub(crate) fn inode(entry: &libc::dirent) -> u64 {
    entry.d_ino
}

/// Says what went wrong in a function that stands for one of the system.
#[cfg(target_arch = "x86_64")]
pub(crate) fn set_errno(error: i32) {
    // SAFETY: the address of this thread's variable.
    unsafe { *libc::__errno_location() = error };
}

/// Nothing here asks for the signature of code that is mapped.
pub(crate) fn register_signature(_: &File, _: u64, _: crate::plan::Signature) -> std::io::Result<()> {
    Ok(())
}
