//! A process with threads that forks: the child has one of them.

use crate::support::fork::in_forked_child;
use crate::support::{Child, argument, in_parallel, passes_elsewhere, text_argument};
use crate::{answer, fixture, initialised, initialised_by, open, try_open};
use sideload::{Loader, ledger};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Barrier, OnceLock};
use std::time::{Duration, Instant};
use test_fixtures::build;

static RUNS: Barrier = Barrier::new(2);
static FORKED: Barrier = Barrier::new(2);

extern "C-unwind" fn take_part() {
    RUNS.wait();
    FORKED.wait();
}

extern "C-unwind" fn nothing() {}

#[test]
fn a_child_opens_what_another_thread_was_initialising() {
    if passes_elsewhere("fork::a_child_opens_what_another_thread_was_initialising") {
        return;
    }
    let (_folder, [path, other]) = initialised(["slow.so", "other.so"]);
    std::thread::scope(|scope| {
        let opener = scope.spawn(|| try_open(&initialised_by(take_part), &path).expect("a sound fixture"));
        RUNS.wait();
        let code = in_forked_child(|| {
            // A new one, whose initialiser runs here.
            let loader = initialised_by(nothing);
            let opened = try_open(&loader, &path).unwrap_or_else(|error| panic!("{error}"));
            try_open(&loader, &other).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(ledger().claims, 0);
            // And so is anything that a new thread of the child does.
            let again = std::thread::spawn(move || opened.is_same(&open(opened.path())));
            if again.join().expect("no panic") { 42 } else { 1 }
        });
        FORKED.wait();
        let opened = opener.join().expect("no panic");
        assert_eq!(code, Some(42), "the child");
        assert!(opened.is_same(&open(&path)), "the parent goes on");
    });
}

/// The same with locks in the way: threads open and unload all the time while the process forks.
#[test]
fn a_child_finds_no_lock_taken() {
    if passes_elsewhere("fork::a_child_finds_no_lock_taken") {
        return;
    }
    const FORKS: usize = 60;
    let stop = AtomicBool::new(false);
    // Built first: that has locks of its own. And what the child unloads does not call `__cxa_finalize`, whose lock in
    // glibc a thread of the parent may have.
    let names = ["plugin", "relative", "tls_ie_pointer", "tls_desc", "tls_gd", "init_both"];
    let paths = names.map(|name| build(name).path);
    let [path, _, fixed, _, _, own] = &paths;
    open(path);
    let again_and_again = |what: [&Path; 2]| {
        while !stop.load(Ordering::Relaxed) {
            // Refused or not: both take the locks.
            what.iter().for_each(|path| drop(crate::unload(open(path))));
        }
    };
    std::thread::scope(|scope| {
        // Static thread-locals, frames, debuggers' entries.
        for [one, other] in [[0, 1], [2, 3], [4, 1]] {
            let (paths, again_and_again) = (&paths, &again_and_again);
            scope.spawn(move || again_and_again([&paths[one], &paths[other]]));
        }
        for round in 0..FORKS {
            let code = in_forked_child(|| {
                let (opened, fixed) = (answer(&open(path)), open(fixed));
                let code = if opened == 42 { answer(&fixed) } else { 1 };
                // What other threads had handles of stays; all else goes.
                let _ = crate::unload(fixed);
                crate::unload(open(own)).expect("only the child has it");
                code
            });
            assert_eq!(code, Some(42), "fork {round}");
        }
        stop.store(true, Ordering::Relaxed);
    });
}

/// What is done once a process, at its first open, may be half done when it forks.
#[test]
fn a_child_need_not_wait_for_the_first_open() {
    let rounds: Vec<u32> = (0..24).collect();
    let (plain, fixed) = (build("init_both").path, build("tls_initial_exec").path);
    let run = |round: &u32| {
        let child = Child::new("fork::fork_at_the_first_open").with("ROUND", round.to_string());
        child.with("PLAIN", &plain).with("FIXED", &fixed).run()
    };
    for (round, outcome) in rounds.iter().zip(in_parallel(&rounds, run)) {
        assert!(outcome.is_success(), "round {round}: {outcome}");
    }
}

#[test]
#[ignore = "run by the other, in child processes"]
fn fork_at_the_first_open() {
    let round: u32 = text_argument("ROUND").parse().expect("a number");
    let [plain, fixed] = ["PLAIN", "FIXED"].map(|name| PathBuf::from(argument(name)));
    let (begin, opened) = (Barrier::new(3), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for path in [&plain, &fixed] {
            let (begin, opened) = (&begin, &opened);
            scope.spawn(move || {
                begin.wait();
                open(path);
                opened.store(true, Ordering::Relaxed);
            });
        }
        begin.wait();
        // Later and later, until it is over.
        let mut forks = 0;
        while forks == 0 || !opened.load(Ordering::Relaxed) && forks < 50 {
            let started = Instant::now();
            while started.elapsed() < Duration::from_micros(u64::from(round) * 7) {
                std::hint::spin_loop();
            }
            assert_eq!(in_forked_child(|| answer(&open(&plain)).min(answer(&open(&fixed)))), Some(42), "fork {forks}");
            forks += 1;
        }
    });
}

static INNER: OnceLock<PathBuf> = OnceLock::new();

extern "C-unwind" fn fork_and_open() {
    let inner: &Path = INNER.get().expect("set before");
    // The child goes on in this very initialiser, as its own thread.
    let code = in_forked_child(|| {
        let own = try_open(&Loader::new(), inner).unwrap_or_else(|error| panic!("{error}"));
        assert!(own.path().ends_with("forks.so"));
        answer(&fixture("plugin"))
    });
    assert_eq!(code, Some(42));
}

#[test]
fn an_initialiser_may_fork() {
    if passes_elsewhere("fork::an_initialiser_may_fork") {
        return;
    }
    let (_folder, [path]) = initialised(["forks.so"]);
    INNER.set(path.clone()).expect("set once");
    try_open(&initialised_by(fork_and_open), path).expect("a sound fixture");
}
