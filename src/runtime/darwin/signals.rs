//! Signals have other numbers there, and a set of them is a word of 32 bits (`<sys/signal.h>`). `actions.rs` has what is done
//! on a signal.

mod actions;

use super::Pointer;
use crate::addr::RunAddr;
use std::ffi::c_int;
use std::mem::MaybeUninit;

pub(super) fn entry(name: &[u8]) -> Option<RunAddr> {
    let at: Pointer = match name {
        b"_signal" => actions::set_handler as Pointer,
        b"_sigaction" => actions::change as Pointer,
        b"_raise" => send_to_itself as Pointer,
        b"_kill" => send as Pointer,
        b"_pthread_kill" => send_to_thread as Pointer,
        b"_pthread_sigmask" => mask_of_thread as Pointer,
        b"_sigprocmask" => mask as Pointer,
        b"_sigpending" => pending as Pointer,
        b"_sigemptyset" => empty as Pointer,
        b"_sigfillset" => fill as Pointer,
        b"_sigaddset" => add as Pointer,
        b"_sigdelset" => remove as Pointer,
        b"_sigismember" => holds as Pointer,
        _ => return None,
    };
    Some(RunAddr(at.expose_provenance() as u64))
}

/// The host's numbers, in the order of theirs, from 1; −1 where the host has no such signal (`SIGEMT`, `SIGINFO`).
const SIGNALS: [c_int; 31] = [
    libc::SIGHUP,
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGILL,
    libc::SIGTRAP,
    libc::SIGABRT,
    -1,
    libc::SIGFPE,
    libc::SIGKILL,
    libc::SIGBUS,
    libc::SIGSEGV,
    libc::SIGSYS,
    libc::SIGPIPE,
    libc::SIGALRM,
    libc::SIGTERM,
    libc::SIGURG,
    libc::SIGSTOP,
    libc::SIGTSTP,
    libc::SIGCONT,
    libc::SIGCHLD,
    libc::SIGTTIN,
    libc::SIGTTOU,
    libc::SIGIO,
    libc::SIGXCPU,
    libc::SIGXFSZ,
    libc::SIGVTALRM,
    libc::SIGPROF,
    libc::SIGWINCH,
    -1,
    libc::SIGUSR1,
    libc::SIGUSR2,
];

/// The host's number; 0 stays 0, which asks whether there is such a process. −1 is none.
pub(super) fn host(signal: c_int) -> c_int {
    match usize::try_from(signal) {
        Ok(0) => 0,
        Ok(number) => SIGNALS.get(number - 1).copied().unwrap_or(-1),
        Err(_) => -1,
    }
}

/// Their number; `None` where they have no such signal.
pub(super) fn own(signal: c_int) -> Option<c_int> {
    let known = SIGNALS.iter().position(|&host| host == signal && host > 0)?;
    c_int::try_from(known + 1).ok()
}

/// `raise`
extern "C" fn send_to_itself(signal: c_int) -> c_int {
    // SAFETY: has no preconditions.
    unsafe { libc::raise(host(signal)) }
}

/// `kill`
extern "C" fn send(process: libc::pid_t, signal: c_int) -> c_int {
    // SAFETY: has no preconditions.
    unsafe { libc::kill(process, host(signal)) }
}

/// `pthread_kill`
///
/// # Safety
/// The thread has not been joined.
unsafe extern "C" fn send_to_thread(thread: libc::pthread_t, signal: c_int) -> c_int {
    // SAFETY: as the caller promises.
    super::threads::error(unsafe { libc::pthread_kill(thread, host(signal)) })
}

/// The host's set of the same signals.
fn host_set(set: u32) -> libc::sigset_t {
    let mut room = MaybeUninit::uninit();
    // SAFETY: room for a set, which the call fills.
    let mut all: libc::sigset_t = unsafe {
        libc::sigemptyset(room.as_mut_ptr());
        room.assume_init()
    };
    for (_, &signal) in SIGNALS.iter().enumerate().filter(|&(bit, &signal)| signal > 0 && set & 1 << bit != 0) {
        // SAFETY: a set, and a signal.
        unsafe { libc::sigaddset(&raw mut all, signal) };
    }
    all
}

/// Their set of the same signals.
fn own_set(set: &libc::sigset_t) -> u32 {
    // SAFETY: a set, and a signal.
    let holds = |signal: c_int| signal > 0 && unsafe { libc::sigismember(set, signal) } == 1;
    SIGNALS.iter().enumerate().filter(|&(_, &signal)| holds(signal)).fold(0, |all, (bit, _)| all | 1 << bit)
}

/// Changes the mask in the way of the host's function `change`, which returns 0 for success.
///
/// # Safety
/// `set` is null or a set, and `old` null or room for one.
unsafe fn changed(
    change: unsafe extern "C" fn(c_int, *const libc::sigset_t, *mut libc::sigset_t) -> c_int,
    how: c_int,
    set: *const u32,
    old: *mut u32,
) -> c_int {
    let how = match how {
        1 => libc::SIG_BLOCK,
        2 => libc::SIG_UNBLOCK,
        3 => libc::SIG_SETMASK,
        _ => -1,
    };
    // SAFETY: as the caller promises.
    let new = unsafe { set.as_ref() }.map(|&set| host_set(set));
    let mut before = host_set(0);
    let new = new.as_ref().map_or(std::ptr::null(), |set| &raw const *set);
    // SAFETY: null or a set, and room for one.
    let result = unsafe { change(how, new, &raw mut before) };
    if result == 0 && !old.is_null() {
        // SAFETY: as the caller promises.
        unsafe { old.write(own_set(&before)) };
    }
    result
}

/// Calls a function of the host's that takes a set of signals, or null.
///
/// # Safety
/// `set` is null or a set.
pub(super) unsafe fn with_mask(set: *const u32, call: impl FnOnce(*const libc::sigset_t) -> c_int) -> c_int {
    // SAFETY: as the caller promises.
    let host = unsafe { set.as_ref() }.map(|&set| host_set(set));
    call(host.as_ref().map_or(std::ptr::null(), |set| &raw const *set))
}

/// `pthread_sigmask`
///
/// # Safety
/// As [`changed`].
pub(super) unsafe extern "C" fn mask_of_thread(how: c_int, set: *const u32, old: *mut u32) -> c_int {
    // SAFETY: as the caller promises.
    super::threads::error(unsafe { changed(libc::pthread_sigmask, how, set, old) })
}

/// `sigprocmask`
///
/// # Safety
/// As [`changed`].
unsafe extern "C" fn mask(how: c_int, set: *const u32, old: *mut u32) -> c_int {
    // SAFETY: as the caller promises.
    unsafe { changed(libc::sigprocmask, how, set, old) }
}

/// `sigpending`
///
/// # Safety
/// `set` has room for one.
unsafe extern "C" fn pending(set: *mut u32) -> c_int {
    let mut found = host_set(0);
    // SAFETY: room for a set.
    let result = unsafe { libc::sigpending(&raw mut found) };
    if result == 0 {
        // SAFETY: as the caller promises.
        unsafe { set.write(own_set(&found)) };
    }
    result
}

/// `sigemptyset`
///
/// # Safety
/// `set` has room for one.
unsafe extern "C" fn empty(set: *mut u32) -> c_int {
    // SAFETY: as the caller promises.
    unsafe { set.write(0) };
    0
}

/// `sigfillset`
///
/// # Safety
/// `set` has room for one.
unsafe extern "C" fn fill(set: *mut u32) -> c_int {
    // SAFETY: as the caller promises.
    unsafe { set.write(u32::MAX) };
    0
}

/// The bit of a signal; none for a number that is no signal's.
fn bit(signal: c_int) -> u32 {
    u32::try_from(signal).ok().filter(|signal| (1..=32).contains(signal)).map_or(0, |signal| 1 << (signal - 1))
}

/// `sigaddset`: a number that is no signal's changes nothing.
///
/// # Safety
/// `set` is one.
unsafe extern "C" fn add(set: *mut u32, signal: c_int) -> c_int {
    // SAFETY: as the caller promises.
    unsafe { *set |= bit(signal) };
    if bit(signal) == 0 { -1 } else { 0 }
}

/// `sigdelset`
///
/// # Safety
/// As [`add`].
unsafe extern "C" fn remove(set: *mut u32, signal: c_int) -> c_int {
    // SAFETY: as the caller promises.
    unsafe { *set &= !bit(signal) };
    if bit(signal) == 0 { -1 } else { 0 }
}

/// `sigismember`
///
/// # Safety
/// As [`add`].
unsafe extern "C" fn holds(set: *const u32, signal: c_int) -> c_int {
    // SAFETY: as the caller promises.
    c_int::from(unsafe { *set } & bit(signal) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `SIGUSR1` there, and how a mask changes.
    const USER: c_int = 30;
    const BLOCK: c_int = 1;
    const SET: c_int = 3;

    #[test]
    fn sets_go_there_and_back() {
        let all = SIGNALS.iter().enumerate().filter(|(_, signal)| **signal > 0).fold(0, |all, (bit, _)| all | 1 << bit);
        for set in [0, 1, 1 << (USER - 1), all] {
            assert_eq!(own_set(&host_set(set)), set);
        }
        let mut set = 0;
        // SAFETY: a set.
        unsafe {
            assert_eq!((add(&raw mut set, 10), holds(&raw const set, 10), add(&raw mut set, 0)), (0, 1, -1));
            assert_eq!((set, remove(&raw mut set, 10), fill(&raw mut set)), (1 << 9, 0, 0));
            assert_eq!((set, empty(&raw mut set)), (u32::MAX, 0));
        }
    }

    #[test]
    fn a_blocked_signal_is_pending_under_its_number() {
        let sent = std::thread::spawn(|| {
            let (set, mut before, mut waiting) = (1u32 << (USER - 1), 0, 0);
            // SAFETY: sets; the signal is blocked in this thread, and taken before it is not any more.
            unsafe {
                assert_eq!(mask_of_thread(BLOCK, &raw const set, &raw mut before), 0);
                assert_eq!((before & set, send_to_itself(USER), pending(&raw mut waiting)), (0, 0, 0));
                let mut taken = 0;
                assert_eq!(libc::sigwait(&host_set(set), &raw mut taken), 0);
                assert_eq!((taken, waiting & set), (libc::SIGUSR1, set));
                assert_eq!(mask(SET, &raw const before, std::ptr::null_mut()), 0);
                assert_eq!(mask_of_thread(7, &raw const set, std::ptr::null_mut()), libc::EINVAL);
            }
        });
        sent.join().expect("no signal killed it");
        assert_eq!((send(std::process::id() as libc::pid_t, 0), send_to_itself(7)), (0, -1));
    }
}
