//! Many threads and many plugins; and a wait that is too long.

use crate::build::{passes_alone, plugin};
use crate::rows::{edit, open_with};
use crate::support::{Folder, kind};
use sideload::{BuildPolicy, ErrorKind, Loader, Plugin};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Barrier, Mutex, OnceLock};
use std::time::Duration;

const THREADS: usize = 16;
const OPENS: usize = 1000;

static STARTED: AtomicU32 = AtomicU32::new(0);

fn sound() -> String {
    STARTED.fetch_add(1, Ordering::SeqCst);
    std::thread::sleep(Duration::from_millis(5));
    "go".into()
}

fn failing() -> String {
    STARTED.fetch_add(1, Ordering::SeqCst);
    std::thread::sleep(Duration::from_millis(5));
    "fail".into()
}

/// What is to come of an open.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sort {
    Sound,
    OtherBuild,
    FailingInit,
    NoPlugin,
}

/// Twenty files, of which eight do not open.
fn files(folder: &Folder) -> Vec<(PathBuf, Sort, Loader)> {
    let sort = |at: usize| match at % 5 {
        1 if at < 10 => Sort::OtherBuild,
        3 if at < 15 => Sort::FailingInit,
        4 if at < 15 => Sort::NoPlugin,
        _ => Sort::Sound,
    };
    let file = |at: usize| {
        let path = folder.file(format!("plugin{at}.so"));
        let from = if sort(at) == Sort::NoPlugin { test_fixtures::build("init_array").path } else { plugin("starter") };
        std::fs::copy(from, &path).expect("a folder of ours");
        if sort(at) == Sort::OtherBuild {
            edit(&path, b"\x05rustc", b"\x05wrong");
        }
        let mode = if sort(at) == Sort::FailingInit { failing } else { sound };
        let loader = Loader::new().provide("starter-mode", mode as fn() -> String);
        (path, sort(at), loader.build_policy(BuildPolicy::default()))
    };
    (0..20).map(file).collect()
}

#[test]
fn sixteen_threads_open_twenty_plugins_a_thousand_times() {
    if passes_alone("many::sixteen_threads_open_twenty_plugins_a_thousand_times") {
        return;
    }
    let folder = Folder::new("many");
    let files = files(&folder);
    let opened: Vec<OnceLock<Plugin>> = files.iter().map(|_| OnceLock::new()).collect();
    let first_failures = AtomicU32::new(0);
    let start = Barrier::new(THREADS);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (files, opened, first_failures, start) = (&files, &opened, &first_failures, &start);
            scope.spawn(move || {
                start.wait();
                for round in 0..OPENS {
                    // Each thread in an order of its own; all of them begin with one file.
                    let at = round * (2 * thread + 1) % files.len();
                    let (path, sort, loader) = &files[at];
                    match (open_with(loader, path), sort) {
                        (Ok(plugin), Sort::Sound) => {
                            let ran = plugin.lookup::<&AtomicU32>("RAN").expect("exported").load(Ordering::SeqCst);
                            assert_eq!(ran, 3, "initialised once, and before anybody has it");
                            assert!(*opened[at].get_or_init(|| plugin.clone()) == plugin, "one instance");
                        }
                        (Err(error), Sort::OtherBuild) => {
                            assert!(matches!(error.kind(), ErrorKind::BuildMismatch(_)), "{error}");
                        }
                        (Err(error), Sort::NoPlugin) => {
                            assert!(matches!(error.kind(), ErrorKind::NotAPlugin { .. }), "{error}");
                        }
                        (Err(error), Sort::FailingInit) => match error.kind() {
                            ErrorKind::InitFailed { .. } => {
                                first_failures.fetch_add(1, Ordering::SeqCst);
                            }
                            kind => assert!(matches!(kind, ErrorKind::Poisoned { .. }), "{error}"),
                        },
                        (Ok(plugin), _) => panic!("{plugin:?} opened"),
                        (Err(error), Sort::Sound) => panic!("{}: {error}", kind(error.kind())),
                    }
                }
            });
        }
    });
    let count = |wanted: Sort| files.iter().filter(|(_, sort, _)| *sort == wanted).count() as u32;
    assert_eq!((count(Sort::Sound), count(Sort::FailingInit)), (12, 3));
    assert_eq!(STARTED.load(Ordering::SeqCst), count(Sort::Sound) + count(Sort::FailingInit), "each init ran once");
    assert_eq!(first_failures.load(Ordering::SeqCst), count(Sort::FailingInit), "one thread each was told first");
    assert!(opened.iter().zip(&files).all(|(plugin, (_, sort, _))| plugin.get().is_some() == (*sort == Sort::Sound)));
}

static HELD: Mutex<()> = Mutex::new(());
static IN_INIT: Barrier = Barrier::new(2);

fn held() -> String {
    IN_INIT.wait();
    drop(HELD.lock().expect("no panic while locked"));
    "go".into()
}

#[test]
fn row_15_an_open_that_waits_for_an_init_too_long_is_told() {
    if passes_alone("many::row_15_an_open_that_waits_for_an_init_too_long_is_told") {
        return;
    }
    let path = plugin("starter");
    let loader = Loader::new().provide("starter-mode", held as fn() -> String);
    std::thread::scope(|scope| {
        let guard = HELD.lock().expect("no panic while locked");
        let first = scope.spawn(|| open_with(&loader, &path).expect("a sound plugin"));
        IN_INIT.wait();
        let error =
            open_with(&Loader::new().wait_limit(Duration::from_millis(100)), &path).expect_err("it is not done");
        assert!(matches!(error.kind(), ErrorKind::TimedOut { limit, .. } if limit.as_millis() == 100), "{error}");
        assert!(error.to_string().contains("waited 100 ms for another thread"), "{error}");
        drop(guard);
        // The one that was slow goes on, and from then on everybody gets its plugin.
        let opened = first.join().expect("no panic");
        assert!(open_with(&Loader::new().wait_limit(Duration::ZERO), &path).expect("it is done") == opened);
        assert_eq!(opened.lookup::<&AtomicU32>("RAN").expect("exported").load(Ordering::SeqCst), 3);
    });
}
