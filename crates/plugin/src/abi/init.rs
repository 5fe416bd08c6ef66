//! How a host runs a plugin's `#[init]` functions: what they return or panic with stays inside the plugin, and reaches
//! the host as text.

use super::functions::Exported;
use super::types::Type;
use std::any::Any;
use std::ffi::c_void;
use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// How an init function ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum InitStatus {
    /// It returned, without an error.
    Done = 0,
    /// It returned an error.
    Failed = 1,
    /// It panicked.
    Panicked = 2,
}

/// Takes a text while it is valid: UTF-8, of that many bytes.
pub type Report = unsafe extern "C" fn(context: *mut c_void, text: *const u8, size: usize);

/// What the host hands to an init function.
#[derive(Debug)]
#[repr(C)]
pub struct InitCall {
    /// Passed on to the functions.
    pub context: *mut c_void,
    /// Takes the text of an error or a panic.
    pub report: Report,
    /// The address of something that the host provides, by name, kind and fingerprint; null if there is none.
    pub provide: unsafe extern "C" fn(*mut c_void, name: *const u8, size: usize, fingerprint: *const u8) -> *const (),
}

/// The host, as an init function sees it.
#[derive(Clone, Copy, Debug)]
pub struct Host<'a> {
    call: &'a InitCall,
}

impl<'a> Host<'a> {
    /// What the host provides under that name, if it has that very type: a function, or a `&'static T`.
    pub fn get<T: Exported>(&self, name: &str) -> Option<T> {
        let fingerprint = item_fingerprint(T::IS_FUNCTION, T::ITEM).to_le_bytes();
        // SAFETY: the host's function gets its own context, and pointers to what outlives the call.
        let address =
            unsafe { (self.call.provide)(self.call.context, name.as_ptr(), name.len(), fingerprint.as_ptr()) };
        const { assert!(size_of::<T>() == size_of::<*const ()>()) };
        // SAFETY: the host gives addresses out by their fingerprints, so this is a `T`, and it is not null.
        (!address.is_null()).then(|| unsafe { std::mem::transmute_copy::<*const (), T>(&address) })
    }
}

/// Tells functions from statics of a function pointer's type.
pub const fn item_fingerprint(is_function: bool, of: &Type) -> u128 {
    if is_function { of.fingerprint() } else { !of.fingerprint() }
}

/// What the macro makes of an init function.
pub type InitFunction = unsafe extern "C" fn(*const InitCall) -> InitStatus;

/// What an init function may return.
pub trait Outcome {
    /// The text of its error, if it is one.
    fn error(self) -> Option<String>;
}

impl Outcome for () {
    fn error(self) -> Option<String> {
        None
    }
}

impl<E: Display> Outcome for Result<(), E> {
    fn error(self) -> Option<String> {
        self.err().map(|error| error.to_string())
    }
}

/// Runs an init function inside the plugin, and reports how it ended.
///
/// # Safety
/// `call` is what a host passed, and is valid for the call.
pub unsafe fn run_init<O: Outcome>(call: *const InitCall, function: impl FnOnce(&Host<'_>) -> O) -> InitStatus {
    // SAFETY: the caller says that it is valid.
    let call = unsafe { &*call };
    let outcome = catch_unwind(AssertUnwindSafe(|| function(&Host { call }).error()));
    let (status, text) = match outcome {
        Ok(None) => return InitStatus::Done,
        Ok(Some(text)) => (InitStatus::Failed, text),
        Err(payload) => {
            let text = message(&*payload);
            // A payload whose own drop panics would unwind into the host.
            std::mem::forget(payload);
            (InitStatus::Panicked, text)
        }
    };
    // SAFETY: the host's function gets its own context, and the text is valid for the call.
    unsafe { (call.report)(call.context, text.as_ptr(), text.len()) };
    status
}

pub(super) fn message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().copied().or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("a panic whose payload is no text").to_owned()
}
