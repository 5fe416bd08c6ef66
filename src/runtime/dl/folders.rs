//! Where a library would look for what it opens: `Dl_serinfo`, as `dlinfo` fills it.
//!
//! Invariant: nothing is written beyond what the structure itself says that it has room for.

use super::handle::Failure;
use crate::loader::Loader;
use crate::registry::Member;
use std::ffi::{c_char, c_uint};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::ptr;

/// `Dl_serinfo`; rows follow, then the text that they point to.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct Head {
    size: usize,
    count: c_uint,
}

/// `Dl_serpath`. glibc leaves the flags 0, too.
#[derive(Debug)]
#[repr(C)]
struct Row {
    folder: *const c_char,
    flags: c_uint,
}

/// The folders for an image, in order.
pub(super) fn of(image: &Member) -> Vec<PathBuf> {
    match image {
        Member::Ours(instance) => instance.loader.folders_for(image),
        Member::Host(_) => Loader::new().folders_for(image),
    }
}

/// Says how much room the answer needs, or gives it.
///
/// # Safety
/// `at` can be written to: a head, and if `fill`, as many bytes as that says.
pub(super) unsafe fn tell(folders: &[PathBuf], at: *mut Head, fill: bool) -> Result<(), Failure> {
    let text: usize = folders.iter().map(|folder| folder.as_os_str().len() + 1).sum();
    let rows = size_of::<Head>() + folders.len() * size_of::<Row>();
    let needed = Head { size: rows + text, count: folders.len() as c_uint };
    if !fill {
        // SAFETY: the caller's promise: room for a head.
        unsafe { at.write(needed) };
        return Ok(());
    }
    // SAFETY: the caller's promise: a head, which was filled in by the request for the size.
    let head = unsafe { at.read() };
    if head.size < needed.size || head.count != needed.count {
        return Err(Failure::Room);
    }
    // SAFETY: rows and text begin inside of what the head says there is room for.
    let (mut row, mut place) = unsafe { (at.add(1).cast::<Row>(), at.byte_add(rows).cast::<u8>()) };
    for folder in folders {
        let bytes = folder.as_os_str().as_bytes();
        // SAFETY: as many rows and bytes as were counted, and the head has room for those.
        unsafe {
            row.write(Row { folder: place.cast(), flags: 0 });
            ptr::copy_nonoverlapping(bytes.as_ptr(), place, bytes.len());
            place.add(bytes.len()).write(0);
            (row, place) = (row.add(1), place.add(bytes.len() + 1));
        }
    }
    Ok(())
}
