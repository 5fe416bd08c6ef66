//! Whether the process has begun to exit: then nothing is opened any more, since its finalisers could not be ordered.
//!
//! Handlers of `atexit` run in reverse, so one of ours, however late it was registered, comes too late for those that were
//! registered after it. But `exit` of glibc first runs the destructors of its thread's thread-locals, before any handler.
//! So every thread that opens something has one of ours, and the first thread of the process has one from the start.
//!
//! In the first thread, that destructor means `exit`: glibc does not run it when that thread ends alone. In others it may
//! as well be the thread's end. What they open after it is rare, and then the stack tells: `exit` is in it, or not. (Not
//! before it is needed: with libgcc up to 12, looking at the stack sorts all unwind tables that were registered.)
//! Not noticed is the `exit` of a thread that has opened nothing before, until a handler of ours is reached.
//!
//! Other C libraries run no destructors there, or may not: with those, a handler is registered after each open, which at
//! least comes before the destructors that the opened objects registered.
//!
//! Invariant: the unwinder is asked for return addresses, which are compared and never followed.

use super::host::{HostImage, HostImages, images};
use crate::plan::Query;
use crate::platform::is_first_thread;
use crate::symbol::SymbolKind;
use crate::sync::{Lazy, putting};
use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

static EXITING: AtomicBool = AtomicBool::new(false);

/// Whether it has begun.
pub(crate) fn exiting() -> bool {
    if IS_ENDING.get() && is_in_exit() {
        begin_to_exit();
    }
    EXITING.load(Ordering::Acquire)
}

extern "C" fn begin_to_exit() {
    EXITING.store(true, Ordering::Release);
}

/// What a thread has that may come to call `exit`.
struct Watch;

impl Drop for Watch {
    fn drop(&mut self) {
        if IS_FIRST.get() {
            begin_to_exit();
        }
        IS_ENDING.set(true);
    }
}

thread_local! {
    static WATCH: Watch = const { Watch };
    // These have no destructors, and can be used in some.
    static IS_FIRST: Cell<bool> = const { Cell::new(false) };
    static IS_ENDING: Cell<bool> = const { Cell::new(false) };
}

/// Sees to it that this thread's `exit` is noticed.
pub(crate) fn watch_this_thread() {
    // A thread whose thread-locals are gone is noted as ending already.
    let _ = WATCH.try_with(|_| ());
}

/// The same when the process starts, which is in its first thread, unless this library was opened later.
#[cfg_attr(
    any(target_env = "musl", target_vendor = "apple"),
    allow(dead_code, reason = "their initialisers are not called with what ours asks for, so there is none")
)]
pub(super) fn watch_from_the_start() {
    IS_FIRST.set(is_first_thread());
    watch_this_thread();
}

/// Whether `exit` has called what this thread is in.
fn is_in_exit() -> bool {
    type Visit = extern "C" fn(*mut c_void, *mut c_void) -> c_int;
    #[allow(clashing_extern_declarations, reason = "`darwin/unwind.rs` takes addresses of functions it never calls")]
    unsafe extern "C" {
        fn _Unwind_Backtrace(visit: Visit, data: *mut c_void) -> c_int;
        fn _Unwind_GetIP(context: *mut c_void) -> usize;
    }
    struct Walk<'a> {
        exits: &'a [Range<u64>],
        found: bool,
    }
    extern "C" fn visit(context: *mut c_void, walk: *mut c_void) -> c_int {
        const GO_ON: c_int = 0; // _URC_NO_REASON
        const STOP: c_int = 4; // _URC_NORMAL_STOP
        // SAFETY: the unwinder passes its context, and the pointer that it was given below.
        let (at, walk) = unsafe { (_Unwind_GetIP(context) as u64, &mut *walk.cast::<Walk<'_>>()) };
        // The address behind a call: that of a last instruction lies behind its function.
        walk.found = walk.exits.iter().any(|range| range.contains(&at.wrapping_sub(1)));
        if walk.found { STOP } else { GO_ON }
    }
    static EXITS: Lazy<Vec<Range<u64>>> = Lazy::new();
    // Where the images cannot be read for now, that is not to be remembered.
    let find = || images().ok().map(|images| EXITS.get_or(|| exits(&images)));
    let exits = EXITS.get().or_else(find).map_or(&[][..], Vec::as_slice);
    let mut walk = Walk { exits, found: false };
    // SAFETY: the function takes such a pointer, which outlives the call.
    unsafe { _Unwind_Backtrace(visit, (&raw mut walk).cast()) };
    walk.found
}

/// Where the functions called `exit` are: the C library's, and one that the executable may have put before it.
fn exits(images: &HostImages) -> Vec<Range<u64>> {
    let range = |image: &std::sync::Arc<HostImage>| {
        let found = image.find(&Query::by_name(b"exit")).filter(|found| found.kind == SymbolKind::Code)?;
        let start = (found.vm + image.bias()).0;
        Some(start..start.saturating_add(found.size))
    };
    images.images.iter().filter(|image| image.global).filter_map(range).collect()
}

/// Has `handler` called at exit. That there is no room for it is all that can go wrong: then finalisers do not run, or an
/// open by a late destructor is not refused.
fn at_exit(handler: extern "C" fn()) {
    // A fork waits for this: the C library's own lock would stay taken in the child.
    let _turn = putting();
    // SAFETY: the handler is one of ours, which may run whenever the process exits.
    unsafe { libc::atexit(handler) };
}

/// Sees to it that finalisers run at exit. To be called at the first open: handlers run in reverse, so those that objects
/// which were opened register still run before it. Called twice, the second handler finds nothing left to do.
pub(crate) fn arm_finalizers() {
    extern "C" fn finalize() {
        begin_to_exit();
        // SAFETY: the process is exiting, and the handlers that the images registered have run.
        unsafe { crate::unload::finalize_all() };
    }
    at_exit(finalize);
}

/// Sees to it that [`exiting`] tells, where destructors of thread-locals do not. To be called whenever initialisers have
/// run: this handler then comes before the destructors that those registered.
pub(crate) fn arm_exit_flag() {
    if cfg!(not(target_env = "gnu")) {
        at_exit(begin_to_exit);
    }
}
