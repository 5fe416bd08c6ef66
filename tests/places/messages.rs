//! What the errors of bad files say: file, stage, cause, and all that was tried.

use crate::support::Folder;
use sideload::Loader;
use sideload::search::SearchOptions;
use std::fs;
use std::path::Path;

/// How a file is made from a good one, and what is said of it after its path.
type Case = (&'static str, fn(&mut Vec<u8>), &'static str);

const CASES: &[Case] = &[
    ("empty.so", |bytes| bytes.clear(), "find: not a shared object: the file is empty"),
    ("cut_short.so", |bytes| bytes.truncate(40), "plan: not a shared object: a file cut off inside its header"),
    (
        "script.so",
        |bytes| *bytes = b"/* GNU ld script */\nGROUP ( libc.so.6 )\n".to_vec(),
        "plan: not a shared object: a linker script: name the library that it refers to",
    ),
    (
        "archive.so",
        |bytes| *bytes = b"!<arch>\n".to_vec(),
        "plan: not a shared object: a static archive, which only a linker reads",
    ),
    ("text.so", |bytes| *bytes = b"#!/bin/sh\n".to_vec(), "plan: not a shared object: unknown magic \"#!/b\""),
    ("aarch64.so", |bytes| bytes[18] = 183, "plan: e_machine is "),
    ("executable.so", |bytes| bytes[16] = 2, "plan: e_type is "),
];

#[test]
fn a_bad_file_is_named_with_stage_and_cause() {
    let folder = Folder::new("messages");
    let good = fs::read(test_fixtures::build("relative").path).expect("it was built");
    for (name, change, expected) in CASES {
        let (path, mut bytes) = (folder.file(name), good.clone());
        change(&mut bytes);
        fs::write(&path, bytes).expect("a folder of our own");
        let error = Loader::new().link(&path).map(|_| ()).expect_err(name);
        let expected = format!("{}: {expected}", path.display());
        assert!(error.to_string().starts_with(&expected), "{expected} expected, but {error}");
    }
}

#[test]
fn a_missing_dependency_is_named_with_all_that_was_tried() {
    let object = test_fixtures::build("missing_dependency").path;
    let origin = object.parent().expect("a file");
    let folder = Folder::new("tried");
    let [scripts, others, nothing] = ["scripts", "others", "nothing"].map(|name| folder.file(name));
    let missing = "libsideload_absent.so";
    let mut other = fs::read(&object).expect("it was built");
    other[18] = 183;
    for (at, bytes) in [(&scripts, b"GROUP ( libc.so.6 )\n".to_vec()), (&others, other)] {
        fs::create_dir(at).and_then(|()| fs::write(at.join(missing), bytes)).expect("a folder of our own");
    }
    let tried = |at: &Path, why: &str| format!("\n  {} ({why}", at.join(missing).display());
    let search = |default_folders| {
        let options = SearchOptions { default_folders, cache: None, ..SearchOptions::host() };
        Loader::new().search(options).library_path(&others).link(&object).map(|_| ()).expect_err("it is nowhere")
    };

    let (error, runpath) = (search(vec![nothing.clone()]), format!("RUNPATH of {}): not found", object.display()));
    let head = format!("{missing}: find: not found (needed by {})", object.display());
    let other = tried(&others, "library path): for another machine");
    let expected = [&head, &other, &tried(origin, &runpath), &tried(&nothing, "default folder): not found")];
    assert_eq!(error.to_string(), expected.map(String::as_str).concat());

    let error = search(vec![scripts.clone(), nothing.clone()]);
    let script = tried(&scripts, "default folder): not an ELF file");
    let nowhere = tried(&nothing, "default folder): not found");
    let expected = [&head, &other, &tried(origin, &runpath), &script, &nowhere];
    assert_eq!(error.to_string(), expected.map(String::as_str).concat());
}
