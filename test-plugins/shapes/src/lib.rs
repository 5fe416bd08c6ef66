//! What the test's host and its plugins share.

use std::sync::atomic::{AtomicU32, Ordering};

/// A plain struct of the compiler's layout.
#[derive(Clone, Debug, PartialEq, sideload::Typed)]
pub struct Shape {
    /// Its name.
    pub name: String,
    /// How many corners it has.
    pub corners: Vec<(f32, f32)>,
}

/// A struct whose layout is written down.
#[derive(Clone, Copy, Debug, PartialEq, sideload::Stable)]
#[repr(C)]
pub struct Size {
    /// Width.
    pub width: f64,
    /// Height.
    pub height: f64,
    /// Of how many pixels.
    pub depth: u8,
}

/// Something that greets.
#[sideload::export]
pub trait Greeter: Send + Sync {
    /// Greets.
    fn greet(&self, name: &str) -> String;
}

static CALLS: AtomicU32 = AtomicU32::new(0);

/// Counts in a static of this crate, of which each plugin has its own.
pub fn count() -> u32 {
    CALLS.fetch_add(1, Ordering::Relaxed) + 1
}
