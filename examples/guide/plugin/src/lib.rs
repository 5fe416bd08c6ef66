//! The plugin of docs/PLUGINS.md.

use sideload::abi::Host;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// Greets.
#[sideload::export]
pub fn greet(name: &str) -> String {
    format!("hello, {name}")
}

static LOG: OnceLock<fn(&str)> = OnceLock::new();

#[sideload::init]
fn start(host: &Host<'_>) -> Result<(), String> {
    if let Some(log) = host.get::<fn(&str)>("log") {
        log("started");
        LOG.set(log).map_err(|_| "started twice")?;
    }
    Ok(())
}

/// How often it was.
#[sideload::export]
pub static GREETED: AtomicU32 = AtomicU32::new(0);

/// Greets, counts, and says so.
#[sideload::export]
pub fn greet_loudly(name: &str) -> String {
    GREETED.fetch_add(1, Ordering::Relaxed);
    if let Some(log) = LOG.get() {
        log(&format!("greeted {name}"));
    }
    greet(name).to_uppercase()
}

sideload::plugin!(pub PLUGIN: greet, start, GREETED, greet_loudly);
