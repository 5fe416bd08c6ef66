//! Panics on their way out of a plugin.
//!
//! A `cdylib` has a standard library of its own, and no copy of it catches another's panic: the process ends with "Rust
//! cannot catch foreign exceptions". So an exported function catches its panic inside the plugin, and the host raises
//! it again as one of its own, with the same message. The other way round there is no such help: a callback of the
//! host that panics must catch that itself.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicPtr, Ordering};

/// Raises a panic of the host's with that text: UTF-8, of that many bytes.
pub type Raise = unsafe extern "C-unwind" fn(text: *const u8, size: usize) -> !;

/// The symbol of [`adopt`], as the identity of every plugin states it. The version is part of it, since two versions of
/// this crate may be linked into one program.
pub const ADOPT: &str = "__sideload_adopt_0_1";

/// The host's function, or null where nobody told.
static RAISE: AtomicPtr<()> = AtomicPtr::new(std::ptr::null_mut());

/// What [`ADOPT`] is.
pub type Adopt = unsafe extern "C" fn(Raise);

/// Called by a host before anything else of the plugin: tells it where the host raises panics.
///
/// # Safety
/// The function must stay where it is for as long as the plugin is used.
#[unsafe(export_name = "__sideload_adopt_0_1")]
pub unsafe extern "C" fn adopt(raise: Raise) {
    RAISE.store(raise as *mut (), Ordering::Release);
}

/// Runs an exported function.
#[inline]
pub fn guard<R>(function: impl FnOnce() -> R) -> R {
    // No closure: it would be compiled for each exported function.
    match catch_unwind(AssertUnwindSafe(function)) {
        Ok(result) => result,
        Err(payload) => raise(payload),
    }
}

macro_rules! guards {
    ($($name:ident($($argument:ident)*);)*) => {$(
        /// Runs an exported function with as many arguments: compiled once for each signature, where
        /// [`guard`] is for each function.
        #[allow(non_snake_case, reason = "arguments named as their types")]
        #[allow(clippy::too_many_arguments, reason = "as many as the function has")]
        pub fn $name<$($argument,)* Result>(
            function: fn($($argument),*) -> Result,
            $($argument: $argument),*
        ) -> Result {
            guard(move || function($($argument),*))
        }
    )*};
}
guards! {
    guard0();
    guard1(A);
    guard2(A B);
    guard3(A B C);
    guard4(A B C D);
    guard5(A B C D E);
    guard6(A B C D E F);
    guard7(A B C D E F G);
    guard8(A B C D E F G H);
}

#[cold]
fn raise(payload: Box<dyn std::any::Any + Send>) -> ! {
    let host = RAISE.load(Ordering::Acquire);
    if host.is_null() {
        // Linked into the program, or opened by a loader that knows nothing of this: a panic as any other.
        resume_unwind(payload)
    }
    let text = super::init::message(&*payload);
    // A payload whose own drop panics would end the process.
    std::mem::forget(payload);
    // The host's panic unwinds through this frame, which drops the text then.
    // SAFETY: `adopt` stored a function of that type, which stays where it is; the text is valid.
    unsafe { std::mem::transmute::<*mut (), Raise>(host)(text.as_ptr(), text.len()) }
}
