//! Extension modules of real wheels for macOS, imported by a Python on Linux through the example: each does a slice of what
//! it is for, and exceptions cross it both ways.
//!
//! Needs CPython 3.11 with pip, and what pip fetches the wheels from; without them it says that it is skipped, but where
//! `CI` is set that is a failure. `SIDELOAD_TEST_PYTHON` names an interpreter.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::{env, fs};

const MODULES: [&str; 6] = ["markupsafe", "orjson", "regex", "kiwisolver", "numpy", "cryptography"];

fn here(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// # Errors
/// What the command said, if it did not succeed.
fn run(command: &mut Command) -> Result<Output, String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    let text = || String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() { Ok(output) } else { Err(format!("{command:?}: {}\n{}", output.status, text())) }
}

/// A CPython 3.11, for which the wheels are.
fn python() -> Result<PathBuf, String> {
    let named = env::var_os("SIDELOAD_TEST_PYTHON").map(PathBuf::from);
    let usual = ["/usr/bin/python3.11", "python3.11", "python3"].map(PathBuf::from);
    let asked = "import sys, platform; sys.exit(sys.version_info[:2] != (3, 11) or platform.python_implementation() != 'CPython')";
    let fits = |path: &PathBuf| run(Command::new(path).args(["-c", asked])).is_ok();
    named.into_iter().chain(usual).find(fits).ok_or_else(|| "there is no CPython 3.11".to_owned())
}

/// The folders of the unpacked wheels, which stay from one run to the next: those for macOS, and those that they need from
/// this system.
fn wheels(python: &Path) -> Result<[PathBuf; 2], String> {
    let versions = ["10_9", "10_15", "11_0"];
    let thin = versions.map(|version| format!("--platform=macosx_{version}_x86_64"));
    let fat = versions.map(|version| format!("--platform=macosx_{version}_universal2"));
    let host = ["--platform=manylinux2014_x86_64".to_owned()];
    Ok([
        unpacked(python, "pyext", "requirements.txt", &[thin, fat].concat())?,
        unpacked(python, "pyext-host", "requirements-host.txt", &host)?,
    ])
}

fn unpacked(python: &Path, name: &str, requirements: &str, platforms: &[String]) -> Result<PathBuf, String> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let (wheels, unpacked) = (folder.join("wheels"), folder.join("unpacked"));
    // With hashes, what is there already is checked and not fetched again.
    let mut pip = Command::new(python);
    pip.args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary=:all:"]);
    pip.args(["--python-version=3.11", "--implementation=cp", "--abi=cp311", "--abi=abi3", "--require-hashes"]);
    pip.args(platforms).arg("--requirement").arg(here(requirements)).arg("--dest").arg(&wheels);
    pip.arg("--find-links").arg(&wheels);
    fs::create_dir_all(&wheels).map_err(|error| error.to_string())?;
    run(&mut pip)?;
    let entries = fs::read_dir(&wheels).map_err(|error| error.to_string())?;
    for wheel in entries.filter_map(Result::ok) {
        run(Command::new(python).args(["-m", "zipfile", "-e"]).arg(wheel.path()).arg(&unpacked))?;
    }
    Ok(unpacked)
}

/// The example, built beside this test.
fn library() -> PathBuf {
    let own = env::current_exe().expect("this test's own path");
    let target = own.ancestors().nth(3).expect("cargo's folders");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--lib", "--target-dir"]).arg(target).current_dir(here("."));
    run(&mut cargo).unwrap_or_else(|error| panic!("{error}"));
    target.join("debug/libsideload_pyext.so")
}

#[test]
fn modules_for_macos_work_in_python_on_linux() {
    let ready = python().and_then(|python| Ok((wheels(&python)?, python)));
    let ([wheels, host], python) = match ready {
        Ok(ready) => ready,
        Err(why) => {
            assert!(env::var_os("CI").is_none(), "in CI this must run: {why}");
            eprintln!("skipped: {why}");
            return;
        }
    };
    let mut check = Command::new(python);
    let output = run(check.env("PYTHONPATH", host).arg(here("python/check.py")).args([library(), wheels]));
    let said = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let expected: String = MODULES.iter().map(|name| format!("{name} ok\n")).collect();
    assert_eq!(said, Ok(expected));
}
