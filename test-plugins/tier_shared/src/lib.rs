//! A crate that a host and its plugins share, as a library of its own: its statics are there once.

use std::cell::Cell;
use std::sync::atomic::AtomicU64;

/// How often somebody counted.
pub static COUNT: AtomicU64 = AtomicU64::new(0);

/// How many values of the plugin's are gone.
pub static DROPPED: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// What this thread last said.
    pub static SAID: Cell<&'static str> = const { Cell::new("nothing") };
}

/// What a host and a plugin hand each other.
pub trait Speaker {
    /// Says it.
    fn say(&self) -> String;
}
