//! The public surface, as its users see it: libraries, symbols, plugins, loaders, errors.

mod support;

use sideload::addr::RunAddr;
use sideload::{Error, ErrorKind, Event, Library, LinkPlan, Loader, Plugin, Stage, Symbol};
use std::collections::HashSet;
use std::ffi::CString;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex, OnceLock};
use support::{Child, Folder, kind, passes_elsewhere};
use test_fixtures::build;

type Answer = unsafe extern "C" fn() -> i32;

fn try_open(loader: &Loader, path: impl AsRef<Path>) -> Result<Library, Error> {
    // SAFETY: the fixtures' initialisers are made to be run.
    unsafe { loader.open(path.as_ref()) }
}

fn open(path: impl AsRef<Path>) -> Library {
    try_open(&Loader::new(), path).unwrap_or_else(|error| panic!("{error}"))
}

/// Calls a function of a fixture that takes nothing and returns an int.
fn call(library: &Library, name: &str) -> i32 {
    // SAFETY: the caller names a function of that type.
    let function: Symbol<'_, Answer> = unsafe { library.get(name) }.unwrap_or_else(|error| panic!("{error}"));
    // SAFETY: as above.
    unsafe { function() }
}

fn address(library: &Library, name: &str) -> RunAddr {
    // SAFETY: it is not used but for its address.
    unsafe { library.get::<*const ()>(name) }.unwrap_or_else(|error| panic!("{error}")).address()
}

/// A copy of a fixture for one test alone: other tests of this process may have the fixture itself loaded.
fn own_copy(name: &str) -> (Folder, PathBuf) {
    let folder = Folder::new(name);
    let path = folder.copy(&build(name).path);
    (folder, path)
}

#[test]
fn what_may_cross_threads() {
    fn may_cross<T: Send + Sync>() {}
    may_cross::<Library>();
    may_cross::<Plugin>();
    may_cross::<Loader>();
    may_cross::<LinkPlan>();
    may_cross::<Error>();
    may_cross::<Symbol<'static, Answer>>();

    // A symbol is as thread-bound as what it is used as. Were this one `Send`, the choice of `_` would be ambiguous, and
    // this would not compile.
    trait NotSend<Choice> {
        fn holds() {}
    }
    impl<T> NotSend<()> for T {}
    struct IfSend;
    impl<T: Send> NotSend<IfSend> for T {}
    <Symbol<'static, *const i32> as NotSend<_>>::holds();
}

#[test]
fn names_are_text_bytes_or_c_strings() {
    let library = open(build("plugin").path);
    let expected = address(&library, "plugin_add");
    // SAFETY: they are not used but for their addresses.
    let found = unsafe {
        [
            library.get::<*const ()>("plugin_add"),
            library.get("plugin_add\0"),
            library.get(b"plugin_add"),
            library.get(b"plugin_add\0"),
            library.get(b"plugin_add".as_slice()),
            library.get(c"plugin_add"),
            library.get(String::from("plugin_add")),
            library.get(b"plugin_add".to_vec()),
            library.get(CString::new("plugin_add").expect("no NUL")),
        ]
    };
    for (at, symbol) in found.into_iter().enumerate() {
        assert_eq!(symbol.unwrap_or_else(|error| panic!("{at}: {error}")).address(), expected, "{at}");
    }
    for absent in ["", "\0", "plugin\0_add", "plugin_add\0\0", "plugin_ad", "plugin_addd"] {
        // SAFETY: it is only looked for.
        let error = unsafe { library.get::<*const ()>(absent) }.expect_err(absent);
        assert!(matches!(error.kind(), ErrorKind::NoSymbol { .. }), "{error}");
    }
}

#[test]
fn a_symbol_is_a_function_or_data() {
    let library = open(build("plugin").path);
    // SAFETY: the types are those of the fixture's source.
    unsafe {
        let add = library.get::<extern "C" fn(i32, i32) -> i32>("plugin_add").expect("exported");
        assert_eq!(add(40, 2), 42);
        let variable = library.get::<*const i32>("plugin_variable").expect("exported");
        assert_eq!(**variable, 41);
        let name = library.get::<*const std::ffi::c_char>("plugin_name").expect("exported");
        assert_eq!(std::ffi::CStr::from_ptr(*name), c"plugin");
        // A copy of a symbol is the same symbol, for as long as the library is borrowed.
        let copy = add;
        assert_eq!((copy(1, 2), copy.address()), (add(1, 2), add.address()));
    }
    assert_eq!(library.path(), build("plugin").path.to_str().expect("text"));
}

#[test]
fn versions_are_told_apart() {
    let library = open(build("versioned").path);
    let call = |version| {
        // SAFETY: every version of it is `int versioned_value(void)`.
        unsafe { library.get_versioned::<Answer>("versioned_value", version).map(|function| function()) }
    };
    assert_eq!(call("VERSIONED_1").expect("the old one"), 12);
    assert_eq!(call("VERSIONED_2\0").expect("the new one"), 30);
    assert_eq!(self::call(&library, "versioned_value"), 30, "without a version, the default one");
    let error = call("VERSIONED_3").expect_err("there is none");
    assert_eq!(error.to_string(), format!("{}: lookup: no symbol versioned_value@VERSIONED_3", library.path()));
}

#[test]
fn a_lookup_goes_on_in_what_the_library_needs() {
    let library = open(build("bind_64").path);
    let provider = open(build("bind_64").path.with_file_name("libprovider.so"));
    assert_eq!(address(&library, "provided_function"), address(&provider, "provided_function"));
    assert!(!library.is_same(&provider));
    let mut own = Vec::new();
    library.exports(|export| own.push(String::from_utf8_lossy(export.name).into_owned()));
    assert!(own.contains(&"answer".to_owned()) && !own.contains(&"provided_function".to_owned()), "{own:?}");
}

#[test]
fn one_file_is_one_instance_however_it_is_called() {
    let (folder, path) = own_copy("plugin");
    let (soft, hard) = (folder.file("soft.so"), folder.file("hard.so"));
    symlink(&path, &soft).expect("a new name");
    fs::hard_link(&path, &hard).expect("a new name");
    let library = open(&path);
    let dotted = folder.path().join(".").join("..").join(folder.path().file_name().expect("a folder")).join("hard.so");
    for name in [&path, &soft, &hard, &dotted] {
        let again = open(name);
        assert!(again.is_same(&library), "{}", name.display());
        assert_eq!(address(&again, "plugin_variable"), address(&library, "plugin_variable"));
        assert_eq!(again.path(), path.to_str().expect("text"), "the name that it was opened under first");
    }
    assert_eq!(call(&library, "answer"), 42, "initialised once");
}

#[test]
fn a_copy_is_an_instance_of_its_own() {
    let (_one, first) = own_copy("plugin");
    let (_two, second) = own_copy("plugin");
    let (first, second) = (open(first), open(second));
    assert!(!first.is_same(&second));
    assert_ne!(address(&first, "plugin_variable"), address(&second, "plugin_variable"));
}

#[test]
fn a_replaced_file_is_a_new_instance() {
    let (folder, path) = own_copy("plugin");
    let old = open(&path);
    fs::rename(folder.copy(&build("relative").path), &path).expect("a folder of our own");
    let new = open(&path);
    assert!(!new.is_same(&old));
    // Both go on.
    assert_eq!((call(&old, "answer"), call(&new, "answer")), (42, 42));
    assert_eq!(call(&old, "answer"), 42);
}

#[test]
fn a_library_that_is_let_go_of_stays() {
    let (_folder, path) = own_copy("plugin");
    let library = open(&path);
    let variable = address(&library, "plugin_variable");
    // SAFETY: it is an int of the fixture, which nobody else uses.
    unsafe { *std::ptr::with_exposed_provenance_mut::<i32>(variable.0 as usize) = 99 };
    drop(library);
    let again = open(&path);
    assert_eq!(address(&again, "plugin_variable"), variable);
    assert_eq!(call(&again, "answer"), 100, "neither loaded nor initialised again");
}

#[test]
fn the_caller_supplies_symbols() {
    extern "C" fn function(value: i32) -> i32 {
        value + 2
    }
    static VALUE: AtomicI32 = AtomicI32::new(20);
    let (_folder, path) = own_copy("caller_supplied");
    let error = try_open(&Loader::new(), &path).expect_err("nobody supplies them");
    let ErrorKind::Undefined(undefined) = error.kind() else { panic!("{error}") };
    let names: HashSet<&[u8]> = undefined.iter().map(|row| row.symbol.as_slice()).collect();
    assert_eq!(names, HashSet::from([b"caller_supplied".as_slice(), b"caller_supplied_value"]));

    // A stub can take the place of a function, and not of a variable.
    let error = try_open(&Loader::new().stub_missing(true), &path).expect_err("nobody supplies the variable");
    let ErrorKind::Undefined(undefined) = error.kind() else { panic!("{error}") };
    assert_eq!(undefined.iter().map(|row| row.symbol.as_slice()).collect::<Vec<_>>(), [b"caller_supplied_value"]);

    let loader = Loader::new().resolver(|name: &[u8], _version: Option<&[u8]>| match name {
        b"caller_supplied" => Some(RunAddr(function as *const () as u64)),
        b"caller_supplied_value" => Some(RunAddr((&raw const VALUE).addr() as u64)),
        _ => None,
    });
    assert_eq!(call(&try_open(&loader, &path).expect("all is supplied"), "answer"), 42);
}

#[test]
fn an_observer_sees_the_stages_in_order() {
    let events = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&events);
    let loader = Loader::new().observer(move |event| {
        let line = match *event {
            Event::Done { stage, module } => format!("{stage} {}", file_name(module)),
            Event::Foreign { stage, module, address } => {
                assert_ne!(address, RunAddr(0));
                format!("call in {stage} {}", file_name(module))
            }
            Event::Native => "back".to_owned(),
            _ => "unknown".to_owned(),
        };
        sink.lock().expect("no panic while locked").push(line);
    });
    let (folder, path) = own_copy("cycle_a");
    for beside in ["libcycle_b.so", "libjournal.so"] {
        folder.copy(&build("cycle_a").path.with_file_name(beside));
    }
    try_open(&loader, &path).expect("a sound fixture");
    let events = events.lock().expect("no panic while locked").clone();

    let position = |wanted: &str| {
        let at = events.iter().position(|line| line == wanted);
        at.unwrap_or_else(|| panic!("no `{wanted}` in {events:#?}"))
    };
    for module in ["libcycle_a.so", "libcycle_b.so"] {
        let stages = [Stage::Map, Stage::Relocate, Stage::Resolve, Stage::Seal, Stage::Initialize];
        let places = stages.map(|stage| position(&format!("{stage} {module}")));
        assert!(places.is_sorted(), "{events:#?}");
        let first_call = position(&format!("call in initialize {module}"));
        assert!(places[3] < first_call && first_call < places[4], "{events:#?}");
    }
    // The whole group is through a stage before any of it goes on to the next.
    assert!(position("map libcycle_b.so") < position("relocate libcycle_a.so"), "{events:#?}");
    assert!(position("seal libcycle_b.so") < position("call in initialize libcycle_b.so"), "{events:#?}");
    assert!(events.contains(&"back".to_owned()), "{events:#?}");
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

#[test]
fn global_libraries_define_for_all_that_come_after() {
    let (_folder, provider) = own_copy("provider");
    // The object as if it had been linked without naming who provides its symbols.
    let (_other, consumer) = own_copy("bind_64");
    let needs_nobody = || Loader::new().edit_plans(|_, plan| plan.needs.retain(|need| need.name == b"libc.so.6"));
    try_open(&Loader::new(), &provider).expect("a sound fixture");
    let error = try_open(&needs_nobody(), &consumer).expect_err("opened for itself alone");
    assert!(matches!(error.kind(), ErrorKind::Undefined(_)), "{error}");

    let (_third, provider) = own_copy("provider");
    try_open(&Loader::new().global(true), &provider).expect("a sound fixture");
    assert_eq!(call(&try_open(&needs_nobody(), &consumer).expect("now it is defined"), "answer"), 42);
}

#[test]
fn the_host_s_libraries_are_its_own() {
    assert!(Loader::new().link("libc.so.6").expect("the host has it").plan().modules.is_empty(), "nothing to load");
    let libc = open("libc.so.6");
    assert_eq!(address(&libc, "getpid"), RunAddr(libc::getpid as *const () as u64));
    assert_eq!(call(&libc, "getpid"), std::process::id() as i32);
    assert!(open(libc.path()).is_same(&libc), "by its path as well");
    assert!(open("libpthread.so.0").is_same(&libc), "part of libc since 2.34");
}

#[test]
fn a_span_above_the_limit_is_refused() {
    let (_folder, path) = own_copy("plugin");
    let error = try_open(&Loader::new().max_span(0x1000), &path).expect_err("it has several pages");
    let ErrorKind::SpanTooLarge { span, limit: 0x1000 } = *error.kind() else { panic!("{error}") };
    assert_eq!(
        error.to_string(),
        format!("{}: plan: spans {span:#x} bytes, more than the limit of 0x1000", path.display())
    );
    try_open(&Loader::new().max_span(span), &path).expect("the limit is what is allowed");
}

#[test]
fn errors_say_module_stage_and_cause() {
    // In a process of its own: a library of the same name that another test has opened would serve just as well.
    if passes_elsewhere("errors_say_module_stage_and_cause") {
        return;
    }
    let fixture = |name: &str| build(name).path;
    let missing = Path::new("/nowhere/libnowhere.so").to_owned();
    let folder = Folder::new("folder");
    let cases: Vec<(PathBuf, Stage, &str, Vec<&str>)> = vec![
        (missing, Stage::Find, "NotFound", vec!["/nowhere/libnowhere.so: find: not found\n", "the name is a path"]),
        (
            "libnowhere.so".into(),
            Stage::Find,
            "NotFound",
            vec!["libnowhere.so: find: not found\n", "/libnowhere.so (default folder): not found"],
        ),
        (folder.path().to_owned(), Stage::Find, "NotAnImage", vec!["find: not a shared object: a folder"]),
        (
            fixture("missing_dependency"),
            Stage::Find,
            "NotFound",
            vec![".so: find: not found (needed by ", "libmissing_dependency.so)", "RUNPATH"],
        ),
        (fixture("textrel"), Stage::Admit, "Refused", vec!["libtextrel.so: admit: refused: DT_TEXTREL"]),
        (fixture("noopen"), Stage::Plan, "Refused", vec!["libnoopen.so: plan: refused: DF_1_NOOPEN"]),
        (
            fixture("undefined_many"),
            Stage::Link,
            "Undefined",
            vec!["libundefined_many.so: link: 3 undefined symbols:", "\n  undefined_alpha (needed by /"],
        ),
        (
            fixture("version_missing"),
            Stage::Link,
            "MissingVersions",
            vec!["link: missing version:", "VERSIONED_2 in ", "libversion_missing.so)"],
        ),
        (fixture("abs32_overflow"), Stage::Relocate, "Overflow", vec!["libabs32_overflow.so: relocate: value 0x"]),
    ];
    for (path, stage, expected, words) in cases {
        let error = try_open(&Loader::new(), &path).expect_err("it is to be refused");
        let text = error.to_string();
        assert_eq!((error.stage(), kind(error.kind()).as_str()), (stage, expected), "{text}");
        assert!(text.starts_with(&format!("{}: {stage}: ", error.module())), "{text}");
        // What a program prints that returns it from `main`.
        assert_eq!(format!("{error:?}"), text);
        assert!(format!("{error:#?}").contains("kind: "), "{error:#?}");
        for word in words {
            assert!(text.contains(word), "no `{word}` in {text}");
        }
    }
    let library = open(fixture("plugin"));
    // SAFETY: it is only looked for.
    let error = unsafe { library.get::<*const ()>("nowhere") }.expect_err("there is none");
    assert_eq!(error.to_string(), format!("{}: lookup: no symbol nowhere", library.path()));
    assert!(std::error::Error::source(&error).is_none());
}

fn open_plugin(path: impl Into<sideload::Source>) -> Result<Plugin, Error> {
    // SAFETY: the fixtures' initialisers are made to be run.
    unsafe { Plugin::open(path) }
}

fn read(plugin: &Plugin, variable: &str) -> i32 {
    plugin.lookup::<&AtomicI32>(variable).unwrap_or_else(|error| panic!("{error}")).load(Ordering::Relaxed)
}

#[test]
fn a_plugin_is_opened_by_its_path_only() {
    let error = open_plugin("libz.so.1").expect_err("never searched for");
    assert!(matches!(error.kind(), ErrorKind::NotFound { tried, .. } if tried.len() == 1), "{error}");
    assert_eq!(error.module(), "./libz.so.1");
    Child::new("a_plugin_in_the_working_folder").run().expect_success();
}

#[test]
#[ignore = "run by another, in a child process: the working folder is the process's"]
fn a_plugin_in_the_working_folder() {
    let (folder, path) = own_copy("plugin");
    std::env::set_current_dir(folder.path()).expect("a folder of our own");
    let name = path.file_name().expect("a file");
    let plugin = open_plugin(name).expect("it lies here");
    assert!(plugin == open_plugin(Path::new(".").join(name)).expect("the same"));
    assert!(plugin == open_plugin(&path).expect("the same"));
}

#[test]
fn a_plugin_is_initialised_once_and_never_closed() {
    let (folder, path) = own_copy("plugin");
    let other = folder.file("other.so");
    fs::hard_link(&path, &other).expect("a new name");
    let start = Barrier::new(16);
    let plugins: Vec<Plugin> = std::thread::scope(|scope| {
        let open = |at: usize| {
            let (start, name) = (&start, [&path, &other][at % 2]);
            scope.spawn(move || {
                start.wait();
                let plugin = open_plugin(name).expect("a sound fixture");
                assert_eq!(read(&plugin, "plugin_initialised"), 1, "nobody gets it before it is ready");
                plugin
            })
        };
        let threads: Vec<_> = (0..16).map(open).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    });
    assert!(plugins.iter().all(|plugin| *plugin == plugins[0]));
    let variable = plugins[0].lookup::<&AtomicI32>("plugin_variable").expect("exported").address();
    drop(plugins);
    let again = open_plugin(&path).expect("a sound fixture");
    let found = again.lookup::<&AtomicI32>("plugin_variable").expect("exported");
    assert_eq!(found.address(), variable, "never closed");
    assert_eq!(read(&again, "plugin_initialised"), 1);
}

#[test]
fn a_plugin_is_used_from_many_threads() {
    let plugin = open_plugin(build("plugin").path).expect("a sound fixture");
    type Add = extern "C" fn(i32, i32) -> i32;
    let expected = plugin.lookup::<Add>("plugin_add").expect("exported").address();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..1000 {
                    assert_eq!(plugin.lookup::<Add>("plugin_add").expect("exported").address(), expected);
                    assert!(plugin.lookup::<Add>("plugin_subtract").is_err());
                }
            });
        }
    });
    // Its own symbols only, unlike a library's.
    let error = plugin.lookup::<extern "C" fn() -> i32>("getpid").expect_err("libc's");
    assert_eq!(error.to_string(), format!("{}: lookup: nothing called getpid is exported", plugin.path()));
    // SAFETY: the type is that of the fixture's source.
    let add = unsafe { plugin.lookup_unchecked::<Add>("plugin_add") }.expect("exported");
    assert_eq!(add(2, 3), 5);
}

/// What the initialiser below saw.
static SEEN: Mutex<Vec<String>> = Mutex::new(Vec::new());
static CYCLIC: OnceLock<PathBuf> = OnceLock::new();
static CALLS: AtomicUsize = AtomicUsize::new(0);

/// Stands for the initialiser that `init_imported` takes from another object.
extern "C" fn open_myself() {
    CALLS.fetch_add(1, Ordering::Relaxed);
    let path = CYCLIC.get().expect("set before");
    let plugin = open_plugin(path);
    let library = try_open(&Loader::new(), path);
    let mut seen = SEEN.lock().expect("no panic while locked");
    seen.push(plugin.map_or_else(|error| format!("{}: {error}", kind(error.kind())), |_| "opened".to_owned()));
    seen.push(library.map_or_else(|error| error.to_string(), |library| library.path().to_owned()));
}

#[test]
fn a_plugin_cannot_open_itself_while_it_is_initialised() {
    Child::new("opened_from_its_own_initialiser").run().expect_success();
}

#[test]
#[ignore = "run by another, in a child process: should it hang, then there"]
fn opened_from_its_own_initialiser() {
    let path = CYCLIC.get_or_init(|| build("init_imported").path);
    let text = path.to_str().expect("text");
    let loader = Loader::new().resolver(|name: &[u8], _version: Option<&[u8]>| {
        (name == b"callee_init").then_some(RunAddr(open_myself as *const () as u64))
    });
    try_open(&loader, path).expect("the cycle is an error of the inner open");
    assert_eq!(CALLS.load(Ordering::Relaxed), 1);
    let seen = SEEN.lock().expect("no panic while locked");
    let cycle = format!("InitCycle: {text}: initialize: opened from its own initialiser: {text} -> {text}");
    // A library, unlike a plugin, is handed out as far as it is, as the system loader does.
    assert_eq!(*seen, [cycle, text.to_owned()]);
    // Afterwards it is as any other.
    open_plugin(path).expect("it is initialised now");
}
