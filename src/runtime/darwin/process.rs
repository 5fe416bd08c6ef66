//! What an image asks about its process and the images in it. Of the latter it is told that there are none: nobody but a
//! writer of backtraces asks, and these have no Mach-O header in memory that he could read on.

use super::Pointer;
use crate::addr::RunAddr;
use std::ffi::{c_char, c_int, c_void};
use std::os::unix::ffi::OsStringExt;

pub(super) fn entry(name: &[u8]) -> Option<RunAddr> {
    let at: Pointer = match name {
        b"__dyld_image_count" => no_images as Pointer,
        b"__dyld_get_image_name" | b"__dyld_get_image_header" | b"__dyld_get_image_vmaddr_slide" => no_image as Pointer,
        b"__NSGetExecutablePath" => executable as Pointer,
        b"_CCRandomGenerateBytes" => random as Pointer,
        b"_getrlimit" => limit as Pointer,
        b"_setrlimit" => set_limit as Pointer,
        _ => return None,
    };
    Some(RunAddr(at.expose_provenance() as u64))
}

extern "C" fn no_images() -> u32 {
    0
}

extern "C" fn no_image(_index: u32) -> *const c_void {
    std::ptr::null()
}

/// `_NSGetExecutablePath`: −1 and the size that it takes where there is no room.
///
/// # Safety
/// `path` has room for `*size` bytes.
unsafe extern "C" fn executable(path: *mut c_char, size: *mut u32) -> c_int {
    let Ok(own) = std::env::current_exe() else { return -1 };
    let mut bytes = own.into_os_string().into_vec();
    bytes.push(0);
    // SAFETY: as the caller promises.
    let room = unsafe { size.replace(bytes.len() as u32) } as usize;
    if room < bytes.len() {
        return -1;
    }
    // SAFETY: no more than the room.
    unsafe { path.copy_from_nonoverlapping(bytes.as_ptr().cast(), bytes.len()) };
    0
}

/// `CCRandomGenerateBytes`: 0 for success.
///
/// # Safety
/// `start` has room for `size` bytes.
unsafe extern "C" fn random(start: *mut u8, size: usize) -> c_int {
    /// More than that, the host's function does not give at once.
    const MOST: usize = 256;
    if size == 0 {
        // The pointer may be null.
        return 0;
    }
    // SAFETY: as the caller promises.
    let room = unsafe { std::slice::from_raw_parts_mut(start, size) };
    for piece in room.chunks_mut(MOST) {
        // SAFETY: the piece is room for so many bytes.
        if unsafe { libc::getentropy(piece.as_mut_ptr().cast(), piece.len()) } != 0 {
            return -1;
        }
    }
    0
}

/// What is unlimited there.
const INFINITY: u64 = i64::MAX as u64;

/// The host's number of a limit: memory is one of two there, of which the last counts for both.
fn host_limit(limit: c_int) -> Option<Limit> {
    const LIMITS: [Limit; 9] = [
        libc::RLIMIT_CPU,
        libc::RLIMIT_FSIZE,
        libc::RLIMIT_DATA,
        libc::RLIMIT_STACK,
        libc::RLIMIT_CORE,
        libc::RLIMIT_AS,
        libc::RLIMIT_MEMLOCK,
        libc::RLIMIT_NPROC,
        libc::RLIMIT_NOFILE,
    ];
    // A bit says which variant of the function was called (`_RLIMIT_POSIX_FLAG`).
    LIMITS.get(usize::try_from(limit & !0x1000).ok()?).copied()
}

/// How the host's functions take it.
#[cfg(target_env = "gnu")]
type Limit = libc::__rlimit_resource_t;
#[cfg(not(target_env = "gnu"))]
type Limit = c_int;

fn invalid() -> c_int {
    crate::platform::set_errno(libc::EINVAL);
    -1
}

/// `getrlimit`
///
/// # Safety
/// There is room for two numbers.
#[allow(clippy::unnecessary_cast)] // The type has a sign on other systems.
unsafe extern "C" fn limit(limit: c_int, place: *mut [u64; 2]) -> c_int {
    let Some(limit) = host_limit(limit) else { return invalid() };
    let mut found = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: room for one.
    let result = unsafe { libc::getrlimit(limit, &raw mut found) };
    if result == 0 {
        let both = [found.rlim_cur, found.rlim_max].map(|value| (value as u64).min(INFINITY));
        // SAFETY: as the caller promises.
        unsafe { place.write(both) };
    }
    result
}

/// `setrlimit`
///
/// # Safety
/// There are two numbers.
unsafe extern "C" fn set_limit(limit: c_int, place: *const [u64; 2]) -> c_int {
    let Some(limit) = host_limit(limit) else { return invalid() };
    let host = |value: u64| if value >= INFINITY { libc::RLIM_INFINITY } else { value as libc::rlim_t };
    // SAFETY: as the caller promises.
    let [now, most] = unsafe { place.read() };
    // SAFETY: has no preconditions.
    unsafe { libc::setrlimit(limit, &libc::rlimit { rlim_cur: host(now), rlim_max: host(most) }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::unnecessary_cast)]
    fn limits_have_the_other_systems_numbers() {
        const OPEN_FILES: c_int = 8;
        let (mut files, mut cores, mut same) = ([0; 2], [0; 2], [0; 2]);
        let mut host = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: places of those types; what is set is what was there.
        unsafe {
            assert_eq!(
                (limit(OPEN_FILES | 0x1000, &raw mut files), libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut host)),
                (0, 0)
            );
            assert_eq!((limit(4, &raw mut cores), set_limit(4, &raw const cores), limit(4, &raw mut same)), (0, 0, 0));
            assert_eq!([limit(9, &raw mut same), limit(-1, &raw mut same)], [-1; 2]);
        }
        assert_eq!(
            (files, cores),
            ([host.rlim_cur as u64, host.rlim_max as u64].map(|value| value.min(INFINITY)), same)
        );
    }

    #[test]
    fn a_path_is_cut_nowhere() {
        let (mut room, mut size) = ([0 as c_char; 4096], 1);
        // SAFETY: the room is what is said, also where less is said.
        unsafe {
            assert_eq!(executable(room.as_mut_ptr(), &raw mut size), -1);
            assert_eq!((room[0], executable(room.as_mut_ptr(), &raw mut size)), (0, 0));
        }
        let length = room.iter().position(|&byte| byte == 0).expect("a C string");
        assert_eq!((length + 1, room[0] as u8), (size as usize, b'/'));
    }

    #[test]
    fn random_bytes_fill_the_room() {
        let mut room = [0u8; 1000];
        // SAFETY: the room is what is said.
        assert_eq!(unsafe { random(room.as_mut_ptr(), room.len()) }, 0);
        // SAFETY: no room is used.
        assert_eq!(unsafe { random(std::ptr::null_mut(), 0) }, 0);
        assert!(room.chunks(100).all(|piece| piece.iter().any(|&byte| byte != 0)));
    }
}
