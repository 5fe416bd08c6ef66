//! Processes that an image starts and waits for: what became of one holds the number of a signal.

mod actions;

use self::actions::{Actions, Attributes};
use super::Pointer;
use super::signals::own;
use crate::addr::RunAddr;
use std::ffi::{c_char, c_int};

pub(super) fn entry(name: &[u8]) -> Option<RunAddr> {
    let at: Pointer = match name {
        b"_posix_spawn" => spawn as Pointer,
        b"_posix_spawnp" => spawn_found as Pointer,
        b"_wait" => wait_for_any as Pointer,
        b"_waitpid" => wait_for as Pointer,
        b"_wait4" => wait_and_account as Pointer,
        b"_wait3" => wait_for_any_and_account as Pointer,
        b"_system" => run as Pointer,
        b"_pclose" => close as Pointer,
        _ => return actions::entry(name),
    };
    Some(RunAddr(at.expose_provenance() as u64))
}

/// The host's function that starts a process.
type Spawn = unsafe extern "C" fn(
    *mut libc::pid_t,
    *const c_char,
    *const Actions,
    *const Attributes,
    *const *mut c_char,
    *const *mut c_char,
) -> c_int;

/// `posix_spawn` and `posix_spawnp`
///
/// # Safety
/// As those.
unsafe fn started(
    start: Spawn,
    process: *mut libc::pid_t,
    path: *const c_char,
    (actions, attributes): (*const *mut Actions, *const *mut Attributes),
    [arguments, environment]: [*const *mut c_char; 2],
) -> c_int {
    // SAFETY: null, or what `…_init` wrote.
    let actions = unsafe { actions.as_ref() }.map_or(std::ptr::null(), |host| host.cast_const());
    // SAFETY: as above.
    let attributes = unsafe { attributes.as_ref() }.map_or(std::ptr::null(), |host| host.cast_const());
    // SAFETY: as the caller promises.
    let error = unsafe { start(process, path, actions, attributes, arguments, environment) };
    super::threads::error(error)
}

/// `posix_spawn`
///
/// # Safety
/// As that.
unsafe extern "C" fn spawn(
    process: *mut libc::pid_t,
    path: *const c_char,
    actions: *const *mut Actions,
    attributes: *const *mut Attributes,
    arguments: *const *mut c_char,
    environment: *const *mut c_char,
) -> c_int {
    // SAFETY: as the caller promises.
    unsafe { started(libc::posix_spawn, process, path, (actions, attributes), [arguments, environment]) }
}

/// `posix_spawnp`
///
/// # Safety
/// As that.
unsafe extern "C" fn spawn_found(
    process: *mut libc::pid_t,
    path: *const c_char,
    actions: *const *mut Actions,
    attributes: *const *mut Attributes,
    arguments: *const *mut c_char,
    environment: *const *mut c_char,
) -> c_int {
    // SAFETY: as the caller promises.
    unsafe { started(libc::posix_spawnp, process, path, (actions, attributes), [arguments, environment]) }
}

/// What became of a process, as `<sys/wait.h>` there takes it apart: as here, but for the numbers of signals, and one that
/// goes on again was stopped by `SIGCONT`.
fn status(host: c_int) -> c_int {
    const CONTINUED: c_int = 0x13;
    const STOPPED: c_int = 0x7f;
    let number = |signal: c_int| own(signal).unwrap_or(signal);
    if libc::WIFCONTINUED(host) {
        CONTINUED << 8 | STOPPED
    } else if libc::WIFSTOPPED(host) {
        number(libc::WSTOPSIG(host)) << 8 | STOPPED
    } else if libc::WIFSIGNALED(host) {
        number(libc::WTERMSIG(host)) | host & 0x80
    } else {
        host
    }
}

/// Waits in the way of `wait`, which is told what for by the host's options.
///
/// # Safety
/// `place` is null or room for a status.
unsafe fn waited(
    place: *mut c_int,
    options: c_int,
    wait: impl FnOnce(*mut c_int, c_int) -> libc::pid_t,
) -> libc::pid_t {
    const WCONTINUED: c_int = 0x10;
    // WNOHANG and WUNTRACED are 1 and 2 everywhere.
    let host = options & 3 | if options & WCONTINUED != 0 { libc::WCONTINUED } else { 0 };
    let mut found = 0;
    let process = wait(&raw mut found, if options & !0x13 == 0 { host } else { -1 });
    if process > 0 && !place.is_null() {
        // SAFETY: as the caller promises.
        unsafe { place.write(status(found)) };
    }
    process
}

/// `waitpid`
///
/// # Safety
/// As [`waited`].
unsafe extern "C" fn wait_for(process: libc::pid_t, place: *mut c_int, options: c_int) -> libc::pid_t {
    // SAFETY: as the caller promises, and room for a status.
    unsafe { waited(place, options, |found, options| libc::waitpid(process, found, options)) }
}

/// `wait4`
///
/// # Safety
/// As [`waited`]; `usage` is null or has room for what was used.
unsafe extern "C" fn wait_and_account(
    process: libc::pid_t,
    place: *mut c_int,
    options: c_int,
    usage: *mut libc::rusage,
) -> libc::pid_t {
    // SAFETY: as the caller promises, and room for a status.
    unsafe {
        let process = waited(place, options, |found, options| libc::wait4(process, found, options, usage));
        if process > 0 && !usage.is_null() {
            super::times::in_bytes(usage);
        }
        process
    }
}

/// `wait3`
///
/// # Safety
/// As [`wait_and_account`].
unsafe extern "C" fn wait_for_any_and_account(
    place: *mut c_int,
    options: c_int,
    usage: *mut libc::rusage,
) -> libc::pid_t {
    // SAFETY: as the caller promises.
    unsafe { wait_and_account(-1, place, options, usage) }
}

/// `wait`
///
/// # Safety
/// As [`wait_for`].
unsafe extern "C" fn wait_for_any(place: *mut c_int) -> libc::pid_t {
    // SAFETY: as the caller promises.
    unsafe { wait_for(-1, place, 0) }
}

/// `system`
///
/// # Safety
/// `command` is null or a C string.
unsafe extern "C" fn run(command: *const c_char) -> c_int {
    // SAFETY: as the caller promises.
    match unsafe { libc::system(command) } {
        -1 => -1,
        found if command.is_null() => found,
        found => status(found),
    }
}

/// `pclose`
///
/// # Safety
/// `file` is what `popen` returned.
unsafe extern "C" fn close(file: *mut libc::FILE) -> c_int {
    // SAFETY: as the caller promises.
    match unsafe { libc::pclose(file) } {
        -1 => -1,
        found => status(found),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ptr::null;

    /// Runs a shell, and returns its status.
    fn shell(script: &std::ffi::CStr) -> c_int {
        let arguments = [
            c"sh".as_ptr().cast_mut(),
            c"-c".as_ptr().cast_mut(),
            script.as_ptr().cast_mut(),
            null::<c_char>().cast_mut(),
        ];
        let environment = [null::<c_char>().cast_mut()];
        let (mut process, mut found) = (0, -1);
        // SAFETY: lists that end with null; the child is this test's.
        unsafe {
            let started =
                spawn(&raw mut process, c"/bin/sh".as_ptr(), null(), null(), arguments.as_ptr(), environment.as_ptr());
            let mut usage = std::mem::zeroed::<libc::rusage>();
            let waited = wait_and_account(process, &raw mut found, 0, &raw mut usage);
            assert_eq!((started, waited), (0, process));
            assert!(usage.ru_maxrss > 1 << 16, "{}", usage.ru_maxrss);
        }
        found
    }

    #[test]
    fn a_status_has_the_other_systems_signals() {
        assert_eq!(shell(c"exit 7"), 7 << 8);
        assert_eq!(shell(c"kill -USR1 $$"), 30);
        assert_eq!(shell(c"kill -TERM $$") & 0x7f, 15);
        // SAFETY: commands; the file is what `popen` returned.
        unsafe {
            assert_eq!((run(null()), run(c"exit 3".as_ptr()), run(c"kill -USR2 $$".as_ptr())), (1, 3 << 8, 31));
            assert_eq!(close(libc::popen(c"exit 4".as_ptr(), c"r".as_ptr())), 4 << 8);
        }
        assert_eq!(status(libc::SIGSTOP << 8 | 0x7f), 17 << 8 | 0x7f);
        assert_eq!(status(0xffff), 0x13 << 8 | 0x7f);
    }

    #[test]
    fn options_that_nobody_knows_are_refused() {
        // SAFETY: no process has such options.
        assert_eq!(unsafe { wait_for(1, null::<c_int>().cast_mut(), 0x40) }, -1);
    }
}
