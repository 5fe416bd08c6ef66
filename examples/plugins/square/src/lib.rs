//! Another plugin, with a function that runs once when it is opened.

use shapes_example::Shape;

struct Square(f64);

impl Shape for Square {
    fn name(&self) -> String {
        format!("square of side {}", self.0)
    }

    fn area(&self) -> f64 {
        self.0 * self.0
    }
}

/// Makes one of that size.
#[sideload::export]
pub fn make(size: f64) -> Box<dyn Shape> {
    Box::new(Square(size))
}

/// Runs once. An error or a panic here is an error of the open.
#[sideload::init]
fn start() -> Result<(), String> {
    match std::env::var("SQUARE_FAILS") {
        Ok(why) => Err(why),
        Err(_) => Ok(()),
    }
}

sideload::plugin!(pub PLUGIN: make, start);
