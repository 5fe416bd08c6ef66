//! A plugin of the tier `dylib`: it has the host's standard library, and the host's copy of what they share.

use std::any::Any;
use std::sync::atomic::{AtomicU64, Ordering};
use tier_shared::{COUNT, DROPPED, SAID};

/// Counts in the shared crate.
#[sideload::export]
pub fn count() -> u64 {
    COUNT.fetch_add(1, Ordering::SeqCst) + 1
}

/// Leaves word in a thread-local of the shared crate.
#[sideload::export]
pub fn say(what: &'static str) {
    SAID.set(what);
}

/// A static of the shared crate: the host's own.
#[sideload::export]
pub fn counter() -> &'static AtomicU64 {
    &COUNT
}

struct Voice;

impl Drop for Voice {
    fn drop(&mut self) {
        DROPPED.fetch_add(1, Ordering::SeqCst);
    }
}

impl tier_shared::Speaker for Voice {
    fn say(&self) -> String {
        "from the plugin".into()
    }
}

/// Hands out a value whose type the shared crate tells by itself, as code within one program does.
#[unsafe(no_mangle)]
pub fn tier_any() -> Box<dyn Any> {
    Box::new(Box::new(Voice) as Box<dyn tier_shared::Speaker>)
}

/// Calls a closure of the host's, whatever it has captured.
#[unsafe(no_mangle)]
pub fn tier_apply(callback: &dyn Fn(u64) -> u64) -> u64 {
    callback(21)
}

/// Panics past the border, without the macro's help.
#[unsafe(no_mangle)]
pub fn tier_panic() {
    std::panic::panic_any(42u64);
}

sideload::plugin!(pub PLUGIN: count, say, counter);
