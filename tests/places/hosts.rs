//! Programs and libraries that use this library and are built in a place of their own, as those of users are; and what
//! some of them see: an executable at a fixed address, and libraries that are preloaded or opened late.

use crate::support::{Child, Folder, argument};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

pub(crate) const PROGRAM: &str = "src/main.rs";
const LIBRARY: &str = "src/lib.rs";

/// A package outside of the workspace, with the workspace's versions of what it needs.
pub(crate) fn package(folder: &Folder, file: &str, source: &str) {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let kind = if file == LIBRARY { "[lib]\ncrate-type = [\"cdylib\"]\n" } else { "" };
    let manifest = format!(
        "[package]\nname = \"host\"\nedition = \"2024\"\n{kind}[dependencies]\nsideload = {{ path = {here:?} }}\n[workspace]\n"
    );
    fs::create_dir(folder.file("src")).expect("a folder of our own");
    fs::write(folder.file(file), source).expect("as above");
    fs::write(folder.file("Cargo.toml"), manifest).expect("as above");
    fs::copy(here.join("Cargo.lock"), folder.file("Cargo.lock")).expect("as above");
}

/// Builds the package with those options of `cargo rustc`, and says where the product is, under a name of its own. Only
/// the last step differs between them.
pub(crate) fn build(folder: &Folder, name: &str, product: &str, options: &[&str]) -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("static-host");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(folder.path()).args(["rustc", "--offline", "--quiet", "--target", "x86_64-unknown-linux-gnu"]);
    cargo.arg("--target-dir").arg(&target).args(options);
    for variable in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_RUSTFLAGS", "RUSTC_WORKSPACE_WRAPPER"] {
        cargo.env_remove(variable);
    }
    let done = cargo.output().unwrap_or_else(|error| panic!("{cargo:?}: {error}"));
    assert!(done.status.success(), "{cargo:?}: {}", String::from_utf8_lossy(&done.stderr));
    let copy = folder.file(name);
    fs::copy(target.join("x86_64-unknown-linux-gnu/debug").join(product), &copy).expect("it was built");
    copy
}

/// Compares what an object sees with what the program itself sees.
const COMPARING: &str = r#"
use std::ffi::{c_char, c_int};

unsafe extern "C" {
    fn atoi(text: *const c_char) -> c_int;
    static mut environ: *const *const c_char;
}

fn main() {
    let path = std::env::args().nth(1).expect("an object");
    // SAFETY: the object is made for this, and these are the types of its functions.
    unsafe {
        let library = sideload::Library::open(path).unwrap_or_else(|error| panic!("{error}"));
        let see = |name: &str| library.get::<unsafe extern "C" fn() -> usize>(name).expect("it has it")();
        let function = atoi as unsafe extern "C" fn(*const c_char) -> c_int as usize;
        let data = (&raw const environ).addr();
        println!("{} {} {} {}", see("by_got") == function, see("by_pointer") == function, see("data") == data, see("call"));
    }
}
"#;

const COMPARED: &str = "
#include <stdlib.h>
extern char **environ;
static int (*volatile pointer)(const char *) = atoi;
size_t by_got(void) { return (size_t)atoi; }
size_t by_pointer(void) { return (size_t)pointer; }
size_t data(void) { return (size_t)&environ; }
size_t call(void) { return (size_t)atoi(\"42\"); }
";

/// There, a function's address is that of the executable's own stub for it, and libc's variables are in the executable.
#[test]
fn an_executable_at_a_fixed_address_says_where_things_are() {
    let folder = Folder::new("fixed");
    package(&folder, PROGRAM, COMPARING);
    let (source, object) = (folder.file("compared.c"), folder.file("compared.so"));
    fs::write(&source, COMPARED).expect("a folder of our own");
    let cc = Command::new("cc").args(["-shared", "-fPIC", "-fno-builtin", "-o"]).args([&object, &source]).status();
    assert!(cc.expect("a compiler").success());
    for (name, model) in [("fixed", "-Crelocation-model=static"), ("pie", "-Crelocation-model=pic")] {
        let host = build(&folder, name, "host", &["--bin", "host", "--", model]);
        let symbols = Command::new("readelf").args(["-W", "--dyn-syms"]).arg(&host).output().expect("binutils");
        let symbols = String::from_utf8(symbols.stdout).expect("text");
        let has_stub = symbols.lines().any(|line| line.contains(" UND atoi@") && !line.contains(": 0000000000000000 "));
        assert_eq!(has_stub, name == "fixed", "{symbols}");
        let said = Command::new(&host).arg(&object).output().expect("it runs");
        assert_eq!(String::from_utf8_lossy(&said.stdout), "true true true 42\n", "{name}: {said:?}");
    }
}

/// Opens an object: as soon as it is loaded itself, or when it is told to. (While `dlopen` loads it, it cannot wait for a
/// thread of its own: the thread would wait for `dlopen`, to have the library's thread-locals.)
const OPENING: &str = r#"
#[used]
#[unsafe(link_section = ".init_array")]
static START: extern "C" fn() = start;

extern "C" fn start() {
    if std::env::var_os("LD_PRELOAD").is_some() {
        open_the_object();
    }
}

#[unsafe(no_mangle)]
extern "C" fn open_the_object() {
    let path = std::env::var_os("SIDELOAD_TEST_OPENED_BY_LIBRARY").expect("an object");
    // SAFETY: the fixture's initialisers are made to be run, and this is the type of its function.
    let said = unsafe {
        sideload::Library::open(path).map(|library| {
            let answer = *library.get::<unsafe extern "C" fn() -> i32>("answer").expect("it has it");
            let other = std::thread::spawn(move || answer());
            (answer(), other.join().unwrap_or(0))
        })
    };
    match said {
        Ok(answers) => println!("opened: {answers:?}"),
        Err(error) => println!("opened: {error}"),
    }
}
"#;

const OPENED: &str = "SIDELOAD_TEST_OPENED_BY_LIBRARY";

#[test]
fn a_preloaded_library_has_static_thread_locals_and_a_late_one_has_none() {
    let folder = Folder::new("preloaded");
    package(&folder, LIBRARY, OPENING);
    let library = build(&folder, "libopening.so", "libhost.so", &["--lib"]);
    for (fixture, late) in [("tls_initial_exec", "no static thread-locals to give away"), ("tls_desc", "(42, 42)")] {
        let object = test_fixtures::build(fixture).path;
        let preloaded = Command::new("true").env("LD_PRELOAD", &library).env(OPENED, &object).output();
        let preloaded = preloaded.expect("there is such a program");
        assert_eq!(String::from_utf8_lossy(&preloaded.stdout), "opened: (42, 42)\n", "{fixture}: {preloaded:?}");

        let child = Child::new("hosts::open_the_library_late").with("LIBRARY", &library);
        let outcome = child.environment(OPENED, &object).run();
        outcome.expect_success();
        let said = outcome.stdout.lines().find_map(|line| line.split_once("opened: ")).map(|(_, said)| said);
        assert!(said.is_some_and(|said| said.contains(late)), "{fixture}: {outcome}");
    }
}

#[test]
#[ignore = "run by the other, in a child process"]
fn open_the_library_late() {
    // SAFETY: its initialiser is made to be run, and its function has this type.
    let library = unsafe {
        let library = libloading::Library::new(argument("LIBRARY")).unwrap_or_else(|error| panic!("{error}"));
        library.get::<unsafe extern "C" fn()>(b"open_the_object").expect("it has it")();
        library
    };
    std::mem::forget(library); // its threads may still be in it
}
