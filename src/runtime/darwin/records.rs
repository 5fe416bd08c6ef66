//! Calls that fill or take a structure with another layout: what the system is called, how full a file system is, and where
//! handlers of signals have their stack.

use super::Pointer;
use crate::addr::RunAddr;
use std::ffi::{c_char, c_int, c_void};
use std::mem::MaybeUninit;

pub(super) fn entry(name: &[u8]) -> Option<RunAddr> {
    let at: Pointer = match name {
        b"_uname" => system as Pointer,
        b"_statvfs" => room_at as Pointer,
        b"_fstatvfs" => room_of as Pointer,
        b"_sigaltstack" => other_stack as Pointer,
        _ => return None,
    };
    Some(RunAddr(at.expose_provenance() as u64))
}

/// `uname`: five strings, of which each has more room there. They say what the host says.
///
/// # Safety
/// `to` has room for them.
unsafe extern "C" fn system(to: *mut [[c_char; 256]; 5]) -> c_int {
    let mut host = MaybeUninit::<libc::utsname>::zeroed();
    // SAFETY: room for the host's.
    if unsafe { libc::uname(host.as_mut_ptr()) } != 0 {
        return -1;
    }
    // SAFETY: filled.
    let host = unsafe { host.assume_init() };
    let strings: [&[c_char]; 5] = [&host.sysname, &host.nodename, &host.release, &host.version, &host.machine];
    let mut own = [[0; 256]; 5];
    for (to, from) in own.iter_mut().zip(strings) {
        let count = from.len().min(to.len() - 1);
        to[..count].copy_from_slice(&from[..count]);
    }
    // SAFETY: as the caller promises.
    unsafe { to.write(own) };
    0
}

/// `struct statvfs`, whose counts have half the size: what is more than they hold is as much as they hold.
#[derive(Debug)]
#[repr(C)]
struct Room {
    block: u64,
    fragment: u64,
    /// Blocks: all, free ones, those for everybody; files in the same way.
    counts: [u32; 6],
    system: u64,
    flags: u64,
    longest_name: u64,
}

/// Fills the structure from the host's.
///
/// # Safety
/// `to` has room for one. `ask` fills the host's if it returns 0.
#[allow(clippy::unnecessary_cast, reason = "the types differ from one system to the next")]
unsafe fn room(to: *mut Room, ask: impl FnOnce(*mut libc::statvfs) -> c_int) -> c_int {
    let mut host = MaybeUninit::<libc::statvfs>::zeroed();
    let result = ask(host.as_mut_ptr());
    if result == 0 {
        // SAFETY: filled, as the caller promises.
        let host = unsafe { host.assume_init() };
        let counts = [host.f_blocks, host.f_bfree, host.f_bavail, host.f_files, host.f_ffree, host.f_favail];
        let own = Room {
            block: host.f_bsize as u64,
            fragment: host.f_frsize as u64,
            counts: counts.map(|count| u32::try_from(count).unwrap_or(u32::MAX)),
            system: host.f_fsid as u64,
            // ST_RDONLY and ST_NOSUID, all that there are.
            flags: host.f_flag as u64 & 3,
            longest_name: host.f_namemax as u64,
        };
        // SAFETY: as the caller promises.
        unsafe { to.write(own) };
    }
    result
}

/// `statvfs`
///
/// # Safety
/// `path` is a C string; as [`room`].
unsafe extern "C" fn room_at(path: *const c_char, to: *mut Room) -> c_int {
    // SAFETY: as the caller promises.
    unsafe { room(to, |host| libc::statvfs(path, host)) }
}

/// `fstatvfs`
///
/// # Safety
/// As [`room`].
unsafe extern "C" fn room_of(file: c_int, to: *mut Room) -> c_int {
    // SAFETY: as the caller promises.
    unsafe { room(to, |host| libc::fstatvfs(file, host)) }
}

/// `stack_t`, whose last two members stand the other way round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
struct Stack {
    start: *mut c_void,
    size: usize,
    flags: c_int,
}

const ON_STACK: c_int = 1;
const DISABLED: c_int = 4;

/// `sigaltstack`
///
/// # Safety
/// `new` is null or a stack, which stays until it is taken back; `old` is null or has room for one.
unsafe extern "C" fn other_stack(new: *const Stack, old: *mut Stack) -> c_int {
    // SAFETY: as the caller promises.
    let new = unsafe { new.as_ref() }.map(|own| libc::stack_t {
        ss_sp: own.start.cast(),
        ss_flags: if own.flags & DISABLED != 0 { libc::SS_DISABLE } else { 0 },
        ss_size: own.size,
    });
    let mut before = MaybeUninit::<libc::stack_t>::zeroed();
    let new = new.as_ref().map_or(std::ptr::null(), |new| &raw const *new);
    // SAFETY: as the caller promises, and room for one.
    let result = unsafe { libc::sigaltstack(new, before.as_mut_ptr()) };
    if result == 0 && !old.is_null() {
        // SAFETY: filled.
        let host = unsafe { before.assume_init() };
        let flag = |host_bit, own| if host.ss_flags & host_bit != 0 { own } else { 0 };
        let flags = flag(libc::SS_ONSTACK, ON_STACK) | flag(libc::SS_DISABLE, DISABLED);
        // SAFETY: as the caller promises.
        unsafe { old.write(Stack { start: host.ss_sp.cast(), size: host.ss_size, flags }) };
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::CStr;

    #[test]
    fn the_system_has_a_name() {
        let mut own = [[1; 256]; 5];
        // SAFETY: room for five strings.
        let (result, names) =
            unsafe { (system(&raw mut own), own.each_ref().map(|name| CStr::from_ptr(name.as_ptr()))) };
        assert_eq!((result, names[4]), (0, c"x86_64"));
        assert!(names.iter().all(|name| !name.is_empty()), "{names:?}");
    }

    #[test]
    fn room_is_counted_in_half_the_size() {
        assert_eq!((size_of::<Room>(), std::mem::offset_of!(Room, system)), (64, 40));
        let mut own = [MaybeUninit::<Room>::zeroed(), MaybeUninit::zeroed()];
        let file = std::fs::File::open("/").expect("a folder");
        // SAFETY: a path, an open file, and room.
        let (results, own) = unsafe {
            let of = room_of(std::os::fd::AsRawFd::as_raw_fd(&file), own[1].as_mut_ptr());
            ([room_at(c"/".as_ptr(), own[0].as_mut_ptr()), of], own.map(|own| own.assume_init()))
        };
        assert_eq!((results, own[0].fragment, own[0].longest_name), ([0, 0], own[1].fragment, own[1].longest_name));
        assert!(own[0].block > 0 && own[0].counts[0] >= own[0].counts[1], "{own:?}");
        // SAFETY: nothing is written.
        assert_eq!(unsafe { room_at(c"/there is no such folder".as_ptr(), std::ptr::null_mut()) }, -1);
    }

    #[test]
    fn a_stack_for_handlers_is_set_and_read_back() {
        let mut room = vec![0u8; 0x10000];
        let new = Stack { start: room.as_mut_ptr().cast(), size: room.len(), flags: 0 };
        let nothing = Stack { start: std::ptr::null_mut(), size: 0, flags: 0 };
        let (mut before, mut read, mut after) = (nothing, nothing, nothing);
        // SAFETY: stacks that outlive their use, and room for one.
        unsafe {
            assert_eq!(other_stack(&new, &raw mut before), 0);
            assert_eq!(other_stack(std::ptr::null(), &raw mut read), 0);
            assert_eq!(other_stack(&before, &raw mut after), 0);
        }
        assert_eq!((read, after), (new, new));
        let off = Stack { flags: DISABLED, ..nothing };
        // SAFETY: as above.
        unsafe {
            assert_eq!((other_stack(&off, &raw mut after), other_stack(&before, &raw mut read)), (0, 0));
        }
        assert_eq!(read.flags, DISABLED);
    }
}
