//! A stack that passes through a loaded object.

use sideload::Library;
use sideload_backtrace::Backtrace;
use std::ffi::c_int;
use std::path::Path;
use std::sync::Mutex;

static CAPTURED: Mutex<Option<Backtrace>> = Mutex::new(None);

extern "C" fn capture() -> c_int {
    *CAPTURED.lock().unwrap() = Some(Backtrace::capture());
    1
}

/// The backtrace that a function sees which a loaded object calls.
fn through(object: &Path) -> Backtrace {
    // SAFETY: our own fixture, whose function is of that type.
    let value = unsafe {
        let library = Library::open(object).unwrap();
        library.get::<unsafe extern "C" fn(extern "C" fn() -> c_int) -> c_int>("call_back").unwrap()(capture)
    };
    assert_eq!(value, 12);
    CAPTURED.lock().unwrap().take().unwrap()
}

#[test]
fn functions_of_a_loaded_object_are_named() {
    let fixture = test_fixtures::build("callback");
    let with_its_file = through(&fixture.path).to_string();
    let expected =
        ["0: names::capture", "1: hidden_caller", "callback.c:", "2: call_back", "callback.c:", "3: names::through"];
    let mut rest = &*with_its_file;
    for part in expected {
        let at = rest.find(part).unwrap_or_else(|| panic!("no {part:?} in, or not in this order:\n{with_its_file}"));
        rest = &rest[at + part.len()..];
    }

    // Where the file is gone there is only what the object exports.
    let gone = Path::new(env!("CARGO_TARGET_TMPDIR")).join("libgone.so");
    std::fs::copy(&fixture.path, &gone).unwrap();
    let backtrace = through(&gone);
    std::fs::remove_file(&gone).unwrap();
    let without = backtrace.to_string();
    assert!(without.contains("2: call_back\n"), "{without}");
    assert!(without.contains(&format!("1: {}()[0x", gone.display())), "{without}");
}
