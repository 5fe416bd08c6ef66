//! `fork` in a process with threads.
//!
//! The child has one thread, a copy of the one that called `fork`, and a copy of all memory as it was: with locks that
//! others held, and with initialisers that nobody goes on with. So the locks are taken before the fork and given back
//! after it on both sides, and the child gives up what other threads were at: it opens such an object anew, and a plugin
//! whose init functions were running is [poisoned](crate::ErrorKind::Poisoned) there.
//! What this thread itself is at, in an initialiser that forks, goes on in both.
//!
//! All locks of the library that outlive a call are here, and nothing waits for a `Once`, which knows no fork
//! ([`Lazy`](crate::sync::Lazy)). While one of them is held no foreign code runs but unwinders' functions that register
//! frames, so the wait is short.
//!
//! Two locks of others are not ours to take, and a child that finds one taken waits for ever when it needs it:
//! - libgcc's, up to version 12: a thread that throws holds it for a moment, once frames have been registered. The child
//!   needs it when it throws, registers or deregisters.
//! - that of glibc's list of `atexit` handlers, which a thread holds in `__cxa_finalize`, hence in an image's finalisers. The
//!   child needs it for `exit` and for finalisers of its own. So a fork gives finalisers that run a moment to end.
//!
//! Invariant: the guards are put in their thread's place by [`prepare`] and taken out by the one handler that follows it
//! there.

use super::{debugger, frames, host, stubs, tls};
use crate::plugin::life;
use crate::plugin::state::{self, PLUGINS};
use crate::registry::{self, Instance, REGISTRY};
use crate::sync::putting;
use std::cell::Cell;
use std::mem::ManuallyDrop;
use std::sync::MutexGuard;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// All locks, in the order in which they are taken: whoever holds one takes only those behind it.
struct Held {
    plugins: state::Lock,
    registry: MutexGuard<'static, registry::State<Instance>>,
    _debugger: debugger::Lock,
    _static_thread_locals: tls::Lock,
    _host: host::Lock,
    _unwinders: MutexGuard<'static, ()>,
    _stubs: stubs::Lock,
    _lazy: MutexGuard<'static, ()>,
}

thread_local! {
    /// Has no destructor, so that it can be used at any time.
    static HELD: Cell<Option<ManuallyDrop<Held>>> = const { Cell::new(None) };
}

/// Sees to it that a fork leaves both processes in order. To be called before any lock is taken.
pub(crate) fn arm() {
    static ARMED: AtomicBool = AtomicBool::new(false);
    if !ARMED.load(Ordering::Acquire) {
        // Two threads may come here at the same time: of two sets of handlers, one finds nothing left to do.
        // SAFETY: the handlers take and return nothing and stay as long as the process. That there is no room for them is
        // all that can go wrong: then a child may have to wait for a thread that it does not have, until the next open
        // finds room.
        let refused = unsafe { libc::pthread_atfork(Some(prepare), Some(parent), Some(child)) };
        ARMED.store(refused == 0, Ordering::Release);
    }
}

extern "C" fn prepare() {
    let held = HELD.take().unwrap_or_else(|| {
        wait_for_finalizers();
        // The order of the fields.
        let (plugins, registry, debugger) = (PLUGINS.lock(), REGISTRY.lock(), debugger::lock());
        let (static_thread_locals, host, unwinders) = (tls::hold(), host::hold(), frames::hold());
        let (stubs, lazy) = (stubs::hold(), putting());
        ManuallyDrop::new(Held {
            plugins,
            registry,
            _debugger: debugger,
            _static_thread_locals: static_thread_locals,
            _host: host,
            _unwinders: unwinders,
            _stubs: stubs,
            _lazy: lazy,
        })
    });
    HELD.set(Some(held));
}

/// Not for long: they are foreign code, and may wait for this very thread.
fn wait_for_finalizers() {
    const LOOKS: u32 = 1000;
    for _ in 0..LOOKS {
        if !REGISTRY.others_finalize() {
            break;
        }
        std::thread::sleep(Duration::from_micros(50));
    }
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
        life::abandon(&held.plugins, &held.registry);
    }
}
