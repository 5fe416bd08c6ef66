//! The host of docs/PLUGINS.md, in a folder where everything is that it opens. Each function is a part of the guide.

use std::error::Error;
use std::sync::atomic::{AtomicU32, Ordering};

fn main() -> Result<(), Box<dyn Error>> {
    provides()?;
    all_at_once()?;
    in_c()?;
    linked_in()?;
    trusts()?;
    checks_c()
}

use sideload::{Loader, Plugin};

fn log(text: &str) {
    println!("log: {text}");
}

fn provides() -> Result<(), Box<dyn Error>> {
    let loader = Loader::new().provide("log", log as fn(&str));
    // SAFETY: the plugin's initialisers are harmless.
    let plugin = unsafe { loader.open_plugin("./libgreeter.so") }?;
    assert!(plugin.warnings().is_empty());
    Ok(())
}

#[derive(sideload::Api)]
struct Greeter {
    greet: fn(&str) -> String,
    #[api(name = "GREETED")]
    greeted: &'static AtomicU32,
    greet_loudly: Option<fn(&str) -> String>, // may be missing
}

fn all_at_once() -> Result<(), Box<dyn Error>> {
    // SAFETY: as above.
    let plugin = unsafe { Plugin::open("./libgreeter.so") }?;
    let greeter: Greeter = plugin.api()?;
    println!("{}", (greeter.greet)("you"));
    if let Some(greet_loudly) = greeter.greet_loudly {
        println!("{}, {} greeted", greet_loudly("all"), greeter.greeted.load(Ordering::Relaxed));
    }
    Ok(())
}

fn in_c() -> Result<(), Box<dyn Error>> {
    // SAFETY: a plugin in C without initialisers.
    let plugin = unsafe { Plugin::open("./libadder.so") }?;
    let add = plugin.lookup::<extern "C" fn(i32, i32) -> i32>("add")?;
    println!("{} {}: {}", plugin.name(), plugin.version(), add(40, 2));
    Ok(())
}

fn linked_in() -> Result<(), Box<dyn Error>> {
    let loader = Loader::new().provide("log", log as fn(&str)).linked(&[&guide_plugin::PLUGIN]);
    let plugin = loader.open_linked("guide-plugin")?;
    println!("{}", plugin.lookup::<fn(&str) -> String>("greet")?("who is linked in"));
    Ok(())
}

use sideload_trust::{Policy, Trust};

fn trusts() -> Result<(), Box<dyn Error>> {
    let policy = Policy::parse(&std::fs::read_to_string("plugins.toml")?)?;
    // SAFETY: those whose keys and folders the policy lists write plugins that may be opened.
    let trust = unsafe { Trust::new(Loader::new(), policy) };
    let plugin = trust.open("./libadder.so")?;
    println!("trusted: {}", plugin.name());
    match trust.open("./libshapes.so") {
        Ok(plugin) => println!("trusted: {}", plugin.path()),
        Err(error) => println!("{error}"),
    }
    Ok(())
}

use sideload::Library;
use sideload_abi::GetVerified;

#[derive(sideload::Stable)]
#[repr(C)]
struct Size {
    width: f64,
    height: f64,
    depth: u8,
}

fn checks_c() -> Result<(), Box<dyn Error>> {
    // SAFETY: the library's initialisers are harmless.
    let library = unsafe { Library::open("./libshapes.so") }?;
    // SAFETY: `area` only reads.
    let area = unsafe { library.get_verified::<extern "C" fn(&Size) -> f64>("area") }?.checked()?;
    println!("{}", area(&Size { width: 2.0, height: 3.0, depth: 1 }));
    // SAFETY: as above.
    let wrong = unsafe { library.get_verified::<extern "C" fn(&Size) -> f32>("area") }?;
    println!("{}", wrong.checked().err().map_or_else(String::new, |error| error.to_string()));
    Ok(())
}
