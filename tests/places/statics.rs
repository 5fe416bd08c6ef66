//! In an executable that is linked statically: it stands in for libc, by the symbols in its file.

use crate::hosts::{PROGRAM, build, package};
use crate::support::Folder;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Opens what it is told to, and says what came of it.
const HOST: &str = r#"
use std::ffi::{CStr, c_char};

fn version(name: &str) -> Result<String, sideload::Error> {
    // SAFETY: zlib's initialisers do nothing harmful, and these are the types of its functions.
    unsafe {
        let library = sideload::Library::open(name)?;
        let crc32 = library.get::<unsafe extern "C" fn(u64, *const u8, u32) -> u64>("crc32")?;
        let version = library.get::<unsafe extern "C" fn() -> *const c_char>("zlibVersion")?;
        let first = CStr::from_ptr(version()).to_bytes()[0] as char;
        Ok(format!("version {first}, checksum {:#x}", crc32(0, b"sideload".as_ptr(), 8)))
    }
}

type Answer = unsafe extern "C" fn() -> i32;

/// In this thread, in one that is older than the object, and in a new one.
fn answers(name: &str) -> Result<[i32; 3], sideload::Error> {
    let (give, take) = std::sync::mpsc::channel::<Answer>();
    // SAFETY: the fixtures' initialisers are made to be run, and this is the type of their function.
    unsafe {
        let older = std::thread::spawn(move || take.recv().map(|answer| answer()).unwrap_or(0));
        let library = sideload::Library::open(name)?;
        let answer = *library.get::<Answer>("answer")?;
        let here = answer();
        let _ = give.send(answer);
        let newer = std::thread::spawn(move || answer());
        Ok([here, older.join().unwrap_or(0), newer.join().unwrap_or(0)])
    }
}

/// Opens the last object as far as code of it would run, with a thread beside, and lets the call of that number fail.
fn fails(number: u64) -> String {
    let name = std::env::args().next_back().expect("the object");
    std::thread::spawn(|| loop { std::thread::park() });
    let faults = sideload::Faults::at(number);
    let linked = sideload::Loader::new().link(&*name);
    let sealed = linked.and_then(|link| link.map()?.relocate()?.seal()).map(drop);
    let call = faults.failed().unwrap_or("none");
    format!("{call}: {}", sealed.map_or_else(|error| error.to_string(), |()| "sealed".into()))
}

fn main() {
    for name in std::env::args().skip(1) {
        let said = match name.as_str() {
            _ if name.starts_with("fault ") => Ok(fails(name["fault ".len()..].parse().expect("a number"))),
            "libz.so.1" => version(&name),
            _ => answers(&name).map(|answers| format!("answers {answers:?}")),
        };
        match said {
            Ok(said) => println!("{said}"),
            Err(error) => println!("error {error}"),
        }
    }
}
"#;

const FIXTURES: [&str; 6] = ["relative", "tls_gd", "tls_errno", "rust_panic", "tls_initial_exec", "tls_ie_pointer"];

/// What zlib takes from libc and the host above does not.
const PULLED_IN: [&str; 3] = ["__snprintf_chk", "__vsnprintf_chk", "strerror"];

fn run(host: &Path, objects: &[&Path]) -> String {
    let done = Command::new(host).args(objects).output().unwrap_or_else(|error| panic!("{}: {error}", host.display()));
    assert!(done.status.success(), "{}: {done:?}", host.display());
    String::from_utf8(done.stdout).expect("text")
}

#[test]
fn a_static_executable_stands_in_for_libc() {
    let folder = Folder::new("static");
    package(&folder, PROGRAM, HOST);
    let build = |name: &str, options: &[&str]| {
        build(&folder, name, "host", &[&["--bin", "host", "--", "-Ctarget-feature=+crt-static"], options].concat())
    };
    let pull: Vec<String> = PULLED_IN.iter().map(|name| format!("-Clink-arg=-Wl,-u,{name}")).collect();
    let pull: Vec<&str> = pull.iter().map(String::as_str).collect();
    let fixtures = FIXTURES.map(|name| test_fixtures::build(name).path);
    let zlib = Path::new("libz.so.1");
    for (kind, model) in [("pie", "-Crelocation-model=pic"), ("fixed", "-Crelocation-model=static")] {
        let host = build(kind, &[&[model], &*pull].concat());
        let header = fs::read(&host).expect("it was built");
        assert_eq!(header[16], if kind == "pie" { 3 } else { 2 }, "ET_DYN and ET_EXEC: {kind}");
        let objects: Vec<&Path> = fixtures.iter().map(PathBuf::as_path).chain([zlib]).collect();
        let expected = [&["answers [42, 42, 42]"; FIXTURES.len()][..], &["version 1, checksum 0x9f26ce5c"]].concat();
        assert_eq!(run(&host, &objects).lines().collect::<Vec<_>>(), expected, "{kind}");

        let ie = FIXTURES.iter().position(|name| *name == "tls_initial_exec").expect("one of them");
        let kinds = each_call_fails(&host, zlib, expected[FIXTURES.len()]);
        assert!(["openat", "pread", "mmap"].iter().all(|call| kinds.contains(*call)), "{kind}: {kinds:?}");
        let kinds = each_call_fails(&host, &fixtures[ie], expected[ie]);
        // Threads are found by other means than in a dynamic program, where the C library's lists are.
        let thread = ["get_robust_list", "process_vm_readv", "process_vm_writev"];
        assert!(thread.iter().all(|call| kinds.contains(*call)), "{kind}: {kinds:?}");

        let all = run(&build("stripped", &[&[model, "-Cstrip=symbols"], &*pull].concat()), &[zlib]);
        assert_refused(&all, &["malloc@GLIBC_2.2.5", "memcpy@GLIBC_2.14", "strerror@GLIBC_2.2.5"]);
        let some = run(&build("lacking", &[model]), &[zlib]);
        assert_refused(&some, &PULLED_IN);
        assert!(!some.contains("malloc"), "which the host has: {some}");
    }
}

/// Each call of an open fails once, in a process of its own: the open is refused with a word about it, or does without,
/// and the next one works. Returns the kinds of calls.
fn each_call_fails(host: &Path, object: &Path, expected: &str) -> BTreeSet<String> {
    let mut kinds = BTreeSet::new();
    for number in 1.. {
        let said = run(host, &[Path::new(&format!("fault {number}")), object]);
        let (first, then) = said.split_once('\n').expect("an error of one line");
        let (call, end) = first.split_once(": ").expect("as the host says it");
        if call == "none" {
            break;
        }
        // Images that might be unloaded meanwhile are read without the kernel's help; a thread without a list has ended.
        let does_without = ["openat", "pread", "get_robust_list"].contains(&call);
        let named = end.contains(if call == "openat" { "open" } else { call });
        assert!(named || end == "sealed" && does_without, "call {number}: {first}");
        assert_eq!(then.trim_end(), expected, "after call {number}: {first}");
        kinds.insert(call.to_owned());
    }
    kinds
}

/// Refused, with all names that the host does not have and who needs them.
#[track_caller]
fn assert_refused(said: &str, names: &[&str]) {
    let (first, rows) = said.split_once('\n').expect("an error of several lines");
    assert!(first.starts_with("error ") && first.contains("libz.so.1: link: "), "{said}");
    assert!(first.ends_with(" undefined symbols:"), "{said}");
    for name in names {
        let row = rows.lines().find(|line| line.trim_start().starts_with(name));
        assert!(row.is_some_and(|row| row.ends_with("libz.so.1)")), "no {name} in {said}");
    }
}
