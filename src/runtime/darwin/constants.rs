//! Calls that take or return a number with a meaning, of which the two systems have different ones.

use super::{Pointer, signals};
use crate::addr::RunAddr;
use std::ffi::{c_char, c_int};

pub(super) fn entry(name: &[u8]) -> Option<RunAddr> {
    let at: Pointer = match name {
        b"_confstr" => path_of_commands as Pointer,
        b"_fnmatch" => matches as Pointer,
        b"_strsignal" => name_of_signal as Pointer,
        b"_pthread_getschedparam" => scheduling as Pointer,
        b"_pthread_setschedparam" => schedule as Pointer,
        b"_sched_get_priority_min" => lowest_priority as Pointer,
        b"_sched_get_priority_max" => highest_priority as Pointer,
        _ => return None,
    };
    Some(RunAddr(at.expose_provenance() as u64))
}

fn refused() -> c_int {
    crate::platform::set_errno(libc::EINVAL);
    -1
}

/// `confstr`, of which only the path of the system's commands is known (`_CS_PATH`); folders for one user's temporary files
/// are that system's alone.
///
/// # Safety
/// `to` is null or has room for `size` bytes.
unsafe extern "C" fn path_of_commands(name: c_int, to: *mut c_char, size: usize) -> usize {
    const OWN: c_int = 1;
    const PATH: &[u8] = b"/usr/bin:/bin:/usr/sbin:/sbin\0";
    if name != OWN {
        refused();
        return 0;
    }
    if !to.is_null() && size > 0 {
        let count = PATH.len().min(size);
        // SAFETY: no more than the room.
        unsafe {
            to.copy_from_nonoverlapping(PATH.as_ptr().cast(), count);
            to.add(count - 1).write(0);
        }
    }
    PATH.len()
}

/// `fnmatch`: the first two flags have each other's number.
///
/// # Safety
/// C strings.
unsafe extern "C" fn matches(pattern: *const c_char, text: *const c_char, flags: c_int) -> c_int {
    const NO_ESCAPE: c_int = 0x1;
    const PATH_NAME: c_int = 0x2;
    // FNM_PERIOD, FNM_LEADING_DIR and FNM_CASEFOLD are the same in the libraries that have them.
    let others = flags & 0x1c;
    let escape = if flags & NO_ESCAPE != 0 { libc::FNM_NOESCAPE } else { 0 };
    let path = if flags & PATH_NAME != 0 { libc::FNM_PATHNAME } else { 0 };
    // SAFETY: as the caller promises.
    match unsafe { libc::fnmatch(pattern, text, others | escape | path) } {
        0 => 0,
        _ => 1,
    }
}

/// `strsignal`
extern "C" fn name_of_signal(signal: c_int) -> *mut c_char {
    // SAFETY: has no preconditions.
    unsafe { libc::strsignal(signals::host(signal)) }
}

/// Ways to schedule: theirs, and the host's.
const POLICIES: [(c_int, c_int); 3] = [(1, libc::SCHED_OTHER), (2, libc::SCHED_RR), (4, libc::SCHED_FIFO)];

/// The host's; `None` for one that neither has.
fn policy(own: c_int) -> Option<c_int> {
    POLICIES.iter().find(|(known, _)| *known == own).map(|(_, host)| *host)
}

/// `pthread_getschedparam`
///
/// # Safety
/// A thread that was not joined; room for a number and for what there is of parameters, which begin with the priority.
unsafe extern "C" fn scheduling(thread: libc::pthread_t, to: *mut c_int, priority: *mut c_int) -> c_int {
    let mut host = 0;
    // SAFETY: numbers.
    let mut parameters: libc::sched_param = unsafe { std::mem::zeroed() };
    // SAFETY: as the caller promises, and room for both.
    let error = unsafe { libc::pthread_getschedparam(thread, &raw mut host, &raw mut parameters) };
    if error == 0 {
        // What the host has besides is a kind of the plain way.
        let own = POLICIES.iter().find(|(_, known)| *known == host).map_or(POLICIES[0].0, |(own, _)| *own);
        // SAFETY: as the caller promises.
        unsafe {
            to.write(own);
            priority.write(parameters.sched_priority);
        }
    }
    super::threads::error(error)
}

/// `pthread_setschedparam`
///
/// # Safety
/// A thread that was not joined, and a priority.
unsafe extern "C" fn schedule(thread: libc::pthread_t, own: c_int, priority: *const c_int) -> c_int {
    let Some(policy) = policy(own) else { return super::threads::error(libc::EINVAL) };
    // SAFETY: numbers.
    let mut parameters: libc::sched_param = unsafe { std::mem::zeroed() };
    // SAFETY: as the caller promises.
    parameters.sched_priority = unsafe { priority.read() };
    // SAFETY: as above.
    super::threads::error(unsafe { libc::pthread_setschedparam(thread, policy, &raw const parameters) })
}

/// `sched_get_priority_min`
extern "C" fn lowest_priority(own: c_int) -> c_int {
    // SAFETY: has no preconditions.
    policy(own).map_or_else(refused, |policy| unsafe { libc::sched_get_priority_min(policy) })
}

/// `sched_get_priority_max`
extern "C" fn highest_priority(own: c_int) -> c_int {
    // SAFETY: has no preconditions.
    policy(own).map_or_else(refused, |policy| unsafe { libc::sched_get_priority_max(policy) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::CStr;

    #[test]
    fn numbers_mean_what_they_mean_there() {
        // SAFETY: C strings.
        let found = unsafe {
            [(c"a*", c"a/b", 2), (c"a*", c"a/b", 0), (c"a\\*", c"a*", 0), (c"a\\*", c"a\\b", 1), (c"A", c"a", 0x10)]
                .map(|(pattern, text, flags)| matches(pattern.as_ptr(), text.as_ptr(), flags))
        };
        assert_eq!(found, [1, 0, 0, 0, 0]);
        // SAFETY: what is returned is a C string.
        let name = unsafe { CStr::from_ptr(name_of_signal(30)) };
        // SAFETY: as above.
        assert_eq!(name, unsafe { CStr::from_ptr(libc::strsignal(libc::SIGUSR1)) });
    }

    #[test]
    fn a_path_is_cut_off_where_the_room_ends() {
        let mut room = [1 as c_char; 9];
        // SAFETY: the room is what is said.
        unsafe {
            assert_eq!(path_of_commands(1, room.as_mut_ptr(), room.len()), 30);
            assert_eq!(CStr::from_ptr(room.as_ptr()), c"/usr/bin");
            assert_eq!(
                (path_of_commands(1, std::ptr::null_mut(), 0), path_of_commands(65_537, room.as_mut_ptr(), 9)),
                (30, 0)
            );
        }
    }

    #[test]
    fn threads_are_scheduled_by_their_numbers() {
        let (mut policy, mut priority) = (0, 7);
        // SAFETY: this thread, and room for numbers.
        unsafe {
            assert_eq!(scheduling(libc::pthread_self(), &raw mut policy, &raw mut priority), 0);
            assert_eq!((policy, priority), (1, 0));
            assert_eq!(schedule(libc::pthread_self(), policy, &priority), 0);
            assert_eq!(schedule(libc::pthread_self(), 3, &priority), libc::EINVAL);
        }
        assert_eq!((lowest_priority(1), highest_priority(1), highest_priority(0)), (0, 0, -1));
        assert!(highest_priority(4) > lowest_priority(4));
    }
}
