//! What of a process must be as it was, once an open has failed.

use sideload::{Ledger, ledger};
use std::fs;
use std::path::{Path, PathBuf};

/// Our own ledger, which files are mapped and what is executable, and the open descriptors. Heap, stacks and other
/// anonymous memory are left out: they are the allocator's.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Snapshot {
    pub(crate) ledger: Ledger,
    pub(crate) maps: Vec<String>,
    pub(crate) descriptors: Vec<PathBuf>,
}

impl Snapshot {
    /// As it is now.
    pub(crate) fn take() -> Snapshot {
        let maps = fs::read_to_string("/proc/self/maps").expect("this process's own");
        let maps = maps.lines().filter(|line| is_of_a_file_or_executable(line)).map(str::to_owned).collect();
        let entries = fs::read_dir("/proc/self/fd").expect("this process's own");
        let mut descriptors: Vec<PathBuf> =
            entries.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok()).filter(|file| !is_own(file)).collect();
        descriptors.sort();
        Snapshot { ledger: ledger(), maps, descriptors }
    }

    /// Whether `at` lay in a file, or in code.
    pub(crate) fn covers(&self, at: u64) -> bool {
        let number = |text: &str| u64::from_str_radix(text, 16).unwrap_or(0);
        self.maps.iter().any(|line| {
            let range = line.split(' ').next().and_then(|range| range.split_once('-'));
            range.is_some_and(|(start, end)| (number(start)..number(end)).contains(&at))
        })
    }
}

/// The folder that is being listed.
fn is_own(file: &Path) -> bool {
    file.starts_with("/proc")
}

/// `start-end perms offset device inode path`
fn is_of_a_file_or_executable(line: &str) -> bool {
    let mut columns = line.split_whitespace();
    let executable = columns.nth(1).is_some_and(|perms| perms.contains('x'));
    let of_a_file = columns.nth(2).is_some_and(|inode| inode != "0");
    executable || of_a_file
}
