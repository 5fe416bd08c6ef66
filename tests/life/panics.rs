//! What a caller's own functions may do wrong: they panic, wherever the loader calls them. And so may initialisers.

use crate::support::passes_elsewhere;
use crate::{answer, initialised, initialised_by, open, try_open, unload};
use sideload::addr::RunAddr;
use sideload::{Event, Ledger, Library, Loader, Stage, ledger};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use test_fixtures::build;

/// An observer that panics at the event of that number, and a count of events.
fn panicking_at(number: usize) -> (Loader, Arc<AtomicUsize>) {
    let heard = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&heard);
    let observer = move |_: &Event<'_>| assert_ne!(count.fetch_add(1, Ordering::Relaxed), number, "at the test's wish");
    (Loader::new().observer(observer), heard)
}

/// What an open in this thread, and one in another, find after the panic.
fn opens_anew(path: &Path) {
    let library = open(path);
    assert_eq!(answer(&library), 42);
    let from_elsewhere = std::thread::scope(|scope| scope.spawn(|| answer(&open(path))).join());
    assert_eq!(from_elsewhere.expect("no panic"), 42);
    unload(library).expect("nothing holds it");
}

/// Without what code that has run keeps mapped.
fn without_poisoned(mut ledger: Ledger) -> Ledger {
    (ledger.reservations, ledger.frames, ledger.debugger_entries) = (0, 0, 0);
    ledger
}

#[test]
fn an_observer_that_panics_leaves_no_open_half_done() {
    if passes_elsewhere("panics::an_observer_that_panics_leaves_no_open_half_done") {
        return;
    }
    let path = build("plugin").path;
    let events = |number: usize| {
        let (loader, heard) = panicking_at(number);
        let opened = catch_unwind(AssertUnwindSafe(|| try_open(&loader, &path).expect("a sound fixture")));
        (opened, heard.load(Ordering::Relaxed))
    };
    let (library, all) = events(usize::MAX);
    unload(library.expect("no such event")).expect("nothing holds it");
    assert!(all >= 6, "a stage each, and a constructor: {all}");
    let mut clean = 0;
    for number in 0..all {
        let before = ledger();
        let (opened, _) = events(number);
        assert!(opened.is_err(), "{number}");
        opens_anew(&path);
        assert_eq!(without_poisoned(ledger()), without_poisoned(before), "{number}");
        clean += usize::from(ledger() == before);
    }
    assert!(clean >= 5, "all is undone as long as no code has run: {clean} of {all}");
}

#[test]
fn an_observer_that_panics_between_finalisers_leaves_no_library_half_unloaded() {
    if passes_elsewhere("panics::an_observer_that_panics_between_finalisers_leaves_no_library_half_unloaded") {
        return;
    }
    let path = build("plugin").path;
    let told = Loader::new().observer(|event| {
        assert!(!matches!(event, Event::Foreign { stage: Stage::Unload, .. }), "at the test's wish");
    });
    let library = try_open(&told, &path).expect("a sound fixture");
    let at = |library: &Library| {
        // SAFETY: only the address is used.
        unsafe { library.get::<*const i32>("plugin_variable") }.expect("exported").address()
    };
    let old: RunAddr = at(&library);
    catch_unwind(AssertUnwindSafe(|| unload(library))).expect_err("the observer panics");
    let library = open(&path);
    assert_ne!(at(&library), old, "what was finalised in part is nobody's");
    unload(library).expect("nothing holds it");
    opens_anew(&path);
}

#[test]
fn other_functions_of_the_caller_may_panic() {
    if passes_elsewhere("panics::other_functions_of_the_caller_may_panic") {
        return;
    }
    let path = build("plugin").path;
    let loaders: [(&str, Loader); 3] = [
        ("resolver", Loader::new().resolver(|_: &[u8], _: Option<&[u8]>| panic!("at the test's wish"))),
        ("vet", Loader::new().vet(|_| panic!("at the test's wish"))),
        ("edit_plans", Loader::new().edit_plans(|_, _| panic!("at the test's wish"))),
    ];
    unload(open(&path)).expect("nothing holds it");
    for (name, loader) in loaders {
        let before = ledger();
        catch_unwind(AssertUnwindSafe(|| try_open(&loader, &path))).expect_err(name);
        assert_eq!(ledger(), before, "{name}");
        opens_anew(&path);
    }
}

extern "C-unwind" fn panic_as_initialiser() {
    panic!("at the test's wish");
}

extern "C-unwind" fn do_nothing() {}

#[test]
fn an_initialiser_that_unwinds_fails_the_open() {
    if passes_elsewhere("panics::an_initialiser_that_unwinds_fails_the_open") {
        return;
    }
    let (_folder, [path]) = initialised(["libpanics.so"]);
    let loader = initialised_by(panic_as_initialiser);
    let open = || catch_unwind(AssertUnwindSafe(|| try_open(&loader, &path)));
    open().expect_err("the initialiser panics");
    open().expect_err("a new instance has a new turn");
    // Neither this thread nor another takes it for initialised, or waits for it.
    let opened = || try_open(&initialised_by(do_nothing), &path).map(drop);
    std::thread::scope(|scope| scope.spawn(opened).join()).expect("no panic").expect("a sound fixture");
}
