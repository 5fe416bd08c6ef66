//! Mach-O: plans of the images in `test-fixtures/bin/macho` and of what an editor makes of them, against golden files
//! and against the reading of another library; and what those for x86_64 do when they run here.

mod both;
mod corrupted;
mod edited;
mod engine;
mod golden;
mod native;
mod other;
mod resident;
mod run;
#[path = "../support/mod.rs"]
mod support;
mod wheels;

use sideload::plan::{self, LoadPlan};
use sideload::render::Lines;

/// Every image, with the processors it is for.
fn images() -> Vec<(String, Vec<u8>, &'static str)> {
    let all = test_fixtures::macho_edit::images().into_iter().chain(test_fixtures::macho_edit::reencoded());
    all.flat_map(|(name, bytes)| {
        let slices = sideload::macho::fat::slices(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        let arches: Vec<_> = slices.iter().map(|slice| slice.arch().expect("a known processor")).collect();
        arches.into_iter().map(move |arch| (name.clone(), bytes.clone(), arch)).collect::<Vec<_>>()
    })
    .collect()
}

fn plan(name: &str, bytes: &[u8], arch: &str) -> LoadPlan {
    plan::plan_for(bytes, name, Some(arch)).unwrap_or_else(|error| panic!("{error}"))
}

/// The `rebase`, `bind` and `export` lines.
fn lines(name: &str, bytes: &[u8], arch: &str) -> Vec<String> {
    let plan = plan(name, bytes, arch);
    let parts = [Lines::fixups, Lines::exports].map(|part| part(&plan, bytes));
    let mut lines: Vec<String> = Vec::new();
    for part in parts {
        let part = part.unwrap_or_else(|error| panic!("{name} {arch}: {error}"));
        lines.extend(part.iter().map(str::to_owned));
    }
    lines
}
