//! Work that only hostile files ask for, counted: searches along chains and through tries that are longer than any linker
//! makes them.

use std::cell::Cell;

thread_local!(static STEPS: Cell<u64> = const { Cell::new(0) });

/// How many steps this thread has made, in all its searches, beyond what the tables of any linker cost. Chains may
/// overlap, and all names of a file lead to one: its size does not bound the work, so who searches for many names asks
/// here when to give up.
pub fn astray() -> u64 {
    STEPS.get()
}

/// Counts so many steps.
#[cold]
#[inline(never)]
pub(crate) fn goes_astray(steps: usize) {
    STEPS.set(STEPS.get().saturating_add(steps as u64));
}
