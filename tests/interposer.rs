//! Opening and looking up make no call of libdl: a preloaded object takes the place of every function of it, and counts.
//!
//! The functions there answer nothing, so that whatever relied on one would not only be counted but fail.
#![cfg(target_os = "linux")]

mod support;

use sideload::{Library, Plugin};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use support::{Child, Folder, LIBDL as NAMES, argument, say};
use test_fixtures::build;

/// Where the object tells the program its counters' address.
const COUNTERS: &str = "SIDELOAD_TEST_COUNTERS";

/// The source of the object: one function for each name, and a constructor that says where the counters are.
fn source() -> String {
    // Whether NULL, 0 or -1 says "nothing".
    let nothing = |name: &str| if matches!(name, "dlinfo" | "_dl_find_object") { "-1" } else { "0" };
    let functions: String = (0..)
        .zip(NAMES)
        .map(|(at, name)| format!("long {name}(void) {{ counters[{at}]++; return {}; }}\n", nothing(name)))
        .collect();
    format!(
        "#include <stdio.h>\n#include <stdlib.h>\nstatic _Atomic unsigned counters[{}];\n{functions}\
         static __attribute__((constructor)) void start(void) {{\n\
         char text[32];\n snprintf(text, sizeof text, \"%lu\", (unsigned long)counters);\n\
         setenv(\"{COUNTERS}\", text, 1);\n}}\n",
        NAMES.len()
    )
}

fn compile(folder: &Folder) -> PathBuf {
    let (input, output) = (folder.file("interposer.c"), folder.file("libinterposer.so"));
    std::fs::write(&input, source()).expect("a folder of our own");
    let mut cc = Command::new("cc");
    cc.args(["-shared", "-fPIC", "-fno-builtin", "-o"]).args([&output, &input]);
    let done = cc.output().unwrap_or_else(|error| panic!("{cc:?}: {error}"));
    assert!(done.status.success(), "{cc:?}: {}", String::from_utf8_lossy(&done.stderr));
    output
}

fn counters() -> &'static [AtomicU32; NAMES.len()] {
    let address = std::env::var(COUNTERS).expect("the object is preloaded").parse().expect("a number");
    // SAFETY: the preloaded object has them there, and is never unloaded.
    unsafe { &*std::ptr::with_exposed_provenance(address) }
}

/// What was called since the last time.
fn take() -> Vec<String> {
    let counts = counters().iter().map(|count| count.swap(0, Ordering::SeqCst));
    NAMES.iter().zip(counts).filter(|(_, count)| *count > 0).map(|(name, count)| format!("{name} {count}")).collect()
}

#[test]
fn nothing_of_libdl_is_called() {
    let folder = Folder::new("interposer");
    // Built here: compilers do not work where libdl answers nothing.
    let fixtures = ["plugin", "cxx_rtti", "cxx_throw", "rust_panic"].map(|name| build(name).path);
    let objects = std::env::join_paths(fixtures).expect("no colon in them");
    let child = Child::new("open_and_look_up").with("OBJECTS", objects);
    let outcome = child.environment("LD_PRELOAD", compile(&folder)).run();
    outcome.expect_success();
    assert_eq!(outcome.said(), ["the control: dlsym 1", "opened", "looked up"], "{outcome}");
}

#[test]
#[ignore = "run by the other, in a child process with the interposer"]
fn open_and_look_up() {
    take(); // the test harness and std are on their own
    // SAFETY: looks for a name, and uses nothing of it.
    let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"getpid".as_ptr()) };
    assert!(found.is_null(), "not the host's own");
    say(format!("the control: {}", take().join(", ")));

    // The first open of a process finds the host's images as well.
    let mut libraries = vec![open(Path::new("libz.so.1"))];
    let objects: Vec<_> = std::env::split_paths(&argument("OBJECTS")).collect();
    libraries.extend(objects[1..].iter().map(|path| open(path)));
    say("opened");

    for library in &libraries {
        let own = if library.path().contains("libz.so") { "crc32" } else { "answer" };
        for name in [own, "getpid", "sideload_nowhere"] {
            // SAFETY: it is only looked for.
            let found = unsafe { library.get::<*const ()>(name) };
            assert_eq!(found.is_ok(), name != "sideload_nowhere", "{name}");
        }
        // SAFETY: as above.
        let versioned = unsafe { library.get_versioned::<*const ()>("getpid", "GLIBC_2.2.5") };
        assert!(versioned.is_ok(), "libc has it");
    }
    // SAFETY: the fixture's initialiser is made to be run.
    let plugin = unsafe { Plugin::open(&objects[0]) }.expect("a sound plugin");
    assert!(plugin.lookup::<extern "C" fn() -> i32>("answer").is_ok());
    assert_eq!(take(), [""; 0]);
    say("looked up");
}

fn open(path: &Path) -> Library {
    // SAFETY: initialisers of sound libraries.
    let library = unsafe { Library::open(path) }.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(take(), [""; 0], "{}", path.display());
    library
}
