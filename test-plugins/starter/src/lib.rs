//! A plugin whose init functions do what the test's environment says.

use sideload::abi::Host;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

/// The init functions that ran, in order.
#[sideload::export]
pub static RAN: AtomicU32 = AtomicU32::new(0);

static ORDER: Mutex<Vec<&str>> = Mutex::new(Vec::new());

/// What ran, in order.
#[sideload::export]
pub fn order() -> String {
    ORDER.lock().map(|order| order.join(" ")).unwrap_or_default()
}

fn ran(name: &'static str) {
    RAN.fetch_add(1, Ordering::SeqCst);
    if let Ok(mut order) = ORDER.lock() {
        order.push(name);
    }
}

/// Declared first, and asks to be second.
#[sideload::init(after = "configure")]
fn connect() {
    ran("connect");
}

/// Asks the host what to do.
#[sideload::init]
fn configure(host: &Host<'_>) -> Result<(), String> {
    ran("configure");
    let Some(what) = host.get::<fn() -> String>("starter-mode") else { return Ok(()) };
    assert!(host.get::<fn() -> u32>("starter-mode").is_none(), "another type is no match");
    match what().as_str() {
        "fail" => Err("no such server".into()),
        "panic" => panic!("out of cheese"),
        "open" => match host.get::<fn() -> String>("open") {
            Some(open) => Err(open()),
            None => Err("nothing to open with".into()),
        },
        _ => Ok(()),
    }
}

/// Declared last.
#[sideload::init]
fn listen() {
    ran("listen");
}

sideload::plugin!(pub PLUGIN: RAN, order, connect, configure, listen);
