//! Opening and unloading again and again.

use crate::support::{Child, passes_elsewhere};
use crate::{answer, open, try_open, unload};
use sideload::{Ledger, Loader, ledger};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use test_fixtures::build;

/// What must be the same after any number of rounds.
#[derive(Debug, PartialEq)]
struct Held {
    ledger: Ledger,
    /// Mappings of files, and anything executable.
    maps: Vec<String>,
    descriptors: usize,
}

impl Held {
    fn now() -> Held {
        let maps = std::fs::read_to_string("/proc/self/maps").expect("this process's own");
        let is_kept = |line: &&str| line.contains('/') || line.split(' ').nth(1).is_some_and(|it| it.contains('x'));
        // The heap's end and the allocator's own mappings are measured as bytes in use.
        let maps = maps.lines().filter(is_kept).map(str::to_owned).collect();
        let descriptors = std::fs::read_dir("/proc/self/fd").expect("this process's own").count();
        Held { ledger: ledger(), maps, descriptors }
    }
}

/// Bytes that the C library's allocator has handed out: Rust's, ours, the unwinder's and the objects' own.
fn heap() -> usize {
    // SAFETY: it has no preconditions.
    let info = unsafe { libc::mallinfo2() };
    info.uordblks + info.hblkhd
}

#[test]
fn two_thousand_rounds_leave_nothing() {
    // So that what is freed does not count as in use, for being kept at hand for the next to ask.
    let exactly = "glibc.malloc.tcache_count=0:glibc.malloc.mxfast=0";
    Child::new("rounds::open_and_unload").environment("GLIBC_TUNABLES", exactly).run().expect_success();
}

#[test]
#[ignore = "run by the other, in a child process"]
fn open_and_unload() {
    const ROUNDS: usize = 2000;
    const WARM: usize = 100;
    // Thread-locals of both kinds, a group of five, frames with an exception thrown, a handler of atexit, and what asks
    // about images and opens others.
    let fixtures = ["tls_gd", "tls_import", "init_diamond", "cxx_throw", "unload_order", "dlclose", "dladdr"];
    let paths: Vec<PathBuf> = fixtures.map(|name| build(name).path).into();
    // What all of them share need not come and go.
    let _runtime = open("libstdc++.so.6");
    let round = || {
        for path in &paths {
            let library = open(path);
            assert_eq!(answer(&library), 42, "{library:?}");
            unload(library).unwrap_or_else(|refused| panic!("{refused}"));
        }
    };
    (0..WARM).for_each(|_| round());
    let (held, used) = (Held::now(), heap());
    (WARM..ROUNDS).for_each(|_| round());
    assert_eq!(Held::now(), held);
    let grown = heap().saturating_sub(used);
    assert!(grown < 1 << 10, "{grown} bytes in {} rounds", ROUNDS - WARM);
}

/// Threads that open, look up and unload the same objects at the same time: what one has a handle of, no other takes
/// away.
#[test]
fn unloading_and_using_do_not_meet() {
    if passes_elsewhere("rounds::unloading_and_using_do_not_meet") {
        return;
    }
    const THREADS: usize = 4;
    const ROUNDS: usize = 150;
    let paths = ["plugin", "relative", "init_both"].map(|name| build(name).path);
    let before = ledger();
    let (unloaded, refused) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (paths, unloaded, refused) = (&paths, &unloaded, &refused);
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    let library = try_open(&Loader::new(), &paths[(thread + round) % paths.len()]);
                    let library = library.unwrap_or_else(|error| panic!("{error}"));
                    assert_eq!(answer(&library), 42, "{library:?}");
                    let counter = if unload(library).is_ok() { unloaded } else { refused };
                    counter.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    assert!(unloaded.load(Ordering::Relaxed) > 0, "{} refused", refused.load(Ordering::Relaxed));
    for path in &paths {
        unload(open(path)).expect("nobody else is left");
    }
    assert_eq!(ledger(), before);
}
