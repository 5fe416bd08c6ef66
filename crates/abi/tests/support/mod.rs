//! Libraries compiled from text, with debug information of each kind.
#![allow(dead_code, reason = "each test takes what it needs")]

use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// A C library with a struct, a union, bit fields, an enum, callbacks, typedefs, and arrays.
pub(crate) const SHAPES: &str = include_str!("shapes.c");

/// A folder with a library in it.
pub(crate) struct Built {
    folder: TempDir,
    pub(crate) path: PathBuf,
}

/// Compiles C as a library of that name.
pub(crate) fn build(source: &str, flags: &[&str]) -> Built {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("libshapes.so");
    let text = folder.path().join("shapes.c");
    std::fs::write(&text, source).expect("a folder of ours");
    let mut cc = Command::new("cc");
    cc.args(["-shared", "-fPIC", "-Wl,--build-id=sha1"]).args(flags).arg("-o").arg(&path).arg(&text);
    run(&mut cc);
    Built { folder, path }
}

impl Built {
    /// A path beside the library.
    pub(crate) fn beside(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Moves the debug information into a file of its own, which is linked or found by build id as `arguments` say.
    pub(crate) fn split(&self, debug: &Path, objcopy: &[&str]) {
        std::fs::create_dir_all(debug.parent().expect("a path below the folder")).expect("a folder of ours");
        run(Command::new("objcopy").arg("--only-keep-debug").args(objcopy).arg(&self.path).arg(debug));
        run(Command::new("strip").arg("--strip-all").arg(&self.path));
    }

    /// Where a separate debug file of the library is looked for, below `folder`.
    pub(crate) fn by_build_id(&self, folder: &Path) -> PathBuf {
        let bytes = std::fs::read(&self.path).expect("it was built");
        let plan = sideload::plan::plan(&bytes, "libshapes.so").expect("a library");
        let id: String = plan.build_id.expect("it has one").iter().map(|byte| format!("{byte:02x}")).collect();
        folder.join(".build-id").join(&id[..2]).join(format!("{}.debug", &id[2..]))
    }
}

pub(crate) fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}\n{}", String::from_utf8_lossy(&output.stderr));
}
