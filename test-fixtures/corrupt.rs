//! `corrupt FOLDER FIRST COUNT FILE…`: writes corrupted copies of each file, numbered from FIRST on, into FOLDER, and
//! prints their paths. What was done to each stands beside it, with `.txt` behind the name.
//!
//! ```text
//! cargo run -p test-fixtures --bin corrupt -- /tmp/bad 1 1000 /lib/x86_64-linux-gnu/libz.so.1 >list
//! sideload sweep --list list --until sealed
//! ```

use std::path::{Path, PathBuf};
use std::{env, fs, process};
use test_fixtures::Hostile;

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [folder, first, count, files @ ..] = &arguments[..] else { usage() };
    let (Ok(first), Ok(count)) = (first.parse::<u64>(), count.parse::<u64>()) else { usage() };
    for file in files {
        let good = fs::read(file).unwrap_or_else(|error| panic!("{file}: {error}"));
        let hostile = Hostile::of(good).unwrap_or_else(|| panic!("{file}: not a shared object"));
        for number in first..first.saturating_add(count) {
            let path = place(Path::new(folder), Path::new(file), number);
            let copy = hostile.copy(number);
            let mut noted = path.clone().into_os_string();
            noted.push(".txt");
            let written = fs::write(&path, &copy.bytes).and_then(|()| fs::write(noted, copy.faults));
            written.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            println!("{}", path.display());
        }
    }
}

fn place(folder: &Path, file: &Path, number: u64) -> PathBuf {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    folder.join(format!("{number}-{name}"))
}

fn usage() -> ! {
    eprintln!("usage: corrupt FOLDER FIRST COUNT FILE...");
    process::exit(2)
}
