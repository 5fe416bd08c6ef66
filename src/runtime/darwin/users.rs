//! Users: a row of theirs has three members more (`<pwd.h>`).

use super::Pointer;
use crate::addr::RunAddr;
use std::ffi::{c_char, c_int};
use std::mem::MaybeUninit;

pub(super) fn entry(name: &[u8]) -> Option<RunAddr> {
    let at: Pointer = match name {
        b"_getpwuid_r" => by_number as Pointer,
        b"_getpwnam_r" => by_name as Pointer,
        _ => return None,
    };
    Some(RunAddr(at.expose_provenance() as u64))
}

/// `struct passwd`
#[repr(C)]
struct User {
    name: *mut c_char,
    password: *mut c_char,
    number: libc::uid_t,
    group: libc::gid_t,
    change: i64,
    class: *mut c_char,
    information: *mut c_char,
    folder: *mut c_char,
    shell: *mut c_char,
    expiration: i64,
}

/// Asks the host in the way of `ask`, and passes on what it says.
///
/// # Safety
/// `user` has room for one, and `result` for a pointer.
unsafe fn asked(
    ask: impl FnOnce(*mut libc::passwd, *mut *mut libc::passwd) -> c_int,
    user: *mut User,
    result: *mut *mut User,
) -> c_int {
    let (mut row, mut found) = (MaybeUninit::uninit(), std::ptr::null_mut());
    let error = ask(row.as_mut_ptr(), &raw mut found);
    // SAFETY: null, or the row that the host filled.
    let end = match unsafe { found.as_ref() } {
        None => std::ptr::null_mut(),
        Some(row) => {
            let own = User {
                name: row.pw_name,
                password: row.pw_passwd,
                number: row.pw_uid,
                group: row.pw_gid,
                change: 0,
                class: c"".as_ptr().cast_mut(),
                information: row.pw_gecos,
                folder: row.pw_dir,
                shell: row.pw_shell,
                expiration: 0,
            };
            // SAFETY: as the caller promises.
            unsafe { user.write(own) };
            user
        }
    };
    // SAFETY: as the caller promises.
    unsafe { result.write(end) };
    super::threads::error(error)
}

/// `getpwuid_r`
///
/// # Safety
/// As [`asked`]; `room` has `size` bytes.
unsafe extern "C" fn by_number(
    number: libc::uid_t,
    user: *mut User,
    room: *mut c_char,
    size: usize,
    result: *mut *mut User,
) -> c_int {
    // SAFETY: as the caller promises.
    unsafe { asked(|row, found| libc::getpwuid_r(number, row, room, size, found), user, result) }
}

/// `getpwnam_r`
///
/// # Safety
/// As [`by_number`]; `name` is a C string.
unsafe extern "C" fn by_name(
    name: *const c_char,
    user: *mut User,
    room: *mut c_char,
    size: usize,
    result: *mut *mut User,
) -> c_int {
    // SAFETY: as the caller promises.
    unsafe { asked(|row, found| libc::getpwnam_r(name, row, room, size, found), user, result) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::CStr;

    #[test]
    fn a_user_has_the_other_systems_layout() {
        assert_eq!(
            [std::mem::offset_of!(User, information), std::mem::offset_of!(User, shell), size_of::<User>()],
            [40, 56, 72]
        );
        let (mut user, mut room, mut found) =
            (MaybeUninit::<User>::uninit(), [0 as c_char; 1024], std::ptr::null_mut());
        // SAFETY: the room is what is said.
        let result = unsafe { by_number(0, user.as_mut_ptr(), room.as_mut_ptr(), room.len(), &raw mut found) };
        assert_eq!((result, found), (0, user.as_mut_ptr()));
        // SAFETY: it was filled.
        let (name, folder, group) =
            unsafe { (CStr::from_ptr((*found).name), CStr::from_ptr((*found).folder), (*found).group) };
        assert_eq!((name, folder, group), (c"root", c"/root", 0));
        // SAFETY: as above.
        let result = unsafe {
            by_name(c"no such user".as_ptr(), user.as_mut_ptr(), room.as_mut_ptr(), room.len(), &raw mut found)
        };
        assert_eq!((result, found.is_null()), (0, true));
        // SAFETY: as above.
        let result = unsafe { by_name(c"root".as_ptr(), user.as_mut_ptr(), room.as_mut_ptr(), 1, &raw mut found) };
        assert_eq!((result, found.is_null()), (libc::ERANGE, true));
    }
}
