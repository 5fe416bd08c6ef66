//! Thread-locals of the initial-exec model: every thread has them at the same place, whether it is older than the object
//! or younger, and whatever it is doing when the object is opened.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

mod support;

use sideload::{Error, ErrorKind, Library, Loader, ledger};
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Barrier, Mutex, OnceLock};
use std::thread;
use support::{Child, passes_elsewhere, reserve_static_tls, say};
use test_fixtures::build;

fn try_open(path: impl AsRef<Path>) -> Result<Library, Error> {
    // SAFETY: the fixtures' initialisers are made to be run.
    unsafe { Loader::new().open(path.as_ref()) }
}

fn open(fixture: &str) -> Library {
    try_open(build(fixture).path).unwrap_or_else(|error| panic!("{error}"))
}

fn answer(library: &Library) -> i32 {
    // SAFETY: every fixture declares it as `int answer(void)`.
    unsafe { library.get::<unsafe extern "C" fn() -> i32>("answer").expect("every fixture has it")() }
}

/// The address of this thread's copy of a variable.
fn address(library: &Library, name: &str) -> usize {
    // SAFETY: it is not looked at.
    unsafe { *library.get::<*const i32>(name).unwrap_or_else(|error| panic!("{error}")) as usize }
}

/// The address that `%fs` holds.
fn thread_pointer() -> usize {
    let pointer: usize;
    // SAFETY: the word at %fs:0 is the thread pointer itself (psABI).
    unsafe { std::arch::asm!("mov {}, fs:0", out(reg) pointer) };
    pointer
}

#[test]
fn threads_that_run_have_it_and_those_to_come() {
    const THREADS: usize = 12;
    let (opened, offsets) = (OnceLock::new(), Mutex::new(BTreeSet::new()));
    let (before, after) = (Barrier::new(THREADS + 1), Barrier::new(THREADS + 1));
    let check = || {
        let library: &Library = opened.get().expect("opened before");
        assert_eq!((answer(library), answer(library)), (42, 42));
        let offset = address(library, "ie_initialised").wrapping_sub(thread_pointer());
        offsets.lock().expect("no panic while locked").insert(offset);
    };
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                before.wait(); // older than the object
                after.wait();
                check();
            });
        }
        before.wait();
        opened.set(open("tls_initial_exec")).expect("opened once");
        after.wait();
        check();
    });
    // Some of these get the stacks of those that have ended.
    for _ in 0..3 {
        thread::scope(|scope| (0..THREADS).for_each(|_| _ = scope.spawn(check)));
    }
    assert_eq!(offsets.into_inner().expect("no panic while locked").len(), 1, "one offset in all threads");
}

/// A thread is written to whatever it does: it needs not run, nor take a signal.
#[test]
fn threads_that_answer_no_signal_have_it() {
    let (opened, stop, ready) = (OnceLock::new(), AtomicBool::new(false), Barrier::new(3));
    let check = || assert_eq!(answer(opened.get().expect("opened before")), 42);
    let (mut reader, mut writer) = std::io::pipe().expect("two descriptors");
    thread::scope(|scope| {
        let (check, stop, ready) = (&check, &stop, &ready);
        scope.spawn(move || {
            // SAFETY: the set is filled before it is used; this thread alone is concerned.
            unsafe {
                let mut all = std::mem::zeroed();
                libc::sigfillset(&raw mut all);
                assert_eq!(libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, std::ptr::null_mut()), 0);
            }
            ready.wait();
            while !stop.load(Ordering::Acquire) {
                std::hint::spin_loop();
            }
            check();
        });
        scope.spawn(move || {
            ready.wait();
            reader.read_exact(&mut [0]).expect("the other end writes"); // it sits in the kernel meanwhile
            check();
        });
        ready.wait();
        opened.set(open("tls_ie_pointer")).expect("opened once");
        stop.store(true, Ordering::Release);
        writer.write_all(&[0]).expect("the other end reads");
    });
}

/// Threads that begin and end all the time while objects are opened: each one that has begun since has the bytes.
#[test]
fn threads_come_and_go_meanwhile() {
    if passes_elsewhere("threads_come_and_go_meanwhile") {
        return;
    }
    let names = ["tls_initial_exec", "tls_ie_pointer", "tls_ie_and_gd", "tls_ie_align", "tls_ie_import"];
    let paths = names.map(|name| build(name).path);
    let (stop, run) = (AtomicBool::new(false), AtomicUsize::new(0));
    let opened: Mutex<Vec<&'static Library>> = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    thread::scope(|inner| {
                        _ = inner.spawn(|| {
                            let now = opened.lock().expect("no panic while locked").clone();
                            run.fetch_add(1, Ordering::Relaxed);
                            now.iter().for_each(|library| assert_eq!(answer(library), 42, "{}", library.path()));
                        });
                    });
                }
            });
        }
        for path in &paths {
            let before = run.load(Ordering::Relaxed);
            let library = Box::leak(Box::new(try_open(path).unwrap_or_else(|error| panic!("{error}"))));
            opened.lock().expect("no panic while locked").push(library);
            while run.load(Ordering::Relaxed) < before + 200 {
                thread::yield_now();
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn what_has_no_room_is_refused_and_takes_none() {
    if passes_elsewhere("what_has_no_room_is_refused_and_takes_none") {
        return;
    }
    let before = ledger();
    // The first of the two has no room either; nothing has been offered yet.
    for name in ["tls_ie_half", "tls_ie_large", "tls_ie_exhausted"] {
        let error = try_open(build(name).path).expect_err(name);
        let ErrorKind::StaticTls { size, free: 4096, total: 4096, .. } = error.kind() else { panic!("{error}") };
        let least = if name == "tls_ie_exhausted" { 4 << 20 } else { 16 << 10 };
        assert!((least..least + 64).contains(size), "{error}");
        assert_eq!(ledger(), before, "{name}");
    }
    open("tls_initial_exec");
    assert!((1..64).contains(&ledger().static_thread_local_bytes), "{:?}", ledger());

    reserve_static_tls();
    assert_eq!(answer(&open("tls_ie_large")), 42);
    assert!(ledger().static_thread_local_bytes > 32 << 10, "{:?}", ledger());
    let error = try_open(build("tls_ie_exhausted").path).expect_err("4 MiB");
    assert!(matches!(error.kind(), ErrorKind::StaticTls { total, .. } if *total == 68 << 10), "{error}");
}

/// As with glibc: a thread pointer is aligned as the images want that the program was started with, not only its own.
#[test]
fn a_large_alignment_takes_an_image_of_the_start() {
    let refused = Child::new("open_aligned").run();
    let text = "aligned to 256; the largest piece that is free of the 4096 in reserve has 0";
    assert!(refused.expect_success().last().contains(text), "{refused}");
    let opened = Child::new("open_aligned").environment("LD_PRELOAD", build("tls_align").path).run();
    assert_eq!(opened.expect_success().last(), "42", "{opened}");
}

#[test]
#[ignore = "run by the other, in child processes"]
fn open_aligned() {
    let opened = try_open(build("tls_ie_align_more").path);
    say(opened.map_or_else(|error| error.to_string(), |library| answer(&library).to_string()));
}

#[test]
fn an_open_that_fails_gives_its_room_back() {
    if passes_elsewhere("an_open_that_fails_gives_its_room_back") {
        return;
    }
    let before = ledger();
    for _ in 0..100 {
        // SAFETY: none of its code is run.
        let relocated = Loader::new().link(build("tls_ie_align").path).and_then(|link| link.map()?.relocate());
        let relocated = relocated.unwrap_or_else(|error| panic!("{error}"));
        assert!(ledger().static_thread_local_bytes >= 64 + 4);
        drop(relocated);
        assert_eq!(ledger(), before);
    }
    assert_eq!(answer(&open("tls_ie_align")), 42);
}

/// As with glibc: as long as nobody has used an object's thread-locals, they can still get a fixed place.
#[test]
fn an_object_that_is_loaded_can_still_get_a_place() {
    if passes_elsewhere("an_object_that_is_loaded_can_still_get_a_place") {
        return;
    }
    let (import, provider) = (build("tls_ie_import"), build("tls_provider"));
    let beside = import.path.with_file_name(provider.path.file_name().expect("a file"));
    let library = try_open(&beside).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(ledger().static_thread_local_bytes, 0);
    let second = try_open(&import.path).unwrap_or_else(|error| panic!("{error}"));
    assert_ne!(ledger().static_thread_local_bytes, 0);
    assert_eq!(answer(&second), 42);
    // SAFETY: it is an int.
    assert_eq!(unsafe { *(address(&library, "shared_local") as *const i32) }, 40);
}

#[test]
fn an_object_that_was_used_elsewhere_cannot() {
    if passes_elsewhere("an_object_that_was_used_elsewhere_cannot") {
        return;
    }
    let (import, provider) = (build("tls_ie_import"), build("tls_provider"));
    let beside = import.path.with_file_name(provider.path.file_name().expect("a file"));
    let library = try_open(&beside).unwrap_or_else(|error| panic!("{error}"));
    let used = address(&library, "shared_local");
    let before = ledger();
    let error = try_open(&import.path).expect_err("it has a place elsewhere");
    assert!(matches!(error.kind(), ErrorKind::Unsupported { .. }), "{error}");
    assert_eq!(ledger(), before);
    assert_eq!(address(&library, "shared_local"), used);
}
