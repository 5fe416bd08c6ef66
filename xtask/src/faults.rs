//! Faults that the model of the plugins' lives must notice: each is planted in a copy of the sources, whose tests under
//! `loom` then have to fail. A model that passes with one of them models something else.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// One text of the sources, and what it becomes.
struct Fault {
    what: &'static str,
    from: &'static str,
    to: &'static str,
}

const FILE: &str = "src/plugin/life.rs";
const TESTS: &str = "plugin::life::tests";

const FAULTS: &[Fault] = &[
    Fault {
        what: "two opens make the plugin, and neither looks whether the other was first",
        from: "if let Some(known) = known(&list) {",
        to: "if let Some(known) = known(&[]) {",
    },
    Fault {
        what: "the list is locked to look, and again to add",
        from: "        if let Some(known) = known(&list) {\n            // Ends what was begun above, which takes another lock.\n            drop(list);\n            return Ok((known, false));\n        }\n",
        to: "        let seen = known(&list);\n        drop(list);\n        if let Some(known) = seen {\n            return Ok((known, false));\n        }\n        let mut list = self.lock();\n",
    },
    Fault {
        what: "who waits is not woken",
        from: "        self.life.init.finish();\n",
        to: "        std::mem::forget(self.life.init.is_running_here());\n",
    },
    Fault {
        what: "who waits is woken before it is told how it ended",
        from: "        if result.is_ok() {\n            let old",
        to: "        self.life.init.finish();\n        if result.is_ok() {\n            let old",
    },
    Fault {
        what: "nobody is told of an initialisation that a panic ended",
        from: "        self.lives.settle(self.life, Err(\"its initialisation was interrupted by a panic\".into()));\n",
        to: "",
    },
    Fault {
        what: "a thread waits for itself",
        from: "if life.init.is_running_here() {",
        to: "if life.init.is_running_here() && life.generation == 0 {",
    },
    Fault {
        what: "an initialisation is not waited for",
        from: "        life.init.wait(name, patience).map_err(Unjoined::Blocked)?;\n",
        to: "        let _ = (name, patience);\n",
    },
    Fault {
        what: "a failure passes for a success",
        from: "self.lives.settle(self.life, result.as_ref().copied().map_err(ToString::to_string));",
        to: "self.lives.settle(self.life, result.as_ref().copied().or(Ok::<(), String>(())));",
    },
    Fault {
        what: "an old generation takes the place of a newer one that was faster",
        from: "life.generation < self.life.generation && ",
        to: "life.generation != self.life.generation && ",
    },
    Fault {
        what: "nothing retires an old generation",
        from: "old.is_current.store(false, Ordering::Release)",
        to: "old.is_current.store(true, Ordering::Release)",
    },
    Fault {
        what: "a failed generation takes the place of a sound one",
        from: "        if result.is_ok() {\n            let old",
        to: "        if result.is_ok() || true {\n            let old",
    },
    Fault {
        what: "generations are numbered without looking at the others",
        from: ".filter(|other| other.is_at(path)).count() as u64 + 1;",
        to: ".filter(|other| other.is_at(path)).take(0).count() as u64 + 1;",
    },
];

/// Plants each fault in turn. The text of the error names those that went unnoticed.
pub(crate) fn run() -> Result<(), String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("no workspace")?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let copy = target.join("faults/source");
    copy_tracked(root, &copy).map_err(|error| format!("cannot copy the sources: {error}"))?;
    let file = copy.join(FILE);
    let sound = fs::read_to_string(&file).map_err(|error| format!("{FILE}: {error}"))?;
    if !passes(&copy)? {
        return Err("the model fails without any fault".into());
    }
    let mut unnoticed = Vec::new();
    for fault in FAULTS {
        if sound.matches(fault.from).count() != 1 {
            return Err(format!("{FILE} has changed: there is no one place for `{}`", fault.what));
        }
        fs::write(&file, sound.replace(fault.from, fault.to)).map_err(|error| error.to_string())?;
        let passed = passes(&copy)?;
        println!("==> {}: {}", fault.what, if passed { "UNNOTICED" } else { "noticed" });
        if passed {
            unnoticed.push(fault.what);
        }
    }
    if unnoticed.is_empty() { Ok(()) } else { Err(format!("unnoticed: {}", unnoticed.join("; "))) }
}

/// Whether the model passes; an error if it cannot be built.
fn passes(copy: &Path) -> Result<bool, String> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["test", "--quiet", "--package", "sideload", "--lib", "--", TESTS]).current_dir(copy);
    cargo.env("RUSTFLAGS", "--cfg loom").env("CARGO_TARGET_DIR", copy.with_file_name("build"));
    let output = cargo.output().map_err(|error| format!("cargo: {error}"))?;
    let said = String::from_utf8_lossy(&output.stdout);
    match (output.status.success(), said.contains("test result:")) {
        (true, true) => Ok(true),
        (false, true) => Ok(false),
        // A process that dies of a test has noticed, too.
        _ if said.contains("running ") => Ok(false),
        _ => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

/// Copies what git knows, as it is in the working tree.
fn copy_tracked(root: &Path, to: &Path) -> std::io::Result<()> {
    let listed = Command::new("git").args(["ls-files", "-z"]).current_dir(root).output()?;
    for name in String::from_utf8_lossy(&listed.stdout).split('\0').filter(|name| !name.is_empty()) {
        let (from, to) = (root.join(name), to.join(name));
        // One that was removed and not yet committed.
        if from.is_file() {
            fs::create_dir_all(to.parent().unwrap_or(root))?;
            fs::copy(from, to)?;
        }
    }
    Ok(())
}
