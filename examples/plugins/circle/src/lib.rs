//! A plugin.

use shapes_example::Shape;
use std::sync::atomic::{AtomicU32, Ordering};

struct Circle(f64);

impl Shape for Circle {
    fn name(&self) -> String {
        format!("circle of radius {}", self.0)
    }

    fn area(&self) -> f64 {
        std::f64::consts::PI * self.0 * self.0
    }
}

/// How many were made.
#[sideload::export]
pub static MADE: AtomicU32 = AtomicU32::new(0);

/// Makes one of that size.
#[sideload::export]
pub fn make(size: f64) -> Box<dyn Shape> {
    MADE.fetch_add(1, Ordering::Relaxed);
    Box::new(Circle(size))
}

sideload::plugin!(pub PLUGIN: MADE, make);
