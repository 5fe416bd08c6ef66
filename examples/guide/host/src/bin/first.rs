//! The first host of docs/PLUGINS.md.

use sideload::Plugin;

fn main() -> Result<(), sideload::Error> {
    // SAFETY: the plugin's initialisers are harmless.
    let plugin = unsafe { Plugin::open("./libgreeter.so") }?;
    let greet = plugin.lookup::<fn(&str) -> String>("greet")?;
    println!("{}", greet("you"));
    Ok(())
}
