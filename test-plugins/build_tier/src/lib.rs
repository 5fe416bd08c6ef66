//! What passes between equal builds only.

use shapes::Greeter;
use std::sync::atomic::{AtomicU32, Ordering};

/// How many greeters are gone.
#[sideload::export]
pub static DROPPED: AtomicU32 = AtomicU32::new(0);

struct Host;

impl Greeter for Host {
    fn greet(&self, name: &str) -> String {
        format!("come in, {name}")
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        DROPPED.fetch_add(1, Ordering::Relaxed);
    }
}

/// An object whose methods, and whose end, are the plugin's code.
#[sideload::export]
pub fn make() -> Box<dyn Greeter> {
    Box::new(Host)
}

/// Uses an object of the host's.
#[sideload::export]
pub fn ask(greeter: &dyn Greeter) -> String {
    greeter.greet("plugin")
}

/// Something that is there for as long as the plugin is.
#[sideload::export]
pub fn motto() -> &'static str {
    "well met"
}

/// Calls the host.
#[sideload::export]
pub fn apply(callback: fn(&str) -> String, to: &str) -> String {
    callback(to)
}

/// Memory that the host frees.
#[sideload::export]
pub fn names() -> Vec<String> {
    vec!["one".into(), "two".into()]
}

sideload::plugin!(pub PLUGIN: DROPPED, make, ask, motto, apply, names);
