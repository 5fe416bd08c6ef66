//! `os_unfair_lock`: a word of zero where it is free, anywhere in memory, and never made nor destroyed.
//!
//! Invariant: the word is [`FREE`], [`TAKEN`], or [`WAITED_FOR`] if a thread may be asleep in the bucket of its address.

use super::Pointer;
use crate::addr::RunAddr;
use crate::sync::lock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};

pub(super) fn entry(name: &[u8]) -> Option<RunAddr> {
    let at: Pointer = match name {
        b"_os_unfair_lock_lock" => take as Pointer,
        b"_os_unfair_lock_trylock" => try_to_take as Pointer,
        b"_os_unfair_lock_unlock" => release as Pointer,
        _ => return None,
    };
    Some(RunAddr(at.expose_provenance() as u64))
}

const FREE: u32 = 0;
const TAKEN: u32 = 1;
const WAITED_FOR: u32 = 2;

/// Where threads sleep that wait for a word: whoever shares a bucket is woken for nothing now and then.
static BUCKETS: [(Mutex<()>, Condvar); 32] = [const { (Mutex::new(()), Condvar::new()) }; 32];

fn bucket(word: &AtomicU32) -> &'static (Mutex<()>, Condvar) {
    // Words stand in structures, hence some way apart.
    &BUCKETS[(std::ptr::from_ref(word).addr() >> 4) % BUCKETS.len()]
}

/// `os_unfair_lock_trylock`
///
/// # Safety
/// A lock, which is nothing else for as long as a thread uses it.
unsafe extern "C" fn try_to_take(word: *mut u32) -> bool {
    // SAFETY: as the caller promises.
    let word = unsafe { AtomicU32::from_ptr(word) };
    word.compare_exchange(FREE, TAKEN, Ordering::Acquire, Ordering::Relaxed).is_ok()
}

/// `os_unfair_lock_lock`
///
/// # Safety
/// As [`try_to_take`].
unsafe extern "C" fn take(word: *mut u32) {
    // SAFETY: as the caller promises.
    if unsafe { try_to_take(word) } {
        return;
    }
    // SAFETY: as above.
    let word = unsafe { AtomicU32::from_ptr(word) };
    let (asleep, woken) = bucket(word);
    // Who releases a lock that is waited for comes here first, so that is not missed between this look and the sleep.
    let mut turn = lock(asleep);
    while word.swap(WAITED_FOR, Ordering::Acquire) != FREE {
        turn = woken.wait(turn).unwrap_or_else(PoisonError::into_inner);
    }
}

/// `os_unfair_lock_unlock`. Whose it is is not checked.
///
/// # Safety
/// As [`try_to_take`]; the calling thread has it.
unsafe extern "C" fn release(word: *mut u32) {
    // SAFETY: as the caller promises. The word may be gone once another thread can take it, hence what follows does not
    // look at it again.
    let word = unsafe { AtomicU32::from_ptr(word) };
    let (asleep, woken) = bucket(word);
    if word.swap(FREE, Ordering::Release) == WAITED_FOR {
        drop(lock(asleep));
        woken.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::UnsafeCell;

    #[test]
    fn one_thread_at_a_time_has_the_lock() {
        struct Shared(UnsafeCell<(u32, u64)>);
        // SAFETY: the number is only touched with the lock, and that only by atomic operations.
        unsafe impl Sync for Shared {}
        let shared = Shared(UnsafeCell::new((0, 0)));
        let add = || {
            let shared = &shared;
            let at = shared.0.get();
            for _ in 0..20_000 {
                // SAFETY: a lock, which the thread has while it counts.
                unsafe {
                    let word = &raw mut (*at).0;
                    take(word);
                    assert!(!try_to_take(word));
                    (*at).1 += 1;
                    release(word);
                }
            }
        };
        std::thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(add))));
        assert_eq!(shared.0.into_inner(), (0, 80_000));
    }
}
