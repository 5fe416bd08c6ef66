//! While the process exits, nothing is opened: finalisers have begun to run.

use crate::support::{Child, Folder, argument, describe, say};
use sideload::Library;
use sideload::Loader;
use sideload::addr::RunAddr;
use std::ffi::{CStr, c_char};
use std::path::PathBuf;
use std::process::Command;

/// An object that calls the host back when its destructors run.
const OBJECT: &str = r#"
extern "C" void leaving(const char *);
struct Goodbye {
    const char *from;
    ~Goodbye() { leaving(from); }
};
static Goodbye at_exit{"static"};
static thread_local Goodbye at_thread_end{"thread-local"};
extern "C" void touch(const char *from) { at_thread_end.from = from; }
"#;

fn built(folder: &Folder) -> PathBuf {
    let (source, object) = (folder.file("leaving.cpp"), folder.file("libleaving.so"));
    std::fs::write(&source, OBJECT).expect("a folder of our own");
    let mut compiler = Command::new("c++");
    compiler.args(["-shared", "-fPIC", "-o"]).args([&object, &source]);
    let done = compiler.output().unwrap_or_else(|error| panic!("{compiler:?}: {error}"));
    assert!(done.status.success(), "{compiler:?}: {}", String::from_utf8_lossy(&done.stderr));
    object
}

/// Opens something that the process does not have yet, and says who did and what came of it.
fn open_another(who: &str) {
    // SAFETY: zlib's initialisers do nothing harmful.
    let opened = unsafe { Library::open("libz.so.1") };
    let what = opened.map_or_else(|error| describe(&error), |_| "opened".to_owned());
    say(format!("{who}: {what}"));
}

extern "C" fn leaving(who: *const c_char) {
    // SAFETY: the object passes literals, and the test one of its own.
    open_another(unsafe { CStr::from_ptr(who) }.to_str().expect("text"));
}

extern "C" fn handler() {
    open_another("handler");
}

#[test]
#[ignore = "run by the other, in a child process that exits"]
fn child() {
    let handler_is = |when: &str| argument("HANDLER") == when;
    let register = || {
        // SAFETY: the handler takes and returns nothing.
        let registered = unsafe { libc::atexit(handler) };
        assert_eq!(registered, 0);
    };
    if handler_is("before the first open") {
        register();
    }
    // An open that fails, on its way, is an open.
    Loader::new().link("libnowhere.so").map(|_| ()).expect_err("it is nowhere");
    if handler_is("after the first open") {
        register();
    }
    let loader = Loader::new().resolver(|name: &[u8], _version: Option<&[u8]>| {
        (name == b"leaving").then_some(RunAddr(leaving as *const () as u64))
    });
    // SAFETY: the object above, whose `touch` has this type.
    let touch = unsafe {
        let library = loader.open(argument("OBJECT")).unwrap_or_else(|error| panic!("{error}"));
        *library.get::<unsafe extern "C" fn(*const c_char)>("touch").expect("exported")
    };
    if handler_is("after the last open") {
        register();
    }
    let thread = match argument("THREAD").to_str() {
        // SAFETY: a literal.
        Some("ends") => std::thread::spawn(move || unsafe { touch(c"the thread's end".as_ptr()) }),
        Some("opens and exits") => std::thread::spawn(|| {
            Loader::new().link("libnowhere.so").map(|_| ()).expect_err("it is nowhere");
            std::process::exit(0);
        }),
        _ => std::process::exit(0),
    };
    thread.join().expect("no panic");
    std::process::exit(0);
}

#[test]
fn nothing_is_opened_while_the_process_exits() {
    const REFUSED: &str = "Exiting | libz.so.1: find: the process is exiting";
    let folder = Folder::new("exit");
    let object = built(&folder);
    let run = |handler: &str, thread: &str| {
        let child = Child::new("exit::child").with("OBJECT", &object);
        child.with("HANDLER", handler).with("THREAD", thread).run()
    };
    // Handlers run in reverse: the object's destructor was registered last.
    let exiting = [format!("static: {REFUSED}"), format!("handler: {REFUSED}")];
    for handler in ["before the first open", "after the first open"] {
        let outcome = run(handler, "none");
        assert_eq!(outcome.expect_success().said(), exiting, "registered {handler}: {outcome}");
    }
    // One that was registered after the last open runs before any of ours, whichever thread it is that exits.
    let exiting = [exiting[1].clone(), exiting[0].clone()];
    for thread in ["none", "opens and exits"] {
        let outcome = run("after the last open", thread);
        assert_eq!(outcome.expect_success().said(), exiting, "exit where the thread: {thread}: {outcome}");
    }
    // The control: the end of a thread is not the end of the process, and zlib can be opened.
    let outcome = run("before the first open", "ends");
    let said = outcome.expect_success().said();
    assert_eq!(said.first(), Some(&"the thread's end: opened"), "{outcome}");
}
