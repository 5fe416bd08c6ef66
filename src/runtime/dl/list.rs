//! A list that only grows, for what C callers are given pointers to.
//!
//! Invariant: a node is written before it is published, never written again and never freed; so a reference to its
//! value is good for ever, and readers need no lock. (A lock would also be one that a forked child could find taken.)

use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

/// Values that stay where they are until the process ends.
#[derive(Debug)]
pub(super) struct List<T: 'static> {
    head: AtomicPtr<Node<T>>,
}

#[derive(Debug)]
struct Node<T: 'static> {
    value: T,
    next: Option<&'static Node<T>>,
}

impl<T: Send + Sync> List<T> {
    pub(super) const fn new() -> List<T> {
        List { head: AtomicPtr::new(ptr::null_mut()) }
    }

    fn head(&self) -> Option<&'static Node<T>> {
        // SAFETY: null, or a node that `find_or_add` leaked and published.
        unsafe { self.head.load(Ordering::Acquire).as_ref() }
    }

    /// All values, the newest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = &'static T> {
        std::iter::successors(self.head(), |node| node.next).map(|node| &node.value)
    }

    /// The value that is as wanted; made and added if there is none.
    pub(super) fn find_or_add(&self, wanted: impl Fn(&T) -> bool, make: impl FnOnce() -> T) -> &'static T {
        let mut head = self.head();
        if let Some(found) = self.iter().find(|value| wanted(value)) {
            return found;
        }
        let node = Box::into_raw(Box::new(Node { value: make(), next: None }));
        loop {
            // Whatever other threads added since the list was searched.
            if let Some(found) = self.iter().find(|value| wanted(value)) {
                return found;
            }
            // SAFETY: just made, and nobody else knows it yet.
            unsafe { (*node).next = head };
            let expected = head.map_or(ptr::null_mut(), |node| ptr::from_ref(node).cast_mut());
            let stored = self.head.compare_exchange(expected, node, Ordering::AcqRel, Ordering::Acquire);
            if stored.is_ok() {
                // SAFETY: never freed, and from the store on only read.
                return unsafe { &(*node).value };
            }
            head = self.head();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_agree_on_one_value() {
        static NUMBERS: List<u64> = List::new();
        let add = || (0..100).map(|n| ptr::from_ref(NUMBERS.find_or_add(|&it| it == n, || n)).addr()).collect();
        let all: Vec<Vec<usize>> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(add)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(all.iter().all(|one| *one == all[0]));
        assert_eq!(NUMBERS.iter().count(), 100);
    }
}
