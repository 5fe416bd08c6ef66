//! Threads that wait for each other: for as long as it makes sense.

use crate::support::{kind, passes_elsewhere};
use crate::{initialised, initialised_by, open, try_open};
use sideload::{ErrorKind, Loader, ledger};
use std::path::PathBuf;
use std::sync::{Barrier, Mutex, OnceLock};
use std::time::Duration;

static BOTH: Barrier = Barrier::new(2);

extern "C-unwind" fn meet() {
    BOTH.wait();
}

/// Each waits for the other, so unless they run at the same time this never ends.
#[test]
fn constructors_of_different_objects_overlap() {
    if passes_elsewhere("waiting::constructors_of_different_objects_overlap") {
        return;
    }
    let (_folder, paths) = initialised(["one.so", "two.so"]);
    let _callee = open(paths[0].with_file_name("libinit_callee.so"));
    std::thread::scope(|scope| {
        for path in &paths {
            scope.spawn(move || try_open(&initialised_by(meet), path).expect("a sound fixture"));
        }
    });
}

static OWN: OnceLock<PathBuf> = OnceLock::new();
static RESULT: Mutex<String> = Mutex::new(String::new());
const LIMIT: Duration = Duration::from_millis(200);

extern "C-unwind" fn join_an_opener() {
    let work = || {
        let result = try_open(&Loader::new().wait_limit(LIMIT), OWN.get().expect("set before"));
        result.map_or_else(|error| format!("{}: {error}", kind(error.kind())), |_| "opened".to_owned())
    };
    *RESULT.lock().expect("no panic while locked") = std::thread::spawn(work).join().expect("no panic");
}

#[test]
fn a_constructor_that_joins_an_opener_of_its_object_is_told() {
    if passes_elsewhere("waiting::a_constructor_that_joins_an_opener_of_its_object_is_told") {
        return;
    }
    let (_folder, [path]) = initialised(["joins.so"]);
    OWN.set(path.clone()).expect("set once");
    try_open(&initialised_by(join_an_opener), &path).expect("the inner open fails, not this one");
    let path = path.to_str().expect("text");
    let expected = format!(
        "TimedOut: {path}: initialize: waited 200 ms for another thread that is loading or initialising {path}"
    );
    assert_eq!(*RESULT.lock().expect("no panic while locked"), expected);
    // From now on it is open for all.
    std::thread::spawn(move || open(OWN.get().expect("set before"))).join().expect("no panic");
}

static STARTED: Barrier = Barrier::new(2);
static FINISH: Barrier = Barrier::new(2);

extern "C-unwind" fn start_and_wait() {
    STARTED.wait();
    FINISH.wait();
}

/// A group that needs what another thread is initialising: nothing of it has run, so nothing of it stays.
#[test]
fn a_group_that_waited_in_vain_is_undone() {
    if passes_elsewhere("waiting::a_group_that_waited_in_vain_is_undone") {
        return;
    }
    let (_folder, [slow, needs_it]) = initialised(["slow.so", "needs_it.so"]);
    let _callee = open(slow.with_file_name("libinit_callee.so"));
    let needing = |limit| {
        let (own, need) = (needs_it.clone(), slow.clone());
        initialised_by(nothing).wait_limit(limit).edit_plans(move |name, plan| {
            if name == own.to_str().expect("text") {
                let name = need.as_os_str().as_encoded_bytes().to_vec();
                let kind = sideload::plan::NeedKind::Required;
                plan.needs.push(sideload::plan::Need { name, kind });
            }
        })
    };
    std::thread::scope(|scope| {
        scope.spawn(|| try_open(&initialised_by(start_and_wait), &slow).expect("a sound fixture"));
        STARTED.wait();
        let before = ledger();
        let error = try_open(&needing(LIMIT), &needs_it).expect_err("the constructor takes longer");
        assert!(matches!(error.kind(), ErrorKind::TimedOut { limit: LIMIT, .. }), "{error}");
        assert_eq!(ledger(), before);
        FINISH.wait();
    });
    try_open(&needing(Duration::MAX), &needs_it).expect("it is initialised now");
}

extern "C-unwind" fn nothing() {}
