//! The behaviours of the table, by number.

use crate::build::{passes_alone, plugin};
use crate::support::{Folder, kind};
use crate::types::{greeter, open};
use sideload::addr::VmAddr;
use sideload::plan::LoadPlan;
use sideload::{BuildPolicy, Error, ErrorKind, Library, Loader, Plugin, Source, Stage, Strictness, ledger};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Barrier, Mutex, OnceLock};
use std::time::Duration;

pub(crate) fn open_with(loader: &Loader, path: impl Into<Source>) -> Result<Plugin, Error> {
    // SAFETY: the plugins are built from this repository.
    unsafe { loader.open_plugin(path) }
}

/// A copy of a plugin in a folder of its own.
pub(crate) fn copy_of(name: &str) -> (Folder, PathBuf) {
    let folder = Folder::new(name);
    let path = folder.copy(&plugin(name));
    (folder, path)
}

/// Whether anything of the file is mapped.
pub(crate) fn is_mapped(path: &Path) -> bool {
    let maps = fs::read_to_string("/proc/self/maps").expect("there is a /proc");
    maps.contains(path.to_str().expect("text"))
}

/// Opens what is to be refused before any foreign code, and sees that nothing is left of it.
#[track_caller]
pub(crate) fn refused(loader: &Loader, path: &Path) -> Error {
    let before = ledger();
    let error = open_with(loader, path).expect_err("it is to be refused");
    assert_eq!(ledger(), before, "{error}");
    assert!(!is_mapped(path), "{error}");
    error
}

/// Every byte string `from` in what rows say becomes `to`, and the sums are made right again: those of notes, and of the
/// blocks that notes point to.
pub(crate) fn edit(path: &Path, from: &[u8], to: &[u8]) {
    assert_eq!(from.len(), to.len());
    let mut bytes = fs::read(path).expect("a copy of ours");
    let places = places(&bytes, from);
    assert!(!places.is_empty());
    for place in places {
        let (start, end, seal) = holder(&bytes, place);
        bytes[place..place + to.len()].copy_from_slice(to);
        let sum = seal(&bytes[start..end]);
        bytes[start..start + 4].copy_from_slice(&sum.to_le_bytes());
    }
    seal_items(&mut bytes);
    fs::write(path, bytes).expect("a copy of ours");
}

/// Makes the sums of items' rows right, as far as they still are rows.
pub(crate) fn seal_items(bytes: &mut [u8]) {
    let Ok(plan) = sideload::plan::plan(bytes, "edited") else { return };
    let Ok(items) = plan.item_rows(bytes) else { return };
    for (row, pointers) in items.iter() {
        if let Some((at, sum)) = item_sum(bytes, &plan, row, pointers) {
            bytes[at..at + 4].copy_from_slice(&sum.to_le_bytes());
        }
    }
}

/// Where a row has its sum, and what that is.
fn item_sum(bytes: &[u8], plan: &LoadPlan, row: VmAddr, pointers: &[(VmAddr, VmAddr)]) -> Option<(usize, u32)> {
    let at = plan.file_offset(row, 16)? as usize;
    let plain: [u8; 4] = *bytes[at + 12..].first_chunk()?;
    let block = |vm: VmAddr| Some(u32::from_le_bytes(*bytes[plan.file_offset(vm, 8)? as usize..].first_chunk()?));
    let sums = pointers.iter().take(2 + usize::from(plain[0])).map(|(_, target)| block(*target));
    let sums: Vec<u32> = sums.collect::<Option<_>>()?;
    let (front, parts) = sums.split_first_chunk()?;
    Some((at + 8, sideload::abi::item_sum(plain, *front, parts.iter().copied())))
}

/// Where a note or a block has that text.
fn places(bytes: &[u8], text: &[u8]) -> Vec<usize> {
    let found = bytes.windows(text.len()).enumerate().filter(|(_, window)| *window == text);
    found.map(|(at, _)| at).filter(|&at| try_holder(bytes, at).is_some()).collect()
}

type Seal = fn(&[u8]) -> u32;

fn holder(bytes: &[u8], place: usize) -> (usize, usize, Seal) {
    try_holder(bytes, place).expect("a note or a block")
}

/// The note's description or the block around `place`, and what makes its sum.
fn try_holder(bytes: &[u8], place: usize) -> Option<(usize, usize, Seal)> {
    let number = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
    let seals: [(usize, Seal); 2] = [
        (8, |block| sideload::abi::sum(&block[8..])),
        (0, |desc| sideload::abi::checksum(sideload::abi::note_type::BUILD, desc)),
    ];
    (place.saturating_sub(1024).max(24)..place).rev().find_map(|start| {
        seals.into_iter().find_map(|(header, seal)| {
            let size = if header == 8 { number(start + 4) } else { number(start - 20) } as usize;
            let end = start + header + size;
            let holds = size < 4096 && place < end && end <= bytes.len();
            (holds && seal(&bytes[start..end]) == number(start)).then_some((start, end, seal))
        })
    })
}

/// Has the rows of a plugin state another target; returns this one and that.
pub(crate) fn another_target(path: &Path) -> (&'static str, String) {
    let is_target = |row: &&(&str, &'static str)| row.0 == "target";
    let target = sideload::abi::BUILD.iter().find(is_target).expect("every build has one").1;
    let other = target.to_uppercase();
    edit(path, target.as_bytes(), other.as_bytes());
    (target, other)
}

#[test]
fn row_01_a_plugin_is_opened_by_its_path_a_library_is_searched_for() {
    if passes_alone("rows::row_01_a_plugin_is_opened_by_its_path_a_library_is_searched_for") {
        return;
    }
    let (folder, path) = copy_of("greeter");
    let error = open("libgreeter.so").expect_err("it is not in the working folder");
    assert!(matches!(error.kind(), ErrorKind::NotFound { tried, .. } if tried.len() == 1), "{error}");
    std::env::set_current_dir(folder.path()).expect("a folder of ours");
    assert!(open("libgreeter.so").expect("it is here") == open(&path).expect("the same"));
    // SAFETY: initialisers of zlib.
    unsafe { Library::open("libz.so.1") }.expect("searched for");
}

#[test]
fn row_02_a_missing_file_is_named_with_what_the_system_said() {
    let (folder, path) = copy_of("greeter");
    let cases = [
        (folder.file("gone.so"), "NotFound", "gone.so (the name is a path): not found"),
        (path.join("below.so"), "NotFound", "below.so (the name is a path): not found"),
        (folder.path().to_owned(), "NotAnImage", "a folder"),
    ];
    for (path, expected, words) in cases {
        let error = open(&path).expect_err("there is none");
        assert_eq!(kind(error.kind()), expected, "{error}");
        assert!(error.to_string().contains(words), "{error}");
        assert!(error.to_string().contains(path.to_str().expect("text")), "{error}");
    }
}

#[test]
fn row_03_one_file_is_one_plugin_whatever_it_is_called() {
    if passes_alone("rows::row_03_one_file_is_one_plugin_whatever_it_is_called") {
        return;
    }
    let (folder, path) = copy_of("greeter");
    let (symbolic, hard) = (folder.file("symbolic.so"), folder.file("hard.so"));
    std::os::unix::fs::symlink(&path, &symbolic).expect("a folder of ours");
    fs::hard_link(&path, &hard).expect("a folder of ours");
    let dotted = folder.path().join("./libgreeter.so");
    let first = open(&path).expect("a sound plugin");
    let greeted = first.lookup::<&AtomicU32>("GREETED").expect("exported").as_ptr();
    for other in [&symbolic, &hard, &dotted] {
        let other = open(other).expect("the same file");
        assert!(other == first);
        assert_eq!(other.lookup::<&AtomicU32>("GREETED").expect("exported").as_ptr(), greeted);
    }
}

#[test]
fn row_06_a_failure_is_not_kept_a_repaired_file_opens() {
    if passes_alone("rows::row_06_a_failure_is_not_kept_a_repaired_file_opens") {
        return;
    }
    let (_folder, path) = copy_of("greeter");
    let sound = fs::read(&path).expect("a copy of ours");
    edit(&path, b"\x05rustc", b"\x05wrong");
    let error = refused(&Loader::new(), &path);
    assert!(matches!(error.kind(), ErrorKind::BuildMismatch(_)), "{error}");
    fs::write(&path, sound).expect("a copy of ours");
    assert_eq!(
        open(&path).expect("it is repaired").lookup::<fn(&str) -> String>("greet").expect("exported")("you"),
        "hello, you"
    );
}

#[test]
fn row_07_a_truncated_file_is_an_error() {
    if passes_alone("rows::row_07_a_truncated_file_is_an_error") {
        return;
    }
    let (folder, path) = copy_of("greeter");
    let sound = fs::read(&path).expect("a copy of ours");
    // What lies behind the last segment, section headers and symbols for debuggers, no loader reads.
    for size in [0, 1, 16, 63, 64, 500, 4096, 10_000, 100_000] {
        let path = folder.file(format!("{size}.so"));
        fs::write(&path, &sound[..size]).expect("a folder of ours");
        let error = refused(&Loader::new(), &path);
        assert!(matches!(kind(error.kind()).as_str(), "NotAnImage" | "Malformed"), "{size}: {error}");
    }
}

#[test]
fn row_08_a_library_is_no_plugin_and_is_not_even_mapped() {
    if passes_alone("rows::row_08_a_library_is_no_plugin_and_is_not_even_mapped") {
        return;
    }
    let fixture = test_fixtures::build("init_both");
    let stages = std::sync::Arc::new(AtomicUsize::new(0));
    let seen = std::sync::Arc::clone(&stages);
    let loader = Loader::new().observer(move |_| {
        seen.fetch_add(1, Ordering::Relaxed);
    });
    let error = refused(&loader, &fixture.path);
    assert!(matches!(error.kind(), ErrorKind::NotAPlugin { .. }), "{error}");
    assert_eq!((error.stage(), stages.load(Ordering::Relaxed)), (Stage::Admit, 0), "no stage was reached, no code ran");
    // SAFETY: the fixture's initialisers are made to be run.
    let library = unsafe { Library::open(&fixture.path) }.expect("a sound library");
    assert!(matches!(open(library.path()).expect_err("open as a library").kind(), ErrorKind::NotAPlugin { .. }));
}

#[test]
fn row_09_every_difference_of_the_builds_is_listed_before_mapping() {
    if passes_alone("rows::row_09_every_difference_of_the_builds_is_listed_before_mapping") {
        return;
    }
    let (_folder, path) = copy_of("greeter");
    edit(&path, b"\x05rustc", b"\x05Rustc");
    let (target, other) = another_target(&path);
    let loader = Loader::new().build_policy(BuildPolicy::default().expect("features", "loud").expect("server", "9"));
    let error = refused(&loader, &path);
    let ErrorKind::BuildMismatch(rows) = error.kind() else { panic!("{error}") };
    let text = rows.iter().map(ToString::to_string).collect::<Vec<_>>();
    let rustc = sideload::abi::BUILD[0].1;
    let expected = [
        format!("rustc: {rustc} here, nothing there"),
        format!("target: {target} here, {other} there"),
        "features: loud here,  there".into(),
        "server: 9 here, nothing there".into(),
    ];
    assert_eq!(text, expected);
    // The same file under a policy that only warns.
    let rows = ["rustc", "target", "features"];
    let policy = rows
        .iter()
        .fold(BuildPolicy::default().expect("features", "loud"), |policy, row| policy.row(row, Strictness::Warn));
    let opened = open_with(&Loader::new().build_policy(policy), &path).expect("it only warns");
    assert_eq!(opened.warnings().iter().map(|row| row.row.as_str()).collect::<Vec<_>>(), rows);
}

#[test]
fn row_10_a_refusal_before_foreign_code_leaves_nothing() {
    if passes_alone("rows::row_10_a_refusal_before_foreign_code_leaves_nothing") {
        return;
    }
    let (folder, path) = copy_of("greeter");
    let variant = |name: &str, from: &[u8], to: &[u8]| {
        let other = folder.file(name);
        fs::copy(&path, &other).expect("a folder of ours");
        edit(&other, from, to);
        other
    };
    let symbol = b"__sideload_greeter_0_3_1_export_greet";
    let gone = b"__sideload_greeter_0_3_1_export_Greet";
    let cases = [
        (variant("build.so", b"rustc", b"RUSTC"), "BuildMismatch", false),
        (variant("twice.so", b"\x05count", b"\x05greet"), "Malformed", false),
        (variant("kind.so", b"\x01\x05greet", b"\x09\x05greet"), "Malformed", false),
        (test_fixtures::build("undefined_many").path, "Undefined", false),
        // Found out once the file is mapped and its constructors have run: the image stays, the plugin does not.
        (variant("symbol.so", symbol, gone), "Malformed", true),
    ];
    for (path, expected, is_after) in cases {
        let error = match is_after {
            true => open(&path).expect_err("it is to be refused"),
            false => refused(&Loader::new(), &path),
        };
        assert_eq!(kind(error.kind()), expected, "{error}");
    }
}

/// What the init function of `starter` is to do, and what it is answered when it asks to open something.
static MODE: Mutex<&str> = Mutex::new("");

fn mode() -> String {
    (*MODE.lock().expect("no panic while locked")).to_owned()
}

fn starter_with(mode: &'static str) -> Loader {
    *MODE.lock().expect("no panic while locked") = mode;
    Loader::new().provide("starter-mode", self::mode as fn() -> String)
}

#[test]
fn row_11_init_functions_run_in_declared_order_after_constructors() {
    if passes_alone("rows::row_11_init_functions_run_in_declared_order_after_constructors") {
        return;
    }
    let plugin = open_with(&starter_with("go"), plugin("starter")).expect("a sound plugin");
    assert_eq!(plugin.lookup::<fn() -> String>("order").expect("exported")(), "configure connect listen");
    assert_eq!(plugin.lookup::<&AtomicU32>("RAN").expect("exported").load(Ordering::SeqCst), 3, "each once");
}

fn open_another() -> String {
    greeter().lookup::<fn(&str) -> String>("greet").expect("exported")("from an init function")
}

#[test]
fn row_12_an_init_function_may_open_another_plugin() {
    if passes_alone("rows::row_12_an_init_function_may_open_another_plugin") {
        return;
    }
    let loader = starter_with("open").provide("open", open_another as fn() -> String);
    let error = open_with(&loader, plugin("starter")).expect_err("it reports what it was told as an error");
    assert!(error.to_string().ends_with("init function configure failed: hello, from an init function"), "{error}");
}

fn open_itself() -> String {
    let error = open(plugin("starter")).expect_err("it is being initialised");
    format!("{}: {error}", kind(error.kind()))
}

#[test]
fn row_13_an_init_function_that_opens_its_own_plugin_gets_an_error() {
    if passes_alone("rows::row_13_an_init_function_that_opens_its_own_plugin_gets_an_error") {
        return;
    }
    let loader = starter_with("open").provide("open", open_itself as fn() -> String);
    let error = open_with(&loader, plugin("starter")).expect_err("it reports what it was told as an error");
    assert!(error.to_string().contains("configure failed: InitCycle: "), "{error}");
}

#[test]
fn row_14_a_panic_in_an_init_function_is_an_error_and_nobody_hangs() {
    if passes_alone("rows::row_14_a_panic_in_an_init_function_is_an_error_and_nobody_hangs") {
        return;
    }
    let (loader, path) = (starter_with("panic"), plugin("starter"));
    let start = Barrier::new(8);
    let errors: Vec<Error> = std::thread::scope(|scope| {
        let open_one = || {
            start.wait();
            open_with(&loader, &path).expect_err("it panics")
        };
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(open_one)).collect();
        threads.into_iter().map(|thread| thread.join().expect("the panic stays inside")).collect()
    });
    let panicked = |error: &&Error| matches!(error.kind(), ErrorKind::InitPanicked { function, message } if function == "configure" && message == "out of cheese");
    assert_eq!(errors.iter().filter(panicked).count(), 1, "{errors:?}");
    assert_eq!(
        errors.iter().filter(|error| matches!(error.kind(), ErrorKind::Poisoned { .. })).count(),
        7,
        "{errors:?}"
    );
    let again = open_with(&starter_with("go"), &path).expect_err("its code has run, and may have kept anything");
    assert!(again.to_string().ends_with("init function configure panicked: out of cheese"), "{again}");
    let retried = open_with(&starter_with("go").reload(true), &path).expect("a new generation");
    assert_eq!(retried.lookup::<fn() -> String>("order").expect("exported")(), "configure connect listen");
    assert_eq!(retried.generation(), 2);
}

#[test]
fn row_15_concurrent_opens_of_one_plugin_wait_for_its_init() {
    if passes_alone("rows::row_15_concurrent_opens_of_one_plugin_wait_for_its_init") {
        return;
    }
    let (loader, path, start) = (starter_with("go"), plugin("starter"), Barrier::new(16));
    let plugins: Vec<Plugin> = std::thread::scope(|scope| {
        let open_one = || {
            start.wait();
            let plugin = open_with(&loader, &path).expect("a sound plugin");
            assert_eq!(plugin.lookup::<&AtomicU32>("RAN").expect("exported").load(Ordering::SeqCst), 3);
            plugin
        };
        let threads: Vec<_> = (0..16).map(|_| scope.spawn(open_one)).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    });
    assert!(plugins.iter().all(|plugin| *plugin == plugins[0]));
}

static OTHER_IS_OPEN: OnceLock<()> = OnceLock::new();

fn wait_for_the_other() -> String {
    let mut waited = Duration::ZERO;
    while OTHER_IS_OPEN.get().is_none() && waited < Duration::from_secs(30) {
        std::thread::sleep(Duration::from_millis(1));
        waited += Duration::from_millis(1);
    }
    OTHER_IS_OPEN.get().map_or("nobody else could open anything", |()| "another was opened meanwhile").to_owned()
}

#[test]
fn row_16_other_plugins_open_while_one_is_initialised() {
    if passes_alone("rows::row_16_other_plugins_open_while_one_is_initialised") {
        return;
    }
    let loader = starter_with("open").provide("open", wait_for_the_other as fn() -> String);
    std::thread::scope(|scope| {
        let first = scope.spawn(|| open_with(&loader, plugin("starter")).expect_err("it reports as an error"));
        greeter();
        OTHER_IS_OPEN.get_or_init(|| ());
        let error = first.join().expect("no panic");
        assert!(error.to_string().contains("another was opened meanwhile"), "{error}");
    });
}

#[test]
fn row_17_items_are_listed_with_kind_and_type() {
    let plugin = greeter();
    let line = |item: sideload::Item<'_>| {
        let kind = if item.is_function() { "fn" } else { "static" };
        format!("{kind} {}: {}", item.name(), item.type_of())
    };
    let expected = [
        "static GREETED: AtomicU32",
        "static MOTTO: &'static str",
        "fn add: extern \"C\" fn(i32, i32) -> i32",
        "fn area: extern \"C\" fn(&Size) -> f64",
        "fn count: fn() -> u32",
        "fn each: fn(&[&'static str], fn(&str) -> u32) -> u32",
        "fn fail: fn(&str) -> u32",
        "fn first: fn(&[shapes::Shape], &str) -> Option<&'static shapes::Shape>",
        "fn greet: fn(&str) -> String",
        "fn greeter: fn() -> Box<dyn shapes::Greeter: Send + Sync>",
    ];
    assert_eq!(plugin.items().map(line).collect::<Vec<_>>(), expected);
}

#[test]
fn row_18_a_missing_item_is_reported_with_file_and_nearest_names() {
    let plugin = greeter();
    let cases = [
        ("gret", "nothing called gret is exported; there is greet"),
        ("Greeter", "nothing called Greeter is exported; there is greeter, GREETED, greet"),
        ("unrelated", "nothing called unrelated is exported"),
        (
            "__sideload_greeter_0_3_1_export_add",
            "nothing called __sideload_greeter_0_3_1_export_add is exported; a \
             symbol of that name exists, without `#[sideload::export]`",
        ),
    ];
    for (name, expected) in cases {
        let error = plugin.lookup::<fn()>(name).expect_err("there is none");
        assert_eq!(error.to_string(), format!("{}: lookup: {expected}", plugin.path()));
    }
}

#[test]
fn row_19_a_function_is_called_and_a_static_is_read_in_place() {
    let plugin = greeter();
    let add = plugin.lookup::<extern "C" fn(i32, i32) -> i32>("add").expect("exported");
    assert_eq!(add(1, 2), 3);
    let greeted = plugin.lookup::<&AtomicU32>("GREETED").expect("exported");
    let before = greeted.fetch_add(5, Ordering::Relaxed);
    assert!(plugin.lookup::<&AtomicU32>("GREETED").expect("exported").load(Ordering::Relaxed) >= before + 5);
}

#[test]
fn row_20_a_wrong_type_is_an_error_that_names_the_difference() {
    let plugin = greeter();
    let error = plugin.lookup::<extern "C" fn(i32, u32) -> i32>("add").expect_err("another type");
    let ErrorKind::TypeMismatch { symbol, expected, found, difference } = error.kind() else { panic!("{error}") };
    assert_eq!((symbol.as_str(), difference.at.as_str()), ("add", "argument 2"));
    assert_eq!(expected, "extern \"C\" fn(i32, u32) -> i32");
    assert_eq!(found, "extern \"C\" fn(i32, i32) -> i32");
    assert_eq!((difference.expected.as_str(), difference.found.as_str()), ("u32", "i32"));
}

#[test]
fn row_21_the_same_item_is_the_same_address_from_any_thread() {
    let plugin = greeter();
    let here = plugin.lookup::<fn(&str) -> String>("greet").expect("exported").address();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..1000 {
                    let there = plugin.lookup::<fn(&str) -> String>("greet").expect("exported").address();
                    assert_eq!(there, here);
                }
            });
        }
    });
}

#[test]
fn row_22_names_are_any_bytes() {
    let plugin = greeter();
    assert!(plugin.lookup::<fn(&str) -> String>(c"greet").is_ok());
    assert!(plugin.lookup::<fn(&str) -> String>(b"greet\0").is_ok());
    for name in [&b"\xff\xfe"[..], b"", b"a b", "größe".as_bytes(), &[b'x'; 5000]] {
        let error = plugin.lookup::<fn(&str) -> String>(name).expect_err("there is none");
        assert!(matches!(error.kind(), ErrorKind::NoExport { symbol, .. } if symbol == name), "{error}");
    }
}
