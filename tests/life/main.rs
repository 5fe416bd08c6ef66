//! How long things live: unloading and what refuses it, threads that wait, and processes that fork.
#![cfg(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu"))]

#[path = "../support/mod.rs"]
mod support;

mod fork;
mod panics;
mod refused;
mod rounds;
mod unload;
mod waiting;

use sideload::addr::RunAddr;
use sideload::{Error, Library, Loader, StillLive};
use std::ffi::{CStr, CString, c_char};
use std::path::{Path, PathBuf};
use support::Folder;
use test_fixtures::build;

fn try_open(loader: &Loader, path: impl AsRef<Path>) -> Result<Library, Error> {
    // SAFETY: the fixtures' initialisers are made to be run.
    unsafe { loader.open(path.as_ref()) }
}

fn open(path: impl AsRef<Path>) -> Library {
    try_open(&Loader::new(), path).unwrap_or_else(|error| panic!("{error}"))
}

fn fixture(name: &str) -> Library {
    open(build(name).path)
}

fn unload(library: Library) -> Result<(), StillLive> {
    // SAFETY: nothing of the fixtures is in use when this is called.
    unsafe { library.unload() }
}

/// Calls a function without arguments.
fn call(library: &Library, name: &str) -> i32 {
    // SAFETY: every fixture declares what the tests call like this.
    unsafe { library.get::<unsafe extern "C" fn() -> i32>(name).unwrap_or_else(|error| panic!("{error}"))() }
}

/// Calls one with a path.
fn call_with(library: &Library, name: &str, path: &str) -> i32 {
    let path = CString::new(path).expect("a path");
    // SAFETY: `int name(const char *)` in the fixture.
    unsafe {
        let function = library.get::<unsafe extern "C" fn(*const c_char) -> i32>(name);
        function.unwrap_or_else(|error| panic!("{error}"))(path.as_ptr())
    }
}

fn answer(library: &Library) -> i32 {
    call(library, "answer")
}

/// What the fixtures have noted.
fn journal(library: &Library) -> String {
    // SAFETY: `const char *journal_text(void)` in the fixture.
    let text = unsafe {
        let function = library.get::<extern "C" fn() -> *const c_char>("journal_text").expect("exported");
        CStr::from_ptr(function())
    };
    text.to_str().expect("letters").to_owned()
}

/// How many lines of this process's memory map name that file.
fn mapped(path: &Path) -> usize {
    let path = path.canonicalize().expect("it is there");
    let maps = std::fs::read_to_string("/proc/self/maps").expect("this process's own");
    maps.lines().filter(|line| line.ends_with(path.to_str().expect("text"))).count()
}

/// A loader that lets the objects made from `init_imported` call `function` as their initialiser.
fn initialised_by(function: extern "C-unwind" fn()) -> Loader {
    let address = RunAddr(function as *const () as u64);
    Loader::new().resolver(move |name: &[u8], _version: Option<&[u8]>| (name == b"callee_init").then_some(address))
}

/// Copies of that object, in one folder with what they need.
fn initialised<const N: usize>(names: [&str; N]) -> (Folder, [PathBuf; N]) {
    let folder = Folder::new("initialised");
    let original = build("init_imported").path;
    folder.copy(&original.with_file_name("libinit_callee.so"));
    let paths = names.map(|name| folder.file(name));
    for path in &paths {
        std::fs::copy(&original, path).expect("a folder of our own");
    }
    (folder, paths)
}
