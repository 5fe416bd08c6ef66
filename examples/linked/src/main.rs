//! The plugins of the other example, linked into the program: opened by name, with the same checks.
//!
//! ```text
//! cargo run -p linked-example
//! ```

use shapes_example::Shape;
use sideload::{Error, Loader};

include!(concat!(env!("OUT_DIR"), "/plugins.rs"));

fn main() -> Result<(), Error> {
    let loader = Loader::new().linked(PLUGINS);
    for name in ["circle-example", "square-example", "wrong-type-example"] {
        let plugin = loader.open_linked(name)?;
        match plugin.lookup::<fn(f64) -> Box<dyn Shape>>("make") {
            Ok(make) => println!("{name}: a {} has the area {:.2}", make(2.0).name(), make(2.0).area()),
            Err(error) => println!("{error}"),
        }
    }
    Ok(())
}
