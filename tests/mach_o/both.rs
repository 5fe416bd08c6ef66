//! The same sources, built for this system by its own compiler: as ELF objects they answer the same.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use crate::support::{Child, Folder, in_parallel};
use std::path::Path;
use std::process::Command;

/// A source, and what it is linked with.
const SOURCES: &[(&str, &[&str])] = &[
    ("rebase.c", &[]),
    ("bind.c", &[]),
    ("addend_table.c", &[]),
    ("addend.c", &["addend_table"]),
    ("init.c", &[]),
    ("tlv.c", &[]),
    ("dep_base.c", &[]),
    ("dep.c", &["dep_base"]),
    ("umbrella.c", &["dep_base"]),
    ("reexport.c", &["umbrella", "dep_base"]),
    ("weak_one.cpp", &[]),
    ("weak_two.cpp", &["weak_one"]),
    ("cxx.cpp", &[]),
    ("flat.c", &["dep_base"]),
    ("optional.c", &[]),
    ("exception.cpp", &[]),
    ("bundle.c", &[]),
    ("fini.c", &[]),
];

fn build(folder: &Folder, source: &str, needs: &[&str]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("test-fixtures/src/macho").join(source);
    let compiler = if source.ends_with(".cpp") { "c++" } else { "cc" };
    let name = source.split('.').next().expect("a name");
    let output = Command::new(compiler)
        .args([
            "-O1",
            "-fPIC",
            "-shared",
            "-w",
            "-pthread",
            "-Wl,-z,undefs",
            "-Wl,-rpath,$ORIGIN",
            "-Wl,--no-as-needed",
        ])
        // What the two systems spell in two ways.
        .args(["-Dweak_import=weak", "-D__error=__errno_location"])
        .arg(format!("-Wl,-soname,lib{name}.so"))
        .args([&path, Path::new("-o"), &folder.file(format!("lib{name}.so"))])
        .arg("-L")
        .arg(folder.path())
        .args(needs.iter().map(|need| format!("-l{need}")))
        .output()
        .expect("a compiler");
    assert!(output.status.success(), "{source}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_same_sources_as_elf_answer_the_same() {
    let folder = Folder::new("macho-as-elf");
    SOURCES.iter().for_each(|(source, needs)| build(&folder, source, needs));
    let faults = in_parallel(crate::run::PAIRS, |name| {
        let path = folder.file(format!("lib{name}.so"));
        let outcome = Child::new("run::open_and_answer").with("IMAGE", path).run();
        let fine = outcome.is_success() && outcome.last() == "42";
        (!fine).then(|| format!("{name}: {}\n{outcome}", outcome.last()))
    });
    let faults: Vec<String> = faults.into_iter().flatten().collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
