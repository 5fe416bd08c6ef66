//! Cases about what comes after an open: closing, debuggers' lists, and room that not every process has.

use crate::cases::{Verdict, same};
use crate::loaders::Who;
use crate::support::reserve_static_tls;
use sideload::Loader;
use sideload::audit::{Policy, Rule};
use std::ffi::{CStr, c_char, c_int};
use std::path::{Path, PathBuf};
use std::process::Command;
use test_fixtures::build;

/// How many mappings of the file there are.
fn mapped(path: &Path) -> usize {
    let path = path.canonicalize().expect("it is there");
    let maps = std::fs::read_to_string("/proc/self/maps").expect("this process's own");
    maps.lines().filter(|line| line.ends_with(path.to_str().expect("text"))).count()
}

/// Finalisers and handlers of `atexit` run in reverse, once, and the memory goes.
pub(crate) fn closed(who: Who) -> Verdict {
    let path = build("unload_order").path;
    let journal = who.open(&path.with_file_name("libjournal.so"))?;
    for round in 1..=3 {
        let library = who.open(&path)?;
        same("answer", library.call("answer")?, 42)?;
        library.close()?;
        same("finalisers", journal.text("journal_text")?, "ofad".repeat(round))?;
        same("mappings", mapped(&path), 0)?;
    }
    Ok(())
}

/// What was loaded for its sake goes with it, and nothing that others need.
pub(crate) fn closed_with_needs(who: Who) -> Verdict {
    let path = build("init_diamond").path;
    let needed = ["libdiamond_left.so", "libdiamond_base.so"].map(|name| path.with_file_name(name));
    let both = || needed.each_ref().map(|path| mapped(path) > 0);
    let library = who.open(&path)?;
    let left = who.open(&needed[0])?;
    library.close()?;
    same("the library", mapped(&path), 0)?;
    same("what another needs", both(), [true, true])?;
    left.close()?;
    same("the rest", both(), [false, false])
}

/// While a thread has yet to run a destructor in it, the code stays.
pub(crate) fn closed_too_early(who: Who) -> Verdict {
    let path = build("thread_destructor").path;
    let thread = move |path: PathBuf| -> Verdict {
        let library = who.open(&path)?;
        same("touched", library.call("touch")?, 41)?;
        // Ours says what is in the way; the system's says nothing, and keeps it.
        if library.close().is_ok() == (who == Who::Ours) {
            return Err("closed, or refused to".to_owned());
        }
        same("still there", mapped(&path) > 0, true)
    };
    let outcome = std::thread::spawn(move || thread(path)).join();
    outcome.map_err(|_| "the destructor's thread panicked".to_owned())?
}

#[repr(C)]
struct LinkMap {
    address: usize,
    name: *const c_char,
    dynamic: usize,
    next: *const LinkMap,
}

#[repr(C)]
struct Debug {
    version: c_int,
    map: *const LinkMap,
    breakpoint: usize,
    state: c_int,
    loader: usize,
    next: *const Debug,
}

unsafe extern "C" {
    static _r_debug: Debug;
}

/// How often a debugger would find the file.
fn announced(path: &Path) -> usize {
    let mut count = 0;
    let mut list = &raw const _r_debug;
    // SAFETY: the chain and its lists are complete while this thread, the only one that loads, does not change them.
    unsafe {
        while !list.is_null() {
            let mut map = (*list).map;
            while !map.is_null() {
                count += usize::from(CStr::from_ptr((*map).name).to_bytes() == path.as_os_str().as_encoded_bytes());
                map = (*map).next;
            }
            list = if (*list).version >= 2 { (*list).next } else { std::ptr::null() };
        }
    }
    count
}

/// Debuggers find it as long as it is there, once.
pub(crate) fn debuggers_list(who: Who) -> Verdict {
    let path = build("relative").path;
    for _ in 0..3 {
        same("before", announced(&path), 0)?;
        let library = who.open(&path)?;
        same("meanwhile", announced(&path), 1)?;
        library.close()?;
    }
    same("after", announced(&path), 0)
}

/// The object's own definitions before the host's.
pub(crate) fn deep_scope(who: Who) -> Verdict {
    let flags = if cfg!(target_env = "gnu") { libc::RTLD_DEEPBIND } else { 0 };
    let deep = who.open_with(&build("host_first").path, &Loader::new().deep(true), flags)?;
    same("its own atoi", deep.call("answer")?, 7)
}

/// Relocations in code, where the policy allows them.
pub(crate) fn text_relocations(who: Who) -> Verdict {
    let allowed = Loader::new().policy(Policy::default().allow(Rule::TextRelocations));
    same("answer", who.open_with(&build("textrel").path, &allowed, 0)?.call("answer")?, 42)?;
    let maps = std::fs::read_to_string("/proc/self/maps").map_err(|error| error.to_string())?;
    same("writable and executable", who == Who::Ours && maps.contains("wx"), false)
}

/// Two libraries of 16 KiB each, in every thread at a fixed place.
pub(crate) fn much_static_tls(who: Who) -> Verdict {
    reserve_static_tls();
    same("answer", who.open(&build("tls_ie_large").path)?.call("answer")?, 42)
}

/// The compiler itself: 150 MB, with initial-exec thread-locals.
pub(crate) fn rustc_driver(who: Who) -> Verdict {
    reserve_static_tls();
    let asked = Command::new("rustc").args(["--print", "sysroot"]).output().map_err(|error| error.to_string())?;
    let folder = Path::new(String::from_utf8_lossy(&asked.stdout).trim()).join("lib");
    let files = std::fs::read_dir(&folder).map_err(|error| error.to_string())?;
    let name = |path: &PathBuf| {
        path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with("librustc_driver-"))
    };
    let path = files.flatten().map(|entry| entry.path()).find(name).ok_or("the toolchain has no librustc_driver")?;
    who.open(&path).map(drop)
}
