//! The gate that every system call of this library passes, and where a test can let one fail.
//!
//! Whether a program survives a system that is out of memory or descriptors cannot be tried out on a real one: each call
//! has to fail once, at the right moment, in one process only. So each call passes here. Closed to nobody, the gate is
//! one relaxed load of a number that nobody writes, beside a call that costs a hundred times as much.
//!
//! Not here are `close` and `munmap`: no kernel refuses to take back what it gave, and nobody could be told if one did. Some
//! calls are done without where they fail: a file in memory, and what tells where the program or the working folder is.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// A kind of system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(usize)]
#[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "not every system has every call"))]
pub(crate) enum Call {
    Open,
    Stat,
    Map,
    Protect,
    Read,
    Write,
    MemoryFile,
    Seal,
    ReadLink,
    WorkingFolder,
    ReadThread,
    WriteThread,
    FindThread,
    Pipe,
}

/// The calls in the order of their numbers, with their names and how they fail.
const CALLS: [(&str, i32); 14] = [
    ("openat", libc::EMFILE),
    ("fstat", libc::EIO),
    ("mmap", libc::ENOMEM),
    ("mprotect", libc::ENOMEM),
    ("pread", libc::EIO),
    ("pwrite", libc::ENOSPC),
    ("memfd_create", libc::EMFILE),
    ("fcntl", libc::EBUSY),
    ("readlink", libc::EIO),
    ("getcwd", libc::ENOMEM),
    ("process_vm_readv", libc::ENOMEM),
    ("process_vm_writev", libc::ENOMEM),
    ("get_robust_list", libc::ESRCH),
    ("pipe2", libc::EMFILE),
];

/// Whether anybody counts.
static WATCHED: AtomicBool = AtomicBool::new(false);
/// Which call fails, counted from 1 over all kinds; none if it is 0.
static FAILING: AtomicU64 = AtomicU64::new(0);
/// Calls so far.
static PASSED: AtomicU64 = AtomicU64::new(0);
/// Which kind failed, counted from 1.
static FAILED: AtomicU64 = AtomicU64::new(0);
static COUNTS: [AtomicU64; CALLS.len()] = [const { AtomicU64::new(0) }; CALLS.len()];

/// Asks before a call.
///
/// # Errors
/// The call is to fail.
#[inline]
pub(crate) fn pass(call: Call) -> io::Result<()> {
    if WATCHED.load(Ordering::Relaxed) { watched(call) } else { Ok(()) }
}

#[cold]
fn watched(call: Call) -> io::Result<()> {
    COUNTS[call as usize].fetch_add(1, Ordering::Relaxed);
    let (_, errno) = CALLS[call as usize];
    let number = PASSED.fetch_add(1, Ordering::Relaxed) + 1;
    if number != FAILING.load(Ordering::Relaxed) {
        return Ok(());
    }
    FAILED.store(call as u64 + 1, Ordering::Relaxed);
    Err(io::Error::from_raw_os_error(errno))
}

/// Counts from now on, and lets the call of that number fail; none if it is 0.
pub(crate) fn watch(failing: u64) {
    FAILING.store(failing, Ordering::Relaxed);
    PASSED.store(0, Ordering::Relaxed);
    FAILED.store(0, Ordering::Relaxed);
    COUNTS.iter().for_each(|count| count.store(0, Ordering::Relaxed));
    WATCHED.store(true, Ordering::Relaxed);
}

/// Ends it.
pub(crate) fn leave_alone() {
    WATCHED.store(false, Ordering::Relaxed);
}

/// The kind of call that failed, if one has.
pub(crate) fn failed() -> Option<&'static str> {
    let index = (FAILED.load(Ordering::Relaxed) as usize).checked_sub(1)?;
    CALLS.get(index).map(|&(name, _)| name)
}

/// How many calls of each kind there were.
pub(crate) fn counts() -> impl Iterator<Item = (&'static str, u64)> {
    CALLS.iter().zip(&COUNTS).map(|(&(name, _), count)| (name, count.load(Ordering::Relaxed)))
}
