//! Semaphores of `libdispatch`, on which Rust's threads wait on macOS. Nothing else of that library is here.
//!
//! Invariant: a semaphore is a boxed value with a count of its references, and goes when that is 0.

use super::Pointer;
use super::files::nanoseconds;
use crate::addr::RunAddr;
use crate::sync::lock;
use std::ffi::c_long;
use std::sync::atomic::{AtomicUsize, Ordering, fence};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// `DISPATCH_TIME_FOREVER`
const FOREVER: u64 = u64::MAX;

pub(super) fn entry(name: &[u8]) -> Option<RunAddr> {
    let at: Pointer = match name {
        b"_dispatch_semaphore_create" => create as Pointer,
        b"_dispatch_semaphore_signal" => signal as Pointer,
        b"_dispatch_semaphore_wait" => wait as Pointer,
        b"_dispatch_retain" => retain as Pointer,
        b"_dispatch_release" => release as Pointer,
        b"_dispatch_time" => time as Pointer,
        _ => return None,
    };
    Some(RunAddr(at.expose_provenance() as u64))
}

#[derive(Debug)]
struct Semaphore {
    count: Mutex<c_long>,
    raised: Condvar,
    references: AtomicUsize,
}

/// `dispatch_semaphore_create`: null for a count below 0.
extern "C" fn create(count: c_long) -> *const Semaphore {
    if count < 0 {
        return std::ptr::null();
    }
    let semaphore = Semaphore { count: Mutex::new(count), raised: Condvar::new(), references: AtomicUsize::new(1) };
    Box::into_raw(Box::new(semaphore))
}

/// `dispatch_semaphore_signal`: says whether a thread may have been waiting.
///
/// # Safety
/// A semaphore that was not released.
unsafe extern "C" fn signal(semaphore: *const Semaphore) -> c_long {
    // SAFETY: as the caller promises.
    let semaphore = unsafe { &*semaphore };
    let mut count = lock(&semaphore.count);
    *count += 1;
    semaphore.raised.notify_one();
    c_long::from(*count == 1)
}

/// `dispatch_semaphore_wait`: not 0 once the time has come.
///
/// # Safety
/// As [`signal`].
unsafe extern "C" fn wait(semaphore: *const Semaphore, until: u64) -> c_long {
    // SAFETY: as the caller promises.
    let semaphore = unsafe { &*semaphore };
    let mut count = lock(&semaphore.count);
    while *count == 0 {
        let left = until.saturating_sub(nanoseconds());
        count = match (until, left) {
            (FOREVER, _) => semaphore.raised.wait(count).unwrap_or_else(PoisonError::into_inner),
            (_, 0) => return 1,
            (_, left) => {
                let waited = semaphore.raised.wait_timeout(count, Duration::from_nanos(left));
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
        };
    }
    *count -= 1;
    0
}

/// `dispatch_retain`
///
/// # Safety
/// As [`signal`]; there are no other objects of that library.
unsafe extern "C" fn retain(semaphore: *const Semaphore) {
    // SAFETY: as the caller promises.
    unsafe { &*semaphore }.references.fetch_add(1, Ordering::Relaxed);
}

/// `dispatch_release`
///
/// # Safety
/// As [`retain`]; the last one who knows it releases it.
unsafe extern "C" fn release(semaphore: *mut Semaphore) {
    // SAFETY: as the caller promises.
    let references = unsafe { &(*semaphore).references };
    if references.fetch_sub(1, Ordering::Release) == 1 {
        fence(Ordering::Acquire);
        // SAFETY: made by `create`, and nobody has it any more.
        drop(unsafe { Box::from_raw(semaphore) });
    }
}

/// `dispatch_time`: some nanoseconds after `when`, where 0 is now. Times of the wall clock, which are negative, are taken
/// for never.
extern "C" fn time(when: u64, delta: i64) -> u64 {
    match when {
        0 => nanoseconds().saturating_add_signed(delta).max(1),
        1..=0x7fff_ffff_ffff_ffff => when.saturating_add_signed(delta).max(1),
        _ => FOREVER,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_semaphore_counts_and_wakes() {
        let semaphore = create(1);
        assert!(create(-1).is_null());
        let at = semaphore.expose_provenance();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                // SAFETY: released below, once this thread has ended.
                unsafe {
                    let semaphore: *const Semaphore = std::ptr::with_exposed_provenance(at);
                    assert_eq!((wait(semaphore, FOREVER), wait(semaphore, FOREVER)), (0, 0));
                }
            });
            // SAFETY: as above.
            unsafe { signal(semaphore) };
        });
        // SAFETY: nobody else has it.
        unsafe {
            assert_eq!(wait(semaphore, time(0, 1_000_000)), 1);
            retain(semaphore);
            release(semaphore.cast_mut());
            release(semaphore.cast_mut());
        }
    }

    #[test]
    fn times_count_from_now() {
        assert!(time(0, 1_000_000_000) >= nanoseconds() + 900_000_000);
        assert_eq!((time(5, 6), time(FOREVER, 1), time(5, -9)), (11, FOREVER, 1));
    }
}
