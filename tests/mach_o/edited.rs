//! Images that no linker at hand makes, and that run: an editor adds the one thing that each is about. Without it they
//! do not answer 42.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use crate::support::{Child, Folder, in_parallel};
use sideload::plan::{self, LoadPlan, Symbols};
use std::path::{Path, PathBuf};
use test_fixtures::macho_edit::{self, MachOEdit, export, lc};

/// S_MOD_INIT_FUNC_POINTERS and S_MOD_TERM_FUNC_POINTERS.
const INITIALISERS: u8 = 9;
const TERMINATORS: u8 = 10;
const STUB_AND_RESOLVER: u64 = 0x10;

/// The address of a function, by its C name.
fn address(image: &[u8], name: &str) -> u64 {
    let plan: LoadPlan = plan::plan(image, name).expect("a fixture");
    let Ok(Symbols::TwoLevel(table)) = plan.symbols(image) else { panic!("{name}: of another format") };
    table.find(name.as_bytes()).unwrap_or_else(|| panic!("{name} is not exported")).vm.0
}

/// A source, what is done to which image, and what it needs beside it.
struct Case {
    name: &'static str,
    edited: &'static str,
    /// Which builds of it: initialisers of newer ones are offsets, and only those have chains.
    tags: &'static [&'static str],
    change: fn(&mut MachOEdit, &[u8]),
    also: &'static [&'static str],
    words: &'static str,
}

const BOTH: &[&str] = &["x64-old", "x64-chained"];
const OLDER: &[&str] = &["x64-old"];
const NEWER: &[&str] = &["x64-chained"];

const CASES: &[Case] = &[
    Case {
        name: "routine",
        edited: "routine",
        tags: BOTH,
        change: |edit, image| edit.add_routine(address(image, "routine")),
        also: &[],
        words: "",
    },
    Case {
        name: "term",
        edited: "term",
        tags: OLDER,
        change: |edit, _| edit.retype_sections(INITIALISERS, TERMINATORS),
        also: &[],
        words: "term.c: terminated",
    },
    Case {
        name: "resolver",
        edited: "chosen",
        tags: BOTH,
        change: |edit, image| {
            let numbers = [address(image, "chosen"), address(image, "choose")];
            edit.replace_exports(&[("_chosen", export(STUB_AND_RESOLVER, &numbers))]);
        },
        also: &[],
        words: "",
    },
    Case {
        name: "below",
        edited: "below",
        tags: BOTH,
        change: |edit, _| edit.retype_need(0, lc::LOAD_UPWARD_DYLIB),
        also: &["above"],
        words: "",
    },
    Case {
        name: "ordinals",
        edited: "ordinals",
        tags: NEWER,
        change: |edit, image| {
            edit.set_ordinal("_from_itself", 0);
            edit.set_ordinal("_abs", -1);
            let row = |name| export(0, &[address(image, name)]);
            edit.replace_exports(&[("_answer", row("answer")), ("_from_itself", row("own"))]);
        },
        also: &[],
        words: "",
    },
];

/// Lays out an image and all that it needs, edited or not, and returns its path.
fn lay_out(folder: &Folder, case: &Case, tag: &str, edit: bool) -> PathBuf {
    for name in [case.name, case.edited].iter().chain(case.also) {
        folder.copy(&macho_edit::folder().join(format!("{name}-{tag}.dylib")));
    }
    if edit {
        let name = format!("{}-{tag}", case.edited);
        let image = macho_edit::image(&name);
        let mut edit = MachOEdit::new(image.clone());
        (case.change)(&mut edit, &image);
        std::fs::write(folder.file(format!("{name}.dylib")), edit.into_bytes()).expect("a folder of our own");
    }
    folder.file(format!("{}-{tag}.dylib", case.name))
}

fn run(path: &Path) -> (String, String) {
    let outcome = Child::new("run::open_and_answer").with("IMAGE", path).run();
    (outcome.last(), outcome.to_string())
}

#[test]
fn what_an_editor_adds_makes_the_difference() {
    let all: Vec<_> = CASES.iter().flat_map(|case| case.tags.iter().map(move |tag| (case, *tag))).collect();
    let faults = in_parallel(&all, |(case, tag)| {
        let name = format!("macho-{}-{tag}", case.name);
        let (plain, edited) = (Folder::new(&format!("{name}-plain")), Folder::new(&name));
        let (before, _) = run(&lay_out(&plain, case, tag, false));
        let (after, text) = run(&lay_out(&edited, case, tag, true));
        let fine = before != "42" && after == "42" && text.contains(case.words);
        (!fine).then(|| format!("{name}: {before} before, {after} after\n{text}"))
    });
    let faults: Vec<String> = faults.into_iter().flatten().collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
