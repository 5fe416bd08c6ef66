//! The only place that knows operating systems. Each one is a file with the same short list of functions; what all
//! Unix systems share is in `unix.rs`.
//!
//! The calls that an open makes are `openat`, `fstat`, `mmap`, `pread`, `mprotect`, `munmap` and `close`, so that it
//! works under a filter that allows no more.

pub(crate) mod gate;
#[cfg(unix)]
pub(crate) mod unix;

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
use linux as system;

#[cfg(target_os = "freebsd")]
mod freebsd;
#[cfg(target_os = "freebsd")]
use freebsd as system;

#[cfg(target_os = "macos")]
mod macos;
#[cfg(target_os = "macos")]
use macos as system;

#[cfg(not(any(target_os = "linux", target_os = "freebsd", target_os = "macos")))]
compile_error!("sideload knows Linux, FreeBSD and macOS: a system needs a file in src/platform/");

#[cfg(target_os = "macos")]
pub(crate) use macos::{image_infos, read_own_memory};

#[cfg(target_os = "linux")]
pub(crate) use linux::threads;

#[cfg(not(target_os = "linux"))]
pub(crate) mod no_threads;
#[cfg(not(target_os = "linux"))]
pub(crate) use no_threads as threads;

#[cfg_attr(loom, allow(unused_imports, reason = "the model checker has threads of its own"))]
pub(crate) use system::{
    NO_RESERVE, POPULATE, auxv, code_was_written, is_first_thread, program_variables, register_signature, seal,
    sealable_file, thread_id,
};

// What only images for another system ask for.
#[cfg(all(target_arch = "x86_64", not(target_vendor = "apple")))]
pub(crate) use system::{inode, set_errno};

/// What a kernel tells a new process, of which each system answers what it can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Auxv {
    Phdr,
    Phnum,
    Base,
    Entry,
    ExecFn,
    Secure,
}

/// Where the system keeps the cache of library paths, if it has one.
pub(crate) const LIBRARY_CACHE: Option<&str> = system::LIBRARY_CACHE;
