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

#[cfg(test)]
mod tests {
    use super::*;

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
