//! What holds a library, and that it can be unloaded once that is gone.

use crate::support::{Child, in_parallel, say, text_argument};
use crate::{answer, call, call_with, fixture, open, unload};
use sideload::{ErrorKind, Holder, Library, ledger};
use test_fixtures::build;

type Release = Box<dyn FnOnce(&Library)>;

struct Case {
    fixture: &'static str,
    /// Makes the library live, and returns what ends that; nothing for what never ends.
    hold: fn(&Library) -> Option<Release>,
    holder: fn() -> Holder,
    text: &'static str,
}

const CASES: &[(&str, Case)] = &[
    (
        "a clone",
        Case {
            fixture: "plugin",
            hold: |library| {
                let clone = library.clone();
                Some(Box::new(move |_| drop(clone)))
            },
            holder: || Holder::Handles(1),
            text: "1 other handle",
        },
    ),
    (
        "opened again, twice",
        Case {
            fixture: "plugin",
            hold: |library| {
                let more = [open(library.path()), open(library.path())];
                Some(Box::new(move |_| drop(more)))
            },
            holder: || Holder::Handles(2),
            text: "2 other handles",
        },
    ),
    (
        "a thread-local's destructor",
        Case {
            fixture: "thread_destructor",
            hold: |library| {
                let (go, wait) = std::sync::mpsc::channel::<()>();
                let (done, started) = std::sync::mpsc::channel();
                let clone = library.clone();
                let thread = std::thread::spawn(move || {
                    assert_eq!(call(&clone, "touch"), 41);
                    drop(clone);
                    done.send(()).expect("waited for");
                    wait.recv().expect_err("hung up");
                });
                started.recv().expect("the thread runs");
                Some(Box::new(move |_| {
                    drop(go);
                    thread.join().expect("no panic");
                }))
            },
            holder: || Holder::ThreadDestructors(1),
            text: "1 destructor of thread-locals still to run",
        },
    ),
    (
        "a key's destructor",
        Case {
            fixture: "key_destructor",
            hold: |library| {
                assert_eq!(answer(library), 42);
                Some(Box::new(|library| assert_eq!(call(library, "release"), 0)))
            },
            holder: || Holder::KeyDestructors(1),
            text: "1 key of thread-specific data with a destructor in it",
        },
    ),
    (
        "handlers of fork",
        Case {
            fixture: "fork_handler",
            hold: |library| {
                assert_eq!(answer(library), 42);
                None
            },
            holder: || Holder::ForkHandlers(1),
            text: "1 registration of fork handlers",
        },
    ),
    (
        "a handler of on_exit",
        Case {
            fixture: "exit_handler",
            hold: |library| {
                assert_eq!(answer(library), 42);
                None
            },
            holder: || Holder::ExitHandlers(1),
            text: "1 handler of on_exit",
        },
    ),
    (
        "a flag",
        Case {
            fixture: "nodelete",
            hold: |_| None,
            holder: || Holder::NoDelete,
            text: "it is marked never to be unloaded (DF_1_NODELETE or RTLD_NODELETE)",
        },
    ),
    (
        "a handle of dlopen",
        Case {
            fixture: "plugin",
            hold: |library| {
                let opener = fixture("opens_another");
                assert_eq!(call_with(&opener, "open_it", library.path()), 1);
                Some(Box::new(move |_| {
                    assert_eq!(call(&opener, "close_it"), 0);
                    unload(opener).expect("nothing holds it");
                }))
            },
            holder: || Holder::Handles(1),
            text: "1 other handle",
        },
    ),
    (
        "a flag of dlopen",
        Case {
            fixture: "plugin",
            hold: |library| {
                let opener = fixture("opens_another");
                assert_eq!(call_with(&opener, "keep_it", library.path()), 1);
                None
            },
            holder: || Holder::NoDelete,
            text: "it is marked never to be unloaded (DF_1_NODELETE or RTLD_NODELETE)",
        },
    ),
    (
        "an address that dlsym gave",
        Case {
            fixture: "unload_lent",
            hold: |_| {
                let finder = fixture("opens_another");
                assert_eq!(call(&finder, "find_lent"), 1);
                None
            },
            holder: || Holder::Symbols,
            text: "addresses in it that dlsym gave to other images",
        },
    ),
];

#[test]
#[ignore = "run by the other, in child processes"]
fn hold_and_let_go() {
    let (_, case) = CASES.iter().find(|(name, _)| *name == text_argument("CASE")).expect("one of them");
    // Warm: the first unload may make what is kept.
    drop(unload(fixture("relative")));
    let before = ledger();
    let loader = sideload::Loader::new().global(case.fixture == "unload_lent");
    let library = crate::try_open(&loader, build(case.fixture).path).expect("a sound fixture");
    let release = (case.hold)(&library);
    let refused = unload(library).expect_err("it is held");
    let expected = (case.holder)();
    assert!(matches!(refused.error().kind(), ErrorKind::StillLive(all) if *all == [expected.clone()]), "{refused}");
    assert!(refused.to_string().ends_with(&format!("unload: still in use: {}", case.text)), "{refused}");
    let library = refused.into_library().expect("nothing has happened");
    match release {
        Some(release) => {
            release(&library);
            unload(library).unwrap_or_else(|refused| panic!("{refused}"));
            assert_eq!(ledger().instances, before.instances);
            assert_eq!(ledger().reservations, before.reservations);
        }
        None => assert!(ledger().instances > before.instances),
    }
    say("done");
}

#[test]
fn a_library_is_held() {
    let outcomes = in_parallel(CASES, |(name, _)| Child::new("refused::hold_and_let_go").with("CASE", name).run());
    for ((name, _), outcome) in CASES.iter().zip(&outcomes) {
        assert_eq!(outcome.last(), "done", "{name}: {outcome}");
    }
}

/// A process that runs out of keys for a while is refused thread-locals for that long, not for good.
#[test]
fn keys_may_be_short_for_a_while() {
    let outcome = Child::new("refused::open_without_keys").run();
    assert_eq!(outcome.expect_success().last(), "42", "{outcome}");
}

#[test]
#[ignore = "run by the other, in child processes"]
fn open_without_keys() {
    let path = build("tls_gd").path;
    let mut keys = Vec::new();
    let mut key = 0;
    // SAFETY: keys of this test, under which nobody stores anything.
    while unsafe { libc::pthread_key_create(&raw mut key, None) } == 0 {
        keys.push(key);
    }
    let before = ledger();
    let error = crate::try_open(&sideload::Loader::new(), &path).expect_err("there is no key left");
    assert!(matches!(error.kind(), ErrorKind::System { call: "pthread_key_create", .. }), "{error}");
    assert_eq!(ledger(), before);
    for key in keys {
        // SAFETY: as above.
        assert_eq!(unsafe { libc::pthread_key_delete(key) }, 0);
    }
    say(answer(&crate::open(&path)));
}
