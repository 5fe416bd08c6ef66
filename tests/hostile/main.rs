//! A campaign: corrupted copies of real libraries and of all fixtures, those for macOS too. Up to `seal`, before any code of a file runs,
//! none of them kills, panics, hangs, leaves anything behind or takes more memory than a small multiple of its size.
//!
//! `SIDELOAD_TEST_COPIES` asks for more of them, `SIDELOAD_TEST_SEED` for others, `SIDELOAD_TEST_OF=/path/to/lib.so` for
//! those of one file. To look at one: `cargo run -p test-fixtures --bin corrupt`.

#[path = "../support/mod.rs"]
mod support;

mod counting;
mod full;
mod greedy;
mod mach_o;
mod proportion;

use sideload::{Loader, ledger};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use support::{Child, Folder, argument, in_parallel, kind, say, text_argument};
use test_fixtures::Hostile;

#[global_allocator]
static ALLOCATOR: counting::Counting = counting::Counting;

/// Libraries that every system of the kind has, each with something that the others lack, and how many copies of each.
const LIBRARIES: &[(&str, u64)] = &[
    ("libz.so.1", 1000),
    ("libcrypto.so.3", 300),
    ("libstdc++.so.6", 800),
    ("librsvg-2.so.2", 100),
    ("libz3.so.4", 50),
];

/// Copies of each fixture.
const OF_A_FIXTURE: u64 = 60;

/// Copies of each image for macOS.
const OF_AN_IMAGE: u64 = 40;

/// One of so many copies is opened fully as well, by us and by the system loader.
const OF_FULL_OPENS: u64 = 8;

/// The same for images for macOS, which are small.
const OF_FULL_OPENS_FOR_MACOS: u64 = 2;

/// Copies that one child opens: when it dies, another goes on behind the deadly one.
const BATCH: u64 = 100;

/// An open takes milliseconds. This many times as long is a hang, on however busy a machine.
const HANG: Duration = Duration::from_secs(20);

/// A batch takes seconds.
const PATIENCE: Duration = Duration::from_secs(600);

fn setting<T: std::str::FromStr>(name: &str) -> Option<T> {
    std::env::var(format!("SIDELOAD_TEST_{name}")).ok()?.parse().ok()
}

fn is_mach_o(path: &Path) -> bool {
    let bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    sideload::macho::fat::is_mach_o(&bytes)
}

/// What is corrupted, and how often.
fn subjects() -> Vec<(PathBuf, u64)> {
    let copies = setting::<u64>("COPIES");
    if let Some(path) = setting::<PathBuf>("OF") {
        return if is_mach_o(&path) { Vec::new() } else { vec![(path, copies.unwrap_or(1000))] };
    }
    let library = |&(name, count): &(&str, u64)| {
        let link = Loader::new().link(name).expect("the system has the library");
        (link.plan().modules[0].path.clone(), copies.unwrap_or(count))
    };
    let fixtures = test_fixtures::all().into_iter().map(|fixture| (fixture.path, copies.unwrap_or(OF_A_FIXTURE)));
    LIBRARIES.iter().map(library).chain(fixtures).collect()
}

/// Images for macOS, and how often each is corrupted.
fn images() -> Vec<(PathBuf, u64)> {
    if let Some(path) = setting::<PathBuf>("OF") {
        let copies = setting::<u64>("COPIES").unwrap_or(1000);
        return if is_mach_o(&path) { vec![(path, copies)] } else { Vec::new() };
    }
    let folder = fs::read_dir(test_fixtures::macho_edit::folder()).expect("the folder of images");
    let mut images: Vec<PathBuf> = folder.map(|entry| entry.expect("a folder entry").path()).collect();
    images.sort();
    images.into_iter().map(|image| (image, setting::<u64>("COPIES").unwrap_or(OF_AN_IMAGE))).collect()
}

#[test]
fn corrupted_files_neither_kill_nor_hang() {
    campaign(subjects());
}

#[test]
fn corrupted_images_for_macos_neither_kill_nor_hang() {
    campaign(images());
}

fn campaign(subjects: Vec<(PathBuf, u64)>) {
    let first = setting("SEED").unwrap_or(1);
    let mut batches = Vec::new();
    for (path, copies) in subjects {
        let whole = first..first + copies;
        batches.extend(whole.clone().step_by(BATCH as usize).map(|at| (path.clone(), at..(at + BATCH).min(whole.end))));
    }
    let started = Instant::now();
    let results = in_parallel(&batches, |(path, numbers)| rehearse_all(path, numbers.clone()));
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    let mut faults = Vec::new();
    for result in results {
        faults.extend(result.faults);
        result.kinds.into_iter().for_each(|(kind, count)| *counts.entry(kind).or_default() += count);
    }
    let total: u64 = counts.values().sum();
    println!("{total} files in {:?}, {} of them deadly: {counts:?}", started.elapsed(), faults.len());
    assert!(total >= batches.len() as u64, "the children say nothing");
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// With code of the files run: whoever dies, dies in that code, after a mark that names it.
#[test]
fn full_opens_die_only_in_code_of_the_file() {
    let count = full_opens(subjects().into_iter().map(|(path, copies)| (path, copies.div_ceil(OF_FULL_OPENS))));
    let glibcs = count("glibc dead") + count("glibc exit");
    assert!(count("ours foreign") + count("ours exit") <= glibcs, "more deaths than with the system loader");
}

#[test]
fn full_opens_of_images_for_macos_die_only_in_their_code() {
    let count = full_opens(images().into_iter().map(|(path, copies)| (path, copies.div_ceil(OF_FULL_OPENS_FOR_MACOS))));
    let is_whole = setting::<PathBuf>("OF").is_none() && setting::<u64>("COPIES").is_none();
    assert!(!is_whole || count("ours foreign") > 0, "nobody dies: does anything run?");
}

/// Opens corrupted copies fully, and says how many ended in which way.
fn full_opens(subjects: impl Iterator<Item = (PathBuf, u64)>) -> impl Fn(&str) -> u64 {
    let first = setting("SEED").unwrap_or(1);
    let mut batches = Vec::new();
    for (path, copies) in subjects {
        let whole = first..first + copies;
        batches.extend(whole.clone().step_by(BATCH as usize).map(|at| (path.clone(), at..(at + BATCH).min(whole.end))));
    }
    let outcomes = in_parallel(&batches, |(path, numbers)| {
        let child = Child::new("open_fully").with("OBJECT", path).with("FIRST", numbers.start.to_string());
        child.with("END", numbers.end.to_string()).patient(PATIENCE).run()
    });
    let (mut counts, mut faults) = (BTreeMap::<String, u64>::new(), Vec::new());
    for ((path, _), outcome) in batches.iter().zip(&outcomes) {
        if !outcome.is_success() {
            faults.push(format!("{}: {outcome}", path.display()));
        }
        for line in outcome.said() {
            let mut words = line.split(' ');
            let (Some(by), Some(end)) = (words.next(), words.next()) else { continue };
            *counts.entry(format!("{by} {end}")).or_default() += 1;
            match (by, end) {
                ("ours", "foreign" | "exit") => println!("{}: {line}", path.display()),
                ("ours", "dead") => faults.push(format!("{}: {line}", path.display())),
                _ => {}
            }
        }
    }
    println!("{counts:?}");
    let count = move |key: &str| counts.get(key).copied().unwrap_or(0);
    assert!(batches.is_empty() || count("ours opened") > 0, "nothing opens");
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    count
}

#[test]
#[ignore = "run by the others, in child processes"]
fn open_fully() {
    full::run();
}

/// The heap is counted for the whole process: a process of its own.
#[test]
fn greedy_files_stay_within_bounds() {
    let outcome = Child::new("open_greedy").patient(PATIENCE).run();
    println!("{}", outcome.expect_success().stdout);
}

#[test]
#[ignore = "run by the others, in child processes"]
fn open_greedy() {
    greedy::run();
    proportion::run();
}

/// How the copies of one batch ended.
#[derive(Default)]
struct Ends {
    kinds: BTreeMap<String, u64>,
    faults: Vec<String>,
}

fn rehearse_all(path: &Path, numbers: std::ops::Range<u64>) -> Ends {
    let mut ends = Ends::default();
    let mut next = numbers.start;
    while next < numbers.end {
        let child = Child::new("rehearse").with("OBJECT", path).with("FIRST", next.to_string());
        let outcome = child.with("END", numbers.end.to_string()).patient(PATIENCE).run();
        let mut last = None;
        for line in outcome.said() {
            match line.split_once(' ') {
                Some(("copy", number)) => last = number.parse::<u64>().ok(),
                Some(("is", kind)) => *ends.kinds.entry(kind.to_owned()).or_default() += 1,
                _ => {}
            }
        }
        if outcome.is_success() {
            break;
        }
        let number = last.unwrap_or(next);
        let faults = fs::read(path).ok().and_then(Hostile::of).map(|hostile| hostile.copy(number).faults);
        ends.faults.push(format!("{}, copy {number} ({}): {outcome}", path.display(), faults.unwrap_or_default()));
        next = number + 1;
    }
    ends
}

#[test]
#[ignore = "run by the others, in child processes"]
fn rehearse() {
    let path = PathBuf::from(argument("OBJECT"));
    let [first, end] = ["FIRST", "END"].map(|name| text_argument(name).parse::<u64>().expect("a number"));
    let good = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let size = group_size(&path).max(good.len());
    let is_mach_o = sideload::macho::fat::is_mach_o(&good);
    let Some(hostile) = Hostile::of(good) else { return };
    let place = Place::beside(&path);
    for number in first..end {
        say(format_args!("copy {number}"));
        let copy = hostile.copy(number);
        fs::write(&place.path, &copy.bytes).expect("a folder of our own");
        let (before, started) = (ledger(), Instant::now());
        let (result, most) = counting::most(|| match is_mach_o {
            true => mach_o::until_sealed(&place.path),
            false => until_sealed(&place.path),
        });
        assert!(started.elapsed() < HANG, "took {:?}", started.elapsed());
        assert_eq!(ledger(), before, "something is left behind");
        let limit = (16 << 20) + 2 * (size - hostile.len() + copy.bytes.len());
        assert!(most <= limit, "{most} bytes of memory, and not more than {limit} expected");
        say(format_args!("is {}", result.map_or_else(|error| kind(error.kind()), |()| "sealed".to_owned())));
        fs::remove_file(&place.path).expect("written above");
    }
}

/// Everything before code of the file would run.
fn until_sealed(path: &Path) -> Result<(), sideload::Error> {
    Loader::new().link(path)?.map()?.relocate()?.seal().map(drop)
}

/// The size of all files that the sound object's group consists of.
fn group_size(path: &Path) -> usize {
    Loader::new().link(path).map_or(0, |link| link.files().map(<[u8]>::len).sum())
}

/// Where the copies go: a folder with all that lies beside the object, for those that find their needs there.
struct Place {
    path: PathBuf,
    _folder: Folder,
}

impl Place {
    fn beside(object: &Path) -> Place {
        let folder = Folder::new("hostile");
        let path = folder.file(object.file_name().expect("a file"));
        let is_ours =
            |at: &Path| at.starts_with(env!("CARGO_MANIFEST_DIR")) || at.ancestors().any(|at| at.ends_with("fixtures"));
        let above = object.parent().expect("a full path");
        if is_ours(above) {
            for entry in fs::read_dir(above).expect("the object's own folder").flatten() {
                let link = folder.file(entry.file_name());
                if link != path {
                    symlink(entry.path(), link).expect("a new folder");
                }
            }
        }
        Place { path, _folder: folder }
    }
}
