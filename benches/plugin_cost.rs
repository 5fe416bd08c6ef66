//! What a hundred exports cost: when the plugin is opened, and when it is compiled. See README.md.

use sideload::{Library, Plugin};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const EXPORTS: usize = 100;
const OPENS: usize = 101;
const BUILDS: usize = 7;

/// Functions of several signatures, and some statics; without attributes, the linker exports the functions all the same.
fn source(with_attributes: bool) -> String {
    let mut text = String::from("//! Generated.\n");
    if with_attributes {
        text.push_str("#[derive(sideload::Stable)]\n");
    }
    text.push_str("#[repr(C)]\npub struct Size { pub width: f64, pub height: f64, pub depth: u8 }\n");
    for at in 0..EXPORTS {
        let item = match at % 5 {
            0 => format!("fn f{at}(a: i32, b: i32) -> i32 {{ a.wrapping_mul({at}) ^ b }}"),
            1 => format!("fn f{at}(of: &Size) -> f64 {{ of.width * {at}.0 + of.height }}"),
            2 => format!("fn f{at}(name: &str) -> String {{ format!(\"{at} {{name}}\") }}"),
            3 => format!("fn f{at}(all: &[u64]) -> Option<u64> {{ all.iter().copied().max().map(|it| it ^ {at}) }}"),
            _ => format!("fn f{at}(of: Vec<String>) -> usize {{ of.iter().map(String::len).sum::<usize>() + {at} }}"),
        };
        let _ = match with_attributes {
            true => writeln!(text, "#[sideload::export]\npub {item}"),
            // As the attribute makes it: with a symbol of its own.
            false => writeln!(text, "#[unsafe(no_mangle)]\npub {item}"),
        };
    }
    text
}

/// A crate outside of the workspace, built once with all that it depends on.
fn make(name: &str, with_attributes: bool) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("plugin_cost").join(name);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    fs::create_dir_all(folder.join("src")).expect("cargo's folder");
    let manifest = format!(
        "[package]\nname = \"{name}\"\nversion = \"1.0.0\"\nedition = \"2024\"\n\n[lib]\ncrate-type = [\"cdylib\"]\n\n\
         [dependencies]\nsideload = {{ package = \"sideload-plugin\", path = {:?} }}\n\n[workspace]\n",
        root.join("crates/plugin")
    );
    fs::write(folder.join("Cargo.toml"), manifest).expect("ours");
    fs::write(folder.join("src/lib.rs"), source(with_attributes)).expect("ours");
    fs::copy(root.join("Cargo.lock"), folder.join("Cargo.lock")).expect("ours");
    build(&folder);
    folder
}

/// How long it takes to compile the crate itself.
fn build(folder: &Path) -> Duration {
    let source = folder.join("src/lib.rs");
    let text = fs::read_to_string(&source).expect("ours");
    // Another text each time, so that nothing is taken from before.
    fs::write(&source, format!("{text}// again\n")).expect("ours");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--offline", "--release", "--target-dir"]).arg(folder.with_file_name("target"));
    cargo.current_dir(folder).env_remove("RUSTFLAGS").env("CARGO_INCREMENTAL", "0");
    let begun = Instant::now();
    assert!(cargo.status().expect("cargo starts").success());
    begun.elapsed()
}

fn compile() {
    let (with, without) = (make("hundred", true), make("hundred_bare", false));
    let mut least = [Duration::MAX; 2];
    for _ in 0..BUILDS {
        for (least, folder) in least.iter_mut().zip([&with, &without]) {
            *least = build(folder).min(*least);
        }
    }
    print("compile", least, 1e3, "ms");
}

fn print(what: &str, [ours, bare]: [Duration; 2], scale: f64, unit: &str) {
    let (ours, bare) = (ours.as_secs_f64() * scale, bare.as_secs_f64() * scale);
    println!("{what} {EXPORTS} exports {ours:.1} {bare:.1} {unit} ratio {:.2}", ours / bare);
}

/// Each open is of a file of its own: one that is open already is not opened again.
fn open() {
    let built = Path::new(env!("CARGO_TARGET_TMPDIR")).join("plugin_cost/target/release/libhundred.so");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("plugin_cost/copies");
    fs::create_dir_all(&folder).expect("cargo's folder");
    let mut least = [Duration::MAX; 2];
    for at in 0..OPENS {
        let copies = ["plugin", "library"].map(|side| folder.join(format!("{side}{at}.so")));
        for copy in &copies {
            fs::copy(&built, copy).expect("ours");
        }
        let timed = |which: usize| {
            let begun = Instant::now();
            // SAFETY: it was generated above, and has no initialisers.
            unsafe {
                match which {
                    0 => std::mem::forget(Plugin::open(&copies[0]).expect("a sound plugin")),
                    _ => std::mem::forget(Library::open(&copies[1]).expect("a sound library")),
                }
            }
            begun.elapsed()
        };
        // Each goes first every other time.
        for which in if at % 2 == 0 { [0, 1] } else { [1, 0] } {
            least[which] = timed(which).min(least[which]);
        }
        copies.iter().for_each(|copy| fs::remove_file(copy).expect("ours"));
    }
    print("open", least, 1e6, "µs");
}

fn main() {
    // Cargo tests benches, too, with an argument.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    make("hundred", true);
    open();
    compile();
}
