//! The plan of every fixture, against the one in `test-fixtures/plans`. `BLESS=1` writes them anew; the diff is then
//! what is reviewed.
//!
//! Addresses depend on compiler and linker, so the plans hold for one version of each, named in `plans/TOOLCHAIN`.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use sideload::plan::{self, LoadPlan};
use sideload::render::{Lines, Summary};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};
use test_fixtures::Fixture;

#[test]
fn every_fixture_has_its_golden_plan() {
    let fixtures: Vec<Fixture> = test_fixtures::all().into_iter().filter(is_stable).collect();
    let plans: Vec<(PathBuf, String)> =
        fixtures.iter().map(|fixture| (golden(&fixture.name), render(fixture))).collect();
    let (toolchain_path, toolchain) = (folder().join("TOOLCHAIN"), toolchain());
    if env::var_os("BLESS").is_some() {
        return bless(&plans, &toolchain_path, &toolchain);
    }
    if read(&toolchain_path) != toolchain {
        eprintln!("the golden plans are of another compiler: only rendered here, not compared\n{toolchain}");
        return;
    }
    let faults: Vec<String> = plans.iter().filter_map(|(path, actual)| difference(path, &read(path), actual)).collect();
    assert!(faults.is_empty(), "{} (`BLESS=1 cargo test --test golden` accepts)\n{}", faults.len(), faults.join("\n"));
    let expected: BTreeSet<PathBuf> = plans.into_iter().map(|(path, _)| path).chain([toolchain_path]).collect();
    assert_eq!(listing(), expected, "a golden plan without a fixture, or the reverse");
}

/// What rustc emits changes with every release of it, and most of such an object is the standard library.
fn is_stable(fixture: &Fixture) -> bool {
    !fixture.name.starts_with("rust_")
}

fn render(fixture: &Fixture) -> String {
    let bytes = fs::read(&fixture.path).unwrap_or_else(|e| panic!("{}: {e}", fixture.path.display()));
    match plan::plan(&bytes, &fixture.name) {
        Ok(plan) => render_plan(plan, &bytes),
        Err(error) => format!("refused {error}\n"),
    }
}

fn render_plan(mut plan: LoadPlan, bytes: &[u8]) -> String {
    // A hash over everything, debug information and its paths included.
    plan.build_id.iter_mut().for_each(|id| id.fill(0));
    let parts = [Lines::fixups, Lines::imports, Lines::exports].map(|part| match part(&plan, bytes) {
        Ok(lines) => lines.to_string(),
        Err(kind) => format!("refused {kind}\n"),
    });
    format!("{}{}", Summary(&plan), parts.concat())
}

/// The first line that differs.
fn difference(path: &Path, expected: &str, actual: &str) -> Option<String> {
    if expected == actual {
        return None;
    }
    let number = expected.lines().zip(actual.lines()).take_while(|(left, right)| left == right).count();
    let line = |text: &str| text.lines().nth(number).unwrap_or("(end)").to_owned();
    Some(format!("{}:{}:\n  - {}\n  + {}", path.display(), number + 1, line(expected), line(actual)))
}

fn bless(plans: &[(PathBuf, String)], toolchain_path: &Path, toolchain: &str) {
    fs::create_dir_all(folder()).expect("the folder of plans");
    listing().iter().for_each(|stale| fs::remove_file(stale).expect("an old plan can be removed"));
    fs::write(toolchain_path, toolchain).expect("TOOLCHAIN can be written");
    for (path, text) in plans {
        fs::write(path, text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    }
}

/// Compiler and linker, by their version numbers and not by what a distribution calls its build of them.
fn toolchain() -> String {
    let linker = run("ld", "--version");
    let linker = linker.lines().next().and_then(|line| line.rsplit(' ').next()).unwrap_or_default().to_owned();
    format!("cc {}\nc++ {}\nld {linker}\n", run("cc", "-dumpfullversion").trim(), run("c++", "-dumpfullversion").trim())
}

fn run(program: &str, argument: &str) -> String {
    let output = Command::new(program).arg(argument).output().unwrap_or_else(|e| panic!("{program}: {e}"));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn golden(name: &str) -> PathBuf {
    folder().join(name).with_extension("plan")
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("test-fixtures/plans")
}

fn listing() -> BTreeSet<PathBuf> {
    let entries = fs::read_dir(folder()).into_iter().flatten();
    entries.map(|entry| entry.expect("a folder entry").path()).collect()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}
