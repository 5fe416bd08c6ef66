//! An open, backwards.

use crate::support::{Child, argument, passes_elsewhere, say};
use crate::{answer, journal, mapped, open, unload};
use sideload::addr::RunAddr;
use sideload::{ErrorKind, Event, Holder, Library, Loader, Stage, ledger};
use std::path::Path;
use std::sync::{Arc, Mutex};
use test_fixtures::build;

#[test]
fn finalisers_run_once_and_in_reverse() {
    if passes_elsewhere("unload::finalisers_run_once_and_in_reverse") {
        return;
    }
    let path = build("unload_order").path;
    let pad = open(path.with_file_name("libjournal.so"));
    let before = ledger();
    for round in 1..=3 {
        let library = open(&path);
        assert_eq!(answer(&library), 42);
        assert!(mapped(&path) > 0);
        unload(library).expect("nothing holds it");
        assert_eq!(journal(&pad), "ofad".repeat(round));
        assert_eq!((mapped(&path), ledger()), (0, before));
    }
}

/// What an observer hears of finalisers, line by line.
fn told(path: &Path, hear: impl Fn(String) + Send + Sync + 'static) -> Library {
    let loader = Loader::new().observer(move |event| match *event {
        Event::Foreign { stage: Stage::Unload, module, address } if address != RunAddr(0) => {
            hear(Path::new(module).file_name().expect("a file").to_str().expect("text").to_owned());
        }
        Event::Native => hear("back".to_owned()),
        _ => {}
    });
    crate::try_open(&loader, path).expect("a sound fixture")
}

#[test]
fn an_observer_is_told_of_finalisers_before_they_run() {
    let path = build("unload_order").path;
    let heard = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&heard);
    let library = told(&path, move |line| sink.lock().expect("no panic while locked").push(line));
    heard.lock().expect("as above").clear();
    unload(library).expect("nothing holds it");
    let mut heard = heard.lock().expect("as above").clone();
    assert_eq!(heard.last().expect("it was told"), "back");
    // A program that has no libstdc++ of its own has one loaded with it.
    heard.retain(|line| ["libunload_order.so", "libjournal.so"].contains(&line.as_str()));
    heard.dedup();
    assert_eq!(heard, ["libunload_order.so", "libjournal.so"]);

    let outcome = Child::new("unload::end_with_an_observer").with("OBJECT", &path).run();
    let said = outcome.expect_success().said().join(" ");
    assert!(said.contains("now libunload_order.so") && said.ends_with("back"), "{outcome}");
}

#[test]
#[ignore = "run by the other, in child processes"]
fn end_with_an_observer() {
    drop(told(Path::new(&argument("OBJECT")), say));
    say("now");
    // SAFETY: no other thread does anything but wait.
    unsafe { libc::exit(0) };
}

/// The instances there are, by the files that are mapped.
fn loaded(folder: &Path, names: &[&str]) -> Vec<String> {
    names.iter().filter(|name| mapped(&folder.join(name)) > 0).map(|name| (*name).to_owned()).collect()
}

const DIAMOND: &[&str] =
    &["libinit_diamond.so", "libdiamond_left.so", "libdiamond_right.so", "libdiamond_base.so", "libjournal.so"];

#[test]
fn what_was_loaded_for_its_sake_goes_with_it() {
    if passes_elsewhere("unload::what_was_loaded_for_its_sake_goes_with_it") {
        return;
    }
    let path = build("init_diamond").path;
    let folder = path.parent().expect("a file").to_owned();
    let before = ledger();

    let top = open(&path);
    assert_eq!(loaded(&folder, DIAMOND), DIAMOND);
    unload(top).expect("nothing holds it");
    assert_eq!((loaded(&folder, DIAMOND), ledger()), (Vec::new(), before));

    // One that was opened by its name stays, even if nobody has a handle any more.
    drop(open(folder.join("libdiamond_left.so")));
    unload(open(&path)).expect("nothing holds it");
    let left = ["libdiamond_left.so", "libdiamond_base.so", "libjournal.so"];
    assert_eq!(loaded(&folder, DIAMOND), left);

    // And what others need does not go before them.
    let base = open(folder.join("libdiamond_base.so"));
    let refused = unload(base).expect_err("the left needs it");
    let needs_it = Holder::Dependant(folder.join("libdiamond_left.so").display().to_string());
    assert!(
        matches!(refused.error().kind(), ErrorKind::StillLive(holders) if *holders == [needs_it.clone()]),
        "{refused}"
    );
    drop(refused.into_library());
    unload(open(folder.join("libdiamond_left.so"))).expect("nothing holds it");
    assert_eq!(loaded(&folder, DIAMOND), ["libdiamond_base.so", "libjournal.so"]);
    unload(open(folder.join("libdiamond_base.so"))).expect("nothing holds it any more");
    assert_eq!((loaded(&folder, DIAMOND), ledger()), (Vec::new(), before));
}

#[test]
fn what_loaded_code_opened_and_closed_goes_with_it() {
    if passes_elsewhere("unload::what_loaded_code_opened_and_closed_goes_with_it") {
        return;
    }
    let (opener, opened) = (build("opens_another").path, build("unload_order").path);
    let open_it = |library: &Library| {
        assert_eq!(crate::call_with(library, "open_it", opened.to_str().expect("text")), 1);
    };
    let before = ledger();
    // Closed, it is still there until the library goes.
    let library = open(&opener);
    open_it(&library);
    assert_eq!(crate::call(&library, "close_it"), 0);
    assert_ne!(crate::call(&library, "close_it"), 0, "once");
    assert!(mapped(&opened) > 0);
    unload(library).expect("nothing holds it");
    assert_eq!((mapped(&opened), ledger()), (0, before));
    // Not closed, it stays, as with the system loader.
    let library = open(&opener);
    open_it(&library);
    unload(library).expect("nothing holds it");
    let refused = unload(open(&opened)).expect_err("the one that is gone did not close it");
    assert!(matches!(refused.error().kind(), ErrorKind::StillLive(all) if *all == [Holder::Handles(1)]), "{refused}");
}

#[test]
fn a_definition_binds_without_a_need() {
    if passes_elsewhere("unload::a_definition_binds_without_a_need") {
        return;
    }
    // The library finds what it needs in the global scope, and does not say from which file.
    let path = build("gnu_unique").path;
    let provider = crate::try_open(&Loader::new().global(true), path.with_file_name("libgnu_unique_peer.so"));
    let provider = provider.expect("a sound fixture");
    let needs_nothing = Loader::new().edit_plans(|_, plan| plan.needs.retain(|need| !need.name.ends_with(b"peer.so")));
    let library = crate::try_open(&needs_nothing, &path).expect("a sound fixture");
    let refused = unload(provider).expect_err("its symbols are in use");
    let path = library.path().to_owned();
    let is_bound =
        |kind: &ErrorKind| matches!(kind, ErrorKind::StillLive(all) if all.contains(&Holder::Dependant(path)));
    assert!(is_bound(refused.error().kind()), "{refused}");
    let provider = refused.into_library().expect("nothing was finalised");
    assert_eq!(answer(&library), 42);
    unload(library).expect("nothing holds it");
    unload(provider).expect("nothing holds it any more");
}

#[test]
fn what_a_finaliser_leaves_behind_keeps_it_mapped() {
    if passes_elsewhere("unload::what_a_finaliser_leaves_behind_keeps_it_mapped") {
        return;
    }
    let path = build("late_destructor").path;
    let before = ledger();
    let library = open(&path);
    let once = mapped(&path);
    unload(library).expect_err("as below: this thread's destructor is left");
    // In a thread of its own, at whose end the destructor runs.
    let work = || {
        let library = open(build("late_destructor").path);
        assert_eq!(answer(&library), 42);
        let poisoned = unload(library).expect_err("a destructor is left");
        let text = poisoned.to_string();
        assert!(poisoned.error().is_poisoned());
        let expected = "still in use: 1 destructor of thread-locals still to run; its code has run, so it stays mapped";
        assert!(text.ends_with(expected), "{text}");
        assert!(poisoned.into_library().is_none());
    };
    std::thread::spawn(work).join().expect("the destructor's code is still there");
    assert_eq!(mapped(&path), once * 2, "both stay");
    assert_eq!(ledger().instances, before.instances, "nobody can open them");
    let again = open(&path);
    assert_eq!(answer(&again), 42);
    assert_eq!(mapped(&path), once * 3, "a new one");
}

#[test]
fn an_image_of_the_host_stays() {
    // SAFETY: libc is initialised already.
    let libc = unsafe { Library::open("libc.so.6") }.expect("every process has it");
    let refused = unload(libc).expect_err("it is the host's");
    assert!(refused.to_string().ends_with("unload: still in use: it belongs to the host process"), "{refused}");
    assert!(refused.into_library().is_some());
}
