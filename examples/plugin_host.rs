//! A host of plugins: opens each file that it is given, and says what came of it.
//!
//! ```text
//! cargo build -p circle-example -p square-example -p wrong-type-example
//! cargo run --example plugin_host -- target/debug/libcircle_example.so target/debug/libsquare_example.so
//! ```
//!
//! docs/PLUGINS.md goes on from here: a plugin in C, one of another build, one of another type.

use shapes_example::Shape;
use sideload::{Error, ErrorKind, Plugin};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU32, Ordering};

fn main() -> ExitCode {
    let mut status = ExitCode::SUCCESS;
    for path in std::env::args().skip(1) {
        if let Err(error) = show(&path) {
            println!("{error}");
            status = ExitCode::FAILURE;
        }
    }
    status
}

fn show(path: &str) -> Result<(), Error> {
    // SAFETY: the user named the file, and vouches for what it runs.
    let plugin = unsafe { Plugin::open(path) }?;
    println!("{} {}", plugin.name(), plugin.version());
    for item in plugin.items() {
        println!("  {}: {}", item.name(), item.type_of());
    }
    match plugin.lookup::<extern "C" fn(f64) -> f64>("area") {
        Ok(area) => {
            println!("  area(2) = {:.2}", area(2.0));
            return Ok(());
        }
        // None in C: then one in Rust.
        Err(error) if matches!(error.kind(), ErrorKind::NoExport { .. }) => {}
        Err(error) => return Err(error),
    }
    let make = plugin.lookup::<fn(f64) -> Box<dyn Shape>>("make")?;
    let shape = make(2.0);
    println!("  a {} has the area {:.2}", shape.name(), shape.area());
    if let Ok(made) = plugin.lookup::<&AtomicU32>("MADE") {
        println!("  {} made", made.load(Ordering::Relaxed));
    }
    Ok(())
}
