//! `stat`, `fstat` and `lstat`, whose structure has another layout (`<sys/stat.h>`, with inodes of 64 bits).

use super::Pointer;
use crate::addr::RunAddr;
use std::ffi::{c_char, c_int};
use std::mem::MaybeUninit;

pub(super) fn entry(name: &[u8]) -> Option<RunAddr> {
    let at: Pointer = match name {
        b"_stat$INODE64" => of_path as Pointer,
        b"_lstat$INODE64" => of_link as Pointer,
        b"_fstat$INODE64" => of_file as Pointer,
        _ => return None,
    };
    Some(RunAddr(at.expose_provenance() as u64))
}

#[repr(C)]
struct Stat {
    device: i32,
    mode: u16,
    links: u16,
    inode: u64,
    user: u32,
    group: u32,
    special: i32,
    /// Of access, of change of content, of change, of birth: seconds and nanoseconds.
    times: [[i64; 2]; 4],
    size: i64,
    blocks: i64,
    block: i32,
    flags: u32,
    generation: u32,
    spare: [u32; 5],
}

/// Fills the structure from the host's; the time of birth, which that has not, is that of the last change.
///
/// # Safety
/// `to` has room for one. `ask` fills the host's if it returns 0.
#[allow(clippy::unnecessary_cast, reason = "the types differ from one system to the next")]
unsafe fn translate(to: *mut Stat, ask: impl FnOnce(*mut libc::stat) -> c_int) -> c_int {
    let mut host = MaybeUninit::<libc::stat>::zeroed();
    let result = ask(host.as_mut_ptr());
    if result == 0 {
        // SAFETY: filled, as the caller promises.
        let host = unsafe { host.assume_init() };
        let changed = [host.st_ctime as i64, host.st_ctime_nsec as i64];
        let stat = Stat {
            device: host.st_dev as i32,
            mode: host.st_mode as u16,
            links: host.st_nlink as u16,
            inode: host.st_ino as u64,
            user: host.st_uid,
            group: host.st_gid,
            special: host.st_rdev as i32,
            times: [
                [host.st_atime as i64, host.st_atime_nsec as i64],
                [host.st_mtime as i64, host.st_mtime_nsec as i64],
                changed,
                changed,
            ],
            size: host.st_size as i64,
            blocks: host.st_blocks as i64,
            block: host.st_blksize as i32,
            flags: 0,
            generation: 0,
            spare: [0; 5],
        };
        // SAFETY: as the caller promises.
        unsafe { to.write(stat) };
    }
    result
}

/// # Safety
/// `path` is a C string, and `to` has room for the structure.
unsafe extern "C" fn of_path(path: *const c_char, to: *mut Stat) -> c_int {
    // SAFETY: as the caller promises.
    unsafe { translate(to, |host| libc::stat(path, host)) }
}

/// # Safety
/// As [`of_path`].
unsafe extern "C" fn of_link(path: *const c_char, to: *mut Stat) -> c_int {
    // SAFETY: as the caller promises.
    unsafe { translate(to, |host| libc::lstat(path, host)) }
}

/// # Safety
/// `to` has room for the structure.
unsafe extern "C" fn of_file(file: c_int, to: *mut Stat) -> c_int {
    // SAFETY: as the caller promises.
    unsafe { translate(to, |host| libc::fstat(file, host)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::mem::offset_of;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn fields_are_where_apples_header_has_them() {
        assert_eq!((offset_of!(Stat, inode), offset_of!(Stat, special), offset_of!(Stat, times)), (8, 24, 32));
        assert_eq!((offset_of!(Stat, size), offset_of!(Stat, block), size_of::<Stat>()), (96, 112, 144));
    }

    #[test]
    fn a_file_is_described() {
        let own = std::env::current_exe().expect("this test's own path");
        let expected = std::fs::metadata(&own).expect("a file");
        let path = std::ffi::CString::new(own.into_os_string().into_encoded_bytes()).expect("no NUL in it");
        let mut found = MaybeUninit::uninit();
        // SAFETY: a C string, and room for the structure, which is filled if 0 is returned.
        let found: Stat = unsafe {
            assert_eq!(of_path(path.as_ptr(), found.as_mut_ptr()), 0);
            found.assume_init()
        };
        assert_eq!(
            (found.inode, found.size as u64, u32::from(found.mode)),
            (expected.ino(), expected.len(), expected.mode())
        );
        assert_eq!(found.times[1], [expected.mtime(), expected.mtime_nsec()]);
        // SAFETY: as above.
        assert_eq!(unsafe { of_file(-1, MaybeUninit::uninit().as_mut_ptr()) }, -1);
    }
}
