//! The house rules that no lint knows, checked over the whole repository.
//!
//! Each allow list below names a file and the reason; an entry that is no longer needed fails too,
//! so the lists only shrink. The rules themselves are tested on planted faults in `rules.rs`.

mod rules;
mod source;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use rules::Row;
use source::{Source, files, relative, rust_files};

/// A file that a reviewer reads in one sitting is about 400 lines; beyond this one, split it.
const LINE_LIMIT: usize = 600;

const MAY_BE_LONG: &[(&str, &str)] = &[];

/// The front ends, and where the dispatch between them lives.
const FORMATS_LIVE_IN: &[&str] = &["src/elf/", "src/macho/", "src/lib.rs", "src/image.rs", "src/plan.rs", "src/plan/"];

/// The system loader's images are already mapped, so no plan is made of them: what reads them is the
/// counterpart of the front end, in files of its own for each format.
const MAY_NAME_A_FORMAT: &[(&str, &str)] = &[
    ("src/runtime/dl/images.rs", "dl_iterate_phdr shows callers ELF program headers"),
    ("src/runtime/dyld.rs", "reads Mach-O images in memory"),
    ("src/runtime/host/image.rs", "reads an ELF image in memory"),
    ("src/runtime/host/origin.rs", "reads the ELF headers that AT_PHDR leads to"),
    ("src/runtime/host/segments.rs", "reads the ELF program headers of mapped images"),
    ("src/runtime/host/statics.rs", "reads .symtab of a static executable's file"),
    ("src/runtime/host/tables.rs", "finds the ELF symbol tables of mapped images"),
    ("src/runtime/host/tls.rs", "reads back ELF thread-local relocations"),
];

/// From bytes to a link plan, and the arithmetic of relocation.
const PURE: &[&str] = &[
    "addr", "astray", "bytes", "error", "symbol", "check", "elf", "image", "plan", "room", "audit", "finder",
    "ldcache", "link", "render", "search", "relocate",
];

/// Words of the places where the project is worked on; split so that this file does not hold them.
const NOT_FOR_READERS: &[&str] = &[concat!("/wo", "rk/"), concat!("sha", "red/"), concat!("helper ", "session")];

#[test]
fn unsafe_stays_in_the_ledger() {
    let ledger = ledger();
    assert_none(every_source().iter().flat_map(|source| rules::unsafe_is_granted(source, &ledger)));
}

#[test]
fn unsafe_is_explained() {
    assert_none(every_source().iter().flat_map(rules::unsafe_is_explained));
}

#[test]
fn ledger_has_no_stale_row() {
    let sources = every_source();
    let stale = ledger().into_iter().filter_map(|(path, row)| match find(&sources, &path) {
        None => Some(format!("docs/UNSAFE.md: `{path}` does not exist")),
        Some(source) if !rules::has_unsafe(source) => Some(format!("docs/UNSAFE.md: `{path}` holds no unsafe")),
        Some(_) if row.invariant.is_empty() => Some(format!("docs/UNSAFE.md: `{path}` states no invariant")),
        Some(_) => None,
    });
    assert_none(stale);
}

/// The pure half is safe by the compiler's word, not by ours.
#[test]
fn pure_modules_forbid_unsafe() {
    let root = fs::read_to_string(root().join("src/lib.rs")).expect("src/lib.rs is there");
    assert_none(rules::unsafe_is_forbidden(&root, PURE));
}

#[test]
fn operating_systems_are_named_in_platform_only() {
    let elsewhere = library().into_iter().filter(|source| !source.path.starts_with("src/platform/"));
    assert_none(elsewhere.flat_map(|source| rules::names_no_operating_system(&source)));
}

/// What need not pass the gate, and why.
const MAY_CALL_THE_SYSTEM: &[(&str, &str)] = &[
    ("src/runtime/darwin/files.rs", "the calls are those of loaded images"),
    ("src/runtime/darwin/stat.rs", "the calls are those of loaded images"),
    ("src/runtime/darwin/system.rs", "the calls are those of loaded images"),
];

#[test]
fn system_calls_pass_the_gate() {
    let elsewhere = library().into_iter().filter(|source| !source.path.starts_with("src/platform/"));
    assert_none(except(elsewhere, MAY_CALL_THE_SYSTEM, rules::makes_no_system_call));
}

#[test]
fn neutral_files_name_no_format() {
    let neutral = library().into_iter().filter(|source| !FORMATS_LIVE_IN.iter().any(|at| source.path.starts_with(at)));
    assert_none(except(neutral, MAY_NAME_A_FORMAT, rules::names_no_format));
}

#[test]
fn files_are_read_in_one_sitting() {
    assert_none(except(library().into_iter(), MAY_BE_LONG, |source| rules::is_short(source, LINE_LIMIT)));
}

#[test]
fn the_library_has_no_lazy_panic() {
    assert_none(library().iter().flat_map(rules::has_no_lazy_panic));
}

#[test]
fn nothing_mentions_where_it_was_written() {
    let paths = files(root());
    assert!(paths.len() > 10, "the repository's files were not found");
    let mentions = paths.iter().filter_map(|path| {
        let text = fs::read_to_string(path).ok()?; // a fixture's binary is no prose
        Some(rules::mentions(&relative(root(), path), &text, NOT_FOR_READERS))
    });
    assert_none(mentions.flatten());
}

/// What `rule` finds in files without a row in `allowed`, and the rows it no longer needs.
fn except(
    sources: impl Iterator<Item = Source>,
    allowed: &[(&str, &str)],
    rule: impl Fn(&Source) -> Vec<String>,
) -> Vec<String> {
    let mut unused: BTreeMap<_, _> = allowed.iter().copied().collect();
    let mut faults = Vec::new();
    for source in sources {
        let found = rule(&source);
        let is_allowed = allowed.iter().any(|(path, _)| *path == source.path);
        if !is_allowed {
            faults.extend(found);
        } else if !found.is_empty() {
            unused.remove(source.path.as_str());
        }
    }
    faults.extend(unused.iter().map(|(path, reason)| format!("{path}: need not be allowed any more ({reason})")));
    faults
}

#[track_caller]
fn assert_none(faults: impl IntoIterator<Item = String>) {
    let faults: Vec<_> = faults.into_iter().collect();
    assert!(faults.is_empty(), "{} found:\n{}", faults.len(), faults.join("\n"));
}

fn ledger() -> BTreeMap<String, Row> {
    let text = fs::read_to_string(root().join("docs/UNSAFE.md")).expect("docs/UNSAFE.md is there");
    let ledger = rules::parse_ledger(&text);
    assert!(!ledger.is_empty(), "docs/UNSAFE.md has no row of the form | `path` | U | invariant |");
    ledger
}

/// The library's own files.
fn library() -> Vec<Source> {
    let sources = rust_files(root(), "src");
    assert!(find(&sources, "src/lib.rs").is_some(), "the library's files were not found");
    sources
}

/// Everything that is built for users: the library and the crates around it.
fn every_source() -> Vec<Source> {
    let mut sources = library();
    sources.extend(rust_files(root(), "crates").into_iter().filter(|source| !source.path.contains("/tests/")));
    sources
}

fn find<'a>(sources: &'a [Source], path: &str) -> Option<&'a Source> {
    sources.iter().find(|source| source.path == path)
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
