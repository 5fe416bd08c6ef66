//! What passes between any two compilers.

use shapes::Size;
use std::sync::atomic::{AtomicU32, Ordering};

static LARGEST: Size = Size { width: 6.0, height: 7.0, depth: 8 };

/// How many sizes were freed here.
#[sideload::export]
pub static FREED: AtomicU32 = AtomicU32::new(0);

/// Something that is there for as long as the plugin is.
#[sideload::export]
pub extern "C" fn largest() -> &'static Size {
    &LARGEST
}

/// Calls the host.
#[sideload::export]
pub extern "C" fn apply(callback: extern "C" fn(i32) -> i32, to: i32) -> i32 {
    callback(to)
}

/// Something that only the plugin can free.
#[sideload::export]
pub extern "C" fn make(width: f64) -> *mut Size {
    Box::into_raw(Box::new(Size { width, ..LARGEST }))
}

/// Frees what `make` made.
///
/// # Safety
/// It is what `make` returned, once.
#[sideload::export]
pub unsafe extern "C" fn free(made: *mut Size) {
    // SAFETY: the caller says that it was made above.
    drop(unsafe { Box::from_raw(made) });
    FREED.fetch_add(1, Ordering::Relaxed);
}

sideload::plugin!(pub PLUGIN: FREED, largest, apply, make, free);
