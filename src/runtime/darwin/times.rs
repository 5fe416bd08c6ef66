//! Calls that take or give times with microseconds. Those have four bytes there and eight here, so the four behind them, of
//! which nobody knows what they hold, must not reach the host. (What the host fills can be read there as it is.)

use super::Pointer;
use super::signals::with_mask;
use crate::addr::RunAddr;
use std::ffi::{c_char, c_int};

pub(super) fn entry(name: &[u8]) -> Option<RunAddr> {
    let at: Pointer = match name {
        b"_select" => select as Pointer,
        b"_pselect" => select_with_mask as Pointer,
        b"_utimes" => of_path as Pointer,
        b"_lutimes" => of_link as Pointer,
        b"_futimes" => of_file as Pointer,
        b"_setitimer" => set_timer as Pointer,
        b"_getrusage" => used as Pointer,
        _ => return None,
    };
    Some(RunAddr(at.expose_provenance() as u64))
}

/// `struct timeval`
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct Time {
    seconds: i64,
    micros: i32,
}

impl Time {
    /// The host's.
    pub(super) fn host(self) -> libc::timeval {
        libc::timeval { tv_sec: self.seconds, tv_usec: self.micros.into() }
    }
}

/// `select`: the time that is left is not written back, as that system does not.
///
/// # Safety
/// The sets are null or have room for `count` bits, and `timeout` is null or a time.
unsafe extern "C" fn select(
    count: c_int,
    read: *mut libc::fd_set,
    write: *mut libc::fd_set,
    except: *mut libc::fd_set,
    timeout: *const Time,
) -> c_int {
    // SAFETY: as the caller promises.
    let mut timeout = unsafe { timeout.as_ref() }.map(|time| time.host());
    let timeout = timeout.as_mut().map_or(std::ptr::null_mut(), |time| &raw mut *time);
    // SAFETY: sets of bits are the same; null, or a time.
    unsafe { libc::select(count, read, write, except, timeout) }
}

/// `pselect`, whose time is the same, and whose set of signals is not.
///
/// # Safety
/// As [`select`]; `mask` is null or a set of signals.
unsafe extern "C" fn select_with_mask(
    count: c_int,
    read: *mut libc::fd_set,
    write: *mut libc::fd_set,
    except: *mut libc::fd_set,
    timeout: *const libc::timespec,
    mask: *const u32,
) -> c_int {
    // SAFETY: as the caller promises.
    unsafe { with_mask(mask, |mask| libc::pselect(count, read, write, except, timeout, mask)) }
}

/// Two times for the host; null stands for now.
///
/// # Safety
/// `times` is null or two times.
unsafe fn with_two(times: *const [Time; 2], call: impl FnOnce(*const libc::timeval) -> c_int) -> c_int {
    // SAFETY: as the caller promises.
    let host = unsafe { times.as_ref() }.map(|times| times.map(Time::host));
    call(host.as_ref().map_or(std::ptr::null(), |times| times.as_ptr()))
}

/// `utimes`
///
/// # Safety
/// `path` is a C string; as [`with_two`].
unsafe extern "C" fn of_path(path: *const c_char, times: *const [Time; 2]) -> c_int {
    // SAFETY: as the caller promises.
    unsafe { with_two(times, |times| libc::utimes(path, times)) }
}

/// `lutimes`
///
/// # Safety
/// As [`of_path`].
unsafe extern "C" fn of_link(path: *const c_char, times: *const [Time; 2]) -> c_int {
    // SAFETY: as the caller promises.
    unsafe { with_two(times, |times| libc::lutimes(path, times)) }
}

/// `futimes`
///
/// # Safety
/// As [`with_two`].
unsafe extern "C" fn of_file(file: c_int, times: *const [Time; 2]) -> c_int {
    // SAFETY: as the caller promises.
    unsafe { with_two(times, |times| libc::futimes(file, times)) }
}

/// `setitimer`
///
/// # Safety
/// `new` is null or two times, and `old` null or room for them.
#[allow(clippy::unnecessary_cast, reason = "the type of the number differs from one system to the next")]
unsafe extern "C" fn set_timer(which: c_int, new: *const [Time; 2], old: *mut libc::itimerval) -> c_int {
    // SAFETY: as the caller promises.
    let new = unsafe { new.as_ref() }.map(|new| {
        let [interval, value] = new.map(Time::host);
        libc::itimerval { it_interval: interval, it_value: value }
    });
    let new = new.as_ref().map_or(std::ptr::null(), |new| &raw const *new);
    // SAFETY: null or two times, and null or room for them: those of theirs have the same size.
    unsafe { libc::setitimer(which as _, new, old) }
}

/// `getrusage`: the largest size is in bytes there.
///
/// # Safety
/// `usage` has room for one.
unsafe extern "C" fn used(who: c_int, usage: *mut libc::rusage) -> c_int {
    // Numbers that only the host has are none.
    let known = who == libc::RUSAGE_SELF || who == libc::RUSAGE_CHILDREN;
    // SAFETY: as the caller promises; the members stand in the same places.
    unsafe {
        let result = libc::getrusage(if known { who } else { -2 }, usage);
        if result == 0 {
            in_bytes(usage);
        }
        result
    }
}

/// Turns the host's account of what was used into theirs.
///
/// # Safety
/// The host filled it.
pub(super) unsafe fn in_bytes(usage: *mut libc::rusage) {
    // SAFETY: as the caller promises.
    let largest = unsafe { &mut (*usage).ru_maxrss };
    *largest = largest.saturating_mul(1024);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::mem::{MaybeUninit, offset_of};

    /// A time as a compiler leaves it on the stack: with anything behind it.
    fn time(seconds: i64, micros: i32) -> [i64; 2] {
        [seconds, i64::from(micros) | 0x7777_7777 << 32]
    }

    #[test]
    fn what_lies_behind_a_time_does_not_matter() {
        let timeout = time(0, 1000);
        let none = std::ptr::null_mut();
        // SAFETY: no sets, and a time.
        assert_eq!(unsafe { select(0, none, none, none, timeout.as_ptr().cast()) }, 0);
        assert_eq!(timeout, time(0, 1000));
        // SAFETY: no sets, a time of the host's, and an empty set.
        let waited = unsafe { select_with_mask(0, none, none, none, &libc::timespec { tv_sec: 0, tv_nsec: 1000 }, &0) };
        assert_eq!(waited, 0);
        let path = std::env::temp_dir().join(format!("sideload-times-{}", std::process::id()));
        let file = std::fs::File::create(&path).expect("a file");
        let name = std::ffi::CString::new(path.as_os_str().as_encoded_bytes()).expect("a path");
        let times = [time(1_000_000_000, 500_000), time(1_100_000_000, 250_000)];
        let number = std::os::fd::AsRawFd::as_raw_fd(&file);
        for set in [0, 1, 2] {
            let times = times.as_ptr().cast();
            // SAFETY: a path, an open file and two times.
            let set = unsafe {
                match set {
                    0 => of_path(name.as_ptr(), times),
                    1 => of_link(name.as_ptr(), times),
                    _ => of_file(number, times),
                }
            };
            assert_eq!(set, 0);
            let modified = file.metadata().and_then(|of| of.modified()).expect("a time");
            let since = modified.duration_since(std::time::UNIX_EPOCH).expect("a time after 1970");
            assert_eq!((since.as_secs(), since.subsec_micros()), (1_100_000_000, 250_000));
            // SAFETY: as above; null is now.
            assert_eq!(unsafe { of_file(number, std::ptr::null()) }, 0);
        }
        std::fs::remove_file(&path).expect("a file");
    }

    #[test]
    fn timers_are_set_and_read_back() {
        const PROFILING: c_int = 2;
        let new = [time(0, 0), time(1000, 7)];
        let none = [time(0, 0); 2];
        let mut old = MaybeUninit::<libc::itimerval>::zeroed();
        // SAFETY: two times, and room for them; the timer is stopped long before it ends.
        let results = unsafe {
            [
                set_timer(PROFILING, new.as_ptr().cast(), std::ptr::null_mut()),
                set_timer(PROFILING, none.as_ptr().cast(), old.as_mut_ptr()),
            ]
        };
        // SAFETY: zeros, or filled.
        let left = unsafe { old.assume_init() }.it_value.tv_sec;
        assert_eq!(results, [0, 0]);
        assert!((990..=1000).contains(&left), "{left}");
    }

    #[test]
    fn what_was_used_is_in_bytes() {
        assert_eq!([offset_of!(libc::rusage, ru_maxrss), offset_of!(libc::rusage, ru_nivcsw)], [32, 136]);
        let mut usage = MaybeUninit::<libc::rusage>::zeroed();
        // SAFETY: room for one.
        let results = unsafe { [used(libc::RUSAGE_SELF, usage.as_mut_ptr()), used(1, std::ptr::null_mut())] };
        // SAFETY: filled.
        let largest = unsafe { usage.assume_init() }.ru_maxrss;
        assert_eq!(results, [0, -1]);
        assert!(largest > 1 << 20, "{largest}");
    }
}
