//! Folders: an entry has another layout there (`<sys/dirent.h>`, with inodes of 64 bits), and stays until the next one is
//! read. So a `DIR` of such an image is one of ours, with the host's in it and room for an entry.

use super::Pointer;
use crate::addr::RunAddr;
use crate::platform;
use std::ffi::{CStr, c_char, c_int, c_long};
use std::ptr;

pub(super) fn entry(name: &[u8]) -> Option<RunAddr> {
    let at: Pointer = match name {
        b"_opendir$INODE64" => open as Pointer,
        b"_fdopendir$INODE64" => open_file as Pointer,
        b"_readdir$INODE64" => read as Pointer,
        b"_readdir_r$INODE64" => read_into as Pointer,
        b"_rewinddir$INODE64" => rewind as Pointer,
        b"_telldir$INODE64" => tell as Pointer,
        b"_seekdir$INODE64" => seek as Pointer,
        b"_dirfd" => file as Pointer,
        b"_closedir" => close as Pointer,
        _ => return None,
    };
    Some(RunAddr(at.expose_provenance() as u64))
}

/// Bytes of a name, with its zero.
const NAME: usize = 1024;

#[repr(C)]
struct Entry {
    inode: u64,
    offset: u64,
    size: u16,
    length: u16,
    kind: u8,
    name: [u8; NAME],
}

/// What `DIR` is.
struct Folder {
    host: *mut libc::DIR,
    entry: Entry,
}

fn boxed(host: *mut libc::DIR) -> *mut Folder {
    if host.is_null() {
        return ptr::null_mut();
    }
    let entry = Entry { inode: 0, offset: 0, size: 0, length: 0, kind: 0, name: [0; NAME] };
    Box::into_raw(Box::new(Folder { host, entry }))
}

/// `opendir`
///
/// # Safety
/// `path` is a C string.
unsafe extern "C" fn open(path: *const c_char) -> *mut Folder {
    // SAFETY: as the caller promises.
    boxed(unsafe { libc::opendir(path) })
}

/// `fdopendir`
///
/// # Safety
/// The descriptor is the caller's to give away.
unsafe extern "C" fn open_file(file: c_int) -> *mut Folder {
    // SAFETY: as the caller promises.
    boxed(unsafe { libc::fdopendir(file) })
}

/// Writes the next entry; says whether there is one.
///
/// # Safety
/// `folder` is open, and nobody else reads it now; `to` has room for an entry.
unsafe fn next(folder: *mut Folder, to: *mut Entry) -> bool {
    // SAFETY: as the caller promises.
    let host = unsafe { libc::readdir((*folder).host) };
    if host.is_null() {
        return false;
    }
    // SAFETY: an entry of the host, which stays until the next one is read, and whose name is a C string.
    let (host, name) = unsafe { (&*host, CStr::from_ptr((&raw const (*host).d_name).cast())) };
    let name = &name.to_bytes()[..name.count_bytes().min(NAME - 1)];
    // The rest of the entry, as far as a caller may look, is rounded up to four bytes.
    let size = (std::mem::offset_of!(Entry, name) + name.len() + 1).next_multiple_of(4);
    let mut entry = Entry {
        inode: platform::inode(host),
        offset: 0,
        size: size as u16,
        length: name.len() as u16,
        kind: host.d_type,
        name: [0; NAME],
    };
    entry.name[..name.len()].copy_from_slice(name);
    // SAFETY: as the caller promises.
    unsafe { to.write(entry) };
    true
}

/// `readdir`
///
/// # Safety
/// `folder` is open, and nobody else reads it now.
unsafe extern "C" fn read(folder: *mut Folder) -> *const Entry {
    // SAFETY: as the caller promises; the room is the folder's own.
    let entry = unsafe { &raw mut (*folder).entry };
    // SAFETY: as above.
    if unsafe { next(folder, entry) } { entry } else { ptr::null() }
}

/// `readdir_r`: what cannot be read is the end here.
///
/// # Safety
/// As [`read`]; `entry` has room for one, and `result` for a pointer.
unsafe extern "C" fn read_into(folder: *mut Folder, entry: *mut Entry, result: *mut *mut Entry) -> c_int {
    // SAFETY: as the caller promises.
    let found = if unsafe { next(folder, entry) } { entry } else { ptr::null_mut() };
    // SAFETY: as the caller promises.
    unsafe { result.write(found) };
    0
}

/// `rewinddir`
///
/// # Safety
/// `folder` is open.
unsafe extern "C" fn rewind(folder: *mut Folder) {
    // SAFETY: as the caller promises.
    unsafe { libc::rewinddir((*folder).host) };
}

unsafe extern "C" {
    fn telldir(folder: *mut libc::DIR) -> c_long;
    fn seekdir(folder: *mut libc::DIR, place: c_long);
}

/// `telldir`
///
/// # Safety
/// `folder` is open.
unsafe extern "C" fn tell(folder: *mut Folder) -> c_long {
    // SAFETY: as the caller promises.
    unsafe { telldir((*folder).host) }
}

/// `seekdir`
///
/// # Safety
/// `folder` is open, and `place` came from [`tell`].
unsafe extern "C" fn seek(folder: *mut Folder, place: c_long) {
    // SAFETY: as the caller promises.
    unsafe { seekdir((*folder).host, place) };
}

/// `dirfd`
///
/// # Safety
/// `folder` is open.
unsafe extern "C" fn file(folder: *mut Folder) -> c_int {
    // SAFETY: as the caller promises.
    unsafe { libc::dirfd((*folder).host) }
}

/// `closedir`
///
/// # Safety
/// `folder` is open, and not used again.
unsafe extern "C" fn close(folder: *mut Folder) -> c_int {
    // SAFETY: made by `boxed`, and given up here.
    let folder = unsafe { Box::from_raw(folder) };
    // SAFETY: as above.
    unsafe { libc::closedir(folder.host) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::mem::{MaybeUninit, offset_of};
    use std::os::unix::fs::DirEntryExt;

    #[test]
    fn fields_are_where_apples_header_has_them() {
        assert_eq!((offset_of!(Entry, size), offset_of!(Entry, length), offset_of!(Entry, kind)), (16, 18, 20));
        assert_eq!((offset_of!(Entry, name), size_of::<Entry>()), (21, 1048));
    }

    #[test]
    fn a_folder_is_read() {
        let entries = std::fs::read_dir("/").expect("a folder").flatten();
        let expected: BTreeMap<_, _> =
            entries.map(|entry| (entry.file_name().into_encoded_bytes(), entry.ino())).collect();
        let (mut read_once, mut into) = (BTreeMap::new(), Vec::new());
        // SAFETY: a C string, a folder that is open until it is closed, and room for an entry.
        unsafe {
            let folder = open(c"/".as_ptr());
            assert!(!folder.is_null() && file(folder) >= 0);
            while let Some(entry) = read(folder).as_ref() {
                let name = entry.name[..usize::from(entry.length)].to_vec();
                assert_eq!(entry.name[usize::from(entry.length)], 0);
                read_once.insert(name, entry.inode);
            }
            rewind(folder);
            let (mut room, mut result) = (MaybeUninit::uninit(), ptr::null_mut());
            while read_into(folder, room.as_mut_ptr(), &raw mut result) == 0 && !result.is_null() {
                into.push((&(*result).name)[..usize::from((*result).length)].to_vec());
            }
            assert_eq!(close(folder), 0);
            assert!(open(c"/nowhere/at/all".as_ptr()).is_null());
        }
        let names = [&b"."[..], b".."];
        read_once.retain(|name, _| !names.contains(&&name[..]));
        // What is mounted there has another inode above than below.
        assert_eq!(read_once.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
        assert!(read_once.iter().any(|(name, inode)| expected[name] == *inode));
        assert_eq!(into.len(), read_once.len() + names.len());
    }
}
