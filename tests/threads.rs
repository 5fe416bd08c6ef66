//! Many threads: thread-locals of loaded objects, and opening the same and different objects at the same time.

mod support;

use sideload::addr::RunAddr;
use sideload::{Error, Library, Loader, Plugin, ledger};
use std::cell::Cell;
use std::collections::HashSet;
use std::ffi::{CStr, c_char};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering};
use std::sync::{Barrier, Mutex, OnceLock};
use std::time::Duration;
use support::{Folder, kind, passes_elsewhere};
use test_fixtures::build;

type Answer = unsafe extern "C" fn() -> i32;

fn try_open(loader: &Loader, path: impl AsRef<Path>) -> Result<Library, Error> {
    // SAFETY: the fixtures' initialisers are made to be run.
    unsafe { loader.open(path.as_ref()) }
}

fn open(path: impl AsRef<Path>) -> Library {
    try_open(&Loader::new(), path).unwrap_or_else(|error| panic!("{error}"))
}

fn answer(library: &Library) -> i32 {
    // SAFETY: every fixture declares it as `int answer(void)`.
    unsafe { library.get::<Answer>("answer").expect("every fixture has it")() }
}

/// The calling thread's copy of a thread-local int.
struct Local(*mut i32);

impl Local {
    fn of(library: &Library, name: &str) -> Local {
        // SAFETY: the callers name a thread-local int of the fixture.
        Local(unsafe { *library.get::<*mut i32>(name).unwrap_or_else(|error| panic!("{error}")) })
    }

    fn get(&self) -> i32 {
        // SAFETY: it is this thread's, which is alive.
        unsafe { self.0.read_volatile() }
    }

    fn set(&self, value: i32) {
        // SAFETY: as above.
        unsafe { self.0.write_volatile(value) }
    }
}

#[test]
fn each_thread_has_its_own_copy() {
    const THREADS: usize = 16;
    let opened = OnceLock::new();
    let (before, after) = (Barrier::new(THREADS + 1), Barrier::new(THREADS + 1));
    let addresses = Mutex::new(HashSet::new());
    std::thread::scope(|scope| {
        for value in 0..THREADS as i32 {
            let (opened, before, after, addresses) = (&opened, &before, &after, &addresses);
            scope.spawn(move || {
                before.wait(); // the thread is older than the object
                before.wait();
                let library: &Library = opened.get().expect("opened before");
                let local = Local::of(library, "gd_initialised");
                assert_eq!(local.get(), 30, "the template's value");
                local.set(value);
                assert!(addresses.lock().expect("no panic while locked").insert(local.0.addr()));
                after.wait();
                // Everybody has written; what this thread wrote is still there, and the object itself sees it.
                assert_eq!(local.get(), value);
                assert_eq!(answer(library), value + 12);
                assert_eq!(Local::of(library, "gd_initialised").0, local.0);
                // So that no copy is freed, and its address used again, while others still look.
                after.wait();
            });
        }
        before.wait();
        opened.set(open(build("tls_gd").path)).expect("opened once");
        before.wait();
        after.wait();
        after.wait();
    });
    assert_eq!(addresses.into_inner().expect("no panic while locked").len(), THREADS);
}

#[test]
fn copies_go_with_their_threads() {
    if passes_elsewhere("copies_go_with_their_threads") {
        return;
    }
    let libraries = ["tls_gd", "tls_many", "tls_align", "tls_cxx", "tls_import"].map(|name| open(build(name).path));
    let use_all = || libraries.iter().for_each(|library| assert_eq!(answer(library), 42));
    std::thread::spawn(|| {}).join().expect("no panic");
    use_all();
    let before = ledger();
    assert!(before.thread_local_blocks >= libraries.len(), "{before:?}");
    for _ in 0..20 {
        // Their fixtures count what is constructed in globals, so one after the other.
        std::thread::scope(|scope| scope.spawn(use_all).join().expect("no panic"));
    }
    assert_eq!(ledger(), before);
}

/// A thread-local of ours whose destructor still uses the object's.
struct AtExit(Cell<Option<&'static Library>>);

static SEEN_AT_EXIT: AtomicUsize = AtomicUsize::new(0);

impl Drop for AtExit {
    fn drop(&mut self) {
        if let Some(library) = self.0.get() {
            let seen = Local::of(library, "gd_initialised").get();
            SEEN_AT_EXIT.fetch_add(seen as usize, Ordering::Relaxed);
        }
    }
}

#[test]
fn copies_outlive_the_destructors_of_their_thread() {
    thread_local!(static AT_EXIT: AtExit = const { AtExit(Cell::new(None)) });
    if passes_elsewhere("copies_outlive_the_destructors_of_their_thread") {
        return;
    }
    let library: &'static Library = Box::leak(Box::new(open(build("tls_gd").path)));
    for _ in 0..4 {
        let work = || {
            AT_EXIT.with(|at_exit| at_exit.0.set(Some(library)));
            Local::of(library, "gd_initialised").set(100);
        };
        std::thread::spawn(work).join().expect("no panic");
    }
    assert_eq!(SEEN_AT_EXIT.load(Ordering::Relaxed), 400, "what the thread had written, not a new copy");
}

#[test]
fn destructors_of_the_object_run_in_every_thread() {
    // Both count constructions and destructions in threads of their own.
    for name in ["tls_cxx", "rust_threads"] {
        let library = open(build(name).path);
        for _ in 0..3 {
            let answered = std::thread::scope(|scope| scope.spawn(|| answer(&library)).join().expect("no panic"));
            assert_eq!(answered, 42, "{name}");
        }
    }
}

#[test]
fn many_threads_open_the_same_and_different_objects() {
    if passes_elsewhere("many_threads_open_the_same_and_different_objects") {
        return;
    }
    const THREADS: usize = 16;
    let folder = Folder::new("many");
    let names = ["plugin", "relative", "relr", "tls_gd", "init_both", "everything", "bind_64", "hash_both"];
    let paths: Vec<PathBuf> = names.iter().map(|name| build(name).path).collect();
    let mut plugins = Vec::new();
    for at in 0..8 {
        let path = folder.file(format!("plugin{at}.so"));
        std::fs::copy(&paths[0], &path).expect("a folder of our own");
        plugins.push(path);
    }
    let start = Barrier::new(THREADS);
    let opened: Vec<Vec<Plugin>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                let (start, paths, plugins) = (&start, &paths, &plugins);
                scope.spawn(move || {
                    start.wait();
                    for at in 0..paths.len() {
                        let library = open(&paths[(at + thread) % paths.len()]);
                        assert_eq!(answer(&library), 42, "{library:?}");
                    }
                    let open_one = |at: usize| {
                        // SAFETY: the fixture's initialiser is made to be run.
                        let plugin = unsafe { Plugin::open(&plugins[(at + thread) % plugins.len()]) };
                        let plugin = plugin.unwrap_or_else(|error| panic!("{error}"));
                        assert_eq!(Local::of(plugin.as_library(), "plugin_initialised").get(), 1);
                        plugin
                    };
                    let mut own: Vec<Plugin> = (0..plugins.len()).map(open_one).collect();
                    own.rotate_right(thread % plugins.len());
                    own
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    });
    for own in &opened {
        assert_eq!(own, &opened[0]);
    }
    let distinct: HashSet<u64> = opened[0]
        .iter()
        .map(|plugin| plugin.lookup::<&AtomicI32>("plugin_variable").expect("exported").address().0)
        .collect();
    assert_eq!(distinct.len(), plugins.len());
    assert_eq!(ledger().claims, 0);
}

#[test]
fn groups_that_share_objects_initialise_each_once() {
    if passes_elsewhere("groups_that_share_objects_initialise_each_once") {
        return;
    }
    let folder = build("init_diamond").path;
    let names = ["libdiamond_left.so", "libdiamond_right.so", "libinit_diamond.so", "libdiamond_base.so"];
    let start = Barrier::new(names.len() * 4);
    std::thread::scope(|scope| {
        for at in 0..names.len() * 4 {
            let (start, path) = (&start, folder.with_file_name(names[at % names.len()]));
            scope.spawn(move || {
                start.wait();
                open(path)
            });
        }
    });
    let journal = open(folder.with_file_name("libjournal.so"));
    // SAFETY: `const char *journal_text(void)` in the fixture.
    let text = unsafe {
        let function = journal.get::<extern "C" fn() -> *const c_char>("journal_text").expect("exported");
        CStr::from_ptr(function()).to_str().expect("text")
    };
    let mut letters: Vec<char> = text.chars().collect();
    assert_eq!(letters.first(), Some(&'b'), "the base before those that need it: {text}");
    assert_eq!(letters.last(), Some(&'t'), "the top last: {text}");
    letters.sort_unstable();
    assert_eq!(letters, ['b', 'l', 'r', 't'], "each once: {text}");
}

/// A loader that lets the objects made from `init_imported` call `function` as their initialiser.
fn initialised_by(function: extern "C" fn()) -> Loader {
    let address = RunAddr(function as *const () as u64);
    Loader::new().resolver(move |name: &[u8], _version: Option<&[u8]>| (name == b"callee_init").then_some(address))
}

/// Two copies of it, in one folder with what it needs.
fn two_initialised() -> (Folder, [PathBuf; 2]) {
    let folder = Folder::new("initialised");
    let original = build("init_imported").path;
    folder.copy(&original.with_file_name("libinit_callee.so"));
    let paths = ["one.so", "two.so"].map(|name| folder.file(name));
    for path in &paths {
        std::fs::copy(&original, path).expect("a folder of our own");
    }
    (folder, paths)
}

static STARTED: AtomicBool = AtomicBool::new(false);
static DONE: AtomicBool = AtomicBool::new(false);

extern "C" fn take_long() {
    STARTED.store(true, Ordering::SeqCst);
    std::thread::sleep(Duration::from_millis(300));
    DONE.store(true, Ordering::SeqCst);
}

#[test]
fn others_wait_for_an_initialiser_but_only_for_their_own() {
    if passes_elsewhere("others_wait_for_an_initialiser_but_only_for_their_own") {
        return;
    }
    let (_folder, [slow, _]) = two_initialised();
    let unrelated = build("plugin").path;
    let started = || {
        while !STARTED.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(1));
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(|| try_open(&initialised_by(take_long), &slow).expect("a sound fixture"));
        scope.spawn(|| {
            started();
            let library = open(&slow);
            assert!(DONE.load(Ordering::SeqCst), "handed out before it is initialised: {library:?}");
        });
        scope.spawn(|| {
            started();
            assert_eq!(answer(&open(unrelated)), 42);
            assert!(!DONE.load(Ordering::SeqCst), "no lock is held while foreign code runs");
        });
    });
}

static INNER: OnceLock<PathBuf> = OnceLock::new();
static INNER_ANSWER: AtomicUsize = AtomicUsize::new(0);

extern "C" fn open_another() {
    let library = open(INNER.get().expect("set before"));
    INNER_ANSWER.store(answer(&library) as usize, Ordering::SeqCst);
}

#[test]
fn an_initialiser_may_open_another_object() {
    if passes_elsewhere("an_initialiser_may_open_another_object") {
        return;
    }
    INNER.set(build("init_both").path).expect("set once");
    let (_folder, [outer, _]) = two_initialised();
    try_open(&initialised_by(open_another), outer).expect("a sound fixture");
    assert_eq!(INNER_ANSWER.load(Ordering::SeqCst), 42);
}

static PAIR: OnceLock<[PathBuf; 2]> = OnceLock::new();
static BOTH_RUN: Barrier = Barrier::new(2);
static RESULTS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Opens the object that the other thread is initialising, while that one does the same.
fn open_the_other(at: usize) {
    BOTH_RUN.wait();
    let result = try_open(&Loader::new(), &PAIR.get().expect("set before")[at]);
    let text = result.map_or_else(|error| format!("{}: {error}", kind(error.kind())), |_| "opened".to_owned());
    RESULTS.lock().expect("no panic while locked").push(text);
}

extern "C" fn open_first() {
    open_the_other(0);
}

extern "C" fn open_second() {
    open_the_other(1);
}

#[test]
fn initialisers_that_wait_for_each_other_are_an_error() {
    if passes_elsewhere("initialisers_that_wait_for_each_other_are_an_error") {
        return;
    }
    let (_folder, pair) = two_initialised();
    // What both need must not be in the way.
    let _callee = open(pair[0].with_file_name("libinit_callee.so"));
    PAIR.set(pair).expect("set once");
    let pair = PAIR.get().expect("set just now");
    std::thread::scope(|scope| {
        scope.spawn(|| try_open(&initialised_by(open_second), &pair[0]).expect("the inner open fails, not this one"));
        scope.spawn(|| try_open(&initialised_by(open_first), &pair[1]).expect("the inner open fails, not this one"));
    });
    let results = RESULTS.lock().expect("no panic while locked");
    let cycles: Vec<&String> = results.iter().filter(|text| text.starts_with("InitCycle: ")).collect();
    // One of the two has to give up; then the other gets its library.
    assert!(!cycles.is_empty(), "{results:?}");
    for text in cycles {
        let [one, two] = pair.each_ref().map(|path| path.to_str().expect("text"));
        let chains = [format!("{one} -> {two} -> {one}"), format!("{two} -> {one} -> {two}")];
        assert!(chains.iter().any(|chain| text.ends_with(chain)), "the chain names both: {text}");
    }
}

/// Threads of C programs often have little: what an open keeps on the stack is not there for initialisers.
#[test]
fn a_thread_with_a_small_stack_opens() {
    const KIB: usize = if cfg!(debug_assertions) { 256 } else { 64 };
    let open_in = |object: std::path::PathBuf| {
        // SAFETY: sound libraries, whose initialisers are made to be run.
        unsafe { Library::open(object) }.map(drop).unwrap_or_else(|error| panic!("{error}"));
    };
    for object in ["librsvg-2.so.2".into(), build("everything").path] {
        let thread = std::thread::Builder::new().stack_size(KIB << 10);
        thread.spawn(move || open_in(object)).expect("a thread").join().expect("it opens");
    }
}
