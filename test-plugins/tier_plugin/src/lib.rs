//! A plugin of the tier `dylib`: it has the host's standard library, and the host's copy of what they share.

use std::any::Any;
use std::sync::atomic::Ordering;
use tier_shared::{COUNT, SAID};

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

struct Voice;

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

/// Panics past the border, without the macro's help.
#[unsafe(no_mangle)]
pub fn tier_panic() {
    std::panic::panic_any(42u64);
}

sideload::plugin!(pub PLUGIN: count, say);
