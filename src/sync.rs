//! Locks; and the synchronisation that the registry uses, in one place, so that a model checker's can take its place.

pub(crate) use std::sync::{Mutex, MutexGuard};
use std::sync::{OnceLock, PoisonError};

/// Locks, whether or not a thread panicked while it held the lock: what it guards is changed in single steps.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A value that is made when it is first asked for, and stays.
///
/// As `OnceLock`, but no fork finds one half made, for which the child would wait for ever: a value is made without any
/// lock and put into its place under one that a fork waits for ([`putting`]). The price: two threads that ask at the same
/// time may both make one, of which one is not used.
#[derive(Debug)]
pub(crate) struct Lazy<T>(OnceLock<T>);

static PUTTING: Mutex<()> = Mutex::new(());

/// Keeps every [`Lazy`] as it is: all of them are made or not begun. Nobody takes another lock of ours while holding this
/// one.
pub(crate) fn putting() -> MutexGuard<'static, ()> {
    lock(&PUTTING)
}

impl<T> Lazy<T> {
    pub(crate) const fn new() -> Lazy<T> {
        Lazy(OnceLock::new())
    }

    pub(crate) fn get(&self) -> Option<&T> {
        self.0.get()
    }

    /// The value, which `make` makes if there is none; `unused` gets one that came too late.
    pub(crate) fn get_or_make(&self, make: impl FnOnce() -> T, unused: impl FnOnce(T)) -> &T {
        if let Some(value) = self.0.get() {
            return value;
        }
        let mut made = Some(make());
        let value = {
            let _turn = putting();
            self.0.get_or_init(|| made.take().expect("invariant: the closure is called once"))
        };
        made.map(unused);
        value
    }

    /// The same for a value that needs nothing but to be dropped.
    pub(crate) fn get_or(&self, make: impl FnOnce() -> T) -> &T {
        self.get_or_make(make, drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;

    #[test]
    fn one_value_is_kept_and_the_others_are_told() {
        let (lazy, both) = (Lazy::new(), Barrier::new(2));
        let ask = |number: u32| {
            let mut unused = None;
            let kept = *lazy.get_or_make(
                || {
                    both.wait();
                    number
                },
                |late| unused = Some(late),
            );
            (kept, unused)
        };
        let (one, two) = std::thread::scope(|scope| {
            let other = scope.spawn(|| ask(1));
            (ask(2), other.join().expect("no panic"))
        });
        assert_eq!(one.0, two.0);
        assert_eq!(one.1.xor(two.1), Some(3 - one.0), "{one:?} {two:?}");
        assert_eq!(lazy.get_or(|| unreachable!()), &one.0);
    }
}

/// What `loom` can take the place of: see `registry/tests.rs`.
#[cfg(not(loom))]
pub(crate) mod checked {
    pub(crate) use super::lock;
    pub(crate) use crate::platform::thread_id;
    pub(crate) use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicUsize, Ordering};
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
    pub(crate) use loom::sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicUsize, Ordering};
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
