//! `fork` in a process with threads.
//!
//! The child has one thread, a copy of the one that called `fork`, and a copy of all memory as it was: with locks that
//! others held, and with initialisers that nobody goes on with. So the locks are taken before the fork and given back
//! after it on both sides, and the child gives up what other threads were at: it opens such an object anew.
//! What this thread itself is at, in an initialiser that forks, goes on in both.
//!
//! Invariant: the guards are put in their thread's place by [`prepare`] and taken out by the one handler that follows it
//! there.

use super::debugger;
use crate::registry::{Instance, REGISTRY, State};
use std::cell::Cell;
use std::mem::ManuallyDrop;
use std::sync::{MutexGuard, Once};

struct Held {
    registry: MutexGuard<'static, State<Instance>>,
    _debugger: debugger::Lock,
}

thread_local! {
    /// Has no destructor, so that it can be used at any time.
    static HELD: Cell<Option<ManuallyDrop<Held>>> = const { Cell::new(None) };
}

/// Sees to it that a fork leaves both processes in order. To be called before anything is loaded.
pub(crate) fn arm() {
    static ARMED: Once = Once::new();
    ARMED.call_once(|| {
        // SAFETY: the handlers take and return nothing and stay as long as the process. That there is no room for them is
        // all that can go wrong: then a child may have to wait for a thread that it does not have.
        unsafe { libc::pthread_atfork(Some(prepare), Some(parent), Some(child)) };
    });
}

extern "C" fn prepare() {
    let registry = REGISTRY.lock();
    HELD.set(Some(ManuallyDrop::new(Held { registry, _debugger: debugger::lock() })));
}

fn take() -> Option<Held> {
    HELD.take().map(ManuallyDrop::into_inner)
}

extern "C" fn parent() {
    drop(take());
}

extern "C" fn child() {
    if let Some(mut held) = take() {
        REGISTRY.abandon(&mut held.registry);
    }
}
