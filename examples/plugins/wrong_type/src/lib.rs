//! A plugin whose `make` takes a smaller number than the host gives.

use shapes_example::Shape;

struct Dot;

impl Shape for Dot {
    fn name(&self) -> String {
        "dot".into()
    }

    fn area(&self) -> f64 {
        0.0
    }
}

/// Makes one of that size.
#[sideload::export]
pub fn make(_size: f32) -> Box<dyn Shape> {
    Box::new(Dot)
}

sideload::plugin!(pub PLUGIN: make);
