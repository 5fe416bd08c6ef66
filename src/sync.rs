//! Locks; and the synchronisation that the registry uses, in one place, so that a model checker's can take its place.

pub(crate) use std::sync::Mutex;
use std::sync::{MutexGuard, PoisonError};

/// Locks, whether or not a thread panicked while it held the lock: what it guards is changed in single steps.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What `loom` can take the place of: see `registry/tests.rs`.
#[cfg(not(loom))]
pub(crate) mod checked {
    pub(crate) use super::lock;
    pub(crate) use crate::platform::thread_id;
    pub(crate) use std::sync::atomic::{AtomicPtr, AtomicU8, AtomicUsize, Ordering};
    pub(crate) use std::sync::{Arc, Condvar, Mutex, MutexGuard};
    pub(crate) use std::thread::yield_now as pause;
    use std::time::Duration;

    /// Waits until it is woken, or so long. It may be woken for nothing.
    pub(crate) fn wait<'a, T>(condvar: &Condvar, guard: MutexGuard<'a, T>, most: Duration) -> MutexGuard<'a, T> {
        let (guard, _) = condvar.wait_timeout(guard, most).unwrap_or_else(|poisoned| poisoned.into_inner());
        guard
    }
}

/// The model checker's. It runs a test with every order of events that the memory model allows. It knows no time: a wait
/// ends only when it is woken, and a thread that nobody wakes is an error.
#[cfg(loom)]
pub(crate) mod checked {
    pub(crate) use loom::sync::atomic::{AtomicPtr, AtomicU8, AtomicUsize, Ordering};
    pub(crate) use loom::sync::{Arc, Condvar, Mutex, MutexGuard};
    pub(crate) use loom::thread::yield_now as pause;
    use std::hash::{DefaultHasher, Hash, Hasher};
    use std::time::Duration;

    pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
        mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// All threads of a model are one of the system's.
    pub(crate) fn thread_id() -> u64 {
        let mut hasher = DefaultHasher::new();
        loom::thread::current().id().hash(&mut hasher);
        hasher.finish()
    }

    pub(crate) fn wait<'a, T>(condvar: &Condvar, guard: MutexGuard<'a, T>, _most: Duration) -> MutexGuard<'a, T> {
        condvar.wait(guard).unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}
