//! `std::mutex` and `std::condition_variable` of libc++: they are what threads have in C, initialised in the image with
//! Darwin's signatures, which the host's libc++ would take for an object in use.
//!
//! Others (`std::recursive_mutex`, `std::timed_mutex`, `std::shared_mutex`) are made by constructors of the host's, for
//! which the image leaves more room than they need.

use super::{Pointer, threads};
use crate::addr::RunAddr;
use std::ffi::c_int;

pub(super) fn entry(name: &[u8]) -> Option<RunAddr> {
    let at: Pointer = match name {
        b"__ZNSt3__15mutex4lockEv" => threads::lock as Pointer,
        b"__ZNSt3__15mutex6unlockEv" => threads::unlock as Pointer,
        b"__ZNSt3__15mutex8try_lockEv" => try_lock as Pointer,
        b"__ZNSt3__15mutexD1Ev" | b"__ZNSt3__15mutexD2Ev" => threads::destroy as Pointer,
        b"__ZNSt3__118condition_variable10notify_oneEv" => threads::signal as Pointer,
        b"__ZNSt3__118condition_variable10notify_allEv" => threads::broadcast as Pointer,
        b"__ZNSt3__118condition_variable4waitERNS_11unique_lockINS_5mutexEEE" => wait as Pointer,
        b"__ZNSt3__118condition_variable15__do_timed_waitERNS_11unique_lockINS_5mutexEEENS_6chrono10time_pointINS5_12system_clockENS5_8durationIxNS_5ratioILl1ELl1000000000EEEEEEE" => {
            wait_until as Pointer
        }
        b"__ZNSt3__118condition_variableD1Ev" | b"__ZNSt3__118condition_variableD2Ev" => {
            threads::destroy_condition as Pointer
        }
        _ => return None,
    };
    Some(RunAddr(at.expose_provenance() as u64))
}

/// `bool std::mutex::try_lock()`
///
/// # Safety
/// As `pthread_mutex_trylock`.
unsafe extern "C" fn try_lock(object: *mut libc::pthread_mutex_t) -> bool {
    // SAFETY: as the caller promises.
    unsafe { threads::try_lock(object) == 0 }
}

/// `std::unique_lock<std::mutex>`, as far as it is read here.
#[repr(C)]
struct UniqueLock {
    mutex: *mut libc::pthread_mutex_t,
}

/// `void std::condition_variable::wait(std::unique_lock<std::mutex> &)`
///
/// # Safety
/// As `pthread_cond_wait`, with the mutex that `with` holds.
unsafe extern "C" fn wait(object: *mut libc::pthread_cond_t, with: *const UniqueLock) -> c_int {
    // SAFETY: as the caller promises.
    unsafe { threads::wait(object, (*with).mutex) }
}

/// `void std::condition_variable::__do_timed_wait(…)`, until a time in nanoseconds since 1970.
///
/// # Safety
/// As [`wait`].
unsafe extern "C" fn wait_until(object: *mut libc::pthread_cond_t, with: *const UniqueLock, until: i64) -> c_int {
    const SECOND: i64 = 1_000_000_000;
    let until = until.max(0);
    let time = libc::timespec { tv_sec: (until / SECOND) as libc::time_t, tv_nsec: (until % SECOND) as libc::c_long };
    // SAFETY: as the caller promises.
    unsafe { threads::wait_until(object, (*with).mutex, &raw const time) }
}
