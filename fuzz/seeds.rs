//! `seeds`: lays the fixtures and the malformed files into the corpus of each target, and parts of them where a target
//! takes a part.

use sideload::addr::FileRange;
use sideload::plan::{self, LoadPlan, Tables};
use sideload_fuzz::join;
use std::fs;
use std::path::{Path, PathBuf};
use test_fixtures::macho_edit::{images, reencoded};

fn folder(target: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    fs::create_dir_all(&folder).expect("the folder can be made");
    folder
}

fn write(target: &str, name: &str, bytes: &[u8]) {
    let to = folder(target).join(name);
    fs::write(&to, bytes).unwrap_or_else(|error| panic!("{}: {error}", to.display()));
}

fn main() {
    let fixtures = test_fixtures::all().into_iter().map(|fixture| fixture.path);
    let malformed = test_fixtures::malformed().into_iter().map(|file| file.path);
    let files: Vec<_> = fixtures.chain(malformed).filter(|path| path.is_file()).collect();
    for target in ["plan", "link", "lookup"] {
        for file in &files {
            let bytes = fs::read(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
            write(target, &file.file_name().expect("a file").to_string_lossy(), &bytes);
        }
    }
    let images: Vec<_> = images().into_iter().chain(reencoded()).collect();
    for (name, bytes) in &images {
        for target in ["plan", "link", "lookup", "macho_plan"] {
            write(target, name, bytes);
        }
        let Ok(plan) = plan::plan(bytes, name) else { continue };
        tables(name, bytes, &plan);
    }
    println!("{} files and {} images", files.len(), images.len());
}

/// The parts of one image that have a target of their own.
fn tables(name: &str, bytes: &[u8], plan: &LoadPlan) {
    let Tables::MachO(tables) = &plan.tables else { return };
    let part = |range: FileRange| bytes.get(range.start.0 as usize..range.end().0 as usize).unwrap_or_default();
    if tables.chained.size > 0 {
        let data = plan.regions.iter().filter(|region| region.prot.write).max_by_key(|region| region.file.size);
        write("macho_chained", name, &join(&[part(tables.chained), data.map_or(&[], |region| part(region.file))]));
    }
    if tables.rebase.size > 0 {
        let [bind, lazy, weak] = tables.binds;
        write("macho_opcodes", name, &join(&[tables.rebase, bind, lazy, weak].map(part)));
    }
    write("macho_exports", name, part(tables.exports));
    let sections = [plan.unwind_tables.compact, plan.unwind_tables.records].map(|range| {
        let range = range?;
        let start = plan.file_offset(range.start, range.size)? as usize;
        bytes.get(start..start + range.size as usize)
    });
    write("macho_unwind", name, &join(&sections.map(Option::unwrap_or_default)));
}
