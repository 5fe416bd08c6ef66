//! What passes the border besides calls: panics, threads, fork, names of functions.

use crate::build::passes_alone;
use crate::types::greeter;
use sideload::Location;
use sideload::addr::RunAddr;
use std::ffi::{c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;

fn text(payload: &(dyn std::any::Any + Send)) -> &str {
    payload.downcast_ref::<String>().map_or("not a text", String::as_str)
}

/// The functions of loaded objects that were on the stack when `note` was called, the innermost first.
static FRAMES: Mutex<Vec<String>> = Mutex::new(Vec::new());

unsafe extern "C" {
    fn _Unwind_Backtrace(each: extern "C" fn(*mut c_void, *mut c_void) -> c_int, argument: *mut c_void) -> c_int;
    fn _Unwind_GetIP(frame: *mut c_void) -> usize;
}

extern "C" fn frame(context: *mut c_void, _: *mut c_void) -> c_int {
    // SAFETY: the unwinder passes a frame of this stack.
    let address = unsafe { _Unwind_GetIP(context) }.saturating_sub(1) as u64;
    let location = Location::of(RunAddr(address));
    let symbol = location.as_ref().and_then(Location::symbol);
    let name = symbol.map(|symbol| String::from_utf8_lossy(symbol.name).into_owned());
    FRAMES.lock().expect("no panic while locked").extend(name);
    0
}

fn note(name: &str) -> u32 {
    // SAFETY: the function has the type that the unwinder asks for.
    unsafe { _Unwind_Backtrace(frame, std::ptr::null_mut()) };
    name.len() as u32
}

#[test]
fn row_24_panics_threads_forks_and_names_pass_the_border() {
    if passes_alone("border::row_24_panics_threads_forks_and_names_pass_the_border") {
        return;
    }
    let plugin = greeter();
    let fail = *plugin.lookup::<fn(&str) -> u32>("fail").expect("exported");
    for _ in 0..3 {
        let payload = catch_unwind(AssertUnwindSafe(|| fail("here"))).expect_err("it panics");
        assert_eq!(text(&*payload), "failed: here");
    }
    let payload = std::thread::spawn(move || fail("there")).join().expect_err("it panics in a thread");
    assert_eq!(text(&*payload), "failed: there");
    let api = plugin.api::<crate::types::Each>().expect("exported");
    assert_eq!((api.each)(&["one"], note), 3);
    let frames = FRAMES.lock().expect("no panic while locked").join(" ");
    assert!(frames.contains("export_each"), "the plugin's function is named: {frames}");
    // SAFETY: the child calls the plugin and ends at once.
    let status = unsafe {
        let child = libc::fork();
        if child == 0 {
            let add = plugin.lookup::<extern "C" fn(i32, i32) -> i32>("add");
            libc::_exit(add.map_or(1, |add| add(40, 2)));
        }
        let mut status = 0;
        libc::waitpid(child, &raw mut status, 0);
        libc::WEXITSTATUS(status)
    };
    assert_eq!(status, 42);
}
