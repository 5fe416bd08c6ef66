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

/// How much the functions do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Bodies {
    /// One expression: all that is compiled is what the attribute writes.
    Least,
    /// A dozen lines over the standard library's types.
    Some,
}

/// Functions of several signatures; without attributes, the linker exports the functions all the same.
fn source(bodies: Bodies, with_attributes: bool) -> String {
    let mut text = String::from("//! Generated.\n");
    if with_attributes {
        text.push_str("#[derive(sideload::Stable)]\n");
    }
    text.push_str("#[repr(C)]\npub struct Size { pub width: f64, pub height: f64, pub depth: u8 }\n");
    for at in 0..EXPORTS {
        let item = match bodies {
            Bodies::Least => least(at),
            Bodies::Some => some(at),
        };
        let _ = match with_attributes {
            true => writeln!(text, "#[sideload::export]\npub {item}"),
            // As the attribute makes it: with a symbol of its own.
            false => writeln!(text, "#[unsafe(no_mangle)]\npub {item}"),
        };
    }
    text
}

fn least(at: usize) -> String {
    match at % 5 {
        0 => format!("fn f{at}(a: i32, b: i32) -> i32 {{ a.wrapping_mul({at}) ^ b }}"),
        1 => format!("fn f{at}(of: &Size) -> f64 {{ of.width * {at}.0 + of.height }}"),
        2 => format!("fn f{at}(name: &str) -> String {{ format!(\"{at} {{name}}\") }}"),
        3 => format!("fn f{at}(all: &[u64]) -> Option<u64> {{ all.iter().copied().max().map(|it| it ^ {at}) }}"),
        _ => format!("fn f{at}(of: Vec<String>) -> usize {{ of.iter().map(String::len).sum::<usize>() + {at} }}"),
    }
}

fn some(at: usize) -> String {
    let (signature, body) = match at % 5 {
        0 => (
            "(a: i32, b: i32) -> i32",
            "let (mut a, mut b) = (a.unsigned_abs(), b.unsigned_abs());
             while b != 0 { (a, b) = (b, a % b); }
             let digits: Vec<u32> = a.to_string().chars().filter_map(|digit| digit.to_digit(10)).collect();
             let mut sum = NUMBER;
             for pair in digits.windows(2) { sum += pair[0].abs_diff(pair[1]); }
             i32::try_from(sum).unwrap_or(i32::MAX)",
        ),
        1 => (
            "(of: &Size) -> f64",
            "let mut sides = vec![of.width, of.height, f64::from(of.depth) + NUMBER as f64];
             sides.retain(|side| side.is_finite() && *side > 0.0);
             sides.sort_by(f64::total_cmp);
             let mean = sides.iter().sum::<f64>() / sides.len().max(1) as f64;
             let spread: f64 = sides.iter().map(|side| (side - mean).powi(2)).sum();
             match sides.last() { Some(last) if spread < *last => mean, Some(last) => last.sqrt(), None => 0.0 }",
        ),
        2 => (
            "(name: &str) -> String",
            "let mut words: Vec<String> = name.split_whitespace().map(str::to_lowercase).collect();
             words.sort_by_key(|word| (word.len() + NUMBER, word.clone()));
             words.dedup();
             let mut text = String::new();
             for (at, word) in words.iter().enumerate() {
                 if at > 0 { text.push_str(\", \"); }
                 text.push_str(&format!(\"{at}: {word} ({})\", word.chars().rev().collect::<String>()));
             }
             text",
        ),
        3 => (
            "(all: &[u64]) -> Option<u64>",
            "let mut count = std::collections::HashMap::new();
             for number in all { *count.entry(number ^ NUMBER).or_insert(0u64) += 1; }
             let (most, often) = count.into_iter().max_by_key(|(number, often)| (*often, *number))?;
             let rest: u64 = all.chunks(3).filter(|chunk| chunk.contains(&most)).map(|chunk| chunk.len() as u64).sum();
             (often > 1).then_some(most.wrapping_add(rest))",
        ),
        _ => (
            "(of: Vec<String>) -> usize",
            "let mut longest = std::collections::BTreeMap::new();
             for line in &of {
                 let Some((key, value)) = line.split_once('=') else { continue };
                 let known: &mut usize = longest.entry(key.trim().to_owned()).or_default();
                 *known = (*known).max(value.trim().parse().unwrap_or(value.len()));
             }
             longest.iter().filter(|(key, _)| !key.is_empty()).map(|(_, size)| size + NUMBER).sum()",
        ),
    };
    format!("fn f{at}{signature} {{\n{}\n}}", body.replace("NUMBER", &at.to_string()))
}

/// A crate outside of the workspace, built once with all that it depends on.
fn make(name: &str, source: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("plugin_cost").join(name);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    fs::create_dir_all(folder.join("src")).expect("cargo's folder");
    let manifest = format!(
        "[package]\nname = \"{name}\"\nversion = \"1.0.0\"\nedition = \"2024\"\n\n[lib]\ncrate-type = [\"cdylib\"]\n\n\
         [dependencies]\nsideload = {{ package = \"sideload-plugin\", path = {:?} }}\n\n[workspace]\n",
        root.join("crates/plugin")
    );
    fs::write(folder.join("Cargo.toml"), manifest).expect("ours");
    fs::write(folder.join("src/lib.rs"), source).expect("ours");
    fs::copy(root.join("Cargo.lock"), folder.join("Cargo.lock")).expect("ours");
    folder
}

/// What it takes to compile the crate itself: processor time of all threads and processes, and how long one waits.
fn build(folder: &Path, profile: &str) -> [Duration; 2] {
    let source = folder.join("src/lib.rs");
    let text = fs::read_to_string(&source).expect("ours");
    // Another text each time, so that nothing is taken from before.
    fs::write(&source, format!("{text}// again\n")).expect("ours");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--offline", "--profile", profile, "--target-dir"]);
    cargo.arg(folder.with_file_name("target"));
    cargo.current_dir(folder).env_remove("RUSTFLAGS").env("CARGO_INCREMENTAL", "0");
    let (begun, spent) = (Instant::now(), spent_by_children());
    assert!(cargo.status().expect("cargo starts").success());
    [spent_by_children() - spent, begun.elapsed()]
}

/// The processor time of all children that have ended (getrusage(2)).
fn spent_by_children() -> Duration {
    // SAFETY: all zeros is a value of this plain struct, which the call fills.
    let usage = unsafe {
        let mut usage = std::mem::zeroed::<libc::rusage>();
        libc::getrusage(libc::RUSAGE_CHILDREN, &raw mut usage);
        usage
    };
    let time = |of: libc::timeval| Duration::new(of.tv_sec as u64, of.tv_usec as u32 * 1000);
    time(usage.ru_utime) + time(usage.ru_stime)
}

fn compile(bodies: Bodies, name: &str) {
    let crates = [make(name, &source(bodies, true)), make(&format!("{name}_bare"), &source(bodies, false))];
    for profile in ["release", "dev"] {
        let mut least = [[Duration::MAX; 2]; 2];
        for folder in &crates {
            build(folder, profile);
        }
        for _ in 0..BUILDS {
            for (least, folder) in least.iter_mut().zip(&crates) {
                let taken = build(folder, profile);
                *least = [least[0].min(taken[0]), least[1].min(taken[1])];
            }
        }
        for (at, what) in ["processor", "wall"].into_iter().enumerate() {
            print(&format!("compile {name} {profile} {what}"), [least[0][at], least[1][at]], 1e3, "ms");
        }
    }
}

fn print(what: &str, [ours, bare]: [Duration; 2], scale: f64, unit: &str) {
    let (ours, bare) = (ours.as_secs_f64() * scale, bare.as_secs_f64() * scale);
    println!("{what} {ours:.1} {bare:.1} {unit} ratio {:.2}", ours / bare);
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
    build(&make("hundred", &source(Bodies::Least, true)), "release");
    open();
    compile(Bodies::Least, "hundred");
    compile(Bodies::Some, "working");
}
