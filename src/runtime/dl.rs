//! The functions of `<dlfcn.h>` and `<link.h>` as loaded images see them.
//!
//! The system loader knows nothing of the images that we load: its `dlsym` would take their calls for the executable's,
//! its `dl_iterate_phdr` would not show them to an unwinder, and what its `dlopen` opens would be a second copy of what
//! we have loaded. So the imports of these names are bound to the functions here ([`entry`]). They have no exported
//! names, since a program that exports `dl_iterate_phdr` or `_dl_find_object` takes them over for the whole process.
//!
//! `dlopen` and `dlsym` depend on who calls: the address that the call returns to tells. It is read by a naked function that passes
//! it on as one more argument, since compiled code may keep no frame pointer that would lead to it.
//!
//! What differs from glibc, on purpose:
//! - `dlclose` counts and unmaps nothing: what loaded code has closed as often as it opened it goes when that code is
//!   unloaded.
//! - `dlopen` uses the settings of the [`Loader`](crate::Loader) that opened the caller, and searches as for what the
//!   caller needs: its `DT_RPATH`, those of who loaded it, the library path, its `DT_RUNPATH`. `LD_LIBRARY_PATH` counts
//!   if it counted for the caller. `RTLD_LAZY` is `RTLD_NOW`; `RTLD_NODELETE` keeps the image for ever.
//! - `dlmopen` knows one namespace. `dlinfo` refuses `RTLD_DI_CONFIGADDR` and the two requests about profiles, as
//!   glibc does the first.
//! - A module id that `dlinfo` or `dl_iterate_phdr` gives is one that the caller's `__tls_get_addr` takes.
//! - A success does not clear the text that an earlier failure left for `dlerror`: POSIX says so.
//!
//! Invariant: a pointer that comes in is followed only where the C standard library's contract says what it points to
//! (C strings, result structures); a handle is looked up and never followed. What goes out stays valid until its image is
//! unloaded, except the text of `dlerror` (until the thread's next call of it) and what a callback is shown (until it
//! returns).

mod folders;
mod handle;
mod images;
mod list;
mod report;
mod scope;

use super::tls;
use crate::addr::RunAddr;
use crate::platform::unix;
use handle::{Failure, Handle};
use images::HeaderInfo;
use report::or_fail;
use scope::View;
use std::ffi::{CStr, c_char, c_int, c_long, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;

/// The names that have a function here, and `__tls_get_addr`.
pub(crate) const NAMES: &[&[u8]] = &[
    b"__tls_get_addr",
    b"dlopen",
    b"dlmopen",
    b"dlsym",
    b"dlvsym",
    b"dlclose",
    b"dlerror",
    b"dladdr",
    b"dladdr1",
    b"dlinfo",
    b"dl_iterate_phdr",
    b"_dl_find_object",
];

/// The function that an import of that name is bound to.
pub(super) fn entry(name: &[u8]) -> Option<RunAddr> {
    let function = match name {
        b"__tls_get_addr" => return Some(tls::get_addr_entry()),
        b"dlopen" => open_entry as *const (),
        b"dlmopen" => namespace_entry as *const (),
        b"dlsym" => symbol_entry as *const (),
        b"dlvsym" => version_entry as *const (),
        b"dlclose" => close as *const (),
        b"dlerror" => error as *const (),
        b"dladdr" => describe as *const (),
        b"dladdr1" => describe_more as *const (),
        b"dlinfo" => inform as *const (),
        b"dl_iterate_phdr" => iterate as *const (),
        b"_dl_find_object" => find_object as *const (),
        _ => return None,
    };
    Some(RunAddr(function.expose_provenance() as u64))
}

/// # Safety
/// `text` is null or a C string, which outlives the result.
unsafe fn string<'a>(text: *const c_char) -> Option<&'a CStr> {
    // SAFETY: as the caller promises.
    (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) })
}

/// # Safety
/// `name` is null or a C string; initialisers of what it names run, and may unwind.
pub(super) unsafe extern "C-unwind" fn open(name: *const c_char, flags: c_int, caller: u64) -> *mut c_void {
    // SAFETY: the C caller's promise.
    let opened = unsafe { Handle::open(string(name), flags, RunAddr(caller)) };
    let pointer = |handle: Option<Handle>| {
        // What is not loaded, and was not to be, is null without being an error.
        let Some(handle) = handle else { return Ok(ptr::null_mut()) };
        View::now().map(|view| handle.pointer(&view)).map_err(Failure::Host)
    };
    or_fail(opened.and_then(pointer), ptr::null_mut())
}

/// # Safety
/// As [`open`].
unsafe extern "C-unwind" fn open_in(namespace: c_long, name: *const c_char, flags: c_int, caller: u64) -> *mut c_void {
    const LM_ID_BASE: c_long = 0;
    if namespace != LM_ID_BASE {
        // SAFETY: the C caller's promise.
        let name = unsafe { string(name) }.unwrap_or_default().to_bytes().to_vec();
        return or_fail(Err(Failure::NoNamespace(name)), ptr::null_mut());
    }
    // SAFETY: the C caller's promise.
    unsafe { open(name, flags, caller) }
}

/// `dlclose`
extern "C-unwind" fn close(handle: *const c_void) -> c_int {
    let closed = View::now().map_err(Failure::Host).and_then(|view| Handle::of(handle, &view)?.close());
    or_fail(closed.map(|()| 0), -1)
}

/// `dlerror`
extern "C" fn error() -> *const c_char {
    report::take()
}

/// Passes the return address on as the last argument. A jump, so that the stack is as the caller left it.
macro_rules! with_caller {
    ($(#[$doc:meta])* $entry:ident($($argument:ident: $type:ty),*) => $function:path,
        x86_64: $x86:literal, aarch64: $arm:literal) => {
        $(#[$doc])*
        #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
        #[unsafe(naked)]
        unsafe extern "C-unwind" fn $entry($($argument: $type),*) -> *mut c_void {
            #[cfg(target_arch = "x86_64")]
            std::arch::naked_asm!(
                ".cfi_startproc",
                concat!("mov ", $x86, ", [rsp]"),
                "jmp {function}",
                ".cfi_endproc",
                function = sym $function,
            );
            #[cfg(target_arch = "aarch64")]
            std::arch::naked_asm!(
                ".cfi_startproc",
                concat!("mov ", $arm, ", x30"),
                "b {function}",
                ".cfi_endproc",
                function = sym $function,
            );
        }

        $(#[$doc])*
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        unsafe extern "C-unwind" fn $entry($($argument: $type),*) -> *mut c_void {
            // SAFETY: the C caller's promise. Nobody's address: the caller is unknown.
            unsafe { $function($($argument,)* 0) }
        }
    };
}
with_caller! {
    /// `dlopen`
    ///
    /// # Safety
    /// As [`open`].
    open_entry(name: *const c_char, flags: c_int) => open, x86_64: "rdx", aarch64: "x2"
}
with_caller! {
    /// `dlmopen`
    ///
    /// # Safety
    /// As [`open`].
    namespace_entry(namespace: c_long, name: *const c_char, flags: c_int) => open_in, x86_64: "rcx", aarch64: "x3"
}
with_caller! {
    /// `dlsym`
    ///
    /// # Safety
    /// As [`search_symbol`].
    symbol_entry(handle: *const c_void, name: *const c_char) => search_symbol, x86_64: "rdx", aarch64: "x2"
}
with_caller! {
    /// `dlvsym`
    ///
    /// # Safety
    /// As [`search_version`].
    version_entry(handle: *const c_void, name: *const c_char, version: *const c_char) => search_version,
    x86_64: "rcx", aarch64: "x3"
}

/// # Safety
/// `name` is a C string; the resolver of an indirect function runs.
pub(super) unsafe extern "C-unwind" fn search_symbol(
    handle: *const c_void,
    name: *const c_char,
    caller: u64,
) -> *mut c_void {
    // SAFETY: the C caller's promise.
    unsafe { search(handle, name, None, caller) }
}

/// `dlsym`, as images for macOS mean it.
///
/// # Safety
/// As [`search_symbol`].
#[cfg(all(target_arch = "x86_64", not(target_vendor = "apple")))]
pub(super) unsafe extern "C-unwind" fn search_darwin(
    handle: *const c_void,
    name: *const c_char,
    caller: u64,
) -> *mut c_void {
    // SAFETY: the C caller's promise.
    let name = unsafe { string(name) }.unwrap_or_default();
    // SAFETY: as above.
    let found = unsafe { handle::search_darwin(handle, name.to_bytes(), RunAddr(caller)) };
    or_fail(found.map(|at| ptr::with_exposed_provenance_mut(at.0 as usize)), ptr::null_mut())
}

/// # Safety
/// `name` and `version` are C strings; the resolver of an indirect function runs.
unsafe extern "C-unwind" fn search_version(
    handle: *const c_void,
    name: *const c_char,
    version: *const c_char,
    caller: u64,
) -> *mut c_void {
    // SAFETY: the C caller's promise.
    unsafe { search(handle, name, string(version), caller) }
}

/// # Safety
/// As [`search_symbol`].
unsafe fn search(handle: *const c_void, name: *const c_char, version: Option<&CStr>, caller: u64) -> *mut c_void {
    // SAFETY: the C caller's promise.
    let name = unsafe { string(name) }.unwrap_or_default();
    // SAFETY: the C caller's promise: it asks for the symbol, and with it for what its resolver chooses.
    let found = unsafe { handle::search(handle, name.to_bytes(), version.map(CStr::to_bytes), RunAddr(caller)) };
    or_fail(found.map(|at| ptr::with_exposed_provenance_mut(at.0 as usize)), ptr::null_mut())
}

/// `Dl_info`
#[derive(Debug)]
#[repr(C)]
struct AddressInfo {
    path: *const c_char,
    base: *const c_void,
    symbol: *const c_char,
    symbol_address: *const c_void,
}

fn pointer<T>(at: RunAddr) -> *const T {
    ptr::with_exposed_provenance(at.0 as usize)
}

/// `dladdr`
///
/// # Safety
/// `info` can be written to.
unsafe extern "C" fn describe(address: *const c_void, info: *mut AddressInfo) -> c_int {
    let at = RunAddr(address.addr() as u64);
    // As in the C library, failing leaves no text for `dlerror`.
    let Some(member) = scope::at(at) else { return 0 };
    let symbol = images::symbol_at(&member, at);
    let filled = AddressInfo {
        path: images::name(&member),
        base: pointer(images::extent(&member).0),
        symbol: symbol.map_or(ptr::null(), |symbol| symbol.name),
        symbol_address: symbol.map_or(ptr::null(), |symbol| pointer(symbol.address)),
    };
    // SAFETY: the C caller's promise.
    unsafe { info.write(filled) };
    1
}

/// `dladdr1`
///
/// # Safety
/// `info` can be written to, and so can `extra` where `flags` asks for something.
unsafe extern "C" fn describe_more(
    address: *const c_void,
    info: *mut AddressInfo,
    extra: *mut *const c_void,
    flags: c_int,
) -> c_int {
    const RTLD_DL_SYMENT: c_int = 1;
    const RTLD_DL_LINKMAP: c_int = 2;
    // SAFETY: the C caller's promise.
    let described = unsafe { describe(address, info) };
    let at = RunAddr(address.addr() as u64);
    let member = scope::at(at).filter(|_| described != 0);
    let told: *const c_void = match flags {
        RTLD_DL_LINKMAP => member.map_or(ptr::null(), |member| pointer(images::link_map(&member))),
        RTLD_DL_SYMENT => {
            let symbol = member.and_then(|member| images::symbol_at(&member, at));
            symbol.map_or(ptr::null(), |symbol| symbol.row.cast())
        }
        _ => return described,
    };
    if !extra.is_null() {
        // SAFETY: the C caller's promise.
        unsafe { extra.write(told) };
    }
    described
}

/// `dlinfo`
///
/// # Safety
/// `result` can be written to, as the request says.
unsafe extern "C" fn inform(handle: *const c_void, request: c_int, result: *mut c_void) -> c_int {
    // SAFETY: the C caller's promise.
    or_fail(unsafe { answer(handle, request, result) }, -1)
}

/// # Safety
/// As [`inform`].
unsafe fn answer(handle: *const c_void, request: c_int, result: *mut c_void) -> Result<c_int, Failure> {
    const RTLD_DI_LMID: c_int = 1;
    const RTLD_DI_LINKMAP: c_int = 2;
    const RTLD_DI_SERINFO: c_int = 4;
    const RTLD_DI_SERINFOSIZE: c_int = 5;
    const RTLD_DI_ORIGIN: c_int = 6;
    const RTLD_DI_TLS_MODID: c_int = 9;
    const RTLD_DI_TLS_DATA: c_int = 10;
    const RTLD_DI_PHDR: c_int = 11;
    let view = View::now().map_err(Failure::Host)?;
    let image = Handle::of(handle, &view)?.image(&view).ok_or(Failure::NoHandle(handle.addr()))?;
    match request {
        // SAFETY: the C caller's promise: room for an `Lmid_t`. There is one namespace.
        RTLD_DI_LMID => unsafe { result.cast::<c_long>().write(0) },
        // SAFETY: the C caller's promise: room for a pointer.
        RTLD_DI_LINKMAP => unsafe { result.cast::<*const c_void>().write(pointer(images::link_map(&image))) },
        // SAFETY: the C caller's promise: a structure of the size that it was told, or was told to ask for.
        RTLD_DI_SERINFO | RTLD_DI_SERINFOSIZE => unsafe {
            folders::tell(&folders::of(&image), result.cast(), request == RTLD_DI_SERINFO)?;
        },
        RTLD_DI_ORIGIN => {
            // SAFETY: a C string that stays as long as the image, which the view keeps.
            let path = unsafe { CStr::from_ptr(images::name(&image)) };
            let folder = origin(path);
            // SAFETY: the C caller's promise: room for the folder's name and a NUL. There is no way to tell how much.
            unsafe {
                ptr::copy_nonoverlapping(folder.as_ptr(), result.cast(), folder.len());
                result.cast::<u8>().add(folder.len()).write(0);
            }
        }
        RTLD_DI_TLS_MODID => {
            let id = view.thread_locals(&image).unwrap_or(0);
            // SAFETY: the C caller's promise: room for a `size_t`.
            unsafe { result.cast::<usize>().write(id as usize) }
        }
        RTLD_DI_TLS_DATA => {
            let block = view.thread_locals(&image).and_then(tls::block).unwrap_or_default();
            // SAFETY: the C caller's promise: room for a pointer.
            unsafe { result.cast::<*const c_void>().write(pointer(block)) }
        }
        RTLD_DI_PHDR => {
            let (table, count) = images::header_pointer(&image);
            // SAFETY: the C caller's promise: room for a pointer.
            unsafe { result.cast::<*const u8>().write(table) };
            return Ok(c_int::from(count));
        }
        _ => return Err(Failure::Request),
    }
    Ok(0)
}

/// The folder that a file is in, as a full path.
fn origin(path: &CStr) -> Vec<u8> {
    let path = Path::new(std::ffi::OsStr::from_bytes(path.to_bytes()));
    let full = unix::absolute(path).unwrap_or_else(|_| path.to_owned());
    full.parent().map_or(Vec::new(), |folder| folder.as_os_str().as_bytes().to_vec())
}

type Visit = unsafe extern "C-unwind" fn(*mut HeaderInfo, usize, *mut c_void) -> c_int;

/// `dl_iterate_phdr`. A callback may throw.
///
/// # Safety
/// `visit` may be called with `data`.
unsafe extern "C-unwind" fn iterate(visit: Visit, data: *mut c_void) -> c_int {
    let Ok(view) = View::now() else { return 0 };
    for mut info in images::header_infos(&view) {
        // SAFETY: the C caller's promise; the structure is what the system's `<link.h>` says, in its full size.
        let result = unsafe { visit(&raw mut info, size_of::<HeaderInfo>(), data) };
        if result != 0 {
            return result;
        }
    }
    0
}

/// `struct dl_find_object` of glibc 2.35, on machines without `dlfo_eh_dbase` (all but 32-bit x86).
#[derive(Debug)]
#[repr(C)]
struct FoundObject {
    flags: u64,
    start: *const c_void,
    end: *const c_void,
    map: *const c_void,
    unwind_index: *const c_void,
    reserved: [u64; 7],
}

/// `_dl_find_object`: how libgcc 12 and later find the frames of an address. libgcc reads the unwind index alone, and
/// does not expect it to be null: an image that has none is not found.
///
/// # Safety
/// `result` can be written to.
unsafe extern "C" fn find_object(address: *const c_void, result: *mut FoundObject) -> c_int {
    let at = RunAddr(address.addr() as u64);
    let Some(member) = scope::at(at) else { return -1 };
    let Some(unwind_index) = images::unwind_index(&member) else { return -1 };
    let (start, end) = images::extent(&member);
    let found = FoundObject {
        flags: 0,
        start: pointer(start),
        end: pointer(end),
        map: pointer(images::link_map(&member)),
        unwind_index: pointer(unwind_index),
        reserved: [0; 7],
    };
    // SAFETY: the C caller's promise.
    unsafe { result.write(found) };
    0
}
