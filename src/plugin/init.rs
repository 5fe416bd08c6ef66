//! Runs a plugin's init functions, and gives them what the host provides.
//!
//! Invariant: the pointers in an [`InitCall`] are those of a `Context` on the stack of [`run`], which outlives the call;
//! an address is called only after it was found to be code of the plugin; that a function of the right type is there is
//! the promise of who opens.

use crate::addr::RunAddr;
use crate::error::ErrorKind;
use sideload_plugin::abi::{Adopt, Exported, InitCall, InitFunction, InitStatus, item_fingerprint};
use std::ffi::c_void;

/// Something that the host gives to init functions that ask for it.
#[derive(Clone, Debug)]
pub(crate) struct Provided {
    name: String,
    fingerprint: u128,
    address: usize,
}

impl Provided {
    pub(crate) fn new<T: Exported>(name: String, item: T) -> Provided {
        const { assert!(size_of::<T>() == size_of::<usize>(), "functions and references are pointers") };
        // SAFETY: as large as a pointer (asserted), and an `Exported` is a function pointer or a reference.
        let address = unsafe { std::mem::transmute_copy::<T, *const ()>(&item) }.expose_provenance();
        Provided { name, fingerprint: item_fingerprint(T::IS_FUNCTION, T::ITEM), address }
    }
}

struct Context<'a> {
    provided: &'a [Provided],
    text: String,
}

unsafe extern "C" fn report(context: *mut c_void, text: *const u8, size: usize) {
    // SAFETY: the context is that of `run`, and the plugin passes a text that is valid for this call.
    let (context, bytes) = unsafe { (&mut *context.cast::<Context<'_>>(), std::slice::from_raw_parts(text, size)) };
    context.text = String::from_utf8_lossy(bytes).into_owned();
}

unsafe extern "C" fn provide(context: *mut c_void, name: *const u8, size: usize, fingerprint: *const u8) -> *const () {
    // SAFETY: as above; a fingerprint is 16 bytes.
    let (context, name, fingerprint) = unsafe {
        let name = std::slice::from_raw_parts(name, size);
        (&*context.cast::<Context<'_>>(), name, u128::from_le_bytes(*fingerprint.cast::<[u8; 16]>()))
    };
    let found = context.provided.iter().find(|item| item.name.as_bytes() == name && item.fingerprint == fingerprint);
    found.map_or(std::ptr::null(), |item| std::ptr::with_exposed_provenance(item.address))
}

/// Raises in this program what a plugin's function panicked with. The plugin's own hook has reported it.
unsafe extern "C-unwind" fn raise(text: *const u8, size: usize) -> ! {
    // SAFETY: the plugin passes a text that is valid for this call.
    let bytes = unsafe { std::slice::from_raw_parts(text, size) };
    std::panic::resume_unwind(Box::new(String::from_utf8_lossy(bytes).into_owned()))
}

/// Tells a plugin where this program raises panics.
///
/// # Safety
/// The function called [`ADOPT`](sideload_plugin::abi::ADOPT) of a plugin is at `entry`.
pub(crate) unsafe fn adopt(entry: RunAddr) {
    let pointer = std::ptr::with_exposed_provenance::<()>(entry.0 as usize);
    // SAFETY: the caller says that such a function is there; ours stays where it is.
    unsafe { std::mem::transmute::<*const (), Adopt>(pointer)(raise) }
}

/// Runs one init function.
///
/// # Safety
/// An init function that the macro made is at `entry`; the caller vouches for what it does.
pub(crate) unsafe fn run(entry: RunAddr, name: &str, provided: &[Provided]) -> Result<(), ErrorKind> {
    let mut context = Context { provided, text: String::new() };
    let call = InitCall { context: (&raw mut context).cast(), report, provide };
    let pointer = std::ptr::with_exposed_provenance::<()>(entry.0 as usize);
    // SAFETY: the caller says that such a function is there; the call outlives it.
    let status = unsafe { std::mem::transmute::<*const (), InitFunction>(pointer)(&raw const call) };
    let (function, message) = (name.to_owned(), context.text);
    match status {
        InitStatus::Done => Ok(()),
        InitStatus::Failed => Err(ErrorKind::InitFailed { function, message }),
        InitStatus::Panicked => Err(ErrorKind::InitPanicked { function, message }),
    }
}
