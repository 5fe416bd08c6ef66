//! The host of `tier-plugin`: says what the two share.

use sideload::Plugin;
use std::any::Any;
use std::sync::atomic::{AtomicU64, Ordering};
use tier_shared::{COUNT, DROPPED, SAID, Speaker};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args_os().nth(1).ok_or("usage: tier-host PLUGIN")?;
    // SAFETY: the plugin is the one beside this program.
    let plugin = unsafe { Plugin::open(&path) }?;
    COUNT.store(40, Ordering::SeqCst);
    let count = plugin.lookup::<fn() -> u64>("count")?;
    println!("count {} {} {}", count(), count(), COUNT.load(Ordering::SeqCst));
    plugin.lookup::<fn(&'static str)>("say")?("hello");
    println!("said {}", SAID.get());
    // SAFETY: as the plugin's source has it.
    let (any, panic) = unsafe {
        (plugin.lookup_unchecked::<fn() -> Box<dyn Any>>("tier_any")?, plugin.lookup_unchecked::<fn()>("tier_panic")?)
    };
    match any().downcast::<Box<dyn Speaker>>() {
        Ok(speaker) => println!("speaks {}", speaker.say()),
        Err(_) => println!("another type"),
    }
    let payload = std::panic::catch_unwind(*panic).expect_err("it panics");
    println!("panicked {:?}", payload.downcast_ref::<u64>());
    let counter = plugin.lookup::<fn() -> &'static AtomicU64>("counter")?;
    println!("one static {}", std::ptr::eq(counter(), &raw const COUNT));
    // SAFETY: as the plugin's source has it.
    let apply = unsafe { plugin.lookup_unchecked::<fn(&dyn Fn(u64) -> u64) -> u64>("tier_apply") }?;
    let double = |of| of * 2;
    println!("called back {}", apply(&double));
    println!("dropped {}", DROPPED.load(Ordering::SeqCst));
    Ok(())
}
