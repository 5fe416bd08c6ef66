//! Images for x86_64 macOS, run on this system: each answers 42 only if every mechanism that it is about did its part.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use crate::support::{Child, Folder, argument, in_parallel, say};
use sideload::addr::RunAddr;
use sideload::{ErrorKind, Library, Loader, Plugin};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// What is built with opcodes and with chains; some need Debian's libc++.
pub(crate) const PAIRS: &[&str] = &[
    "rebase",
    "bind",
    "addend",
    "init",
    "tlv",
    "dep",
    "reexport",
    "weak_two",
    "cxx",
    "flat",
    "optional",
    "exception",
    "bundle",
    "fini",
];

/// Other builds of those, and what the editor makes of them.
const SINGLES: &[&str] = &[
    "addend-x64-huge",
    "init-x64-offsets",
    "rebase-fat",
    "init-fat",
    "rebase-fat64",
    "system-x64-old",
    "system-x64-chained",
    // Mutexes with signatures, which would mean nothing as ELF.
    "mutex-x64-old",
    "mutex-x64-chained",
];
const EDITED: &[&str] =
    &["rebase-x64-6-1", "rebase-x64-6-3", "cxx-x64-6-2", "dep-x64-6-1", "exception-x64-zlib", "mutex-x64-zlib"];

/// What they say at the end of the process.
const LAST_WORDS: &[(&str, &str)] = &[("fini", "fini.c: terminated"), ("cxx", "cxx.cpp: destroyed")];

extern "C" fn caller_supplied(value: i32) -> i32 {
    value + 2
}

fn open(path: &Path) -> Result<Library, sideload::Error> {
    let table = |name: &[u8], _: Option<&[u8]>| {
        (name == b"caller_supplied").then_some(RunAddr(caller_supplied as *const () as u64))
    };
    // SAFETY: a fixture, whose initialisers do nothing harmful.
    unsafe { Loader::new().resolver(table).open(path) }
}

fn answer(library: &Library) -> i32 {
    // SAFETY: every fixture declares it so.
    unsafe { library.get::<unsafe extern "C" fn() -> i32>("answer").map(|answer| answer()).expect("an answer") }
}

#[test]
#[ignore = "run by the others, in child processes"]
fn open_and_answer() {
    match open(Path::new(&argument("IMAGE"))) {
        Ok(library) => say(answer(&library)),
        Err(error) => say(error),
    }
}

#[test]
fn every_image_answers() {
    let folder = test_fixtures::macho_edit::folder();
    let edits = Folder::new("macho-edits");
    let mut cases: Vec<(String, PathBuf)> = Vec::new();
    for name in PAIRS.iter().flat_map(|name| [format!("{name}-x64-old"), format!("{name}-x64-chained")]) {
        cases.push((name.clone(), folder.join(name).with_extension("dylib")));
    }
    cases.extend(SINGLES.iter().map(|name| ((*name).to_owned(), folder.join(name).with_extension("dylib"))));
    let is_edited = |name: &str| EDITED.contains(&name);
    for (name, bytes) in test_fixtures::macho_edit::reencoded().into_iter().filter(|(name, _)| is_edited(name)) {
        let path = edits.file(format!("{name}.dylib"));
        std::fs::write(&path, bytes).expect("a folder of our own");
        cases.push((name, path));
    }
    edits.copy(&folder.join("dep_base-x64-chained.dylib"));
    let faults = in_parallel(&cases, |(name, path)| {
        let outcome = Child::new("run::open_and_answer").with("IMAGE", path).run();
        let words = LAST_WORDS.iter().find(|(of, _)| name.split('-').next() == Some(of)).map(|(_, words)| *words);
        let spoken = words.is_none_or(|words| outcome.stdout.contains(words));
        let fine = outcome.is_success() && outcome.last() == "42" && spoken;
        (!fine).then(|| format!("{name}: {}\n{}\n{}", outcome.last(), outcome.stdout, outcome.stderr))
    });
    let faults: Vec<String> = faults.into_iter().flatten().collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn what_cannot_run_is_refused_with_the_reason() {
    let folder = test_fixtures::macho_edit::folder();
    let cases: &[(&str, &str)] = &[
        ("objc-x64-old", "__objc_classlist"),
        ("rebase-a64-chained", "aarch64"),
        ("bundle-x64-old", "_caller_supplied"),
    ];
    for (name, expected) in cases {
        // SAFETY: none of them gets to run anything.
        let opened = unsafe { Loader::new().open(folder.join(name).with_extension("dylib")) };
        let text = opened.map(|_| ()).expect_err(name).to_string();
        assert!(text.contains(expected), "{name}: {text}");
    }
}

/// A need that is missing is an error that tells where it was looked for.
#[test]
fn a_missing_need_is_named() {
    let alone = Folder::new("macho-alone");
    let path = alone.copy(&test_fixtures::macho_edit::folder().join("dep-x64-old.dylib"));
    let error = open(&path).map(|_| ()).expect_err("dep_base is not there");
    assert!(matches!(error.kind(), ErrorKind::NotFound { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("@rpath/dep_base-x64-old.dylib") && text.contains("LC_RPATH of"), "{text}");
}

/// Two images that were opened apart agree on one definition, and one image has one instance.
#[test]
fn what_is_loaded_serves_later_opens() {
    let folder = test_fixtures::macho_edit::folder();
    let one = open(&folder.join("weak_one-x64-chained.dylib")).expect("a fixture");
    let two = open(&folder.join("weak_two-x64-chained.dylib")).expect("a fixture");
    // SAFETY: declared as `int *one_data(void)`.
    let data = |library: &Library| unsafe {
        library.get::<unsafe extern "C" fn() -> *const i32>("one_data").map(|data| data()).expect("exported")
    };
    assert_eq!(data(&one), data(&two));
    // SAFETY: an `int`.
    assert_eq!(unsafe { *data(&two) }, 11, "the definition of the image that was loaded first");
    let base = open(&folder.join("dep_base-x64-old.dylib")).expect("a fixture");
    let again = open(&folder.join("dep_base-x64-old.dylib")).expect("a fixture");
    assert!(base.is_same(&again));
    // SAFETY: an `int`.
    assert_eq!(unsafe { **base.get::<*const i32>("dep_data").expect("exported") }, 7);
}

/// A thread-local is found by name, and is that of the calling thread.
#[test]
fn a_thread_local_is_looked_up() {
    let library = open(&test_fixtures::macho_edit::folder().join("tlv-x64-old.dylib")).expect("a fixture");
    // SAFETY: an `int`, of this thread.
    let value = |library: &Library| unsafe { **library.get::<*const i32>("initial").expect("exported") };
    assert_eq!((answer(&library), value(&library)), (42, 24));
    std::thread::scope(|scope| {
        scope.spawn(|| assert_eq!(value(&library), 20));
    });
}

/// A plugin's rows are read from the section that takes the place of notes.
#[test]
fn plugins_are_checked() {
    type Add = extern "C" fn(i32, i32) -> i32;
    for tag in ["x64-old", "x64-chained"] {
        let path = test_fixtures::macho_edit::folder().join(format!("plugin-{tag}.dylib"));
        // SAFETY: a fixture, whose initialisers do nothing harmful.
        let plugin = unsafe { Plugin::open(path) }.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(plugin.lookup::<Add>("plugin_add").expect("exported")(2, 3), 5);
        assert_eq!(plugin.lookup::<extern "C" fn() -> i32>("answer").expect("exported")(), 42);
        let error = plugin.lookup::<extern "C" fn(i32) -> i32>("plugin_add").expect_err("it takes two");
        assert!(matches!(error.kind(), ErrorKind::TypeMismatch { .. }), "{error}");
    }
    // SAFETY: as above; it is refused before it runs.
    let error = unsafe { Plugin::open(test_fixtures::macho_edit::folder().join("init-x64-old.dylib")) };
    assert!(matches!(error.expect_err("it has no rows").kind(), ErrorKind::NotAPlugin { .. }));
}

/// The rows of a plugin in Rust are found by their symbols, which begin with one more underscore there.
#[test]
fn items_are_checked() {
    #[derive(sideload_plugin::Stable)]
    #[repr(C)]
    struct Size {
        width: f64,
        height: f64,
        depth: u8,
    }
    for tag in ["x64-old", "x64-chained"] {
        let path = test_fixtures::macho_edit::folder().join(format!("items-{tag}.dylib"));
        // SAFETY: a fixture without initialisers.
        let plugin = unsafe { Plugin::open(path) }.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(
            (plugin.name(), plugin.version(), plugin.fact("target")),
            ("items", "1.0.0", Some("x86_64-apple-darwin"))
        );
        let listed: Vec<String> = plugin.items().map(|item| format!("{}: {}", item.name(), item.type_of())).collect();
        let add = "add: extern \"C\" fn(i32, i32) -> i32";
        assert_eq!(listed, ["COUNT: AtomicU32", add, "area: extern \"C\" fn(&Size) -> f64"]);
        assert_eq!(plugin.lookup::<&AtomicU32>("COUNT").expect("exported").load(Ordering::Relaxed), 42);
        let area = plugin.lookup::<extern "C" fn(&Size) -> f64>("area").unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(area(&Size { width: 2.0, height: 3.0, depth: 1 }), 6.0);
        let error = plugin.lookup::<extern "C" fn(i32) -> i32>("add").expect_err("it takes two");
        assert!(matches!(error.kind(), ErrorKind::TypeMismatch { .. }), "{error}");
    }
}

#[test]
#[ignore = "run by another, in a child process: it dies"]
fn open_with_stubs_and_call() {
    let loader = Loader::new().stub_missing(true);
    // SAFETY: a fixture, whose initialisers do nothing harmful.
    let library = unsafe { loader.open(Path::new(&argument("IMAGE"))) }.unwrap_or_else(|error| panic!("{error}"));
    say("opened");
    answer(&library);
}

/// Where the caller asks for it, a missing function is told when it is called, not when the image is opened.
#[test]
fn a_missing_function_ends_the_process_when_it_is_called() {
    for tag in ["x64-old", "x64-chained"] {
        let path = test_fixtures::macho_edit::folder().join(format!("bundle-{tag}.dylib"));
        let outcome = Child::new("run::open_with_stubs_and_call").with("IMAGE", &path).run();
        let expected = format!("sideload: {} called _caller_supplied, which nobody defines", path.display());
        assert!(!outcome.is_success() && outcome.said() == ["opened"], "{outcome}");
        assert!(outcome.stderr.contains(&expected), "{outcome}");
    }
}

#[test]
#[ignore = "run by another, in a child process"]
fn open_and_unload() {
    let library = open(Path::new(&argument("IMAGE"))).expect("a fixture");
    say(answer(&library));
    let path = library.path().to_owned();
    // SAFETY: nothing of it is in use.
    unsafe { library.unload() }.unwrap_or_else(|still| panic!("{still}"));
    let maps = std::fs::read_to_string("/proc/self/maps").expect("this process's own");
    assert!(!maps.contains(&path), "{path} is still mapped");
    say("unloaded");
}

/// What an image registered for its end is called when it is unloaded, and not once more at the end of the process.
#[test]
fn images_end_when_they_are_unloaded() {
    let folder = test_fixtures::macho_edit::folder();
    for name in ["fini-x64-old", "fini-x64-chained", "cxx-x64-old", "tlv-x64-chained", "exception-x64-chained"] {
        let path = folder.join(name).with_extension("dylib");
        let outcome = Child::new("run::open_and_unload").with("IMAGE", path).run();
        outcome.expect_success();
        let words = LAST_WORDS.iter().find(|(of, _)| name.split('-').next() == Some(of)).map(|(_, words)| *words);
        let lines: Vec<&str> = outcome.stdout.lines().collect();
        let spoken = lines.iter().filter(|line| words.is_some_and(|words| line.contains(words))).count();
        assert_eq!(spoken, usize::from(words.is_some()), "{name}: {outcome}");
        assert_eq!(outcome.said(), ["42", "unloaded"], "{name}: {outcome}");
    }
}

/// Everything is given back if a group is not opened in the end.
#[test]
fn a_rehearsal_leaves_nothing_behind() {
    let before = sideload::ledger();
    for name in ["cxx-x64-chained", "tlv-x64-old", "exception-x64-old"] {
        let path = test_fixtures::macho_edit::folder().join(name).with_extension("dylib");
        let sealed = Loader::new().link(&path).and_then(|link| link.map()).and_then(|mapped| mapped.relocate());
        drop(sealed.and_then(|relocated| relocated.seal()).unwrap_or_else(|error| panic!("{error}")));
    }
    assert_eq!(sideload::ledger(), before);
}
