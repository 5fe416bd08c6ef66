//! A value that many threads read without a lock while one of them replaces it.
//!
//! A reader takes a reference of its own: it loads the pointer and counts itself among the value's owners. Between the
//! two the value could be replaced and freed; so a reader is counted as *entering* meanwhile, and a value that was
//! replaced is freed only when nobody is entering.
//!
//! The count is looked at by adding nothing to it. So that look and a reader's entry are steps of one order: a reader
//! whose entry comes before is seen; one whose entry comes after reads what the look wrote, and so has to see the new
//! pointer, which was stored before the look. (A plain load would not do: each side could miss the other's store.)
//!
//! Invariant: the pointer is null or came of `Arc::into_raw`, and its count is not given up before nobody is entering.

use crate::sync::checked::{Arc, AtomicPtr, AtomicUsize, Ordering, pause};
use std::ptr;

/// The value, or nothing as long as none was published.
#[derive(Debug)]
pub(crate) struct Published<T> {
    current: AtomicPtr<T>,
    entering: AtomicUsize,
}

/// What was replaced and may still be entered. It belongs to one [`Published`], under the lock that keeps two threads
/// from replacing its value at the same time.
#[derive(Debug)]
pub(crate) struct Retired<T>(Vec<Arc<T>>);

impl<T> Retired<T> {
    pub(crate) const fn new() -> Retired<T> {
        Retired(Vec::new())
    }
}

macro_rules! nothing {
    ($($const:ident)?) => {
        /// Nothing yet.
        pub(crate) $($const)? fn nothing() -> Published<T> {
            Published { current: AtomicPtr::new(ptr::null_mut()), entering: AtomicUsize::new(0) }
        }
    };
}

impl<T> Published<T> {
    #[cfg(not(loom))]
    nothing!(const);
    #[cfg(loom)]
    nothing!();

    /// The value as of now. Takes no lock and never waits.
    pub(crate) fn load(&self) -> Option<Arc<T>> {
        self.entering.fetch_add(1, Ordering::Acquire);
        let current = self.current.load(Ordering::Acquire);
        let value = (!current.is_null()).then(|| {
            // SAFETY: the pointer came of `into_raw`, and its count is kept as long as a reader is entering, which
            // this one is.
            unsafe { Arc::increment_strong_count(current) };
            // SAFETY: as above; the count just taken is the new reference's.
            unsafe { Arc::from_raw(current.cast_const()) }
        });
        self.entering.fetch_sub(1, Ordering::Release);
        value
    }

    /// Puts another value in place. What nobody can enter any more is returned, to be dropped without the lock.
    ///
    /// Waits a little for those that are just entering; what is still entered then is kept until the next time.
    pub(crate) fn publish(&self, value: Arc<T>, retired: &mut Retired<T>) -> Vec<Arc<T>> {
        const PATIENCE: u32 = if cfg!(loom) { 0 } else { 1000 };
        let old = self.current.swap(Arc::into_raw(value).cast_mut(), Ordering::AcqRel);
        if !old.is_null() {
            // SAFETY: it came of `into_raw`, and the count that was the pointer's is now this one's.
            retired.0.push(unsafe { Arc::from_raw(old.cast_const()) });
        }
        for _ in 0..PATIENCE {
            if self.is_quiet() {
                break;
            }
            pause();
        }
        if self.is_quiet() { std::mem::take(&mut retired.0) } else { Vec::new() }
    }

    /// In a child that was just forked: whoever was entering does not exist here.
    #[cfg(not(loom))]
    pub(crate) fn forget_readers(&self) {
        self.entering.store(0, Ordering::Release);
    }

    fn is_quiet(&self) -> bool {
        self.entering.fetch_add(0, Ordering::AcqRel) == 0
    }
}

impl<T> Drop for Published<T> {
    fn drop(&mut self) {
        let current = self.current.swap(ptr::null_mut(), Ordering::Acquire);
        if !current.is_null() {
            // SAFETY: it came of `into_raw`, and with `&mut self` nobody is entering.
            drop(unsafe { Arc::from_raw(current.cast_const()) });
        }
    }
}
