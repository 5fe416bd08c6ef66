//! A process with threads that forks: the child has one of them.

use crate::support::passes_elsewhere;
use crate::{answer, fixture, initialised, initialised_by, open, try_open};
use sideload::{Loader, ledger};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Barrier, OnceLock};
use std::time::{Duration, Instant};

/// Runs `work` in a forked child, and returns its exit status; `None` if it did not end in time.
fn in_forked_child(work: impl FnOnce() -> i32) -> Option<i32> {
    // SAFETY: the child runs the work, which is what this test is about, and leaves without running anything else.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "{}", std::io::Error::last_os_error());
    if child == 0 {
        let code = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).unwrap_or(101);
        // SAFETY: always allowed.
        unsafe { libc::_exit(code) };
    }
    let started = Instant::now();
    let mut status = 0;
    // SAFETY: it is our child; the status is ours.
    while unsafe { libc::waitpid(child, &raw mut status, libc::WNOHANG) } == 0 {
        if started.elapsed() > Duration::from_secs(30) {
            // SAFETY: it is our child and has not been waited for.
            unsafe { libc::kill(child, libc::SIGKILL) };
            // SAFETY: as above.
            unsafe { libc::waitpid(child, &raw mut status, 0) };
            return None;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status))
}

static RUNS: Barrier = Barrier::new(2);
static FORKED: Barrier = Barrier::new(2);

extern "C" fn take_part() {
    RUNS.wait();
    FORKED.wait();
}

extern "C" fn nothing() {}

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

/// The same with a lock in the way: a thread opens and unloads all the time while the process forks.
#[test]
fn a_child_finds_no_lock_taken() {
    if passes_elsewhere("fork::a_child_finds_no_lock_taken") {
        return;
    }
    const FORKS: usize = 40;
    let stop = AtomicBool::new(false);
    let path = fixture("plugin").path().to_owned();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                // Refused or not: both take the lock.
                let _ = crate::unload(open(&path));
                let _ = crate::unload(fixture("relative"));
            }
        });
        for round in 0..FORKS {
            let code = in_forked_child(|| answer(&open(&path)));
            assert_eq!(code, Some(42), "fork {round}");
        }
        stop.store(true, Ordering::Relaxed);
    });
}

static INNER: OnceLock<PathBuf> = OnceLock::new();

extern "C" fn fork_and_open() {
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
