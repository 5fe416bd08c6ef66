//! Files that are replaced or copied, and plugins that live side by side.

use crate::build::passes_alone;
use crate::rows::{copy_of, edit, open_with, refused};
use crate::types::open;
use sideload::{Copies, ErrorKind, Loader, Plugin, ledger};
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

/// Puts a file with another version, and so another identity, in the place of the old one.
fn replace(path: &Path, version: &[u8; 6]) {
    let new = path.with_extension("new");
    fs::copy(path, &new).expect("a folder of ours");
    edit(&new, b"\x050.3.1", version);
    fs::rename(&new, path).expect("a folder of ours");
}

fn greeted(plugin: &Plugin) -> &'static AtomicU32 {
    *plugin.lookup::<&'static AtomicU32>("GREETED").expect("exported")
}

#[test]
fn row_04_a_replaced_file_is_stale_or_a_new_generation() {
    if passes_alone("generations::row_04_a_replaced_file_is_stale_or_a_new_generation") {
        return;
    }
    let (_folder, path) = copy_of("greeter");
    let old = open(&path).expect("a sound plugin");
    assert!(open(&path).expect("the same file") == old);
    replace(&path, b"\x050.4.0");
    let before = ledger();
    let error = open(&path).expect_err("another file than the one that is open");
    assert_eq!(ledger(), before);
    assert!(matches!(error.kind(), ErrorKind::Stale { generation: 1 }), "{error}");
    let new = open_with(&Loader::new().reload(true), &path).expect("a new generation");
    assert_eq!((old.version(), new.version(), new.generation()), ("0.3.1", "0.4.0", 2));
    assert!(open(&path).expect("what is there is open") == new);
}

#[test]
fn row_05_a_copy_is_isolated_shared_or_refused() {
    if passes_alone("generations::row_05_a_copy_is_isolated_shared_or_refused") {
        return;
    }
    let (folder, path) = copy_of("greeter");
    let copy = folder.file("copy.so");
    fs::copy(&path, &copy).expect("a folder of ours");
    let original = open(&path).expect("a sound plugin");
    let error = refused(&Loader::new().copies(Copies::Refuse), &copy);
    assert!(matches!(error.kind(), ErrorKind::AlreadyOpen { path: at } if *at == path), "{error}");
    assert!(open_with(&Loader::new().copies(Copies::Share), &copy).expect("shared") == original);
    assert!(!crate::rows::is_mapped(&copy), "the copy itself is not mapped");
    let isolated = open(&copy).expect("a plugin of its own");
    assert!(isolated != original);
    greeted(&original).store(7, Ordering::Relaxed);
    assert_eq!(greeted(&isolated).load(Ordering::Relaxed), 0, "it has statics of its own");
}

#[test]
fn row_23_two_versions_of_one_plugin_live_side_by_side() {
    if passes_alone("generations::row_23_two_versions_of_one_plugin_live_side_by_side") {
        return;
    }
    let (folder, path) = copy_of("greeter");
    let other = folder.file("other.so");
    fs::copy(&path, &other).expect("a folder of ours");
    replace(&other, b"\x050.4.0");
    let plugins = [&path, &other].map(|path| open(path).expect("a sound plugin"));
    assert_eq!(plugins.each_ref().map(Plugin::name), ["greeter", "greeter"]);
    assert_eq!(plugins.each_ref().map(Plugin::version), ["0.3.1", "0.4.0"]);
    let [count, other_count] =
        plugins.each_ref().map(|plugin| plugin.lookup::<fn() -> u32>("count").expect("exported"));
    assert_eq!((count(), count(), other_count()), (1, 2, 1), "each has its own copy of the crate they share");
}

#[test]
fn row_25_a_retired_generation_lives_on_for_who_has_it() {
    if passes_alone("generations::row_25_a_retired_generation_lives_on_for_who_has_it") {
        return;
    }
    let (_folder, path) = copy_of("greeter");
    let old = open(&path).expect("a sound plugin");
    let greet = *old.lookup::<fn(&str) -> String>("greet").expect("exported");
    greet("before");
    for (generation, version) in [(2, b"\x050.4.0"), (3, b"\x050.5.0")] {
        let (_scratch, original) = copy_of("greeter");
        fs::rename(&original, &path).expect("the same file system");
        replace(&path, version);
        let new = open_with(&Loader::new().reload(true), &path).expect("a new generation");
        assert_eq!((new.generation(), new.is_current(), old.is_current()), (generation, true, false));
        assert_eq!(greeted(&new).load(Ordering::Relaxed), 0, "it starts anew");
    }
    // Even with the last handle gone: what a safe lookup handed out never dangles.
    let before = greeted(&old);
    drop(old);
    assert_eq!(greet("after"), "hello, after");
    assert_eq!(before.load(Ordering::Relaxed), 2);
}
