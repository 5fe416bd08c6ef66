//! What debuggers, profilers and backtraces can tell of loaded objects.
#![cfg(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu"))]

mod support;

use sideload::addr::RunAddr;
use sideload::{Library, Location, ledger};
use std::ffi::{CStr, c_char, c_int};
use std::path::Path;
use std::process::Command;
use support::{argument, passes_elsewhere};

fn open(path: impl AsRef<Path>) -> Library {
    // SAFETY: a fixture of ours.
    unsafe { Library::open(path.as_ref()) }.unwrap()
}

fn answer(library: &Library) -> c_int {
    // SAFETY: every fixture declares it as `int answer(void)`.
    unsafe { library.get::<unsafe extern "C" fn() -> c_int>("answer").unwrap()() }
}

#[test]
#[ignore = "run by the others, in a debugger"]
fn debuggee() {
    let path = argument("OBJECT");
    assert_eq!(answer(&open(&path)), 42);
}

/// Runs [`debuggee`] in gdb with these commands, and returns what gdb said.
fn gdb(object: &Path, commands: &[&str]) -> Option<String> {
    if Command::new("gdb").arg("--version").output().is_err() {
        assert!(std::env::var_os("CI").is_none(), "CI installs gdb");
        eprintln!("SKIPPED: no gdb on this machine");
        return None;
    }
    let mut gdb = Command::new("gdb");
    gdb.args(["--batch", "--nx", "--quiet"]);
    let settings = ["set debuginfod enabled off", "set startup-with-shell off", "set breakpoint pending on"];
    for command in settings.iter().chain(commands) {
        gdb.args(["-ex", command]);
    }
    gdb.arg("--args").arg(std::env::current_exe().unwrap());
    gdb.args(["debuggee", "--exact", "--include-ignored", "--nocapture", "--test-threads=1"]);
    let output = gdb.env(support::key("OBJECT"), object).output().unwrap();
    Some(String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr))
}

#[test]
fn gdb_stops_at_breakpoints_that_were_set_by_name_before_the_open() {
    let object = test_fixtures::build("debugger").path;
    let commands = [
        "break debuggee_constructor",
        "break debuggee_function",
        "run",
        "info sharedlibrary",
        "continue",
        "backtrace 2",
        "info symbol answer",
        "continue",
    ];
    let Some(said) = gdb(&object, &commands) else { return };
    let path = object.display();
    let expected = [
        "Breakpoint 1, debuggee_constructor ()".to_owned(),
        format!("Yes         {path}"),
        "Breakpoint 2, debuggee_function (value=".to_owned(),
        "in answer () at".to_owned(),
        format!("answer in section .text of {path}"),
        "exited normally".to_owned(),
    ];
    let mut rest = &*said;
    for line in &expected {
        let at = rest.find(line).unwrap_or_else(|| panic!("no {line:?} in, or not in this order:\n{said}"));
        rest = &rest[at..];
    }
}

#[repr(C)]
struct LinkMap {
    address: usize,
    name: *const c_char,
    dynamic: usize,
    next: *const LinkMap,
    previous: *const LinkMap,
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

/// The names in each list of the chain, as a debugger reads them.
fn lists() -> Vec<Vec<String>> {
    let mut lists = Vec::new();
    let mut at = &raw const _r_debug;
    // SAFETY: the chain and its lists are complete whenever this thread does not change them, and no other thread runs.
    unsafe {
        while !at.is_null() {
            assert_eq!((*at).state, 0, "RT_CONSISTENT");
            let mut names = Vec::new();
            let (mut map, mut before) = ((*at).map, std::ptr::null());
            while !map.is_null() {
                assert_eq!((*map).previous, before, "gdb calls such a list corrupted");
                names.push(CStr::from_ptr((*map).name).to_string_lossy().into_owned());
                (before, map) = (map, (*map).next);
            }
            lists.push(names);
            at = if (*at).version >= 2 { (*at).next } else { std::ptr::null() };
        }
    }
    lists
}

#[test]
fn our_list_stands_beside_those_of_the_system_loader() {
    if passes_elsewhere("our_list_stands_beside_those_of_the_system_loader") {
        return;
    }
    let path = |name| test_fixtures::build(name).path.display().to_string();
    let (first, second) = (path("relative"), path("bss"));
    let host = lists();
    assert_eq!(host.len(), 1);
    open(&first);
    assert_eq!(lists()[1..], [vec![first.clone()]]);
    assert_eq!(lists()[0], host[0]);
    // SAFETY: zlib in a namespace of its own, which glibc announces in the same chain.
    let handle = unsafe { libc::dlmopen(libc::LM_ID_NEWLM, c"libz.so.1".as_ptr(), libc::RTLD_NOW) };
    assert!(!handle.is_null());
    open(&second);
    let now = lists();
    assert_eq!(now[1], [first, second]);
    assert!(now[2].iter().any(|name| name.contains("libz.so.1")), "{now:?}");
    assert_eq!(ledger().debugger_entries, 2);
    // SAFETY: the handle that was opened above. Unloading calls what stands behind us in the chain.
    assert_eq!(unsafe { libc::dlclose(handle) }, 0);
    assert_eq!(lists()[1].len(), 2);
}

#[test]
fn addresses_lead_to_objects_and_symbols() {
    let path = test_fixtures::build("callback").path;
    let library = open(&path);
    // SAFETY: only the address is used.
    let call_back = unsafe { library.get::<usize>("call_back") }.unwrap().address();
    let at = |address: u64| Location::of(RunAddr(address));

    let inside = at(call_back.0 + 1).unwrap();
    assert_eq!(inside.path(), path);
    assert_eq!(inside.vm() + inside.bias(), RunAddr(call_back.0 + 1));
    let symbol = inside.symbol().unwrap();
    assert_eq!((symbol.name, symbol.address, symbol.offset, symbol.holds), (&b"call_back"[..], call_back, 1, true));
    let text = inside.to_string();
    assert!(text.starts_with(&format!("{}(call_back+0x1)[0x", path.display())), "{text}");
    assert_eq!(inside.build_id().map(<[u8]>::len), Some(20));

    // Behind the last function of the segment there is only a nearest symbol.
    let mut last = call_back.0;
    while at(last + 1).is_some_and(|location| location.symbol().is_some_and(|symbol| symbol.address >= call_back)) {
        last += 1;
    }
    let near = at(last).unwrap();
    let symbol = near.symbol().unwrap();
    assert!(!symbol.holds && symbol.offset == last - symbol.address.0, "{symbol:?}");
    assert!(near.to_string().contains("()[0x"), "{near}");

    // In the first segment, before all functions, there is none; outside the object there is no location.
    let header = at(near.bias().0).unwrap();
    assert_eq!(header.symbol(), None);
    assert!(at(near.bias().0 - 1).is_none());
    assert!(at(0).is_none() && at(u64::MAX).is_none());
    assert!(at((&raw const _r_debug).addr() as u64).is_none(), "of the host");
}

#[test]
fn profilers_find_the_file_of_the_text() {
    let path = test_fixtures::build("callback").path;
    let library = open(&path);
    // SAFETY: only the address is used.
    let function = unsafe { library.get::<usize>("answer") }.unwrap().address().0;
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let line = maps.lines().find(|line| {
        let (start, end) = line.split_once(' ').unwrap().0.split_once('-').unwrap();
        (u64::from_str_radix(start, 16).unwrap()..u64::from_str_radix(end, 16).unwrap()).contains(&function)
    });
    let line = line.expect("a function is mapped");
    assert!(line.contains(" r-xp ") && line.ends_with(path.to_str().unwrap()), "{line}");
}
