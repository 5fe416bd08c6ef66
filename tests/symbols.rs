//! Which definition a name means: across objects that were opened one by one, in lookups by the caller, and where the
//! policy or the caller changes the rules.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

mod support;

use sideload::addr::RunAddr;
use sideload::audit::{Policy, Rule};
use sideload::{Error, Library, Loader};
use std::path::{Path, PathBuf};
use std::process::Command;
use support::{Folder, passes_elsewhere};
use test_fixtures::build;

fn try_open(loader: &Loader, path: impl AsRef<Path>) -> Result<Library, Error> {
    // SAFETY: the objects' initialisers are made to be run.
    unsafe { loader.open(path.as_ref()) }
}

fn open(path: impl AsRef<Path>) -> Library {
    try_open(&Loader::new(), path).unwrap_or_else(|error| panic!("{error}"))
}

fn call(library: &Library, name: &str) -> i32 {
    // SAFETY: the callers name functions of this type.
    unsafe { library.get::<unsafe extern "C" fn() -> i32>(name).unwrap_or_else(|error| panic!("{error}"))() }
}

fn address(library: &Library, name: &str) -> RunAddr {
    // SAFETY: it is not looked at.
    unsafe { library.get::<*const ()>(name) }.unwrap_or_else(|error| panic!("{error}")).address()
}

/// Compiles a source of that name in a folder to a shared object, and says where it is.
fn compile(folder: &Folder, name: &str, source: &str, options: &[&str]) -> PathBuf {
    let (input, output) = (folder.file(name), folder.file(name).with_extension("so"));
    std::fs::write(&input, source).expect("a folder of our own");
    let compiler = if name.ends_with("cpp") { "c++" } else { "cc" };
    let done = Command::new(compiler).args(["-shared", "-fPIC", "-o"]).args([&output, &input]).args(options).output();
    let done = done.expect("a compiler");
    assert!(done.status.success(), "{name}: {}", String::from_utf8_lossy(&done.stderr));
    output
}

/// Two objects that know nothing of each other, both opened for themselves.
#[test]
fn a_unique_symbol_is_one_in_the_process() {
    let folder = Folder::new("unique");
    let source = "template <typename T> struct Counter { static inline int count = 0; };\n\
        extern \"C\" int next() { return ++Counter<int>::count; }\n\
        extern \"C\" int *where() { return &Counter<int>::count; }\n";
    let [first, second] = ["one.cpp", "two.cpp"].map(|name| open(compile(&folder, name, source, &[])));
    assert!(!first.is_same(&second));
    assert_eq!([&first, &second, &first].map(|library| call(library, "next")), [1, 2, 3]);
    let symbol = "_ZN7CounterIiE5countE";
    assert_eq!(address(&second, symbol), address(&first, symbol), "a lookup finds the one that counts");
    // Also what looks at itself first, and what only needs one of them.
    let symbolic = open(compile(&folder, "three.cpp", source, &["-Wl,-Bsymbolic"]));
    assert_eq!(call(&symbolic, "next"), 4);
    let user = "template <typename T> struct Counter { static int count; };\nextern template struct Counter<int>;\n\
        extern \"C\" int peek() { return Counter<int>::count; }\n";
    let second_path = folder.file("two.so");
    let user = compile(&folder, "four.cpp", user, &[second_path.to_str().expect("text")]);
    assert_eq!(call(&open(user), "peek"), 4);
}

/// The host's goes before all of ours, even if the host opened it for itself alone.
#[test]
fn the_host_has_the_first_unique_symbol() {
    let folder = Folder::new("unique_host");
    let source = "template <typename T> struct Tally { static inline int count = 0; };\n\
        extern \"C\" int next() { return ++Tally<int>::count; }\n";
    let [host, ours] = ["host.cpp", "ours.cpp"].map(|name| compile(&folder, name, source, &[]));
    use libloading::os::unix::{Library as HostLibrary, RTLD_LOCAL, RTLD_NOW};
    // SAFETY: as everything that is opened here.
    let host = unsafe { HostLibrary::open(Some(host), RTLD_NOW | RTLD_LOCAL) }.expect("the system opens it");
    // SAFETY: it has this type.
    let next = unsafe { host.get::<unsafe extern "C" fn() -> i32>(b"next") }.expect("just compiled");
    let ours = open(ours);
    // SAFETY: as above.
    assert_eq!((unsafe { next() }, call(&ours, "next"), unsafe { next() }), (1, 2, 3));
}

#[test]
fn an_indirect_function_is_looked_up_as_what_its_resolver_chose() {
    let folder = Folder::new("ifunc");
    let source = "static int chosen(void) { return 42; }\nstatic int (*choose(void))(void) { return chosen; }\n\
        int indirect(void) __attribute__((ifunc(\"choose\")));\nint (*where(void))(void) { return indirect; }\n";
    let library = open(compile(&folder, "indirect.c", source, &[]));
    assert_eq!(call(&library, "indirect"), 42);
    // SAFETY: it has this type.
    let seen = unsafe { library.get::<unsafe extern "C" fn() -> usize>("where").expect("just compiled")() };
    assert_eq!(seen as u64, address(&library, "indirect").0);
    // One of the host's.
    let libc = open("libc.so.6");
    // SAFETY: strlen has this type, and gets a C string.
    let length = unsafe {
        libc.get::<unsafe extern "C" fn(*const u8) -> usize>("strlen").expect("libc has it")(c"four".as_ptr().cast())
    };
    assert_eq!(length, 4);
}

/// `errno` of libc, which no relocation of ours names.
#[test]
fn a_thread_local_of_the_host_is_looked_up() {
    let libc = open("libc.so.6");
    let check = || {
        // SAFETY: libc's errno is an int of this thread.
        let (errno, location) =
            unsafe { (libc.get_versioned::<*mut i32>("errno", "GLIBC_PRIVATE"), libc::__errno_location()) };
        assert_eq!(*errno.unwrap_or_else(|error| panic!("{error}")), location);
    };
    check();
    std::thread::scope(|scope| _ = scope.spawn(check));
}

#[test]
fn text_relocations_are_applied_where_the_policy_allows() {
    if passes_elsewhere("text_relocations_are_applied_where_the_policy_allows") {
        return;
    }
    let loader = Loader::new().policy(Policy::default().allow(Rule::TextRelocations));
    let path = build("textrel").path;
    try_open(&Loader::new(), &path).expect_err("refused by default");
    let library = try_open(&loader, &path).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(call(&library, "answer"), 42);
    // Text is text again, and nothing is writable and executable.
    let maps = std::fs::read_to_string("/proc/self/maps").expect("Linux");
    let own: Vec<_> = maps.lines().filter(|line| line.ends_with("libtextrel.so")).collect();
    assert!(own.iter().any(|line| line.contains(" r-xp ")), "{own:#?}");
    assert!(!maps.lines().any(|line| line.contains("wx")), "{maps}");
    // What a resolver chose may have its place in text, too.
    let folder = Folder::new("textrel");
    let source = "static int chosen(void) { return 42; }\nstatic int (*choose(void))(void) { return chosen; }\n\
        __attribute__((visibility(\"hidden\"))) int indirect(void) __attribute__((ifunc(\"choose\")));\n\
        __asm__(\".text\\n.globl answer\\n.type answer, @function\\nanswer:\\nmovabsq $indirect, %rax\\njmp *%rax\\n\");\n";
    let indirect = compile(&folder, "indirect.c", source, &["-Wl,-z,notext"]);
    let library = try_open(&loader, indirect).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(call(&library, "answer"), 42);
}

/// Three objects define one name: the one that was opened as global, and two that are opened for themselves.
#[test]
fn local_global_and_deep_scopes() {
    if passes_elsewhere("local_global_and_deep_scopes") {
        return;
    }
    let folder = Folder::new("scopes");
    let source = |value: i32| {
        format!(
            "int which(void) {{ return {value}; }}\nint ask(void) {{ return which(); }}\nint toupper(int c) {{ return {value}; }}\nint shout(void) {{ return toupper('a'); }}\n"
        )
    };
    let compiled = |name: &str, value| compile(&folder, name, &source(value), &["-fno-builtin"]);
    let (local, global) = (open(compiled("local.c", 1)), compiled("global.c", 2));
    assert_eq!((call(&local, "ask"), call(&local, "shout")), (1, i32::from(b'A')), "libc's before its own");
    let early = open(compiled("early.c", 3));
    assert_eq!(call(&early, "ask"), 3, "a local one is not seen by others");

    let global = try_open(&Loader::new().global(true), global).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!((call(&global, "ask"), call(&early, "ask")), (2, 3), "who is bound stays bound");
    let late = open(compiled("late.c", 4));
    assert_eq!((call(&late, "ask"), call(&late, "which")), (2, 4), "binds to the global one; a lookup asks it alone");

    let deep = Loader::new().deep(true);
    let deep = try_open(&deep, compiled("deep.c", 5)).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!((call(&deep, "ask"), call(&deep, "shout")), (5, 5), "its own before all others");
    // What it needs of libc it still gets, and libc's functions that know nothing of it are not used.
    let source = "#include <stdlib.h>\n#include <dlfcn.h>\n__thread int local = 40;\n\
        int answer(void) { return local + atoi(\"1\") + (dlsym(RTLD_DEFAULT, \"answer\") != 0); }\n";
    let path = compile(&folder, "needy.c", source, &[]);
    let needy = try_open(&Loader::new().deep(true), path).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(call(&needy, "answer"), 42);
}

/// The host's functions that this library counts the calls of are replaced only where it finds the host's own.
#[test]
fn counted_functions_that_only_their_version_finds() {
    assert_eq!(call(&open(build("old_fork_handler").path), "answer"), 42);
}

#[test]
fn counted_functions_of_an_image_that_the_host_may_close() {
    if passes_elsewhere("counted_functions_of_an_image_that_the_host_may_close") {
        return;
    }
    // SAFETY: its initialisers are the distribution's.
    let host = unsafe { libloading::os::unix::Library::new("libstdc++.so.6") }.expect("it is installed");
    assert_eq!(call(&open(build("tls_cxx").path), "answer"), 42);
    drop(host);
}
