//! A process with threads that forks while plugins are opened.

use crate::build::passes_alone;
use crate::rows::{copy_of, open_with};
use crate::support::fork::in_forked_child;
use crate::types::open;
use sideload::{ErrorKind, Loader, Plugin};
use std::fs;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

static RUNS: Barrier = Barrier::new(2);
static FORKED: Barrier = Barrier::new(2);

fn take_part() -> String {
    RUNS.wait();
    FORKED.wait();
    "go".into()
}

fn go() -> String {
    "go".into()
}

fn ran(plugin: &Plugin) -> u32 {
    plugin.lookup::<&'static AtomicU32>("RAN").expect("exported").load(Ordering::SeqCst)
}

#[test]
fn a_plugin_whose_init_functions_ran_elsewhere_is_poisoned_in_the_child() {
    if passes_alone("forks::a_plugin_whose_init_functions_ran_elsewhere_is_poisoned_in_the_child") {
        return;
    }
    let (_folder, path) = copy_of("starter");
    let loader = Loader::new().provide("starter-mode", take_part as fn() -> String);
    std::thread::scope(|scope| {
        let opener = scope.spawn(|| open_with(&loader, &path).expect("a sound plugin"));
        RUNS.wait();
        let code = in_forked_child(|| {
            let loader = Loader::new().provide("starter-mode", go as fn() -> String);
            let error = open_with(&loader, &path).expect_err("half initialised, and nobody goes on with it");
            assert!(matches!(error.kind(), ErrorKind::Poisoned { .. }), "{error}");
            assert!(error.to_string().contains("when the process forked"), "{error}");
            // As after any failure: one of its own, if the caller asks for it.
            let anew = open_with(&loader.reload(true), &path).expect("a new generation");
            if ran(&anew) == 3 { 42 } else { 1 }
        });
        FORKED.wait();
        assert_eq!(ran(&opener.join().expect("no panic")), 3, "the parent goes on");
        assert_eq!(code, Some(42), "the child");
    });
}

#[test]
fn a_child_opens_plugins_whatever_other_threads_open() {
    if passes_alone("forks::a_child_opens_plugins_whatever_other_threads_open") {
        return;
    }
    const FORKS: usize = 30;
    let (folder, path) = copy_of("greeter");
    open(&path).expect("a sound plugin");
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for thread in 0..2 {
            let (folder, path, stop) = (&folder, &path, &stop);
            scope.spawn(move || {
                for copy in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let copy = folder.file(format!("{thread}-{copy}.so"));
                    fs::copy(path, &copy).expect("a folder of ours");
                    open(&copy).expect("a plugin of its own");
                    open(path).expect("it is open");
                    fs::remove_file(copy).expect("a folder of ours");
                }
            });
        }
        for round in 0..FORKS {
            let own = folder.file(format!("own-{round}.so"));
            fs::copy(&path, &own).expect("a folder of ours");
            let code = in_forked_child(|| {
                let add = |plugin: Plugin| plugin.lookup::<extern "C" fn(i32, i32) -> i32>("add").map(|add| add(40, 2));
                let opened = [&path, &own].map(|path| add(open(path).expect("a sound plugin")).expect("exported"));
                if opened == [42, 42] { 42 } else { 1 }
            });
            assert_eq!(code, Some(42), "fork {round}");
        }
        stop.store(true, Ordering::Relaxed);
    });
}
