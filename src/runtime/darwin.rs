//! What images for macOS call or read of their system where the host has nothing, or something that differs: see
//! [`crate::darwin`] for the names. Written for x86-64, whose calling convention both systems share.
//!
//! Constants and structures are those of Apple's headers for macOS 13; each function says what differs. `errno` has the
//! host's numbers.
//!
//! Invariant: a pointer that comes in is followed only as the contract of the function of that name says; what is handed
//! out lies in statics, or is the host's.

mod bits;
mod children;
mod complex;
mod constants;
mod cxx;
mod dispatch;
mod files;
mod floats;
mod folders;
mod jumps;
mod locales;
mod locks;
mod numbers;
mod process;
mod records;
mod runes;
mod signals;
mod sockets;
mod stat;
mod system;
mod terminals;
mod threads;
mod times;
mod unwind;
mod users;

use super::{counted, ending};
use crate::addr::RunAddr;
use crate::plan::Query;
use crate::registry::Member;
use std::ffi::{CStr, c_char, c_int};
use std::sync::atomic::{AtomicU64, Ordering};

type Pointer = *const ();

/// The function or the data of that name.
pub(super) fn entry(name: &[u8]) -> Option<RunAddr> {
    let at: Pointer = match name {
        b"dyld_stub_binder" => ending::stub_binder as Pointer,
        b"__tlv_bootstrap" => super::tls::variable_entry(),
        b"__tlv_atexit" => ending::at_thread_exit as Pointer,
        b"___stack_chk_guard" => guard(),
        b"_pthread_atfork" => counted::at_fork as Pointer,
        b"_atexit" => ending::at_exit as Pointer,
        b"___assert_rtn" => assertion_failed as Pointer,
        b"___sincos_stret" => sin_and_cos as Pointer,
        b"___sincosf_stret" => sin_and_cos_f32 as Pointer,
        b"_memset_pattern4" => fill_pattern::<4> as Pointer,
        b"_memset_pattern8" => fill_pattern::<8> as Pointer,
        b"_memset_pattern16" => fill_pattern::<16> as Pointer,
        b"_strlcpy" => copy_string as Pointer,
        b"_strlcat" => append_string as Pointer,
        b"___strlcpy_chk" => copy_string as Pointer,
        b"___strlcat_chk" => append_string as Pointer,
        b"__NSGetEnviron" => environment as Pointer,
        _ => {
            return runes::entry(name)
                .or_else(|| files::entry(name))
                .or_else(|| threads::entry(name))
                .or_else(|| cxx::entry(name))
                .or_else(|| unwind::entry(name))
                .or_else(|| dispatch::entry(name))
                .or_else(|| jumps::entry(name))
                .or_else(|| process::entry(name))
                .or_else(|| stat::entry(name))
                .or_else(|| folders::entry(name))
                .or_else(|| locales::entry(name))
                .or_else(|| signals::entry(name))
                .or_else(|| floats::entry(name))
                .or_else(|| complex::entry(name))
                .or_else(|| numbers::entry(name))
                .or_else(|| times::entry(name))
                .or_else(|| locks::entry(name))
                .or_else(|| constants::entry(name))
                .or_else(|| records::entry(name))
                .or_else(|| children::entry(name))
                .or_else(|| terminals::entry(name))
                .or_else(|| users::entry(name))
                .or_else(|| sockets::entry(name))
                .or_else(|| system::entry(name));
        }
    };
    Some(RunAddr(at.expose_provenance() as u64))
}

/// Ends the process with a message.
fn die(message: std::fmt::Arguments<'_>) -> ! {
    eprintln!("sideload: {message}");
    std::process::abort()
}

/// `__stack_chk_guard`: a variable there, a word of the thread control block here, whose value it gets.
fn guard() -> Pointer {
    static GUARD: AtomicU64 = AtomicU64::new(0);
    let canary: u64;
    // SAFETY: psABI x86-64: the word at %fs:40 is the canary, and always readable.
    unsafe { std::arch::asm!("mov {}, fs:40", out(reg) canary, options(nostack, preserves_flags, readonly)) };
    // The first one stays: functions compare it with what they saw before.
    let _ = GUARD.compare_exchange(0, canary | 0x0a00, Ordering::Relaxed, Ordering::Relaxed);
    GUARD.as_ptr().cast_const().cast()
}

/// `__assert_rtn`
///
/// # Safety
/// The arguments are null or C strings.
unsafe extern "C" fn assertion_failed(
    function: *const c_char,
    file: *const c_char,
    line: c_int,
    expression: *const c_char,
) -> ! {
    let text = |text: *const c_char| match text.is_null() {
        true => String::new(),
        // SAFETY: as the caller promises.
        false => unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned(),
    };
    let (function, file, expression) = (text(function), text(file), text(expression));
    die(format_args!("assertion failed: ({expression}), function {function}, file {file}, line {line}"))
}

/// What `__sincos_stret` returns in two registers.
#[repr(C)]
struct SinCos<F> {
    sin: F,
    cos: F,
}

extern "C" fn sin_and_cos(angle: f64) -> SinCos<f64> {
    static HOST: AtomicU64 = AtomicU64::new(0);
    sines(b"sincos", &HOST, angle)
}

extern "C" fn sin_and_cos_f32(angle: f32) -> SinCos<f32> {
    static HOST: AtomicU64 = AtomicU64::new(0);
    sines(b"sincosf", &HOST, angle)
}

/// Calls the process's function of that name, which the first call looks for: were it linked to, every program would
/// have libm in its scope, and each import of each library would be looked for there.
fn sines<F: Default>(name: &[u8], known: &AtomicU64, angle: F) -> SinCos<F> {
    if known.load(Ordering::Relaxed) == 0 {
        let Some(at) = function(name) else {
            die(format_args!("{}: the process has no libm", name.escape_ascii()));
        };
        known.store(at.0, Ordering::Relaxed);
    }
    let at: Pointer = std::ptr::with_exposed_provenance(known.load(Ordering::Relaxed) as usize);
    let mut both = SinCos { sin: F::default(), cos: F::default() };
    // SAFETY: libm's functions of these names have this type, and write two numbers.
    unsafe {
        let function = std::mem::transmute::<Pointer, unsafe extern "C" fn(F, *mut F, *mut F)>(at);
        function(angle, &raw mut both.sin, &raw mut both.cos);
    }
    both
}

/// A function of an image of the process, the host's first.
fn function(name: &[u8]) -> Option<RunAddr> {
    let query = Query::by_name(name);
    // SAFETY: its image is loaded, and so its resolver has run before or can.
    Member::all()?.iter().find_map(|image| unsafe { image.address(&query) })
}

/// `memset_pattern4`, `8` and `16`: the last copy is cut off where the length says.
///
/// # Safety
/// `pattern` has `N` bytes, and `start` room for `size`.
unsafe extern "C" fn fill_pattern<const N: usize>(start: *mut u8, pattern: *const [u8; N], size: usize) {
    if size == 0 {
        // The pointers may be null.
        return;
    }
    // SAFETY: as the caller promises.
    let pattern = unsafe { pattern.read_unaligned() };
    // SAFETY: as above.
    let room = unsafe { std::slice::from_raw_parts_mut(start, size) };
    for piece in room.chunks_mut(N) {
        piece.copy_from_slice(&pattern[..piece.len()]);
    }
}

/// `strlcpy`: returns the length that it tried to make.
///
/// # Safety
/// `from` is a C string, and `to` has room for `size` bytes.
unsafe extern "C" fn copy_string(to: *mut c_char, from: *const c_char, size: usize) -> usize {
    // SAFETY: as the caller promises.
    let from = unsafe { CStr::from_ptr(from) };
    let bytes = from.to_bytes();
    if size > 0 {
        let count = bytes.len().min(size - 1);
        // SAFETY: `count` and the zero are no more than `size`.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr().cast(), to, count) };
        // SAFETY: as above.
        unsafe { to.add(count).write(0) };
    }
    bytes.len()
}

/// `strlcat`
///
/// # Safety
/// As [`copy_string`]; the first `size` bytes of `to` can be read.
unsafe extern "C" fn append_string(to: *mut c_char, from: *const c_char, size: usize) -> usize {
    // SAFETY: as the caller promises.
    let there = unsafe { libc::strnlen(to, size) };
    // SAFETY: what is left of the room begins there.
    there + unsafe { copy_string(to.add(there), from, size - there) }
}

/// `_NSGetEnviron`: the address of `environ`.
extern "C" fn environment() -> Pointer {
    unsafe extern "C" {
        static environ: *const *const c_char;
    }
    (&raw const environ).cast()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sines_come_from_the_process() {
        // SAFETY: libm's initialisers are harmless.
        let libm = unsafe { crate::Library::open("libm.so.6") }.expect("a libm");
        let SinCos { sin, cos } = sin_and_cos(0.5);
        assert!((sin - 0.479_425_538_604_203).abs() < 1e-15 && (cos - 0.877_582_561_890_372_8).abs() < 1e-15);
        let SinCos { sin, cos } = sin_and_cos_f32(0.5);
        assert!((sin - 0.479_425_54).abs() < 1e-6 && (cos - 0.877_582_55).abs() < 1e-6);
        drop(libm);
    }

    #[test]
    fn every_name_has_something_to_bind_to() {
        for name in crate::darwin::OURS {
            assert!(entry(name).is_some_and(|at| at.0 != 0), "{}", name.escape_ascii());
        }
        assert_eq!(entry(b"_malloc"), None);
    }

    #[test]
    fn strings_are_cut_off_and_terminated() {
        let mut room = [1 as c_char; 8];
        // SAFETY: the room is what is said.
        let (copied, appended) = unsafe {
            let copied = copy_string(room.as_mut_ptr(), c"abc".as_ptr(), 8);
            (copied, append_string(room.as_mut_ptr(), c"defghi".as_ptr(), 8))
        };
        assert_eq!((copied, appended), (3, 9));
        assert_eq!(room.map(|byte| byte as u8), *b"abcdefg\0");
    }

    #[test]
    fn patterns_end_where_the_room_does() {
        let mut room = [0u8; 6];
        // SAFETY: the room and the pattern are what is said.
        unsafe { fill_pattern::<4>(room.as_mut_ptr(), b"abcd", 6) };
        assert_eq!(&room, b"abcdab");
        // SAFETY: no room is used.
        unsafe { fill_pattern::<16>(std::ptr::null_mut(), std::ptr::null(), 0) };
    }
}
