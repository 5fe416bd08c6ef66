//! Runs the binary.
#![allow(dead_code)] // each test uses its part

use std::path::Path;
use std::process::{Command, Stdio};

/// A static archive that every machine with a compiler has.
pub(crate) const ARCHIVE: &str = "/usr/lib/x86_64-linux-gnu/libc.a";

/// What a run of the binary left.
pub(crate) struct Run {
    /// Its exit status.
    pub(crate) status: i32,
    /// Its standard output.
    pub(crate) stdout: String,
    /// Its standard error.
    pub(crate) stderr: String,
}

/// The binary, about to run.
pub(crate) struct Sideload(Command);

/// The binary with these arguments.
pub(crate) fn sideload(arguments: &[&str]) -> Sideload {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sideload"));
    command.args(arguments).stdin(Stdio::null()).env_remove("LD_LIBRARY_PATH");
    Sideload(command)
}

impl Sideload {
    /// With more arguments.
    pub(crate) fn args(mut self, arguments: &[&str]) -> Sideload {
        self.0.args(arguments);
        self
    }

    /// In a folder.
    pub(crate) fn current_dir(mut self, folder: &Path) -> Sideload {
        self.0.current_dir(folder);
        self
    }

    /// With a file as its standard input.
    pub(crate) fn stdin(mut self, path: &str) -> Sideload {
        self.0.stdin(std::fs::File::open(path).expect("a file"));
        self
    }

    /// Runs it to its end, which is no signal.
    pub(crate) fn run(mut self) -> Run {
        let output = self.0.output().expect("the binary starts");
        let status = output.status.code().unwrap_or_else(|| panic!("{:?}: {}", self.0, output.status));
        Run { status, stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// Runs it to its end by a signal, and returns its standard error.
    pub(crate) fn die(mut self) -> String {
        let output = self.0.output().expect("the binary starts");
        assert_eq!(output.status.code(), None, "{:?}: {}", self.0, output.status);
        text(output.stderr)
    }
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The document that these arguments print.
pub(crate) fn json(arguments: &[&str]) -> serde_json::Value {
    let run = sideload(arguments).run();
    assert_eq!((run.status, run.stderr.as_str()), (0, ""), "{arguments:?}");
    serde_json::from_str(&run.stdout).expect("one document")
}

/// The path of a built fixture.
pub(crate) fn fixture(name: &str) -> String {
    path(&test_fixtures::build(name).path)
}

/// A path as an argument.
pub(crate) fn path(path: &Path) -> String {
    path.to_str().expect("UTF-8").to_owned()
}
