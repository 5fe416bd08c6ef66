//! What initialisers are called with, and what rights the process has.
//!
//! Invariant: the argument vectors that are handed out end with a null pointer and are never freed.

use crate::platform::{Auxv, auxv};
use crate::sync::Lazy;
use std::ffi::{CString, c_char, c_int};
use std::ptr;
use std::sync::atomic::{AtomicI32, AtomicPtr, Ordering};

/// The arguments of an initialiser.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arguments {
    pub(crate) argc: c_int,
    pub(crate) argv: *const *const c_char,
    pub(crate) envp: *const *const c_char,
}

static ARGC: AtomicI32 = AtomicI32::new(0);
static ARGV: AtomicPtr<*const c_char> = AtomicPtr::new(ptr::null_mut());

/// The process's own arguments, and its environment as it is now.
pub(crate) fn arguments() -> Arguments {
    let (argc, argv) = started_with().unwrap_or_else(rebuilt);
    Arguments { argc, argv, envp: environment() }
}

/// glibc and FreeBSD call initialisers with the program's arguments, ours among them. musl calls them with none.
#[cfg(all(unix, not(target_env = "musl"), not(target_vendor = "apple")))]
mod captured {
    use super::{ARGC, ARGV, Ordering, c_char, c_int};

    type Initializer = extern "C" fn(c_int, *const *const c_char, *const *const c_char);

    #[used]
    #[unsafe(link_section = ".init_array")]
    static CAPTURE: Initializer = capture;

    extern "C" fn capture(argc: c_int, argv: *const *const c_char, _envp: *const *const c_char) {
        ARGC.store(argc, Ordering::Relaxed);
        ARGV.store(argv.cast_mut(), Ordering::Release);
        crate::runtime::exit::watch_from_the_start();
    }

    /// Makes whoever asks for the arguments link this object file, and with it the entry above.
    pub(super) fn is_linked() -> bool {
        std::hint::black_box(&CAPTURE);
        true
    }
}

#[cfg(not(all(unix, not(target_env = "musl"), not(target_vendor = "apple"))))]
mod captured {
    pub(super) fn is_linked() -> bool {
        false
    }
}

/// What our own initialiser was called with, if it was called with anything.
fn started_with() -> Option<(c_int, *const *const c_char)> {
    const MOST: c_int = 1 << 24;
    let argv = ARGV.load(Ordering::Acquire).cast_const();
    let argc = ARGC.load(Ordering::Relaxed);
    if !captured::is_linked() || argv.is_null() || !argv.is_aligned() || !(0..MOST).contains(&argc) {
        return None;
    }
    // SAFETY: the C library called us with the vector of the process, which has `argc` strings and a null pointer.
    let last = unsafe { argv.add(argc as usize).read() };
    last.is_null().then_some((argc, argv))
}

/// The arguments as std knows them, in a vector of our own.
pub(super) fn rebuilt() -> (c_int, *const *const c_char) {
    /// The vector, null-terminated; its strings are leaked.
    struct Vector(Vec<*const c_char>);
    // SAFETY: the strings are never written to nor freed.
    unsafe impl Send for Vector {}
    // SAFETY: as above.
    unsafe impl Sync for Vector {}
    static VECTOR: Lazy<Vector> = Lazy::new();
    let Vector(argv) = VECTOR.get_or(|| {
        let strings = std::env::args_os().filter_map(|argument| CString::new(argument.into_encoded_bytes()).ok());
        Vector(strings.map(|string| string.into_raw().cast_const()).chain([ptr::null()]).collect())
    });
    ((argv.len() - 1) as c_int, argv.as_ptr())
}

/// `environ`, which moves when the program changes its environment.
fn environment() -> *const *const c_char {
    struct Empty([*const c_char; 1]);
    // SAFETY: a null pointer that is never written to.
    unsafe impl Sync for Empty {}
    static EMPTY: Empty = Empty([ptr::null()]);
    let current = current_environment();
    if current.is_null() { EMPTY.0.as_ptr() } else { current }
}

#[cfg(not(target_vendor = "apple"))]
fn current_environment() -> *const *const c_char {
    unsafe extern "C" {
        static environ: *const *const c_char;
    }
    // SAFETY: POSIX defines the variable; it is read once, whole. That another thread changes the environment at the
    // same time is a race that std's own functions rule out, and C's never did.
    unsafe { (&raw const environ).read_volatile() }
}

#[cfg(target_vendor = "apple")]
fn current_environment() -> *const *const c_char {
    // SAFETY: the function has no preconditions, and returns the address of the variable.
    unsafe { (*libc::_NSGetEnviron()).cast_const().cast() }
}

/// Whether the process has more rights than its user: nothing may come from the environment.
pub(crate) fn secure() -> bool {
    auxv(Auxv::Secure).is_some_and(|secure| secure != 0)
}
