//! A plugin that exports a bit of everything.

use shapes::{Greeter, Shape, Size};
use std::sync::atomic::{AtomicU32, Ordering};

/// How often somebody was greeted.
#[sideload::export]
pub static GREETED: AtomicU32 = AtomicU32::new(0);

/// A text of the plugin's.
#[sideload::export]
pub static MOTTO: &str = "well met";

/// Greets.
#[sideload::export]
pub fn greet(name: &str) -> String {
    GREETED.fetch_add(1, Ordering::Relaxed);
    format!("hello, {name}{}", if cfg!(feature = "loud") { "!" } else { "" })
}

/// Adds, as C would.
#[sideload::export]
pub extern "C" fn add(one: i32, other: i32) -> i32 {
    one.wrapping_add(other)
}

/// Borrows from what it gets.
#[sideload::export]
pub fn first<'a>(shapes: &'a [Shape], name: &str) -> Option<&'a Shape> {
    shapes.iter().find(|shape| shape.name == name)
}

/// Takes a stable type.
#[sideload::export]
pub extern "C" fn area(size: &Size) -> f64 {
    size.width * size.height
}

/// Calls back.
#[sideload::export]
pub fn each(names: &[&'static str], call: fn(&str) -> u32) -> u32 {
    names.iter().map(|name| call(name)).sum()
}

struct Polite;

impl Greeter for Polite {
    fn greet(&self, name: &str) -> String {
        format!("good day, {name}")
    }
}

impl Drop for Polite {
    fn drop(&mut self) {
        GREETED.fetch_add(100, Ordering::Relaxed);
    }
}

/// Hands out an object of the plugin's, whose drop is the plugin's too.
#[sideload::export]
pub fn greeter() -> Box<dyn Greeter> {
    Box::new(Polite)
}

/// Counts in this plugin's own copy of a static.
#[sideload::export]
pub fn count() -> u32 {
    shapes::count()
}

/// Panics.
#[sideload::export]
pub fn fail(why: &str) -> u32 {
    panic!("failed: {why}")
}

sideload::plugin!(pub PLUGIN: GREETED, MOTTO, greet, add, first, area, each, greeter, count, fail);
