//! The libraries in wheels for macOS, read as the crate `object` reads them: what linkers really make, for both processors.
//!
//! Needs Python with pip, and what pip fetches the wheels from; without them it says that it is skipped, but where `CI` is
//! set that is a failure. `SIDELOAD_TEST_IMAGES` names a folder whose images are read instead.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// C, C++, Cython and Rust; opcodes and chains; small ones.
const WHEELS: &[&str] = &[
    "markupsafe==3.0.4",
    "kiwisolver==1.5.1",
    "msgpack==1.2.4",
    "multidict==7.2.1",
    "rpds-py==2026.9.1",
    "ujson==6.1.0",
    "wrapt==2.5.2",
];
const ARCHES: &[&str] = &["x86_64", "arm64"];
const SYSTEMS: &[&str] = &["10_9", "10_12", "10_13", "10_15", "11_0"];

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    let text = || String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() { Ok(()) } else { Err(format!("{command:?}: {}\n{}", output.status, text())) }
}

/// The folder of the unpacked wheels, which stays from one run to the next.
fn unpacked() -> Result<PathBuf, String> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("mach-o-wheels");
    for arch in ARCHES {
        let (wheels, unpacked) = (folder.join("wheels").join(arch), folder.join("unpacked").join(arch));
        let mut pip = Command::new("python3");
        pip.args([
            "-m",
            "pip",
            "download",
            "--quiet",
            "--disable-pip-version-check",
            "--no-deps",
            "--only-binary=:all:",
        ]);
        pip.args(["--python-version=3.11", "--implementation=cp", "--abi=cp311", "--abi=abi3"]);
        for system in SYSTEMS {
            pip.args([format!("--platform=macosx_{system}_{arch}"), format!("--platform=macosx_{system}_universal2")]);
        }
        pip.args(WHEELS).arg("--dest").arg(&wheels).arg("--find-links").arg(&wheels);
        fs::create_dir_all(&wheels).map_err(|error| error.to_string())?;
        run(&mut pip)?;
        for wheel in fs::read_dir(&wheels).map_err(|error| error.to_string())?.filter_map(Result::ok) {
            run(Command::new("python3").args(["-m", "zipfile", "-e"]).arg(wheel.path()).arg(&unpacked))?;
        }
    }
    Ok(folder.join("unpacked"))
}

/// All files below a folder that begin like a Mach-O file.
fn images(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path = entry.expect("a folder entry").path();
        if path.is_dir() {
            images(&path, found);
        } else if path.is_file() && fs::read(&path).is_ok_and(|bytes| sideload::macho::fat::is_mach_o(&bytes)) {
            found.push(path);
        }
    }
}

/// Compares every library of a file, and says how many rows they have. What is no library, or for no processor of ours,
/// is refused, and for no other reason.
fn compare(path: &Path) -> Result<[usize; 2], String> {
    let bytes = fs::read(path).map_err(|error| error.to_string())?;
    let name = path.display().to_string();
    let mut counts = [0, 0];
    for slice in sideload::macho::fat::slices(&bytes).map_err(|error| format!("{name}: {error}"))? {
        let Some(arch) = slice.arch() else { continue };
        let image = &bytes[slice.file.start.0 as usize..slice.file.end().0 as usize];
        let file_type = image.get(12..16).map(|word| u32::from_le_bytes(word.try_into().expect("four bytes")));
        if !image.starts_with(&[0xcf, 0xfa, 0xed, 0xfe]) || !matches!(file_type, Some(6 | 8)) {
            continue;
        }
        let mut ours = crate::lines(&name, &bytes, arch);
        ours.sort();
        let theirs = crate::other::lines(image);
        let odd: Vec<_> = ours.iter().zip(&theirs).filter(|(one, other)| one != other).take(3).collect();
        if ours.len() != theirs.len() || !odd.is_empty() {
            return Err(format!("{name} {arch}: {} and {} rows: {odd:#?}", ours.len(), theirs.len()));
        }
        counts = [counts[0] + 1, counts[1] + ours.len()];
    }
    Ok(counts)
}

#[test]
fn libraries_of_wheels_read_as_object_reads_them() {
    let folder = match env::var_os("SIDELOAD_TEST_IMAGES").map_or_else(unpacked, |folder| Ok(folder.into())) {
        Ok(folder) => folder,
        Err(why) => {
            assert!(env::var_os("CI").is_none(), "in CI this must run: {why}");
            eprintln!("skipped: {why}");
            return;
        }
    };
    let mut paths = Vec::new();
    images(&folder, &mut paths);
    paths.sort();
    let results = crate::support::in_parallel(&paths, |path| compare(path));
    let faults: Vec<_> = results.iter().filter_map(|result| result.as_ref().err()).collect();
    let total = |index: usize| results.iter().flatten().map(|counts| counts[index]).sum::<usize>();
    println!("{} images, {} rows", total(0), total(1));
    assert!(faults.is_empty(), "{faults:#?}");
    assert!(total(0) >= ARCHES.len() && total(1) > 1000, "{} images, {} rows", total(0), total(1));
}
