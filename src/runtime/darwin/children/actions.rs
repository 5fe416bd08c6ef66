//! What is done with files in a child before it runs, and what it is like: both are pointers there, of eight bytes, and
//! structures of the host's here.
//!
//! Invariant: such a pointer is that of a boxed structure which the host has made ready, from `…_init` to `…_destroy`.

use super::super::files::open_flags;
use super::super::signals::with_mask;
use super::super::threads::error;
use super::super::{Pointer, bits};
use crate::addr::RunAddr;
use std::ffi::{c_char, c_int, c_short};
use std::mem::MaybeUninit;

pub(super) fn entry(name: &[u8]) -> Option<RunAddr> {
    let at: Pointer = match name {
        b"_posix_spawn_file_actions_init" => make_actions as Pointer,
        b"_posix_spawn_file_actions_destroy" => destroy_actions as Pointer,
        b"_posix_spawn_file_actions_addopen" => add_open as Pointer,
        b"_posix_spawn_file_actions_addclose" => add_close as Pointer,
        b"_posix_spawn_file_actions_adddup2" => add_duplicate as Pointer,
        b"_posix_spawn_file_actions_addinherit_np" => add_inherited as Pointer,
        b"_posix_spawnattr_init" => make_attributes as Pointer,
        b"_posix_spawnattr_destroy" => destroy_attributes as Pointer,
        b"_posix_spawnattr_setflags" => set_flags as Pointer,
        b"_posix_spawnattr_setpgroup" => set_group as Pointer,
        b"_posix_spawnattr_setsigdefault" => set_default_signals as Pointer,
        b"_posix_spawnattr_setsigmask" => set_blocked_signals as Pointer,
        _ => return None,
    };
    Some(RunAddr(at.expose_provenance() as u64))
}

pub(super) type Actions = libc::posix_spawn_file_actions_t;
pub(super) type Attributes = libc::posix_spawnattr_t;

/// Makes a structure in a box.
///
/// # Safety
/// `at` has room for a pointer, and `init` makes one ready if it returns 0.
unsafe fn make<T>(at: *mut *mut T, init: unsafe extern "C" fn(*mut T) -> c_int) -> c_int {
    let mut host = Box::new(MaybeUninit::<T>::zeroed());
    // SAFETY: room for one.
    let result = unsafe { init(host.as_mut_ptr()) };
    if result == 0 {
        // SAFETY: as the caller promises.
        unsafe { at.write(Box::into_raw(host).cast()) };
    }
    error(result)
}

/// Takes it back.
///
/// # Safety
/// [`make`] wrote the pointer, which is used no more; `destroy` takes back what made it ready.
unsafe fn destroy<T>(at: *mut *mut T, destroy: unsafe extern "C" fn(*mut T) -> c_int) -> c_int {
    // SAFETY: as the caller promises; a second time there is nothing.
    unsafe {
        let host = at.replace(std::ptr::null_mut());
        if host.is_null() {
            return error(libc::EINVAL);
        }
        let result = destroy(host);
        drop(Box::from_raw(host.cast::<MaybeUninit<T>>()));
        error(result)
    }
}

/// `posix_spawn_file_actions_init`
///
/// # Safety
/// As [`make`].
unsafe extern "C" fn make_actions(at: *mut *mut Actions) -> c_int {
    // SAFETY: as the caller promises.
    unsafe { make(at, libc::posix_spawn_file_actions_init) }
}

/// `posix_spawn_file_actions_destroy`
///
/// # Safety
/// As [`destroy`].
unsafe extern "C" fn destroy_actions(at: *mut *mut Actions) -> c_int {
    // SAFETY: as the caller promises.
    unsafe { destroy(at, libc::posix_spawn_file_actions_destroy) }
}

/// `posix_spawn_file_actions_addopen`
///
/// # Safety
/// [`make_actions`] wrote the pointer, and `path` is a C string.
unsafe extern "C" fn add_open(
    at: *mut *mut Actions,
    file: c_int,
    path: *const c_char,
    flags: c_int,
    mode: u16,
) -> c_int {
    let mode = libc::mode_t::from(mode);
    // SAFETY: as the caller promises.
    error(unsafe { libc::posix_spawn_file_actions_addopen(at.read(), file, path, open_flags(flags), mode) })
}

/// `posix_spawn_file_actions_addclose`
///
/// # Safety
/// [`make_actions`] wrote the pointer.
unsafe extern "C" fn add_close(at: *mut *mut Actions, file: c_int) -> c_int {
    // SAFETY: as the caller promises.
    error(unsafe { libc::posix_spawn_file_actions_addclose(at.read(), file) })
}

/// `posix_spawn_file_actions_adddup2`
///
/// # Safety
/// As [`add_close`].
unsafe extern "C" fn add_duplicate(at: *mut *mut Actions, file: c_int, new: c_int) -> c_int {
    // SAFETY: as the caller promises.
    error(unsafe { libc::posix_spawn_file_actions_adddup2(at.read(), file, new) })
}

/// `posix_spawn_file_actions_addinherit_np`: the file stays open in the child. A duplicate of the same number does that
/// (POSIX.1-2024).
///
/// # Safety
/// As [`add_close`].
unsafe extern "C" fn add_inherited(at: *mut *mut Actions, file: c_int) -> c_int {
    // SAFETY: as the caller promises.
    unsafe { add_duplicate(at, file, file) }
}

/// `posix_spawnattr_init`
///
/// # Safety
/// As [`make`].
unsafe extern "C" fn make_attributes(at: *mut *mut Attributes) -> c_int {
    // SAFETY: as the caller promises.
    unsafe { make(at, libc::posix_spawnattr_init) }
}

/// `posix_spawnattr_destroy`
///
/// # Safety
/// As [`destroy`].
unsafe extern "C" fn destroy_attributes(at: *mut *mut Attributes) -> c_int {
    // SAFETY: as the caller promises.
    unsafe { destroy(at, libc::posix_spawnattr_destroy) }
}

/// Theirs, and the host's. Others have no counterpart: to replace the caller itself, to start stopped, to close all files.
const FLAGS: [(c_int, c_int); 4] = [
    (0x1, libc::POSIX_SPAWN_RESETIDS as c_int),
    (0x2, libc::POSIX_SPAWN_SETPGROUP as c_int),
    (0x4, libc::POSIX_SPAWN_SETSIGDEF as c_int),
    (0x8, libc::POSIX_SPAWN_SETSIGMASK as c_int),
];

/// `posix_spawnattr_setflags`
///
/// # Safety
/// [`make_attributes`] wrote the pointer.
unsafe extern "C" fn set_flags(at: *mut *mut Attributes, flags: c_short) -> c_int {
    let Some(host) = bits::all_to_host(flags.into(), &FLAGS) else { return error(libc::EINVAL) };
    // SAFETY: as the caller promises.
    error(unsafe { libc::posix_spawnattr_setflags(at.read(), host as c_short) })
}

/// `posix_spawnattr_setpgroup`
///
/// # Safety
/// As [`set_flags`].
unsafe extern "C" fn set_group(at: *mut *mut Attributes, group: libc::pid_t) -> c_int {
    // SAFETY: as the caller promises.
    error(unsafe { libc::posix_spawnattr_setpgroup(at.read(), group) })
}

/// `posix_spawnattr_setsigdefault`
///
/// # Safety
/// As [`set_flags`]; a set of signals.
unsafe extern "C" fn set_default_signals(at: *mut *mut Attributes, set: *const u32) -> c_int {
    // SAFETY: as the caller promises.
    error(unsafe { with_mask(set, |set| libc::posix_spawnattr_setsigdefault(at.read(), set)) })
}

/// `posix_spawnattr_setsigmask`
///
/// # Safety
/// As [`set_default_signals`].
unsafe extern "C" fn set_blocked_signals(at: *mut *mut Attributes, set: *const u32) -> c_int {
    // SAFETY: as the caller promises.
    error(unsafe { with_mask(set, |set| libc::posix_spawnattr_setsigmask(at.read(), set)) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ptr::null_mut;

    #[test]
    fn a_child_gets_its_files_and_its_group() {
        let path = std::env::temp_dir().join(format!("sideload-actions-{}", std::process::id()));
        let name = std::ffi::CString::new(path.as_os_str().as_encoded_bytes()).expect("a path");
        let script = c"echo said; echo more >&7; kill -USR1 $$";
        let arguments = [c"sh".as_ptr().cast_mut(), c"-c".as_ptr().cast_mut(), script.as_ptr().cast_mut(), null_mut()];
        let (mut actions, mut attributes) = (null_mut(), null_mut());
        let (mut process, mut status) = (0, 0);
        // SAFETY: structures that are made, used and destroyed in turn, lists that end with null, and this test's child.
        unsafe {
            let made = [make_actions(&raw mut actions), make_attributes(&raw mut attributes)];
            // To write, to create, to forget what is there: by their numbers there.
            let added = [
                add_open(&raw mut actions, 1, name.as_ptr(), 0x1 | 0x200 | 0x400, 0o600),
                add_duplicate(&raw mut actions, 1, 7),
                add_inherited(&raw mut actions, 2),
                add_close(&raw mut actions, 0),
            ];
            let set = [
                set_flags(&raw mut attributes, 0x2 | 0x4 | 0x8),
                set_group(&raw mut attributes, 0),
                set_default_signals(&raw mut attributes, &(1 << 29)),
                set_blocked_signals(&raw mut attributes, &0),
            ];
            assert_eq!((made, added, set), ([0; 2], [0; 4], [0; 4]));
            assert_eq!(set_flags(&raw mut attributes, 0x40), libc::EINVAL);
            let environment = [null_mut()];
            let started = super::super::spawn(
                &raw mut process,
                c"/bin/sh".as_ptr(),
                &raw const actions,
                &raw const attributes,
                arguments.as_ptr(),
                environment.as_ptr(),
            );
            assert_eq!(started, 0);
            assert_eq!(super::super::wait_for(process, &raw mut status, 0), process);
            assert_eq!([destroy_actions(&raw mut actions), destroy_attributes(&raw mut attributes)], [0; 2]);
            assert_eq!(destroy_actions(&raw mut actions), libc::EINVAL);
        }
        // By the number of the signal there.
        assert_eq!(status, 30);
        assert_eq!(std::fs::read_to_string(&path).expect("a file"), "said\nmore\n");
        std::fs::remove_file(&path).expect("a file");
    }
}
