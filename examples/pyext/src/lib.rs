//! Opens libraries for a host that is not written in Rust: what `python/darwin_import.py` calls by `ctypes`.
//!
//! Names that an image does not have itself, such as Python's own functions, are bound to the process, as everywhere.

use sideload::Library;
use std::cell::RefCell;
use std::ffi::{CStr, CString, OsStr, c_char, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;

thread_local!(static ERROR: RefCell<CString> = RefCell::default());

/// Keeps the text for [`pyext_error`].
fn fail<T>(error: &impl ToString, value: T) -> T {
    let text = error.to_string().replace('\0', " ");
    ERROR.set(CString::new(text).unwrap_or_default());
    value
}

/// Opens the library at `path`; null if that fails. It is never closed: Python keeps extension modules for ever.
///
/// # Safety
/// `path` is a C string, and the library's initialisers do no harm.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pyext_open(path: *const c_char) -> *const Library {
    // SAFETY: as the caller promises.
    let path = unsafe { CStr::from_ptr(path) };
    let path = Path::new(OsStr::from_bytes(path.to_bytes()));
    // SAFETY: as the caller promises.
    match unsafe { Library::open(path) } {
        Ok(library) => Box::leak(Box::new(library)),
        Err(error) => fail(&error, ptr::null()),
    }
}

/// The address of a function of that name; null if there is none.
///
/// # Safety
/// `library` came from [`pyext_open`], and `name` is a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pyext_function(library: *const Library, name: *const c_char) -> *const c_void {
    // SAFETY: as the caller promises.
    let (library, name) = unsafe { (&*library, CStr::from_ptr(name)) };
    // SAFETY: only the address is taken.
    match unsafe { library.get::<unsafe extern "C" fn()>(name) } {
        Ok(function) => ptr::with_exposed_provenance(function.address().0 as usize),
        Err(error) => fail(&error, ptr::null()),
    }
}

/// What the last failure in this thread was, until the next one.
#[unsafe(no_mangle)]
pub extern "C" fn pyext_error() -> *const c_char {
    ERROR.with_borrow(|text| text.as_ptr())
}
